// The thread of the event loop makes no system call that waits for the disk.
import { readFileSync } from 'node:fs';
import { join } from 'node:path';

import { smallSegment, useLogs } from './helpers/logs';
import { straceRefusal, Subordinate, traceInto } from './helpers/orders';

const logs = useLogs();

// Of what the log needs: those that wait for the disk, or take long for a large file.
const slow = [
  'msync',
  'fsync',
  'fdatasync',
  'fallocate',
  'ftruncate',
  'unlink',
  'rename',
  'mkdir',
  'pwrite64',
  'flock',
];

const reason = straceRefusal();
if (reason !== undefined) {
  test.skip(`who makes which system call is not looked at: they cannot be traced here (${reason})`, () => undefined);
} else {
  test('creating, allocating, syncing, sealing and deleting segments is done by other threads', async () => {
    const child = new Subordinate();
    const file = join(logs.directory, 'calls');
    await child.order('open', `${logs.path}-before`); // loading code is not what is meant
    await child.order('close');
    const tracer = await traceInto(child.child.pid, slow, file);
    expect(await child.order('open', logs.path, JSON.stringify({ segmentSize: smallSegment }))).toEqual({ value: 0 });
    let last = 0;
    for (let round = 0; round < 5; round++) {
      last += 50;
      expect(await child.order('append-many', 50, 2000)).toEqual({ value: last }); // more than a segment
      expect(await child.order('sync')).toEqual({ value: last });
      expect(await child.order('rotate')).toEqual({});
    }
    expect(await child.order('truncate-before', 200)).toEqual({});
    expect(await child.order('count')).toMatchObject({ value: expect.any(Number) as number });
    expect(await child.order('close')).toEqual({});
    await child.dismiss();
    await tracer.ended;

    const calls = readFileSync(file, 'utf8')
      .split('\n')
      .flatMap((line) => {
        const [, thread, call] = /^(\d+) +(\w+)\(/.exec(line) ?? [];
        // Whoever maps a file to read it locks it, without waiting: here it is who reads on this thread, for `count`.
        const waits = !line.includes('LOCK_SH|LOCK_NB');
        return thread === undefined || !waits ? [] : [{ thread: Number(thread), call }];
      });
    const byOthers = new Set(calls.filter(({ thread }) => thread !== child.child.pid).map(({ call }) => call));
    expect([...byOthers]).toEqual(
      expect.arrayContaining(['msync', 'fsync', 'fallocate', 'unlink', 'rename', 'mkdir', 'pwrite64', 'flock']),
    );
    expect(calls.filter(({ thread }) => thread === child.child.pid)).toEqual([]);
  });
}
