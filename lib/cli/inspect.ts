import { resolve } from 'node:path';

import type { SegmentInfo } from '../reports';
import { WalManager } from '../wal-manager';
import type { Command } from './command';
import { formatFindings } from './findings';
import { formatBytes, formatCount, formatRange, formatTable, formatTime, print } from './output';

export const inspect: Command = {
  summary: 'show segments, ranges, the durable watermark and what recovery would say',
  help: `Usage: segwal inspect <dir> [--json]

Shows what a log is made of: its segments with their sequence numbers and times, how far it is durable, and what opening
it found odd. Changes nothing; the log may be in use. To read every record's checksum as well, use segwal verify.

  --json   print everything as JSON`,
  options: { json: { type: 'boolean' } },
  async run(args) {
    const directory = resolve(args.directory());
    const wal = await WalManager.open(directory, { readOnly: true });
    try {
      const overview = inspectLog(directory, wal);
      await print(args.flag('json') ? `${JSON.stringify(overview, null, 2)}\n` : formatOverview(overview));
    } finally {
      await wal.close();
    }
    return 0;
  },
};

type Overview = ReturnType<typeof inspectLog>;

function inspectLog(directory: string, wal: WalManager) {
  const segments = wal.segments();
  const timed = segments.filter(({ records }) => records > 0);
  return {
    directory,
    segmentSize: wal.segmentSize,
    diskBytes: wal.stats().diskBytes,
    firstSequence: wal.firstSequence,
    lastSequence: wal.lastSequence,
    durableSequence: wal.durableSequence,
    firstTimestamp: timed[0]?.firstTimestamp ?? null,
    lastTimestamp: timed.at(-1)?.lastTimestamp ?? null,
    checkpoints: wal.checkpoints().map(({ sequence, timestamp, data }) => ({
      sequence,
      timestamp,
      dataBytes: data === null ? null : data.length,
    })),
    recovery: wal.recovery,
    segments,
  };
}

function formatOverview(overview: Overview): string {
  const { segments, recovery, firstTimestamp, lastTimestamp } = overview;
  const times = firstTimestamp === null ? 'none' : `${formatTime(firstTimestamp)} to ${formatTime(lastTimestamp ?? 0)}`;
  const facts = [
    ['log', overview.directory],
    ['segments', `${formatCount(segments.length)} of ${formatBytes(overview.segmentSize)}`],
    ['on disk', formatBytes(overview.diskBytes)],
    ['records', formatRange(overview.firstSequence, overview.lastSequence)],
    ['durable', overview.durableSequence === 0 ? 'none' : `to ${overview.durableSequence}`],
    ['appended', times],
    ['checkpoint', formatCheckpoint(overview.checkpoints.at(-1))],
    ['state', recovery.clean ? 'closed in order' : 'in use, or not closed in order'],
  ];
  const findings = recovery.findings.length === 0 ? '' : `\nfound:\n${formatFindings(recovery.findings)}`;
  return `${formatTable(facts, ['left', 'left'])}${findings}\n${formatSegments(segments)}`;
}

function formatCheckpoint(newest: Overview['checkpoints'][number] | undefined): string {
  if (newest === undefined) return 'none';
  const { sequence, timestamp, dataBytes } = newest;
  const data = dataBytes === null ? '' : `, with ${formatBytes(dataBytes)} of data`;
  return `of record ${sequence}, ${formatTime(timestamp)}${data}`;
}

function formatSegments(segments: readonly SegmentInfo[]): string {
  const head = ['segment', 'records', 'sequences', 'used', 'state', 'first appended', 'last appended'];
  const rows = segments.map((segment) => [
    String(segment.id),
    formatCount(segment.records),
    formatRange(segment.firstSequence, segment.lastSequence),
    formatBytes(segment.bytes),
    segment.sealed ? 'sealed' : 'open',
    segment.records === 0 ? '' : formatTime(segment.firstTimestamp),
    segment.records === 0 ? '' : formatTime(segment.lastTimestamp),
  ]);
  return formatTable([head, ...rows], ['right', 'right', 'left', 'right', 'left', 'left', 'left']);
}
