/**
 * Names for a few values of a record's `kind`. A kind is any integer from 0 to 255 and means what its user says; these
 * are conventional, and 0 says nothing.
 */
export const Operation = {
  Insert: 1,
  Update: 2,
  Delete: 3,
  BeginTx: 4,
  CommitTx: 5,
  AbortTx: 6,
} as const;
