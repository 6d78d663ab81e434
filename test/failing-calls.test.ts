// The n-th system call of a kind fails in each thread of a real process. The process lives, every refusal is one that is
// documented, and what is there afterwards is everything that was appended.
import { spawnSync } from 'node:child_process';
import { setTimeout } from 'node:timers/promises';

import { WalManager } from '../lib';
import { smallSegment, useLogs } from './helpers/logs';
import { injectInto, straceRefusal, Subordinate } from './helpers/orders';
import type { Answer } from './helpers/orders';

const logs = useLogs();
const options = JSON.stringify({ segmentSize: smallSegment, sync: { policy: 'async', maxDelay: 60_000 } });
const refusals = ['WAL_IO', 'WAL_POISONED', 'WAL_DISK_FULL', 'WAL_CLOSED'];
const bytes = 2000;

/** Opens, appends, syncs, rotates, truncates and closes; again where opening fails. */
async function liveALife(child: Subordinate, path: string): Promise<Answer[]> {
  const answers: Answer[] = [];
  const order = async (...words: (string | number)[]): Promise<Answer> => {
    const answer = await child.order(...words);
    answers.push(answer);
    return answer;
  };
  while ((await order('open', path, options)).code !== undefined) expect(answers.length).toBeLessThan(20);
  for (let round = 0; round < 3; round++) {
    await order('append-many', 3, bytes);
    await order('sync');
    await order('append-many', 40, bytes); // into the next segment
    await order('rotate');
  }
  await order('truncate-before', 60);
  await order('append-many', 3, bytes);
  await order('sync');
  return answers;
}

/** What was appended, and is therefore there when only the process has died. */
async function appendedBy(child: Subordinate): Promise<number> {
  const { value } = await child.order('last');
  return value as number;
}

async function examine(path: string, appended: number): Promise<void> {
  const wal = await WalManager.open(path);
  expect(wal.lastSequence).toBe(appended);
  expect(wal.firstSequence).toBeLessThanOrEqual(60);
  let due = wal.firstSequence;
  for (const { sequence, data } of wal.read()) {
    expect([sequence, data.length]).toEqual([due, bytes]);
    due++;
  }
  expect(due).toBe(appended + 1);
  expect(await wal.verify()).toMatchObject({ ok: true });
  expect(wal.append('goes on')).toBe(appended + 1);
  await wal.close();
}

const reason = straceRefusal();
if (reason !== undefined) {
  test.skip(`no system call is made to fail: they cannot be traced here (${reason})`, () => undefined);
} else {
  test.each([
    ['msync', 'EIO'],
    ['fsync', 'EIO'],
    ['fallocate', 'ENOSPC'],
    ['fallocate', 'EIO'],
    ['pwrite64', 'EIO'],
    ['pwrite64', 'ENOSPC'],
    ['rename', 'EIO'],
    ['rename', 'ENOSPC'],
    ['unlink', 'EACCES'],
    ['flock', 'ENOLCK'],
    ['getdents64', 'EIO'],
  ])('%s fails with %s: the first, the second, and so on', async (call, error) => {
    const codes = await Promise.all(
      [1, 2, 3, 4, 5, 6].map(async (nth) => {
        const path = `${logs.path}-${nth}`;
        const child = new Subordinate();
        await child.order('open', `${path}-before`, options); // the native core is loaded now
        await child.order('close');
        const tracer = await injectInto(child.child.pid, `${call}:error=${error}:when=${nth}`);
        const answers = await liveALife(child, path);
        const appended = await appendedBy(child);
        answers.push(await child.order('close'));
        await child.dismiss();
        await tracer.ended;
        await examine(path, appended);
        return answers.map((answer) => answer.code).filter((code) => code !== undefined);
      }),
    );
    expect(refusals).toEqual(expect.arrayContaining([...new Set(codes.flat())]));
  });
}

// prlimit is a tool, and a system call, of Linux.
const whereLimited = process.platform === 'linux' ? test : test.skip;
whereLimited('there are no more file descriptors: opening and rotating say so, and go on when there are', async () => {
  const child = new Subordinate();
  const limit = (files: string): void => {
    const { status, stderr } = spawnSync('prlimit', ['--pid', String(child.child.pid), `--nofile=${files}`], {
      encoding: 'utf8',
    });
    expect([status, stderr]).toEqual([0, '']);
  };
  expect(await child.order('open', logs.path, options)).toEqual({ value: 0 });
  limit('1:4096'); // fewer than it has
  const refused = { code: 'WAL_IO', cause: 'EMFILE' };
  expect(await child.order('append-many', 10, bytes)).toEqual({ value: 10 });
  expect(await child.order('sync')).toEqual({ value: 10 });
  expect(await child.order('open', `${logs.path}-2`, options)).toMatchObject(refused);
  limit('4096:4096');
  expect(await child.order('open', logs.path, options)).toEqual({ value: 10 });
  // A spare that could not be made meanwhile is tried again after 200 ms; until then there is no new segment.
  while ((await child.order('rotate')).code !== undefined) await setTimeout(50);
  expect(await child.order('append-many', 100, bytes)).toEqual({ value: 110 });
  expect(await child.order('sync')).toEqual({ value: 110 });
  await child.dismiss();
  const wal = await WalManager.open(logs.path);
  expect(wal.lastSequence).toBe(110);
  await wal.close();
});
