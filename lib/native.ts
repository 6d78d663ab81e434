/**
 * The addon's surface, and the only file that names it. Native functions never throw for what the world refuses:
 * synchronous ones return a negative number (−code, see `errorCodes`), and `lastError()` of the same handle has the
 * details; asynchronous ones reject with a plain {@link NativeFailure}. Making a `WalError` of it is this library's part.
 */

import type { CompactResult } from './compaction';

export interface NativeFailure {
  code: string; // 'WAL_…'
  message: string;
  errno: number; // 0 when no system call was involved
  segment: number; // 0 when not known, here and below
  offset: number;
  firstSequence: number;
  lastSequence: number;
}

export interface NativeOpenOptions {
  segmentSize: number; // bytes; 0: the log's own
  create: boolean;
  readOnly: boolean;
  salvage: boolean;
  sync: NativeSyncPolicy | null; // null: the default, or that of the log when it is open already
  maxDirtyBytes: number | null; // the same; Infinity: no bound
  retention: NativeRetention | null;
  recycleSegments: number | null;
}

export interface NativeRetention {
  maxAgeUs: number; // Infinity: no bound, also below
  maxBytes: number;
}

export interface NativeSyncPolicy {
  delayUs: number; // a sync starts so long after an append without being asked; 0: never
  maxRecords: number; // sooner when somebody expects it and so many are not durable; 0: no such bound, also below
  maxBytes: number;
}

export interface NativeFilter {
  from: number;
  to: number; // Infinity: no end
  fromTimeUs: number;
  toTimeUs: number; // Infinity: no end
  reverse: boolean;
  limit: number; // Infinity: no limit
  kinds: Uint8Array | null;
  key: Uint8Array | null;
  segment: number; // 0: all
}

export interface NativeFinding {
  rule: string;
  segment: number;
  offset: number;
  bytes: number;
  firstSequence: number;
  lastSequence: number;
  durable: boolean;
  action: string;
}

export interface NativeReport {
  clean: boolean; // of a recovery; `ok` of a verification
  segments: number;
  records: number;
  bytes: number;
  durationMs: number;
  findings: NativeFinding[];
}

export interface NativeCheckpoint {
  sequence: number;
  timeMs: number;
  data: Buffer | null;
}

export interface NativeSegment {
  id: number;
  firstSequence: number;
  lastSequence: number;
  bytes: number;
  capacity: number;
  sealed: boolean;
  firstTimeMs: number;
  lastTimeMs: number;
  removed: number;
  path: string;
}

export interface NativeStats {
  appends: number;
  records: number;
  bytes: number;
  segments: number;
  diskBytes: number;
  firstSequence: number;
  lastSequence: number;
  durableSequence: number;
  dirtyBytes: number;
  syncs: number;
  syncP50Ms: number;
  syncP99Ms: number;
  syncMaxMs: number;
  lastSyncTimestamp: number;
  rotations: number;
  segmentsRecycled: number;
  writerStalls: number;
  writerStallMs: number;
  recoveryMs: number;
}

/**
 * A cursor. `fill` copies the next records into `data` and describes them in `descriptors`, 32 bytes each: two float64
 * (sequence, ms since the epoch), four uint32 (data offset, data length, key length, attributes: kind in bits 0–7,
 * `hasKey` in bit 8, codec in bits 12–14). The key stands right before the data. With a codec it is a compressed batch,
 * alone in its chunk: the sequence of its first record, what the codec made of it as data, and in the place of the key
 * length its size before.
 */
export interface NativeReader {
  /**
   * Fills; returns how many records (0: the end, or, live, nothing yet). When the next record alone is larger than
   * `data`, returns −(1000 + bytes needed) and takes nothing. Other negative numbers are −code.
   */
  fill(data: Uint8Array, descriptors: ArrayBuffer): number;
  /** The same on a native thread; the buffers must be left alone until it settles. Rejects with NativeFailure. */
  fillAsync(data: Uint8Array, descriptors: ArrayBuffer): Promise<number>;
  /**
   * Descriptors of those records of the compressed batch filled in last that are wanted, of what its codec made of it;
   * offsets are in `plain`. Or −code.
   */
  expand(plain: Uint8Array): ArrayBuffer | number;
  /** Goes on up to record `last`, which must be committed, where it had come to the end. */
  extend(last: number): void;
  /** Lets go of mappings now instead of at garbage collection. Idempotent; `fill` afterwards returns 0. */
  close(): void;
  lastError(): NativeFailure;
}

/** A verification under way. `done` rejects with `WAL_ABORTED` after `cancel`. */
export interface NativeVerification {
  readonly done: Promise<NativeReport>;
  readonly progress: () => { records: number; bytes: number; totalBytes: number };
  readonly cancel: () => void;
}

/** One open log, as this thread sees it. Plain functions, not methods: they may be called detached. */
export interface NativeLog {
  readonly segmentSize: number;
  readonly maxFrameSize: number;
  readonly recovery: NativeReport;

  /** Sequence, or −code. `data`: any Uint8Array or string; `kind` 0–255; `key`: Uint8Array, string or undefined. */
  readonly append: (data: Uint8Array | string, kind?: number, key?: Uint8Array | string) => number;
  /**
   * The same for kind 0 and no key, the two shortest ways in: −code, or undefined when it is appended, and then the
   * sequence is in `appended[0]`. To read it there costs less than to have a number made. REQUIRES: an array is one of
   * bytes, which is not checked.
   */
  readonly appendBytes: (data: Uint8Array) => number | undefined;
  readonly appendString: (data: string) => number | undefined;
  readonly appended: Float64Array;
  /** One atomic frame. Parallel arrays; `kinds` and `keys` may be null when all are 0 / absent. First sequence, or −code. */
  appendBatch(
    data: (Uint8Array | string)[],
    kinds: Uint8Array | null,
    keys: (Uint8Array | string | undefined | null)[] | null,
  ): number;
  /** Records offsets[i] … offsets[i + 1] of `buffer`; the offsets are checked. First sequence, or −code. */
  appendPacked(buffer: Uint8Array, offsets: Uint32Array, kind: number, key?: Uint8Array | string): number;
  /** What a codec compresses of the batch that these are the arguments of; or −code. */
  packBatch(
    data: (Uint8Array | string)[],
    kinds: Uint8Array | null,
    keys: (Uint8Array | string | undefined | null)[] | null,
  ): Uint8Array | number;
  packPacked(buffer: Uint8Array, offsets: Uint32Array, kind: number, key?: Uint8Array | string): Uint8Array | number;
  /** Whether so many bytes would be better to store than `plain`, which one of the two before has made. */
  compressionPays(plain: Uint8Array, compressedBytes: number): boolean;
  /** Appends what a codec made of `plain`. First sequence, or −code. REQUIRES: it pays. */
  appendCompressed(codec: number, plain: Uint8Array, compressed: Uint8Array): number;
  lastError(): NativeFailure;

  firstSequence(): number;
  lastSequence: () => number;
  durableSequence(): number;
  /** The last sequence number handed out, by any thread, committed or not yet: what a barrier has to wait for. */
  appendedSequence(): number;

  /**
   * Asks for a sync that covers `sequence`. While anything asked for is open, the process stays alive, and `onProgress`
   * (given to `open`) is called after the sync that covers it.
   */
  requestDurable(sequence: number): void;

  /** The same in the time that the log's policy allows. */
  expectDurable(sequence: number): void;
  /** With false, an append that would have to wait for the disk returns −WAL_BACKPRESSURE at once. */
  setPatient: (patient: boolean) => void;

  /**
   * Waits for a record behind `sequence`, instead of for whatever the call before asked for. 0: there is one; 1:
   * `onAppended` (given to `open`) will be called, once, and the process stays alive until then; 2: none will ever come.
   * Where it is this thread that appends, `onAppended` is called before the append returns.
   */
  follow(sequence: number): number;
  stopFollowing(): void;

  rotate(): Promise<void>;
  truncateBefore(sequence: number): Promise<void>;
  /** Rejects with the first failure to delete a file; what else could be deleted is. */
  cleanup(): Promise<{ segmentsRemoved: number; bytesFreed: number }>;
  /** Of records before `before` (Infinity: all). Rejects with `WAL_ABORTED` when the log is closed meanwhile. */
  compact(before: number): Promise<CompactResult>;
  /** Keeps `sequence` and what follows from being cleaned up; a number to release it by, or −code. */
  hold(sequence: number): number;
  releaseHold(hold: number): void;
  /** Rejects with `WAL_INSIDE_BATCH` and its range, `WAL_TRUNCATED` for what is gone. */
  truncateAfter(sequence: number): Promise<void>;
  /** Changes with each `truncateAfter` that this log has seen, by whomever. */
  truncations: () => number;
  /** Rejects with `WAL_NOT_FOUND` for a record that is not there yet, `WAL_TRUNCATED` for one that is gone. */
  createCheckpoint(sequence: number, data: Uint8Array | null): Promise<NativeCheckpoint>;
  /** By sequence, or −code. */
  checkpoints(): NativeCheckpoint[] | number;
  segments(): NativeSegment[];
  stats(): NativeStats;
  /** One record, as `NativeReader.fill` would: 1 or 0, or a negative number with that meaning. */
  readOne(sequence: number, data: Uint8Array, descriptors: ArrayBuffer): number;
  /** A NativeReader, or −code. */
  reader(filter: NativeFilter): NativeReader | number;
  /** On so many threads; 0: one for each core. */
  verify(concurrency: number): NativeVerification;
  /** Durable. Idempotent: later calls settle with the first. After it every function above returns −WAL_CLOSED or 0. */
  close(): Promise<void>;
}

export interface Native {
  /** Index is the number that functions return negated; 0 is 'OK'. */
  readonly errorCodes: readonly string[];
  readonly constants: {
    readonly defaultSegmentSize: number;
    readonly minSegmentSize: number;
    readonly maxSegmentSize: number;
    readonly segmentSizeStep: number;
    readonly maxKeyBytes: number;
    readonly formatVersion: number;
    readonly recordOverhead: number; // bytes a frame adds to a record without a key
    readonly batchOverhead: number; // bytes a batch frame adds, and …
    readonly batchRecordOverhead: number; // … each record in it
    readonly descriptorBytes: number; // 32
    readonly maxCheckpointBytes: number;
    readonly crc32cImplementation: string; // 'portable', 'sse42' or 'armv8'
  };
  /**
   * `onProgress(durable, failure)`: everything up to `durable` is durable; `failure` is set once, when the log is poisoned.
   * Called on this thread, once per sync at the most, and only when `requestDurable` asked for something it settles (or on
   * failure). With `last` and `dropped` after a truncation: records behind `last` and up to `dropped` had been durable, and
   * are dropped. `onRoom` is told in turns that there is no room for the next segment, and, with null, that there is. Opening a directory that this process has open already joins the same log.
   */
  open(
    directory: string,
    options: NativeOpenOptions,
    onProgress: (durable: number, failure: NativeFailure | null, last?: number, dropped?: number) => void,
    onAppended: () => void,
    onRoom: (failure: NativeFailure | null) => void,
  ): Promise<NativeLog>;
  /** What opening the log with `salvage` would find and do; changes nothing. */
  planSalvage(directory: string): Promise<NativeReport>;
  /** CRC32C of `data`, continuing from `crc` (0 to begin). For tests and tools. */
  crc32c(data: Uint8Array, crc?: number): number;
}
