// Reading records of 100 bytes back, from a log that is in the page cache. Beside it what JavaScript by itself takes to
// make the same objects out of memory: there is no log, no native call and no checksum in it. How many records a second
// are wanted depends on the machine; what share of that loop does less so.
import { WalManager } from 'segwal';

import { fillLog } from '../environment.mjs';

const recordBytes = 100;
const chunkBytes = 256 * 2 ** 10;

export function cases({ scale }) {
  const prepare = { trial: 'fill', records: 3_000_000 * scale };
  return [
    readCase('read, for', prepare, 'iterate', 10, 10 / 14),
    readCase('read, for await', prepare, 'iterateAsync', 5, 5 / 6.5),
    readCase('readBatches', prepare, 'batches', 10, 10 / 14),
  ];
}

function readCase(name, prepare, trial, atLeast, share) {
  return {
    name,
    unit: 'M records/s',
    prepare,
    contenders: { segwal: { trial }, 'plain JavaScript': { trial, plain: prepare.records } },
    targets: [{ atLeast }, { to: 'plain JavaScript', atLeast: Number(share.toFixed(2)) }],
  };
}

export const trials = {
  async fill({ records }, directory) {
    const wal = await fillLog(directory, records);
    await wal.close();
  },

  iterate: (load, directory) =>
    readTwice(load, directory, (wal) => {
      let bytes = 0;
      for (const record of wal.read()) bytes += record.data.length;
      return bytes;
    }),

  iterateAsync: (load, directory) =>
    readTwice(load, directory, async (wal) => {
      let bytes = 0;
      for await (const record of wal.read()) bytes += record.data.length;
      return bytes;
    }),

  batches: (load, directory) =>
    readTwice(load, directory, async (wal) => {
      let bytes = 0;
      for await (const batch of wal.readBatches()) for (const record of batch) bytes += record.data.length;
      return bytes;
    }),
};

/** Once for the caches and the compiler, and once for the clock. */
async function readTwice({ plain }, directory, read) {
  const source = plain === undefined ? await WalManager.open(directory) : new PlainRecords(plain);
  await read(source);
  const begin = performance.now();
  const bytes = await read(source);
  const ms = performance.now() - begin;
  const records = source.lastSequence;
  await source.close();
  if (bytes !== records * recordBytes)
    throw new Error(`${records} records of ${recordBytes} bytes were expected, ${bytes} bytes were read`);
  return { value: records / ms / 1000, details: { records } };
}

class PlainRecord {
  constructor(sequence, timestamp, kind, key, data) {
    this.sequence = sequence;
    this.timestamp = timestamp;
    this.kind = kind;
    this.key = key;
    this.data = data;
  }
}

/** As many records, as long, handed out in the same three ways. Their bytes are in chunks, as those of a log are. */
class PlainRecords {
  constructor(count) {
    this.lastSequence = count;
  }

  async close() {}

  read() {
    const count = this.lastSequence;
    let made = 0;
    let chunk = Buffer.alloc(0);
    let at = 0;
    const next = () => {
      if (made === count) return { value: undefined, done: true };
      if (at + recordBytes > chunk.length) {
        chunk = Buffer.allocUnsafeSlow(chunkBytes);
        at = 0;
      }
      const value = new PlainRecord(++made, 1.5e12, 0, null, chunk.subarray(at, at + recordBytes));
      at += recordBytes;
      return { value, done: false };
    };
    return {
      [Symbol.iterator]: () => ({ next }),
      [Symbol.asyncIterator]: () => ({ next: () => Promise.resolve(next()) }),
    };
  }

  async *readBatches() {
    const records = this.read()[Symbol.iterator]();
    for (;;) {
      const batch = [];
      for (let i = 0; i < chunkBytes / recordBytes - 1; i++) {
        const { value, done } = records.next();
        if (!done) batch.push(value);
      }
      if (batch.length === 0) return;
      yield batch;
    }
  }
}
