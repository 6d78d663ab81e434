import { resolve } from 'node:path';

import { WalManager } from '../wal-manager';
import { UsageError } from './command';
import type { Command } from './command';
import { formatRange, print } from './output';

export const truncate: Command = {
  summary: 'drop records from the front or from the end of a log',
  help: `Usage: segwal truncate <dir> --before <seq> | --after <seq>

--before deletes the whole segments all of whose records come before a sequence number; the rest of them stays. --after drops
every record behind a sequence number, exactly; their numbers are handed out again. What is dropped cannot be had back. Nobody
else may have the log open for writing.

  --before <seq>   the first record that is still needed
  --after <seq>    the last record that stays; 0: none does`,
  options: { before: { type: 'string' }, after: { type: 'string' } },
  async run(args) {
    const directory = resolve(args.directory());
    const before = args.integer('before', 1);
    const after = args.integer('after', 0);
    if ((before === undefined) === (after === undefined)) throw new UsageError('give either --before or --after');
    const wal = await WalManager.open(directory, { create: false });
    try {
      if (before !== undefined) await wal.truncateBefore(before);
      if (after !== undefined) await wal.truncateAfter(after);
      await print(`the log has records ${formatRange(wal.firstSequence, wal.lastSequence)}\n`);
    } finally {
      await wal.close();
    }
    return 0;
  },
};
