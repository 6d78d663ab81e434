// A thousand records of 100 bytes at a time: packed into one buffer, and as an array of objects; against the loop of
// raw.cc, which takes the same buffer.
import { join } from 'node:path';

import { WalManager } from 'segwal';

import { medianBurst, measure, packedRecords, raw } from '../environment.mjs';

const perBatch = 1000;
const bytes = 100;
const perBurst = 10;
const rawFileBytes = 64 * 2 ** 20;

export function cases(scale) {
  const batches = 10_000 * scale;
  const contender = { trial: 'raw', batches };
  const bursts = 1000 * scale;
  return [
    batchCase(
      'packed batch, 1,000 × 100 B, bursts of 10',
      { segwal: { trial: 'packedBursts', bursts }, raw: { trial: 'rawBursts', bursts } },
      { ratio: 0.4 },
    ),
    batchCase('packed batch, 1,000 × 100 B', { segwal: { trial: 'packed', batches }, raw: contender }, { ratio: 0.4 }),
    batchCase('array batch, 1,000 × 100 B', { segwal: { trial: 'array', batches }, raw: contender }),
  ];
}

function batchCase(name, contenders, target) {
  return { name, unit: 'M records/s', contenders, target };
}

export const trials = {
  packed: ({ batches }, directory) => appendBatches(packedRecords(perBatch, bytes), batches, directory),

  array({ batches }, directory) {
    const { buffer, offsets } = packedRecords(perBatch, bytes);
    const records = Array.from({ length: perBatch }, (_, i) => ({ data: buffer.subarray(offsets[i], offsets[i + 1]) }));
    return appendBatches(records, batches, directory);
  },

  async packedBursts({ bursts }, directory) {
    const batch = packedRecords(perBatch, bytes);
    const wal = await WalManager.open(directory);
    const result = await medianBurst(bursts, perBurst * perBatch, () => {
      for (let i = 0; i < perBurst; i++) wal.appendBatch(batch);
    });
    await wal.close();
    return result;
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

async function appendBatches(batch, batches, directory) {
  const wal = await WalManager.open(directory);
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
