// Several worker threads that append to one log at once; against one that does all of it. In bursts: everybody begins at
// once, appends his share, and then all rest until memory for the next burst is ready.
import { availableParallelism } from 'node:os';
import { setTimeout } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { isMainThread, Worker, workerData } from 'node:worker_threads';

import { WalManager } from 'segwal';

import { packedRecords, sampleBuffers } from '../environment.mjs';
import { summarize } from '../statistics.mjs';

const burstBytes = 6 * 2 ** 20;
const threadCounts = { 'one thread': 1, 'two threads': 2, 'four threads': 4 };

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
    contenders: Object.fromEntries(
      Object.entries(threadCounts).map(([label, threads]) => [label, { trial: 'append', threads, ...load }]),
    ),
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

// What the threads share: the number of the burst that may begin, how many have come to the line, and how many are done.
const places = { burst: 0, atLine: 1, done: 2 };

export const trials = {
  async append({ threads, bytes, batch, bursts }, directory) {
    const wal = await WalManager.open(directory, { maxDirtyBytes: Infinity });
    const shared = new Int32Array(new SharedArrayBuffer(12));
    const times = new Float64Array(new SharedArrayBuffer(16 * threads));
    const perThread = Math.max(1, Math.floor(burstBytes / bytes / batch / threads));
    const workers = Array.from({ length: threads }, (_, index) => {
      const data = { directory, index, threads, bytes, batch, bursts, perThread, shared, times };
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
    const { records, rotations, writerStalls } = wal.stats();
    const wanted = perThread * batch * threads * (bursts + warmUps(bursts));
    if (wal.lastSequence !== wanted) throw new Error(`${wal.lastSequence} of ${wanted} records are there`);
    await wal.close();
    const { median, min, max } = summarize(rates);
    return { value: median, details: { records, rotations, writerStalls, slowestBurst: min, fastestBurst: max } };
  },
};

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

/** One of the threads. Begin and end of its burst, ns of the clock that all threads share, go into `times`. */
async function work({ directory, index, threads, bytes, batch, bursts, perThread, shared, times }) {
  const wal = await WalManager.open(directory, { maxDirtyBytes: Infinity });
  const records = sampleBuffers(bytes);
  const packed = packedRecords(batch, bytes);
  const append = batch === 1 ? (i) => wal.append(records[i & 1023]) : () => wal.appendBatch(packed);
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
  await wal.close();
}

if (!isMainThread && workerData?.shared !== undefined) await work(workerData);
