import { chmodSync, copyFileSync, existsSync, mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { hostname } from 'node:os';
import { join } from 'node:path';

import { WalManager } from '../lib';
import { expectWalError } from './helpers/errors';
import { smallSegment, useLogs } from './helpers/logs';
import { appendSegments, sequences, texts } from './helpers/records';
import { Subordinate } from './helpers/orders';
import { startChild } from './helpers/processes';

const logs = useLogs();

const segmentPath = (id: number): string => join(logs.path, 'segments', `wal-${String(id).padStart(6, '0')}.log`);

/** Changes bytes of a file. */
function patch(path: string, offset: number, change: (byte: number) => number, count = 1): void {
  const bytes = readFileSync(path);
  for (let i = offset; i < offset + count; i++) bytes[i] = change(bytes[i]!);
  writeFileSync(path, bytes);
}

const flip = (byte: number): number => byte ^ 0xff;

describe('a directory', () => {
  test('is made, with those above it', async () => {
    const wal = await logs.open({}, join(logs.path, 'a', 'b'));
    expect(wal.append('x')).toBe(1);
    expect(wal.recovery).toMatchObject({ clean: true, records: 0, findings: [] });
  });

  test('is not made when create is false', async () => {
    const error = await expectWalError('WAL_NOT_FOUND', () => logs.open({ create: false }));
    expect(error.message).toContain(logs.path);
    expect(existsSync(logs.path)).toBe(false);
  });

  test('is not made by reading', async () => {
    await expectWalError('WAL_NOT_FOUND', () => logs.open({ readOnly: true }));
    expect(existsSync(logs.path)).toBe(false);
  });

  test('without a log in it is not a log', async () => {
    mkdirSync(logs.path);
    await expectWalError('WAL_NOT_FOUND', () => logs.open({ create: false }));
    await expectWalError('WAL_NOT_FOUND', () => logs.open({ readOnly: true }));
    const wal = await logs.open();
    expect(wal.append('x')).toBe(1);
  });

  test('can be named relative to the working directory', async () => {
    const before = process.cwd();
    process.chdir(logs.directory);
    try {
      const wal = await logs.open({}, 'log');
      process.chdir(before);
      wal.append('x');
      await wal.close();
    } finally {
      process.chdir(before);
    }
    expect(texts((await logs.open()).read())).toEqual(['x']);
  });

  test('can have any name', async () => {
    const path = join(logs.directory, 'naïve log 水 #1 %20');
    const wal = await logs.open({}, path);
    wal.append('x');
    await wal.close();
    expect(texts((await logs.open({ readOnly: true }, path)).read())).toEqual(['x']);
  });

  test('that is a file cannot be opened', async () => {
    writeFileSync(logs.path, 'not a log');
    for (const options of [{}, { readOnly: true }, { create: false }]) {
      const error = (await logs.open(options).catch((reason: unknown) => reason)) as Error & { code: string };
      expect(['WAL_IO', 'WAL_NOT_FOUND']).toContain(error.code);
      expect(error.message).toContain(logs.path);
    }
    expect(readFileSync(logs.path, 'utf8')).toBe('not a log');
  });

  test('below a file cannot be opened', async () => {
    writeFileSync(join(logs.directory, 'file'), '');
    const error = await expectWalError('WAL_IO', () => logs.open({}, join(logs.directory, 'file', 'log')));
    expect(error.cause).toMatchObject({ code: 'ENOTDIR' });
  });

  // Root has every permission, and Windows has none of this kind.
  const unprivileged = (process.getuid?.() ?? 0) === 0 ? test.skip : test;
  unprivileged('without permission cannot be opened (skipped for root, and on Windows)', async () => {
    mkdirSync(logs.path);
    chmodSync(logs.path, 0o500);
    const error = await expectWalError('WAL_IO', () => logs.open());
    expect(error.cause).toMatchObject({ code: 'EACCES' });
  });

  test('on a file system that is no disk cannot be opened', async () => {
    if (process.platform !== 'linux') return;
    const error = (await WalManager.open('/proc/segwal').catch((reason: unknown) => reason)) as { code: string };
    expect(['WAL_IO', 'WAL_NOT_FOUND']).toContain(error.code);
  });
});

describe('files in the directory', () => {
  test('that are not of the log are named in the report, and left alone', async () => {
    await logs.make(['a', 'b']);
    const strays = ['README.txt', 'segments/notes.txt', 'segments/wal-000001.log.bak', 'metadata/old.meta'];
    for (const stray of strays) writeFileSync(join(logs.path, stray), 'mine');
    const wal = await logs.open();
    expect(texts(wal.read())).toEqual(['a', 'b']);
    await wal.close();
    for (const stray of strays) expect(readFileSync(join(logs.path, stray), 'utf8')).toBe('mine');
    const found = wal.recovery.findings.filter((finding) => finding.case === 'stray').map(({ action }) => action);
    expect(found.some((action) => action.includes('notes.txt'))).toBe(true);
  });

  test('a missing metadata file is made again from the segments', async () => {
    const first = await logs.open({ segmentSize: smallSegment });
    appendSegments(first, 3);
    const last = first.lastSequence;
    await first.close();
    rmSync(join(logs.path, 'metadata', 'wal.meta'));
    const wal = await logs.open();
    expect([wal.firstSequence, wal.lastSequence, wal.segmentSize]).toEqual([1, last, smallSegment]);
    await wal.close();
    expect(existsSync(join(logs.path, 'metadata', 'wal.meta'))).toBe(true);
  });

  test('a damaged metadata file is made again from the segments', async () => {
    await logs.make(['a', 'b']);
    patch(join(logs.path, 'metadata', 'wal.meta'), 20, flip, 8);
    const wal = await logs.open();
    expect(texts(wal.read())).toEqual(['a', 'b']);
  });

  test('a missing segment in the middle is damage', async () => {
    const first = await logs.open({ segmentSize: smallSegment });
    appendSegments(first, 4);
    const missing = first.segments()[1]!;
    await first.close();
    rmSync(segmentPath(2));
    const error = await expectWalError('WAL_CORRUPT', () => logs.open());
    expect(error.segment).toBe(2);
    expect(error.firstSequence).toBe(missing.firstSequence);
    expect(error.lastSequence).toBe(missing.lastSequence);
    expect(error.message).toContain('wal-000002');
  });

  test('a missing first segment is damage', async () => {
    const first = await logs.open({ segmentSize: smallSegment });
    appendSegments(first, 3);
    await first.close();
    rmSync(segmentPath(1));
    expect(await expectWalError('WAL_CORRUPT', () => logs.open())).toMatchObject({ segment: 1 });
  });

  test('a segment of another log is damage', async () => {
    const first = await logs.open({ segmentSize: smallSegment });
    appendSegments(first, 3);
    await first.close();
    const other = await logs.open({ segmentSize: smallSegment }, `${logs.path}-other`);
    appendSegments(other, 3);
    await other.close();
    copyFileSync(join(`${logs.path}-other`, 'segments', 'wal-000002.log'), segmentPath(2));
    expect(await expectWalError('WAL_CORRUPT', () => logs.open())).toMatchObject({ segment: 2 });
  });
});

describe('the format', () => {
  test('of a newer version is refused, and is not called damage', async () => {
    await logs.make(['a']);
    patch(segmentPath(1), 8, () => 2);
    patch(join(logs.path, 'metadata', 'wal.meta'), 8, () => 2);
    const error = await expectWalError('WAL_UNSUPPORTED_VERSION', () => logs.open());
    expect(error.message).toMatch(/\b2\b/);
    await expectWalError('WAL_UNSUPPORTED_VERSION', () => logs.open({ readOnly: true }));
  });

  test('has segments of 64 MiB when nobody says otherwise', async () => {
    const wal = await WalManager.open(logs.path);
    expect(wal.segmentSize).toBe(64 * 1024 * 1024);
    await wal.close();
  });

  test('has its segment size, and no other', async () => {
    await logs.make(['a'], { segmentSize: smallSegment });
    const error = await expectWalError('WAL_SEGMENT_SIZE_MISMATCH', () => logs.open({ segmentSize: 2 * smallSegment }));
    expect(error.message).toMatch(/65536.*131072|131072.*65536/);
    expect((await logs.open({ segmentSize: smallSegment })).segmentSize).toBe(smallSegment);
    expect((await logs.open()).segmentSize).toBe(smallSegment);
  });

  test('with a damaged header of a segment that has records is damage', async () => {
    const first = await logs.open({ segmentSize: smallSegment });
    appendSegments(first, 3);
    await first.close();
    patch(segmentPath(1), 40, flip, 8);
    expect(await expectWalError('WAL_CORRUPT', () => logs.open())).toMatchObject({ segment: 1 });
  });

  test('with a damaged record that was durable is damage, and names what is lost', async () => {
    const first = await logs.open();
    for (let i = 1; i <= 10; i++) first.append(`record ${i}`);
    await first.close();
    const offset = readFileSync(segmentPath(1)).indexOf('record 4');
    patch(segmentPath(1), offset, flip);
    const error = await expectWalError('WAL_CORRUPT', () => logs.open());
    expect(error).toMatchObject({ segment: 1, firstSequence: 4 });
    expect(error.offset).toBeGreaterThanOrEqual(4096);
    expect(error.offset).toBeLessThan(offset);
  });
});

describe('damage in a sealed segment', () => {
  async function damageSealed(): Promise<void> {
    const first = await logs.open({ segmentSize: smallSegment });
    appendSegments(first, 4);
    await first.close();
    patch(segmentPath(2), 4096 + 500, flip);
  }

  test('is found by verify', async () => {
    await damageSealed();
    const wal = await logs.open();
    const report = await wal.verify();
    expect(report.ok).toBe(false);
    expect(report.findings).toEqual(expect.arrayContaining([expect.objectContaining({ segment: 2 })]));
  });

  test('is never read as a record', async () => {
    await damageSealed();
    const wal = await logs.open();
    const error = await expectWalError('WAL_CORRUPT', () => [...wal.read()]);
    expect(error.segment).toBe(2);
    const undamaged = wal.segments()[2]!.firstSequence;
    expect(sequences(wal.read({ from: undamaged }))[0]).toBe(undamaged);
  });
});

test('verify of a log in good order says so', async () => {
  const wal = await logs.open({ segmentSize: smallSegment });
  appendSegments(wal, 4);
  const report = await wal.verify();
  expect(report).toMatchObject({ ok: true, segments: wal.segments().length, records: wal.lastSequence, findings: [] });
  expect(report.durationMs).toBeGreaterThanOrEqual(0);
});

describe('another process', () => {
  test('that writes keeps others from writing, and is named', async () => {
    const writer = startChild('writer', logs.path);
    expect(await writer.line()).toBe('open');
    const error = await expectWalError('WAL_LOCKED', () => logs.open());
    expect(error.message).toContain(`pid ${writer.pid} on host ${hostname()} since `);
    const since = Date.parse(/since (\S+)/.exec(error.message)?.[1] ?? '');
    expect(Math.abs(Date.now() - since)).toBeLessThan(60_000);
    writer.say('close');
    expect(await writer.line()).toBe('closed');
    expect((await logs.open()).append('mine now')).toBe(1);
  });

  test('that was killed blocks nobody, and lost nothing', async () => {
    const writer = startChild('writer', logs.path);
    await writer.line();
    for (let i = 1; i <= 100; i++) writer.say(`line ${i}`);
    for (let i = 1; i <= 100; i++) expect(await writer.line()).toBe(String(i));
    await writer.kill();
    const wal = await logs.open();
    expect(texts(wal.read())).toEqual(Array.from({ length: 100 }, (_, i) => `line ${i + 1}`));
    expect(wal.recovery).toMatchObject({ clean: false, records: 100 });
    expect(wal.append('goes on')).toBe(101);
  });

  test('that writes can be followed by reading', async () => {
    const writer = startChild('writer', logs.path, String(smallSegment));
    await writer.line();
    writer.say('one');
    expect(await writer.line()).toBe('1');
    const reader = await logs.open({ readOnly: true });
    expect(texts(reader.read())).toEqual(['one']);
    const long = 'x'.repeat(1000);
    for (let i = 2; i <= 300; i++) {
      writer.say(long);
      await writer.line();
      if (i % 50 === 0) {
        expect(reader.lastSequence).toBe(i);
        expect(sequences(reader.read())).toEqual(Array.from({ length: i }, (_, n) => n + 1));
        expect(reader.get(i)!.data.length).toBe(1000);
      }
    }
    expect(reader.segments().length).toBeGreaterThan(3);
    expect((await reader.verify()).ok).toBe(true);
  });

  test('that writes, rotates and truncates is followed by many who read, and disturbed by none', async () => {
    const writer = new Subordinate();
    await writer.order('open', logs.path, JSON.stringify({ segmentSize: smallSegment }));
    await writer.order('append', 1000);
    const readers = await Promise.all([1, 2, 3].map(() => logs.open({ readOnly: true })));
    const kept = readers.map((reader) => reader.read()[Symbol.iterator]());
    let first = 1;
    for (let last = 2; last <= 400; last++) {
      expect(await writer.order('append', 1000)).toEqual({ value: last });
      if (last % 100 !== 0) continue;
      await writer.order('truncate-before', last - 30);
      const [reader] = readers as [WalManager];
      expect(reader.lastSequence).toBe(last);
      expect(reader.firstSequence).toBeGreaterThan(first);
      expect(reader.firstSequence).toBeLessThanOrEqual(last - 30);
      first = reader.firstSequence;
      for (const each of readers) {
        expect(sequences(each.read())).toEqual(Array.from({ length: last + 1 - first }, (_, n) => first + n));
      }
    }
    // What one of them had begun to read before is gone by now, and it is told, or has it still in its hands.
    for (const iterator of kept) {
      const next = await Promise.resolve()
        .then(() => iterator.next())
        .catch((error: unknown) => error);
      expect(next).toMatchObject(next instanceof Error ? { code: 'WAL_TRUNCATED' } : { value: { sequence: 1 } });
    }
    expect(await writer.order('count')).toEqual({ value: 401 - first });
    expect(await writer.order('close')).toEqual({});
    await writer.dismiss();
  });

  test('may read while this one writes', async () => {
    const wal = await logs.open();
    wal.append('a');
    const reader = await logs.open({ readOnly: true });
    expect(texts(reader.read())).toEqual(['a']);
    wal.append('b');
    expect(texts(reader.read())).toEqual(['a', 'b']);
    await reader.close();
    expect(wal.append('c')).toBe(3);
  });
});
