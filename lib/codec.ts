/**
 * Turns values into bytes and back: what makes a log a typed log.
 *
 * Everything given to `append` and `appendBatch` goes through `encode`; only packed batches are bytes already. An error
 * that `encode` throws reaches the caller of `append`, and nothing is appended. One that `decode` throws reaches the
 * reader, wrapped in an `Error` that names the sequence number and has the original as `cause`.
 */
export interface Codec<T> {
  encode(value: T): Uint8Array | string;
  decode(data: Buffer): T;
}

/** What a log of `T` takes: `T`; and, where there is no codec, any bytes or a string, which is stored as UTF-8. */
export type WalData<T> = Buffer extends T ? T | Uint8Array | string : T;
