// What version 1 of the format looks like, for ever.
import { rmSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';

import { WalManager } from '../lib';
import type { WalOptions, WalRecord } from '../lib';
import {
  decodeMeta,
  encodeBatch,
  encodeFiller,
  encodeMeta,
  encodePlain,
  encodeSynced,
  endOf,
  flag,
  frameHeaderSize,
  headerSize,
  identityOf,
  readFrame,
  readLive,
  readMark,
  readOrderlyEnd,
  readSeal,
  writeIdentity,
  writeMark,
  writeOrderlyEnd,
  writeOwner,
  writePointer,
  writeSeal,
} from './helpers/format';
import type { Frame, Identity, Meta } from './helpers/format';
import { readGolden, toGolden } from './helpers/golden';
import type { GoldenRecord } from './helpers/golden';
import { handmade, text } from './helpers/handmade';
import { LogFiles, makeFastDirectory, metaName } from './helpers/log-files';

let directory = '';
let open: WalManager | undefined;
const path = (): string => join(directory, 'log');

beforeEach(() => {
  directory = makeFastDirectory();
});

afterEach(async () => {
  await open?.close();
  open = undefined;
  rmSync(directory, { recursive: true, force: true });
});

async function openLog(options: WalOptions = {}): Promise<WalManager> {
  open = await WalManager.open(path(), options);
  return open;
}

async function reopen(): Promise<WalManager> {
  await open?.close();
  return openLog();
}

describe('the golden log of version 1', () => {
  const { files, records } = readGolden('v1');
  const segments = [3, 4, 5, 6, 7];
  const fillers = [62, 64, 65, 66, 68, 69];

  test('has what a log of this version can have', () => {
    const frames = segments.flatMap((id) => files.frames(id));
    const has = (wanted: (frame: Frame) => boolean): number => frames.filter(wanted).length;
    expect(files.segments).toEqual(segments);
    expect(has(({ flags }) => flags === 0)).toBeGreaterThan(20);
    expect(has(({ flags }) => flags === flag.key)).toBeGreaterThan(5);
    expect(has(({ flags }) => flags === flag.batch)).toBeGreaterThan(5);
    expect(has(({ flags }) => flags === flag.filler)).toBe(3);
    expect(has(({ flags, length }) => flags === flag.filler && length === frameHeaderSize)).toBe(1);
    expect(has(({ records: [record] }) => record?.key?.length === 0)).toBeGreaterThan(1);
    expect(has(({ records: [record] }) => record?.data.length === 0)).toBeGreaterThan(1);
    expect(new Set(frames.map(({ length }) => length % 8)).size).toBe(8);
    expect(new Set(frames.map(({ synced }) => Math.min(synced, 2)))).toEqual(new Set([0, 1, 2]));
    expect(segments.map((id) => readSeal(files.segment(id)) !== undefined)).toEqual([true, true, true, true, false]);
  });

  test('opens as a log that was closed in order, and holds its records', async () => {
    files.write(path());
    const wal = await openLog();
    expect(wal.recovery).toMatchObject({ clean: true, findings: [], segments: segments.length });
    expect(Array.from(wal.read(), toGolden)).toEqual(records);
    expect(wal.segments().map(({ id, sealed }) => [id, sealed])).toEqual(segments.map((id) => [id, id !== 7]));
    expect([wal.firstSequence, wal.lastSequence]).toEqual([3, records.at(-1)?.sequence]);
    const verified = await wal.verify();
    expect(verified).toMatchObject({ ok: true, records: records.length });
    expect(verified.findings.filter((finding) => finding.case !== 'filler')).toEqual([]);
  });

  test('gives each record by its number, and none where there is a filler', async () => {
    files.write(path());
    const wal = await openLog({ readOnly: true });
    expect(records.map(({ sequence }) => toGolden(wal.get(sequence) as WalRecord))).toEqual(records);
    expect(fillers.map((sequence) => wal.get(sequence))).toEqual(fillers.map(() => undefined));
  });

  test.each([
    ['after a power cut', (log: LogFiles) => log.powerCut()],
    ['after a power cut, without any mark', (log: LogFiles) => log.powerCut().eraseMarks()],
    ['without wal.meta', (log: LogFiles) => (log.remove(metaName), log)],
  ])('is the same %s, and goes on', async (_, change) => {
    change(files.copy()).write(path());
    const wal = await openLog();
    expect(Array.from(wal.read(), toGolden)).toEqual(records);
    const sequence = wal.append('goes on', { kind: 1, key: 'k' });
    expect(sequence).toBe((records.at(-1)?.sequence ?? 0) + 1);
    const reopened = await reopen();
    expect(reopened.get(sequence)).toMatchObject({ kind: 1, data: Buffer.from('goes on') });
    expect(Array.from(reopened.read({ to: sequence - 1 }), toGolden)).toEqual(records);
  });

  test('reads the same by another reader', () => {
    expect(readRecords(files)).toEqual(records);
  });

  test('is, byte for byte, what another writer writes', () => {
    expect(decodeMeta(files.file(metaName))).toMatchObject({ firstSegment: 3, firstSequence: 3, segmentSize: 65_536 });
    expectTheBytesOfAnotherWriter(files);
  });
});

describe('the golden log of version 1 that was in use for long', () => {
  const { files, records } = readGolden('v1-life');
  const [active] = files.segments.slice(-1) as [number];

  test('has what comes with time', () => {
    const identities = files.segments.map((id) => identityOf(files.segment(id)));
    expect(identities.map(({ compacted }) => compacted)).toEqual([true, true, false, false, false]);
    expect(identities.map(({ recycled }) => recycled)).toEqual([false, false, false, false, true]);
    const flags = new Set(files.segments.flatMap((id) => files.frames(id)).map((frame) => frame.flags));
    expect(flags).toEqual(new Set([0, flag.key, flag.batch, flag.filler, flag.batch | (3 << 3)]));
    const behind = files.segment(active).subarray(endOf(files.frames(active)));
    expect(behind.some((byte) => byte !== 0)).toBe(true);
    expect(files.names.filter((name) => name.startsWith('metadata/recyclable-'))).toHaveLength(2);
  });

  test('holds its records, and goes on', async () => {
    files.write(path());
    const wal = await openLog();
    expect(wal.recovery.findings.filter((finding) => finding.case !== 'A')).toEqual([]);
    expect(Array.from(wal.read(), toGolden)).toEqual(records);
    expect(await wal.verify()).toMatchObject({ ok: true, records: records.length });
    const sequence = wal.append('goes on');
    expect(sequence).toBe((records.at(-1)?.sequence ?? 0) + 1);
    const reopened = await reopen();
    expect(reopened.recovery).toMatchObject({ clean: true, findings: [] });
    expect(Array.from(reopened.read({ to: sequence - 1 }), toGolden)).toEqual(records);
    expect(reopened.get(sequence)?.data.toString()).toBe('goes on');
  });

  test('is the same to who only reads it, and to another reader', async () => {
    files.write(path());
    const wal = await openLog({ readOnly: true });
    expect(Array.from(wal.read(), toGolden)).toEqual(records);
    expect(LogFiles.read(path()).differences(files)).toEqual([]);
    expect(readRecords(files)).toEqual(records);
  });
});

test('what is written today is what another reader reads and another writer writes', async () => {
  const wal = await openLog({ segmentSize: 65_536 });
  const keys = [null, '', 'key', 'k'.repeat(300)];
  for (let i = 0; i < 200; i++) {
    wal.append('x'.repeat(i * 3), { kind: i, key: keys[i % 4] });
    wal.appendBatch(
      Array.from({ length: 1 + (i % 5) }, (_, n) => ({ data: 'y'.repeat(i), kind: n, key: keys[n % 4] })),
    );
    wal.appendBatch({ buffer: Buffer.from('packed'), offsets: Uint32Array.of(0, i % 7, 6), kind: i, key: keys[i % 3] });
  }
  await wal.sync();
  await sleep(200);
  const now = Date.now();
  wal.append('knows that all before it is durable, and when it is');
  const records = Array.from(wal.read(), toGolden);
  await wal.close();
  const files = LogFiles.read(path());
  expect(files.segments.length).toBeGreaterThan(3);
  expect(readRecords(files)).toEqual(records);
  expectTheBytesOfAnotherWriter(files);
  const last = files.frames(files.segments.length).at(-1) as Frame;
  expect(last.synced).toBe(last.index + 1);
  expect(identityOf(files.segment(files.segments.length)).created + last.time).toBeGreaterThan((now - 50) * 1000);
  expect(readMark(files.segment(files.segments.length))).toBe(records.length);
});

/** The records of a log, by the other reader. */
function readRecords(files: LogFiles): GoldenRecord[] {
  return files.segments.flatMap((id) => {
    const { base, created } = identityOf(files.segment(id));
    return files.frames(id).flatMap((frame) => {
      const timestamp = (created + frame.time) / 1000;
      const sequence = (i: number): number => base + frame.index + (frame.places?.[i] ?? i);
      return frame.records.map((record, i) => toGolden({ ...record, sequence: sequence(i), timestamp }));
    });
  });
}

/** Takes a log that was closed in order apart and writes it again. */
function expectTheBytesOfAnotherWriter(files: LogFiles): void {
  expect(encodeMeta(decodeMeta(files.file(metaName)) as Meta)).toEqual(files.file(metaName));
  for (const id of files.segments) {
    const original = files.segment(id);
    const again = Buffer.alloc(original.length);
    writeIdentity(again, identityOf(original));
    const seal = readSeal(original);
    if (seal !== undefined) writeSeal(again, identityOf(original).salt, seal);
    writePointer(again, readLive(original));
    writeOwner(again, readLive(original).boot, readLive(original).pid);
    if (readMark(original) !== 0) writeMark(again, readMark(original));
    if (readOrderlyEnd(original) !== 0) writeOrderlyEnd(again, readOrderlyEnd(original));
    const frames = files.frames(id);
    for (const frame of frames) encodeAgain(frame, identityOf(original)).copy(again, frame.offset);
    expect(seal?.end ?? readOrderlyEnd(original)).toBe(endOf(frames));
    expect(again.compare(original)).toBe(0);
  }
}

function encodeAgain(frame: Frame, { salt }: Identity): Buffer {
  if ((frame.flags & flag.filler) !== 0) return encodeFiller(salt, frame, frame.length, frame.count);
  if ((frame.flags & flag.batch) !== 0) return encodeBatch(salt, frame, frame.records);
  return encodePlain(salt, frame, frame.records[0] ?? text(''));
}

describe('the worked example of docs/FORMAT.md', () => {
  // Record 42, the third of a segment whose first is 40: 'hello', key 'k', kind 1 (insert), appended 123.456 ms after the
  // segment was begun, when 40 was durable.
  const salt = 0x0123_4567_89ab_cdefn;
  const bytes = Buffer.from(
    [
      '20000000', // length 32
      '8d146e89', // CRC32C
      '02000000', // index 2
      '02000000', // synced 2: one record of this segment
      '40e201000000', // time 123,456 µs
      '01', // kind
      '02', // flags: has a key
      '0100', // length of the key
      '6b', // 'k'
      '68656c6c6f', // 'hello'
    ].join(''),
    'hex',
  );
  const header = { index: 2, synced: encodeSynced(40, 40), time: 123_456 };

  test('is what a writer writes', () => {
    expect(encodePlain(salt, header, text('hello', 'k', 1)).toString('hex')).toBe(bytes.toString('hex'));
  });

  test('is a record for every reader', async () => {
    const { files } = handmade(
      [
        [
          { is: 'plain', record: text('forty') },
          { is: 'plain', record: text('forty-one') },
        ],
      ],
      {
        firstSegment: 2,
        firstSequence: 40,
        salts: [salt],
      },
    );
    const segment = files.segment(2);
    const offset = endOf(files.frames(2));
    bytes.copy(segment, offset);
    expect(offset).toBeGreaterThan(headerSize);
    expect(readFrame(segment, offset, 2)).toMatchObject({ ...header, flags: flag.key, count: 1 });
    files.write(path());
    const wal = await openLog();
    const { created } = identityOf(segment);
    expect(wal.get(42)).toEqual({
      sequence: 42,
      timestamp: (created + 123_456) / 1000,
      kind: 1,
      key: Buffer.from('k'),
      data: Buffer.from('hello'),
    });
    expect(
      LogFiles.read(path())
        .segment(2)
        .subarray(offset, offset + bytes.length),
    ).toEqual(bytes);
  });
});
