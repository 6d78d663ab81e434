// One record at a time from one JavaScript thread, through the public API, with rotation, allocation and sync going on
// beside it; against the bare call of raw.cc.
import { join } from 'node:path';

import { WalManager } from 'segwal';

import { medianBurst, measure, raw, sampleBuffers, sampleStrings } from '../environment.mjs';

const rawFileBytes = 64 * 2 ** 20;
const burstBytes = 2 ** 20;

export function cases(scale) {
  return [
    {
      name: 'pages of a new file, made ready',
      unit: 'GB/s',
      contenders: { raw: { trial: 'pages', bytes: 2 ** 30 * scale } },
    },
    burstCase('append Buffer, 100 B, bursts', 100, 1000 * scale, 0.8),
    burstCase('append Buffer, 1 KiB, bursts', 1024, 1000 * scale, 0.8),
    appendCase('append Buffer, 100 B', 'buffer', 100, 10_000_000 * scale, 0.8),
    appendCase('append Buffer, 1 KiB', 'buffer', 1024, 1_200_000 * scale, 0.8),
    appendCase('append string, 100 B', 'string', 100, 10_000_000 * scale),
    appendCase('append string, 1 KiB', 'string', 1024, 1_200_000 * scale),
  ];
}

function appendCase(name, input, bytes, count, ratio) {
  return {
    name,
    unit: 'M records/s',
    contenders: {
      segwal: { trial: 'segwal', input, bytes, count },
      raw: { trial: 'raw', input, bytes, count },
    },
    target: ratio && { ratio },
  };
}

/** As a service appends: what has come together at once, and then something else for a moment. */
function burstCase(name, bytes, bursts, ratio) {
  return {
    name,
    unit: 'M records/s',
    contenders: {
      segwal: { trial: 'segwalBursts', bytes, bursts },
      raw: { trial: 'rawBursts', bytes, bursts },
    },
    target: { ratio },
  };
}

export const trials = {
  /** How fast one thread makes what is appended into; for long no log can be faster. */
  pages({ bytes }, directory) {
    const begin = performance.now();
    raw.open(join(directory, 'raw'), bytes);
    return { value: bytes / (performance.now() - begin) / 1e6 };
  },

  async segwal({ input, bytes, count }, directory) {
    const records = input === 'string' ? sampleStrings(bytes) : sampleBuffers(bytes);
    const wal = await WalManager.open(directory);
    const append = (n) => {
      for (let i = 0; i < n; i++) wal.append(records[i & 1023]);
    };
    const warmUp = Math.ceil(count / 50);
    append(warmUp);
    await wal.sync();

    const begin = performance.now();
    const { rate, threadNs } = measure(count, () => append(count));
    const last = await wal.sync();
    const durableMs = performance.now() - begin;

    if (last !== warmUp + count) throw new Error(`${warmUp + count} records were appended, ${last} are there`);
    const { rotations, writerStalls, writerStallMs, syncs } = wal.stats();
    await wal.close();
    return {
      value: rate,
      threadNs,
      details: { megabytes: (count * bytes) / 1e6, durableMs, rotations, writerStalls, writerStallMs, syncs },
    };
  },

  async segwalBursts({ bytes, bursts }, directory) {
    const records = sampleBuffers(bytes);
    const wal = await WalManager.open(directory);
    const result = await medianBurst(bursts, Math.floor(burstBytes / bytes), (n) => {
      for (let i = 0; i < n; i++) wal.append(records[i & 1023]);
    });
    const { rotations, writerStalls } = wal.stats();
    await wal.close();
    return { ...result, details: { ...result.details, rotations, writerStalls } };
  },

  rawBursts({ bytes, bursts }, directory) {
    const records = sampleBuffers(bytes);
    const file = raw.open(join(directory, 'raw'), rawFileBytes);
    return medianBurst(bursts, Math.floor(burstBytes / bytes), (n) => {
      for (let i = 0; i < n; i++) file.appendBuffer(records[i & 1023]);
    });
  },

  raw({ input, bytes, count }, directory) {
    const records = input === 'string' ? sampleStrings(bytes) : sampleBuffers(bytes);
    const file = raw.open(join(directory, 'raw'), rawFileBytes);
    const append = input === 'string' ? file.appendString : file.appendBuffer;
    const run = (n) => {
      for (let i = 0; i < n; i++) append(records[i & 1023]);
    };
    run(Math.ceil(count / 50));
    const { rate, threadNs } = measure(count, () => run(count));
    return { value: rate, threadNs, details: { checksum: file.checksum() } };
  },
};
