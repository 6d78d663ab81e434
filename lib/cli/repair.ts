import { resolve } from 'node:path';

import type { RecoveryReport } from '../reports';
import { WalManager } from '../wal-manager';
import { exitCodes } from './command';
import type { Command } from './command';
import { formatFinding } from './findings';
import { print } from './output';

export const repair: Command = {
  summary: 'say what a salvage of a damaged log would give up; with --apply, do it',
  help: `Usage: segwal repair <dir> [--apply] [--json]

Reads the whole log and lists what it cannot read: segment, offset, bytes, which records, and whether they are known to
have been durable. Changes nothing, unless --apply is given.

With --apply, what cannot be read is taken out, and the log can be opened, read and appended to again. Every byte that is
taken out is kept in quarantine/, with a note why. The sequence numbers of lost records are not used again.
Copy the log first, if there is room. Nobody may have it open for writing.

Exit status 0: nothing is lost. 1: something is, or would be.

  --apply  do it
  --json   print the report as JSON`,
  options: { apply: { type: 'boolean' }, json: { type: 'boolean' } },
  async run(args) {
    const directory = resolve(args.directory());
    const applied = args.flag('apply');
    const report = applied ? await salvage(directory) : await WalManager.planSalvage(directory);
    const lost = report.findings.filter((finding) => finding.case === 'D' || finding.case === 'C');
    if (args.flag('json')) {
      await print(`${JSON.stringify({ applied, lost: lost.length > 0, ...report }, null, 2)}\n`);
    } else {
      await print(formatReport(report, applied, lost.length > 0));
    }
    return lost.length > 0 ? exitCodes.damaged : exitCodes.ok;
  },
};

async function salvage(directory: string): Promise<RecoveryReport> {
  const wal = await WalManager.open(directory, { recovery: 'salvage', create: false });
  await wal.close();
  return wal.recovery;
}

function formatReport(report: RecoveryReport, applied: boolean, lost: boolean): string {
  const lines = report.findings.map((finding) => {
    const known = finding.durable === true ? 'known to have been durable' : 'not known to have been durable';
    return `  ${formatFinding(finding)}${finding.durable === undefined ? '' : `, ${known}`}\n`;
  });
  const heading = lost
    ? applied
      ? 'repaired; this was given up, and is kept in quarantine/:\n'
      : 'damaged; a repair would do this, and keep in quarantine/ what it takes out:\n'
    : 'nothing is lost\n';
  const advice = lost && !applied ? 'Nothing was changed. To do it: segwal repair <dir> --apply\n' : '';
  return `${heading}${lines.join('')}${advice}`;
}
