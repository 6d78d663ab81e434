import { closeSync, openSync, rmSync, writeFileSync, writeSync } from 'node:fs';
import { join } from 'node:path';

import type { HealthReport } from '../lib';
import { expectWalError } from './helpers/errors';
import { LogFiles, segmentName } from './helpers/log-files';
import { useLogs } from './helpers/logs';
import { Subordinate, injectInto, straceRefusal } from './helpers/orders';
import { appendMany } from './helpers/records';
import { runCli } from './helpers/processes';

const logs = useLogs();

function check(report: HealthReport, name: string): { ok: boolean; detail: string } {
  const found = report.checks.find((each) => each.name === name);
  if (found === undefined) throw new Error(`no check '${name}'`);
  return found;
}

/** Turns a bit of the last byte of record `n` of the first segment, in the file. */
function damage(n: number): void {
  const files = LogFiles.read(logs.path);
  const { offset, length } = files.frames(1)[n - 1]!;
  const at = offset + length - 1;
  const file = openSync(join(logs.path, segmentName(1)), 'r+');
  writeSync(file, Buffer.of(files.segment(1)[at]! ^ 1), 0, 1, at);
  closeSync(file);
}

test('a log that is well', async () => {
  const wal = await logs.open();
  appendMany(wal, 10);
  const report = await wal.health();
  expect(report.ok).toBe(true);
  expect(report.checks.map(({ name, ok }) => [name, ok])).toEqual(
    ['poisoned', 'room', 'lock', 'durable', 'sync', 'read', 'recovery'].map((name) => [name, true]),
  );
  expect(check(report, 'lock').detail).toMatch(new RegExp(`^held by pid ${process.pid} `));
  expect(check(report, 'room').detail).toMatch(/^\d+ bytes are free, \d+ segments$/);
  expect(check(report, 'sync').detail).toMatch(
    /^a barrier took [\d.]+ ms; syncs: \d+, p99 [\d.]+ ms, the last ended 20/,
  );
  expect(wal.durableSequence).toBe(10);
  expect(check(await wal.health(), 'durable').detail).toBe('to 10, all');
  expect(Math.abs(wal.stats().lastSyncTimestamp - Date.now())).toBeLessThan(60_000);
});

test('from outside: of a log in use, and of one that nobody writes', async () => {
  const wal = await logs.open();
  appendMany(wal, 3);
  const reader = await logs.open({ readOnly: true });
  const report = await reader.health();
  expect(report.ok).toBe(true);
  expect(report.checks.map(({ name }) => name)).not.toContain('sync');
  expect(check(report, 'lock').detail).toMatch(new RegExp(`^held by pid ${process.pid} `));
  await wal.close();
  expect(check(await reader.health(), 'lock').detail).toBe('nobody writes');
});

test('a lock that was deleted, or is that of another, is told', async () => {
  const wal = await logs.open();
  const lock = join(logs.path, 'LOCK');
  if (process.platform === 'win32') {
    expect(() => {
      rmSync(lock);
    }).toThrow(/EBUSY/); // there nobody takes away the name of a lock that is held
  } else {
    rmSync(lock);
    const deleted = check(await wal.health(), 'lock');
    expect(deleted.ok).toBe(false);
    expect(deleted.detail).toMatch(/ENOENT/);
  }
  writeFileSync(lock, 'pid 1 on host elsewhere since ever\n');
  const report = await wal.health();
  expect(report.ok).toBe(false);
  expect(check(report, 'lock').ok).toBe(false);
  expect(check(report, 'lock').detail).toMatch(/pid 1 on host elsewhere/);
});

test('a newest record that cannot be read is told', async () => {
  const wal = await logs.open();
  appendMany(wal, 2);
  await wal.sync();
  damage(2);
  const read = check(await wal.health(), 'read');
  expect(read.ok).toBe(false);
  expect(read.detail).toMatch(/record 2/);
});

test('a salvage that gave up what was durable is told', async () => {
  await logs.make(['a', 'b', 'c']);
  damage(2);
  const wal = await logs.open({ recovery: 'salvage' });
  const recovery = check(await wal.health(), 'recovery');
  expect(recovery.ok).toBe(false);
  expect(recovery.detail).toMatch(/of what was durable; \d+ files in quarantine/);
});

const refusal = straceRefusal();
if (refusal !== undefined) {
  test.skip(`a sync that fails is not tried: system calls cannot be traced here (${refusal})`, () => undefined);
} else {
  test('a log that was poisoned says so', async () => {
    const log = new Subordinate();
    await log.order('open', logs.path, JSON.stringify({ sync: { policy: 'async', maxDelay: 3_600_000 } }));
    const { ended } = await injectInto(log.child.pid, 'msync:error=EIO');
    await log.order('append', 100);
    expect(await log.order('sync')).toMatchObject({ code: 'WAL_POISONED' });
    const report = (await log.order('health')).value as HealthReport;
    expect(report.ok).toBe(false);
    expect(check(report, 'poisoned').ok).toBe(false);
    expect(check(report, 'poisoned').detail).not.toBe('no');
    expect(check(report, 'sync').ok).toBe(false);
    await log.child.kill();
    await ended;
  });
}

test('a closed log has no health', async () => {
  const wal = await logs.open();
  await wal.close();
  await expectWalError('WAL_CLOSED', () => wal.health());
});

test('segwal health', async () => {
  await logs.make(['a', 'b']);
  const well = await runCli(['health', logs.path]);
  expect(well).toMatchObject({ status: 0, stderr: '' });
  expect(well.stdout).toMatch(/^ok +poisoned +no$/m);
  expect(well.stdout).toMatch(/^ok +lock +nobody writes$/m);
  const json = await runCli(['health', logs.path, '--json']);
  expect((JSON.parse(json.stdout) as HealthReport).ok).toBe(true);
  expect((await runCli(['health', join(logs.path, 'nowhere')])).status).toBe(3);
});
