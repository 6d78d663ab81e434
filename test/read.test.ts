import fc from 'fast-check';

import type { ReadOptions, WalManager, WalRecord } from '../lib';
import { expectWalError } from './helpers/errors';
import { smallSegment, useLogs } from './helpers/logs';
import { appendMany, collect, plain, sequences } from './helpers/records';

const logs = useLogs();

// A failing run prints its seed; SEED=… runs it again.
const seed = process.env['SEED'] === undefined ? Date.now() : Number(process.env['SEED']);

/** Records of all shapes: alone and in batches, with and without keys, tiny and larger than a reader's first chunk. */
async function appendAllShapes(wal: WalManager, count: number): Promise<void> {
  const random = fc.sample(
    fc.record({
      bytes: fc.oneof({ weight: 20, arbitrary: fc.nat(200) }, { weight: 1, arbitrary: fc.nat(30_000) }),
      kind: fc.nat(3),
      key: fc.option(fc.constantFrom('', 'a', 'b', 'a'.repeat(300)), { nil: undefined }),
      batch: fc.boolean(),
    }),
    { numRuns: count, seed },
  );
  let batch: { data: Buffer; kind: number; key: string | undefined }[] = [];
  for (const [i, { bytes, kind, key, batch: more }] of random.entries()) {
    batch.push({ data: Buffer.alloc(bytes, `${i} `), kind, key });
    if (more && batch.length < 10 && i < count - 1) continue;
    if (batch.length === 1) wal.append(batch[0]!.data, { kind, key });
    else wal.appendBatch(batch);
    batch = [];
    if (i % 50 === 0) await new Promise((resolve) => setTimeout(resolve, 2)); // so that times differ
  }
}

/** What `read` should do, of an array that holds everything. */
function model(all: readonly WalRecord[], options: ReadOptions): WalRecord[] {
  const { from = 1, to = Infinity, fromTime = 0, toTime = Infinity, kind, key, reverse = false, limit } = options;
  const kinds = typeof kind === 'number' ? [kind] : kind;
  const found = all.filter(
    (record) =>
      record.sequence >= from &&
      record.sequence <= to &&
      record.timestamp >= Number(fromTime) &&
      record.timestamp <= Number(toTime) &&
      (kinds === undefined || kinds.includes(record.kind)) &&
      (key === undefined || record.key?.equals(Buffer.from(key)) === true),
  );
  return (reverse ? found.reverse() : found).slice(0, limit);
}

function requests(all: readonly WalRecord[]): fc.Arbitrary<ReadOptions> {
  const sequence = fc.integer({ min: 1, max: all.length + 20 });
  const time = fc.constantFrom(...all).map(({ timestamp }) => timestamp);
  return fc.record(
    {
      from: sequence,
      to: sequence,
      fromTime: time,
      toTime: time,
      kind: fc.oneof(fc.nat(4), fc.array(fc.nat(4), { minLength: 1, maxLength: 3 })),
      key: fc.constantFrom<string | Uint8Array>('', 'a', 'b', 'a'.repeat(300), 'absent', Buffer.from('b')),
      reverse: fc.boolean(),
      limit: fc.oneof(fc.nat(5), fc.nat(all.length)),
    },
    { requiredKeys: [] },
  );
}

test('every combination of filters reads what an array would give', async () => {
  const wal = await logs.open({ segmentSize: smallSegment });
  await appendAllShapes(wal, 1500);
  const all = [...wal.read()];
  expect(sequences(all)).toEqual(all.map((_, i) => i + 1));
  expect(wal.segments().length).toBeGreaterThan(3);
  await fc.assert(
    fc.asyncProperty(requests(all), fc.integer({ min: 1024, max: 100_000 }), async (options, batchBytes) => {
      const expected = model(all, options).map(plain);
      expect(Array.from(wal.read(options), plain)).toEqual(expected);
      expect((await collect(wal.read(options))).map(plain)).toEqual(expected);
      const batches = await collect(wal.readBatches({ ...options, batchBytes }));
      expect(batches.flat().map(plain)).toEqual(expected);
      expect(batches.every((batch) => batch.length > 0)).toBe(true);
    }),
    { numRuns: 150, seed },
  );
}, 120_000);

test('get finds every record', async () => {
  const wal = await logs.open({ segmentSize: smallSegment });
  await appendAllShapes(wal, 800);
  for (const record of wal.read()) expect(plain(wal.get(record.sequence)!)).toEqual(plain(record));
  expect(wal.get(wal.lastSequence + 1)).toBeUndefined();
  expect(wal.get(Number.MAX_SAFE_INTEGER)).toBeUndefined();
});

test('a record larger than a chunk is read whole', async () => {
  const wal = await logs.open();
  const large = Buffer.alloc(3_000_000, 'large');
  wal.append('before');
  wal.append(large, { key: Buffer.alloc(65_535, 'key'), kind: 4 });
  wal.append(large);
  wal.append('after');
  for (const records of [[...wal.read()], await collect(wal.read()), (await collect(wal.readBatches())).flat()]) {
    expect(sequences(records)).toEqual([1, 2, 3, 4]);
    expect(records[1]!.data.equals(large)).toBe(true);
    expect(records[1]!.key).toHaveLength(65_535);
    expect(records[2]!.data.equals(large)).toBe(true);
  }
  expect(sequences(wal.read({ reverse: true }))).toEqual([4, 3, 2, 1]);
  expect(wal.get(2)!.data.equals(large)).toBe(true);
});

test('a Date is a time', async () => {
  const wal = await logs.open();
  wal.append('x');
  expect(sequences(wal.read({ fromTime: new Date(0), toTime: new Date(Date.now() + 1000) }))).toEqual([1]);
  expect(sequences(wal.read({ fromTime: new Date(Date.now() + 60_000) }))).toEqual([]);
});

test("a record's own timestamp finds it", async () => {
  const wal = await logs.open();
  wal.append('x');
  const { timestamp } = wal.get(1)!;
  expect(sequences(wal.read({ fromTime: timestamp, toTime: timestamp }))).toEqual([1]);
  expect(sequences(wal.read({ toTime: timestamp - 0.01 }))).toEqual([]);
  expect(sequences(wal.read({ fromTime: timestamp + 0.01 }))).toEqual([]);
});

test('a range of time is read in every way, whole segments of it passed over', async () => {
  const wal = await logs.open({ segmentSize: smallSegment });
  for (let i = 0; i < 12; i++) {
    appendMany(wal, 40, 1000);
    if (i % 3 === 2) await wal.rotate();
    await new Promise((resolve) => setTimeout(resolve, 15));
  }
  const all = [...wal.read()];
  const fromTime = all[130]!.timestamp;
  const toTime = all[330]!.timestamp;
  const expected = all
    .filter(({ timestamp }) => timestamp >= fromTime && timestamp <= toTime)
    .map((each) => each.sequence);
  expect(expected.length).toBeGreaterThan(150);
  expect(expected.length).toBeLessThan(all.length - 100);
  for (let again = 0; again < 2; again++) {
    expect(sequences(wal.read({ fromTime, toTime }))).toEqual(expected);
    expect(sequences(wal.read({ fromTime, toTime, reverse: true })).reverse()).toEqual(expected);
    expect(sequences((await collect(wal.readBatches({ fromTime, toTime }))).flat())).toEqual(expected);
    expect(sequences(await collect(wal.createReadStream({ fromTime, toTime })))).toEqual(expected);
    expect(sequences(wal.read({ fromTime, toTime, limit: 3 }))).toEqual(expected.slice(0, 3));
  }
});

test('an iteration ends with what was there when it started', async () => {
  const wal = await logs.open();
  appendMany(wal, 10);
  let count = 0;
  for (const { data } of wal.read()) {
    wal.append(data);
    count++;
  }
  for await (const { data } of wal.read()) {
    wal.append(data);
    count++;
  }
  expect(count).toBe(10 + 20);
  expect(wal.lastSequence).toBe(40);
});

test('a range can be iterated again, and then sees what has come', async () => {
  const wal = await logs.open();
  wal.append('a');
  const range = wal.read();
  expect(sequences(range)).toEqual([1]);
  wal.append('b');
  expect(sequences(range)).toEqual([1, 2]);
  expect(sequences(await collect(range))).toEqual([1, 2]);
});

test('iterations do not disturb each other', async () => {
  const wal = await logs.open();
  appendMany(wal, 2000);
  const a = wal.read()[Symbol.iterator]();
  const b = wal.read({ reverse: true })[Symbol.iterator]();
  for (let i = 1; i <= 2000; i++) {
    expect((a.next().value as WalRecord).sequence).toBe(i);
    expect((b.next().value as WalRecord).sequence).toBe(2001 - i);
  }
});

test('an iterator can itself be iterated, and stays at its end', async () => {
  const wal = await logs.open();
  appendMany(wal, 3);
  const iterator = wal.read()[Symbol.iterator]() as IterableIterator<WalRecord>;
  expect(sequences(iterator)).toEqual([1, 2, 3]);
  expect(iterator.next()).toEqual({ value: undefined, done: true });
  const asynchronous = wal.read()[Symbol.asyncIterator]() as AsyncIterableIterator<WalRecord>;
  expect(sequences(await collect(asynchronous))).toEqual([1, 2, 3]);
  expect(await asynchronous.next()).toEqual({ value: undefined, done: true });
});

test('leaving a loop ends the iteration', async () => {
  const wal = await logs.open();
  appendMany(wal, 100);
  const iterator = wal.read()[Symbol.iterator]() as IterableIterator<WalRecord>;
  for (const record of iterator) if (record.sequence === 3) break;
  expect(iterator.next().done).toBe(true);
  const asynchronous = wal.read()[Symbol.asyncIterator]() as AsyncIterableIterator<WalRecord>;
  for await (const record of asynchronous) if (record.sequence === 3) break;
  expect((await asynchronous.next()).done).toBe(true);
  for await (const batch of wal.readBatches({ batchBytes: 1024 })) if (batch.length > 0) break;
});

test('results asked for all at once come in order', async () => {
  const wal = await logs.open();
  appendMany(wal, 1000);
  const iterator = wal.read()[Symbol.asyncIterator]();
  const results = await Promise.all(Array.from({ length: 1003 }, () => iterator.next()));
  expect(results.slice(0, 1000).map(({ value }) => (value as WalRecord).sequence)).toEqual(
    Array.from({ length: 1000 }, (_, i) => i + 1),
  );
  expect(results.slice(1000).every(({ done }) => done === true)).toBe(true);
});

test('an iteration under way when the log closes says so', async () => {
  const wal = await logs.open();
  appendMany(wal, 20_000);
  const iterator = wal.read()[Symbol.iterator]();
  const asynchronous = wal.read()[Symbol.asyncIterator]();
  iterator.next();
  await asynchronous.next();
  await wal.close();
  await expectWalError('WAL_CLOSED', () => {
    while (iterator.next().done !== true);
  });
  await expectWalError('WAL_CLOSED', async () => {
    while ((await asynchronous.next()).done !== true);
  });
  expect(iterator.next().done).toBe(true);
  expect((await asynchronous.next()).done).toBe(true);
});

test('a loop that is over by its limit takes no more', async () => {
  const wal = await logs.open();
  appendMany(wal, 10);
  expect(sequences(wal.read({ limit: 0 }))).toEqual([]);
  expect(sequences(wal.read({ limit: 3, from: 4 }))).toEqual([4, 5, 6]);
  expect(sequences(wal.read({ limit: 3, reverse: true, to: 4 }))).toEqual([4, 3, 2]);
  expect(sequences(wal.read({ from: 7, to: 6 }))).toEqual([]);
  expect(sequences(wal.read({ from: 1000 }))).toEqual([]);
});
