import type { Finding } from '../reports';
import { formatBytes, formatRange } from './output';

/** What a recovery or a verification found, a line each. */
export function formatFindings(findings: readonly Finding[]): string {
  return findings.map((finding) => `  ${formatFinding(finding)}\n`).join('');
}

export function formatFinding(finding: Finding): string {
  const { segment, offset, bytes, firstSequence, lastSequence, action } = finding;
  const place = segment === 0 ? '' : ` segment ${segment}, offset ${offset}, ${formatBytes(bytes)}:`;
  const range = firstSequence === undefined ? '' : ` (records ${formatRange(firstSequence, lastSequence ?? 0)})`;
  return `[${finding.case}]${place} ${action}${range}`;
}
