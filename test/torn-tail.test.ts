// What a power cut or the death of a writer leaves at the end of a log, at every byte. The cases are those of the table
// in docs/FORMAT.md.
import { rmSync } from 'node:fs';
import { join } from 'node:path';

import { WalManager } from '../lib';
import type { WalOptions } from '../lib';
import { expectWalError } from './helpers/errors';
import {
  claimed,
  encodeBatch,
  encodePlain,
  endOf,
  flag,
  headerSize,
  identityOf,
  padded,
  readFrames,
  readLive,
  readMark,
} from './helpers/format';
import type { Frame, FrameHeader } from './helpers/format';
import { batchPiece, claimedHole, handmade, plainPiece, text, untouchedHole } from './helpers/handmade';
import type { Handmade, Piece } from './helpers/handmade';
import { LogFiles, makeFastDirectory, otherBoot, segmentName } from './helpers/log-files';
import { smallSegment } from './helpers/logs';
import { plain } from './helpers/records';
import type { PlainRecord } from './helpers/records';

/** Nothing becomes durable unless somebody asks. */
const undurable: WalOptions = { segmentSize: smallSegment, sync: { policy: 'async', maxDelay: 3_600_000 } };

let directory = '';
const open = new Set<WalManager>();

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

const path = (): string => join(directory, 'log');

async function openLog(files?: LogFiles): Promise<WalManager> {
  files?.write(path());
  const wal = await WalManager.open(path(), undurable);
  open.add(wal);
  return wal;
}

async function close(wal: WalManager): Promise<void> {
  open.delete(wal);
  await wal.close();
}

function contents(wal: WalManager): PlainRecord[] {
  return Array.from(wal.read(), plain);
}

/** The log as it lies in its files while it is open: what the death of its process would leave. */
function picture(): LogFiles {
  return LogFiles.read(path());
}

/** Where the last byte that is not zero ends. */
function usedEnd(bytes: Buffer): number {
  let end = bytes.length;
  while (end > 0 && bytes[end - 1] === 0) end--;
  return end;
}

/** Appends records of several lengths to `wal`, whose records are `before`; what a power cut makes of it is all of them. */
async function expectThatItGoesOn(wal: WalManager, before: PlainRecord[], lengths = [1, 30, 0, 70]): Promise<void> {
  const last = wal.lastSequence;
  const appended = lengths.map((length, i) => ({
    sequence: last + 1 + i,
    kind: 7,
    key: null,
    data: 'new'.repeat(length).slice(0, length),
  }));
  for (const { data, kind, sequence } of appended) expect(wal.append(data, { kind })).toBe(sequence);
  expect(contents(wal)).toEqual([...before, ...appended]);
  const afterPowerCut = picture().powerCut();
  await close(wal);

  const reopened = await openLog();
  expect(reopened.recovery).toMatchObject({ clean: true, findings: [] });
  expect(contents(reopened)).toEqual([...before, ...appended]);
  await close(reopened);

  const recovered = await openLog(afterPowerCut);
  expect(recovered.recovery.findings).toEqual([]);
  expect(contents(recovered)).toEqual([...before, ...appended]);
  const verified = await recovered.verify();
  expect(verified.ok).toBe(true);
  expect(verified.findings.filter((finding) => finding.case !== 'filler')).toEqual([]);
  await close(recovered);
}

// Where an open takes a second (an emulator), every n-th byte has to do.
const stride = Number(process.env['SEGWAL_STRIDE'] ?? '1');
const firstByte = process.env['SEGWAL_SEED'] === undefined ? Date.now() % stride : Number(process.env['SEGWAL_SEED']);
if (stride > 1) console.log(`only one byte in ${stride}; to begin with the same one: SEGWAL_SEED=${firstByte}`);

/** Runs `check` for the offset of each of the first `length` bytes of `frame`, and tells at which one it failed. */
async function atEveryByte(frame: Frame, length: number, check: (at: number) => Promise<void>): Promise<void> {
  for (let i = firstByte % stride; i < length; i += stride) {
    try {
      await check(frame.offset + i);
    } catch (error) {
      (error as Error).message = `at byte ${i} of ${frame.length}: ${(error as Error).message}`;
      throw error;
    }
  }
}

/** The boot in which the test runs, as a segment that it writes says. */
async function thisBoot(): Promise<Buffer> {
  rmSync(path(), { recursive: true, force: true });
  const wal = await openLog();
  const { boot } = readLive(picture().segment(1));
  await close(wal);
  return boot;
}

interface Scene {
  files: LogFiles;
  records: PlainRecord[];
  /** The frame that is going to be damaged. */
  last: Frame;
}

/** Three durable records, two that are not, and what `appendLast` appends, which is not durable either. */
async function makeScene(appendLast: (wal: WalManager) => void): Promise<Scene> {
  rmSync(path(), { recursive: true, force: true });
  const wal = await openLog();
  for (const data of ['one', 'two', 'three']) wal.append(data, { key: 'k' });
  await wal.sync();
  wal.append('four');
  wal.append('');
  appendLast(wal);
  const scene = { files: picture(), records: contents(wal), last: picture().frames(1).at(-1) as Frame };
  await close(wal);
  return scene;
}

const scenes: [string, (wal: WalManager) => void][] = [
  ['a plain frame with a key', (wal) => wal.append('the last record', { kind: 3, key: 'tenant' })],
  [
    'a batch',
    (wal) =>
      wal.appendBatch([
        { data: 'first of three', key: 'a' },
        { data: '', kind: 9 },
        { data: 'third of three', key: '' },
      ]),
  ],
];

describe.each(scenes)('%s at the end of a log, after a power cut', (_, appendLast) => {
  let scene: Scene;
  beforeEach(async () => {
    scene = await makeScene(appendLast);
    scene.files.powerCut();
  });

  /** Bytes of an older life of the segment: frames with the content of the last one, then one more. */
  function olderLife({ salt, index }: { salt?: bigint; index: number }): Buffer {
    const segment = Buffer.from(scene.files.segment(1));
    const own = identityOf(segment).salt;
    const { records, synced, time, flags, offset } = scene.last;
    const again = (header: FrameHeader): Buffer => {
      if ((flags & flag.batch) !== 0) return encodeBatch(salt ?? own, header, records);
      return encodePlain(salt ?? own, header, records[0] ?? text(''));
    };
    const stale = again({ index, synced, time });
    stale.copy(segment, offset);
    encodePlain(salt ?? own, { index: index + 1, synced, time }, text('stale'.repeat(20))).copy(
      segment,
      offset + padded(stale.length),
    );
    return segment;
  }

  const damages: [string, () => (segment: Buffer, at: number) => Buffer][] = [
    ['cut off', () => (segment, at) => segment.subarray(0, at)],
    ['zero', () => (segment, at) => Buffer.concat([segment.subarray(0, at), Buffer.alloc(segment.length - at)])],
    ['garbled in one byte', () => (segment, at) => withByte(segment, at, (byte) => byte ^ 0xff)],
    ['garbled in one bit', () => (segment, at) => withByte(segment, at, (byte) => byte ^ (1 << (at % 8)))],
    [
      'that of an older life of the segment',
      () => {
        const stale = olderLife({ salt: 0x1234_5678_9abc_def0n, index: scene.last.index });
        return (segment, at) => Buffer.concat([segment.subarray(0, at), stale.subarray(at)]);
      },
    ],
    [
      'that of an earlier place under the same salt',
      () => {
        const stale = olderLife({ index: scene.last.index - 3 });
        return (segment, at) => Buffer.concat([segment.subarray(0, at), stale.subarray(at)]);
      },
    ],
  ];

  test.each(damages)('is there whole or not at all when what follows a byte is %s', async (_name, prepare) => {
    const { files, records, last } = scene;
    const intact = files.segment(1);
    const damage = prepare();
    let hurtful = 0;
    await atEveryByte(last, padded(last.length), async (at) => {
      const damaged = damage(intact, at);
      const bytes = (segment: Buffer): Buffer => segment.subarray(last.offset, last.offset + last.length);
      const hurt = !bytes(damaged).equals(bytes(intact));
      if (hurt) hurtful++;
      const kept = hurt ? records.filter(({ sequence }) => sequence <= last.index) : records;
      const end = hurt ? last.offset : last.offset + padded(last.length);
      expect(endOf(readFrames(damaged))).toBe(end);
      const dropped = usedEnd(damaged) - end;

      const broken = files.copy();
      broken.set(segmentName(1), damaged);
      const wal = await openLog(broken);
      expect(contents(wal)).toEqual(kept);
      expect(wal.recovery).toMatchObject({ clean: false, records: kept.length, bytes: end - headerSize });
      const torn = { case: 'A', segment: 1, offset: end, bytes: dropped };
      expect(wal.recovery.findings).toEqual(dropped > 0 ? [expect.objectContaining(torn)] : []);
      const recovered = picture().segment(1);
      expect(recovered).toHaveLength(smallSegment);
      expect(usedEnd(recovered)).toBeLessThanOrEqual(end);
      await expectThatItGoesOn(wal, kept);
    });
    expect(hurtful).toBeGreaterThan(4 / stride);
  });
});

function withByte(segment: Buffer, at: number, change: (byte: number) => number): Buffer {
  const changed = Buffer.from(segment);
  changed.writeUInt8(change(changed.readUInt8(at)) & 0xff, at);
  return changed;
}

describe.each(scenes)('%s at the end of a log, in the same boot', (_, appendLast) => {
  let scene: Scene;
  beforeEach(async () => {
    scene = await makeScene(appendLast);
  });

  test('is as good as durable once it is committed: a garbled byte is refused, and named', async () => {
    const { files, last } = scene;
    await atEveryByte(last, last.length, async (at) => {
      const broken = files.copy();
      const damaged = withByte(files.segment(1), at, (byte) => byte ^ 0x55);
      broken.set(segmentName(1), damaged);
      broken.write(path());
      const error = await expectWalError('WAL_CORRUPT', () => openLog());
      expect(error).toMatchObject({ segment: 1, offset: last.offset, firstSequence: last.index + 1 });
      expect(error.message).toContain(`offset ${last.offset}`);
      expect(picture().differences(broken)).toEqual([]);
    });
  });

  test('is dropped while it is only claimed', async () => {
    const { files, records, last } = scene;
    const kept = records.filter(({ sequence }) => sequence <= last.index);
    for (let written = 4; written < last.length; written += 5) {
      const broken = files.copy();
      const segment = broken.segment(1);
      segment.writeUInt32LE((last.length | claimed) >>> 0, last.offset);
      segment.fill(0, last.offset + written);
      const wal = await openLog(broken);
      expect(contents(wal)).toEqual(kept);
      expect(wal.recovery.findings).toMatchObject([{ case: 'A', segment: 1, offset: last.offset }]);
      await expectThatItGoesOn(wal, kept);
    }
  });
});

describe('a writer that died between claim and commit, while others went on', () => {
  let boot: Buffer;
  beforeAll(async () => {
    boot = await thisBoot();
  });

  const holes: [string, Piece[][], { segment: number; piece: number; pieces?: number; first: number; last: number }][] =
    [
      [
        'leaves a claim',
        [[plainPiece('a'), claimedHole(61), plainPiece('c'), plainPiece('d', 'k')]],
        { segment: 1, piece: 1, first: 2, last: 2 },
      ],
      [
        'leaves nothing but zeros',
        [[plainPiece('a'), untouchedHole(24), plainPiece('c')]],
        { segment: 1, piece: 1, first: 2, last: 2 },
      ],
      [
        'leaves a claim in front of everything',
        [[claimedHole(100), plainPiece('b'), batchPiece('c', 'd')]],
        { segment: 1, piece: 0, first: 1, last: 1 },
      ],
      [
        'leaves the claim of a batch',
        [[plainPiece('a'), claimedHole(200, 5), batchPiece('g', 'h')]],
        { segment: 1, piece: 1, first: 2, last: 6 },
      ],
      [
        'was not alone: claims side by side',
        [[plainPiece('a'), claimedHole(33), untouchedHole(40, 2), claimedHole(24), plainPiece('f')]],
        { segment: 1, piece: 1, pieces: 3, first: 2, last: 5 },
      ],
      [
        'leaves a claim at the end of a full segment',
        [[plainPiece('a'), plainPiece('b'), claimedHole(48)], [plainPiece('d')]],
        { segment: 1, piece: 2, first: 3, last: 3 },
      ],
    ];

  test.each(holes)(
    '%s: it is filled, and the rest is kept',
    async (_, pieces, { segment, piece, pieces: n = 1, first, last }) => {
      const { files, records, offsets } = handmade(pieces, { boot });
      const offset = offsets[segment - 1]?.[piece] as number;
      const end = offsets[segment - 1]?.[piece + n] ?? readLive(files.segment(segment)).end;
      const wal = await openLog(files);
      expect(wal.recovery.findings).toEqual([
        expect.objectContaining({
          case: 'B',
          segment,
          offset,
          bytes: end - offset,
          firstSequence: first,
          lastSequence: last,
        }),
      ]);
      expect(contents(wal)).toEqual(records);
      for (let sequence = first; sequence <= last; sequence++) expect(wal.get(sequence)).toBeUndefined();
      expect(wal.get(last + 1)).toMatchObject({ sequence: last + 1 });
      expect(Array.from(wal.read({ reverse: true }), plain)).toEqual([...records].reverse());
      expect(Array.from(wal.read({ from: first }), plain)).toEqual(records.filter(({ sequence }) => sequence >= first));

      const frame = picture()
        .frames(segment)
        .find((each) => each.offset === offset);
      expect(frame).toMatchObject({ flags: flag.filler, length: end - offset, count: last - first + 1, records: [] });
      await expectThatItGoesOn(wal, records);
    },
  );

  test('can have left several: each gets a filler', async () => {
    const { files, records } = handmade(
      [[plainPiece('a'), claimedHole(40), plainPiece('c'), claimedHole(50, 3), plainPiece('g')]],
      {
        boot,
      },
    );
    const wal = await openLog(files);
    expect(wal.recovery.findings).toMatchObject([
      { case: 'B', firstSequence: 2, lastSequence: 2 },
      { case: 'B', firstSequence: 4, lastSequence: 6 },
    ]);
    await expectThatItGoesOn(wal, records);
  });

  test('a committed frame with a damaged byte is no such hole, though valid frames follow', async () => {
    const { files, offsets } = handmade([[plainPiece('a'), plainPiece('b'), plainPiece('c')]], { boot });
    const offset = offsets[0]?.[1] as number;
    files.segment(1).writeUInt8(1, offset + 23);
    files.write(path());
    const error = await expectWalError('WAL_CORRUPT', () => openLog());
    expect(error).toMatchObject({ segment: 1, offset, firstSequence: 2, lastSequence: 2 });
    expect(picture().differences(files)).toEqual([]);
  });
});

describe('a power cut that wrote pages out of order', () => {
  const gaps: [string, () => Handmade, number, number][] = [
    ['a claim', () => handmade([[plainPiece('a'), claimedHole(40), plainPiece('c'), plainPiece('d')]]), 1, 1],
    ['zeros', () => handmade([[plainPiece('a'), plainPiece('b'), untouchedHole(4096), batchPiece('d', 'e')]]), 1, 2],
    [
      'zeros with segments behind it',
      () => handmade([[plainPiece('a'), untouchedHole(40), plainPiece('c')], [plainPiece('d')], [plainPiece('e')]]),
      1,
      1,
    ],
    [
      'a missing end of a segment with segments behind it',
      () => handmade([[plainPiece('a'), plainPiece('b')], [plainPiece('c'), untouchedHole(64)], [plainPiece('e')]]),
      2,
      1,
    ],
  ];

  test.each(gaps)('leaves %s: the prefix is kept, the rest goes to quarantine', async (_, make, segment, piece) => {
    const { files, records, offsets } = make();
    const offset = offsets[segment - 1]?.[piece] as number;
    const missing = identityOf(files.segment(segment)).base + piece;
    const kept = records.filter(({ sequence }) => sequence < missing);
    const wal = await openLog(files);
    expect(wal.recovery.findings).toMatchObject([{ case: 'C', segment, offset, firstSequence: missing }]);
    expect(contents(wal)).toEqual(kept);
    expect(wal.lastSequence).toBe(missing - 1);

    const now = picture();
    expect(usedEnd(now.segment(segment))).toBeLessThanOrEqual(offset);
    const quarantine = now.names.filter((name) => name.startsWith('quarantine/')).sort();
    const bytes = files.segment(segment).subarray(offset, usedEnd(files.segment(segment)));
    const whole = files.segments.filter((id) => id > segment);
    expect(quarantine).toHaveLength(2 * (whole.length + (bytes.length > 0 ? 1 : 0)));
    if (bytes.length > 0) {
      const name = quarantine.find((each) => each.endsWith(`-wal-00000${segment}-at-${offset}.bytes`)) as string;
      expect(now.file(name)).toEqual(bytes);
      expect(now.file(`${name}.txt`).toString()).toMatch(
        new RegExp(`segment ${segment}, offset ${offset}, record ${missing}`),
      );
    }
    for (const id of whole) {
      const name = quarantine.find((each) => each.endsWith(`-wal-00000${id}.log`)) as string;
      expect(now.file(name)).toEqual(files.segment(id));
      expect(now.file(`${name}.txt`).toString()).toMatch(/never durable/);
    }
    await expectThatItGoesOn(wal, kept);
  });

  test('brings no dropped frame back when a new one takes the place before it', async () => {
    const { files, records, offsets } = handmade([
      [plainPiece('a'), untouchedHole(32), plainPiece('zombie'), plainPiece('zombie')],
    ]);
    const wal = await openLog(files);
    // As long as the hole: what stood behind it would follow, with just the index that is due.
    expect(wal.append('12345678')).toBe(2);
    const [frame] = picture().frames(1).slice(-1);
    expect(padded(frame?.length ?? 0)).toBe((offsets[0]?.[2] as number) - (offsets[0]?.[1] as number));
    const expected = [...records.slice(0, 1), { sequence: 2, kind: 0, key: null, data: '12345678' }];
    const afterPowerCut = picture().powerCut();
    await close(wal);
    expect(readMark(afterPowerCut.segment(1))).toBeLessThan(2);
    const recovered = await openLog(afterPowerCut);
    expect(contents(recovered)).toEqual(expected);
    expect(recovered.recovery.findings).toEqual([]);
    await expectThatItGoesOn(recovered, expected);
  });

  test('may have lost the end of a segment whose successor was still empty: that one is dropped too', async () => {
    const { files, records, offsets } = handmade([[plainPiece('a'), plainPiece('b'), claimedHole(40)], []]);
    const wal = await openLog(files);
    expect(wal.recovery.findings).toMatchObject([{ case: 'A', segment: 1, offset: offsets[0]?.[2] }]);
    expect(contents(wal)).toEqual(records);
    expect(wal.segments().map(({ id }) => id)).toEqual([1]);
    await expectThatItGoesOn(wal, records);
  });

  test.each([
    ['this one', 'B', ['a', 'c']],
    ['another', 'C', ['a']],
    ['one that is not known', 'C', ['a']],
  ])('is told from the death of a writer by the boot: it was %s', async (which, verdict, kept) => {
    const boots: Record<string, Buffer> = { 'this one': await thisBoot(), another: otherBoot };
    const boot = boots[which] ?? Buffer.alloc(16);
    const { files } = handmade([[plainPiece('a'), claimedHole(40), plainPiece('c')]], { boot });
    const wal = await openLog(files);
    expect(wal.recovery.findings).toMatchObject([{ case: verdict }]);
    expect(contents(wal).map(({ data }) => data)).toEqual(kept);
  });
});
