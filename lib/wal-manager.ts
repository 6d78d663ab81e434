import { resolve } from 'node:path';
import type { Readable, Writable } from 'node:stream';
import { setImmediate as nextTurn } from 'node:timers/promises';

import { createCheckpoint, listCheckpoints } from './checkpoints';
import type { Checkpoint, CheckpointOptions } from './checkpoints';
import type { Codec, WalData } from './codec';
import { checkCompactOptions } from './compaction';
import type { CompactOptions, CompactResult } from './compaction';
import type { BatchCompressor } from './compression';
import { Diagnostics } from './diagnostics';
import { DurabilityQueue } from './durability';
import { fromNative, rejection, settle, WalError } from './errors';
import { checkHealth } from './health';
import type { HealthReport } from './health';
import { loadNative } from './load';
import { Followers } from './following';
import type { Native, NativeLog, NativeReader } from './native';
import { NullWal } from './null-wal';
import { checkDirectory, checkSyncPolicy, checkWalOptions, resolveOptions } from './options';
import type { ResolvedOptions, SwitchableWalOptions, SyncPolicy, WalOptions } from './options';
import { Packer } from './packer';
import { resolveRead, resolveReadBatches, wholeSegment } from './read-options';
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
  copyOf,
  copyOfBatch,
  copyOfPacked,
  isPacked,
  toBatch,
} from './records';
import type { Batch, PackedRecords, RecordInput, RecordOptions, WalRecord } from './records';
import { toRecoveryReport, toSegmentInfo, toStats } from './reports';
import type { RecoveryReport, SegmentInfo, VerifyReport, WalStats } from './reports';
import { WalHold } from './retention';
import type { CleanupResult } from './retention';
import { makeReadStream, makeWriteStream } from './streams';
import type { WriteStreamOptions } from './streams';
import { runReplay } from './replay';
import type { ReplayFrom, ReplayOptions, ReplayResult } from './replay';
import { Transaction } from './transaction';
import { checkInteger, checkOptions, checkSequence } from './validation';
import type { Wal } from './wal';
import { runVerification } from './verification';
import type { VerifyOptions } from './verification';
import { isBackpressure, WriteQueue } from './write-queue';

/** What `write` takes beside the record. */
export interface WriteOptions {
  /** What to wait for, instead of what the log was opened with; see {@link SyncPolicy}. */
  sync?: SyncPolicy;
}

/** A batch that is checked and, if that pays, compressed: once, however often it has to be tried. */
interface PreparedBatch {
  readonly append: () => number;
  /** Copies what the caller may change from now on. */
  readonly keep: () => void;
  readonly count: number;
}

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
  /** That something is stored; a {@link NullWal} has false. */
  readonly enabled = true;
  /** What opening the log found and did. */
  readonly recovery: RecoveryReport;
  /** Bytes of a segment. */
  readonly segmentSize: number;

  // Plain functions in fields are what a call into the addon costs least by.
  private nativeAppendBytes: NativeLog['appendBytes'];
  private nativeAppendString: NativeLog['appendString'];
  private readonly appended: NativeLog['appended'];
  private readonly codec: Codec<T> | undefined;
  private readonly compressor: BatchCompressor | undefined;
  private readonly policy: SyncPolicy;
  private readonly readOnly: boolean;
  private readonly source: ReadSource<T>;
  private readonly durability: DurabilityQueue;
  private readonly writes: WriteQueue;
  private readonly followers: Followers;
  private readonly packer = new Packer();
  private readonly inFlight = new Set<Promise<unknown>>();
  private finder: RecordFinder<T> | undefined;
  private closing: Promise<void> | undefined;

  private constructor(
    private readonly native: NativeLog,
    private readonly constants: Native['constants'],
    options: ResolvedOptions<T>,
    private readonly directory: string,
    private readonly noRoom: () => WalError | undefined,
  ) {
    this.policy = options.policy;
    this.durability = new DurabilityQueue(native);
    // An append that would have to wait for the disk is refused, and then tried again: by `write` when there is room, by
    // `append` with patience. To say so before each would cost each two calls.
    native.setPatient(false);
    this.writes = new WriteQueue({
      requestSync: () => {
        native.requestDurable(native.appendedSequence());
      },
    });
    this.followers = new Followers(native, () => this.durability.failed);
    this.nativeAppendBytes = native.appendBytes;
    this.nativeAppendString = native.appendString;
    this.appended = native.appended;
    this.codec = options.codec;
    this.compressor = options.compressor;
    this.readOnly = options.native.readOnly;
    this.recovery = toRecoveryReport(native.recovery);
    this.segmentSize = native.segmentSize;
    this.source = {
      codec: options.codec,
      descriptorBytes: constants.descriptorBytes,
      followers: this.followers,
      lastSequence: native.lastSequence,
      truncations: () => native.truncations(),
      closed: () => this.closing !== undefined,
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
   * With `enabled: false` it is a {@link NullWal}, which stores nothing.
   *
   * @throws `TypeError` or `RangeError` (as a rejection) for options that cannot be; {@link WalError} `WAL_LOCKED`,
   * `WAL_NOT_FOUND`, `WAL_CORRUPT`, `WAL_UNSUPPORTED_VERSION`, `WAL_SEGMENT_SIZE_MISMATCH`, `WAL_DISK_FULL`, `WAL_IO`,
   * `WAL_NATIVE_LOAD`.
   */
  static open<T = Buffer>(directory: string, options?: WalOptions<T>): Promise<WalManager<T>>;
  static open<T = Buffer>(directory: string, options: SwitchableWalOptions<T>): Promise<Wal<T>>;
  static async open<T = Buffer>(directory: string, options: SwitchableWalOptions<T> = {}): Promise<Wal<T>> {
    checkDirectory(directory);
    checkWalOptions(options);
    if (options.enabled === false) return new NullWal<T>(options);
    const addon = loadNative();
    const resolved = resolveOptions<T>({ ...options, enabled: true }, addon.constants);
    const path = resolve(directory);
    const diagnostics = new Diagnostics(path);
    const opened: { wal?: WalManager<T> } = {}; // what is called below can be called before there is one
    let noRoom: WalError | undefined;
    const native = await settle(
      addon.open(
        path,
        resolved.native,
        (durable, failure, last, dropped) => {
          const error = failure === null ? undefined : fromNative(failure);
          opened.wal?.onProgress(durable, error);
          if (last !== undefined && dropped !== undefined) opened.wal?.durability.settleDropped(last, dropped);
          if (error !== undefined) diagnostics.poisoned(error);
        },
        () => opened.wal?.followers.wake(),
        (failure) => {
          noRoom = failure === null ? undefined : fromNative(failure);
          diagnostics.room(noRoom);
        },
      ),
    );
    opened.wal = new WalManager<T>(native, addon.constants, resolved, path, () => noRoom);
    return opened.wal;
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
    const sequence = this.appendPlain(data);
    return sequence > 0 ? sequence : this.appendWith(data, {});
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
    if (this.codec === undefined && this.compressor === undefined && !isPacked(records)) {
      const packed = this.packer.pack(records);
      const first = packed === undefined ? 0 : this.native.appendPacked(packed.buffer, packed.offsets, 0);
      if (first > 0) return first;
    }
    return this.insist(this.prepareBatch(records).append);
  }

  /**
   * Appends one record, and resolves with its sequence number: when it is durable, or, with the policy `async`, at once.
   * Where `append` refuses because the disk does not keep up, this waits, and the event loop goes on. Records go in in
   * the order of the calls. Many writes at a time share a sync: do not wait for one before making the next.
   *
   * @param data - as in `append`; the caller can use its memory again when the call returns.
   * @throws as `append`, as rejections, but not `WAL_BACKPRESSURE`. `WAL_POISONED`: the record may be lost.
   */
  write(data: WalData<T>, options?: RecordOptions & WriteOptions): Promise<number> {
    if (options === undefined && this.codec === undefined && this.writes.isEmpty) {
      const sequence = this.appendPlain(data);
      if (sequence > 0) return this.settleWrite(sequence, 1, this.policy);
    }
    return this.writeWith(data, options ?? {});
  }

  private writeWith(data: WalData<T>, options: RecordOptions & WriteOptions): Promise<number> {
    try {
      this.assertWritable();
      checkOptions(options, ['kind', 'key', 'sync'], 'write');
      const { sync, ...record } = options;
      const policy = this.policyOf(sync);
      return this.settleWrite(this.appendInTime(data, record), 1, policy);
    } catch (error) {
      return rejection(error);
    }
  }

  /**
   * Appends many records as one, like `appendBatch`, and resolves with the sequence number of the first, like `write`.
   *
   * @throws as `appendBatch`, as rejections, but not `WAL_BACKPRESSURE`.
   */
  writeBatch(records: readonly RecordInput<T>[] | PackedRecords, options: WriteOptions = {}): Promise<number> {
    try {
      this.assertWritable();
      checkOptions(options, ['sync'], 'writeBatch');
      const policy = this.policyOf(options.sync);
      return this.writePrepared(this.prepareBatch(records), policy);
    } catch (error) {
      return rejection(error);
    }
  }

  /**
   * Begins a transaction: records that are collected and then go into the log as one, or not at all. Any number can be
   * open at once; one that is never committed leaves nothing behind.
   *
   * @throws {@link WalError} `WAL_CLOSED`, `WAL_READ_ONLY`.
   */
  transaction(): Transaction<T> {
    this.assertWritable();
    return new Transaction<T>({
      codec: this.codec,
      constants: this.constants,
      maxFrameBytes: this.native.maxFrameSize,
      assertWritable: () => {
        this.assertWritable();
      },
      commit: async (batch, sync) => {
        const policy = this.policyOf(sync);
        return this.writePrepared(this.prepareArray(batch), policy);
      },
    });
  }

  /**
   * A stream that makes a record of each chunk: `Buffer`s and strings, or what the codec takes. Back-pressure comes from
   * the disk; `finish` means that everything is durable.
   *
   * @throws `TypeError`, `RangeError`; the stream fails with what `write` rejects with.
   */
  createWriteStream(options: WriteStreamOptions = {}): Writable {
    this.assertWritable();
    return makeWriteStream<T>(
      {
        typed: this.codec !== undefined,
        appendInTime: (data, record) => {
          this.assertWritable();
          return this.appendInTime(data, record);
        },
        whenDurable: (sequence) => this.untilDurable(sequence),
      },
      options,
    );
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

  /** The records of {@link WalManager.read} as a stream of objects. Destroying it lets go of the log's files. */
  createReadStream(options: ReadOptions = {}): Readable {
    this.assertOpen();
    return makeReadStream(new RecordRange(this.source, resolveRead(options, this.constants.maxKeyBytes)));
  }

  /**
   * Hands the records of the log to `handler`, in order; the end is the last record that is there when it starts. What the
   * handler returns is awaited before the next record of the same key. Memory is bounded, whatever the size of the log: at
   * most some thousand records, or 16 MiB of them, are ahead of the oldest that is not done.
   *
   * ```ts
   * await wal.replay(wal.checkpoints().at(-1), (record) => store.apply(record), { concurrency: 8 });
   * ```
   *
   * @param from - a checkpoint: begins behind it. A sequence number: begins with it. `undefined`: with the first record that
   * is kept.
   * @param handler - must not wait for `close`, which waits for the replay.
   * @throws `TypeError`, `RangeError`; {@link ReplayError} (all as rejections), which has {@link ReplayError.resumeFrom}, and
   * one of the codes `WAL_REPLAY` (the handler failed: `sequence` says on which record), `WAL_ABORTED`, `WAL_CLOSED`,
   * `WAL_TRUNCATED`, `WAL_TRANSACTION_TOO_LARGE`, `WAL_CORRUPT`, `WAL_IO`.
   */
  async replay(
    from: ReplayFrom,
    handler: (record: WalRecord<T>) => unknown,
    options: ReplayOptions = {},
  ): Promise<ReplayResult> {
    this.assertOpen();
    const source = {
      ...this.source,
      maxKeyBytes: this.constants.maxKeyBytes,
      firstSequence: () => this.native.firstSequence(),
      segments: () => this.native.segments().map(toSegmentInfo),
    };
    return this.track(runReplay(source, from, handler, options));
  }

  /** The record with this sequence number; `undefined` when there is none (not yet, or no more). */
  get(sequence: number): WalRecord<T> | undefined {
    checkSequence('sequence', sequence);
    this.assertOpen();
    this.finder ??= new RecordFinder(this.native, this.source);
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
    const request = wholeSegment(id);
    const reader = this.native.reader(request.filter);
    if (typeof reader === 'number') {
      // Only now, for it takes long where there are thousands. And a log that another process writes may have it by now.
      const segments = this.native.segments();
      if (!segments.some((segment) => segment.id === id)) {
        throw new RangeError(`no segment ${id}: the log has ${segments[0]?.id ?? 0} to ${segments.at(-1)?.id ?? 0}`);
      }
    } else {
      reader.close();
    }
    return new RecordRange(this.source, request);
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

  /**
   * Deletes the whole sealed segments that are not needed any more: neither by the newest checkpoint, if there is one, nor
   * by `retention`, if the log was opened with it; without either it deletes nothing. Never one of which a reader of this
   * process has something still to read, or that is held. That the log begins later is durable before the first file goes.
   *
   * @throws {@link WalError} `WAL_IO` when the system would not delete a file: it does not belong to the log any more, and is
   * tried again with every cleanup, by `close` and by the next open; `WAL_DISK_FULL`, `WAL_POISONED`, `WAL_CLOSED`,
   * `WAL_READ_ONLY` (as rejections).
   */
  async cleanup(): Promise<CleanupResult> {
    this.assertWritable();
    return this.track(settle(this.native.cleanup()));
  }

  /**
   * Removes records that a later one of the same key replaces, and, of a key that ends with {@link Operation.Delete}, all
   * of them: what is left gives, replayed into a map, the same map. Records without a key stay, sequence numbers too. Only
   * sealed segments are looked at (`rotate` first to have all), each is rewritten beside everything else, on a native
   * thread, and put in the place of the old one atomically; appends never wait for it. After a crash a segment is the old
   * one or the new one. docs/COMPACTION.md tells what exactly goes: transactions, checkpoints and compressed batches.
   *
   * It takes the room of one more segment on the disk while it runs, and memory for each key in the sealed segments.
   *
   * @throws `TypeError`, `RangeError`; {@link WalError} `WAL_CORRUPT` (a frame is damaged: nothing is removed), `WAL_DISK_FULL`,
   * `WAL_IO`, `WAL_ABORTED` (the log was closed meanwhile), `WAL_POISONED`, `WAL_CLOSED`, `WAL_READ_ONLY` (as rejections).
   * Segments that were rewritten before that stay so.
   */
  async compact(options: CompactOptions = {}): Promise<CompactResult> {
    const before = checkCompactOptions(options);
    this.assertWritable();
    return this.track(settle(this.native.compact(before)));
  }

  /**
   * Keeps the record and everything behind it from being cleaned up until the hold is released: a consumer, a replay. It
   * does not outlive the log, nor hinder `truncateBefore`. Readers hold what they have still to read by themselves.
   *
   * @throws {@link WalError} `WAL_TRUNCATED` when the record is gone already, `WAL_CLOSED`, `WAL_READ_ONLY`.
   */
  hold(sequence: number): WalHold {
    checkSequence('sequence', sequence);
    this.assertWritable();
    return WalHold.take(this.native, sequence);
  }

  /**
   * Drops every record behind `sequence`, durably; 0 drops all of them. When it resolves the log ends there, `durableSequence` too, and
   * the numbers behind it are handed out again: nothing else ever does that. After a crash the log has its old end or
   * the new one. Checkpoints of dropped records are removed. A `read` that would go on behind `sequence`, in any process,
   * fails there with `WAL_TRUNCATED`; so does a live one that waits. Appends of other threads wait meanwhile.
   *
   * @throws {@link WalError} `WAL_INSIDE_BATCH` for a record in the middle of a batch (`firstSequence` and `lastSequence` are
   * its range), `WAL_TRUNCATED` when `sequence` lies before what is kept, `WAL_BACKPRESSURE` when an append does not come to
   * its end, `WAL_DISK_FULL`, `WAL_IO`, `WAL_CLOSED`, `WAL_READ_ONLY`: nothing was dropped. `WAL_POISONED`: open the log
   * again, which finishes it (as rejections).
   */
  async truncateAfter(sequence: number): Promise<void> {
    checkInteger('sequence', sequence, 0, Number.MAX_SAFE_INTEGER);
    this.assertWritable();
    await this.track(settle(this.native.truncateAfter(sequence)));
  }

  /**
   * Says durably that the application has everything up to a record elsewhere, so that `replay` can begin behind it and
   * `cleanup` may delete what comes before. Everything up to that record is durable first. The newest two checkpoints are
   * kept.
   *
   * @throws `TypeError`, `RangeError` (also for a record that is not there yet); {@link WalError} `WAL_TRUNCATED` for one that
   * is gone, `WAL_DISK_FULL`, `WAL_POISONED`, `WAL_CLOSED`, `WAL_READ_ONLY`, `WAL_IO` (as rejections). There is no new
   * checkpoint then, or a whole one.
   */
  async createCheckpoint(options: CheckpointOptions = {}): Promise<Checkpoint> {
    this.assertWritable();
    return this.track(createCheckpoint(this.native, this.constants, options));
  }

  /**
   * The checkpoints, by sequence number: the last one is the newest. Damaged ones are not among them; they are in
   * {@link WalManager.recovery}.
   */
  checkpoints(): Checkpoint[] {
    this.assertOpen();
    return listCheckpoints(this.native);
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
    return toStats(this.native.stats(), this.writes);
  }

  /**
   * How the log is: whether it is poisoned, has room and its lock, how far it is durable, how long a sync takes now (it
   * does one), whether the newest record can be read, and what opening found. For monitoring; it may take seconds when
   * the disk does.
   *
   * @throws {@link WalError} `WAL_CLOSED` (as a rejection). What is wrong with the log is in the report.
   */
  async health(): Promise<HealthReport> {
    this.assertOpen();
    const { native, directory, segmentSize, recovery, readOnly, noRoom } = this;
    const report = checkHealth({
      directory,
      readOnly,
      segmentSize,
      recovery,
      noRoom,
      poisoned: () => this.durability.failed,
      writesWait: () => !this.writes.isEmpty,
      stats: () => toStats(native.stats(), this.writes),
      sync: () => this.sync(),
      readNewest: () => {
        const last = native.lastSequence();
        if (last >= native.firstSequence()) this.get(last);
      },
    });
    return this.track(report);
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
   * Makes everything durable and closes. Operations under way are waited for; a verification or compaction is cut short. Idempotent: every call returns the same
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
    return sequence > 0 ? sequence : this.insist(() => this.appendOne(bytes, kind, key));
  }

  /** The sequence; 0 when it is not appended, and somebody else is to say why. */
  private appendPlain(data: WalData<T>): number {
    if (data instanceof Uint8Array) {
      if (this.nativeAppendBytes(data) !== undefined) return 0;
    } else if (typeof data === 'string') {
      if (this.nativeAppendString(data) !== undefined) return 0;
    } else {
      return 0;
    }
    return this.appended[0] as number;
  }

  /** Appends by `append`, and waits for the disk a while if need be; the event loop stands still meanwhile. */
  private insist(append: () => number): number {
    try {
      return append();
    } catch (error) {
      if (!isBackpressure(error)) throw error;
    }
    this.native.setPatient(true);
    try {
      return append();
    } finally {
      this.native.setPatient(false);
    }
  }

  private appendOne(bytes: Uint8Array | string, kind: number, key: RecordOptions['key']): number {
    const sequence = this.native.append(bytes, kind, key ?? undefined);
    if (sequence > 0) return sequence;
    throw this.refusalOf(bytes, key);
  }

  /** Appends when there is room: at once as a rule. */
  private appendInTime(data: WalData<T>, options: RecordOptions): number | Promise<number> {
    const { kind = 0 } = options;
    checkKind(kind);
    let bytes = this.codec === undefined ? (data as Uint8Array | string) : this.codec.encode(data as T);
    let { key } = options;
    const append = (): number => this.appendOne(bytes, kind, key);
    const keep = (): void => {
      bytes = copyOf(bytes);
      key = copyOf(key);
    };
    return this.writes.add(append, keep);
  }

  private policyOf(sync: SyncPolicy | undefined): SyncPolicy {
    if (sync === undefined) return this.policy;
    checkSyncPolicy('sync', sync);
    return sync;
  }

  /** What a write resolves with, and when: its records are `count` from the one that `appended` tells. */
  private settleWrite(appended: number | Promise<number>, count: number, policy: SyncPolicy): Promise<number> {
    if (typeof appended !== 'number') return appended.then((first) => this.settleWrite(first, count, policy));
    if (policy === 'async') return Promise.resolve(appended);
    return this.durability.wait(appended + count - 1, policy === 'immediate', appended);
  }

  private writePrepared({ append, keep, count }: PreparedBatch, policy: SyncPolicy): Promise<number> {
    return this.settleWrite(this.writes.add(append, keep), count, policy);
  }

  private prepareBatch(records: readonly RecordInput<T>[] | PackedRecords): PreparedBatch {
    return isPacked(records) ? this.preparePacked(records) : this.prepareArray(toBatch(records, this.codec));
  }

  private prepareArray(records: Batch): PreparedBatch {
    const count = records.data.length;
    const compressed = this.compressor?.ofBatch(this.native, records);
    if (compressed !== undefined) return this.prepareCompressed(compressed, count);
    let batch = records;
    const append = (): number => this.appendPlainArray(batch);
    const keep = (): void => {
      batch = copyOfBatch(batch);
    };
    return { append, keep, count };
  }

  private preparePacked(records: PackedRecords): PreparedBatch {
    checkPackedTypes(records);
    checkKind(records.kind ?? 0);
    const count = records.offsets.length - 1;
    const compressed = this.compressor?.ofPacked(this.native, records);
    if (compressed !== undefined) return this.prepareCompressed(compressed, count);
    let packed = records;
    const append = (): number => this.appendPlainPacked(packed);
    const keep = (): void => {
      packed = copyOfPacked(packed);
    };
    return { append, keep, count };
  }

  private prepareCompressed(compressed: () => number, count: number): PreparedBatch {
    const append = (): number => {
      const first = compressed();
      if (first > 0) return first;
      throw fromNative(this.native.lastError());
    };
    return { append, keep: () => undefined, count };
  }

  private appendPlainArray(batch: Batch): number {
    const first = this.native.appendBatch(batch.data, batch.kinds, batch.keys);
    if (first > 0) return first;
    checkBatch(batch, this.constants.maxKeyBytes, this.codec !== undefined);
    throw fromNative(this.native.lastError());
  }

  private appendPlainPacked(packed: PackedRecords): number {
    const { buffer, offsets, kind = 0, key } = packed;
    const first = this.native.appendPacked(buffer, offsets, kind, key ?? undefined);
    if (first > 0) return first;
    checkPackedRanges(packed, this.constants.maxKeyBytes);
    throw fromNative(this.native.lastError());
  }

  /** Why an append was refused: by what was given, or else by the native side's own account. */
  private refusalOf(data: unknown, key: unknown): WalError {
    checkData(data, this.codec === undefined ? 'data' : 'what codec.encode returned');
    checkKey(key, this.constants.maxKeyBytes);
    return fromNative(this.native.lastError());
  }

  private untilDurable(sequence: number): Promise<void> {
    return this.durability.wait(sequence, true, undefined);
  }

  private onProgress(durable: number, failure: WalError | undefined): void {
    this.durability.settle(durable);
    if (failure !== undefined) this.durability.fail(failure);
    this.writes.retry();
  }

  private openReader(request: ReadRequest): NativeReader | null {
    this.assertOpen();
    const last = this.native.lastSequence(); // of a log that another process writes, this also looks for what is new
    const first = this.native.firstSequence();
    const { filter, explicitFrom, live } = request;
    if (explicitFrom && filter.from < first) {
      throw new WalError(
        'WAL_TRUNCATED',
        `record ${filter.from} was truncated away: the first that is kept is ${first}; leave out 'from' to start there`,
        { firstSequence: first },
      );
    }
    if (Math.min(filter.to, live ? Infinity : last) < filter.from || filter.limit === 0) return null;
    const reader = this.native.reader(filter);
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
    this.followers.close();
    if (!this.writes.isEmpty) {
      // What was written before is still to be appended, and nothing else is.
      this.nativeAppendBytes = this.nativeAppendString = () => 0;
      await this.writes.drained();
    }
    const last = this.native.appendedSequence();
    // The native side cuts a verification or compaction short, and waits for what else is under way.
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
