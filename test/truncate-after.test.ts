import { readdirSync } from 'node:fs';
import { join } from 'node:path';

import { expectRangeError, expectTypeError, expectWalError } from './helpers/errors';
import { smallSegment, useLogs } from './helpers/logs';
import { runCli } from './helpers/processes';
import { appendMany, sequences, texts } from './helpers/records';

const logs = useLogs();

test.each([2000, 1999, 1234, 600, 1, 0])('the log ends exactly behind record %i', async (end) => {
  const wal = await logs.open({ segmentSize: smallSegment });
  const appended = appendMany(wal, 2000, 100);
  await wal.truncateAfter(end);
  expect(wal.lastSequence).toBe(end);
  expect(wal.append('new')).toBe(end + 1);
  const expected = [...appended.slice(0, end), 'new'];
  expect(texts(wal.read())).toEqual(expected);
  await wal.sync();
  expect(wal.durableSequence).toBe(end + 1);
  expect(await wal.verify()).toMatchObject({ ok: true, records: end + 1, findings: [] });
  await wal.close();
  const again = await logs.open();
  expect(again.recovery).toMatchObject({ clean: true, findings: [] });
  expect(texts(again.read())).toEqual(expected);
});

test('the segments behind are gone', async () => {
  const wal = await logs.open({ segmentSize: smallSegment });
  appendMany(wal, 5000, 100);
  await wal.truncateAfter(700);
  const kept = wal.segments().length;
  await wal.close();
  expect(readdirSync(join(logs.path, 'segments'))).toHaveLength(kept);
  expect(kept).toBeLessThan(4);
});

test('it goes on with the durable watermark at the new end', async () => {
  const wal = await logs.open({ sync: { policy: 'async', maxDelay: 3_600_000 } });
  appendMany(wal, 10, 20);
  await wal.truncateAfter(4);
  expect(wal.durableSequence).toBe(4);
  wal.append('five again');
  const durable = wal.whenDurable(5);
  expect(wal.durableSequence).toBe(4);
  await durable;
  expect(wal.durableSequence).toBe(5);
});

test('who waited for what is dropped is not left waiting', async () => {
  const wal = await logs.open({ sync: { policy: 'batch', maxDelay: 3_600_000 } });
  appendMany(wal, 10, 20);
  const waiting = [wal.whenDurable(3), wal.whenDurable(9), wal.write('eleventh')];
  await wal.truncateAfter(5);
  await Promise.all(waiting);
  expect(await wal.write('six again', { sync: 'immediate' })).toBe(6);
});

test('the inside of a batch is refused, by its range', async () => {
  const wal = await logs.open();
  wal.append('one');
  wal.appendBatch([{ data: 'two' }, { data: 'three' }, { data: 'four' }]);
  wal.append('five');
  const error = await expectWalError('WAL_INSIDE_BATCH', () => wal.truncateAfter(3));
  expect(error).toMatchObject({ firstSequence: 2, lastSequence: 4 });
  expect(error.message).toMatch(/records 2 to 4 are one batch/);
  expect(wal.append('six')).toBe(6);
  await wal.truncateAfter(4);
  expect(sequences(wal.read())).toEqual([1, 2, 3, 4]);
});

test('what cannot be is refused', async () => {
  const wal = await logs.open({ segmentSize: smallSegment });
  appendMany(wal, 2000, 100);
  await expectTypeError(/sequence must be a number/, () => wal.truncateAfter('3' as never));
  await expectRangeError(/sequence must be an integer from 0/, () => wal.truncateAfter(-1));
  await wal.truncateBefore(1500);
  await expectWalError('WAL_TRUNCATED', () => wal.truncateAfter(5));
  const reader = await logs.open({ readOnly: true });
  await expectWalError('WAL_READ_ONLY', () => reader.truncateAfter(1600));
  await wal.close();
  await expectWalError('WAL_CLOSED', () => wal.truncateAfter(1600));
});

test('a read that is under way ends where the log does', async () => {
  const wal = await logs.open({ segmentSize: smallSegment });
  appendMany(wal, 3000, 100);
  const seen: number[] = [];
  const error = await expectWalError('WAL_TRUNCATED', async () => {
    for await (const { sequence } of wal.read()) {
      seen.push(sequence);
      if (sequence === 1) await wal.truncateAfter(1700);
    }
  });
  expect(error.message).toMatch(/truncated behind record 1700/);
  expect(seen).toEqual(Array.from({ length: 1700 }, (_, i) => i + 1));
});

test('a live read that waits is told, in this process and in another', async () => {
  const wal = await logs.open();
  appendMany(wal, 10, 20);
  const other = await logs.open({ readOnly: true });
  const readers = [wal, other].map(async (log) => {
    const seen: number[] = [];
    const caughtUp = new Promise<void>((resolve) => {
      void (async () => {
        try {
          for await (const { sequence } of log.read({ live: true })) {
            seen.push(sequence);
            if (sequence === 10) resolve();
          }
        } catch (error) {
          failures.push(error);
        }
      })();
    });
    await caughtUp;
    return seen;
  });
  const failures: unknown[] = [];
  await Promise.all(readers);
  await wal.truncateAfter(4);
  for (let tries = 0; failures.length < 2 && tries < 500; tries++) {
    await new Promise((resolve) => setTimeout(resolve, 10));
  }
  expect(failures).toMatchObject([{ code: 'WAL_TRUNCATED' }, { code: 'WAL_TRUNCATED' }]);
  wal.append('five again');
  expect(texts(other.read({ from: 5 }))).toEqual(['five again']);
});

describe('segwal truncate', () => {
  test('drops what comes behind, or before', async () => {
    const wal = await logs.open({ segmentSize: smallSegment });
    appendMany(wal, 3000, 100);
    await wal.close();
    expect(await runCli(['truncate', logs.path, '--after', '2500'])).toMatchObject({
      status: 0,
      stdout: 'the log has records 1 to 2500\n',
    });
    const { status, stdout } = await runCli(['truncate', logs.path, '--before', '1500']);
    expect(status).toBe(0);
    expect(stdout).toMatch(/^the log has records 1\d\d\d to 2500\n$/);
    expect((await runCli(['truncate', logs.path, '--after', '5'])).stderr).toMatch(/^segwal: WAL_TRUNCATED: /);
  });
});
