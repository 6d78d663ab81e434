// Records of which everything follows from their sequence number, so that whoever reads one knows what it must be, and
// readers that keep up, lag behind or begin again and again.
import { setTimeout as sleep } from 'node:timers/promises';

import type { WalError } from '../../lib';
import type { WalManager, WalRecord } from '../../lib';

const longest = 1400;
const pool = Buffer.from(Array.from({ length: 4096 + longest }, (_, i) => (i * 7919 + (i >>> 8) * 31) % 251));

/** No two of them begin alike, and their lengths differ: in a file that is used again no frame comes to stand on one. */
export function dataOf(sequence: number): Buffer {
  const mixed = Math.imul(sequence, 0x9e3779b1) >>> 0;
  const start = mixed % 4096;
  return Buffer.concat([Buffer.from(`${sequence} `), pool.subarray(start, start + ((mixed >>> 12) % longest))]);
}

export function isDerived({ sequence, data }: WalRecord): boolean {
  return data.equals(dataOf(sequence));
}

/** Appends one such record. */
export function appendDerived(wal: WalManager): number {
  return wal.append(dataOf(wal.lastSequence + 1));
}

export interface Reading {
  /** How many were what they must be. */
  records: number;
  /** Numbers of those that were not, or that did not follow the one before. */
  wrong: number[];
  /** How often a reading ended because what it was to read next had gone. */
  truncated: number;
  /** Everything else that readings ended with. */
  failures: string[];
}

export function noReading(): Reading {
  return { records: 0, wrong: [], truncated: 0, failures: [] };
}

/** `live` keeps up; `lag` waits in the middle of a segment until it has gone; `open` reads all there is, opened anew. */
export type Manner = 'live' | 'lag' | 'open';

export class DerivedReader {
  readonly reading = noReading();
  private readonly interruption = new AbortController();
  private ended = false;

  constructor(
    private readonly manner: Manner,
    private readonly open: () => Promise<WalManager>,
  ) {}

  stop(): void {
    this.ended = true;
    this.interruption.abort();
  }

  async run(): Promise<Reading> {
    while (!this.ended && this.reading.failures.length === 0) {
      await this.attempt(async () => {
        const wal = await this.open();
        try {
          do await this.attempt(() => this.read(wal));
          while (this.manner !== 'open' && !this.ended && this.reading.failures.length === 0);
        } finally {
          await wal.close();
        }
      });
    }
    return this.reading;
  }

  private async attempt(action: () => Promise<void>): Promise<void> {
    try {
      await action();
    } catch (error) {
      const { code, message } = error as WalError;
      if (code === 'WAL_TRUNCATED') this.reading.truncated++;
      else if (code !== 'WAL_ABORTED' || !this.ended) this.reading.failures.push(`${this.manner}: ${code}: ${message}`);
    }
  }

  private see(records: readonly WalRecord[], due: number): number {
    for (const record of records) {
      if ((due === 0 || record.sequence === due) && isDerived(record)) this.reading.records++;
      else this.reading.wrong.push(record.sequence);
      due = record.sequence + 1;
    }
    return due;
  }

  private read(wal: WalManager): Promise<void> {
    if (this.manner === 'live') return this.live(wal);
    return this.manner === 'lag' ? this.lag(wal) : this.all(wal);
  }

  private async live(wal: WalManager): Promise<void> {
    let due = 0;
    const { signal } = this.interruption;
    for await (const batch of wal.readBatches({ live: true, from: wal.firstSequence, signal })) {
      due = this.see(batch, due);
    }
  }

  /** Small chunks: what comes behind the first stands in a file that is not the log's any more. */
  private async lag(wal: WalManager): Promise<void> {
    let due = 0;
    let waits = 0;
    for await (const batch of wal.readBatches({ from: wal.firstSequence, batchBytes: 4096 })) {
      due = this.see(batch, due);
      if (++waits % 8 !== 1) continue;
      while (wal.firstSequence <= due && !this.ended) await sleep(1);
      await sleep(10); // and long enough for its file to be used again
    }
  }

  private async all(wal: WalManager): Promise<void> {
    let due = 0;
    for await (const batch of wal.readBatches()) due = this.see(batch, due);
  }
}
