// Opening a log after a kill, when its one segment is nearly full of records of 100 bytes and has no seal, so that every
// frame has to be looked at; against the CRC of as much memory on one core.
import { spawnSync } from 'node:child_process';
import { rmSync } from 'node:fs';
import { fileURLToPath } from 'node:url';

import { WalManager } from 'segwal';

import { raw, sampleBuffers } from '../environment.mjs';

const recordBytes = 100;
const frameBytes = 128;
const crcBufferBytes = 64 * 2 ** 20;

export function cases(scale) {
  const segmentSize = Math.ceil(2 ** 14 * scale) * 2 ** 16;
  const whole = { trial: 'crc', piece: crcBufferBytes };
  const frames = { trial: 'crc', piece: frameBytes - 4 };
  const segwal = { trial: 'recover', segmentSize, durable: true };
  return [
    recoveryCase('scan, against the CRC of 64 MiB at once', { segwal, raw: whole }, { ratio: 0.6 }),
    recoveryCase('scan, against the CRC of frame after frame', { segwal, raw: frames }),
    recoveryCase('the same, nothing durable yet', { segwal: { ...segwal, durable: false }, raw: whole }),
  ];
}

function recoveryCase(name, contenders, target) {
  return { name, unit: 'GB/s', contenders, target };
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
    return { value: bytes / durationMs / 1e6, details: { records, megabytes: bytes / 1e6, durationMs, openMs } };
  },

  crc({ piece }) {
    const buffer = Buffer.alloc(crcBufferBytes, 'segwal');
    const rates = Array.from({ length: 9 }, () => {
      const begin = performance.now();
      raw.crc32c(buffer, piece);
      return buffer.length / (performance.now() - begin) / 1e6;
    });
    return { value: rates.sort((a, b) => a - b)[4], details: { piece } };
  },
};

/** As many as leave a tenth of the segment free. */
function recordsFor(segmentSize) {
  return Math.floor((segmentSize * 0.9) / frameBytes);
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
