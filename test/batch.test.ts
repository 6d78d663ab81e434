import type { RecordInput } from '../lib';
import { expectRangeError, expectTypeError, expectWalError } from './helpers/errors';
import { smallSegment, useLogs } from './helpers/logs';
import { collect, inputs, packed, plain, texts } from './helpers/records';

const logs = useLogs();

test('a batch of records comes back in its order, with kinds and keys', async () => {
  const wal = await logs.open();
  wal.append('before');
  const batch: RecordInput[] = [
    { data: 'a' },
    { data: Buffer.from('b'), kind: 2 },
    { data: '', key: 'k' },
    { data: new Uint8Array(0), key: '' },
    { data: 'é水', kind: 255, key: Buffer.of(0, 1) },
    { data: 'last', key: null },
  ];
  expect(wal.appendBatch(batch)).toBe(2);
  expect(wal.append('after')).toBe(8);
  expect(Array.from(wal.read(), plain)).toEqual([
    { sequence: 1, kind: 0, key: null, data: 'before' },
    { sequence: 2, kind: 0, key: null, data: 'a' },
    { sequence: 3, kind: 2, key: null, data: 'b' },
    { sequence: 4, kind: 0, key: 'k', data: '' },
    { sequence: 5, kind: 0, key: '', data: '' },
    { sequence: 6, kind: 255, key: '\0\x01', data: Buffer.from('é水').toString('latin1') },
    { sequence: 7, kind: 0, key: null, data: 'last' },
    { sequence: 8, kind: 0, key: null, data: 'after' },
  ]);
});

test('a packed batch comes back as its records', async () => {
  const wal = await logs.open();
  const records = ['one', '', 'three', 'four'].map((text) => Buffer.from(text));
  expect(wal.appendBatch(packed(records))).toBe(1);
  expect(texts(wal.read())).toEqual(['one', '', 'three', 'four']);
});

test('a packed batch gives its kind and key to every record', async () => {
  const wal = await logs.open();
  wal.appendBatch({ ...packed([Buffer.from('a'), Buffer.from('b')]), kind: 7, key: 'tenant' });
  expect(Array.from(wal.read(), plain)).toEqual([
    { sequence: 1, kind: 7, key: 'tenant', data: 'a' },
    { sequence: 2, kind: 7, key: 'tenant', data: 'b' },
  ]);
});

test('a packed batch may leave out the ends of its buffer', async () => {
  const wal = await logs.open();
  wal.appendBatch({ buffer: Buffer.from('xxabcyy'), offsets: Uint32Array.of(2, 3, 5) });
  expect(texts(wal.read())).toEqual(['a', 'bc']);
});

test('a batch of one record is a batch', async () => {
  const wal = await logs.open();
  expect(wal.appendBatch(inputs('only'))).toBe(1);
  expect(wal.appendBatch(packed([Buffer.from('only')]))).toBe(2);
  expect(texts(wal.read())).toEqual(['only', 'only']);
});

test('batches are there after the log was closed and opened', async () => {
  const first = await logs.open();
  first.appendBatch(inputs('a', 'b'));
  first.appendBatch(packed([Buffer.from('c'), Buffer.from('d')]));
  await first.close();
  const wal = await logs.open();
  expect(texts(await collect(wal.read()))).toEqual(['a', 'b', 'c', 'd']);
  expect(texts(wal.read({ reverse: true }))).toEqual(['d', 'c', 'b', 'a']);
  expect(wal.get(3)!.data.toString()).toBe('c');
});

test('records that were read can be appended again as a batch', async () => {
  const wal = await logs.open();
  wal.append('a', { kind: 1, key: 'k' });
  wal.append('b');
  expect(wal.appendBatch([...wal.read()])).toBe(3);
  expect(Array.from(wal.read({ from: 3 }), plain)).toEqual([
    { sequence: 3, kind: 1, key: 'k', data: 'a' },
    { sequence: 4, kind: 0, key: null, data: 'b' },
  ]);
});

// Small arrays of plain bytes go another way in than all others.
test.each([
  ['plain bytes', 100, () => ({})],
  ['more records than are packed', 4097, () => ({})],
  ['as many as are packed at most', 4096, () => ({})],
  ['a kind at the end', 100, (i: number) => (i === 99 ? { kind: 3 } : {})],
  ['a key at the end', 100, (i: number) => (i === 99 ? { key: 'k' } : {})],
])('an array of records comes back as it was: %s', async (_, count, more) => {
  const wal = await logs.open();
  const batch: RecordInput[] = Array.from({ length: count }, (_, i) => ({
    data: Buffer.from(`record ${i}`),
    ...more(i),
  }));
  expect(wal.appendBatch(batch)).toBe(1);
  expect(wal.appendBatch(batch.slice(0, 7))).toBe(count + 1);
  const expected = [...batch, ...batch.slice(0, 7)].map(({ data, kind = 0, key = null }, i) => {
    return { sequence: i + 1, kind, key, data: String(data) };
  });
  expect(Array.from(wal.read(), plain)).toEqual(expected);
  expect(wal.stats().appends).toBe(2);
});

test.each([0, 1])('an array of records comes back as it was: 256 KiB and %p bytes', async (more) => {
  const wal = await logs.open();
  const batch = [Buffer.alloc(200 * 1024, 'a'), Buffer.alloc(56 * 1024, 'b'), Buffer.alloc(more, 'c')];
  wal.appendBatch(batch.map((data) => ({ data })));
  expect(Array.from(wal.read(), ({ data }) => data)).toEqual(batch);
});

test('a batch with something wrong in it leaves nothing behind', async () => {
  const wal = await logs.open({ segmentSize: smallSegment });
  await expectTypeError(/records\[1\]\.data/, () => wal.appendBatch([{ data: 'fine' }, { data: 5 as never }]));
  await expectTypeError(/records\[1\]/, () => wal.appendBatch([{ data: 'fine' }, null as never]));
  await expectRangeError(/records\[1\]\.kind .* 0 to 255, not 256/, () =>
    wal.appendBatch([{ data: 'fine' }, { data: '', kind: 256 }]),
  );
  await expectRangeError(/records\[1\]\.key has 65536 bytes; the limit is 65535/, () =>
    wal.appendBatch([{ data: 'fine' }, { data: '', key: 'k'.repeat(65_536) }]),
  );
  await expectTypeError(/records\[0\]\.key/, () => wal.appendBatch([{ data: 'fine', key: 7 as never }]));
  expect([...wal.read()]).toEqual([]);
  expect(wal.appendBatch(inputs('next'))).toBe(1);
});

test('a batch larger than a segment is refused whole', async () => {
  const wal = await logs.open({ segmentSize: smallSegment });
  const half = Buffer.alloc(smallSegment / 2);
  await expectWalError('WAL_RECORD_TOO_LARGE', () => wal.appendBatch([{ data: half }, { data: half }]));
  await expectWalError('WAL_RECORD_TOO_LARGE', () => wal.appendBatch(packed([half, half])));
  expect(wal.lastSequence).toBe(0);
  expect(wal.appendBatch(packed([half]))).toBe(1);
});

test('an empty batch is refused', async () => {
  const wal = await logs.open();
  await expectRangeError(/at least one record/, () => wal.appendBatch([]));
  await expectRangeError(/offsets has 1 entries/, () =>
    wal.appendBatch({ buffer: Buffer.alloc(0), offsets: new Uint32Array(1) }),
  );
  await expectRangeError(/offsets has 0 entries/, () =>
    wal.appendBatch({ buffer: Buffer.alloc(0), offsets: new Uint32Array(0) }),
  );
});

test('offsets that cannot be are refused, and nothing is appended', async () => {
  const wal = await logs.open();
  const buffer = Buffer.from('abc');
  await expectRangeError(/offsets\[2\] is 4, beyond the 3 bytes/, () =>
    wal.appendBatch({ buffer, offsets: Uint32Array.of(0, 1, 4) }),
  );
  await expectRangeError(/offsets\[2\] is 1, which is less than the one before it, 2/, () =>
    wal.appendBatch({ buffer, offsets: Uint32Array.of(0, 2, 1, 3) }),
  );
  await expectRangeError(/beyond the 3 bytes/, () =>
    wal.appendBatch({ buffer, offsets: Uint32Array.of(0, 0xffffffff) }),
  );
  await expectTypeError(/offsets must be a Uint32Array, not an array/, () =>
    wal.appendBatch({ buffer, offsets: [0, 3] as never }),
  );
  await expectTypeError(/offsets must be a Uint32Array, not an Int32Array/, () =>
    wal.appendBatch({ buffer, offsets: Int32Array.of(0, 3) as never }),
  );
  await expectTypeError(/buffer must be a Uint8Array/, () =>
    wal.appendBatch({ buffer: 'abc' as never, offsets: Uint32Array.of(0, 3) }),
  );
  await expectTypeError(/buffer must be a Uint8Array/, () =>
    wal.appendBatch({ buffer: new DataView(new ArrayBuffer(3)) as never, offsets: Uint32Array.of(0, 3) }),
  );
  expect(wal.lastSequence).toBe(0);
});

test.each([undefined, null, 5, 'text', {}, Buffer.from('x')])('%p is not a batch', async (records) => {
  const wal = await logs.open();
  expect(() => wal.appendBatch(records as never)).toThrow(TypeError);
  expect(wal.lastSequence).toBe(0);
});

test('a large batch spans many chunks of a reader', async () => {
  const wal = await logs.open();
  const records = Array.from({ length: 20_000 }, (_, i) => Buffer.from(`record ${i} `.padEnd(60, '.')));
  wal.appendBatch(packed(records));
  const expected = records.map(String);
  expect(texts(wal.read())).toEqual(expected);
  expect(texts(await collect(wal.read()))).toEqual(expected);
  expect(texts(wal.read({ reverse: true }))).toEqual(expected.reverse());
});
