import { resolve } from 'node:path';

import type { WalOptions } from '../options';
import { WalManager } from '../wal-manager';
import type { Command } from './command';
import { formatBytes, print } from './output';

export const cleanup: Command = {
  summary: 'delete segments that neither the newest checkpoint nor a retention needs',
  help: `Usage: segwal cleanup <dir> [--max-age <seconds>] [--max-bytes <size>] [--json]

Deletes whole segments from the front of a log: those that the newest checkpoint does not need, and that are not to be kept by the
options. Without a checkpoint the options alone decide; without either nothing is deleted. Nobody else may have the log open for
writing; a process that reads it loses what it has not read yet.

  --max-age <seconds>   keep what was appended within that time
  --max-bytes <size>    keep no more than that on the disk, such as 1GiB
  --json                print what was done as JSON`,
  options: { 'max-age': { type: 'string' }, 'max-bytes': { type: 'string' }, json: { type: 'boolean' } },
  async run(args) {
    const directory = resolve(args.directory());
    const seconds = args.integer('max-age', 0);
    const maxBytes = args.size('max-bytes');
    const options: WalOptions = { create: false };
    if (seconds !== undefined || maxBytes !== undefined) {
      options.retention = {
        ...(seconds === undefined ? {} : { maxAge: seconds * 1000 }),
        ...(maxBytes === undefined ? {} : { maxBytes }),
      };
    }
    const wal = await WalManager.open(directory, options);
    try {
      const result = await wal.cleanup();
      await print(
        args.flag('json')
          ? `${JSON.stringify({ ...result, firstSequence: wal.firstSequence })}\n`
          : `${result.segmentsRemoved} segments removed, ${formatBytes(result.bytesFreed)} freed; the log begins with record ${wal.firstSequence}\n`,
      );
    } finally {
      await wal.close();
    }
    return 0;
  },
};
