// How soon a live reader has a record that was appended while it slept: from the call of append to the body of the
// reader's loop. The record carries the time; the clock is the same for all processes of a machine.
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
    contenders: { segwal: trial },
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
};

function summarizeLatencies(latencies) {
  const sorted = latencies.toSorted((a, b) => a - b);
  return {
    value: quantile(sorted, 0.5) / 1000,
    more: { p99: quantile(sorted, 0.99) / 1000 },
    details: { most: sorted.at(-1) / 1000 },
  };
}

/** Every now and then one, so that the reader has gone to sleep. */
async function appendAll(wal, count) {
  const record = Buffer.alloc(100);
  for (let i = 0; i < count; i++) {
    await setTimeout(pauseMs);
    record.writeBigUInt64LE(process.hrtime.bigint());
    wal.append(record);
  }
}

/** ns from the append of each record to here. */
async function follow(wal, count) {
  const latencies = [];
  for await (const { data } of wal.read({ live: true, limit: count })) {
    latencies.push(Number(process.hrtime.bigint() - data.readBigUInt64LE()));
  }
  return latencies;
}

if (!isMainThread && workerData?.follow !== undefined) {
  const wal = await WalManager.open(workerData.follow);
  parentPort.postMessage('ready');
  parentPort.postMessage(await follow(wal, workerData.count));
  await wal.close();
} else if (isMainThread && process.argv[1] === here) {
  const [directory, count] = process.argv.slice(2);
  const wal = await WalManager.open(directory, { readOnly: true });
  process.send('ready');
  const latencies = await follow(wal, Number(count));
  await wal.close();
  process.send(latencies, () => process.disconnect());
}
