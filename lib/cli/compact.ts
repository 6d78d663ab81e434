import { resolve } from 'node:path';

import { WalManager } from '../wal-manager';
import type { Command } from './command';
import { formatBytes, formatCount, print } from './output';

export const compact: Command = {
  summary: 'keep only the latest record of each key',
  help: `Usage: segwal compact <dir> [--before <seq>] [--rotate] [--json]

Of the records with a key, keeps the latest of each key; a Delete (kind 3) ends its key. Records without a key stay, sequence numbers too.
Looks at sealed segments only. Replayed by key, the log gives the same as before; what it gave at an earlier record is lost,
unless --before says from where on that must stay. Nobody else may have the log open for writing; readers go on.

  --before <seq>   only for the sake of records before this one
  --rotate         seal the segment that is being written first
  --json           print what was done as JSON`,
  options: { before: { type: 'string' }, rotate: { type: 'boolean' }, json: { type: 'boolean' } },
  async run(args) {
    const directory = resolve(args.directory());
    const before = args.integer('before', 1);
    const wal = await WalManager.open(directory, { create: false });
    try {
      if (args.flag('rotate')) await wal.rotate();
      const result = await wal.compact(before === undefined ? {} : { before });
      const { recordsKept, recordsRemoved, bytesFreed, segmentsRewritten, skipped } = result;
      const lines = [
        `${formatCount(recordsRemoved)} records removed, ${formatCount(recordsKept)} kept; ` +
          `${formatCount(segmentsRewritten)} segments rewritten, ${formatBytes(bytesFreed)} freed`,
        ...skipped.map(({ segment, reason }) => `segment ${segment} could not be replaced yet: ${reason}`),
      ];
      await print(args.flag('json') ? `${JSON.stringify(result)}\n` : `${lines.join('\n')}\n`);
    } finally {
      await wal.close();
    }
    return 0;
  },
};
