// What a writer that is going to be killed appends: everything about it follows from who appends it and how often they
// have before, so that whoever finds a record knows what it must be.
import type { RecordInput } from '../../lib';

/** mulberry32: small, and the same everywhere. */
export function randomFrom(seed: number): () => number {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let mixed = Math.imul(state ^ (state >>> 15), state | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  };
}

/** The life of the writing process, the thread in it, and how many appends that thread has made before. */
export interface Author {
  life: number;
  thread: number;
  turn: number;
}

export interface Append {
  /** One when it is no batch. */
  records: (RecordInput & { data: Buffer; kind: number; key: string | null })[];
  batch: boolean;
}

export const mostRecordsOfAnAppend = 20;

const fillerPool = Buffer.from(Array.from({ length: 8192 }, (_, i) => 97 + ((i * 7919) % 26)));

export function makeAppend({ life, thread, turn }: Author): Append {
  const random = randomFrom(
    Math.imul(life, 0x9e3779b1) ^ Math.imul(thread + 1, 0x85ebca6b) ^ Math.imul(turn, 0xc2b2ae35),
  );
  const batch = random() < 0.1;
  const count = batch ? 1 + Math.floor(random() * mostRecordsOfAnAppend) : 1;
  const records = Array.from({ length: count }, (_, i) => {
    const length = random() < 0.02 ? random() * 5000 : random() * 150;
    const start = Math.floor(random() * 2048);
    const filler = fillerPool.subarray(start, start + length);
    return {
      data: Buffer.concat([Buffer.from(`${life} ${thread} ${turn} ${i} `), filler]),
      kind: Math.floor(random() * 256),
      key: random() < 0.3 ? `key ${turn % 5}` : null,
    };
  });
  return { records, batch };
}

/** Whose record that is, and which of its append. */
export function parseAuthor(data: Buffer): Author & { place: number } {
  const [life, thread, turn, place] = data.subarray(0, 60).toString('latin1').split(' ', 4).map(Number) as [
    number,
    number,
    number,
    number,
  ];
  return { life, thread, turn, place };
}

/**
 * What a writer has been told, in a file that it writes to after each append: per thread two u64, how many of its appends
 * have returned and the first sequence number of the latest; at the end one more, up to where it asked to truncate.
 */
export class Acknowledgements {
  static readonly bytesPerThread = 16;
  private readonly view: DataView;

  constructor(private readonly bytes: Buffer) {
    this.view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
  }

  static size(threads: number): number {
    return threads * Acknowledgements.bytesPerThread + 8;
  }

  of(thread: number): { returned: number; sequence: number } {
    const at = thread * Acknowledgements.bytesPerThread;
    return {
      returned: Number(this.view.getBigUint64(at, true)),
      sequence: Number(this.view.getBigUint64(at + 8, true)),
    };
  }

  get truncatedBefore(): number {
    return Number(this.view.getBigUint64(this.bytes.length - 8, true));
  }
}
