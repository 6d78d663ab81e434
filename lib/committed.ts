import { WalError } from './errors';
import { Operation } from './operation';
import type { WalRecord } from './records';

/** What a record that is held back costs beside its bytes, roughly. */
const recordBytes = 64;

interface OpenTransaction {
  readonly records: WalRecord<Buffer>[];
  bytes: number;
}

/**
 * Holds back what is not committed yet. A transaction is identified by the key of its records: a record of kind
 * `BeginTx` begins the transaction of its key, and what has the same key belongs to it, until `CommitTx` or `AbortTx` with
 * that key. "No key" is an identity like any other.
 *
 * - What belongs to no open transaction comes at once.
 * - What belongs to one comes when it commits, in its order, or never, when it aborts.
 * - A second `BeginTx` of a key aborts the transaction that is open: its writer was gone.
 * - A commit or an abort of what was never begun is nothing.
 * - The three marks themselves do not come.
 */
export class CommittedOnly {
  private readonly open = new Map<string, OpenTransaction>();
  private heldBytes = 0;
  private since = 0;

  constructor(private readonly maxBytes: number) {}

  get openTransactions(): number {
    return this.open.size;
  }

  /**
   * Where to begin again, to see what belongs to `sequence`, the record that was taken last or is to be taken next: no
   * transaction is open there.
   */
  restartOf(sequence: number): number {
    return this.open.size === 0 ? sequence : this.since;
  }

  /** What is to be delivered now that `record` was read, and where to begin again for that. */
  take(record: WalRecord<Buffer>): { records: readonly WalRecord<Buffer>[]; restart: number } {
    const restart = this.restartOf(record.sequence);
    const name = record.key === null ? '' : `=${record.key.toString('latin1')}`;
    const transaction = this.open.get(name);
    switch (record.kind) {
      case Operation.BeginTx:
        this.since = restart;
        this.end(name, transaction);
        this.open.set(name, { records: [], bytes: 0 });
        return { records: [], restart };
      case Operation.CommitTx:
        this.end(name, transaction);
        return { records: transaction?.records ?? [], restart };
      case Operation.AbortTx:
        this.end(name, transaction);
        return { records: [], restart };
      default:
        if (transaction === undefined) return { records: [record], restart };
        this.hold(transaction, record);
        return { records: [], restart };
    }
  }

  private end(name: string, transaction: OpenTransaction | undefined): void {
    if (transaction === undefined) return;
    this.heldBytes -= transaction.bytes;
    this.open.delete(name);
  }

  /** A copy is held: a small record would keep the whole chunk alive that it was read with. */
  private hold(transaction: OpenTransaction, record: WalRecord<Buffer>): void {
    const { sequence, timestamp, kind, key, data } = record;
    const bytes = recordBytes + data.length + (key?.length ?? 0);
    if (this.heldBytes + bytes > this.maxBytes) {
      throw new WalError(
        'WAL_TRANSACTION_TOO_LARGE',
        `record ${sequence} belongs to a transaction that is not committed yet, and there are ${this.open.size} with ` +
          `${this.heldBytes} bytes to be held back; maxTransactionBytes is ${this.maxBytes}`,
        { firstSequence: sequence, lastSequence: sequence },
      );
    }
    this.heldBytes += bytes;
    transaction.bytes += bytes;
    transaction.records.push({
      sequence,
      timestamp,
      kind,
      key: key === null ? null : Buffer.from(key),
      data: Buffer.from(data),
    });
  }
}
