import { resolve } from 'node:path';

import { WalManager } from '../wal-manager';
import { UsageError } from './command';
import type { Command } from './command';
import { print } from './output';

export const checkpoint: Command = {
  summary: 'say that everything up to a record is kept elsewhere',
  help: `Usage: segwal checkpoint <dir> [--sequence <seq>] [--data <text>] [--json]

Makes everything up to a record durable and notes durably that an application has it elsewhere. segwal cleanup then may
delete what comes before. The newest two checkpoints are kept; segwal inspect shows the newest. Nobody else may have the log
open for writing.

  --sequence <seq>   the last record that is covered; the last of the log when left out
  --data <text>      whatever is wanted later, such as the name of a snapshot; at most 1 MiB
  --json             print the checkpoint as JSON`,
  options: { sequence: { type: 'string' }, data: { type: 'string' }, json: { type: 'boolean' } },
  async run(args) {
    const directory = resolve(args.directory());
    const sequence = args.integer('sequence', 1);
    const data = args.text('data');
    const wal = await WalManager.open(directory, { create: false });
    try {
      if (sequence !== undefined && sequence > wal.lastSequence) {
        throw new UsageError(`--sequence must not be beyond the last record, which is ${wal.lastSequence}`);
      }
      const made = await wal.createCheckpoint({
        ...(sequence === undefined ? {} : { sequence }),
        ...(data === undefined ? {} : { data }),
      });
      const { timestamp } = made;
      await print(
        args.flag('json')
          ? `${JSON.stringify({ sequence: made.sequence, timestamp, data: data ?? null })}\n`
          : `checkpoint of record ${made.sequence}\n`,
      );
    } finally {
      await wal.close();
    }
    return 0;
  },
};
