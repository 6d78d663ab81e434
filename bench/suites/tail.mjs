// How soon a live reader has a record that was appended while it slept: from the call of append to the body of the
// reader's loop. The record carries the time; the clock is the same for all processes of a machine. Beside it the same
// program with what Node.js has for this and no log: a promise, a message to a thread, a message to a process.
import { fork } from 'node:child_process';
import { once } from 'node:events';
import { setTimeout } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { isMainThread, parentPort, Worker, workerData } from 'node:worker_threads';

import { WalManager } from 'segwal';

import { quantile } from '../statistics.mjs';

const here = fileURLToPath(import.meta.url);
const pauseMs = 2;

export function cases({ scale }) {
  const count = Math.ceil(1000 * scale);
  return [
    tailCase('the same thread', { trial: 'sameThread', count }, 50),
    tailCase('a worker thread', { trial: 'worker', count }, 50),
    tailCase('another process', { trial: 'process', count }, 100),
  ];
}

function tailCase(who, trial, atMost) {
  return {
    name: `live tail, ${who}`,
    contenders: { segwal: trial, 'no log': { ...trial, trial: `${trial.trial}Message` } },
    measures: [
      { of: 'wake-up p50', unit: 'µs', better: 'less', targets: [{ atMost }] },
      { of: 'wake-up p99', key: 'p99', unit: 'µs', better: 'less' },
    ],
  };
}

export const trials = {
  async sameThread({ count }, directory) {
    const wal = await WalManager.open(directory);
    const reading = follow(wal, count);
    await appendAll(wal, count);
    const latencies = await reading;
    await wal.close();
    return summarizeLatencies(latencies);
  },

  async worker({ count }, directory) {
    const wal = await WalManager.open(directory);
    const worker = new Worker(here, { workerData: { follow: directory, count } });
    await once(worker, 'message');
    const told = once(worker, 'message');
    await appendAll(wal, count);
    const [latencies] = await told;
    await wal.close();
    return summarizeLatencies(latencies);
  },

  async process({ count }, directory) {
    const wal = await WalManager.open(directory);
    const child = fork(here, [directory, String(count)]);
    await once(child, 'message');
    const told = once(child, 'message');
    await appendAll(wal, count);
    const [latencies] = await told;
    await wal.close();
    return summarizeLatencies(latencies);
  },

  async sameThreadMessage({ count }) {
    const queue = new Queue();
    const reading = measureDelays(queue.take(count));
    await tellAll((record) => queue.add({ data: Buffer.from(record) }), count);
    return summarizeLatencies(await reading);
  },

  async workerMessage({ count }) {
    const worker = new Worker(here, { workerData: { listen: true, count } });
    await once(worker, 'message');
    const told = once(worker, 'message');
    await tellAll((record) => worker.postMessage(record), count);
    const [latencies] = await told;
    return summarizeLatencies(latencies);
  },

  async processMessage({ count }) {
    const child = fork(here, ['', String(count)], { serialization: 'advanced' });
    await once(child, 'message');
    const told = once(child, 'message');
    await tellAll((record) => child.send(record), count);
    const [latencies] = await told;
    return summarizeLatencies(latencies);
  },
};

class Queue {
  #items = [];
  #wake = () => undefined;

  add(item) {
    this.#items.push(item);
    this.#wake();
  }

  async *take(count) {
    for (let i = 0; i < count; i++) {
      if (this.#items.length === 0) await new Promise((resolve) => (this.#wake = resolve));
      yield this.#items.shift();
    }
  }
}

function summarizeLatencies(latencies) {
  const sorted = latencies.toSorted((a, b) => a - b);
  return {
    value: quantile(sorted, 0.5) / 1000,
    more: { p99: quantile(sorted, 0.99) / 1000 },
    details: { most: sorted.at(-1) / 1000 },
  };
}

function appendAll(wal, count) {
  return tellAll((record) => wal.append(record), count);
}

/** Every now and then one, so that the reader has gone to sleep. */
async function tellAll(tell, count) {
  const record = Buffer.alloc(100);
  for (let i = 0; i < count; i++) {
    await setTimeout(pauseMs);
    record.writeBigUInt64LE(process.hrtime.bigint());
    tell(record);
  }
}

function follow(wal, count) {
  return measureDelays(wal.read({ live: true, limit: count }));
}

/** ns from the append of each record to here. */
async function measureDelays(records) {
  const latencies = [];
  for await (const { data } of records) latencies.push(delayOf(data));
  return latencies;
}

function delayOf(data) {
  return Number(process.hrtime.bigint() - data.readBigUInt64LE());
}

/** The same for messages that `port` emits. */
function listen(port, count) {
  const latencies = [];
  return new Promise((resolve) => {
    port.on('message', (data) => {
      latencies.push(delayOf(Buffer.from(data.buffer, data.byteOffset, data.length)));
      if (latencies.length === count) resolve(latencies);
    });
  });
}

if (!isMainThread && workerData?.listen) {
  const heard = listen(parentPort, workerData.count);
  parentPort.postMessage('ready');
  parentPort.postMessage(await heard);
  parentPort.close();
} else if (!isMainThread && workerData?.follow !== undefined) {
  const wal = await WalManager.open(workerData.follow);
  parentPort.postMessage('ready');
  parentPort.postMessage(await follow(wal, workerData.count));
  await wal.close();
} else if (isMainThread && process.argv[1] === here) {
  const [directory, count] = process.argv.slice(2);
  const wal = directory === '' ? undefined : await WalManager.open(directory, { readOnly: true });
  const heard = wal === undefined ? listen(process, Number(count)) : follow(wal, Number(count));
  process.send('ready');
  const latencies = await heard;
  await wal?.close();
  process.send(latencies, () => process.disconnect());
}
