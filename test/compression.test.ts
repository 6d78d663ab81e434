import { randomBytes } from 'node:crypto';
import * as zlib from 'node:zlib';

import fc from 'fast-check';

import { WalManager } from '../lib';
import type { Compression, ReadOptions, RecordInput, WalRecord } from '../lib';
import { expectRangeError, expectTypeError, expectWalError } from './helpers/errors';
import { flag, frameHeaderSize, writeFrameChecksum } from './helpers/format';
import { LogFiles } from './helpers/log-files';
import { smallSegment, useLogs } from './helpers/logs';
import { collect, packed, plain, sequences } from './helpers/records';
import { startChild } from './helpers/processes';

const logs = useLogs();

// A failing run prints its seed; SEED=… runs it again.
const seed = process.env['SEED'] === undefined ? Date.now() : Number(process.env['SEED']);

const hasZstd = 'zstdCompressSync' in zlib;
const codecs: Compression[] = ['lz4', 'gzip', ...(hasZstd ? (['zstd'] as const) : [])];
const ids: Partial<Record<Compression, number>> = { lz4: 1, zstd: 2, gzip: 3 };

const line = (i: number): string =>
  JSON.stringify({ id: i, name: `customer ${i % 7}`, state: 'active', tags: ['a', 'b'] });
const lines = (count: number): RecordInput[] => Array.from({ length: count }, (_, i) => ({ data: line(i) }));

describe.each(codecs)('%s', (compression) => {
  test('batches of every kind become smaller, and come back', async () => {
    const wal = await logs.open({ compression });
    const plainLog = await logs.open({}, `${logs.path}-plain`);
    for (const log of [wal, plainLog]) {
      log.append('alone');
      expect(log.appendBatch(lines(500))).toBe(2);
      log.appendBatch({ ...packed(lines(500).map(({ data }) => Buffer.from(data as string))), kind: 3, key: 'packed' });
      expect(await log.writeBatch(lines(500))).toBe(1002);
      await log.writeBatch({ ...packed(lines(500).map(({ data }) => Buffer.from(data as string))), key: 'written' });
      const transaction = log.transaction();
      for (const { data } of lines(500)) transaction.append(data, { key: 'tx', kind: 1 });
      await transaction.commit();
    }
    expect(wal.stats().bytes).toBeLessThan(plainLog.stats().bytes / 2);
    const expected = Array.from(plainLog.read(), plain);
    expect(Array.from(wal.read(), plain)).toEqual(expected);
    expect((await collect(wal.read())).map(plain)).toEqual(expected);
    expect((await collect(wal.readBatches())).flat().map(plain)).toEqual(expected);
    expect(Array.from(wal.readSegment(1), plain)).toEqual(expected);
    expect(Array.from(wal.read({ reverse: true }), plain)).toEqual([...expected].reverse());
    expect(await wal.verify()).toMatchObject({ ok: true, records: 2501 });
    for (const sequence of [1, 2, 501, 502, 1001, 2501])
      expect(plain(wal.get(sequence)!)).toEqual(expected[sequence - 1]);
    expect(wal.get(2502)).toBeUndefined();
    const seen: number[] = [];
    await wal.replay({ sequence: 100 }, ({ sequence }) => void seen.push(sequence), { concurrency: 3 });
    expect(seen).toHaveLength(2401);
  });

  test('the codec is in the frame, and the process can be killed', async () => {
    const wal = await logs.open({ compression });
    wal.appendBatch(lines(100));
    const files = LogFiles.read(logs.path);
    await wal.close();
    files.powerCut().write(`${logs.path}-killed`);
    const [frame] = files.frames(1);
    expect(frame!.flags).toBe(flag.batch | (ids[compression]! << 3));
    expect(frame!.count).toBe(100);
    if (compression === 'gzip')
      expect(frame!.records.map(({ data }) => data.toString())).toEqual(lines(100).map(({ data }) => data));
    const recovered = await logs.open({}, `${logs.path}-killed`);
    expect(recovered.lastSequence).toBe(100);
    expect(Array.from(recovered.read(), ({ data }) => data.toString())).toEqual(lines(100).map(({ data }) => data));
  });

  test('what is small or does not get smaller is stored as it is', async () => {
    const wal = await logs.open({ compression });
    wal.appendBatch([{ data: 'aaaa' }, { data: 'aaaa' }]);
    wal.appendBatch([{ data: randomBytes(100_000) }]);
    // Each sequence number takes 8 bytes of a frame, which is all that these have.
    wal.appendBatch(Array.from({ length: 5000 }, () => ({ data: '' })));
    const frames = LogFiles.read(logs.path).frames(1);
    expect(frames.map(({ flags, count }) => [flags, count])).toEqual([
      [flag.batch, 2],
      [flag.batch, 1],
      [flag.batch, 5000],
    ]);
    expect(sequences(wal.read())).toHaveLength(5003);
  });

  test('tiny records that compress to nearly nothing still take 8 bytes each, and survive', async () => {
    // A sync between two of them would prove the first durable, and its loss be damage.
    const wal = await logs.open({ compression, sync: { policy: 'async', maxDelay: 3_600_000 } });
    for (let i = 0; i < 3; i++) wal.appendBatch(Array.from({ length: 3000 }, () => ({ data: 'tick' })));
    const files = LogFiles.read(logs.path);
    expect(files.frames(1).map(({ length, count }) => [length, count])).toEqual(Array(3).fill([24 + 8 * 3000, 3000]));
    await wal.close();
    // The first frame is gone: recovery has to find the others by searching.
    files.segment(1).fill(0, files.frames(1)[0]!.offset, files.frames(1)[0]!.offset + 100);
    files.eraseMarks().write(`${logs.path}-torn`);
    const torn = await logs.open({}, `${logs.path}-torn`);
    expect(torn.recovery.findings.map((finding) => finding.case)).toEqual(['B']);
    expect(sequences(torn.read())).toEqual(Array.from({ length: 6000 }, (_, i) => i + 3001));
  });

  test('the limit is that of the batch before compression', async () => {
    const wal = await logs.open({ compression, segmentSize: smallSegment });
    const record = { data: Buffer.alloc(61_500, 'x') };
    const error = await expectWalError('WAL_RECORD_TOO_LARGE', () => wal.appendBatch([record]));
    expect(error.message).toMatch(/the limit of this log is 61440 bytes/);
    await expectWalError('WAL_RECORD_TOO_LARGE', () => wal.writeBatch([record]));
    await expectWalError('WAL_RECORD_TOO_LARGE', () => wal.appendBatch(packed([record.data])));
    expect(wal.lastSequence).toBe(0);
    wal.appendBatch([{ data: record.data.subarray(0, 61_440 - 24 - 4 - 8) }]);
    expect(wal.stats().bytes).toBeLessThan(2000);
    expect(wal.get(1)!.data).toHaveLength(61_404);
  });

  test('misuse is told as without compression, and nothing is appended', async () => {
    const wal = await logs.open({ compression });
    await expectTypeError(/^records\[1\].data must be a Uint8Array/, () =>
      wal.appendBatch([{ data: 'x' }, { data: 5 as never }]),
    );
    await expectRangeError(/^records\[0\].key has 65536 bytes/, () =>
      wal.appendBatch([{ data: 'x', key: Buffer.alloc(65_536) }]),
    );
    await expectRangeError(/^offsets\[1\] is 9, beyond/, () =>
      wal.appendBatch({ buffer: Buffer.alloc(5), offsets: Uint32Array.of(0, 9) }),
    );
    await expectRangeError(/^kind must be/, () => wal.appendBatch({ ...packed([Buffer.from('x')]), kind: 256 }));
    expect(wal.lastSequence).toBe(0);
    await wal.close();
    await expectWalError('WAL_CLOSED', () => wal.appendBatch(lines(100)));
  });

  test('a live reader gets the records of a batch as they come', async () => {
    const wal = await logs.open({ compression });
    const seen: number[] = [];
    const reading = (async () => {
      for await (const { sequence } of wal.read({ live: true, from: 50, to: 250 })) seen.push(sequence);
    })();
    wal.appendBatch(lines(100));
    await new Promise((resolve) => setTimeout(resolve, 20));
    wal.append('alone');
    wal.appendBatch(lines(200));
    await reading;
    expect(seen).toEqual(Array.from({ length: 201 }, (_, i) => i + 50));
  });

  test('bytes that are no batch are damage, with its records, whatever they would unpack to', async () => {
    const wal = await logs.open({ compression, segmentSize: 1024 * 1024 });
    wal.append('before');
    wal.appendBatch(lines(1000));
    await wal.close();
    const files = LogFiles.read(logs.path);
    const at = files.frames(1)[1]!.offset + frameHeaderSize;
    const damages: Record<string, (segment: Buffer) => void> = {
      // An lz4 block has no checksum of its own: what is not its bytes may well be others.
      ...(compression === 'lz4'
        ? {}
        : { 'bytes of the codec': (segment: Buffer) => segment.fill(0xa5, at + 12 + 30, at + 12 + 60) }),
      'a size that is too small': (segment) => segment.writeUInt32LE(segment.readUInt32LE(at + 4) - 1, at + 4),
      'a size that is too large': (segment) => segment.writeUInt32LE(segment.readUInt32LE(at + 4) + 1, at + 4),
      'a size beyond the segment': (segment) => segment.writeUInt32LE(0x3fff_ffff, at + 4),
    };
    for (const [name, damage] of Object.entries(damages)) {
      const copy = files.copy();
      damage(copy.segment(1));
      writeFrameChecksum(copy.segment(1), at - frameHeaderSize);
      const path = `${logs.path}-${name.replaceAll(' ', '-')}`;
      copy.write(path);
      const damaged = await logs.open({}, path);
      const error = await expectWalError('WAL_CORRUPT', () => [...damaged.read({ from: 2 })]);
      expect({ name, sequence: error.firstSequence }).toEqual({ name, sequence: 2 });
      // It was not unpacked first and looked at then.
      if (name === 'a size that is too small') {
        if (compression === 'lz4') expect(error.message).toMatch(/it claims to be of \d+ bytes, and not \d+/);
        else expect(error.cause).toMatchObject({ code: 'ERR_BUFFER_TOO_LARGE' });
      }
      await expectWalError('WAL_CORRUPT', () => collect(damaged.read()));
      await expectWalError('WAL_CORRUPT', () => damaged.get(5));
      expect(sequences(damaged.read({ to: 1 }))).toEqual([1]);
    }
  });
});

test('a log of all kinds of batches reads like one without compression, whatever is asked for', async () => {
  const record = fc.record({
    data: fc.oneof(
      { weight: 4, arbitrary: fc.nat(50).map((n) => line(n)) },
      { weight: 1, arbitrary: fc.uint8Array({ maxLength: 300 }) },
      { weight: 1, arbitrary: fc.nat(3000).map((n) => 'x'.repeat(n)) },
    ),
    kind: fc.nat(3),
    key: fc.option(fc.constantFrom('', 'a', 'bb'), { nil: null }),
  });
  const appends = fc.sample(
    fc.record({
      codec: fc.constantFrom<Compression>('none', ...codecs),
      records: fc.array(record, { minLength: 1, maxLength: 40 }),
    }),
    { numRuns: 150, seed },
  );
  const reference = await logs.open({ segmentSize: smallSegment }, `${logs.path}-plain`);
  await (await logs.open({ segmentSize: smallSegment })).close();
  for (let i = 0; i < appends.length; i += 10) {
    // The codec of a log is of its opening: every stretch has another.
    const compression = appends[i]!.codec;
    const wal = await WalManager.open(logs.path, { compression });
    for (const { records } of appends.slice(i, i + 10)) {
      if (records.length === 1) wal.append(records[0]!.data, { kind: records[0]!.kind, key: records[0]!.key });
      else wal.appendBatch(records);
      reference.appendBatch(records);
    }
    await wal.close();
  }
  const wal = await logs.open();
  const all = Array.from(reference.read(), plain);
  expect(Array.from(wal.read(), plain)).toEqual(all);
  const options = fc.record(
    {
      from: fc.integer({ min: 1, max: all.length }),
      to: fc.integer({ min: 1, max: all.length }),
      reverse: fc.boolean(),
      limit: fc.nat(60),
      kind: fc.nat(3),
      key: fc.constantFrom('', 'a', 'bb', 'absent'),
    },
    { requiredKeys: [] },
  );
  await fc.assert(
    fc.asyncProperty(options, async (asked: ReadOptions) => {
      const expected = Array.from(reference.read(asked), plain);
      const found: WalRecord[] = [...wal.read(asked)];
      expect(found.map(plain)).toEqual(expected);
      expect((await collect(wal.readBatches(asked))).flat().map(plain)).toEqual(expected);
    }),
    { numRuns: 150, seed },
  );
  for (let sequence = 1; sequence <= all.length; sequence += 13) {
    expect(plain(wal.get(sequence)!)).toEqual(all[sequence - 1]);
  }
}, 120_000);

test('a range of time passes over compressed batches outside of it', async () => {
  const wal = await logs.open({ compression: 'gzip' });
  wal.appendBatch(lines(100));
  await new Promise((resolve) => setTimeout(resolve, 20));
  wal.appendBatch(lines(100));
  const { timestamp } = wal.get(101)!;
  expect(sequences(wal.read({ fromTime: timestamp }))).toHaveLength(100);
  expect(sequences(wal.read({ toTime: timestamp - 1 }))).toHaveLength(100);
  expect(wal.get(1)!.timestamp).toBeLessThan(timestamp);
});

test('data of a compressed record is the own of whoever reads it', async () => {
  const wal = await logs.open({ compression: 'gzip' });
  wal.appendBatch(lines(100));
  const record = wal.get(7)!;
  record.data.fill(0);
  expect(wal.get(7)!.data.toString()).toBe(line(6));
});

test('writes that wait for room keep their compressed form', async () => {
  const sync = { policy: 'async', maxDelay: 3_600_000 } as const;
  const wal = await logs.open({ compression: 'gzip', maxDirtyBytes: 64 * 1024, sync });
  const buffer = Buffer.from(
    lines(2000)
      .map(({ data }) => data)
      .join('\n'),
  );
  const writes = [];
  for (let i = 0; i < 40; i++) {
    const input = { buffer, offsets: Uint32Array.of(0, 1000, buffer.length) };
    writes.push(wal.writeBatch(input, { sync: 'immediate' }));
  }
  const before = Buffer.from(buffer);
  buffer.fill(0);
  await Promise.all(writes);
  const records = [...wal.read()];
  expect(records).toHaveLength(80);
  expect(
    records.every(({ data, sequence }) =>
      data.equals(sequence % 2 === 1 ? before.subarray(0, 1000) : before.subarray(1000)),
    ),
  ).toBe(true);
});

describe('a codec that is missing', () => {
  test('is told at open and at reading; recovery, verify and appending need none', async () => {
    const wal = await logs.open({ compression: 'lz4' });
    wal.append('before');
    wal.appendBatch(lines(100));
    await wal.close();
    const child = startChild('without-lz4', logs.path);
    const answer = JSON.parse(await child.line()) as Record<string, unknown>;
    expect(answer).toMatchObject({
      refused: { code: 'WAL_CODEC_MISSING', message: 'lz4 needs the package lz4-napi: npm install lz4-napi' },
      ok: true,
      records: 101,
      last: 101,
      read: [1],
      failure: { code: 'WAL_CODEC_MISSING', firstSequence: 2 },
    });
    expect((answer['failure'] as Error).message).toMatch(
      /^the batch that begins with record 2 cannot be read: .*npm install/,
    );
    await child.outcome();
  });

  test('zstd is there or says which Node.js it needs', async () => {
    if (hasZstd) {
      const wal = await logs.open({ compression: 'zstd' });
      wal.appendBatch(lines(100));
      expect(sequences(wal.read())).toHaveLength(100);
    } else {
      const error = await expectWalError('WAL_CODEC_MISSING', () => logs.open({ compression: 'zstd' }));
      expect(error.message).toMatch(/zstd needs Node.js 22.15 or later/);
    }
  });

  test('one of a newer segwal is named', async () => {
    const wal = await logs.open({ compression: 'gzip' });
    wal.appendBatch(lines(100));
    await wal.close();
    const files = LogFiles.read(logs.path);
    const { offset } = files.frames(1)[0]!;
    files.segment(1).writeUInt8(flag.batch | (7 << 3), offset + 23);
    writeFrameChecksum(files.segment(1), offset);
    files.write(logs.path);
    const newer = await logs.open();
    const error = await expectWalError('WAL_UNSUPPORTED_VERSION', () => [...newer.read()]);
    expect(error).toMatchObject({ firstSequence: 1 });
    expect(await newer.verify()).toMatchObject({ ok: true, records: 100 });
  });
});

test('an option that is none', async () => {
  await expectRangeError(
    /compression must be one of 'none', 'lz4', 'zstd', 'gzip', not 'gzp'; did you mean 'gzip'\?/,
    () => logs.open({ compression: 'gzp' as never }),
  );
});
