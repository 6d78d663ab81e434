import { WalManager } from '../wal-manager';
import { exitCodes } from './command';
import type { Command } from './command';
import { formatFindings } from './findings';
import { formatBytes, formatCount, print } from './output';
import { Progress } from './progress';

export const verify: Command = {
  summary: 'read every frame and check it; the exit status says the result',
  help: `Usage: segwal verify <dir> [--concurrency <n>] [--json]

Reads every frame of every segment, proves its checksum, and compares with what the log says of itself. Changes nothing;
the log may be in use. Exit status 0: all is well. 1: something is damaged, and the findings tell what and where.

  --concurrency <n>  how many segments to read side by side (default: one for each core)
  --json             print the report as JSON`,
  options: { concurrency: { type: 'string' }, json: { type: 'boolean' } },
  async run(args) {
    const directory = args.directory();
    const concurrency = args.integer('concurrency', 1);
    const wal = await WalManager.open(directory, { readOnly: true });
    try {
      const used = wal.segments().reduce((sum, segment) => sum + segment.bytes, 0);
      const bar = new Progress(used);
      const report = await wal
        .verify({
          ...(concurrency === undefined ? {} : { concurrency }),
          onProgress: (progress) => {
            bar.update(progress);
          },
        })
        .finally(() => {
          bar.stop();
        });
      if (args.flag('json')) {
        await print(`${JSON.stringify(report, null, 2)}\n`);
      } else {
        const { ok, segments, records, bytes, durationMs, findings } = report;
        const amount = `${formatCount(records)} records, ${formatBytes(bytes)}, in ${formatCount(segments)} segments`;
        await print(`${ok ? 'ok' : 'DAMAGED'}: ${amount}, read in ${(durationMs / 1000).toFixed(2)} s\n`);
        await print(formatFindings(findings));
      }
      return report.ok ? exitCodes.ok : exitCodes.damaged;
    } finally {
      await wal.close();
    }
  },
};
