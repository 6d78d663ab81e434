// Reading records of 100 bytes back, from a log that is in the page cache.
import { WalManager } from 'segwal';

import { fillLog } from '../environment.mjs';

export function cases({ scale }) {
  const prepare = { trial: 'fill', records: 3_000_000 * scale };
  return [
    readCase('read, for', prepare, 'iterate', 10),
    readCase('read, for await', prepare, 'iterateAsync', 5),
    readCase('readBatches', prepare, 'batches', 10),
  ];
}

function readCase(name, prepare, trial, atLeast) {
  return { name, unit: 'M records/s', prepare, contenders: { segwal: { trial } }, targets: [{ atLeast }] };
}

export const trials = {
  async fill({ records }, directory) {
    const wal = await fillLog(directory, records);
    await wal.close();
  },

  iterate: (_, directory) =>
    readTwice(directory, (wal) => {
      let bytes = 0;
      for (const record of wal.read()) bytes += record.data.length;
      return bytes;
    }),

  iterateAsync: (_, directory) =>
    readTwice(directory, async (wal) => {
      let bytes = 0;
      for await (const record of wal.read()) bytes += record.data.length;
      return bytes;
    }),

  batches: (_, directory) =>
    readTwice(directory, async (wal) => {
      let bytes = 0;
      for await (const batch of wal.readBatches()) for (const record of batch) bytes += record.data.length;
      return bytes;
    }),
};

/** Once for the caches and the compiler, and once for the clock. */
async function readTwice(directory, read) {
  const wal = await WalManager.open(directory);
  await read(wal);
  const begin = performance.now();
  const bytes = await read(wal);
  const ms = performance.now() - begin;
  const records = wal.lastSequence;
  await wal.close();
  if (bytes !== records * 100)
    throw new Error(`${records} records of 100 bytes were expected, ${bytes} bytes were read`);
  return { value: records / ms / 1000, details: { records } };
}
