import { WalManager } from '../wal-manager';
import { exitCodes } from './command';
import type { Command } from './command';
import { formatFindings } from './findings';
import { formatBytes, formatCount, print } from './output';

export const verify: Command = {
  summary: 'read every frame and check it; the exit status says the result',
  help: `Usage: segwal verify <dir> [--json]

Reads every frame of every segment, proves its checksum, and compares with what the log says of itself. Changes nothing;
the log may be in use. Exit status 0: all is well. 1: something is damaged, and the findings tell what and where.

  --json   print the report as JSON`,
  options: { json: { type: 'boolean' } },
  async run(args) {
    const wal = await WalManager.open(args.directory(), { readOnly: true });
    try {
      const report = await wal.verify();
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
