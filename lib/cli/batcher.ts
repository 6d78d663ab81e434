import { WalError } from '../errors';
import type { RecordInput } from '../records';
import type { WalManager } from '../wal-manager';

/** How an ingest waits for durability; see the help of `segwal ingest`. */
export const syncModes = ['none', 'async', 'end', 'batch', 'immediate'] as const;
export type SyncMode = (typeof syncModes)[number];

const maxBatchBytes = 1024 * 1024;

/** Gathers records, appends them in batches, and waits as the mode wants. */
export class Batcher {
  private records: RecordInput[] = [];
  private bytes = 0;
  private previous: Promise<void> = Promise.resolve();
  private readonly maxBytes: number;

  constructor(
    private readonly wal: WalManager,
    private readonly mode: SyncMode,
    private readonly maxRecords: number,
  ) {
    // A batch is one frame, which does not cross a segment: a large one wastes what is left of the present one.
    this.maxBytes = Math.min(maxBatchBytes, wal.segmentSize / 8);
  }

  /** True when the batch is full: then it is time for {@link flush}. */
  add(record: RecordInput): boolean {
    this.records.push(record);
    this.bytes += record.data.length;
    return this.records.length >= this.maxRecords || this.bytes >= this.maxBytes;
  }

  /** Appends what is gathered. */
  async flush(): Promise<void> {
    const { records } = this;
    if (records.length === 0) return;
    this.records = [];
    this.bytes = 0;
    const last = (await this.append(records)) + records.length - 1;
    if (this.mode === 'immediate') await this.wal.whenDurable(last);
    if (this.mode === 'batch') await this.waitForPrevious(last);
  }

  /** The end of the input. */
  async finish(): Promise<void> {
    await this.flush();
    if (this.mode !== 'none' && this.mode !== 'async') await this.wal.sync();
  }

  /** While a sync runs, the next batch gathers. */
  private async waitForPrevious(last: number): Promise<void> {
    const { previous } = this;
    this.previous = this.wal.whenDurable(last);
    this.previous.catch(() => undefined); // the next batch, or the end, hears of it
    await previous;
  }

  private async append(records: RecordInput[]): Promise<number> {
    for (;;) {
      try {
        return this.wal.appendBatch(records);
      } catch (error) {
        if (!(error instanceof WalError) || error.code !== 'WAL_BACKPRESSURE') throw error;
        await this.wal.sync();
      }
    }
  }
}
