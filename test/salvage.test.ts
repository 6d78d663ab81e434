// What `recovery: 'salvage'` and `segwal repair` do to a damaged log, as a user sees it. The cases are in salvage_test.cc.
import { readdirSync, readFileSync, rmSync } from 'node:fs';
import { join } from 'node:path';

import { WalManager } from '../lib';
import type { RecoveryReport } from '../lib';
import { expectWalError } from './helpers/errors';
import type { Frame } from './helpers/format';
import { LogFiles, makeFastDirectory, segmentName } from './helpers/log-files';
import { smallSegment } from './helpers/logs';
import { runCli } from './helpers/processes';

let directory = '';
const path = (): string => join(directory, 'log');
const name = (i: number): string => `record ${i} `.padEnd(1000, '.');

beforeAll(() => {
  directory = makeFastDirectory();
});

afterEach(() => {
  rmSync(path(), { recursive: true, force: true });
});

afterAll(() => {
  rmSync(directory, { recursive: true, force: true });
});

/** 160 records in three segments, closed. */
async function makeLog(): Promise<LogFiles> {
  const wal = await WalManager.open(path(), { segmentSize: smallSegment });
  for (let i = 1; i <= 160; i++) wal.append(name(i));
  await wal.close();
  return LogFiles.read(path());
}

/** Damages record 5 and the tenth of the last segment; both in one byte. Returns where. */
async function makeDamagedLog(): Promise<{ files: LogFiles; frames: [Frame, Frame]; lost: [number, number] }> {
  const files = await makeLog();
  const frames: [Frame, Frame] = [files.frames(1)[4] as Frame, files.frames(3)[9] as Frame];
  const before = files.frames(1).length + files.frames(2).length;
  files.segment(1).writeUInt8(0xff, frames[0].offset + 40);
  files.segment(3).writeUInt8(0xff, frames[1].offset + 40);
  files.write(path());
  return { files, frames, lost: [5, before + 10] };
}

function expectKept(wal: WalManager, lost: readonly number[]): void {
  const all = Array.from({ length: 160 }, (_, i) => i + 1).filter((i) => !lost.includes(i));
  expect(Array.from(wal.read(), ({ sequence, data }) => [sequence, data.toString()])).toEqual(
    all.map((i) => [i, name(i)]),
  );
}

test('a salvage gives up what cannot be read, says so, and keeps the rest', async () => {
  const { files, frames, lost } = await makeDamagedLog();
  await expectWalError('WAL_CORRUPT', () => WalManager.open(path()));
  const plan = await WalManager.planSalvage(path());
  expect(LogFiles.read(path()).differences(files)).toEqual([]);

  const wal = await WalManager.open(path(), { recovery: 'salvage' });
  expect(wal.recovery.clean).toBe(false);
  expect(wal.recovery.findings).toMatchObject([
    { case: 'D', segment: 1, offset: frames[0].offset, firstSequence: 5, lastSequence: 5, durable: true },
    { case: 'D', segment: 3, offset: frames[1].offset, firstSequence: lost[1], lastSequence: lost[1], durable: true },
  ]);
  expect(wal.recovery.findings).toEqual(plan.findings);
  expectKept(wal, lost);
  expect(wal.get(5)).toBeUndefined();
  expect(wal.append('next')).toBe(161);
  await wal.close();
  expect(readdirSync(join(path(), 'quarantine'))).toHaveLength(4);

  const again = await WalManager.open(path());
  expect(again.recovery).toMatchObject({ clean: true, findings: [] });
  const report = await again.verify();
  expect(report).toMatchObject({ ok: true, records: 159 });
  expect(report.findings).toMatchObject([
    { case: 'filler', firstSequence: 5, lastSequence: 5 },
    { case: 'filler', firstSequence: lost[1], lastSequence: lost[1] },
  ]);
  await again.close();
});

test('what was taken out is in quarantine, byte for byte, with a note why', async () => {
  const { files, frames } = await makeDamagedLog();
  await (await WalManager.open(path(), { recovery: 'salvage' })).close();
  const kept = readdirSync(join(path(), 'quarantine')).find((each) => each.endsWith('.bytes')) ?? '';
  expect(kept).toContain(`wal-000001-at-${frames[0].offset}`);
  const bytes = readFileSync(join(path(), 'quarantine', kept));
  expect(bytes.equals(files.segment(1).subarray(frames[0].offset, frames[0].offset + bytes.length))).toBe(true);
  expect(bytes.length).toBeGreaterThanOrEqual(frames[0].length);
  expect(readFileSync(join(path(), 'quarantine', `${kept}.txt`), 'utf8')).toContain('record 5 had been made durable');
});

test('a plan is refused while the log is open for writing, and where there is none', async () => {
  const wal = await WalManager.open(path());
  await expectWalError('WAL_LOCKED', () => WalManager.planSalvage(path()));
  await wal.close();
  await expectWalError('WAL_NOT_FOUND', () => WalManager.planSalvage(join(directory, 'none')));
});

describe('segwal repair', () => {
  test('changes nothing, says what is lost, and its exit status tells', async () => {
    const { files, lost } = await makeDamagedLog();
    const { status, stdout } = await runCli(['repair', path()]);
    expect(status).toBe(1);
    expect(stdout).toMatch(/^damaged; a repair would/);
    expect(stdout).toContain('(records 5 to 5), known to have been durable');
    expect(stdout).toContain(`(records ${lost[1]} to ${lost[1]})`);
    expect(stdout).toContain('Nothing was changed');
    expect(LogFiles.read(path()).differences(files)).toEqual([]);
  });

  test('--apply does it, and then nothing is left to do', async () => {
    const { lost } = await makeDamagedLog();
    const applied = await runCli(['repair', path(), '--apply']);
    expect(applied.status).toBe(1);
    expect(applied.stdout).toMatch(/^repaired; this was given up/);
    expect(await runCli(['repair', path()])).toMatchObject({ status: 0, stdout: 'nothing is lost\n' });
    const wal = await WalManager.open(path());
    expectKept(wal, lost);
    await wal.close();
  });

  test('--json is the report', async () => {
    await makeDamagedLog();
    const { stdout } = await runCli(['repair', path(), '--json']);
    const report = JSON.parse(stdout) as RecoveryReport & { applied: boolean; lost: boolean };
    expect(report).toMatchObject({ applied: false, lost: true, findings: [{ segment: 1 }, { segment: 3 }] });
  });

  test('of a log that no salvage can help says why', async () => {
    const files = await makeLog();
    for (const id of [1, 2, 3]) files.remove(segmentName(id));
    files.write(path());
    const { status, stderr } = await runCli(['repair', path(), '--apply']);
    expect(status).toBe(1);
    expect(stderr).toContain('no segment');
    expect(LogFiles.read(path()).differences(files)).toEqual([]);
  });
});

describe('verify', () => {
  test('tells how far it has got, and reads with any number of threads', async () => {
    await makeLog();
    const wal = await WalManager.open(path(), { readOnly: true });
    for (const concurrency of [1, 2, 7]) {
      const seen: number[] = [];
      const report = await wal.verify({ concurrency, onProgress: ({ records }) => seen.push(records) });
      expect(report).toMatchObject({ ok: true, records: 160, segments: 3 });
      expect(seen.at(-1)).toBe(160);
    }
    await wal.close();
  });

  test('is given up when its signal says so', async () => {
    await makeLog();
    const wal = await WalManager.open(path(), { readOnly: true });
    await expectWalError('WAL_ABORTED', () => wal.verify({ signal: AbortSignal.abort() }));
    const controller = new AbortController();
    const verification = wal.verify({ signal: controller.signal });
    controller.abort(new Error('enough'));
    const error = await expectWalError('WAL_ABORTED', () => verification);
    expect(error.cause).toEqual(new Error('enough'));
    await wal.close();
  });

  test('ends with what its listener throws', async () => {
    await makeLog();
    const wal = await WalManager.open(path(), { readOnly: true });
    const onProgress = (): void => {
      throw new Error('the listener is wrong');
    };
    await expect(wal.verify({ onProgress })).rejects.toThrow('the listener is wrong');
    await wal.close();
  });
});
