import { existsSync } from 'node:fs';

import { WalManager } from '../lib';
import type { WalErrorCode } from '../lib';
import { expectWalError } from './helpers/errors';
import { useLogs } from './helpers/logs';
import { collect, inputs, packed, texts } from './helpers/records';
import { startChild } from './helpers/processes';

const logs = useLogs();

/** Every method and property, as somebody would use it on a log with one record. */
const uses: [name: string, writes: boolean, use: (wal: WalManager) => unknown][] = [
  ['append', true, (wal) => wal.append('x')],
  ['append with options', true, (wal) => wal.append('x', { kind: 1, key: 'k' })],
  ['append of something wrong', true, (wal) => wal.append(5 as never)],
  ['appendBatch', true, (wal) => wal.appendBatch(inputs('x'))],
  ['appendBatch of a packed batch', true, (wal) => wal.appendBatch(packed([Buffer.from('x')]))],
  ['transaction', true, (wal) => wal.transaction()],
  ['sync', true, (wal) => wal.sync()],
  ['whenDurable', true, (wal) => wal.whenDurable(1)],
  ['rotate', true, (wal) => wal.rotate()],
  ['truncateBefore', true, (wal) => wal.truncateBefore(1)],
  ['read', false, (wal) => [...wal.read()]],
  ['asynchronous read', false, (wal) => collect(wal.read())],
  ['readBatches', false, (wal) => collect(wal.readBatches())],
  ['replay', false, (wal) => wal.replay(1, () => undefined)],
  ['get', false, (wal) => wal.get(1)],
  ['segments', false, (wal) => wal.segments()],
  ['readSegment', false, (wal) => [...wal.readSegment(1)]],
  ['firstSequence', false, (wal) => wal.firstSequence],
  ['lastSequence', false, (wal) => wal.lastSequence],
  ['durableSequence', false, (wal) => wal.durableSequence],
  ['stats', false, (wal) => wal.stats()],
  ['health', false, (wal) => wal.health()],
  ['verify', false, (wal) => wal.verify()],
];

const states: [state: string, open: () => Promise<WalManager>, refusal: (writes: boolean) => WalErrorCode | null][] = [
  ['an open log', openLog, () => null],
  ['a closed log', closedLog, () => 'WAL_CLOSED'],
  ['a log that is closing', closingLog, () => 'WAL_CLOSED'],
  ['a log opened with readOnly', readOnlyLog, (writes) => (writes ? 'WAL_READ_ONLY' : null)],
  ['a closed log opened with readOnly', closedReadOnlyLog, () => 'WAL_CLOSED'],
];

async function openLog(): Promise<WalManager> {
  const wal = await logs.open();
  wal.append('first');
  return wal;
}

async function closedLog(): Promise<WalManager> {
  const wal = await openLog();
  await wal.close();
  return wal;
}

async function closingLog(): Promise<WalManager> {
  const wal = await openLog();
  void wal.close();
  return wal;
}

async function readOnlyLog(): Promise<WalManager> {
  await closedLog();
  return logs.open({ readOnly: true });
}

async function closedReadOnlyLog(): Promise<WalManager> {
  const wal = await readOnlyLog();
  await wal.close();
  return wal;
}

describe.each(states)('%s', (_, open, refusal) => {
  test.each(uses)('%s', async (name, writes, use) => {
    const wal = await open();
    const code = refusal(writes);
    if (code !== null) await expectWalError(code, () => use(wal));
    else if (name === 'append of something wrong') expect(() => use(wal)).toThrow(TypeError);
    else await use(wal);
  });

  test('close', async () => {
    const wal = await open();
    await wal.close();
    await wal.close();
    await wal[Symbol.asyncDispose]();
  });
});

test('an iterable that was made before the log closed says so when it is iterated', async () => {
  const wal = await openLog();
  const range = wal.read();
  const batches = wal.readBatches();
  await wal.close();
  await expectWalError('WAL_CLOSED', () => [...range]);
  await expectWalError('WAL_CLOSED', () => collect(range));
  await expectWalError('WAL_CLOSED', () => collect(batches));
});

test('every call of close gives the same promise', async () => {
  const wal = await openLog();
  expect(wal.close()).toBe(wal.close());
  await wal.close();
});

test('close waits for what is under way, and cuts a verification short', async () => {
  const wal = await openLog();
  const settled: string[] = [];
  const aborted = (error: unknown): unknown => expect(error).toMatchObject({ code: 'WAL_ABORTED' });
  const operations = [
    wal.rotate().then(() => settled.push('rotate')),
    // It may well be done already.
    wal
      .verify()
      .catch(aborted)
      .then(() => settled.push('verify')),
    wal.truncateBefore(1).then(() => settled.push('truncateBefore')),
    wal.sync().then(() => settled.push('sync')),
  ];
  await wal.close();
  settled.push('close');
  await Promise.all(operations);
  expect(settled.at(-1)).toBe('close');
  expect(settled).toHaveLength(5);
});

test('the report of the recovery can be read after close', async () => {
  const wal = await closedLog();
  expect(wal.recovery.segments).toBeGreaterThanOrEqual(0);
  expect(wal.segmentSize).toBeGreaterThan(0);
});

test('await using closes the log', async () => {
  let kept: WalManager;
  {
    await using wal = await WalManager.open(logs.path);
    wal.append('x');
    kept = wal;
  }
  await expectWalError('WAL_CLOSED', () => kept.append('y'));
});

test('a log that was closed in order opens clean', async () => {
  await logs.make(['a', 'b']);
  const wal = await logs.open();
  expect(wal.recovery).toMatchObject({ clean: true, segments: 1, records: 2, findings: [] });
});

test('opening the same directory again in the process joins the same log', async () => {
  const a = await logs.open();
  const b = await logs.open();
  expect(a.append('from a')).toBe(1);
  expect(b.append('from b')).toBe(2);
  expect(texts(a.read())).toEqual(['from a', 'from b']);
  await a.close();
  expect(b.append('b goes on')).toBe(3);
  await b.sync();
  await expectWalError('WAL_CLOSED', () => a.append('a is closed'));
  expect(texts(b.read())).toHaveLength(3);
});

test('two who open at the same time share a log', async () => {
  const [a, b] = await Promise.all([logs.open(), logs.open()]);
  expect([a.append('x'), b.append('y')]).toEqual([1, 2]);
});

test('a log can be opened and closed, on and on', async () => {
  for (let i = 1; i <= 20; i++) {
    const wal = await WalManager.open(logs.path);
    expect(wal.append('x')).toBe(i);
    await wal.close();
  }
});

test('many logs can be open at once', async () => {
  const open = await Promise.all(
    Array.from({ length: 10 }, (_, i) => logs.open({ segmentSize: 65_536 }, `${logs.path}-${i}`)),
  );
  open.forEach((wal, i) => wal.append(`log ${i}`));
  expect(open.map((wal) => wal.get(1)!.data.toString())).toEqual(open.map((_, i) => `log ${i}`));
  expect(existsSync(`${logs.path}-9`)).toBe(true);
});

test('a log that nobody closed does not keep the process alive, and what was appended is there', async () => {
  const child = startChild('idle', logs.path);
  expect(await child.outcome()).toMatchObject({ status: 0, stdout: '1\n', stderr: '' });
  const wal = await logs.open();
  expect(texts(wal.read())).toEqual(['left open']);
});
