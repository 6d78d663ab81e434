// Several worker threads that append to one log at once, beside one that does all of it; and beside what the machine itself
// gives to threads that have nothing in common: each copies, with the checksum, into a file of its own. In bursts:
// everybody begins at once and appends, a little at a time, of what is left of the burst; then all rest until memory for
// the next one is ready, and what was appended is on the disk. One burst is of one thread, the next of two, the next of
// four, and so on: what they are to each other is taken from neighbours, for a machine that is not one's own is fast in
// one second and slow in the next.
import { availableParallelism } from 'node:os';
import { join } from 'node:path';
import { setTimeout } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { isMainThread, Worker, workerData } from 'node:worker_threads';

import { WalManager } from 'segwal';

import { packedRecords, raw, sampleBuffers } from '../environment.mjs';
import { summarize } from '../statistics.mjs';

const burstBytes = 6 * 2 ** 20;
const takenAtOnce = 64 * 2 ** 10;
const rawFileBytes = 32 * 2 ** 20;
const threadCounts = [1, 2, 4];
const mostThreads = Math.max(...threadCounts);

const loads = {
  'records of 100 B': { bytes: 100, batch: 1 },
  'records of 4 KiB': { bytes: 4096, batch: 1 },
  'packed batches of 100 × 100 B': { bytes: 100, batch: 100 },
};

export const charts = Object.keys(loads).map((load) => ({
  id: `threads, ${load}`,
  title: `worker threads that append to one log: ${load}`,
  kind: 'line',
  x: 'threads',
  y: 'MB/s of records',
  yScale: 'logarithmic',
}));

export function cases({ scale }) {
  const rounds = Math.ceil(80 * scale);
  return Object.entries(loads).map(([name, load]) => workersCase(name, { ...load, rounds }));
}

/** What is wanted of two threads supposes that two raw ones do twice as much; of four, that they do as much as two. */
function workersCase(name, load) {
  const chart = `threads, ${name}`;
  // A record of 100 B takes less time than the write pointer takes from one core to the other.
  const two = load.bytes * load.batch > 1000 ? 1.6 : 1;
  return {
    name: `workers, ${name}`,
    contenders: { segwal: { trial: 'append', ...load }, raw: { trial: 'raw', ...load } },
    measures: [
      { of: 'one thread', unit: 'MB/s', plot: { chart, x: 1 } },
      { of: 'two threads', key: 'two', unit: 'MB/s', plot: { chart, x: 2 } },
      { of: 'four threads', key: 'four', unit: 'MB/s', plot: { chart, x: 4 } },
      {
        of: 'two threads to one',
        key: 'twoToOne',
        unit: '×',
        targets: [{ atLeast: two }, { to: 'raw', atLeast: two / 2 }],
      },
      {
        of: 'four threads to two',
        key: 'fourToTwo',
        unit: '×',
        targets: [{ atLeast: 1 }, { to: 'raw', atLeast: 1 }],
      },
    ],
  };
}

// What the threads share: how much of the burst is taken, how many take part, how many have come to the line and how many
// are done; and for each thread the number of the burst that it is to begin.
const places = { taken: 0, threads: 1, atLine: 2, done: 3, begin: 4 };
const noMore = -1;

export const trials = {
  async append(load, directory) {
    const wal = await WalManager.open(directory, { maxDirtyBytes: Infinity });
    const { written, ...result } = await inBursts('segwal', load, directory);
    const { records, rotations, writerStalls } = wal.stats();
    if (wal.lastSequence !== written) throw new Error(`${wal.lastSequence} of ${written} records are there`);
    await wal.close();
    return { ...result, details: { records, rotations, writerStalls } };
  },

  async raw(load, directory) {
    const { value, more } = await inBursts('raw', load, directory);
    return { value, more };
  },
};

async function inBursts(target, { bytes, batch, rounds }, directory) {
  const shared = new Int32Array(new SharedArrayBuffer(4 * (places.begin + mostThreads)));
  const times = new Float64Array(new SharedArrayBuffer(16 * mostThreads));
  const perBurst = Math.floor(burstBytes / bytes / batch);
  const workers = Array.from({ length: mostThreads }, (_, index) => {
    const data = { target, directory, index, bytes, batch, perBurst, shared, times };
    return new Worker(fileURLToPath(import.meta.url), { workerData: data });
  });
  const ended = Promise.all(
    workers.map((worker) => new Promise((resolve, reject) => worker.on('error', reject).on('exit', resolve))),
  );
  const warmUps = Math.ceil(rounds / 10);
  const ns = [];
  for (let round = 0; round < rounds + warmUps; round++) {
    const ofRound = {};
    for (const threads of threadCounts) ofRound[threads] = await burst(threads, { shared, times }, ended);
    if (round >= warmUps) ns.push(ofRound);
  }
  for (let index = 0; index < mostThreads; index++) letBegin(shared, index, noMore);
  await ended;
  const rate = (threads) => summarize(ns.map((round) => (perBurst * batch * bytes * 1000) / round[threads])).median;
  const gain = (threads, fewer) => summarize(ns.map((round) => round[fewer] / round[threads])).median;
  return {
    value: rate(1),
    more: { two: rate(2), four: rate(4), twoToOne: gain(2, 1), fourToTwo: gain(4, 2) },
    written: perBurst * batch * threadCounts.length * (rounds + warmUps),
  };
}

let bursts = 0;

/** How long so many threads take for one, in ns. */
async function burst(threads, { shared, times }, ended) {
  await processAtRest();
  for (const place of [places.taken, places.atLine, places.done]) Atomics.store(shared, place, 0);
  Atomics.store(shared, places.threads, threads);
  const [begins, ends] = [times.subarray(0, mostThreads), times.subarray(mostThreads)];
  begins.fill(Infinity);
  ends.fill(0);
  bursts++;
  for (let index = 0; index < threads; index++) letBegin(shared, index, bursts);
  await waitUntilDone(shared, threads, ended);
  return Math.max(...ends) - Math.min(...begins);
}

function letBegin(shared, index, number) {
  Atomics.store(shared, places.begin + index, number);
  Atomics.notify(shared, places.begin + index);
}

/** Until no thread of the process has anything to do, or for 100 ms. */
async function processAtRest() {
  for (let looks = 0; looks < 25; looks++) {
    const before = process.cpuUsage();
    await setTimeout(4);
    const { user, system } = process.cpuUsage(before);
    if (user + system < 300) return;
  }
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

/** One of the threads. Begin and end of what it appends in a burst, ns of the clock that all threads share, go into `times`. */
async function work(data) {
  const { index, bytes, batch, perBurst, shared, times } = data;
  const atOnce = Math.ceil(takenAtOnce / bytes / batch);
  const { append, close } = await opened(data);
  for (let last = 0, next = 0; ; last = next) {
    while ((next = Atomics.load(shared, places.begin + index)) === last)
      Atomics.wait(shared, places.begin + index, last);
    if (next === noMore) break;
    const threads = Atomics.load(shared, places.threads);
    Atomics.add(shared, places.atLine, 1);
    // Waking up takes longer for one than for another. Where each has a processor, the first waits for the last.
    if (threads <= availableParallelism()) while (Atomics.load(shared, places.atLine) < threads);
    const begin = process.hrtime.bigint();
    let i = Atomics.add(shared, places.taken, atOnce);
    // Who comes when nothing is left has not made it longer.
    if (i < perBurst) {
      do {
        for (const end = Math.min(i + atOnce, perBurst); i < end; i++) append(i);
        i = Atomics.add(shared, places.taken, atOnce);
      } while (i < perBurst);
      times[index] = Number(begin);
      times[mostThreads + index] = Number(process.hrtime.bigint());
    }
    Atomics.add(shared, places.done, 1);
    Atomics.notify(shared, places.done);
  }
  await close();
}

if (!isMainThread && workerData?.shared !== undefined) await work(workerData);
