import { setTimeout as delay } from 'node:timers/promises';

import { WalManager } from '../wal-manager';
import { exitCodes } from './command';
import type { Command } from './command';
import { complain } from './output';
import { printRecords, recordLineHelp } from './record-line';

const pollMs = 100;

export const tail: Command = {
  summary: 'print the last records, and with -f those that come',
  help: `Usage: segwal tail <dir> [-n <count>] [-f]

Prints the last records of a log, oldest first.

  -n, --lines <count>   how many; default 10
  -f, --follow          go on with records as they are appended, by whatever process, until interrupted

${recordLineHelp}`,
  options: {
    lines: { type: 'string', short: 'n' },
    follow: { type: 'boolean', short: 'f' },
  },
  async run(args) {
    const lines = args.integer('lines', 0) ?? 10;
    const wal = await WalManager.open(args.directory(), { readOnly: true });
    try {
      const last = wal.lastSequence;
      if (lines > 0 && last > 0) {
        const newest = [...wal.read({ to: last, reverse: true, limit: lines })];
        await printRecords(newest.reverse());
      }
      return args.flag('follow') ? await follow(wal, last) : exitCodes.ok;
    } finally {
      await wal.close();
    }
  },
};

/** Prints what comes after record `last`, until interrupted. */
async function follow(wal: WalManager, last: number): Promise<number> {
  const interruption = new AbortController();
  process.once('SIGINT', () => {
    interruption.abort();
  });
  let seen = last;
  while (!interruption.signal.aborted) {
    const newest = wal.lastSequence;
    if (newest > seen) {
      if (wal.firstSequence > seen + 1) {
        complain(
          'WAL_TRUNCATED',
          `records ${seen + 1} to ${wal.firstSequence - 1} were truncated before they were read`,
        );
      }
      await printRecords(wal.read({ from: Math.max(seen + 1, wal.firstSequence), to: newest }));
      seen = newest;
    }
    await delay(pollMs, undefined, { signal: interruption.signal }).catch(() => undefined);
  }
  return exitCodes.interrupted;
}
