import type { Codec, WalData } from './codec';
import { WalError } from './errors';
import type { Native } from './native';
import { checkSyncPolicy } from './options';
import type { SyncPolicy } from './options';
import { checkData, checkKey, checkKind, checkRecordOptions, copyOf } from './records';
import type { Batch, RecordOptions } from './records';
import { checkOptions } from './validation';

/** What a {@link Transaction} needs of the log. */
export interface TransactionTarget<T> {
  readonly codec: Codec<T> | undefined;
  readonly constants: Pick<Native['constants'], 'maxKeyBytes' | 'batchOverhead' | 'batchRecordOverhead'>;
  /** Bytes of the largest frame that the log takes. */
  readonly maxFrameBytes: number;
  /** Throws when nothing can be appended. */
  assertWritable(): void;
  /** Appends the batch, which nobody else will change, as one frame. */
  commit(batch: Batch, sync: SyncPolicy | undefined): Promise<number>;
}

/** How to commit. */
export interface CommitOptions {
  /** What to wait for, instead of what the log was opened with; see {@link SyncPolicy}. */
  sync?: SyncPolicy;
}

/**
 * Records that go into the log together or not at all. They are collected in memory, and become one atomic frame when
 * the transaction commits: after a crash, and for every reader, all of them are there or none. Until then nothing of it
 * is in the log, and other appends go on; the records of a transaction are side by side, with the sequence numbers of
 * the commit.
 *
 * ```ts
 * const transaction = wal.transaction();
 * transaction.append('debit', { key: 'alice', kind: Operation.Update });
 * transaction.append('credit', { key: 'bob', kind: Operation.Update });
 * const first = await transaction.commit();
 * ```
 *
 * After `commit` or `abort`, `append` and `commit` are refused with a `TypeError`.
 */
export class Transaction<T = Buffer> implements Disposable {
  private readonly data: (Uint8Array | string)[] = [];
  private readonly kinds: number[] = [];
  private readonly keys: (Uint8Array | string | null | undefined)[] = [];
  private frameBytes: number;
  private ended: 'committed' | 'aborted' | undefined;

  /** Use `wal.transaction()`. */
  constructor(private readonly target: TransactionTarget<T>) {
    this.frameBytes = target.constants.batchOverhead;
  }

  /** How many records there are so far. */
  get records(): number {
    return this.data.length;
  }

  /** Bytes of the frame that the records so far make, before compression. */
  get bytes(): number {
    return this.frameBytes;
  }

  /**
   * Adds a record. The caller can use its memory again at once.
   *
   * @throws `TypeError`, `RangeError`; {@link WalError} `WAL_RECORD_TOO_LARGE` when the transaction would not fit into one
   * frame, with the limit in the message; `WAL_CLOSED`. The record is not added then, and the rest of the transaction
   * stays as it was.
   */
  append(data: WalData<T>, options: RecordOptions = {}): void {
    this.assertGoing('append');
    this.target.assertWritable();
    checkRecordOptions(options);
    const { codec, constants, maxFrameBytes } = this.target;
    const { kind = 0, key } = options;
    checkKind(kind);
    checkKey(key, constants.maxKeyBytes);
    const encoded: unknown = codec === undefined ? data : codec.encode(data as T);
    checkData(encoded, codec === undefined ? 'data' : 'what codec.encode returned');
    const bytes = this.frameBytes + constants.batchRecordOverhead + byteLength(key ?? '') + byteLength(encoded);
    if (bytes > maxFrameBytes) {
      throw new WalError(
        'WAL_RECORD_TOO_LARGE',
        `with this record the transaction would be a frame of ${bytes} bytes (headers included); the limit of this log ` +
          `is ${maxFrameBytes} bytes, its segmentSize less the segment's header. It has ${this.records} records`,
      );
    }
    this.frameBytes = bytes;
    this.data.push(copyOf(encoded));
    this.kinds.push(kind);
    this.keys.push(copyOf(key));
  }

  /**
   * Appends the records as one, and resolves like `writeBatch`: when they are durable, or, with the policy `async`, when
   * they survive the death of the process. The number is that of the first record; 0, and nothing is written, when there
   * is none. The transaction is over whether or not this succeeds.
   *
   * @throws as `writeBatch`, as rejections. Nothing was appended then; but after `WAL_POISONED` all of the transaction is
   * there, or nothing, which the next open finds out.
   */
  async commit(options: CommitOptions = {}): Promise<number> {
    this.assertGoing('commit');
    checkOptions(options, ['sync'], 'commit');
    if (options.sync !== undefined) checkSyncPolicy('sync', options.sync);
    this.target.assertWritable();
    this.ended = 'committed';
    if (this.data.length === 0) return 0;
    const keyed = this.keys.some((key) => key !== undefined && key !== null);
    const batch: Batch = {
      data: this.data,
      kinds: this.kinds.some((kind) => kind !== 0) ? Uint8Array.from(this.kinds) : null,
      keys: keyed ? this.keys : null,
    };
    return this.target.commit(batch, options.sync);
  }

  /**
   * Gives the records up. Nothing of them was in the log. A second time it does nothing.
   *
   * @throws `TypeError` when the transaction was committed.
   */
  abort(): void {
    if (this.ended === 'aborted') return;
    this.assertGoing('abort');
    this.giveUp();
  }

  /** {@link Transaction.abort}, unless it was committed; for `using`. */
  [Symbol.dispose](): void {
    if (this.ended === undefined) this.giveUp();
  }

  private giveUp(): void {
    this.ended = 'aborted';
    this.data.length = this.kinds.length = this.keys.length = 0;
  }

  private assertGoing(what: string): void {
    if (this.ended === undefined) return;
    throw new TypeError(
      `cannot ${what}: the transaction was ${this.ended} already; begin another with wal.transaction()`,
    );
  }
}

function byteLength(data: Uint8Array | string): number {
  return typeof data === 'string' ? Buffer.byteLength(data) : data.length;
}
