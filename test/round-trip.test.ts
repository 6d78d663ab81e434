import { Operation } from '../lib';
import { expectWalError } from './helpers/errors';
import { useLogs } from './helpers/logs';

const logs = useLogs();

const bytes = Uint8Array.from({ length: 256 }, (_, i) => i);

const dataOfEveryType: [string, Uint8Array | string, Uint8Array][] = [
  ['a Buffer', Buffer.from(bytes), bytes],
  ['a Uint8Array', bytes, bytes],
  ['a part of a larger buffer', new Uint8Array(bytes.buffer, 7, 40), bytes.subarray(7, 47)],
  ['a Buffer from the pool', Buffer.from('pooled'), Buffer.from('pooled')],
  ['an ASCII string', 'plain text', Buffer.from('plain text')],
  ['a Latin-1 string', 'café ÿ', Buffer.from('café ÿ')],
  ['a string of every length of UTF-8', 'a é 水 🌊 \0 end', Buffer.from('a é 水 🌊 \0 end')],
  ['a long string', '水'.repeat(100_000), Buffer.from('水'.repeat(100_000))],
  ['a cut-off surrogate', 'x\ud83c', Buffer.from('x\ufffd')],
  ['a string made of parts', ['a', 'b'].join('-').concat('c'), Buffer.from('a-bc')],
  ['no bytes', new Uint8Array(0), new Uint8Array(0)],
  ['an empty string', '', new Uint8Array(0)],
  ['a megabyte', Buffer.alloc(1 << 20, 'mega'), Buffer.alloc(1 << 20, 'mega')],
];

test.each(dataOfEveryType)('%s comes back as it went in', async (_, data, expected) => {
  const wal = await logs.open();
  const sequence = wal.append(data);
  const [record] = wal.read();
  expect(record).toMatchObject({ sequence, kind: 0, key: null });
  expect(Buffer.compare(record!.data, expected)).toBe(0);
});

test.each(dataOfEveryType)('%s comes back after the log was closed and opened', async (_, data, expected) => {
  const first = await logs.open();
  const sequence = first.append(data, { kind: 9, key: 'k' });
  await first.close();
  const wal = await logs.open();
  const record = wal.get(sequence);
  expect(record).toMatchObject({ sequence, kind: 9, key: Buffer.from('k') });
  expect(Buffer.compare(record!.data, expected)).toBe(0);
});

test('sequence numbers start at 1 and have no gaps', async () => {
  const wal = await logs.open();
  expect([wal.append('a'), wal.append('b'), wal.append('c')]).toEqual([1, 2, 3]);
  await wal.close();
  const again = await logs.open();
  expect(again.append('d')).toBe(4);
  expect([again.firstSequence, again.lastSequence]).toEqual([1, 4]);
});

test('in a log without records the first is the one to come', async () => {
  const wal = await logs.open();
  expect([wal.firstSequence, wal.lastSequence, wal.durableSequence]).toEqual([1, 0, 0]);
  expect([...wal.read()]).toEqual([]);
  expect([...wal.read({ from: 1 })]).toEqual([]);
});

test('every kind comes back', async () => {
  const wal = await logs.open();
  const kinds = Array.from({ length: 256 }, (_, kind) => kind);
  for (const kind of kinds) wal.append('x', { kind });
  expect(Array.from(wal.read(), (record) => record.kind)).toEqual(kinds);
});

test('operations are names for kinds', async () => {
  const wal = await logs.open();
  wal.append('x', { kind: Operation.Delete });
  expect(wal.get(1)?.kind).toBe(3);
});

test.each<[string, Uint8Array | string, Buffer]>([
  ['of a string', 'tenant/水', Buffer.from('tenant/水')],
  ['of bytes', Uint8Array.of(0, 255, 128), Buffer.of(0, 255, 128)],
  ['of 1 byte', 'k', Buffer.from('k')],
  ['of 65,535 bytes', Buffer.alloc(65_535, 'key'), Buffer.alloc(65_535, 'key')],
  ['of a string of 65,535 bytes', 'k'.repeat(65_535), Buffer.alloc(65_535, 'k')],
])('a key %s comes back', async (_, key, expected) => {
  const wal = await logs.open();
  wal.append('data', { key });
  const [record] = wal.read();
  expect(record!.key?.equals(expected)).toBe(true);
  expect(record!.data.toString()).toBe('data');
});

test('an empty key is not the same as none', async () => {
  const wal = await logs.open();
  wal.append('a', { key: '' });
  wal.append('b', { key: new Uint8Array(0) });
  wal.append('c');
  wal.append('d', { key: undefined });
  wal.append('e', { key: null });
  expect(Array.from(wal.read(), ({ key }) => key?.length ?? null)).toEqual([0, 0, null, null, null]);
});

test('a record without data can have a key and a kind', async () => {
  const wal = await logs.open();
  wal.append('', { key: 'k', kind: 255 });
  expect(wal.get(1)).toMatchObject({ kind: 255, key: Buffer.from('k'), data: Buffer.alloc(0) });
});

test('timestamps are the time of the append, never going back', async () => {
  const wal = await logs.open();
  const before = Date.now();
  for (let i = 0; i < 1000; i++) wal.append('x');
  const after = Date.now();
  const times = Array.from(wal.read(), ({ timestamp }) => timestamp);
  expect(times).toEqual([...times].sort((a, b) => a - b));
  // The log's clock ticks by the millisecond or so, and need not be the one that Date reads.
  expect(times[0]).toBeGreaterThan(before - 100);
  expect(times.at(-1)).toBeLessThan(after + 100);
});

test('what is handed out belongs to the reader and never changes', async () => {
  const wal = await logs.open({ segmentSize: 65_536 });
  wal.append('first');
  const [kept] = wal.read();
  const found = wal.get(1);
  kept!.data.write('XXXXX');
  expect(wal.get(1)!.data.toString()).toBe('first');
  for (let i = 0; i < 1000; i++) wal.append('other data '.repeat(20));
  await wal.truncateBefore(wal.lastSequence);
  expect([...wal.read()].length).toBeGreaterThan(0);
  expect(wal.get(wal.lastSequence)!.data.toString()).toMatch(/^other/);
  await wal.close();
  expect(kept!.data.toString()).toBe('XXXXX');
  expect(found!.data.toString()).toBe('first');
});

test('memory that was appended can be used again at once', async () => {
  const wal = await logs.open();
  const scratch = Buffer.alloc(3);
  for (const text of ['one', 'two', 'six']) {
    scratch.write(text);
    wal.append(scratch, { key: scratch });
  }
  expect(Array.from(wal.read(), ({ key, data }) => `${String(key)} ${String(data)}`)).toEqual([
    'one one',
    'two two',
    'six six',
  ]);
});

test('the largest record that fits is a little smaller than a segment', async () => {
  const wal = await logs.open({ segmentSize: 65_536 });
  const sequence = wal.append(Buffer.alloc(60_000, 1));
  expect(wal.get(sequence)!.data.length).toBe(60_000);
  const error = await expectWalError('WAL_RECORD_TOO_LARGE', () => wal.append(Buffer.alloc(65_536)));
  expect(error.message).toMatch(/\d{5}/);
  expect(wal.append('goes on')).toBe(sequence + 1);
  await expectWalError('WAL_RECORD_TOO_LARGE', () => wal.append('x'.repeat(1 << 20)));
  expect(wal.lastSequence).toBe(sequence + 1);
});
