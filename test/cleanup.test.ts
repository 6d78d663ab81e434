import { existsSync } from 'node:fs';

import type { WalManager } from '../lib';
import { expectRangeError, expectTypeError, expectWalError } from './helpers/errors';
import { smallSegment, useLogs } from './helpers/logs';
import { runCli } from './helpers/processes';
import { appendMany, sequences } from './helpers/records';

const logs = useLogs();

/** A log of several full segments, and the number of the first record of each. */
async function fill(options: object = {}): Promise<{ wal: WalManager; begins: number[] }> {
  const wal = await logs.open({ segmentSize: smallSegment, ...options });
  appendMany(wal, 5000, 100);
  await wal.sync();
  return { wal, begins: wal.segments().map(({ firstSequence }) => firstSequence) };
}

test('without a checkpoint and a retention nothing goes', async () => {
  const { wal } = await fill();
  expect(await wal.cleanup()).toEqual({ segmentsRemoved: 0, bytesFreed: 0 });
  expect(wal.firstSequence).toBe(1);
});

test('what the newest checkpoint does not need goes', async () => {
  const { wal, begins } = await fill({ recycleSegments: 0 });
  const files = wal.segments().map(({ path }) => path);
  await wal.createCheckpoint({ sequence: begins[3]! + 5 });
  expect(await wal.cleanup()).toEqual({ segmentsRemoved: 3, bytesFreed: 3 * smallSegment });
  expect(wal.firstSequence).toBe(begins[3]);
  expect(files.map((path) => existsSync(path)).slice(0, 5)).toEqual([false, false, false, true, true]);
  await wal.close();
  const again = await logs.open();
  expect(again.firstSequence).toBe(begins[3]);
  expect(again.recovery.findings).toEqual([]);
});

test('with a retention the log cleans up by itself', async () => {
  const { wal } = await fill({ retention: { maxBytes: 3 * smallSegment } });
  for (let tries = 0; wal.segments().length > 3 && tries < 1000; tries++) {
    await new Promise((resolve) => setTimeout(resolve, 10));
  }
  expect(wal.segments()).toHaveLength(3);
  expect(sequences(wal.read()).at(-1)).toBe(5000);
});

test('what is younger than maxAge stays', async () => {
  const { wal } = await fill({ retention: { maxAge: 3_600_000 } });
  expect(await wal.cleanup()).toMatchObject({ segmentsRemoved: 0 });
  await wal.close();
  const again = await logs.open({ retention: { maxAge: 0 } });
  await new Promise((resolve) => setTimeout(resolve, 20));
  await again.cleanup();
  expect(again.segments()).toHaveLength(1);
});

test('a hold keeps what follows', async () => {
  const { wal, begins } = await fill();
  await wal.createCheckpoint();
  const hold = wal.hold(begins[2]! + 1);
  expect(await wal.cleanup()).toMatchObject({ segmentsRemoved: 2 });
  expect(hold.sequence).toBe(begins[2]! + 1);
  const error = await expectWalError('WAL_TRUNCATED', () => wal.hold(1));
  expect(error.message).toMatch(/record 1 cannot be held: the log begins with record \d+/);
  hold.release();
  hold[Symbol.dispose]();
  await wal.cleanup();
  expect(wal.segments()).toHaveLength(1);
});

test('a reader keeps what it has not read yet, and a finished one keeps nothing', async () => {
  const { wal, begins } = await fill();
  await wal.createCheckpoint();
  let seen = 0;
  for await (const { sequence } of wal.read({ from: begins[1]! })) {
    seen++;
    // A chunk is read ahead; what comes behind that is held.
    if (seen === 1) expect((await wal.cleanup()).segmentsRemoved).toBeLessThan(begins.length - 1);
    if (sequence === 5000) break;
  }
  expect(seen).toBe(5000 - begins[1]! + 1);
  await wal.cleanup();
  expect(wal.segments()).toHaveLength(1);
});

test('what cannot be is refused', async () => {
  const { wal } = await fill();
  await expectRangeError(/sequence must be an integer of at least 1/, () => wal.hold(0));
  await expectTypeError(/retention must say maxAge, maxBytes or both/, () => logs.open({ retention: {} }));
  await expectTypeError(/unknown option 'maxage'/, () => logs.open({ retention: { maxage: 1 } as object }));
  await expectRangeError(/retention.maxBytes must be an integer/, () => logs.open({ retention: { maxBytes: -1 } }));
  await expectTypeError(/retention deletes segments/, () => logs.open({ readOnly: true, retention: { maxAge: 1 } }));
  await expectWalError('WAL_OPTIONS_MISMATCH', () => logs.open({ retention: { maxAge: 1 } }));
  const reader = await logs.open({ readOnly: true });
  await expectWalError('WAL_READ_ONLY', () => reader.cleanup());
  await wal.close();
  await expectWalError('WAL_CLOSED', () => wal.cleanup());
  await expectWalError('WAL_CLOSED', () => wal.hold(1));
});

test('segwal cleanup says what it did', async () => {
  const { wal, begins } = await fill();
  await wal.close();
  expect((await runCli(['cleanup', logs.path])).stdout).toMatch(/^0 segments removed, .* begins with record 1\n$/);
  const { stdout } = await runCli(['cleanup', logs.path, '--max-bytes', String(3 * smallSegment), '--json']);
  const done = JSON.parse(stdout) as { firstSequence: number; segmentsRemoved: number };
  expect(done).toMatchObject({ segmentsRemoved: begins.length - 3, firstSequence: begins.at(-3) });
});
