import { WalManager } from '../wal-manager';
import { exitCodes } from './command';
import type { Command } from './command';
import { formatTable, print } from './output';

export const health: Command = {
  summary: 'say whether a log is well; the exit status says the result',
  help: `Usage: segwal health <dir> [--json]

Looks at a log from outside: whether it opens, has room for its next segment, who writes it, how far it is durable, whether
its newest record can be read, and what opening it found. Changes nothing; the log may be in use. What only its writer knows
(a failed sync, writes that wait) is told by health() in the program that has it open. Exit status 0: well. 1: not.

  --json   print the report as JSON`,
  options: { json: { type: 'boolean' } },
  async run(args) {
    const wal = await WalManager.open(args.directory(), { readOnly: true });
    try {
      const report = await wal.health();
      if (args.flag('json')) {
        await print(`${JSON.stringify(report, null, 2)}\n`);
      } else {
        const rows = report.checks.map(({ name, ok, detail }) => [ok ? 'ok' : 'NOT OK', name, detail]);
        await print(formatTable(rows, ['left', 'left', 'left']));
      }
      return report.ok ? exitCodes.ok : exitCodes.damaged;
    } finally {
      await wal.close();
    }
  },
};
