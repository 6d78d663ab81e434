// What surrounds appending: replay of many records, with keys; checkpoints while another thread appends at full speed,
// against the same appends without; seeking by time in a log of 4 GiB; compaction, against reading and writing as much.
import { spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { closeSync, fdatasyncSync, fsyncSync, openSync, readSync, renameSync, writeSync } from 'node:fs';
import { dirname } from 'node:path';
import { setImmediate as nextTurn, setTimeout } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { isMainThread, parentPort, Worker, workerData } from 'node:worker_threads';

import { WalManager } from 'segwal';

import { sampleBuffers } from '../environment.mjs';
import { Histogram, percentileCurve, quantile, summarize } from '../statistics.mjs';

const here = fileURLToPath(import.meta.url);
const bytes = 100;
const frameBytes = 128;
const segmentHeaderBytes = 4096;
const keys = 1000;
const mebibyte = 2 ** 20;

const checkpointSegment = 16 * mebibyte;
const checkpointPauseMs = 10;
// In records:
const perTurn = 500;
/** Half a segment may wait for the disk: enough to keep it busy, and the next segment is made while it is. */
const mostDirty = checkpointSegment / 2 / frameBytes;

const seekSegments = 64;
const seeks = 5000;
/** How many segments are looked at when none of them is in memory. */
const coldSegments = 16;

export const charts = [
  {
    id: 'append-checkpoints',
    title: 'latency of append at the speed of the disk, while another thread makes checkpoints',
    kind: 'line',
    x: 'one in so many appends takes longer',
    y: 'µs',
    yScale: 'logarithmic',
  },
];

export function cases({ scale }) {
  return [
    ...replayCases(10_000_000 * scale),
    checkpointCase(24_000_000 * scale),
    seekCase(scale),
    compactionCase(scale),
  ];
}

/** One after the other in the same log, which only one process can have. */
function replayCases(records) {
  const prepare = { trial: 'fillWithKeys', records };
  const replayCase = (name, trial) => ({
    name: `${records / 1e6} M records of ${keys} keys, ${name}`,
    unit: 'M records/s',
    prepare,
    contenders: { segwal: trial },
  });
  return [
    replayCase('readBatches', { trial: 'readBatches' }),
    replayCase('replay', { trial: 'replay', concurrency: 1, handler: 'returns' }),
    replayCase('replay, handler returns a promise', { trial: 'replay', concurrency: 1, handler: 'promises' }),
    replayCase('replay, 4 at once', { trial: 'replay', concurrency: 4, handler: 'returns' }),
    replayCase('replay, 4 at once, handler returns a promise', {
      trial: 'replay',
      concurrency: 4,
      handler: 'promises',
    }),
  ];
}

function checkpointCase(records) {
  const without = 'without checkpoints';
  return {
    name: `append beside a checkpoint every ${checkpointPauseMs} ms`,
    contenders: {
      segwal: { trial: 'checkpoints', records, of: 'appended' },
      'segwal, of durable records': { trial: 'checkpoints', records, of: 'durable' },
      [without]: { trial: 'checkpoints', records, of: 'none' },
    },
    measures: [
      { of: 'rate of append', unit: 'MB/s', targets: [{ to: without, atLeast: 0.95 }] },
      { of: 'append p99.9', key: 'p999', unit: 'µs', better: 'less', targets: [{ to: without, atMost: 1.25 }] },
      { of: 'append p99.99', key: 'p9999', unit: 'µs', better: 'less' },
      { of: 'append max', key: 'max', unit: 'µs', better: 'less' },
      { of: 'checkpoint p50', key: 'checkpointP50', unit: 'ms', better: 'less' },
      { of: 'checkpoint p99', key: 'checkpointP99', unit: 'ms', better: 'less' },
      { of: 'checkpoint max', key: 'checkpointMax', unit: 'ms', better: 'less' },
    ],
  };
}

function seekCase(scale) {
  const segmentSize = Math.ceil(1024 * scale) * 2 ** 16;
  return {
    name: `seek by time in ${seekSegments} segments of ${segmentSize / mebibyte} MiB`,
    prepare: { trial: 'fillSegments', segmentSize },
    contenders: { segwal: { trial: 'seek' } },
    measures: [
      { of: 'p50', unit: 'ms', better: 'less' },
      { of: 'p99', key: 'p99', unit: 'ms', better: 'less', targets: [{ atMost: 5 }] },
      { of: 'max', key: 'max', unit: 'ms', better: 'less' },
      { of: 'the first of a segment, median', key: 'first', unit: 'ms', better: 'less' },
      { of: 'the first of a segment, max', key: 'firstMax', unit: 'ms', better: 'less' },
      { of: 'the first of a segment, from the disk, median', key: 'cold', unit: 'ms', better: 'less' },
      { of: 'the first of a segment, from the disk, max', key: 'coldMax', unit: 'ms', better: 'less' },
    ],
  };
}

/** Every second record has a key of its own and stays; of the others a newer one comes soon. */
function compactionCase(scale) {
  const filled = { records: 4_000_000 * scale, segmentSize: Math.ceil(256 * scale) * 2 ** 16 };
  const readAndWrite = 'reading it, writing what is kept';
  return {
    name: 'compaction, half is kept',
    unit: 'MB/s',
    contenders: {
      segwal: { trial: 'compact', ...filled },
      [readAndWrite]: { trial: 'readAndWrite', ...filled },
    },
    targets: [{ to: readAndWrite, atLeast: 0.5 }],
  };
}

export const trials = {
  async fillWithKeys({ records }, directory) {
    const wal = await WalManager.open(directory);
    const samples = sampleBuffers(bytes);
    const options = Array.from({ length: keys }, (_, i) => ({ key: Buffer.from(`tenant-${i}`) }));
    for (let i = 0; i < records; i++) {
      wal.append(samples[i & 1023], options[(i * 7919) % keys]);
      if (i % 500_000 === 0) await wal.sync();
    }
    await wal.close();
  },

  readBatches: (_, directory) =>
    onceMore(directory, async (wal, to, handle) => {
      for await (const batch of wal.readBatches({ to })) for (const record of batch) handle(record);
    }),

  replay: ({ concurrency, handler }, directory) =>
    onceMore(directory, async (wal, until, handle) => {
      const handlers = { returns: handle, promises: (record) => Promise.resolve(handle(record)) };
      await wal.replay(undefined, handlers[handler], { until, concurrency });
    }),

  async checkpoints({ records, of }, directory) {
    const wal = await WalManager.open(directory, { segmentSize: checkpointSegment });
    const worker = new Worker(here, { workerData: { appendTo: directory, records } });
    const failed = once(worker, 'error').then(([error]) => Promise.reject(error));
    await Promise.race([once(worker, 'message'), failed]); // it is warm
    await wal.sync();
    let appended;
    const ended = Promise.race([once(worker, 'message'), failed]).then(([result]) => (appended = result));
    const times = [];
    while (of !== 'none' && appended === undefined) {
      const begin = performance.now();
      await wal.createCheckpoint(of === 'durable' ? { sequence: wal.durableSequence } : {});
      times.push(performance.now() - begin);
      await Promise.race([ended, setTimeout(checkpointPauseMs)]);
    }
    await ended;
    const { lastSequence } = wal;
    const { syncs, syncLatency, writerStalls, writerStallMs } = wal.stats();
    await wal.close();
    if (lastSequence < records) throw new Error(`${lastSequence} of ${records} records are there`);
    const { curve, rate, ...latency } = appended;
    return {
      value: rate,
      more: { ...latency, ...checkpointTimes(times) },
      details: { checkpoints: times.length, syncs, syncLatency, writerStalls, writerStallMs },
      curves: { 'append-checkpoints': curve },
    };
  },

  async compact({ records, segmentSize }, directory) {
    const wal = await fillForCompaction(directory, records, segmentSize);
    const bytes = wal.segments().reduce((sum, { sealed, bytes }) => sum + (sealed ? bytes : 0), 0);
    const begin = performance.now();
    const { recordsKept, recordsRemoved, bytesFreed } = await wal.compact();
    const ms = performance.now() - begin;
    let left = 0;
    for await (const batch of wal.readBatches()) left += batch.length;
    await wal.close();
    if (left !== records / 2 + keys) throw new Error(`${left} of ${records} records are left`);
    return { value: bytes / ms / 1000, details: { recordsKept, recordsRemoved, bytesFreed, megabytes: bytes / 1e6 } };
  },

  /** The same bytes by plain files: each read whole, a half of it written beside, made durable, and put in its place. */
  async readAndWrite({ records, segmentSize }, directory) {
    const wal = await fillForCompaction(directory, records, segmentSize);
    const sealed = wal.segments().filter((segment) => segment.sealed);
    await wal.close();
    const buffer = Buffer.alloc(segmentSize);
    const folder = openSync(dirname(sealed[0].path), 'r');
    const begin = performance.now();
    for (const { path, bytes } of sealed) {
      const from = openSync(path, 'r');
      readSync(from, buffer, 0, bytes, 0);
      closeSync(from);
      const to = openSync(`${path}.new`, 'w');
      writeSync(to, buffer, 0, Math.floor(bytes / 2), 0);
      fdatasyncSync(to);
      closeSync(to);
      renameSync(`${path}.new`, path);
      fsyncSync(folder);
    }
    const ms = performance.now() - begin;
    closeSync(folder);
    const bytes = sealed.reduce((sum, segment) => sum + segment.bytes, 0);
    return { value: bytes / ms / 1000, details: { megabytes: bytes / 1e6 } };
  },

  async fillSegments({ segmentSize }, directory) {
    const wal = await WalManager.open(directory, { segmentSize });
    const records = sampleBuffers(bytes);
    const count = seekSegments * Math.floor((segmentSize - segmentHeaderBytes) / frameBytes);
    for (let i = 1; i <= count; i++) {
      wal.append(records[i & 1023]);
      if (i % 4096 === 0) await wal.sync();
    }
    await wal.close();
  },

  async seek(_, directory) {
    const cold = await coldSeeks(directory);
    const wal = await WalManager.open(directory);
    for await (const batch of wal.readBatches()) void batch; // from now on it is in memory
    const segments = wal.segments();
    const first = segments.map(({ lastTimestamp }) => timeToSeek(wal, lastTimestamp));
    const later = Array.from({ length: seeks }, () => timeToSeek(wal, momentIn(anyOf(segments))));
    const { length } = segments;
    await wal.close();
    if (length !== seekSegments) throw new Error(`there are ${length} segments`);
    later.sort((a, b) => a - b);
    return {
      value: quantile(later, 0.5),
      more: {
        p99: quantile(later, 0.99),
        max: later.at(-1),
        first: summarize(first).median,
        firstMax: summarize(first).max,
        ...(cold && { cold: summarize(cold).median, coldMax: summarize(cold).max }),
      },
      details: { seeks, segments: length },
    };
  },
};

/** Goes over the first tenth of the log for the compiler, and then over all of it for the clock. */
async function onceMore(directory, action) {
  const wal = await WalManager.open(directory);
  const { lastSequence } = wal;
  let [records, sum] = [0, 0];
  const handle = (record) => {
    records++;
    sum += record.data.length;
  };
  await action(wal, Math.ceil(lastSequence / 10), handle);
  [records, sum] = [0, 0];
  const begin = performance.now();
  await action(wal, lastSequence, handle);
  const ms = performance.now() - begin;
  await wal.close();
  if (records !== lastSequence || sum !== records * bytes) {
    throw new Error(`${records} of ${lastSequence} records were handled, with ${sum} bytes`);
  }
  return { value: records / ms / 1000, details: { records, maxMegabytes: process.resourceUsage().maxRSS / 1024 } };
}

/** All of it sealed. */
async function fillForCompaction(directory, records, segmentSize) {
  const wal = await WalManager.open(directory, { segmentSize });
  const samples = sampleBuffers(bytes);
  const hot = Array.from({ length: keys }, (_, i) => ({ key: Buffer.from(`tenant-${i}`) }));
  for (let i = 0; i < records; i++) {
    const options = i % 2 === 0 ? { key: `own-${i}` } : hot[((i >> 1) * 7919) % keys];
    wal.append(samples[i & 1023], options);
    if (i % 100_000 === 0) await wal.sync();
  }
  await wal.rotate();
  await wal.sync();
  return wal;
}

function checkpointTimes(times) {
  if (times.length === 0) return {};
  const sorted = times.toSorted((a, b) => a - b);
  return {
    checkpointP50: quantile(sorted, 0.5),
    checkpointP99: quantile(sorted, 0.99),
    checkpointMax: sorted.at(-1),
  };
}

/** The worker's part: as many records as fast as the disk takes them, and how long each append took. */
async function appendAtFullSpeed({ appendTo, records: count }) {
  const wal = await WalManager.open(appendTo);
  const records = sampleBuffers(bytes);
  const warmUp = Math.ceil(count / 20);
  let latency = new Histogram();
  let begin;
  for (let done = 0; done < count; done += perTurn) {
    if (begin === undefined && done >= warmUp) {
      latency = new Histogram();
      begin = performance.now();
      parentPort.postMessage('warm');
    }
    let before = performance.now();
    for (let i = 0; i < perTurn; i++) {
      wal.append(records[i & 1023]);
      const now = performance.now();
      latency.record((now - before) * 1e6);
      before = now;
    }
    const { lastSequence, durableSequence } = wal;
    if (lastSequence - durableSequence > mostDirty) await wal.whenDurable(lastSequence - mostDirty / 2);
    await nextTurn();
  }
  const rate = (latency.count * frameBytes) / (performance.now() - begin) / 1000;
  await wal.close();
  const at = (share) => latency.quantile(share);
  return {
    rate,
    p999: at(0.999) / 1000,
    p9999: at(0.9999) / 1000,
    max: at(1) / 1000,
    curve: percentileCurve(at, 1000),
  };
}

function anyOf(list) {
  return list[Math.floor(Math.random() * list.length)];
}

/** ms, with whole µs. */
function momentIn({ firstTimestamp, lastTimestamp }) {
  return Math.round((firstTimestamp + Math.random() * (lastTimestamp - firstTimestamp)) * 1000) / 1000;
}

function timeToSeek(wal, moment) {
  const begin = performance.now();
  for (const { timestamp } of wal.read({ fromTime: moment, limit: 1 })) {
    const ms = performance.now() - begin;
    if (timestamp < moment) throw new Error(`${moment} was asked for, and a record of ${timestamp} came`);
    return ms;
  }
  throw new Error(`there is no record since ${moment}`);
}

/** ms, each in a segment that the system does not have in memory; nothing where it cannot be told to forget a file. */
async function coldSeeks(directory) {
  const wal = await WalManager.open(directory);
  const segments = wal.segments();
  await wal.close();
  const script = 'for file; do dd if="$file" iflag=nocache count=0 status=none || exit 1; done';
  const forget = spawnSync('sh', ['-c', script, 'sh', ...segments.map(({ path }) => path)], { stdio: 'ignore' });
  if (forget.status !== 0) return undefined;
  const again = await WalManager.open(directory);
  // Not the last: opening the log has looked at it.
  const chosen = segments.slice(0, -1).toSorted(() => Math.random() - 0.5);
  const times = chosen.slice(0, coldSegments).map((segment) => timeToSeek(again, momentIn(segment)));
  await again.close();
  return times;
}

if (!isMainThread && workerData?.appendTo !== undefined) parentPort.postMessage(await appendAtFullSpeed(workerData));
