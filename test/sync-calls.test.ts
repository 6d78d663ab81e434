// Which system calls a sync is made of: what it costs.
import { readFileSync } from 'node:fs';
import { join } from 'node:path';

import { useLogs } from './helpers/logs';
import { straceRefusal, Subordinate, traceInto } from './helpers/orders';

const logs = useLogs();

const reason = straceRefusal();
if (reason !== undefined) {
  test.skip(`the calls of a sync are not looked at: they cannot be traced here (${reason})`, () => undefined);
} else {
  // Who asks for the times of a file makes the next write to it change them, and the sync after that write the inode.
  test('a sync is one msync, and one look at the file that leaves its times alone', async () => {
    const child = new Subordinate();
    const file = join(logs.directory, 'calls');
    expect(await child.order('open', logs.path)).toEqual({ value: 0 });
    const tracer = await traceInto(
      child.child.pid,
      ['msync', 'fsync', 'fdatasync', 'fstat', 'newfstatat', 'statx'],
      file,
    );
    for (let last = 10; last <= 50; last += 10) {
      expect(await child.order('append-many', 10, 100)).toEqual({ value: last });
      expect(await child.order('sync')).toEqual({ value: last });
    }
    await child.dismiss();
    await tracer.ended;

    const calls = readFileSync(file, 'utf8')
      .split('\n')
      .map((line) => /^(\d+) +(.*)$/.exec(line))
      .filter((match) => match !== null)
      .map(([, thread, call]) => ({ thread, call: call as string }))
      // The second half of a call that another thread's came in between.
      .filter(({ call }) => !call.startsWith('<... '));
    const syncer = calls.find(({ call }) => call.startsWith('msync('))?.thread;
    const ofSyncer = calls.filter(({ thread }) => thread === syncer).map(({ call }) => call);
    expect(ofSyncer.length).toBeGreaterThanOrEqual(10);
    ofSyncer.slice(0, 10).forEach((call, i) => {
      if (i % 2 === 0) expect(call).toMatch(/^msync\(/);
      else expect(call).toMatch(/^statx\(\d+, "", [A-Z_|]*AT_EMPTY_PATH, STATX_NLINK\|STATX_SIZE, /);
    });
  });
}
