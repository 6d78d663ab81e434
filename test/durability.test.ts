import type { WalManager } from '../lib';
import { expectRangeError, expectWalError } from './helpers/errors';
import { smallSegment, useLogs } from './helpers/logs';
import { appendMany } from './helpers/records';

const logs = useLogs();

/** No background sync comes between: what becomes durable, somebody asked for. */
const onlyWhenAsked = { sync: { policy: 'async', maxDelay: 3_600_000 } } as const;

test('sync makes everything durable that was appended before it', async () => {
  const wal = await logs.open(onlyWhenAsked);
  appendMany(wal, 100);
  expect(wal.durableSequence).toBe(0);
  expect(await wal.sync()).toBe(100);
  expect(wal.durableSequence).toBe(100);
});

test('sync of an empty log, and of one that is durable already, resolves', async () => {
  const wal = await logs.open();
  expect(await wal.sync()).toBe(0);
  wal.append('x');
  expect(await wal.sync()).toBe(1);
  expect(await wal.sync()).toBe(1);
});

test('whenDurable resolves when the watermark is there', async () => {
  const wal = await logs.open(onlyWhenAsked);
  const sequence = wal.append('x');
  await wal.whenDurable(sequence);
  expect(wal.durableSequence).toBeGreaterThanOrEqual(sequence);
  await wal.whenDurable(sequence);
});

test('who waits is told in the order of sequence numbers, many by one sync', async () => {
  const wal = await logs.open();
  const count = 2000;
  const order: number[] = [];
  const asked = Array.from({ length: count }, (_, i) => ((i * 7919) % count) + 1);
  const waiting = Promise.all(asked.map((sequence) => wal.whenDurable(sequence).then(() => order.push(sequence))));
  appendMany(wal, count);
  await waiting;
  expect(order).toEqual(Array.from({ length: count }, (_, i) => i + 1));
  expect(wal.stats().syncs).toBeLessThan(count / 10);
});

test('nobody is told before those who wait for an earlier record', async () => {
  const wal = await logs.open(onlyWhenAsked);
  const order: number[] = [];
  for (let i = 1; i <= 5000; i++) {
    wal.append('x');
    void wal.whenDurable(i).then(() => order.push(i));
  }
  await wal.whenDurable(5000);
  expect(order).toEqual(Array.from({ length: 5000 }, (_, i) => i + 1));
});

/** Becomes durable while this turn of JavaScript goes on? Waits for it without leaving the turn. */
function becomesDurableMeanwhile(wal: WalManager, sequence: number, ms: number): boolean {
  for (const end = Date.now() + ms; Date.now() < end;) if (wal.durableSequence >= sequence) return true;
  return false;
}

test('of many who wait half are asked for while the turn goes on, so that the disk works beside it', async () => {
  const wal = await logs.open(onlyWhenAsked);
  const writes: Promise<number>[] = [];
  const write = (): number => writes.push(wal.write('x', { sync: 'immediate' }));
  for (let i = 0; i < 127; i++) write();
  expect(becomesDurableMeanwhile(wal, 1, 50)).toBe(false); // too few for a sync of their own
  write();
  expect(becomesDurableMeanwhile(wal, 128, 10_000)).toBe(true);
  // Half of those that wait: nobody has been told in this turn, so those before wait too.
  for (let i = 128; i < 255; i++) write();
  expect(becomesDurableMeanwhile(wal, 129, 50)).toBe(false);
  write();
  expect(becomesDurableMeanwhile(wal, 256, 10_000)).toBe(true);
  for (let i = 256; i < 511; i++) write();
  expect(becomesDurableMeanwhile(wal, 257, 50)).toBe(false);
  write();
  expect(becomesDurableMeanwhile(wal, 512, 10_000)).toBe(true);
  await Promise.all(writes);
});

test('so many are asked for however many more wait', async () => {
  const wal = await logs.open(onlyWhenAsked);
  const writes: Promise<number>[] = [];
  for (let asked = 0; asked < 8192; asked += 1024) {
    for (let i = 0; i < 1024; i++) writes.push(wal.write('x', { sync: 'immediate' }));
    expect(becomesDurableMeanwhile(wal, asked + 1024, 10_000)).toBe(true);
  }
  await Promise.all(writes);
});

test('whenDurable can be asked ahead of the append', async () => {
  const wal = await logs.open();
  const waiting = wal.whenDurable(2);
  wal.append('a');
  wal.append('b');
  await waiting;
  expect(wal.durableSequence).toBe(2);
});

test('what nobody waits for becomes durable by itself', async () => {
  const wal = await logs.open({ sync: { policy: 'batch', maxDelay: 5 } });
  wal.append('x');
  const deadline = Date.now() + 10_000;
  while (wal.durableSequence < 1 && Date.now() < deadline) await new Promise((resolve) => setTimeout(resolve, 5));
  expect(wal.durableSequence).toBe(1);
});

test.each(['immediate', 'batch', 'async'] as const)('the policy %s makes things durable by itself', async (sync) => {
  const wal = await logs.open({ sync });
  wal.append('x');
  const deadline = Date.now() + 10_000;
  while (wal.durableSequence < 1 && Date.now() < deadline) await new Promise((resolve) => setTimeout(resolve, 5));
  expect(wal.durableSequence).toBe(1);
});

test('durability spans segments', async () => {
  const wal = await logs.open({ segmentSize: smallSegment, ...onlyWhenAsked });
  appendMany(wal, 3000);
  const { length } = wal.segments();
  expect(length).toBeGreaterThan(4);
  expect(await wal.sync()).toBe(3000);
  expect(
    wal
      .segments()
      .slice(0, -1)
      .every(({ sealed }) => sealed),
  ).toBe(true);
});

test('close makes everything durable, and settles who waits', async () => {
  const wal = await logs.open(onlyWhenAsked);
  appendMany(wal, 10);
  const waiting = Promise.all([wal.whenDurable(10), wal.sync()]);
  await wal.close();
  await waiting;
  const again = await logs.open({ readOnly: true });
  expect(again.durableSequence).toBe(10);
});

test('who waits for a record that never came is told when the log closes', async () => {
  const wal = await logs.open();
  wal.append('x');
  const waiting = wal.whenDurable(2);
  const failure = expectWalError('WAL_CLOSED', () => waiting);
  await wal.close();
  await failure;
});

test('a sequence number starts at 1', async () => {
  const wal = await logs.open();
  await expectRangeError(/at least 1/, () => wal.whenDurable(0));
  await expectRangeError(/at least 1/, () => wal.whenDurable(1.5));
});

test('stats count what has been done', async () => {
  const wal = await logs.open({ segmentSize: smallSegment });
  appendMany(wal, 2000, 100);
  wal.appendBatch([{ data: 'a' }, { data: 'b' }]);
  await wal.sync();
  const stats = wal.stats();
  expect(stats).toMatchObject({
    appends: 2001,
    records: 2002,
    segments: wal.segments().length,
    firstSequence: 1,
    lastSequence: 2002,
    durableSequence: 2002,
    dirtyBytes: 0,
    rotations: wal.segments().length - 1,
  });
  expect(stats.bytes).toBeGreaterThan(2000 * 100);
  expect(stats.diskBytes).toBeGreaterThanOrEqual(stats.segments * smallSegment);
  expect(stats.syncs).toBeGreaterThan(0);
  expect(stats.syncLatency.p50).toBeGreaterThan(0);
  expect(stats.syncLatency.p99).toBeGreaterThanOrEqual(stats.syncLatency.p50);
  expect(stats.syncLatency.max).toBeGreaterThanOrEqual(stats.syncLatency.p50);
  expect(stats.writerStalls).toBeGreaterThanOrEqual(0);
  expect(stats.recoveryMs).toBeGreaterThanOrEqual(0);
});

test('what is not durable yet is dirty', async () => {
  const wal = await logs.open(onlyWhenAsked);
  expect(wal.stats().dirtyBytes).toBe(0);
  wal.append(Buffer.alloc(1000));
  expect(wal.stats().dirtyBytes).toBeGreaterThanOrEqual(1000);
  await wal.sync();
  expect(wal.stats().dirtyBytes).toBe(0);
});
