// Several worker threads that append to one log at once; against one that does all of it. In bursts: everybody begins at
// once, appends his share, and then all rest until memory for the next burst is ready. Beside it what the machine itself
// gives to threads that have nothing in common: each copies as much, with the checksum, into a file of its own.
import { availableParallelism } from 'node:os';
import { join } from 'node:path';
import { setTimeout } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { isMainThread, Worker, workerData } from 'node:worker_threads';

import { WalManager } from 'segwal';

import { packedRecords, raw, sampleBuffers } from '../environment.mjs';
import { summarize } from '../statistics.mjs';

const burstBytes = 6 * 2 ** 20;
const rawFileBytes = 32 * 2 ** 20;
const threadCounts = { 'one thread': 1, 'two threads': 2, 'four threads': 4 };
const rawThreadCounts = { 'raw, one thread': 1, 'raw, two threads': 2, 'raw, four threads': 4 };

export const charts = [
  {
    id: 'threads',
    title: 'worker threads that append to one log',
    kind: 'line',
    x: 'threads',
    y: 'MB/s of records',
    yScale: 'logarithmic',
  },
];

export function cases({ scale }) {
  const bursts = Math.ceil(120 * scale);
  return [
    workersCase('records of 100 B', { bytes: 100, batch: 1, bursts }, 1),
    workersCase('records of 4 KiB', { bytes: 4096, batch: 1, bursts }, 1.8),
    workersCase('packed batches of 100 × 100 B', { bytes: 100, batch: 100, bursts }, 1.8),
  ];
}

/** Four on two processors: no less than two, as far as the medians can tell. */
function workersCase(name, load, two) {
  return {
    name: `workers, ${name}`,
    contenders: {
      ...contendersOf('append', threadCounts, load),
      ...contendersOf('raw', rawThreadCounts, load),
    },
    measures: [
      {
        unit: 'MB/s',
        plot: { chart: 'threads', xOf: threadCounts },
        targets: [
          { of: 'two threads', to: 'one thread', atLeast: two },
          { of: 'four threads', to: 'two threads', atLeast: 1 },
        ],
      },
    ],
  };
}

function contendersOf(trial, counts, load) {
  return Object.fromEntries(Object.entries(counts).map(([label, threads]) => [label, { trial, threads, ...load }]));
}

// What the threads share: the number of the burst that may begin, how many have come to the line, and how many are done.
const places = { burst: 0, atLine: 1, done: 2 };

export const trials = {
  async append(load, directory) {
    const wal = await WalManager.open(directory, { maxDirtyBytes: Infinity });
    const { written, ...result } = await inBursts('segwal', load, directory);
    const { records, rotations, writerStalls } = wal.stats();
    if (wal.lastSequence !== written) throw new Error(`${wal.lastSequence} of ${written} records are there`);
    await wal.close();
    return { ...result, details: { ...result.details, records, rotations, writerStalls } };
  },

  async raw(load, directory) {
    const { value, details } = await inBursts('raw', load, directory);
    return { value, details };
  },
};

async function inBursts(target, { threads, bytes, batch, bursts }, directory) {
  const shared = new Int32Array(new SharedArrayBuffer(12));
  const times = new Float64Array(new SharedArrayBuffer(16 * threads));
  const perThread = Math.max(1, Math.floor(burstBytes / bytes / batch / threads));
  const workers = Array.from({ length: threads }, (_, index) => {
    const data = { target, directory, index, threads, bytes, batch, bursts, perThread, shared, times };
    return new Worker(fileURLToPath(import.meta.url), { workerData: data });
  });
  const ended = Promise.all(
    workers.map((worker) => new Promise((resolve, reject) => worker.on('error', reject).on('exit', resolve))),
  );
  const rates = [];
  for (let burst = 1; burst <= bursts + warmUps(bursts); burst++) {
    await setTimeout(8);
    Atomics.store(shared, places.burst, burst);
    Atomics.notify(shared, places.burst);
    await waitUntilDone(shared, threads * burst, ended);
    const begin = Math.min(...times.filter((_, i) => i % 2 === 0));
    const end = Math.max(...times.filter((_, i) => i % 2 === 1));
    if (burst > warmUps(bursts)) rates.push((perThread * batch * bytes * threads * 1000) / (end - begin));
  }
  await ended;
  const { median, min, max } = summarize(rates);
  const written = perThread * batch * threads * (bursts + warmUps(bursts));
  return { value: median, details: { slowestBurst: min, fastestBurst: max }, written };
}

function warmUps(bursts) {
  return Math.ceil(bursts / 10);
}

async function waitUntilDone(shared, count, ended) {
  while (Atomics.load(shared, places.done) < count) {
    const seen = Atomics.load(shared, places.done);
    if (seen >= count) return;
    await Promise.race([Atomics.waitAsync(shared, places.done, seen).value, ended]);
  }
}

/** How a thread appends: record or batch i, and what it does at the end. */
async function opened({ target, directory, index, bytes, batch }) {
  const records = sampleBuffers(bytes);
  const packed = packedRecords(batch, bytes);
  if (target === 'raw') {
    const file = raw.open(join(directory, `raw${index}`), rawFileBytes);
    return {
      append:
        batch === 1
          ? (i) => file.appendBuffer(records[i & 1023])
          : () => file.appendPacked(packed.buffer, packed.offsets),
      close: () => undefined,
    };
  }
  const wal = await WalManager.open(directory, { maxDirtyBytes: Infinity });
  return {
    append: batch === 1 ? (i) => wal.append(records[i & 1023]) : () => wal.appendBatch(packed),
    close: () => wal.close(),
  };
}

/** One of the threads. Begin and end of its burst, ns of the clock that all threads share, go into `times`. */
async function work(data) {
  const { index, threads, bursts, perThread, shared, times } = data;
  const { append, close } = await opened(data);
  for (let burst = 1; burst <= bursts + warmUps(bursts); burst++) {
    while (Atomics.load(shared, places.burst) < burst) Atomics.wait(shared, places.burst, burst - 1);
    Atomics.add(shared, places.atLine, 1);
    // Waking up takes longer for one than for another. Where each has a processor, the first waits for the last.
    if (threads <= availableParallelism()) while (Atomics.load(shared, places.atLine) < threads * burst);
    const begin = process.hrtime.bigint();
    for (let i = 0; i < perThread; i++) append(i);
    times[index * 2] = Number(begin);
    times[index * 2 + 1] = Number(process.hrtime.bigint());
    Atomics.add(shared, places.done, 1);
    Atomics.notify(shared, places.done);
  }
  await close();
}

if (!isMainThread && workerData?.shared !== undefined) await work(workerData);
