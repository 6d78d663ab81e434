// Records that are durable when their promise resolves, one at a time and many in flight; against the loop of
// durable_loop.cc, which copies as many bytes and syncs them in groups of as many records. With few in flight also
// against one whose syncs are made by another thread, so that it can sleep as an event loop does, and against one that
// JavaScript drives from its event loop, with nothing but a promise for each record: what is between those and the first
// no log can win back that keeps the event loop free.
import { join } from 'node:path';

import { WalManager } from 'segwal';

import { durableResult } from '../durable-result.mjs';
import { bytesWritten, raw, sampleBuffers } from '../environment.mjs';
import { inFlight } from '../in-flight.mjs';
import { percentileCurve, quantile } from '../statistics.mjs';

const bytes = 100;
const frameBytes = 128;
const peers = ['lmdb', 'better-sqlite3, FULL', 'classic-level', 'fs.writeSync', 'FileHandle'];

export const charts = [
  {
    id: 'durable-rate',
    title: 'durable records of 100 B, by how many are in flight',
    kind: 'line',
    x: 'writes in flight',
    y: 'k records/s',
    yScale: 'logarithmic',
    note: 'raw: one C++ thread that copies as many records and syncs once. Peers without promises take them as one transaction.',
  },
  {
    id: 'durable-latency',
    title: 'latency of one durable write at a time',
    kind: 'line',
    x: 'one in so many writes takes longer',
    y: 'µs',
    yScale: 'logarithmic',
  },
];

export function cases({ seconds }) {
  return [
    durableCase('durable, one at a time', 1, seconds, {
      rate: [
        { to: 'raw, msync', atLeast: 0.9 },
        { to: 'raw, from Node.js', atLeast: 0.9 },
      ],
      p99: [{ to: 'raw, msync', atMost: 2 }],
    }),
    durableCase('durable, 64 in flight', 64, seconds, {
      rate: [
        { to: 'raw, msync', atLeast: 0.8 },
        { to: 'raw, from Node.js', atLeast: 0.9 },
        { to: 'lmdb', atLeast: 3 },
      ],
    }),
    durableCase('durable, 1,024 in flight', 1024, seconds, {
      rate: [{ atLeast: 1500 }, { to: 'lmdb', atLeast: 3 }],
    }),
    durableCase('durable, 4,096 in flight', 4096, seconds, {
      rate: [
        { of: 'segwal, batch', atLeast: 1500 },
        { of: 'segwal, batch', to: 'lmdb', atLeast: 2 },
      ],
    }),
  ];
}

function durableCase(name, depth, seconds, { rate, p99 = [] }) {
  const one = depth === 1;
  return {
    name,
    contenders: {
      segwal: { trial: 'segwal', policy: 'immediate', depth, seconds },
      // With few in flight it waits for its maxDelay, as it is told to.
      ...(depth >= 1024 && { 'segwal, batch': { trial: 'segwal', policy: 'batch', depth, seconds } }),
      'raw, msync': { trial: 'raw', syncBy: 'msync', depth, seconds },
      ...(depth <= 64 &&
        process.platform === 'linux' && {
          'raw, msync elsewhere': { trial: 'raw', syncBy: 'msync elsewhere', depth, seconds },
        }),
      ...(depth <= 64 && { 'raw, from Node.js': { trial: 'rawFromNode', depth, seconds } }),
      'raw, write and fdatasync': { trial: 'raw', syncBy: 'write', depth, seconds },
      ...Object.fromEntries(peers.map((peer) => [peer, { peer, workload: 'durable', depth, seconds, bytes }])),
    },
    measures: [
      { unit: 'k records/s', targets: rate, plot: { chart: 'durable-rate', x: depth } },
      { of: 'to the disk with each sync', key: 'written', unit: 'KiB', better: 'less' },
      ...(one ? [{ of: 'p50', key: 'p50', unit: 'µs', better: 'less' }] : []),
      ...(one ? [{ of: 'p99', key: 'p99', unit: 'µs', better: 'less', targets: p99 }] : []),
    ],
  };
}

export const trials = {
  async segwal({ policy, depth, seconds }, directory) {
    const wal = await WalManager.open(directory, { sync: policy });
    const records = sampleBuffers(bytes);
    await inFlight(depth, seconds / 4, (i) => wal.write(records[i & 1023]));
    const before = wal.stats();
    const writtenBefore = bytesWritten();
    const result = await inFlight(depth, seconds, (i) => wal.write(records[i & 1023]));
    const { lastSequence, durableSequence, syncs, syncLatency, writeWaits } = wal.stats();
    const written =
      writtenBefore === undefined ? {} : { written: (bytesWritten() - writtenBefore) / 1024 / (syncs - before.syncs) };
    await wal.close();
    if (durableSequence !== lastSequence) throw new Error(`${lastSequence - durableSequence} writes were not durable`);
    const perSync = (lastSequence - before.lastSequence) / (syncs - before.syncs);
    const told = durableResult(result, depth, { recordsPerSync: perSync, syncLatency, writeWaits });
    return { ...told, more: { ...told.more, ...written } };
  },

  async rawFromNode({ depth, seconds }, directory) {
    let waiting = [];
    const onDurable = () => {
      const durable = waiting;
      waiting = [];
      for (const resolve of durable) resolve();
    };
    const groups = raw.durableGroups(join(directory, 'raw'), frameBytes, onDurable);
    const sync = () => groups.sync();
    let resolveNew;
    const takeResolve = (resolve) => (resolveNew = resolve);
    const records = sampleBuffers(bytes);
    const write = (i) => {
      groups.store(records[i & 1023]);
      const promise = new Promise(takeResolve);
      if (waiting.push(resolveNew) === 1) queueMicrotask(sync); // behind all that this turn has yet to store
      return promise;
    };
    await inFlight(depth, seconds / 4, write);
    const result = await inFlight(depth, seconds, write);
    groups.close();
    return durableResult(result, depth);
  },

  raw({ syncBy, depth, seconds }, directory) {
    const groups = raw.durableLoop(join(directory, 'raw'), syncBy, bytes, frameBytes, depth, seconds, 0);
    const ns = groups.reduce((sum, each) => sum + each, 0);
    const sorted = groups.toSorted();
    const at = (share) => quantile(sorted, share);
    return {
      value: (groups.length * depth * 1e6) / ns,
      more: { p50: at(0.5) / 1000, p99: at(0.99) / 1000 },
      ...(depth === 1 && { curves: { 'durable-latency': percentileCurve(at, 1000) } }),
      details: { groups: groups.length },
    };
  },
};
