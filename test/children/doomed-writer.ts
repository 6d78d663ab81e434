// A process that appends as fast as it can until it is killed, from one thread or several, and notes in a file what it has
// been told (test/helpers/appends.ts).
import { once } from 'node:events';
import { openSync, writeSync } from 'node:fs';
import { setImmediate } from 'node:timers/promises';
import { Worker, isMainThread, parentPort, workerData } from 'node:worker_threads';

import { WalError, WalManager } from '../../lib';
import { Acknowledgements, makeAppend, randomFrom } from '../helpers/appends';

interface Task {
  directory: string;
  notes: string;
  life: number;
  threads: number;
  segmentSize: number;
  /** Truncates so often that it writes to segments that it has recycled, most of the time. */
  turnsOver: boolean;
}

async function write(
  { directory, notes, life, threads, segmentSize, turnsOver }: Task,
  thread: number,
  ready: () => unknown,
): Promise<void> {
  const random = randomFrom(life * 31 + thread);
  const sync = (['immediate', 'batch', 'async'] as const)[life % 3];
  const wal = await WalManager.open(directory, { segmentSize, sync });
  const file = openSync(notes, 'r+');
  const note = Buffer.alloc(Acknowledgements.bytesPerThread);
  await ready();
  for (let turn = 0; ; turn++) {
    const sequence = append(wal, makeAppend({ life, thread, turn }));
    note.writeBigUInt64LE(BigInt(turn + 1));
    note.writeBigUInt64LE(BigInt(sequence), 8);
    writeSync(file, note, 0, note.length, thread * note.length);

    if (random() < 0.003) await wal.sync();
    if (random() < 0.001) await wal.rotate();
    if (random() < 0.01) await setImmediate();
    if (thread === 0 && random() < (turnsOver ? 0.03 : 0.0005)) {
      const before = Math.max(1, sequence - (turnsOver ? 100 : 1000));
      note.writeBigUInt64LE(BigInt(before));
      writeSync(file, note, 0, 8, Acknowledgements.size(threads) - 8);
      await wal.truncateBefore(before);
    }
  }
}

/** The sequence number of the first record. */
function append(wal: WalManager, { records, batch }: ReturnType<typeof makeAppend>): number {
  for (;;) {
    try {
      if (batch) return wal.appendBatch(records);
      const { data, kind, key } = records[0] as (typeof records)[0];
      return wal.append(data, { kind, key });
    } catch (error) {
      // The disk is slow today. Nothing was appended.
      if (!(error instanceof WalError && error.code === 'WAL_BACKPRESSURE')) throw error;
    }
  }
}

if (isMainThread) {
  const task = JSON.parse(process.argv[2] ?? '') as Task;
  const others = Array.from({ length: task.threads - 1 }, (_, i) => {
    return new Worker(__filename, { workerData: { task, thread: i + 1 } });
  });
  const allReady = Promise.all(others.map((worker) => once(worker, 'message')));
  void write(task, 0, async () => {
    await allReady;
    console.log('open');
  });
} else {
  const { task, thread } = workerData as { task: Task; thread: number };
  void write(task, thread, () => parentPort?.postMessage('ready'));
}
