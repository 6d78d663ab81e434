// npm run bench:sizes [-- --only 10,4GiB] [--dir path] [--json file] [--write]
//
// What grows with a log and what does not: opening, listing, seeking, taking the front away, closing, memory, for logs of
// 10 to 10,000 segments of the smallest size, of 4 GiB and of 100 GiB. Each log is made by one process and looked at by
// another. --write puts the tables into docs/SIZES.md. Needs 10 GiB of disk.
import { execFileSync, fork } from 'node:child_process';
import { once } from 'node:events';
import { mkdirSync, readFileSync, rmSync, statSync, unlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';

import { format } from 'prettier';
import { WalManager } from 'segwal';

import { busyTime, describeMachine, root, settleDisk, workDirectory } from './environment.mjs';
import { short } from './report.mjs';
import { sampleBuffers } from './samples.mjs';
import { quantile } from './statistics.mjs';

const here = fileURLToPath(import.meta.url);
const mebibyte = 2 ** 20;
const roomNeeded = 10 * 2 ** 30;
const recordBytes = 100;
const frameBytes = 128;
const segmentHeaderBytes = 4096;
const frameHeaderBytes = 24;
/** Of the log of 100 GiB. The records are zeros, so that the disk need not keep their blocks. */
const largeRecordBytes = 256 * 1024;
const looks = 1000;
const repeats = 9;

const logs = [
  ...[10, 100, 1000, 10_000].map((segments) => ({ name: String(segments), segments, segmentSize: 64 * 1024 })),
  { name: '4GiB', segments: 64, segmentSize: 64 * mebibyte },
  { name: '100GiB', segments: 1600, segmentSize: 64 * mebibyte, zeros: true },
];

// Making one

/** Segment after segment is filled to the end. The last one has no seal, for no record has found that it is full. */
async function makeLog({ segments, segmentSize, zeros = false }, directory) {
  const wal = await WalManager.open(directory, { segmentSize });
  await (zeros ? fillWithZeros : fillWithRecords)(wal, segments, segmentSize - segmentHeaderBytes);
  const { length } = wal.segments();
  await wal.close();
  if (length !== segments) throw new Error(`${length} segments were made instead of ${segments}`);
  return {};
}

async function fillWithRecords(wal, segments, room) {
  const records = sampleBuffers(recordBytes);
  const count = segments * Math.floor(room / frameBytes);
  for (let i = 1; i <= count; i++) {
    wal.append(records[i & 1023]);
    if (i % 4096 === 0) await wal.sync(); // or an append would wait for the next segment, and give up at last
  }
}

/** A file whose segment is sealed gives back the blocks that hold nothing but zeros. Its bytes stay what they are. */
async function fillWithZeros(wal, segments, room) {
  const record = Buffer.alloc(largeRecordBytes);
  const perSegment = Math.floor(room / (largeRecordBytes + frameHeaderBytes));
  const dug = new Set();
  for (let segment = 1; segment <= segments; segment++) {
    for (let i = 0; i < perSegment; i++) wal.append(record);
    await wal.sync();
    if (segment % 16 !== 0) continue;
    for (const { path, sealed } of wal.segments()) {
      if (!sealed || dug.has(path)) continue;
      execFileSync('fallocate', ['--dig-holes', path]);
      dug.add(path);
    }
  }
}

// Looking at one

async function lookAtLog({ segments }, directory) {
  const result = {};
  const memoryBefore = memory();
  const memoryOf = () => (memory() - memoryBefore) / mebibyte;
  const ms = async (action) => {
    const begin = performance.now();
    await action();
    return performance.now() - begin;
  };

  let wal;
  const opened = [];
  for (let i = 0; i < repeats; i++) {
    opened.push(await ms(async () => (wal = await WalManager.open(directory))));
    if (i === 0) result.memoryOpen = memoryOf();
    if (i < repeats - 1) await wal.close();
  }
  [result.openFirst] = opened;
  result.open = median(opened.slice(1));

  const ranges = wal.segments();
  const chosen = ranges.toSorted(() => Math.random() - 0.5).slice(0, looks);
  const anyOf = ({ firstSequence, lastSequence }) =>
    firstSequence + Math.floor(Math.random() * (lastSequence + 1 - firstSequence));
  const again = Array.from({ length: looks }, () => anyOf(chosen[Math.floor(Math.random() * chosen.length)]));
  const get = (sequence) => {
    const record = wal.get(sequence);
    if (record?.sequence !== sequence) throw new Error(`record ${sequence} is not there`);
    return record;
  };
  result.getFirst = latencies(chosen.map(anyOf), get);
  result.get = latencies(again, get);
  const momentsOf = (sequences) => sequences.map((sequence) => get(sequence).timestamp);
  const firstMoments = momentsOf(chosen.map(anyOf));
  const laterMoments = momentsOf(again);
  const seek = (moment) => {
    for (const { timestamp } of wal.read({ fromTime: moment, limit: 1 })) {
      if (timestamp >= moment) return;
    }
    throw new Error(`there is no record since ${moment}`);
  };
  result.seekTimeFirst = latencies(firstMoments, seek);
  result.seekTime = latencies(laterMoments, seek);
  result.memorySeeks = memoryOf();

  const times = (action) => median(Array.from({ length: repeats }, () => timeOf(action)));
  result.list = times(() => wal.segments());
  result.stats = times(() => wal.stats());
  result.readSegment = times(() => {
    for (const record of wal.readSegment(chosen[Math.floor(Math.random() * chosen.length)].id)) return record;
  });
  const reader = await WalManager.open(directory, { readOnly: true });
  await reader.close();
  let readOnly;
  result.openReadOnly = await ms(async () => (readOnly = await WalManager.open(directory, { readOnly: true })));
  result.getReadOnly = latencies(again, (sequence) => readOnly.get(sequence));
  await readOnly.close();

  let read = 0;
  const readMs = await ms(async () => {
    for await (const batch of wal.readBatches()) read += batch.length;
  });
  if (read !== wal.lastSequence) throw new Error(`${read} of ${wal.lastSequence} records were read`);
  const { ok, bytes, durationMs } = await wal.verify();
  if (!ok) throw new Error('the log is damaged');
  Object.assign(result, { segments, records: read, bytes, readMs, verifyMs: durationMs });
  result.diskMegabytes = ranges.reduce((sum, { path }) => sum + statSync(path).blocks * 512, 0) / 1e6;

  // Half of the segments, then a quarter; the others are deleted by hand, which tells what deleting alone takes.
  settleDisk();
  const half = ranges[Math.floor(segments / 2)].firstSequence;
  result.truncateBefore = (await ms(() => wal.truncateBefore(half))) / Math.floor(segments / 2);
  await wal.createCheckpoint({ sequence: ranges[Math.floor((segments * 3) / 4)].firstSequence - 1 });
  settleDisk();
  let removed;
  const cleanup = await ms(async () => ({ segmentsRemoved: removed } = await wal.cleanup()));
  result.cleanup = cleanup / removed;
  result.close = await ms(() => wal.close());
  settleDisk();
  const left = ranges.slice(-Math.floor(segments / 4));
  result.unlink = timeOf(() => left.forEach(({ path }) => unlinkSync(path))) / left.length;
  return result;
}

function timeOf(action) {
  const begin = performance.now();
  action();
  return performance.now() - begin;
}

/** ms. */
function latencies(values, action) {
  const sorted = values.map((value) => timeOf(() => action(value))).sort((a, b) => a - b);
  return { p50: quantile(sorted, 0.5), p99: quantile(sorted, 0.99), max: sorted.at(-1) };
}

function median(values) {
  return quantile(
    values.toSorted((a, b) => a - b),
    0.5,
  );
}

/** Bytes of the process's own; on Linux without pages of files, which the system takes back when it needs them. */
function memory() {
  globalThis.gc();
  if (process.platform !== 'linux') return process.memoryUsage.rss();
  return 1024 * Number(/^RssAnon:\s+(\d+)/m.exec(readFileSync('/proc/self/status', 'utf8'))[1]);
}

// All of them

/** In a process of its own. */
async function run(what, log, directory) {
  settleDisk();
  const child = fork(here, [what, JSON.stringify(log), directory], { execArgv: ['--expose-gc'] });
  let result;
  child.once('message', (message) => (result = message));
  const [status, signal] = await once(child, 'close');
  if (result === undefined) throw new Error(`${what} ${log.name} ended with ${signal ?? `status ${status}`}`);
  return result;
}

async function measureAll(chosen, directory) {
  const measured = [];
  for (const log of chosen) {
    const own = join(directory, log.name);
    mkdirSync(own);
    const begin = { time: performance.now(), busy: busyTime() };
    await run('make', log, own);
    const made = performance.now() - begin.time;
    const result = { name: log.name, segmentSize: log.segmentSize, ...(await run('look', log, own)) };
    result.load = (busyTime() - begin.busy) / (performance.now() - begin.time);
    rmSync(own, { recursive: true });
    console.error(
      `${log.name}: made in ${short(made / 1000)} s, looked at in ${short((performance.now() - begin.time - made) / 1000)} s`,
    );
    measured.push(result);
  }
  return measured;
}

const three = ({ p50, p99, max }) => `${short(p50)}, ${short(p99)}, ${short(max)}`;
const rows = [
  ['segments', ({ segments, segmentSize }) => `${segments.toLocaleString('en')} × ${sizeText(segmentSize)}`],
  ['records', ({ records }) => records.toLocaleString('en')],
  ['frames, GB', ({ bytes }) => short(bytes / 1e9)],
  ['open, ms (the first time)', ({ open, openFirst }) => `${short(open)} (${short(openFirst)})`],
  ['open with `readOnly`, ms', ({ openReadOnly }) => short(openReadOnly)],
  ['memory after `open`, MiB', ({ memoryOpen }) => short(memoryOpen)],
  ['memory after the seeks, MiB', ({ memorySeeks }) => short(memorySeeks)],
  ['`segments()`, ms', ({ list }) => short(list)],
  ['`stats()`, ms', ({ stats }) => short(stats)],
  ['`get`, the first of a segment, ms: p50, p99, max', ({ getFirst }) => three(getFirst)],
  ['`get`, a later one, ms: p50, p99, max', ({ get }) => three(get)],
  ['`get` with `readOnly`, ms: p50, p99, max', ({ getReadOnly }) => three(getReadOnly)],
  ['seek by time, the first of a segment, ms: p50, p99, max', ({ seekTimeFirst }) => three(seekTimeFirst)],
  ['seek by time, a later one, ms: p50, p99, max', ({ seekTime }) => three(seekTime)],
  ['`readSegment`, its first record, ms', ({ readSegment }) => short(readSegment)],
  ['read all, GB/s', ({ bytes, readMs }) => short(bytes / readMs / 1e6)],
  ['`verify`, GB/s', ({ bytes, verifyMs }) => short(bytes / verifyMs / 1e6)],
  ['`truncateBefore`, ms a segment', ({ truncateBefore }) => short(truncateBefore)],
  ['`cleanup`, ms a segment', ({ cleanup }) => short(cleanup)],
  ['deleting the file by hand, ms a segment', ({ unlink }) => short(unlink)],
  ['`close`, ms', ({ close }) => short(close)],
];

function sizeText(bytes) {
  return bytes < mebibyte ? `${bytes / 1024} KiB` : `${bytes / mebibyte} MiB`;
}

function tableOf(measured) {
  const line = (cells) => `| ${cells.join(' | ')} |`;
  const [[first, firstCell], ...others] = rows;
  return [
    line([first, ...measured.map(firstCell)]),
    line(['---', ...measured.map(() => '---:')]),
    ...others.map(([name, cell]) => line([name, ...measured.map(cell)])),
  ].join('\n');
}

async function writeDocument(text) {
  const target = join(root, 'docs', 'SIZES.md');
  const marks = /(<!-- figures: sizes -->)[^]*?(<!-- end -->)/;
  const before = readFileSync(target, 'utf8');
  if (!marks.test(before)) throw new Error(`${target} has no place for the figures`);
  const after = before.replace(marks, (_, begin, end) => `${begin}\n\n${text}\n\n${end}`);
  writeFileSync(target, await format(after, { parser: 'markdown', printWidth: 120, proseWrap: 'preserve' }));
}

async function main() {
  const { values: options } = parseArgs({
    options: {
      only: { type: 'string' },
      dir: { type: 'string', default: join(import.meta.dirname, '.tmp') },
      json: { type: 'string' },
      write: { type: 'boolean', default: false },
    },
  });
  const names = options.only?.split(',') ?? logs.map(({ name }) => name);
  const unknown = names.filter((name) => !logs.some((log) => log.name === name));
  if (unknown.length > 0) throw new Error(`no such log: ${unknown.join(', ')}`);
  const directory = workDirectory(options.dir, roomNeeded);
  try {
    const machine = describeMachine(directory);
    const measured = await measureAll(
      logs.filter(({ name }) => names.includes(name)),
      directory,
    );
    const others = Math.max(...measured.map(({ load }) => load));
    const under =
      `${machine.cpu}, ${machine.cores} cores, ${machine.memoryGiB} GiB of memory, ${machine.system}, ${machine.fileSystem} on ` +
      `${machine.disk}, Node.js ${machine.node}; load average ${machine.loadAverage.toFixed(1)} when it began, ` +
      `${others.toFixed(1)} processors busy meanwhile, those of the measurement included.`;
    const text = `${under}\n\n${tableOf(measured)}`;
    console.log(text);
    if (options.json !== undefined) writeFileSync(options.json, JSON.stringify({ machine, measured }, null, 1));
    if (options.write) await writeDocument(text);
  } finally {
    rmSync(directory, { recursive: true, force: true });
  }
}

const [what, log, directory] = process.argv.slice(2);
if (process.send !== undefined && (what === 'make' || what === 'look')) {
  const result = await (what === 'make' ? makeLog : lookAtLog)(JSON.parse(log), directory);
  process.send(result, () => process.disconnect());
} else {
  await main();
}
