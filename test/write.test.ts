import type { SyncPolicy } from '../lib';
import { expectRangeError, expectTypeError, expectWalError } from './helpers/errors';
import { smallSegment, useLogs } from './helpers/logs';
import { packed, sequences, texts } from './helpers/records';

const logs = useLogs();

const neverByItself = 3_600_000;
/** No background sync comes between: what becomes durable, somebody asked for. */
const onlyWhenAsked = { policy: 'async', maxDelay: neverByItself } as const;
/** The least that `maxDirtyBytes` may be. */
const leastDirty = 64 * 1024;

const turn = (ms = 0): Promise<void> => new Promise((resolve) => setTimeout(resolve, ms));

describe('write', () => {
  test('with the policy immediate resolves when the record is durable', async () => {
    const wal = await logs.open({ sync: 'immediate' });
    for (let i = 1; i <= 20; i++) {
      const sequence = await wal.write(`record ${i}`);
      expect(sequence).toBe(i);
      expect(wal.durableSequence).toBeGreaterThanOrEqual(i);
    }
    expect(texts(wal.read({ from: 19 }))).toEqual(['record 19', 'record 20']);
  });

  test('with the policy async resolves before the record is durable', async () => {
    const wal = await logs.open({ sync: onlyWhenAsked });
    expect(await wal.write('x')).toBe(1);
    await turn(50);
    expect(wal.durableSequence).toBe(0);
  });

  test('with the policy batch waits for maxRecords', async () => {
    const wal = await logs.open({ sync: { policy: 'batch', maxDelay: neverByItself, maxRecords: 3 } });
    const resolved: number[] = [];
    const writes = [wal.write('a'), wal.write('b')];
    for (const write of writes) void write.then((sequence) => resolved.push(sequence));
    await turn(50);
    expect(resolved).toEqual([]);
    expect(wal.durableSequence).toBe(0);
    expect(await wal.write('c')).toBe(3);
    expect(resolved).toEqual([1, 2]);
  });

  test('with the policy batch waits for maxBytes', async () => {
    const wal = await logs.open({ sync: { policy: 'batch', maxDelay: neverByItself, maxBytes: 4096 } });
    let resolved = false;
    const first = wal.write(Buffer.alloc(2000)).then(() => (resolved = true));
    await turn(50);
    expect(resolved).toBe(false);
    await wal.write(Buffer.alloc(2100));
    await first;
    expect(wal.stats().syncs).toBe(1);
  });

  test('with the policy batch waits for maxDelay', async () => {
    const maxDelay = 200;
    const wal = await logs.open({ sync: { policy: 'batch', maxDelay } });
    const begin = performance.now();
    await Promise.all([wal.write('a'), wal.write('b')]);
    expect(performance.now() - begin).toBeGreaterThan(maxDelay * 0.9);
    expect(wal.stats().syncs).toBe(1);
  });

  test.each<[SyncPolicy, number]>([
    ['immediate', 1],
    ['async', 0],
  ])('can be told to be %s for once', async (sync, durable) => {
    const wal = await logs.open({ sync: { policy: 'batch', maxDelay: 300 } });
    expect(await wal.write('x', { sync })).toBe(1);
    expect(wal.durableSequence).toBe(durable);
  });

  test('at the same time share syncs, and resolve in order', async () => {
    const wal = await logs.open({ sync: 'immediate' });
    const order: number[] = [];
    const count = 5000;
    await Promise.all(Array.from({ length: count }, (_, i) => wal.write(`${i}`).then((each) => order.push(each))));
    expect(order).toEqual(Array.from({ length: count }, (_, i) => i + 1));
    expect(wal.stats().syncs).toBeLessThan(count / 50);
  });

  test('takes kind and key, and goes through the codec', async () => {
    const codec = {
      encode: (value: { n: number }) => Buffer.from(`${value.n}`),
      decode: (data: Buffer) => ({ n: +data }),
    };
    const wal = await logs.open<{ n: number }>({ codec });
    await wal.write({ n: 7 }, { kind: 3, key: 'k', sync: 'immediate' });
    const [record] = wal.read();
    expect(record).toMatchObject({ kind: 3, data: { n: 7 } });
    expect(record?.key?.toString()).toBe('k');
  });

  test('keeps the process alive until it is durable', async () => {
    const wal = await logs.open({ sync: { policy: 'batch', maxDelay: 100 } });
    await wal.write('x'); // a promise that nothing settles would end the test with an error
    expect(wal.durableSequence).toBe(1);
  });

  test('that cannot be says so by a rejection', async () => {
    const wal = await logs.open();
    await expectTypeError(/data/, () => wal.write(5 as never));
    await expectRangeError(/kind/, () => wal.write('x', { kind: 256 }));
    await expectRangeError(/immediate.*batch.*async/, () => wal.write('x', { sync: 'now' as never }));
    await expectTypeError(/unknown|sync/, () => wal.write('x', { sinc: 'async' } as never));
    await expectWalError('WAL_RECORD_TOO_LARGE', () => wal.write(Buffer.alloc(wal.segmentSize)));
    expect(wal.lastSequence).toBe(0);
    await wal.close();
    await expectWalError('WAL_CLOSED', () => wal.write('x'));
    const reader = await logs.open({ readOnly: true });
    await expectWalError('WAL_READ_ONLY', () => reader.write('x'));
  });
});

describe('writeBatch', () => {
  test('resolves with the first sequence number when the last is durable', async () => {
    const wal = await logs.open({ sync: 'immediate' });
    await wal.write('before');
    expect(await wal.writeBatch([{ data: 'a' }, { data: 'b' }, { data: 'c' }])).toBe(2);
    expect(wal.durableSequence).toBe(4);
    expect(await wal.writeBatch(packed([Buffer.from('d'), Buffer.from('e')]))).toBe(5);
    expect(wal.durableSequence).toBe(6);
    expect(texts(wal.read())).toEqual(['before', 'a', 'b', 'c', 'd', 'e']);
  });

  test('that cannot be says so by a rejection', async () => {
    const wal = await logs.open();
    await expectRangeError(/record/, () => wal.writeBatch([]));
    await expectTypeError(/data/, () => wal.writeBatch([{}] as never));
    await expectTypeError(/offsets/, () => wal.writeBatch({ buffer: Buffer.alloc(4), offsets: [0, 4] } as never));
    expect(wal.lastSequence).toBe(0);
  });
});

describe('maxDirtyBytes', () => {
  const record = Buffer.alloc(1000, 'r');

  test('bounds what is not durable: append refuses, and goes on when the disk has caught up', async () => {
    const wal = await logs.open({ sync: onlyWhenAsked, maxDirtyBytes: leastDirty });
    let appended = 0;
    const error = await expectWalError('WAL_BACKPRESSURE', () => {
      for (; appended < 1000; appended++) wal.append(record);
    });
    expect(error.message).toMatch(/maxDirtyBytes is 65536/);
    expect(appended).toBe(Math.floor(leastDirty / 1024));
    expect(wal.lastSequence).toBe(appended);
    expect(wal.stats().dirtyBytes).toBeLessThanOrEqual(leastDirty);
    await wal.sync();
    expect(wal.append(record)).toBe(appended + 1);
  });

  test('makes write wait, in order, and the event loop goes on', async () => {
    const wal = await logs.open({ sync: onlyWhenAsked, maxDirtyBytes: leastDirty, segmentSize: smallSegment });
    let most = 0;
    let turns = 0;
    const looking = setInterval(() => {
      turns++;
      most = Math.max(most, wal.stats().dirtyBytes);
    }, 1);
    const order: number[] = [];
    const count = 2000;
    const writes = Array.from({ length: count }, (_, i) => {
      record.writeUInt32LE(i);
      return wal.write(record, { sync: i % 2 === 0 ? 'async' : 'immediate' }).then((sequence) => order.push(sequence));
    });
    await Promise.all(writes);
    clearInterval(looking);
    expect(turns).toBeGreaterThan(0);
    expect(most).toBeLessThanOrEqual(leastDirty);
    expect(Math.max(...order)).toBe(count);
    const { writeWaits, writeWaitMs } = wal.stats();
    expect(writeWaits).toBeGreaterThan(0);
    expect(writeWaitMs).toBeGreaterThan(0);
    // The caller's memory was written over after each call.
    expect(Array.from(wal.read(), ({ data }) => data.readUInt32LE())).toEqual(
      Array.from({ length: count }, (_, i) => i),
    );
  });

  test('makes batches wait too, with copies of what they hold', async () => {
    const wal = await logs.open({ sync: onlyWhenAsked, maxDirtyBytes: leastDirty });
    const data = Buffer.alloc(3000);
    const key = Buffer.from('key 0');
    const writes = Array.from({ length: 60 }, (_, i) => {
      data.fill(i);
      key[4] = 0x30 + (i % 10);
      return i % 2 === 0
        ? wal.writeBatch([{ data, key, kind: 2 }])
        : wal.writeBatch({ buffer: data, offsets: Uint32Array.of(0, 3000), key });
    });
    data.fill(255);
    await Promise.all(writes);
    expect(wal.stats().writeWaits).toBeGreaterThan(0);
    const records = [...wal.read()];
    expect(records.map((each) => each.data[2999])).toEqual(Array.from({ length: 60 }, (_, i) => i));
    expect(records.map((each) => each.key?.toString())).toEqual(records.map((_, i) => `key ${i % 10}`));
  });

  test('takes a record that is larger when nothing else waits for the disk', async () => {
    const wal = await logs.open({ sync: onlyWhenAsked, maxDirtyBytes: leastDirty });
    const large = Buffer.alloc(3 * leastDirty);
    expect(wal.append(large)).toBe(1);
    await expectWalError('WAL_BACKPRESSURE', () => wal.append('x'));
    expect(await wal.write(large)).toBe(2);
    expect(wal.durableSequence).toBeGreaterThanOrEqual(1);
  });

  test('close appends and makes durable what still waits, and takes nothing more', async () => {
    const wal = await logs.open({ sync: onlyWhenAsked, maxDirtyBytes: leastDirty });
    const writes = Array.from({ length: 300 }, () => wal.write(record));
    expect(wal.stats().writeWaits).toBeGreaterThan(0);
    const closed = wal.close();
    await expectWalError('WAL_CLOSED', () => wal.append('late'));
    await expectWalError('WAL_CLOSED', () => wal.write('late'));
    expect(await Promise.all(writes)).toEqual(Array.from({ length: 300 }, (_, i) => i + 1));
    await closed;
    const again = await logs.open();
    expect(sequences(again.read())).toHaveLength(300);
  });

  test('that cannot be is refused', async () => {
    await expectRangeError(/maxDirtyBytes/, () => logs.open({ maxDirtyBytes: 100 }));
    await expectTypeError(/maxDirtyBytes/, () => logs.open({ maxDirtyBytes: '1' as never }));
    await logs.open({ maxDirtyBytes: Infinity });
  });
});

describe('opening a log that this process has open already', () => {
  test('joins it when the options are the same or left out', async () => {
    const first = await logs.open({ sync: { policy: 'batch', maxDelay: 20 }, maxDirtyBytes: 1e6 });
    const second = await logs.open({ sync: { policy: 'batch', maxDelay: 20 }, maxDirtyBytes: 1e6 });
    const third = await logs.open();
    expect([first.append('a'), second.append('b'), third.append('c')]).toEqual([1, 2, 3]);
  });

  test.each([
    [{ sync: 'immediate' }, /sync/],
    [{ sync: { policy: 'batch', maxRecords: 7 } }, /maxRecords: 7/],
    [{ maxDirtyBytes: 1e7 }, /maxDirtyBytes 10{6}.*10{7}/],
  ] as const)('with %j, which contradicts it, is refused', async (options, message) => {
    await logs.open({ sync: { policy: 'batch', maxDelay: 20 }, maxDirtyBytes: 1e6 });
    const error = await expectWalError('WAL_OPTIONS_MISMATCH', () => logs.open(options));
    expect(error.message).toMatch(message);
  });
});
