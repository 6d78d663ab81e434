// A process that lets one worker after another use a log in every way, and has each terminated at another of its calls
// into Node.js, until one comes through. The addon has to be one that is built for it (SEGWAL_TERMINATIONS). Afterwards
// it looks whether what was acknowledged is there, and whether anything is left behind.
//
// Arguments: directory, the first call, how many calls there are between one worker's and the next one's. Its output is
// one line of JSON.
import { mkdirSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { Worker, isMainThread, parentPort, workerData } from 'node:worker_threads';

import { WalManager } from '../../lib';
import { isMore, settled } from '../helpers/holdings';

const segmentSize = 65_536;

/** Data and key of one record of each append, in their order. */
const appends: readonly [data: string, key: string | null][] = [
  ['text', null],
  ['bytes alone', null],
  ['bytes', 'key'],
  ['one', 'k'],
  ['packed', null],
  ['in the second segment', null],
  ['somebody waits for this', null],
];

interface Task {
  directory: string;
  /** How many appends of the worker have returned. */
  returned: Int32Array;
}

async function readAll(wal: WalManager): Promise<void> {
  Array.from(wal.read({ kind: 2, key: 'key', from: 1 }));
  for (const source of [wal.read({ reverse: true }), wal.readBatches({ to: wal.lastSequence })]) {
    const records = source[Symbol.asyncIterator]();
    while ((await records.next()).done !== true);
  }
}

/** Nearly every function of the addon. */
async function use({ directory, returned }: Task): Promise<void> {
  const append = (call: () => unknown): void => {
    call();
    returned[0]!++;
  };
  const options = { segmentSize, retention: { maxBytes: 10 * segmentSize }, compression: 'lz4' } as const;
  const wal = await WalManager.open(directory, { ...options, sync: { policy: 'batch', maxDelay: 5 } });
  append(() => wal.append('text'));
  append(() => wal.append(Buffer.from('bytes alone')));
  append(() => wal.append(Buffer.from('bytes'), { kind: 2, key: 'key' }));
  append(() =>
    wal.appendBatch([
      { data: Buffer.alloc(9), kind: 1 },
      { data: 'one', key: 'k' },
    ]),
  );
  append(() => wal.appendBatch({ buffer: Buffer.from('packed too'), offsets: Uint32Array.of(0, 6, 10) }));
  await Promise.all([wal.write('written'), wal.writeBatch([{ data: 'z'.repeat(5000) }, { data: 'z'.repeat(5000) }])]);
  await Promise.all([wal.sync(), wal.whenDurable(wal.lastSequence)]);
  await wal.rotate();
  append(() => wal.append('in the second segment'));
  await readAll(wal);
  wal.get(1);
  wal.segments();
  wal.stats();
  await wal.health();
  await wal.verify({ onProgress: () => undefined });
  const hold = wal.hold(2);
  await wal.createCheckpoint({ sequence: 2, data: Buffer.from('state') });
  wal.checkpoints();
  await wal.cleanup();
  hold.release();
  await wal.compact();
  await wal.truncateBefore(1);
  await wal.truncateAfter(wal.lastSequence);
  const follower = wal.read({ live: true })[Symbol.asyncIterator]();
  for (let left = wal.lastSequence; left > 0; left--) await follower.next();
  const next = follower.next();
  append(() => wal.append('somebody waits for this'));
  await next;
  await follower.return?.();
  await wal.close();
  await WalManager.planSalvage(directory).catch(() => undefined); // where the main thread has it open, it is locked
}

/** Whether the worker came through. */
async function endedAt(call: number, directory: string): Promise<boolean> {
  process.env['SEGWAL_TERMINATE_AT'] = String(call);
  const returned = new Int32Array(new SharedArrayBuffer(4));
  const worker = new Worker(__filename, { workerData: { directory, returned } satisfies Task });
  const terminate = (): void => void worker.terminate();
  process.on('SIGUSR2', terminate);
  let through = false;
  worker.on('message', () => (through = true));
  worker.on('error', (error) => {
    throw error;
  });
  await new Promise((resolve) => worker.on('exit', resolve));
  process.off('SIGUSR2', terminate);

  const wal = await WalManager.open(directory, { segmentSize });
  const found = new Map([...wal.read()].map(({ data, key }) => [data.toString(), key?.toString() ?? null]));
  const wrong = appends.filter(([data, key], i) => (found.has(data) ? found.get(data) !== key : i < returned[0]!));
  if (wrong.length > 0) throw new Error(`call ${call}: lost, or with another key: ${wrong.join('; ')}`);
  await wal.close();
  return through;
}

async function main([directory = '', first = '1', stride = '1']: string[]): Promise<void> {
  const run = async (call: number): Promise<boolean> => {
    const path = join(directory, String(call));
    mkdirSync(path, { recursive: true });
    const through = await endedAt(call, path);
    rmSync(path, { recursive: true });
    return through;
  };
  // Whatever Node.js and the first log of a process leave for good is there before.
  await run(0);
  const before = await settled(directory, { threads: Infinity, descriptors: 0, mappings: 0 });
  let call = Number(first);
  while (!(await run(call))) call += Number(stride);
  if (call === Number(first)) throw new Error('nobody was terminated: this addon is not built for it');
  const after = await settled(directory, before);
  if (isMore(after, before))
    throw new Error(`left behind: ${JSON.stringify(after)}, before: ${JSON.stringify(before)}`);
  console.log(JSON.stringify({ calls: call, first: Number(first), stride: Number(stride) }));
}

if (isMainThread) void main(process.argv.slice(2));
else void use(workerData as Task).then(() => parentPort?.postMessage('through'));
