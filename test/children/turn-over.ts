// A process that turns a log over as fast as it can, until its standard input ends: it appends, and takes away the front.
// Readers of its own, and worker threads with readers, look on. Its last line says in JSON how it went.
import { once } from 'node:events';
import { readdirSync } from 'node:fs';
import { join } from 'node:path';
import { setImmediate, setTimeout as sleep } from 'node:timers/promises';
import { Worker, isMainThread, parentPort, workerData } from 'node:worker_threads';

import { WalManager } from '../../lib';
import type { WalOptions } from '../../lib';
import { DerivedReader, appendDerived } from '../helpers/derived';
import type { Manner, Reading } from '../helpers/derived';

export interface Task {
  directory: string;
  options: WalOptions;
  /** How many records are kept at least. */
  keep: number;
  readers: Manner[];
  workers: Manner[];
  /** ms between one turn and the next; for readers that are slow. */
  pause?: number;
}

export interface Turned {
  records: number;
  recycled: number;
  /** Most at any time. */
  kept: number;
  files: number;
  readings: Reading[];
}

function filesIn(directory: string, folder: string): string[] {
  return readdirSync(join(directory, folder));
}

async function turnOver({ directory, options, keep, readers, workers, pause = 0 }: Task): Promise<void> {
  let ended = false;
  process.stdin.resume().once('end', () => (ended = true));
  const wal = await WalManager.open(directory, options);
  appendDerived(wal);
  const own = readers.map((manner) => new DerivedReader(manner, () => WalManager.open(directory)));
  const reading = own.map((reader) => reader.run());
  const threads = workers.map((manner) => new Worker(__filename, { workerData: { directory, manner } }));
  await Promise.all(threads.map((thread) => once(thread, 'message')));
  const answers = threads.map(async (thread) => ((await once(thread, 'message')) as [Reading])[0]);
  console.log('turning');

  const turned: Turned = { records: 0, recycled: 0, kept: 0, files: 0, readings: [] };
  let rotations = 0;
  while (!ended) {
    for (let i = 0; i < 20; i++) appendDerived(wal);
    await setImmediate();
    const now = wal.stats().rotations;
    if (now === rotations) continue;
    rotations = now;
    if (pause > 0) await sleep(pause);
    await wal.truncateBefore(Math.max(1, wal.lastSequence - keep));
    const kept = filesIn(directory, 'metadata').filter((name) => name.startsWith('recyclable-')).length;
    turned.kept = Math.max(turned.kept, kept);
    turned.files = Math.max(turned.files, kept + filesIn(directory, 'segments').length);
  }
  for (const reader of own) reader.stop();
  for (const thread of threads) thread.postMessage('stop');
  turned.readings = await Promise.all([...reading, ...answers]);
  turned.recycled = wal.stats().segmentsRecycled;
  turned.records = wal.lastSequence;
  await wal.close();
  console.log(JSON.stringify(turned));
}

async function readInThread(directory: string, manner: Manner): Promise<void> {
  const reader = new DerivedReader(manner, () => WalManager.open(directory));
  const reading = reader.run();
  parentPort?.postMessage('ready');
  await new Promise((resolve) => parentPort?.once('message', resolve));
  reader.stop();
  parentPort?.postMessage(await reading);
}

if (isMainThread) {
  void turnOver(JSON.parse(process.argv[2] ?? '') as Task);
} else {
  const { directory, manner } = workerData as { directory: string; manner: Manner };
  void readInThread(directory, manner);
}
