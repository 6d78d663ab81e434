import type { Readable, Writable } from 'node:stream';

import { checkCheckpointOptions } from './checkpoints';
import type { Checkpoint, CheckpointOptions } from './checkpoints';
import type { WalData } from './codec';
import { checkCompactOptions } from './compaction';
import type { CompactOptions, CompactResult } from './compaction';
import { rejection, WalError } from './errors';
import type { HealthReport } from './health';
import { checkDirectory, checkSyncPolicy, checkWalOptions } from './options';
import type { SwitchableWalOptions } from './options';
import { resolveRead, resolveReadBatches } from './read-options';
import type { ReadBatchOptions, ReadOptions, ReadRequest } from './read-options';
import { checkData, checkKey, checkKind, checkPackedTypes, checkRecordOptions, isPacked, toBatch } from './records';
import type { PackedRecords, RecordInput, RecordOptions, WalRecord } from './records';
import { checkReplay } from './replay';
import type { ReplayFrom, ReplayOptions, ReplayResult } from './replay';
import type { RecoveryReport, SegmentInfo, VerifyReport, WalStats } from './reports';
import { WalHold } from './retention';
import type { CleanupResult } from './retention';
import { makeReadStream, makeWriteStream } from './streams';
import type { WriteStreamOptions } from './streams';
import { Transaction } from './transaction';
import { checkInteger, checkOptions, checkSequence } from './validation';
import { checkVerifyOptions } from './verification';
import type { VerifyOptions } from './verification';
import type { Wal } from './wal';
import type { WriteOptions } from './wal-manager';

/** Nothing is too large for what stores nothing. */
const unlimited = { maxKeyBytes: Infinity, batchOverhead: 0, batchRecordOverhead: 0 };

const nothing = { segments: 0, records: 0, bytes: 0, durationMs: 0, findings: [] } as const;

/**
 * The surface of {@link WalManager} that stores nothing, for tests and for deployments without a log:
 * `WalManager.open(directory, { enabled: false })` gives one. It touches no disk and needs no native core.
 *
 * Appends are counted, so that they have sequence numbers, and are gone at once: what is read is empty, everything is
 * durable, `firstSequence` is always the number to come. What is misused is refused as `WalManager` does, but for limits
 * of size. A live read waits, until its signal or `close`.
 */
export class NullWal<T = Buffer> implements Wal<T> {
  readonly enabled = false;
  readonly recovery: RecoveryReport = { clean: true, ...nothing };
  readonly segmentSize = 0;

  private last = 0;
  private appends = 0;
  private bytes = 0;
  private closing: Promise<void> | undefined;
  private readonly waiting = new Set<() => void>();
  private readonly options: SwitchableWalOptions<T>;

  constructor(options: SwitchableWalOptions<T> = {}) {
    checkWalOptions(options);
    this.options = options;
  }

  /** As `WalManager.open` with `enabled: false`. */
  static open<T = Buffer>(directory: string, options: SwitchableWalOptions<T> = {}): Promise<NullWal<T>> {
    return promised(() => {
      checkDirectory(directory);
      return new NullWal<T>(options);
    });
  }

  append(data: WalData<T>, options: RecordOptions = {}): number {
    this.assertWritable();
    checkRecordOptions(options);
    checkKind(options.kind ?? 0);
    checkKey(options.key, Infinity);
    const { codec } = this.options;
    const encoded: unknown = codec === undefined ? data : codec.encode(data as T);
    checkData(encoded, codec === undefined ? 'data' : 'what codec.encode returned');
    return this.count([encoded]);
  }

  appendBatch(records: readonly RecordInput<T>[] | PackedRecords): number {
    this.assertWritable();
    if (!isPacked(records)) {
      const { data, keys } = toBatch(records, this.options.codec);
      data.forEach((each, i) => {
        checkData(each, `records[${i}].data`);
      });
      keys?.forEach((key, i) => {
        checkKey(key, Infinity, `records[${i}].key`);
      });
      return this.count(data);
    }
    checkPackedTypes(records);
    checkKind(records.kind ?? 0);
    const { offsets, buffer } = records;
    if (offsets.length < 2) throw new RangeError('offsets has too few entries: a batch of n records needs n + 1');
    return this.count(
      Array.from({ length: offsets.length - 1 }, (_, i) => buffer.subarray(offsets[i], offsets[i + 1])),
    );
  }

  write(data: WalData<T>, options: RecordOptions & WriteOptions = {}): Promise<number> {
    return promised(() => {
      this.assertWritable();
      checkOptions(options, ['kind', 'key', 'sync'], 'write');
      const { sync, ...record } = options;
      if (sync !== undefined) checkSyncPolicy('sync', sync);
      return this.append(data, record);
    });
  }

  writeBatch(records: readonly RecordInput<T>[] | PackedRecords, options: WriteOptions = {}): Promise<number> {
    return promised(() => {
      this.assertWritable();
      checkOptions(options, ['sync'], 'writeBatch');
      if (options.sync !== undefined) checkSyncPolicy('sync', options.sync);
      return this.appendBatch(records);
    });
  }

  transaction(): Transaction<T> {
    this.assertWritable();
    return new Transaction<T>({
      codec: this.options.codec,
      constants: unlimited,
      maxFrameBytes: Infinity,
      assertWritable: () => {
        this.assertWritable();
      },
      commit: ({ data }) => promised(() => this.count(data)),
    });
  }

  createWriteStream(options: WriteStreamOptions = {}): Writable {
    this.assertWritable();
    const appendInTime = (data: WalData<T>, record: RecordOptions): number => this.append(data, record);
    const typed = this.options.codec !== undefined;
    return makeWriteStream<T>({ typed, appendInTime, whenDurable: () => Promise.resolve() }, options);
  }

  sync(): Promise<number> {
    return promised(() => {
      this.assertWritable();
      return this.last;
    });
  }

  whenDurable(sequence: number): Promise<void> {
    return promised(() => {
      checkSequence('sequence', sequence);
      this.assertWritable();
    });
  }

  read(options: ReadOptions = {}): Iterable<WalRecord<T>> & AsyncIterable<WalRecord<T>> {
    this.assertOpen();
    const request = resolveRead(options, Infinity);
    return { [Symbol.iterator]: () => this.none(request), [Symbol.asyncIterator]: () => this.noneInTime(request) };
  }

  readBatches(options: ReadBatchOptions = {}): AsyncIterable<WalRecord<T>[]> {
    this.assertOpen();
    const { request } = resolveReadBatches(options, Infinity);
    return { [Symbol.asyncIterator]: () => this.noneInTime(request) };
  }

  createReadStream(options: ReadOptions = {}): Readable {
    return makeReadStream(this.read(options));
  }

  replay(
    from: ReplayFrom,
    handler: (record: WalRecord<T>) => unknown,
    options: ReplayOptions = {},
  ): Promise<ReplayResult> {
    return promised(() => {
      this.assertOpen();
      checkReplay(from, handler, options);
      const { last } = this;
      return { records: 0, lastSequence: last, durationMs: 0, resumeFrom: last + 1, openTransactions: 0 };
    });
  }

  get(sequence: number): WalRecord<T> | undefined {
    checkSequence('sequence', sequence);
    this.assertOpen();
    return undefined;
  }

  segments(): SegmentInfo[] {
    this.assertOpen();
    return [];
  }

  readSegment(id: number): Iterable<WalRecord<T>> & AsyncIterable<WalRecord<T>> {
    checkInteger('id', id, 1, Number.MAX_SAFE_INTEGER);
    this.assertOpen();
    throw new RangeError(`no segment ${id}: the log is switched off and has none`);
  }

  rotate(): Promise<void> {
    return promised(() => {
      this.assertWritable();
    });
  }

  truncateBefore(sequence: number): Promise<void> {
    return promised(() => {
      checkSequence('sequence', sequence);
      this.assertWritable();
    });
  }

  cleanup(): Promise<CleanupResult> {
    return promised(() => {
      this.assertWritable();
      return { segmentsRemoved: 0, bytesFreed: 0 };
    });
  }

  compact(options: CompactOptions = {}): Promise<CompactResult> {
    return promised(() => {
      checkCompactOptions(options);
      this.assertWritable();
      return { recordsKept: 0, recordsRemoved: 0, bytesFreed: 0, segmentsRewritten: 0, skipped: [] };
    });
  }

  hold(sequence: number): WalHold {
    checkSequence('sequence', sequence);
    this.assertWritable();
    return WalHold.ofNothing(sequence);
  }

  /** The numbers behind `sequence` are handed out again. */
  truncateAfter(sequence: number): Promise<void> {
    return promised(() => {
      checkInteger('sequence', sequence, 0, Number.MAX_SAFE_INTEGER);
      this.assertWritable();
      this.last = Math.min(this.last, sequence);
    });
  }

  createCheckpoint(options: CheckpointOptions = {}): Promise<Checkpoint> {
    return promised(() => {
      this.assertWritable();
      const { sequence, data } = checkCheckpointOptions(options, this.last, Infinity);
      return { sequence, timestamp: Date.now(), data: data === null ? null : Buffer.from(data) };
    });
  }

  checkpoints(): Checkpoint[] {
    this.assertOpen();
    return [];
  }

  get firstSequence(): number {
    this.assertOpen();
    return this.last + 1;
  }

  get lastSequence(): number {
    this.assertOpen();
    return this.last;
  }

  get durableSequence(): number {
    this.assertOpen();
    return this.last;
  }

  stats(): WalStats {
    this.assertOpen();
    const { appends, last, bytes } = this;
    return {
      appends,
      records: last,
      bytes,
      segments: 0,
      diskBytes: 0,
      firstSequence: last + 1,
      lastSequence: last,
      durableSequence: last,
      dirtyBytes: 0,
      syncs: 0,
      syncLatency: { p50: 0, p99: 0, max: 0 },
      lastSyncTimestamp: 0,
      rotations: 0,
      segmentsRecycled: 0,
      writerStalls: 0,
      writerStallMs: 0,
      writeWaits: 0,
      writeWaitMs: 0,
      recoveryMs: 0,
    };
  }

  health(): Promise<HealthReport> {
    return promised(() => {
      this.assertOpen();
      return {
        ok: true,
        checks: [{ name: 'enabled', ok: true, detail: 'the log is switched off: nothing is stored' }],
      };
    });
  }

  verify(options: VerifyOptions = {}): Promise<VerifyReport> {
    return promised(() => {
      this.assertOpen();
      checkVerifyOptions(options);
      options.onProgress?.({ records: 0, bytes: 0, totalBytes: 0 });
      return { ok: true, ...nothing };
    });
  }

  close(): Promise<void> {
    this.closing ??= Promise.resolve();
    for (const wake of this.waiting) wake();
    return this.closing;
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }

  private count(records: readonly (Uint8Array | string)[]): number {
    const first = this.last + 1;
    this.appends++;
    this.last += records.length;
    for (const record of records) this.bytes += Buffer.byteLength(record);
    return first;
  }

  private *none<V>({ live }: ReadRequest): IterableIterator<V> {
    this.assertOpen();
    if (live) throw new TypeError('a live read waits: iterate it with for await');
    yield* [] as V[];
  }

  private async *noneInTime<V>({ live, signal, filter }: ReadRequest): AsyncGenerator<V, undefined> {
    this.assertOpen();
    if (live && filter.to > this.last && filter.limit > 0) await this.untilCloseOr(signal);
    if (signal?.aborted === true) throw new WalError('WAL_ABORTED', 'the read was aborted', { cause: signal.reason });
    yield* [] as V[];
  }

  private untilCloseOr(signal: AbortSignal | undefined): Promise<void> {
    return new Promise((resolve) => {
      const wake = (): void => {
        this.waiting.delete(wake);
        signal?.removeEventListener('abort', wake);
        resolve();
      };
      if (signal?.aborted === true) return resolve();
      this.waiting.add(wake);
      signal?.addEventListener('abort', wake);
    });
  }

  private assertOpen(): void {
    if (this.closing !== undefined) throw new WalError('WAL_CLOSED', 'the log is closed');
  }

  private assertWritable(): void {
    this.assertOpen();
    if (this.options.readOnly === true) throw new WalError('WAL_READ_ONLY', 'the log was opened with readOnly');
  }
}

/** What an asynchronous method returns that has nothing to wait for: what `make` throws is a rejection. */
function promised<R>(make: () => R): Promise<R> {
  try {
    return Promise.resolve(make());
  } catch (error) {
    return rejection(error);
  }
}
