import { readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';

import { expectRangeError, expectTypeError, expectWalError } from './helpers/errors';
import { smallSegment, useLogs } from './helpers/logs';
import { runCli } from './helpers/processes';
import { appendMany } from './helpers/records';

const logs = useLogs();

const files = (): string[] => readdirSync(join(logs.path, 'checkpoints')).sort();

test('a checkpoint makes durable what was appended before it, and outlives the process', async () => {
  const wal = await logs.open({ sync: { policy: 'async', maxDelay: 3_600_000 } });
  appendMany(wal, 10, 20);
  const made = wal.createCheckpoint({ data: 'snapshot 7' });
  wal.append('behind it');
  await expect(made).resolves.toMatchObject({ sequence: 10, data: Buffer.from('snapshot 7') });
  expect(wal.durableSequence).toBeGreaterThanOrEqual(10);
  const expected = [{ ...(await made) }];
  expect(wal.checkpoints()).toEqual(expected);
  await wal.close();
  const again = await logs.open();
  expect(again.checkpoints()).toEqual(expected);
  expect(Math.abs(again.checkpoints()[0]!.timestamp - Date.now())).toBeLessThan(3_600_000);
});

test('data is what was given, and no data is null', async () => {
  const wal = await logs.open();
  appendMany(wal, 3, 20);
  const data = Uint8Array.of(0, 1, 255);
  const made = wal.createCheckpoint({ sequence: 1, data });
  data.fill(9);
  expect((await made).data).toEqual(Buffer.of(0, 1, 255));
  expect((await wal.createCheckpoint({ sequence: 2, data: '' })).data).toEqual(Buffer.alloc(0));
  expect((await wal.createCheckpoint({ sequence: 3 })).data).toBeNull();
});

test('the newest two are kept', async () => {
  const wal = await logs.open();
  appendMany(wal, 9, 20);
  for (const sequence of [3, 5, 7]) await wal.createCheckpoint({ sequence });
  expect(wal.checkpoints().map(({ sequence }) => sequence)).toEqual([5, 7]);
  expect(files()).toEqual(['checkpoint-5.meta', 'checkpoint-7.meta']);
});

test('a log without records can have one', async () => {
  const wal = await logs.open();
  expect(await wal.createCheckpoint()).toMatchObject({ sequence: 0 });
});

test('a record that is not there, or no more, has none', async () => {
  const wal = await logs.open({ segmentSize: smallSegment });
  appendMany(wal, 2000, 100);
  await expectRangeError('beyond the last record, which is 2000, not 2001', () =>
    wal.createCheckpoint({ sequence: 2001 }),
  );
  await wal.truncateBefore(1500);
  const error = await expectWalError('WAL_TRUNCATED', () => wal.createCheckpoint({ sequence: 5 }));
  expect(error.message).toMatch(/record 5 cannot be made: the log begins with record \d+/);
  expect(wal.checkpoints()).toEqual([]);
});

test('what cannot be is refused', async () => {
  const wal = await logs.open();
  wal.append('a');
  await expectTypeError(/unknown option 'seq'/, () => wal.createCheckpoint({ seq: 1 } as object));
  await expectTypeError(/sequence must be a sequence number/, () => wal.createCheckpoint({ sequence: '1' as never }));
  await expectRangeError(/sequence must be an integer of at least 1/, () => wal.createCheckpoint({ sequence: 0 }));
  await expectTypeError(/data of a checkpoint must be a Uint8Array or a string, not 7/, () =>
    wal.createCheckpoint({ data: 7 as never }),
  );
  await expectRangeError(/at most 1048576 bytes, not 1048577/, () =>
    wal.createCheckpoint({ data: Buffer.alloc(2 ** 20 + 1) }),
  );
  expect((await wal.createCheckpoint({ data: Buffer.alloc(2 ** 20, 1) })).data).toHaveLength(2 ** 20);
  const reader = await logs.open({ readOnly: true });
  expect(reader.checkpoints()).toMatchObject([{ sequence: 1 }]);
  await expectWalError('WAL_READ_ONLY', () => reader.createCheckpoint());
  await wal.close();
  await expectWalError('WAL_CLOSED', () => wal.createCheckpoint());
  await expectWalError('WAL_CLOSED', () => wal.checkpoints());
});

test('a damaged one is passed over, and the report says so', async () => {
  const wal = await logs.open();
  appendMany(wal, 5, 20);
  await wal.createCheckpoint({ sequence: 2, data: 'older' });
  await wal.createCheckpoint({ sequence: 5, data: 'newer' });
  await wal.close();
  const path = join(logs.path, 'checkpoints', 'checkpoint-5.meta');
  const bytes = readFileSync(path);
  bytes[bytes.length - 1]! ^= 1;
  writeFileSync(path, bytes);
  const again = await logs.open();
  expect(again.checkpoints()).toMatchObject([{ sequence: 2, data: Buffer.from('older') }]);
  expect(again.recovery.findings).toMatchObject([
    { case: 'checkpoint', action: 'left alone: checkpoints/checkpoint-5.meta, it is damaged' },
  ]);
});

describe('segwal checkpoint', () => {
  test('makes one, and inspect shows it', async () => {
    await logs.make(['one', 'two', 'three']);
    expect(await runCli(['checkpoint', logs.path, '--sequence', '2', '--data', 'snap'])).toMatchObject({
      status: 0,
      stdout: 'checkpoint of record 2\n',
    });
    const { stdout } = await runCli(['checkpoint', logs.path, '--json']);
    expect(JSON.parse(stdout)).toMatchObject({ sequence: 3, data: null });
    expect((await runCli(['inspect', logs.path])).stdout).toMatch(/checkpoint +of record 3, /);
    const overview = JSON.parse((await runCli(['inspect', logs.path, '--json'])).stdout) as { checkpoints: unknown };
    expect(overview.checkpoints).toMatchObject([
      { sequence: 2, dataBytes: 4 },
      { sequence: 3, dataBytes: null },
    ]);
  });

  test('refuses one of a record that is not there', async () => {
    await logs.make(['one']);
    const { status, stderr } = await runCli(['checkpoint', logs.path, '--sequence', '2']);
    expect(status).toBe(2);
    expect(stderr).toMatch(/--sequence must not be beyond the last record, which is 1/);
  });
});
