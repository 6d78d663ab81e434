import { types } from 'node:util';

import type { Codec } from './codec';
import { CommittedOnly } from './committed';
import { ReplayError, WalError } from './errors';
import { isThenable, Lanes } from './lanes';
import type { Handler } from './lanes';
import { Operation } from './operation';
import { defaultChunkBytes, resolveRead } from './read-options';
import type { ReadOptions, ReadRequest } from './read-options';
import { BatchRange, withDecodedData } from './reader';
import type { ReadSource } from './reader';
import type { WalRecord } from './records';
import type { Progress, SegmentInfo } from './reports';
import { checkBoolean, checkInteger, checkOptions, checkSequence, checkSignal, describe } from './validation';

/** Where a replay begins: behind a checkpoint, or with a sequence number; `undefined`: with the first record that is kept. */
export type ReplayFrom = number | { readonly sequence: number } | undefined;

/** How to replay. */
export interface ReplayOptions {
  /**
   * Where to end: a sequence number, or a `Date`, both inclusive. With a `Date`, those records are delivered whose own time
   * is not later; where the clock was set back, that is not the same as the records before a moment.
   */
  until?: number | Date;
  /**
   * How many handlers may be under way at once: 1 to 1,024, default 1. Records of the same key are handled one after the
   * other, in order, and so are those without a key; different keys go side by side.
   */
  concurrency?: number;
  /** Gives up with `WAL_ABORTED`, when the handlers that are under way have ended. */
  signal?: AbortSignal;
  /** Called a few times a second, and at the end. What it throws ends the replay. */
  onProgress?: (progress: Progress) => void;
  /**
   * Deliver only what was committed, of transactions that are written record by record: a record of kind `BeginTx` begins
   * the transaction of its key (or of "no key"), and what follows with the same key belongs to it. It is delivered when a
   * record of kind `CommitTx` with that key comes, and never when `AbortTx`, another `BeginTx` of the key, or the end comes
   * first. Records that belong to no open transaction are delivered at once; the marks themselves are not. Begin where no
   * transaction is open: of a transaction whose `BeginTx` lies before `from`, nothing is known.
   *
   * `wal.transaction()` needs none of this: what it commits is one frame.
   */
  committedOnly?: boolean;
  /**
   * With `committedOnly`: how many bytes of records that are not committed yet may be held back, all open transactions
   * together; beyond it the replay fails with `WAL_TRANSACTION_TOO_LARGE`. Default 64 MiB. Each record counts 64 bytes more
   * than its key and data have.
   */
  maxTransactionBytes?: number;
  /** Only records of this kind, or of one of these kinds. */
  kind?: number | readonly number[];
  /** Only records with exactly this key. */
  key?: Uint8Array | string;
}

/** What a replay did. */
export interface ReplayResult {
  /** How many records were handled. */
  readonly records: number;
  /** The highest sequence number that was handled; without any, the one before where the replay began. */
  readonly lastSequence: number;
  readonly durationMs: number;
  /**
   * Where a later replay has to begin to miss nothing: behind the last record that was read, or, with `committedOnly`, at
   * the first record since when some transaction was open.
   */
  readonly resumeFrom: number;
  /** With `committedOnly`: how many transactions were begun and neither committed nor aborted; 0 otherwise. */
  readonly openTransactions: number;
}

/** What replaying needs of an open log. */
export interface ReplaySource<T> extends ReadSource<T> {
  readonly maxKeyBytes: number;
  firstSequence(): number;
  segments(): readonly SegmentInfo[];
}

const maxConcurrency = 1024;
const defaultTransactionBytes = 64 * 1024 * 1024;
const progressIntervalMs = 100;
const optionNames = [
  'until',
  'concurrency',
  'signal',
  'onProgress',
  'committedOnly',
  'maxTransactionBytes',
  'kind',
  'key',
] as const;
const marks: readonly number[] = [Operation.BeginTx, Operation.CommitTx, Operation.AbortTx];

interface ReplayPlan<T> {
  readonly request: ReadRequest;
  readonly handler: Handler<T>;
  readonly concurrency: number;
  readonly signal: AbortSignal | undefined;
  readonly onProgress: ((progress: Progress) => void) | undefined;
  readonly committed: CommittedOnly | undefined;
  /** Kinds to deliver, where the request asks for more. */
  readonly kinds: ReadonlySet<number> | undefined;
}

/** Checks what was asked for, at once, and replays. */
export function runReplay<T>(
  source: ReplaySource<T>,
  from: ReplayFrom,
  handler: Handler<T>,
  options: ReplayOptions,
): Promise<ReplayResult> {
  return new Replay(source, plan(from, handler, options, source.maxKeyBytes)).run();
}

/** Throws what `runReplay` would of its arguments. */
export function checkReplay(from: ReplayFrom, handler: Handler<never>, options: ReplayOptions): void {
  plan(from, handler, options, Infinity);
}

function plan<T>(from: ReplayFrom, handler: Handler<T>, options: ReplayOptions, maxKeyBytes: number): ReplayPlan<T> {
  checkOptions(options, optionNames, 'replay');
  if (typeof handler !== 'function') throw new TypeError(`handler must be a function, not ${describe(handler)}`);
  const { until, concurrency = 1, signal, onProgress, maxTransactionBytes = defaultTransactionBytes, key } = options;
  checkInteger('concurrency', concurrency, 1, maxConcurrency);
  checkInteger('maxTransactionBytes', maxTransactionBytes, 0, Number.MAX_SAFE_INTEGER);
  checkSignal(signal);
  if (onProgress !== undefined && typeof onProgress !== 'function') {
    throw new TypeError(`onProgress must be a function, not ${describe(onProgress)}`);
  }
  const committed = checkBoolean('committedOnly', options.committedOnly, false);
  const kinds = kindsOf(options.kind);
  const read: ReadOptions = { ...rangeOf(from, until) };
  if (key !== undefined) read.key = key;
  if (kinds !== undefined) read.kind = committed ? [...kinds, ...marks] : kinds;
  return {
    request: resolveRead(read, maxKeyBytes),
    handler,
    concurrency,
    signal,
    onProgress,
    committed: committed ? new CommittedOnly(maxTransactionBytes) : undefined,
    kinds: committed && kinds !== undefined ? new Set(kinds) : undefined,
  };
}

function kindsOf(kind: ReplayOptions['kind']): readonly number[] | undefined {
  return kind === undefined || Array.isArray(kind) ? (kind as readonly number[] | undefined) : [kind as number];
}

function rangeOf(from: unknown, until: unknown): ReadOptions {
  const range: ReadOptions = {};
  if (typeof from === 'object' && from !== null && 'sequence' in from) {
    // The checkpoint of an empty log has the number 0.
    checkInteger('from.sequence', from.sequence, 0, Number.MAX_SAFE_INTEGER - 1);
    range.from = from.sequence + 1;
  } else if (from !== undefined) {
    if (typeof from !== 'number') {
      throw new TypeError(`from must be a sequence number, a checkpoint or undefined, not ${describe(from)}`);
    }
    checkSequence('from', from);
    range.from = from;
  }
  if (types.isDate(until)) {
    if (Number.isNaN(until.getTime())) throw new RangeError('until is not a time: Invalid Date');
    range.toTime = until;
  } else if (until !== undefined) {
    if (typeof until !== 'number') {
      throw new TypeError(`until must be a sequence number or a Date, not ${describe(until)}`);
    }
    checkSequence('until', until);
    range.to = until;
  }
  return range;
}

/** One replay. */
class Replay<T> {
  private readonly begin = performance.now();
  private readonly codec: Codec<T> | undefined;
  private readonly lanes: Lanes<T> | undefined;
  private readonly progress: ProgressReport | undefined;
  private records = 0;
  private lastSequence: number;
  /** The next record to be taken; everything before it was handed over, held back or left out. */
  private next: number;
  /** With one handler at a time: where to begin again for the record that it has; Infinity: it is done. */
  private restartOfCurrent = Infinity;

  constructor(
    private readonly source: ReplaySource<T>,
    private readonly plan: ReplayPlan<T>,
  ) {
    this.codec = source.codec;
    this.lanes = plan.concurrency === 1 ? undefined : new Lanes(plan.handler, plan.concurrency);
    const { filter, explicitFrom } = plan.request;
    this.next = explicitFrom ? filter.from : Math.max(filter.from, source.firstSequence());
    this.lastSequence = this.next - 1;
    if (plan.onProgress !== undefined) {
      const to = Math.min(filter.to, source.lastSequence());
      this.progress = new ProgressReport(plan.onProgress, source.segments(), this.next, to);
    }
  }

  async run(): Promise<ReplayResult> {
    const { signal } = this.plan;
    const interrupt = (): void => this.lanes?.interrupt();
    signal?.addEventListener('abort', interrupt, { once: true });
    try {
      this.throwIfOver();
      await this.readAll();
      await this.lanes?.finish();
      this.throwIfOver();
      this.progress?.tell(this.handled, Infinity);
      return this.result();
    } catch (error) {
      await this.lanes?.stop();
      throw this.toReplayError(error);
    } finally {
      signal?.removeEventListener('abort', interrupt);
    }
  }

  private get handled(): number {
    return this.records + (this.lanes?.records ?? 0);
  }

  /** Bytes are read and not values: decoding comes last, and what is held back has a size. */
  private async readAll(): Promise<void> {
    const bytes: ReadSource<Buffer> = { ...this.source, codec: undefined };
    for await (const batch of new BatchRange(bytes, this.plan.request, defaultChunkBytes)) {
      for (const record of batch) {
        const pause = this.take(record);
        if (pause !== undefined) await pause;
        this.throwIfOver();
      }
      this.progress?.tellNowAndThen(this.handled, this.next - 1);
    }
  }

  /** Hands over what can be delivered now that `record` was read. What is returned is to be awaited. */
  private take(record: WalRecord<Buffer>): Promise<void> | undefined {
    const { committed, kinds } = this.plan;
    if (committed === undefined) {
      this.next = record.sequence + 1;
      return this.deliver(record, record.sequence);
    }
    const { records, restart } = committed.take(record);
    this.next = record.sequence + 1;
    const wanted = kinds === undefined ? records : records.filter(({ kind }) => kinds.has(kind));
    if (wanted.length === 1) return this.deliver(wanted[0] as WalRecord<Buffer>, restart);
    return wanted.length === 0 ? undefined : this.deliverAll(wanted, restart);
  }

  private async deliverAll(records: readonly WalRecord<Buffer>[], restart: number): Promise<void> {
    this.restartOfCurrent = restart;
    for (const record of records) {
      const pause = this.deliver(record, restart);
      if (this.lanes === undefined) this.restartOfCurrent = restart; // of those that follow
      if (pause !== undefined) await pause;
      this.restartOfCurrent = restart;
      this.throwIfOver();
    }
    this.restartOfCurrent = Infinity;
  }

  private deliver(record: WalRecord<Buffer>, restart: number): Promise<void> | undefined {
    const { lanes } = this;
    if (lanes === undefined) return this.handle(record, restart);
    let decoded: WalRecord<T>;
    try {
      decoded = withDecodedData(record, this.codec);
    } catch (error) {
      this.restartOfCurrent = restart;
      throw new HandlerError(record.sequence, error);
    }
    return lanes.add(decoded, record.data.length + (record.key?.length ?? 0), restart);
  }

  /** One at a time. A handler that is done when it returns costs no turn of the event loop. */
  private handle(record: WalRecord<Buffer>, restart: number): Promise<void> | undefined {
    this.restartOfCurrent = restart;
    let result: unknown;
    try {
      result = this.plan.handler(withDecodedData(record, this.codec));
    } catch (error) {
      throw new HandlerError(record.sequence, error);
    }
    if (isThenable(result)) return this.awaitHandler(record, result);
    this.done(record);
    return undefined;
  }

  private async awaitHandler(record: WalRecord<Buffer>, result: PromiseLike<unknown>): Promise<void> {
    try {
      await result;
    } catch (error) {
      throw new HandlerError(record.sequence, error);
    }
    this.done(record);
  }

  private done(record: WalRecord<Buffer>): void {
    this.restartOfCurrent = Infinity;
    this.records++;
    if (record.sequence > this.lastSequence) this.lastSequence = record.sequence;
  }

  private throwIfOver(): void {
    const failure = this.lanes?.failure;
    if (failure !== undefined) throw new HandlerError(failure.sequence, failure.error);
    const { signal } = this.plan;
    if (signal?.aborted === true) throw new WalError('WAL_ABORTED', 'the replay was aborted', { cause: signal.reason });
    if (this.source.closed()) throw new WalError('WAL_CLOSED', 'the log was closed while it was replayed');
  }

  private resumeFrom(): number {
    const unread = this.plan.committed?.restartOf(this.next) ?? this.next;
    return Math.min(unread, this.restartOfCurrent, this.lanes?.restart ?? Infinity);
  }

  private result(): ReplayResult {
    return {
      records: this.handled,
      lastSequence: Math.max(this.lastSequence, this.lanes?.lastSequence ?? 0),
      durationMs: performance.now() - this.begin,
      resumeFrom: this.resumeFrom(),
      openTransactions: this.plan.committed?.openTransactions ?? 0,
    };
  }

  /** REQUIRES: no handler is under way. */
  private toReplayError(thrown: unknown): unknown {
    const failure = this.lanes?.failure; // it may have come while the others were waited for
    const error = failure === undefined ? thrown : new HandlerError(failure.sequence, failure.error);
    const resumeFrom = this.resumeFrom();
    if (error instanceof HandlerError) {
      const { sequence, cause } = error;
      const reason = cause instanceof Error ? cause.message : String(cause);
      const message = `the handler failed on record ${sequence}: ${reason}`;
      return new ReplayError(
        'WAL_REPLAY',
        message,
        { cause, firstSequence: sequence, lastSequence: sequence },
        resumeFrom,
      );
    }
    return error instanceof WalError ? ReplayError.of(error, resumeFrom) : error;
  }
}

/** On its way to the {@link ReplayError} that its user sees. */
class HandlerError extends Error {
  constructor(
    readonly sequence: number,
    cause: unknown,
  ) {
    super('a handler failed', { cause });
  }
}

/** How far a replay has got, in bytes, going by what the log says of its segments. */
class ProgressReport {
  private told = performance.now();
  private readonly totalBytes: number;

  constructor(
    private readonly report: (progress: Progress) => void,
    private readonly segments: readonly SegmentInfo[],
    private readonly from: number,
    private readonly to: number,
  ) {
    this.totalBytes = this.bytesUpTo(to);
  }

  tellNowAndThen(records: number, sequence: number): void {
    if (performance.now() - this.told >= progressIntervalMs) this.tell(records, sequence);
  }

  tell(records: number, sequence: number): void {
    this.told = performance.now();
    this.report({ records, bytes: this.bytesUpTo(Math.min(sequence, this.to)), totalBytes: this.totalBytes });
  }

  /** As if all records of a segment were of one size. */
  private bytesUpTo(sequence: number): number {
    let bytes = 0;
    for (const segment of this.segments) {
      const first = Math.max(segment.firstSequence, this.from);
      const last = Math.min(segment.lastSequence, sequence);
      if (last >= first) bytes += (segment.bytes * (last - first + 1)) / segment.records;
    }
    return Math.round(bytes);
  }
}
