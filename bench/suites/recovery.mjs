// Opening a log after a kill, when its one segment is nearly full of records of 100 bytes and has no seal, so that every
// frame has to be looked at; against the CRC of as much memory on one core. And verifying a log of many segments, against
// the CRC of as many frames by as many threads, which share nothing but the memory's bandwidth.
import { spawnSync } from 'node:child_process';
import { rmSync } from 'node:fs';
import { availableParallelism } from 'node:os';
import { fileURLToPath } from 'node:url';

import { WalManager } from 'segwal';

import { raw, sampleBuffers } from '../environment.mjs';

const recordBytes = 100;
const frameBytes = 128;
const recoveredShare = 0.9;
const crcBufferBytes = 64 * 2 ** 20;

export const charts = [
  {
    id: 'recovery-size',
    title: 'recovery after a kill, by what has no seal',
    kind: 'line',
    x: 'MiB of frames to look at',
    y: 'ms',
    yScale: 'logarithmic',
  },
];

export function cases({ scale }) {
  const whole = { trial: 'crc', piece: crcBufferBytes };
  const frames = { trial: 'crc', piece: frameBytes - 4 };
  const threads = Math.min(2, availableParallelism());
  const verified = Math.ceil(512 * scale);
  return [
    ...[64, 256, 1024].map((mebibytes) => {
      const segmentSize = Math.ceil(mebibytes * 16 * scale) * 2 ** 16;
      const filled = { trial: 'recover', segmentSize };
      return {
        name: `recovery of a segment of ${mebibytes} MiB`,
        atLeast: mebibytes === 64 ? 7 : 1,
        contenders: {
          segwal: { ...filled, durable: true },
          'segwal, nothing durable yet': { ...filled, durable: false },
          'raw, CRC of memory': whole,
          'raw, CRC of frame after frame': frames,
        },
        measures: [
          { unit: 'GB/s', targets: [{ to: 'raw, CRC of memory', atLeast: 0.6 }] },
          {
            of: 'time',
            key: 'ms',
            unit: 'ms',
            better: 'less',
            plot: { chart: 'recovery-size', x: Math.round(mebibytes * recoveredShare) },
          },
        ],
      };
    }),
    {
      name: 'verify, 8 segments',
      unit: 'GB/s',
      contenders: {
        segwal: { trial: 'verify', mebibytes: verified },
        'segwal, one thread': { trial: 'verify', mebibytes: verified, concurrency: 1 },
        'raw, CRC of frame after frame': { ...frames, bytes: verified * 2 ** 20 },
        'raw, the same by two threads': { ...frames, bytes: verified * 2 ** 20, threads },
      },
      targets: [{ to: 'raw, the same by two threads', atLeast: 0.8 }],
    },
  ];
}

export const trials = {
  async recover({ segmentSize, durable }, directory) {
    const victim = [fileURLToPath(import.meta.url), directory, String(segmentSize), String(durable)];
    const { signal, stderr } = spawnSync(process.execPath, victim, { encoding: 'utf8' });
    if (signal !== 'SIGKILL') throw new Error(`the process that was to be killed ended by itself: ${stderr}`);

    const begin = performance.now();
    const wal = await WalManager.open(directory);
    const openMs = performance.now() - begin;
    const { records, bytes, durationMs, clean } = wal.recovery;
    await wal.close();
    if (clean || records !== recordsFor(segmentSize)) throw new Error(`${records} records were recovered`);
    rmSync(directory, { recursive: true });
    return {
      value: bytes / durationMs / 1e6,
      more: { ms: durationMs },
      details: { records, megabytes: bytes / 1e6, openMs },
    };
  },

  async verify({ mebibytes, concurrency }, directory) {
    const segmentSize = Math.ceil(mebibytes / 8) * 2 ** 20;
    const records = recordsFor(segmentSize) * 8;
    const wal = await WalManager.open(directory, { segmentSize });
    const samples = sampleBuffers(recordBytes);
    for (let i = 0; i < records; i++) {
      wal.append(samples[i & 1023]);
      if (i % 100_000 === 0) await wal.sync();
    }
    await wal.sync();
    const report = await wal.verify(concurrency === undefined ? {} : { concurrency });
    await wal.close();
    if (!report.ok || report.records !== records) throw new Error(`${report.records} of ${records} were verified`);
    return { value: report.bytes / report.durationMs / 1e6, details: { records, megabytes: report.bytes / 1e6 } };
  },

  crc({ piece, bytes = crcBufferBytes, threads = 1 }) {
    const buffer = Buffer.alloc(bytes, 'segwal');
    const rates = Array.from({ length: 9 }, () => {
      const begin = performance.now();
      raw.crc32c(buffer, piece, threads);
      return buffer.length / (performance.now() - begin) / 1e6;
    });
    return { value: rates.sort((a, b) => a - b)[4], details: { piece, threads } };
  },
};

/** As many as leave a tenth of the segment free. */
function recordsFor(segmentSize) {
  return Math.floor((segmentSize * recoveredShare) / frameBytes);
}

/** Fills the segment and kills itself. With `durable` everything has reached the disk, else nothing was asked to. */
async function victim([directory, segmentSize, durable]) {
  const sync = durable === 'true' ? 'batch' : { policy: 'async', maxDelay: 3_600_000 };
  const wal = await WalManager.open(directory, { segmentSize: Number(segmentSize), sync });
  const records = sampleBuffers(recordBytes);
  for (let i = recordsFor(Number(segmentSize)); i > 0; i--) wal.append(records[i & 1023]);
  if (durable === 'true') await wal.sync();
  process.kill(process.pid, 'SIGKILL');
}

if (process.argv[1] === fileURLToPath(import.meta.url)) await victim(process.argv.slice(2));
