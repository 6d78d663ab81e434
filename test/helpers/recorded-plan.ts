import { randomFrom } from './appends';

/** What the process that is recorded does: the same for the same seed, so that the test knows what each record is. */
export interface Step {
  readonly what: 'append' | 'write' | 'batch' | 'sync' | 'rotate' | 'truncate' | 'reopen';
  /** The sequence number of its first record, or of the next one; for `truncate` the first that is to be kept. */
  readonly first: number;
  readonly count: number;
}

export const recordedSegment = 64 * 1024;
const steps = 150;

export function planOf(seed: number): Step[] {
  const roll = randomFrom(seed);
  const plan: Step[] = [];
  let next = 1;
  const add = (what: Step['what'], count: number, first = next): void => {
    plan.push({ what, first, count });
    next += count;
  };
  while (plan.length < steps) {
    const chance = roll();
    if (chance < 0.45) add('append', 1);
    else if (chance < 0.6) add('write', 1);
    else if (chance < 0.75) add('batch', 2 + Math.floor(roll() * 5));
    else if (chance < 0.9) add('sync', 0);
    else if (chance < 0.94) add('rotate', 0);
    else if (chance < 0.97) add('truncate', 0, Math.max(1, Math.floor(next * roll())));
    else add('reopen', 0);
  }
  return plan;
}

export function contentOf(sequence: number): string {
  return `record ${sequence} ${'.'.repeat((sequence * 379) % 2500)}`;
}
