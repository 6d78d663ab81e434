// Appending without waiting for the disk: what else a Node.js service could use, each in its own fastest way.
import { WalManager } from 'segwal';

import { packedRecords, sampleBuffers } from '../environment.mjs';

const names = [
  'fs.writeSync',
  'FileHandle',
  'sonic-boom',
  'lmdb',
  'better-sqlite3, NORMAL',
  'better-sqlite3, FULL',
  'classic-level',
  'async-append-only-log',
  '@riaskov/mmap-io',
];
const perBatch = 1000;

export const charts = [
  {
    id: 'peers',
    title: 'appending without waiting for the disk',
    kind: 'bar',
    x: 'record',
    y: 'M records/s',
    yScale: 'logarithmic',
    note: 'The clock stops when every record has left the process. They do not promise the same: see the list of peers.',
  },
];

export function cases({ seconds }) {
  return [peersCase('100 B', 100, seconds), peersCase('1 KiB', 1024, seconds)];
}

function peersCase(size, bytes, seconds) {
  const load = { workload: 'append', bytes, seconds: seconds / 2 };
  const hundred = bytes === 100;
  return {
    name: `append, records of ${size}`,
    unit: 'M records/s',
    contenders: {
      segwal: { trial: 'append', ...load },
      'segwal, packed batches': { trial: 'appendPacked', ...load },
      ...Object.fromEntries(names.map((peer) => [peer, { peer, ...load }])),
    },
    targets: hundred
      ? [
          { to: 'lmdb', atLeast: 12 },
          { to: 'sonic-boom', atLeast: 4 },
        ]
      : [],
    plot: { chart: 'peers', x: size },
  };
}

export const trials = {
  append({ bytes, seconds }, directory) {
    const records = sampleBuffers(bytes);
    return appendFor(seconds, directory, (wal, i) => wal.append(records[i & 1023]), 1);
  },

  appendPacked({ bytes, seconds }, directory) {
    const batch = packedRecords(perBatch, bytes);
    return appendFor(seconds, directory, (wal) => wal.appendBatch(batch), perBatch);
  },
};

/** In stretches of 1,000, as the peers. Nobody waits for the disk, but here, as always, syncs go on beside it. */
async function appendFor(seconds, directory, append, each) {
  const wal = await WalManager.open(directory, { maxDirtyBytes: Infinity });
  const begin = performance.now();
  const end = begin + seconds * 1000;
  let count = 0;
  while (performance.now() < end) {
    for (let i = 0; i < 1000; i += each, count += each) append(wal, count);
  }
  const value = count / (performance.now() - begin) / 1000;
  if (wal.lastSequence !== count) throw new Error(`${wal.lastSequence} of ${count} records are there`);
  const { writerStalls, writerStallMs } = wal.stats();
  await wal.close();
  return { value, details: { records: count, writerStalls, writerStallMs } };
}
