import { WalError } from '../errors';
import { WalManager } from '../wal-manager';
import { exitCodes } from './command';
import type { Command } from './command';
import { complain } from './output';
import { printRecords, recordLineHelp } from './record-line';

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
  const { signal } = interruption;
  process.once('SIGINT', () => {
    interruption.abort();
  });
  let next = last + 1;
  for (;;) {
    try {
      for await (const batch of wal.readBatches({ from: next, live: true, signal })) {
        await printRecords(batch);
        next = (batch.at(-1)?.sequence ?? next) + 1;
      }
      return exitCodes.ok;
    } catch (error) {
      if (signal.aborted) return exitCodes.interrupted;
      if (!(error instanceof WalError) || error.code !== 'WAL_TRUNCATED') throw error;
      const first = wal.firstSequence;
      complain('WAL_TRUNCATED', `records ${next} to ${first - 1} were truncated before they were read`);
      next = Math.max(next, first);
    }
  }
}
