// A thousand records of 100 bytes at a time: packed into one buffer, and as an array of objects; against the loop of
// raw.cc, which takes the same buffer.
import { join } from 'node:path';

import { WalManager } from 'segwal';

import { medianBurst, measure, packedRecords, raw } from '../environment.mjs';

const perBatch = 1000;
const bytes = 100;
const perBurst = 10;
const rawFileBytes = 64 * 2 ** 20;

export function cases({ scale }) {
  const batches = 6000 * scale;
  const bursts = 500 * scale;
  return [
    {
      name: 'batches of 1,000 × 100 B, bursts of 10',
      unit: 'M records/s',
      contenders: {
        'segwal, packed': { trial: 'packedBursts', bursts },
        'segwal, array': { trial: 'arrayBursts', bursts },
        'segwal, append one by one': { trial: 'appendBursts', bursts },
        raw: { trial: 'rawBursts', bursts },
      },
      targets: [
        { of: 'segwal, packed', to: 'raw', atLeast: 0.6 },
        { of: 'segwal, array', to: 'segwal, append one by one', atLeast: 1.3 },
      ],
    },
    {
      name: 'batches of 1,000 × 100 B',
      unit: 'M records/s',
      contenders: {
        'segwal, packed': { trial: 'packed', batches },
        'segwal, array': { trial: 'array', batches },
        raw: { trial: 'raw', batches },
      },
    },
  ];
}

export const trials = {
  packed: ({ batches }, directory) => appendBatches(packedRecords(perBatch, bytes), batches, directory),

  array: ({ batches }, directory) => appendBatches(recordArray(), batches, directory),

  packedBursts({ bursts }, directory) {
    const batch = packedRecords(perBatch, bytes);
    return inBursts(bursts, directory, (wal) => wal.appendBatch(batch));
  },

  arrayBursts({ bursts }, directory) {
    const batch = recordArray();
    return inBursts(bursts, directory, (wal) => wal.appendBatch(batch));
  },

  appendBursts({ bursts }, directory) {
    const records = recordArray();
    return inBursts(bursts, directory, (wal) => {
      for (const { data } of records) wal.append(data);
    });
  },

  rawBursts({ bursts }, directory) {
    const { buffer, offsets } = packedRecords(perBatch, bytes);
    const { appendPacked } = raw.open(join(directory, 'raw'), rawFileBytes);
    return medianBurst(bursts, perBurst * perBatch, () => {
      for (let i = 0; i < perBurst; i++) appendPacked(buffer, offsets);
    });
  },

  raw({ batches }, directory) {
    const { buffer, offsets } = packedRecords(perBatch, bytes);
    const { appendPacked, checksum } = raw.open(join(directory, 'raw'), rawFileBytes);
    const run = (n) => {
      for (let i = 0; i < n; i++) appendPacked(buffer, offsets);
    };
    run(Math.ceil(batches / 50));
    const { rate, threadNs } = measure(batches * perBatch, () => run(batches));
    return { value: rate, threadNs, details: { checksum: checksum() } };
  },
};

function recordArray() {
  const { buffer, offsets } = packedRecords(perBatch, bytes);
  return Array.from({ length: perBatch }, (_, i) => ({ data: buffer.subarray(offsets[i], offsets[i + 1]) }));
}

async function inBursts(bursts, directory, appendThousand) {
  const wal = await WalManager.open(directory, { maxDirtyBytes: Infinity });
  const result = await medianBurst(bursts, perBurst * perBatch, () => {
    for (let i = 0; i < perBurst; i++) appendThousand(wal);
  });
  await wal.close();
  return result;
}

async function appendBatches(batch, batches, directory) {
  const wal = await WalManager.open(directory, { maxDirtyBytes: Infinity });
  const run = (n) => {
    for (let i = 0; i < n; i++) wal.appendBatch(batch);
  };
  const warmUp = Math.ceil(batches / 50);
  run(warmUp);
  await wal.sync();

  const begin = performance.now();
  const { rate, threadNs } = measure(batches * perBatch, () => run(batches));
  const last = await wal.sync();
  const durableMs = performance.now() - begin;

  if (last !== (warmUp + batches) * perBatch) throw new Error(`the log ends with record ${last}`);
  const { rotations, writerStalls, writerStallMs, syncs } = wal.stats();
  await wal.close();
  return {
    value: rate,
    threadNs,
    details: { durableMs, rotations, writerStalls, writerStallMs, syncs },
  };
}
