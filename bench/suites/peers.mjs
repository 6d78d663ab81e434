// Appending without waiting for the disk: what else a Node.js service could use, each in its own fastest way.
import { WalManager } from 'segwal';

import { packedRecords, sampleBuffers } from '../environment.mjs';
import { Stretches } from '../stretches.mjs';

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
  const bursts = { seconds: seconds / 4, stretch: 10_000, pauseMs: 3 };
  const withoutEnd = { seconds: seconds / 2, stretch: 1000, pauseMs: 0 };
  return [
    peersCase('100 B, bursts of 10,000', { bytes: 100, ...bursts }, [
      { to: 'lmdb', atLeast: 12 },
      { to: 'sonic-boom', atLeast: 4 },
    ]),
    peersCase('1 KiB, bursts of 1,000', { bytes: 1024, ...bursts, stretch: 1000 }),
    peersCase('100 B, without end', { bytes: 100, ...withoutEnd }),
  ];
}

function peersCase(what, load, targets = []) {
  return {
    name: `append, records of ${what}`,
    unit: 'M records/s',
    contenders: {
      segwal: { trial: 'append', ...load },
      'segwal, packed batches': { trial: 'appendPacked', ...load },
      ...Object.fromEntries(names.map((peer) => [peer, { peer, workload: 'append', ...load }])),
    },
    targets,
    plot: { chart: 'peers', x: what },
  };
}

export const trials = {
  append(load, directory) {
    const records = sampleBuffers(load.bytes);
    return appendInStretches(load, directory, (wal, i) => wal.append(records[i & 1023]), 1);
  },

  appendPacked(load, directory) {
    const batch = packedRecords(perBatch, load.bytes);
    return appendInStretches(load, directory, (wal) => wal.appendBatch(batch), perBatch);
  },
};

/** Nobody waits for the disk, but here, as always, syncs go on beside it. */
async function appendInStretches(load, directory, append, each) {
  const wal = await WalManager.open(directory, { maxDirtyBytes: Infinity });
  const stretches = new Stretches(load);
  let count = 0;
  for (; stretches.keepOn(count); count += each) append(wal, count);
  const value = count / stretches.elapsed / 1000;
  if (wal.lastSequence !== count) throw new Error(`${wal.lastSequence} of ${count} records are there`);
  const { writerStalls, writerStallMs } = wal.stats();
  await wal.close();
  return { value, details: { records: count, writerStalls, writerStallMs } };
}
