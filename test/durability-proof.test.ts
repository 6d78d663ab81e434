// The loss of a durable record is never silent: every way of damaging one is refused, and nothing is changed by refusing.
// Case D of the table in docs/FORMAT.md, and what stands around it.
import { readdirSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';

import { WalManager } from '../lib';
import type { WalError, WalErrorCode } from '../lib';
import { expectWalError } from './helpers/errors';
import {
  encodeMeta,
  endOf,
  eraseSeal,
  headerSize,
  identityOf,
  readMark,
  readOrderlyEnd,
  readSeal,
  decodeMeta,
  writeMark,
  writeOrderlyEnd,
  writeSeal,
} from './helpers/format';
import type { Frame } from './helpers/format';
import { handmade, pieceThatKnows, plainPiece, untouchedHole } from './helpers/handmade';
import type { Piece } from './helpers/handmade';
import { LogFiles, makeFastDirectory, metaName, segmentName } from './helpers/log-files';
import { smallSegment } from './helpers/logs';
import { plain } from './helpers/records';
import type { PlainRecord } from './helpers/records';

let directory = '';
const open = new Set<WalManager>();
const path = (): string => join(directory, 'log');

beforeAll(() => {
  directory = makeFastDirectory();
});

afterEach(async () => {
  await Promise.allSettled(Array.from(open, (wal) => wal.close()));
  open.clear();
});

afterAll(() => {
  rmSync(directory, { recursive: true, force: true });
});

async function openLog(files?: LogFiles): Promise<WalManager> {
  files?.write(path());
  const wal = await WalManager.open(path(), {
    segmentSize: smallSegment,
    sync: { policy: 'async', maxDelay: 3_600_000 },
  });
  open.add(wal);
  return wal;
}

interface Scene {
  files: LogFiles;
  records: PlainRecord[];
}

/** Three segments: 60 records of 1,000 bytes fill one, so that the last has 40. All of them are durable. */
async function makeScene(
  end: 'synced' | 'closed',
  appendMore: (wal: WalManager) => void = () => undefined,
): Promise<Scene> {
  rmSync(path(), { recursive: true, force: true });
  const wal = await openLog();
  for (let i = 1; i <= 160; i++) wal.append(`record ${i} `.padEnd(1000, '.'), { key: `key ${i % 3}` });
  await wal.sync();
  appendMore(wal);
  const records = Array.from(wal.read(), plain);
  // Of a log that is open: what the death of its process would leave.
  let files = LogFiles.read(path());
  open.delete(wal);
  await wal.close();
  if (end === 'closed') files = LogFiles.read(path());
  expect(files.segments).toEqual([1, 2, 3]);
  return { files, records };
}

/** Opening it is refused, and leaves everything as it was. */
async function expectRefusal(files: LogFiles, code: WalErrorCode = 'WAL_CORRUPT'): Promise<WalError> {
  files.write(path());
  const error = await expectWalError(code, () => openLog());
  const after = LogFiles.read(path());
  expect(after.differences(files)).toEqual([]);
  return error;
}

async function expectContents(files: LogFiles, records: PlainRecord[]): Promise<WalManager> {
  const wal = await openLog(files);
  expect(Array.from(wal.read(), plain)).toEqual(records);
  return wal;
}

const damages: [string, (segment: Buffer, frame: Frame) => void][] = [
  ['is garbled in its length', (segment, { offset }) => segment.writeUInt8(0x7f, offset + 1)],
  ['is garbled in its checksum', (segment, { offset }) => segment.fill('oops', offset + 4, offset + 8)],
  ['is garbled in its index', (segment, { offset }) => segment.writeUInt32LE(9, offset + 8)],
  ['is garbled in its last byte', (segment, { offset, length }) => segment.writeUInt8(1, offset + length - 1)],
  ['has lost its length', (segment, { offset }) => segment.writeUInt32LE(0, offset)],
  ['is only claimed', (segment, { offset, length }) => segment.writeUInt32LE((length | 0x8000_0000) >>> 0, offset)],
  ['is zero', (segment, { offset, length }) => segment.fill(0, offset, offset + length)],
  ['is zero, and so is everything behind it', (segment, { offset }) => segment.fill(0, offset)],
];

describe.each(['synced', 'closed'] as const)('a log that was %s', (end) => {
  let scene: Scene;
  beforeAll(async () => {
    scene = await makeScene(end);
    const { files } = scene;
    expect(readMark(files.segment(3))).toBe(160);
    expect(readOrderlyEnd(files.segment(3))).toBe(end === 'closed' ? endOf(files.frames(3)) : 0);
  });

  describe.each([
    ['in the same boot', (files: LogFiles) => files],
    ['after a power cut', (files: LogFiles) => files.powerCut()],
  ])('%s', (_, start) => {
    const places: [string, (frames: Frame[]) => number][] = [
      ['first', () => 0],
      ['middle', (frames) => Math.floor(frames.length / 2)],
      ['last', (frames) => frames.length - 1],
    ];
    const cases = places.flatMap(([place, choose]) =>
      damages.map(([damage, inflict]): [string, string, typeof choose, typeof inflict] => [
        place,
        damage,
        choose,
        inflict,
      ]),
    );
    test.each(cases)(
      'is refused when the %s frame of its last segment %s',
      async (_place, _damage, choose, inflict) => {
        const files = start(scene.files.copy());
        const frames = files.frames(3);
        const frame = frames[choose(frames)] as Frame;
        inflict(files.segment(3), frame);
        const error = await expectRefusal(files);
        const sequence = identityOf(files.segment(3)).base + frame.index;
        expect(error).toMatchObject({ segment: 3, offset: frame.offset, firstSequence: sequence });
        expect(error.lastSequence).toBeGreaterThanOrEqual(sequence);
        expect(error.message).toMatch(new RegExp(`segment 3 .*offset ${frame.offset}: .*\\brecords? ${sequence}\\b`));
      },
    );

    test.each([
      ['at a page', () => 2 * headerSize],
      ['within a frame', (frames: Frame[]) => (frames[5]?.offset ?? 0) + 30],
      ['before its first frame', () => headerSize],
    ])('is refused when its last segment is cut off %s', async (_where, at) => {
      const files = start(scene.files.copy());
      const cut = at(files.frames(3));
      const intact = files.frames(3);
      files.set(segmentName(3), files.segment(3).subarray(0, cut));
      const error = await expectRefusal(files);
      const lost = intact.find(({ offset, length }) => offset + length > cut) as Frame;
      expect(error).toMatchObject({
        segment: 3,
        offset: lost.offset,
        firstSequence: identityOf(intact.length > 0 ? files.segment(3) : files.segment(2)).base + lost.index,
      });
    });

    test.each([1, 2])('is refused when its full segment %i is cut short', async (id) => {
      const files = start(scene.files.copy());
      files.set(segmentName(id), files.segment(id).subarray(0, 3 * headerSize));
      expect(await expectRefusal(files)).toMatchObject({ segment: id });
    });

    test.each([1, 2])('is refused when segment %i is missing', async (id) => {
      const files = start(scene.files.copy());
      files.remove(segmentName(id));
      const error = await expectRefusal(files);
      expect(error).toMatchObject({ segment: id });
      expect(error.message).toContain(`segment ${id} is missing`);
    });

    test('is refused when all segments are missing', async () => {
      const files = start(scene.files.copy());
      for (const name of files.names.filter((each) => each.startsWith('segments/'))) files.remove(name);
      expect((await expectRefusal(files)).message).toContain('no segment');
    });
  });

  test.each([1, 2, 3])('is refused when any byte of the identity of segment %i is garbled', async (id) => {
    for (let at = 0; at < 512; at += at < 72 || at > 506 ? 1 : 29) {
      const files = scene.files.copy();
      const segment = files.segment(id);
      segment.writeUInt8(segment.readUInt8(at) ^ 0x10, at);
      // The version comes before the checksum: a newer log is not a corrupt log.
      const code = at >= 8 && at < 12 ? 'WAL_UNSUPPORTED_VERSION' : 'WAL_CORRUPT';
      const error = await expectRefusal(files, code);
      expect(error.message).toContain(`wal-00000${id}.log`);
      if (code === 'WAL_CORRUPT') expect(error).toMatchObject({ segment: id });
    }
  });

  test.each([1, 2, 3])('is refused when the identity of segment %i was erased', async (id) => {
    const files = scene.files.copy();
    files.segment(id).fill(0, 0, 512);
    expect(await expectRefusal(files)).toMatchObject({ segment: id });
  });

  test.each([
    [1, 2],
    [2, 1],
    [3, 2],
    [2, 3],
  ])('is refused when a copy of segment %i stands in the place of segment %i', async (from, to) => {
    const files = scene.files.copy();
    files.set(segmentName(to), Buffer.from(files.segment(from)));
    const error = await expectRefusal(files);
    expect(error).toMatchObject({ segment: to });
    expect(error.message).toContain(`holds segment ${from}`);
  });

  test('is refused when a segment is that of another log', async () => {
    const files = scene.files.copy();
    const other = await makeScene(end);
    files.set(segmentName(2), other.files.segment(2));
    expect((await expectRefusal(files)).message).toContain('another log');
  });

  test('is refused when wal.meta is that of another log', async () => {
    const files = scene.files.copy();
    const other = await makeScene(end);
    files.set(metaName, other.files.file(metaName));
    expect((await expectRefusal(files)).message).toContain('another log');
  });

  test.each([
    ['missing', (files: LogFiles) => files.remove(metaName)],
    ['empty', (files: LogFiles) => files.set(metaName, Buffer.alloc(0))],
    ['cut short', (files: LogFiles) => files.set(metaName, files.file(metaName).subarray(0, 300))],
    ['zero', (files: LogFiles) => files.set(metaName, Buffer.alloc(512))],
    ['garbled', (files: LogFiles) => files.file(metaName).fill('?', 40, 44)],
  ])('gets its wal.meta back from the segments when that is %s', async (_, damage) => {
    const files = scene.files.copy();
    damage(files);
    const wal = await expectContents(files, scene.records);
    expect(wal.recovery.findings).toMatchObject([{ case: 'meta' }]);
    const { logId, segmentSize, firstSegment, firstSequence } = decodeMeta(scene.files.file(metaName)) ?? {};
    const rebuilt = decodeMeta(LogFiles.read(path()).file(metaName));
    expect(rebuilt).toMatchObject({ logId, segmentSize, firstSegment, firstSequence });
  });

  test('is refused when wal.meta is of a newer version, whatever else is in it', async () => {
    const files = scene.files.copy();
    files.file(metaName).writeUInt32LE(2, 8);
    expect((await expectRefusal(files, 'WAL_UNSUPPORTED_VERSION')).message).toContain('version 2');
  });

  test('is refused when wal.meta says that it begins earlier', async () => {
    const files = scene.files.copy();
    const meta = decodeMeta(files.file(metaName));
    files.remove(segmentName(1));
    files.set(metaName, encodeMeta({ ...(meta as NonNullable<typeof meta>), firstSegment: 1, firstSequence: 1 }));
    expect(await expectRefusal(files)).toMatchObject({ segment: 1 });
  });

  test('does without a seal: the frames say the same, and it is sealed again', async () => {
    for (let at = 0; at < 512; at += at < 48 || at > 506 ? 1 : 37) {
      const files = scene.files.copy();
      const segment = files.segment(2);
      segment.writeUInt8(segment.readUInt8(512 + at) ^ 0x04, 512 + at);
      expect(readSeal(segment)).toBeUndefined();
      const wal = await expectContents(files, scene.records);
      expect(wal.recovery.findings).toEqual([]);
      expect(readSeal(LogFiles.read(path()).segment(2))).toEqual(readSeal(scene.files.segment(2)));
      await wal.close();
    }
  });

  test('does without a mark: the frames are there all the same', async () => {
    const files = scene.files.copy().eraseMarks().powerCut();
    const wal = await expectContents(files, scene.records);
    expect(wal.recovery.findings).toEqual([]);
  });
});

describe('a log that was closed, and has lost its last segment since', () => {
  const losses: [string, (files: LogFiles) => void][] = [
    ['is deleted', (files) => files.remove(segmentName(3))],
    ['is empty', (files) => files.set(segmentName(3), Buffer.alloc(0))],
    ['is cut after its first sector', (files) => files.set(segmentName(3), files.segment(3).subarray(0, 512))],
    ['has a header of zeros', (files) => files.segment(3).fill(0, 0, headerSize)],
    ['is all zero', (files) => files.segment(3).fill(0)],
  ];

  test.each(losses)('is refused when the file %s', async (_, lose) => {
    const { files, records } = await makeScene('closed');
    const { base } = identityOf(files.segment(3));
    lose(files);
    const error = await expectRefusal(files);
    expect(error).toMatchObject({ firstSequence: base, lastSequence: records.length });
  });

  test.each(losses)('is refused for reading too, and by verify with it, when the file %s', async (_, lose) => {
    const { files, records } = await makeScene('closed');
    const { base } = identityOf(files.segment(3));
    lose(files);
    files.write(path());
    const error = await expectWalError('WAL_CORRUPT', () => WalManager.open(path(), { readOnly: true }));
    expect(error).toMatchObject({ firstSequence: base });
    if (error.segment === 2) expect(error.lastSequence).toBe(records.length);
    expect(LogFiles.read(path()).differences(files)).toEqual([]);
  });

  test('is found out by who has it open for reading', async () => {
    const { files } = await makeScene('closed');
    files.write(path());
    const reader = await WalManager.open(path(), { readOnly: true });
    open.add(reader);
    const wal = await openLog();
    wal.append('the last');
    await wal.close();
    expect(Array.from(reader.read({ from: 161 }), ({ sequence }) => sequence)).toEqual([161]);
    const meta = decodeMeta(LogFiles.read(path()).file(metaName));
    files.set(metaName, encodeMeta({ ...(meta as NonNullable<typeof meta>), durableSequence: 170 }));
    writeFileSync(join(path(), metaName), files.file(metaName));
    await expectWalError('WAL_CORRUPT', () => Array.from(reader.read()));
    await expectWalError('WAL_CORRUPT', () => reader.verify());
  });

  test('and was never closed keeps the bytes without a header in quarantine', async () => {
    const { files, records } = await makeScene('synced');
    const { base } = identityOf(files.segment(3));
    files.segment(3).fill(0, 0, headerSize);
    // No crash without a restart of the machine takes a header from under its frames.
    expect(await expectRefusal(files)).toMatchObject({ segment: 3, firstSequence: base });
    const wal = await expectContents(files.powerCut(), records.slice(0, base - 1));
    expect(wal.recovery.findings).toMatchObject([{ case: 'C', segment: 3 }]);
    expect(readdirSync(join(path(), 'quarantine'))).toHaveLength(2);
  });
});

describe('a gap with valid frames behind it, after a power cut', () => {
  type Make = () => LogFiles;
  const gap = (): Piece => untouchedHole(40);
  const change = (files: LogFiles, ...actions: ((files: LogFiles) => void)[]): LogFiles => {
    for (const action of actions) action(files);
    return files;
  };

  const proofs: [string, Make][] = [
    ['a later frame', () => handmade([[plainPiece('a'), gap(), pieceThatKnows(2, 'c')]]).files],
    [
      'a much later frame',
      () => handmade([[plainPiece('a'), gap(), plainPiece('c'), gap(), pieceThatKnows(3, 'e')]]).files,
    ],
    ['a frame of the next segment', () => handmade([[plainPiece('a'), gap()], [pieceThatKnows(2, 'c')]]).files],
    [
      'the seal of the next segment',
      () => handmade([[plainPiece('a'), gap()], [plainPiece('c')]], { sealed: [2] }).files,
    ],
    [
      'the mark',
      () =>
        change(handmade([[plainPiece('a'), gap(), plainPiece('c')]]).files, (files) => writeMark(files.segment(1), 2)),
    ],
    [
      'the mark of the next segment',
      () =>
        change(handmade([[plainPiece('a'), gap()], [plainPiece('c')]]).files, (files) =>
          writeMark(files.segment(2), 2),
        ),
    ],
    [
      'the mark, when nothing is behind the gap',
      () => change(handmade([[plainPiece('a'), gap()]]).files, (files) => writeMark(files.segment(1), 2)),
    ],
  ];

  test.each(proofs)('is refused when what was in it is known to have been durable by %s', async (_, make) => {
    expect(await expectRefusal(make())).toMatchObject({ segment: 1, offset: headerSize + 32, firstSequence: 2 });
  });

  const noProofs: [string, Make][] = [
    [
      'a later frame knows only of what stands before it',
      () => handmade([[plainPiece('a'), gap(), pieceThatKnows(1, 'c')]]).files,
    ],
    ['a later segment has begun', () => handmade([[plainPiece('a'), gap()], [plainPiece('c')]]).files],
    [
      'a frame of the next segment knows no more',
      () => handmade([[plainPiece('a'), gap()], [pieceThatKnows(1, 'c')]]).files,
    ],
    [
      'the mark is older',
      () =>
        change(handmade([[plainPiece('a'), gap(), plainPiece('c')]]).files, (files) => writeMark(files.segment(1), 1)),
    ],
    [
      'the mark is damaged',
      () =>
        change(
          handmade([[plainPiece('a'), gap(), plainPiece('c')]]).files,
          (files) => writeMark(files.segment(1), 2),
          (files) => files.segment(1).writeUInt8(4, 1536),
        ),
    ],
    [
      'the mark is that of an older life of the segment',
      () =>
        change(handmade([[plainPiece('a'), gap(), plainPiece('c')]]).files, (files) =>
          writeMark(files.segment(1), 2, { ...identityOf(files.segment(1)), salt: 1n }),
        ),
    ],
    [
      'the seal is that of an older life of the segment',
      () =>
        change(handmade([[plainPiece('a'), gap(), plainPiece('c')]]).files, (files) =>
          writeSeal(files.segment(1), 1n, { end: headerSize + 104, records: 3, last: 3, earliest: 1, latest: 1 }),
        ),
    ],
  ];

  test.each(noProofs)('is the end of the log when %s', async (_, make) => {
    const wal = await openLog(make());
    expect(wal.recovery.findings).toMatchObject([{ case: 'C', segment: 1, offset: headerSize + 32, firstSequence: 2 }]);
    expect(Array.from(wal.read(), ({ data }) => data.toString())).toEqual(['a']);
  });

  test('is found behind an orderly end that speaks of another one', async () => {
    const files = handmade([[plainPiece('a'), gap(), pieceThatKnows(2, 'c')]]).files;
    writeMark(files.segment(1), 0);
    writeOrderlyEnd(files.segment(1), headerSize + 104);
    await expectRefusal(files);
  });
});

describe('a full segment with a damaged frame', () => {
  let scene: Scene;
  beforeAll(async () => {
    scene = await makeScene('closed', (wal) => wal.append('knows that all before it is durable'));
  });

  /** Damages the tenth frame of segment `id`; returns it with its sequence number. */
  function damage(files: LogFiles, id: number): Frame & { sequence: number } {
    const frame = files.frames(id)[9] as Frame;
    files.segment(id).writeUInt8(0xff, frame.offset + 40);
    return { ...frame, sequence: identityOf(files.segment(id)).base + frame.index };
  }

  test.each([1, 2])('is trusted by its seal, and found out by reading and by verify: segment %i', async (id) => {
    const files = scene.files.copy();
    const { offset, sequence } = damage(files, id);
    const wal = await openLog(files);
    const place = { segment: id, offset, firstSequence: sequence };
    const read: PlainRecord[] = [];
    const error = await expectWalError('WAL_CORRUPT', () => {
      for (const record of wal.read()) read.push(plain(record));
    });
    expect(error).toMatchObject(place);
    expect(read).toEqual(scene.records.slice(0, sequence - 1));
    expect(await expectWalError('WAL_CORRUPT', () => wal.get(sequence))).toMatchObject(place);
    expect(wal.get(sequence - 1)).toBeDefined();
    const report = await wal.verify();
    expect(report).toMatchObject({ ok: false, findings: [{ case: 'D', ...place }] });
  });

  test.each([1, 2])('or with the bytes of another one in its place never reads as that one: segment %i', async (id) => {
    const files = scene.files.copy();
    const [one, two] = [files.frames(id)[3] as Frame, files.frames(id)[20] as Frame];
    expect(one.length).toBe(two.length);
    const segment = files.segment(id);
    segment.copy(segment, two.offset, one.offset, one.offset + one.length);
    const wal = await openLog(files);
    const sequence = identityOf(segment).base + two.index;
    const place = { segment: id, offset: two.offset, firstSequence: sequence };
    expect(await expectWalError('WAL_CORRUPT', () => wal.get(sequence))).toMatchObject(place);
    expect(await expectWalError('WAL_CORRUPT', () => Array.from(wal.read()))).toMatchObject(place);
    expect((await wal.verify()).findings).toMatchObject([place]);
  });

  test.each([1, 2])('and a damaged seal is refused: segment %i', async (id) => {
    const files = scene.files.copy();
    const { offset, sequence } = damage(files, id);
    eraseSeal(files.segment(id));
    expect(await expectRefusal(files)).toMatchObject({ segment: id, offset, firstSequence: sequence });
  });

  test.each([1, 2])('and neither seal nor marks is refused, for later frames know of it: segment %i', async (id) => {
    const files = scene.files.copy().eraseMarks().powerCut();
    for (const each of [1, 2]) eraseSeal(files.segment(each));
    const { offset, sequence } = damage(files, id);
    expect(await expectRefusal(files)).toMatchObject({ segment: id, offset, firstSequence: sequence });
  });
});
