// Worker threads, and processes, that come to an end in the middle of anything.
import { join } from 'node:path';

import { WalManager } from '../lib';
import { useLogs } from './helpers/logs';
import { startChild } from './helpers/processes';

const logs = useLogs();
const seed = Number(process.env['SEGWAL_SEED'] ?? Math.floor(Math.random() * 1e9));
console.info(`seed ${seed}: SEGWAL_SEED=${seed} repeats this`);

test('workers that are terminated, fail or exit lose no append that returned, and leave nothing behind', async () => {
  const rounds = Number(process.env['SEGWAL_ROUNDS'] ?? 12);
  const child = startChild('restless', logs.path, String(seed), String(rounds));
  const { status, signal, stdout, stderr } = await child.outcome();
  expect({ status, signal, stderr }).toEqual({ status: 0, signal: null, stderr: '' });
  const lines = stdout.trim().split('\n');
  expect(lines.pop()).toBe('done');
  expect(lines).toHaveLength(rounds + 1);
  // The rounds were not idle.
  const appends = lines.map((line) => (JSON.parse(line) as { appends: number }).appends);
  expect(appends.reduce((a, b) => a + b)).toBeGreaterThan(1000);
}, 90_000);

test.each([0, 1, 2, 3, 4, 5, 6, 7])('process.exit in the middle loses no append that returned (%d)', async (round) => {
  const path = join(logs.directory, `exit-${round}`);
  const child = startChild('restless', path, String(seed + round), '1', 'exit');
  const { status, signal, stdout, stderr } = await child.outcome();
  expect({ status, signal, stderr }).toEqual({ status: 7, signal: null, stderr: '' });
  const { life, returned } = JSON.parse(stdout) as { life: string; returned: number[] };

  const wal = await WalManager.open(path);
  const found = returned.map(() => 0);
  for (const { data, key } of wal.read()) {
    if (key !== null) continue;
    const [whose, thread, turn] = data.toString('latin1', 0, 40).split(' ');
    expect([whose, Number(turn)]).toEqual([life, found[Number(thread)]]);
    found[Number(thread)] = Number(turn) + 1;
  }
  // The last append of a thread may be there without having returned; and how many had is read a moment later.
  found.forEach((count, thread) => expect(count).toBeGreaterThanOrEqual(returned[thread] as number));
  await wal.close();
});
