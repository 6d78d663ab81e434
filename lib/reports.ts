import type { NativeFinding, NativeReport, NativeSegment, NativeStats } from './native';

/** Something odd in the log, and what was done about it. */
export interface Finding {
  /**
   * The case of the recovery table in docs/FORMAT.md, `A` to `D`; or what it concerns: `meta`, `checkpoint`, `stray`, `gap`, or `filler`,
   * for sequence numbers that an earlier recovery gave up.
   */
  readonly case: string;
  readonly segment: number;
  /** Byte offset in the segment. */
  readonly offset: number;
  readonly bytes: number;
  /** The records concerned, when any are. */
  readonly firstSequence?: number;
  readonly lastSequence?: number;
  /** Whether records concerned are proven to have been durable. Only with `firstSequence`. */
  readonly durable?: boolean;
  readonly action: string;
}

/** What opening the log found and did. */
export interface RecoveryReport {
  /** The log was closed in order the last time, and nothing odd was found. */
  readonly clean: boolean;
  readonly segments: number;
  readonly records: number;
  /** Bytes of frames. */
  readonly bytes: number;
  readonly durationMs: number;
  readonly findings: readonly Finding[];
}

/** How far something has got. */
export interface Progress {
  readonly records: number;
  /** Bytes of frames. */
  readonly bytes: number;
  /** Bytes that there are to read, as far as that is known beforehand. */
  readonly totalBytes: number;
}

/** What reading every frame of the log found. */
export interface VerifyReport {
  /** Every frame is there and intact. What an earlier recovery gave up (`filler`) does not count against it. */
  readonly ok: boolean;
  readonly segments: number;
  readonly records: number;
  /** Bytes of frames. */
  readonly bytes: number;
  readonly durationMs: number;
  readonly findings: readonly Finding[];
}

/** One segment of the log. */
export interface SegmentInfo {
  readonly id: number;
  /** Of the first record that it holds or will hold. */
  readonly firstSequence: number;
  /** `firstSequence` − 1 when it holds none. */
  readonly lastSequence: number;
  /** Sequence numbers, without those whose record compaction removed. */
  readonly records: number;
  /** Bytes in use, header included. */
  readonly bytes: number;
  /** Bytes of the file: the log's segment size, or less after compaction. */
  readonly capacity: number;
  /** Full and durable: it does not change any more. */
  readonly sealed: boolean;
  /** ms since the epoch; 0 when it holds no record. */
  readonly firstTimestamp: number;
  readonly lastTimestamp: number;
  readonly path: string;
}

/** Counters and gauges of an open log. */
export interface WalStats {
  /** Frames appended since the log was opened; a batch is one. */
  readonly appends: number;
  /** Records appended since the log was opened. */
  readonly records: number;
  /** Bytes of frames appended since the log was opened. */
  readonly bytes: number;
  readonly segments: number;
  /** Bytes that the log takes on the disk; segments made ahead of time, and files that are kept for later ones, included. */
  readonly diskBytes: number;
  readonly firstSequence: number;
  readonly lastSequence: number;
  readonly durableSequence: number;
  /** Bytes appended and not yet durable. */
  readonly dirtyBytes: number;
  readonly syncs: number;
  /** ms. */
  readonly syncLatency: { readonly p50: number; readonly p99: number; readonly max: number };
  /** When the last sync ended: ms since the epoch; 0 when there was none yet. */
  readonly lastSyncTimestamp: number;
  readonly rotations: number;
  /** How many segments were made of the file of a removed one. */
  readonly segmentsRecycled: number;
  /** How often an append had to wait for the next segment or for memory of the present one. */
  readonly writerStalls: number;
  /** ms that appends have waited so, all together; the event loop stood still meanwhile. */
  readonly writerStallMs: number;
  /** How many writes of this `WalManager` had to wait for room; the event loop went on meanwhile. */
  readonly writeWaits: number;
  /** ms that writes have waited so, added up. */
  readonly writeWaitMs: number;
  readonly recoveryMs: number;
}

export function toRecoveryReport(report: NativeReport): RecoveryReport {
  const { clean, segments, records, bytes, durationMs, findings } = report;
  return { clean, segments, records, bytes, durationMs, findings: findings.map(toFinding) };
}

export function toVerifyReport(report: NativeReport): VerifyReport {
  const { clean, segments, records, bytes, durationMs, findings } = report;
  return { ok: clean, segments, records, bytes, durationMs, findings: findings.map(toFinding) };
}

function toFinding(finding: NativeFinding): Finding {
  const { rule, segment, offset, bytes, firstSequence, lastSequence, durable, action } = finding;
  const range = firstSequence === 0 ? {} : { firstSequence, lastSequence, durable };
  return { case: rule, segment, offset, bytes, ...range, action };
}

export function toSegmentInfo(segment: NativeSegment): SegmentInfo {
  const { id, firstSequence, lastSequence, bytes, capacity, sealed, firstTimeMs, lastTimeMs, removed, path } = segment;
  return {
    id,
    firstSequence,
    lastSequence,
    records: lastSequence - firstSequence + 1 - removed,
    bytes,
    capacity,
    sealed,
    firstTimestamp: firstTimeMs,
    lastTimestamp: lastTimeMs,
    path,
  };
}

export function toStats(stats: NativeStats, writes: { waits: number; waitedMs: number }): WalStats {
  const { syncP50Ms, syncP99Ms, syncMaxMs, ...rest } = stats;
  return {
    ...rest,
    writeWaits: writes.waits,
    writeWaitMs: writes.waitedMs,
    syncLatency: { p50: syncP50Ms, p99: syncP99Ms, max: syncMaxMs },
  };
}
