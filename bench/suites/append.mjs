// One record at a time from one JavaScript thread, through the public API, with rotation, allocation and sync going on
// beside it; against the bare call of raw.cc.
import { join } from 'node:path';

import { WalManager } from 'segwal';

import { afterPauses, medianBurst, measure, raw, sampleBuffers, sampleStrings } from '../environment.mjs';

const rawFileBytes = 64 * 2 ** 20;
const burstBytes = 2 ** 20;
const mostBursts = 500;

export const charts = [
  {
    id: 'append-size',
    title: 'append, by the size of the record (bursts of 1 MiB)',
    kind: 'line',
    x: 'bytes of a record',
    y: 'M records/s',
    yScale: 'logarithmic',
    note: 'raw: one Node-API call that copies and checksums into a mapping that is there already, and does nothing else.',
  },
];

export function cases({ scale }) {
  const bursts = mostBursts * scale;
  return [
    {
      name: 'pages of a new file, made ready',
      unit: 'GB/s',
      contenders: { raw: { trial: 'pages', bytes: 2 ** 30 * scale } },
    },
    burstCase('append Buffer, 100 B, bursts', 'buffer', 100, bursts, 0.9),
    burstCase('append Buffer, 1 KiB, bursts', 'buffer', 1024, bursts, 0.85),
    burstCase('append Buffer, 4 KiB, bursts', 'buffer', 4096, bursts),
    burstCase('append Buffer, 16 KiB, bursts', 'buffer', 16384, bursts, 0.9),
    burstCase('append string, 100 B, bursts', 'string', 100, bursts, 0.85),
    {
      name: 'one append Buffer, 1 KiB, after 25 ms',
      contenders: {
        segwal: { trial: 'segwalAfterPauses', bytes: 1024, count: Math.ceil(160 * scale) },
        raw: { trial: 'rawAfterPauses', bytes: 1024, count: Math.ceil(160 * scale) },
      },
      measures: [
        { of: 'p50', key: 'p50', unit: 'µs', better: 'less' },
        { of: 'p90', key: 'p90', unit: 'µs', better: 'less' },
      ],
    },
    appendCase('append Buffer, 100 B', 'buffer', 100, 6_000_000 * scale),
    appendCase('append Buffer, 1 KiB', 'buffer', 1024, 800_000 * scale),
    appendCase('append string, 100 B', 'string', 100, 6_000_000 * scale),
  ];
}

function appendCase(name, input, bytes, count) {
  return {
    name,
    unit: 'M records/s',
    contenders: {
      segwal: { trial: 'segwal', input, bytes, count },
      raw: { trial: 'raw', input, bytes, count },
    },
  };
}

/** As a service appends: what has come together at once, and then something else for a moment. */
function burstCase(name, input, bytes, bursts, ratio) {
  return {
    name,
    unit: 'M records/s',
    atLeast: 7,
    contenders: {
      segwal: { trial: 'segwalBursts', input, bytes, bursts },
      raw: { trial: 'rawBursts', input, bytes, bursts },
    },
    targets: ratio === undefined ? [] : [{ to: 'raw', atLeast: ratio }],
    ...(input === 'buffer' && { plot: { chart: 'append-size', x: bytes } }),
  };
}

function samples(input, bytes) {
  return input === 'string' ? sampleStrings(bytes) : sampleBuffers(bytes);
}

export const trials = {
  /** How fast one thread makes what is appended into; for long no log can be faster. */
  pages({ bytes }, directory) {
    const begin = performance.now();
    raw.open(join(directory, 'raw'), bytes);
    return { value: bytes / (performance.now() - begin) / 1e6 };
  },

  async segwal({ input, bytes, count }, directory) {
    const records = samples(input, bytes);
    const wal = await WalManager.open(directory, { maxDirtyBytes: Infinity });
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

  async segwalBursts({ input, bytes, bursts }, directory) {
    const records = samples(input, bytes);
    const wal = await WalManager.open(directory, { maxDirtyBytes: Infinity });
    const result = await medianBurst(bursts, Math.floor(burstBytes / bytes), (n) => {
      for (let i = 0; i < n; i++) wal.append(records[i & 1023]);
    });
    const { rotations, writerStalls } = wal.stats();
    await wal.close();
    return { ...result, details: { ...result.details, rotations, writerStalls } };
  },

  async segwalAfterPauses({ bytes, count }, directory) {
    const records = sampleBuffers(bytes);
    const wal = await WalManager.open(directory);
    const result = await afterPauses(count, (i) => wal.append(records[i & 1023]));
    await wal.close();
    return result;
  },

  rawAfterPauses({ bytes, count }, directory) {
    const records = sampleBuffers(bytes);
    const file = raw.open(join(directory, 'raw'), rawFileBytes);
    return afterPauses(count, (i) => file.appendBuffer(records[i & 1023]));
  },

  rawBursts({ input, bytes, bursts }, directory) {
    const records = samples(input, bytes);
    const file = raw.open(join(directory, 'raw'), rawFileBytes);
    const append = input === 'string' ? file.appendString : file.appendBuffer;
    return medianBurst(bursts, Math.floor(burstBytes / bytes), (n) => {
      for (let i = 0; i < n; i++) append(records[i & 1023]);
    });
  },

  raw({ input, bytes, count }, directory) {
    const records = samples(input, bytes);
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
