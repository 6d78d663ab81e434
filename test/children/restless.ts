// A process whose worker threads use one log and come to all kinds of ends at random moments: terminated, by an uncaught
// error, by process.exit, in order. After each round it looks whether what was acknowledged is there, and whether
// anything is left behind. Its output is one line of JSON for each round, and `done`.
//
// Arguments: directory, seed, rounds; a fourth, `exit`: the process ends by process.exit in the middle of the first
// round, and prints what had been acknowledged.
import { once } from 'node:events';
import { readFileSync, writeSync } from 'node:fs';
import { join, sep } from 'node:path';
import { setImmediate, setTimeout as sleep } from 'node:timers/promises';
import { Worker, isMainThread, parentPort, workerData } from 'node:worker_threads';

import { WalError, WalManager } from '../../lib';
import { randomFrom } from '../helpers/appends';
import { type Holdings, holdings, isMore, settled } from '../helpers/holdings';

const segmentSize = 65_536;
const endings = ['terminate', 'throw', 'exit', 'order'] as const;
type Ending = (typeof endings)[number];

interface Task {
  directory: string;
  seed: number;
  life: string;
  /** Of each thread one number: how many of its appends have returned. */
  returned: Int32Array;
  thread: number;
}

/** Fails neither when the log is closed under its feet nor when the disk is slow. */
function isExpected(error: unknown): boolean {
  return (
    error instanceof WalError && ['WAL_CLOSED', 'WAL_BACKPRESSURE', 'WAL_TRUNCATED', 'WAL_ABORTED'].includes(error.code)
  );
}

const ignore = (error: unknown): void => {
  if (!isExpected(error)) throw error;
};

/** What somebody may be in the middle of. None of it is waited for. */
function begin(wal: WalManager, random: () => number): void {
  const choice = Math.floor(random() * 8);
  if (choice === 0) wal.sync().catch(ignore);
  else if (choice === 1) wal.whenDurable(Math.max(1, wal.lastSequence)).catch(ignore);
  else if (choice === 2) wal.rotate().catch(ignore);
  else if (choice === 3) wal.verify().catch(ignore);
  else if (choice === 4)
    void (async () => {
      for await (const batch of wal.readBatches()) if (batch.length > 5000) break;
    })().catch(ignore);
  else if (choice === 5) for (const record of wal.read({ reverse: true })) if (record.sequence % 50 === 0) break;
  if (choice === 6) wal.stats();
  if (choice === 7) wal.compact().catch(ignore);
}

async function use(task: Task): Promise<void> {
  const random = randomFrom(task.seed);
  for (let turn = 0; ;) {
    const wal = await WalManager.open(task.directory, { segmentSize });
    const stay = 50 + random() * 2000;
    for (let i = 0; i < stay; i++) {
      try {
        wal.append(`${task.life} ${task.thread} ${turn} ${'x'.repeat(random() * 200)}`);
        Atomics.store(task.returned, task.thread, ++turn);
        if (random() < 0.3) wal.append('', { key: 'for compaction to remove' });
      } catch (error) {
        ignore(error);
      }
      if (random() < 0.01) begin(wal, random);
      if (random() < 0.02) await setImmediate();
    }
    if (random() < 0.5) await wal.close();
    else wal.close().catch(ignore); // open while closing
  }
}

/** The appends of a life that are in the log: of each thread, how many; they must come without a gap, and in order. */
function countOf(wal: WalManager, life: string, threads: number): number[] {
  const counts = Array.from({ length: threads }, () => 0);
  for (const { data } of wal.read()) {
    const [whose, thread, turn] = data.toString('latin1', 0, 40).split(' ');
    if (whose !== life) continue;
    if (Number(turn) !== counts[Number(thread)])
      throw new Error(`${life}: ${thread} ${turn} instead of ${counts[Number(thread)]}`);
    counts[Number(thread)]!++;
  }
  return counts;
}

async function endOf(worker: Worker, ending: Ending): Promise<void> {
  const ended = new Promise((resolve) => worker.on('exit', resolve)); // `once` would also end by an error
  worker.on('error', (error: Error) => {
    if (error.message !== 'on purpose') throw error;
  });
  if (ending === 'terminate') await worker.terminate();
  else worker.postMessage(ending);
  await ended;
}

/** Or for ten seconds. */
async function until(condition: () => boolean): Promise<void> {
  for (let patience = 2000; !condition() && patience > 0; patience--) await sleep(5);
}

async function round(directory: string, seed: number, before: Holdings): Promise<void> {
  const random = randomFrom(seed);
  const threads = 1 + Math.floor(random() * 3);
  const returned = new Int32Array(new SharedArrayBuffer(4 * threads));
  const life = `life-${seed}`;
  const joined = random() < 0.5 ? await WalManager.open(directory, { segmentSize }) : undefined;
  const workers = Array.from({ length: threads }, (_, thread) => {
    const task: Task = { directory, seed: seed * 10 + thread, life, returned, thread };
    return new Worker(__filename, { workerData: task });
  });
  // Some moments are while they start, some while they open, most later, wherever that is on a slow machine.
  await Promise.all(
    workers.map(async (worker, thread) => {
      await once(worker, 'online');
      const moment = random();
      const early = random() < 0.3;
      if (!early) await until(() => Atomics.load(returned, thread) > 0);
      await sleep(moment * (early ? 15 : 400));
      await endOf(worker, endings[Math.floor(random() * endings.length)] as Ending);
    }),
  );
  await joined?.close();
  const wal = await WalManager.open(directory, { segmentSize });
  const found = countOf(wal, life, threads);
  found.forEach((count, thread) => {
    const least = returned[thread] as number;
    if (count < least || count > least + 1)
      throw new Error(`thread ${thread}: ${least} appends returned, ${count} are there`);
  });
  await wal.truncateBefore(wal.lastSequence + 1);
  await wal.close();
  const after = await settled(directory, before);
  if (isMore(after, before))
    throw new Error(`left behind: ${JSON.stringify(after)}, before: ${JSON.stringify(before)}`);
  console.log(JSON.stringify({ seed, threads, appends: found.reduce((a, b) => a + b), before, after }));
}

/** Ends while its threads are at work. */
async function exitInTheMiddle(directory: string, seed: number): Promise<void> {
  const random = randomFrom(seed);
  const threads = 3;
  const returned = new Int32Array(new SharedArrayBuffer(4 * threads));
  const life = `life-${seed}`;
  process.on('exit', () => writeSync(1, `${JSON.stringify({ life, returned: [...returned] })}\n`));
  for (let thread = 1; thread < threads; thread++) {
    new Worker(__filename, {
      workerData: { directory, seed: seed * 10 + thread, life, returned, thread } satisfies Task,
    });
  }
  setTimeout(() => process.exit(7), random() * 300);
  await use({ directory, seed: seed * 10, life, returned, thread: 0 });
}

/** Whoever names an addon, one under sanitizers, must not get another one, and believe that it was that one. */
function expectAddonBelow(folder: string): void {
  const addons = readFileSync('/proc/self/maps', 'latin1').match(/\/.*segwal.*\.node$/gm) ?? [];
  if (addons.length === 0 || !addons.every((path) => path.startsWith(join(folder, sep))))
    throw new Error(`not from ${folder}: ${addons.join(', ') || 'no addon'}`);
}

async function main([directory = '', seed = '1', rounds = '1', mode]: string[]): Promise<void> {
  if (mode === 'exit') return exitInTheMiddle(directory, Number(seed));
  // Whatever Node.js and the first log of a process leave for good is there before.
  await round(directory, Number(seed), { threads: Infinity, descriptors: 0, mappings: 0 });
  if (process.env['SEGWAL_PREBUILD']) expectAddonBelow(process.env['SEGWAL_PREBUILD']);
  await sleep(500);
  const before = holdings(directory);
  for (let i = 1; i <= Number(rounds); i++) await round(directory, Number(seed) + i, before);
  console.log('done');
}

if (isMainThread) {
  void main(process.argv.slice(2));
} else {
  parentPort?.on('message', (ending: Ending) => {
    if (ending === 'throw') throw new Error('on purpose');
    process.exit(ending === 'exit' ? 3 : 0);
  });
  void use(workerData as Task);
}
