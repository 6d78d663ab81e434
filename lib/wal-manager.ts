import { resolve } from 'node:path';
import { setImmediate as nextTurn } from 'node:timers/promises';

import type { Codec, WalData } from './codec';
import { DurabilityQueue } from './durability';
import { fromNative, settle, WalError } from './errors';
import { loadNative } from './load';
import type { Native, NativeFailure, NativeLog, NativeReader } from './native';
import { checkDirectory, resolveOptions } from './options';
import type { ResolvedOptions, WalOptions } from './options';
import { rangeFilter, resolveRead, resolveReadBatches } from './read-options';
import type { ReadBatchOptions, ReadOptions, ReadRequest } from './read-options';
import { BatchRange, RecordFinder, RecordRange } from './reader';
import type { ReadSource } from './reader';
import {
  checkBatch,
  checkData,
  checkKey,
  checkKind,
  checkPackedRanges,
  checkPackedTypes,
  checkRecordOptions,
  isPacked,
  toBatch,
} from './records';
import type { PackedRecords, RecordInput, RecordOptions, WalRecord } from './records';
import { toRecoveryReport, toSegmentInfo, toStats } from './reports';
import type { RecoveryReport, SegmentInfo, VerifyReport, WalStats } from './reports';
import { checkInteger, checkSequence } from './validation';
import { runVerification } from './verification';
import type { VerifyOptions } from './verification';

/**
 * An open write-ahead log.
 *
 * ```ts
 * await using wal = await WalManager.open('./orders');
 * const sequence = wal.append('order 1');   // survives the death of the process
 * await wal.whenDurable(sequence);          // survives power loss
 * for (const record of wal.read()) console.log(record.sequence, record.data.toString());
 * ```
 *
 * One process writes; opening the same directory again in that process joins the same log. After `close`, every method
 * but `close` fails with `WAL_CLOSED`. A log that nobody closed does not keep the process alive, except while somebody
 * waits for durability.
 *
 * @typeParam T - what the log holds: `Buffer`, or what a codec makes of one.
 */
export class WalManager<T = Buffer> implements AsyncDisposable {
  /** What opening the log found and did. */
  readonly recovery: RecoveryReport;
  /** Bytes of a segment. */
  readonly segmentSize: number;

  // Plain functions in fields are what a call into the addon costs least by.
  private readonly nativeAppendBytes: NativeLog['appendBytes'];
  private readonly nativeAppendString: NativeLog['appendString'];
  private readonly codec: Codec<T> | undefined;
  private readonly readOnly: boolean;
  private readonly source: ReadSource<T>;
  private readonly inFlight = new Set<Promise<unknown>>();
  private finder: RecordFinder<T> | undefined;
  private closing: Promise<void> | undefined;

  private constructor(
    private readonly native: NativeLog,
    private readonly constants: Native['constants'],
    private readonly durability: DurabilityQueue,
    options: ResolvedOptions<T>,
  ) {
    this.nativeAppendBytes = native.appendBytes;
    this.nativeAppendString = native.appendString;
    this.codec = options.codec;
    this.readOnly = options.native.readOnly;
    this.recovery = toRecoveryReport(native.recovery);
    this.segmentSize = native.segmentSize;
    this.source = {
      codec: options.codec,
      descriptorBytes: constants.descriptorBytes,
      assertOpen: () => {
        this.assertOpen();
      },
      openReader: (request) => this.openReader(request),
      track: (operation) => this.track(operation),
    };
  }

  /**
   * Opens the log in `directory`, which is made if need be, and recovers it. What recovery keeps is durable when this
   * resolves; {@link WalManager.recovery} tells what it found.
   *
   * @throws `TypeError` or `RangeError` (as a rejection) for options that cannot be; {@link WalError} `WAL_LOCKED`,
   * `WAL_NOT_FOUND`, `WAL_CORRUPT`, `WAL_UNSUPPORTED_VERSION`, `WAL_SEGMENT_SIZE_MISMATCH`, `WAL_DISK_FULL`, `WAL_IO`,
   * `WAL_NATIVE_LOAD`.
   */
  static async open<T = Buffer>(directory: string, options: WalOptions<T> = {}): Promise<WalManager<T>> {
    checkDirectory(directory);
    const addon = loadNative();
    const resolved = resolveOptions(options, addon.constants);
    const durability = new DurabilityQueue();
    const onProgress = (durable: number, failure: NativeFailure | null): void => {
      durability.settle(durable);
      if (failure !== null) durability.fail(fromNative(failure));
    };
    const native = await settle(addon.open(resolve(directory), resolved.native, onProgress));
    return new WalManager<T>(native, addon.constants, durability, resolved);
  }

  /**
   * What `open` with `recovery: 'salvage'` would find and do to a log that nobody has open for writing. Reads all of it and
   * changes nothing.
   *
   * @throws {@link WalError} `WAL_LOCKED`, `WAL_NOT_FOUND`, `WAL_UNSUPPORTED_VERSION`, `WAL_IO`; `WAL_CORRUPT` when even a
   * salvage would refuse (as rejections).
   */
  static async planSalvage(directory: string): Promise<RecoveryReport> {
    checkDirectory(directory);
    return toRecoveryReport(await settle(loadNative().planSalvage(resolve(directory))));
  }

  /**
   * Appends one record and returns its sequence number. Synchronous; when it has returned, the record survives the death
   * of the process. For power loss wait for `whenDurable` or `sync`.
   *
   * @param data - any `Uint8Array`, or a string, which is stored as UTF-8 (a lone surrogate as U+FFFD); with a codec,
   * what the codec encodes. May be empty. It is copied: the caller can use its memory again at once.
   * @throws `TypeError`, `RangeError`; {@link WalError} `WAL_RECORD_TOO_LARGE`, `WAL_DISK_FULL`, `WAL_BACKPRESSURE`,
   * `WAL_POISONED`, `WAL_CLOSED`, `WAL_READ_ONLY`. Nothing is appended then.
   */
  append(data: WalData<T>, options?: RecordOptions): number {
    if (options !== undefined || this.codec !== undefined) return this.appendWith(data, options ?? {});
    let sequence = 0;
    if (data instanceof Uint8Array) sequence = this.nativeAppendBytes(data);
    else if (typeof data === 'string') sequence = this.nativeAppendString(data);
    else return this.appendWith(data, {});
    if (sequence > 0) return sequence;
    throw this.refusalOf(data, undefined);
  }

  /**
   * Appends many records as one: after a crash either all of them are there or none. Their sequence numbers follow each
   * other; the first is returned. What `append` says of durability and of data holds here too.
   *
   * @param records - an array of records, or {@link PackedRecords}, which is the fastest way in.
   * @throws as `append`; `RangeError` when there is no record. Nothing is appended then.
   */
  appendBatch(records: readonly RecordInput<T>[] | PackedRecords): number {
    this.assertWritable();
    return isPacked(records) ? this.appendPacked(records) : this.appendArray(records);
  }

  /**
   * Makes everything appended so far durable. Callers at the same time share a sync.
   *
   * @returns the sequence number of the last record appended before the call: up to it, all survive power loss.
   * @throws {@link WalError} `WAL_POISONED`, `WAL_CLOSED`, `WAL_READ_ONLY` (as rejections).
   */
  async sync(): Promise<number> {
    this.assertWritable();
    const last = this.native.appendedSequence();
    await this.untilDurable(last);
    return last;
  }

  /**
   * Resolves when the record is durable. Asks for a sync at once, whatever the policy; all who wait for a sync are told
   * in the order of their sequence numbers. Called ahead of the append it waits for that too, and the record then becomes
   * durable as the policy has it.
   *
   * @throws {@link WalError} `WAL_POISONED`, `WAL_READ_ONLY`, `WAL_CLOSED` (as rejections); the last also when the log is
   * closed before the record was appended.
   */
  async whenDurable(sequence: number): Promise<void> {
    checkSequence('sequence', sequence);
    this.assertWritable();
    await this.untilDurable(sequence);
  }

  /**
   * Reads, in order or in reverse. Each iteration of the result ends with the last record that is in the log when it
   * starts, and a `read` of a `readOnly` log sees what its writer has appended by then. Leaving the loop early lets go
   * of the log's files.
   *
   * @throws `TypeError`, `RangeError`; {@link WalError} `WAL_CLOSED`; when iterated also `WAL_TRUNCATED` (when `from` is
   * given and lies before {@link WalManager.firstSequence}), `WAL_CORRUPT`, `WAL_IO`.
   */
  read(options: ReadOptions = {}): Iterable<WalRecord<T>> & AsyncIterable<WalRecord<T>> {
    this.assertOpen();
    return new RecordRange(this.source, resolveRead(options, this.constants.maxKeyBytes));
  }

  /** The same in arrays, read on a native thread, for whoever handles many records at a time. */
  readBatches(options: ReadBatchOptions = {}): AsyncIterable<WalRecord<T>[]> {
    this.assertOpen();
    const { request, batchBytes } = resolveReadBatches(options, this.constants.maxKeyBytes);
    return new BatchRange(this.source, request, batchBytes);
  }

  /** The record with this sequence number; `undefined` when there is none (not yet, or no more). */
  get(sequence: number): WalRecord<T> | undefined {
    checkSequence('sequence', sequence);
    this.assertOpen();
    this.finder ??= new RecordFinder(this.native, this.codec, this.constants.descriptorBytes);
    return this.finder.find(sequence);
  }

  /** The segments of the log, in order. */
  segments(): SegmentInfo[] {
    this.assertOpen();
    return this.native.segments().map(toSegmentInfo);
  }

  /**
   * Reads one segment; everything that `read` says holds.
   *
   * @throws `RangeError` when the log has no such segment.
   */
  readSegment(id: number): Iterable<WalRecord<T>> & AsyncIterable<WalRecord<T>> {
    checkInteger('id', id, 1, Number.MAX_SAFE_INTEGER);
    this.assertOpen();
    const segments = this.native.segments();
    if (!segments.some((segment) => segment.id === id)) {
      throw new RangeError(`no segment ${id}: the log has ${segments[0]?.id ?? 0} to ${segments.at(-1)?.id ?? 0}`);
    }
    return new RecordRange(this.source, { filter: rangeFilter(1, Infinity, id), explicitFrom: false });
  }

  /**
   * Goes on in the next segment and seals the present one, unless it is empty. What is in it is durable when this
   * resolves. Rotation happens by itself when a segment is full.
   *
   * @throws {@link WalError} `WAL_DISK_FULL`, `WAL_POISONED`, `WAL_CLOSED`, `WAL_READ_ONLY` (as rejections).
   */
  async rotate(): Promise<void> {
    this.assertWritable();
    await this.track(settle(this.native.rotate()));
  }

  /**
   * Deletes the whole sealed segments all of whose records come before `sequence`. Records of a segment that also holds
   * later ones stay.
   *
   * @throws {@link WalError} `WAL_POISONED`, `WAL_CLOSED`, `WAL_READ_ONLY`, `WAL_IO` (as rejections).
   */
  async truncateBefore(sequence: number): Promise<void> {
    checkSequence('sequence', sequence);
    this.assertWritable();
    await this.track(settle(this.native.truncateBefore(sequence)));
  }

  /** Sequence number of the first record that is kept; `lastSequence` + 1 when none is. */
  get firstSequence(): number {
    this.assertOpen();
    return this.native.firstSequence();
  }

  /** Sequence number of the last record; 0 when there never was one. */
  get lastSequence(): number {
    this.assertOpen();
    return this.native.lastSequence();
  }

  /** The durable watermark: every record up to it survives power loss. 0 when none does. */
  get durableSequence(): number {
    this.assertOpen();
    return this.native.durableSequence();
  }

  /** Counters and gauges, for monitoring. */
  stats(): WalStats {
    this.assertOpen();
    return toStats(this.native.stats());
  }

  /**
   * Reads every frame of every segment on native threads, several segments at a time, and compares with what the log says
   * of itself. Damage is in the report, a finding for each range of bytes; this rejects only when it cannot look.
   *
   * @throws {@link WalError} `WAL_CLOSED`, `WAL_ABORTED` (by the signal, or the log was closed meanwhile), `WAL_CORRUPT` (the
   * log has lost its end since it was opened for reading), `WAL_IO` (as rejections).
   */
  async verify(options: VerifyOptions = {}): Promise<VerifyReport> {
    this.assertOpen();
    return this.track(runVerification(this.native, options));
  }

  /**
   * Makes everything durable and closes. Operations under way are waited for; a verification is cut short. Idempotent: every call returns the same
   * promise. When it rejects, the log is closed all the same.
   *
   * @throws {@link WalError} `WAL_POISONED`, `WAL_IO` (as rejections): not everything is durable.
   */
  close(): Promise<void> {
    return (this.closing ??= this.closeOnce());
  }

  /** {@link WalManager.close}, for `await using`. */
  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }

  private appendWith(data: WalData<T>, options: RecordOptions): number {
    this.assertWritable();
    checkRecordOptions(options);
    const { kind = 0, key } = options;
    checkKind(kind);
    const bytes = this.codec === undefined ? (data as Uint8Array | string) : this.codec.encode(data as T);
    const sequence = this.native.append(bytes, kind, key ?? undefined);
    if (sequence > 0) return sequence;
    throw this.refusalOf(bytes, key);
  }

  private appendArray(records: readonly RecordInput<T>[]): number {
    const batch = toBatch(records, this.codec);
    const first = this.native.appendBatch(batch.data, batch.kinds, batch.keys);
    if (first > 0) return first;
    checkBatch(batch, this.constants.maxKeyBytes, this.codec !== undefined);
    throw fromNative(this.native.lastError());
  }

  private appendPacked(packed: PackedRecords): number {
    const { buffer, offsets, kind = 0, key } = packed;
    checkPackedTypes(packed);
    checkKind(kind);
    const first = this.native.appendPacked(buffer, offsets, kind, key ?? undefined);
    if (first > 0) return first;
    checkPackedRanges(packed, this.constants.maxKeyBytes);
    throw fromNative(this.native.lastError());
  }

  /** Why an append was refused: by the state of the log, by what was given, or else by the native side's own account. */
  private refusalOf(data: unknown, key: unknown): WalError {
    this.assertWritable();
    checkData(data, this.codec === undefined ? 'data' : 'what codec.encode returned');
    checkKey(key, this.constants.maxKeyBytes);
    return fromNative(this.native.lastError());
  }

  private untilDurable(sequence: number): Promise<void> {
    const { native, durability } = this;
    const durable = native.durableSequence();
    const waiting = durability.wait(sequence, durable);
    if (sequence > durable) native.requestDurable(sequence);
    return waiting;
  }

  private openReader(request: ReadRequest): NativeReader | null {
    this.assertOpen();
    const last = this.native.lastSequence(); // of a log that another process writes, this also looks for what is new
    const first = this.native.firstSequence();
    const { filter, explicitFrom } = request;
    if (explicitFrom && filter.from < first) {
      throw new WalError(
        'WAL_TRUNCATED',
        `record ${filter.from} was truncated away: the first that is kept is ${first}; leave out 'from' to start there`,
        { firstSequence: first },
      );
    }
    const to = Math.min(filter.to, last);
    if (to < filter.from || filter.limit === 0) return null;
    const reader = this.native.reader({ ...filter, to });
    if (typeof reader === 'number') throw fromNative(this.native.lastError());
    return reader;
  }

  private track<R>(operation: Promise<R>): Promise<R> {
    const forget = (): void => {
      this.inFlight.delete(operation);
    };
    this.inFlight.add(operation);
    operation.then(forget, forget);
    return operation;
  }

  private assertOpen(): void {
    if (this.closing !== undefined) throw new WalError('WAL_CLOSED', 'the log is closed');
  }

  private assertWritable(): void {
    this.assertOpen();
    if (this.readOnly) throw new WalError('WAL_READ_ONLY', 'the log was opened with readOnly');
  }

  private async closeOnce(): Promise<void> {
    const last = this.native.appendedSequence();
    // The native side cuts a verification short, and waits for what else is under way.
    const closed = settle(this.native.close());
    await Promise.allSettled([...this.inFlight, closed]);
    try {
      await closed;
      this.durability.settle(last);
      this.durability.fail(new WalError('WAL_CLOSED', 'the log was closed before the record was appended'));
    } catch (error) {
      this.durability.fail(error as WalError);
      throw error;
    } finally {
      await nextTurn(); // whoever waited hears of it first
    }
  }
}
