// Where the benchmark runs: the directory it works in, and what results are only worth something with.
import { execFileSync, spawnSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, readFileSync, realpathSync, statfsSync, statSync } from 'node:fs';
import { createRequire } from 'node:module';
import os from 'node:os';
import { basename, join } from 'node:path';
import { setTimeout } from 'node:timers/promises';

import { WalManager } from 'segwal';

import { packedRecords } from './samples.mjs';

export { packedRecords, sampleBuffers, sampleStrings } from './samples.mjs';

const require = createRequire(import.meta.url);

export const root = join(import.meta.dirname, '..');

/** What raw.cc offers. Built by `npm run bench`. */
export const raw = require(join(root, 'build', 'bench', 'segwal_bench_raw.node'));

const fileSystems = new Map([
  [0xef53, 'ext4'],
  [0x58465342, 'xfs'],
  [0x9123683e, 'btrfs'],
  [0x2fc12fc1, 'zfs'],
  [0x794c7630, 'overlayfs'],
  [0x01021994, 'tmpfs'],
  [0x858458f6, 'ramfs'],
]);
const inMemory = ['tmpfs', 'ramfs'];

/** A fresh directory below `parent`, which must lie on a disk and have room for `bytes`. */
export function workDirectory(parent, bytes) {
  mkdirSync(parent, { recursive: true });
  const { type, bavail, bsize } = statfsSync(parent);
  if (inMemory.includes(fileSystems.get(type))) {
    throw new Error(`${parent} is in memory (${fileSystems.get(type)}); give a directory on a disk with --dir`);
  }
  if (bavail * bsize < bytes)
    throw new Error(`${parent} has less than ${bytes / 2 ** 30} GiB left; give another --dir`);
  return mkdtempSync(join(parent, 'run-'));
}

/** Before a trial: write-back of the one before must not fall into it. */
export function settleDisk() {
  if (process.platform !== 'win32') execFileSync('sync');
}

/** ms that all processors together have worked since the system started. */
export function busyTime() {
  return os.cpus().reduce((sum, { times }) => sum + times.user + times.nice + times.sys + times.irq, 0);
}

/** Runs `action`, which handles `records` records: how many million a second, and ns of processor time for each. */
export function measure(records, action) {
  const begin = { time: performance.now(), thread: raw.threadTime() };
  action();
  const ms = performance.now() - begin.time;
  return { rate: records / ms / 1000, threadNs: (raw.threadTime() - begin.thread) / records };
}

/** What this process has sent to the disk, by Linux. It counts a page when it becomes dirty, or is zeroed by a call. */
export function bytesWritten() {
  try {
    return Number(/^write_bytes: (\d+)$/m.exec(readFileSync('/proc/self/io', 'utf8'))[1]);
  } catch {
    return undefined; // another system
  }
}

/**
 * As a service appends: `records` at once, then something else for a moment. `append(n)` appends n records. The median
 * rate of the bursts, in million records a second.
 */
export async function medianBurst(bursts, records, append) {
  const rates = [];
  for (let i = 0; i < bursts; i++) {
    await setTimeout(1);
    const begin = process.hrtime.bigint();
    append(records);
    rates.push((records * 1e3) / Number(process.hrtime.bigint() - begin));
  }
  rates.sort((a, b) => a - b);
  const at = (share) => rates[Math.floor((rates.length - 1) * share)];
  return { value: at(0.5), details: { bursts, records, slowestTenth: at(0.1), fastestTenth: at(0.9) } };
}

/** As a service with little to do appends: one record now and then. How long `append(i)` takes, in µs. */
export async function afterPauses(count, append) {
  const times = [];
  for (let i = 0; i < count; i++) {
    await setTimeout(25);
    const begin = process.hrtime.bigint();
    append(i);
    times.push(Number(process.hrtime.bigint() - begin) / 1000);
  }
  times.sort((a, b) => a - b);
  const at = (share) => times[Math.floor((times.length - 1) * share)];
  return { value: at(0.5), more: { p50: at(0.5), p90: at(0.9) }, details: { count } };
}

export function describeMachine(directory) {
  const { type } = statfsSync(directory);
  return {
    cpu: os.cpus()[0]?.model.trim() ?? 'unknown',
    cores: os.availableParallelism(),
    memoryGiB: Math.round(os.totalmem() / 2 ** 30),
    loadAverage: os.loadavg()[0],
    system: `${os.type()} ${/^[\d.]+/.exec(os.release())} ${os.arch()}`,
    fileSystem: fileSystems.get(type) ?? `type 0x${type.toString(16)}`,
    disk: describeDisk(directory),
    node: process.version,
    segwal: JSON.parse(readFileSync(join(root, 'package.json'), 'utf8')).version,
    commit: spawnSync('git', ['-C', root, 'describe', '--always', '--dirty'], { encoding: 'utf8' }).stdout.trim(),
    crc32c: raw.crc32cImplementation,
    date: new Date().toISOString(),
  };
}

/** What Linux tells of the disk that `directory` is on; no more than the kind of thing it is. */
function describeDisk(directory) {
  const { dev } = statSync(directory);
  try {
    const major = ((dev >> 8) & 0xfff) | 0;
    const device = realpathSync(`/sys/dev/block/${major}:${dev & 0xff}`);
    const read = (name) => readFileSync(join(device, name), 'utf8').trim();
    const scheduler = /\[([^\]]+)\]/.exec(read('queue/scheduler'))?.[1] ?? 'none';
    const gib = Math.round((Number(read('size')) * 512) / 2 ** 30);
    return `${basename(device)}, ${gib} GiB, cache ${read('queue/write_cache')}, scheduler ${scheduler}`;
  } catch {
    return 'unknown'; // another system, or a device that is none
  }
}

/** Fills a new log with `records` records of 100 bytes, a thousand at a time. */
export async function fillLog(directory, records, options) {
  const wal = await WalManager.open(directory, options);
  const batch = packedRecords(1000, 100);
  for (let i = 0; i < records; i += 1000) {
    wal.appendBatch(batch);
    // The disk is slower: without a pause now and then an append would wait for it, and give up at last.
    if (i % 500_000 === 0) await wal.sync();
  }
  return wal;
}
