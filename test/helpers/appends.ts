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

/**
 * Of each thread. A long record takes long to write: time for other threads to go on behind its claim. Those of the third
 * need segments that are larger than the smallest.
 */
const longRecords = [
  { often: 0.02, longest: 5000 },
  { often: 0.2, longest: 20_000 },
  { often: 0.5, longest: 100_000 },
];

const fillerPool = Buffer.from(Array.from({ length: 102_048 }, (_, i) => 97 + ((i * 7919) % 26)));

export function makeAppend(author: Author): Append {
  const { life, thread, turn } = author;
  const random = randomFrom(
    Math.imul(life, 0x9e3779b1) ^ Math.imul(thread + 1, 0x85ebca6b) ^ Math.imul(turn, 0xc2b2ae35),
  );
  const filler = (longest: number): Buffer => {
    const start = Math.floor(random() * 2048);
    return fillerPool.subarray(start, start + random() * longest);
  };
  const { often, longest } = longRecords[thread] ?? { often: 0, longest: 0 };
  const long = random() < often;
  const batch = long || random() < 0.1;
  const count = batch && !long ? 1 + Math.floor(random() * mostRecordsOfAnAppend) : 1;
  const records = Array.from({ length: count }, () => ({
    data: filler(150),
    kind: Math.floor(random() * 256),
    key: random() < 0.3 ? `key ${turn % 5}` : null,
  }));
  const first = records[0] as Append['records'][0];
  first.data = Buffer.concat([Buffer.from(`${life} ${thread} ${turn} `), first.data]);
  if (long) records.push({ data: filler(longest), kind: 0, key: null });
  return { records, batch };
}

/** Whose append begins with a record that has this data. */
export function parseAuthor(data: Buffer): Author {
  const [life, thread, turn] = data.subarray(0, 60).toString('latin1').split(' ', 3).map(Number);
  return { life: life ?? NaN, thread: thread ?? NaN, turn: turn ?? NaN };
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
