import { existsSync, statSync } from 'node:fs';

import { expectRangeError, expectWalError } from './helpers/errors';
import { smallSegment, useLogs } from './helpers/logs';
import { appendMany, appendSegments, collect, sequences, texts } from './helpers/records';

const logs = useLogs();

test('a full segment is followed by the next, and nothing is lost in between', async () => {
  const wal = await logs.open({ segmentSize: smallSegment });
  const appended = appendMany(wal, 5000, 100);
  const segments = wal.segments();
  expect(segments.length).toBeGreaterThan(8);
  expect(texts(wal.read())).toEqual(appended);
  expect(texts(await collect(wal.read({ reverse: true })))).toEqual(appended.reverse());
});

test('segments tell what is in them, without gaps', async () => {
  const wal = await logs.open({ segmentSize: smallSegment });
  appendMany(wal, 2000, 100);
  await wal.sync();
  const segments = wal.segments();
  let next = 1;
  segments.forEach((segment, i) => {
    expect(segment.id).toBe(i + 1);
    expect(segment.firstSequence).toBe(next);
    expect(segment.records).toBe(segment.lastSequence - segment.firstSequence + 1);
    expect(segment.capacity).toBe(smallSegment);
    expect(segment.bytes).toBeLessThanOrEqual(smallSegment);
    expect(segment.lastTimestamp).toBeGreaterThanOrEqual(segment.firstTimestamp);
    expect(statSync(segment.path).size).toBe(smallSegment);
    next = segment.lastSequence + 1;
  });
  expect(next).toBe(2001);
  expect(segments.at(-1)!.sealed).toBe(false);
});

test('a segment can be read by itself', async () => {
  const wal = await logs.open({ segmentSize: smallSegment });
  appendMany(wal, 2000, 100);
  const read: number[] = [];
  for (const segment of wal.segments()) {
    const found = sequences(wal.readSegment(segment.id));
    expect(found[0]).toBe(segment.firstSequence);
    expect(found.at(-1)).toBe(segment.lastSequence);
    expect(sequences(await collect(wal.readSegment(segment.id)))).toEqual(found);
    read.push(...found);
  }
  expect(read).toEqual(sequences(wal.read()));
});

test('a segment that is not there cannot be read', async () => {
  const wal = await logs.open();
  await expectRangeError(/no segment 2: the log has 1 to 1/, () => wal.readSegment(2));
  await expectRangeError(/id must be an integer/, () => wal.readSegment(0));
});

test('rotate goes on in the next segment, and what was before is durable', async () => {
  const wal = await logs.open();
  wal.append('first');
  await wal.rotate();
  expect(wal.durableSequence).toBe(1);
  wal.append('second');
  expect(
    wal.segments().map(({ firstSequence, lastSequence, sealed }) => [firstSequence, lastSequence, sealed]),
  ).toEqual([
    [1, 1, true],
    [2, 2, false],
  ]);
  expect(texts(wal.read())).toEqual(['first', 'second']);
});

test('rotating an empty segment does nothing', async () => {
  const wal = await logs.open();
  await wal.rotate();
  await wal.rotate();
  expect(wal.segments()).toHaveLength(1);
});

test('every record can be in a segment of its own', async () => {
  const wal = await logs.open({ segmentSize: smallSegment });
  for (let i = 1; i <= 20; i++) {
    wal.append(String(i));
    await wal.rotate();
  }
  await wal.close();
  const again = await logs.open();
  expect(again.segmentSize).toBe(smallSegment);
  expect(sequences(again.read())).toHaveLength(20);
  expect(again.append('21')).toBe(21);
});

test('truncateBefore deletes whole segments that end before the record', async () => {
  const wal = await logs.open({ segmentSize: smallSegment });
  appendSegments(wal, 6);
  await wal.sync();
  const before = wal.segments();
  const kept = before[3]!;
  await wal.truncateBefore(kept.firstSequence + 5);
  expect(wal.firstSequence).toBe(kept.firstSequence);
  expect(wal.segments()[0]!.id).toBe(kept.id);
  expect(sequences(wal.read())[0]).toBe(kept.firstSequence);
  await wal.close();
  expect(before.map(({ path }) => existsSync(path)).slice(0, 4)).toEqual([false, false, false, true]);
});

test('what was truncated stays away after the log is opened again', async () => {
  const wal = await logs.open({ segmentSize: smallSegment });
  appendSegments(wal, 4);
  const first = wal.segments()[2]!.firstSequence;
  const last = wal.lastSequence;
  await wal.truncateBefore(first);
  await wal.close();
  const again = await logs.open();
  expect([again.firstSequence, again.lastSequence]).toEqual([first, last]);
  expect(again.recovery.findings).toEqual([]);
  expect(again.append('next')).toBe(last + 1);
});

test('truncateBefore in the first segment, or beyond the end, keeps the segment in use', async () => {
  const wal = await logs.open({ segmentSize: smallSegment });
  appendMany(wal, 10);
  await wal.truncateBefore(5);
  expect(wal.firstSequence).toBe(1);
  await wal.truncateBefore(1_000_000);
  expect(wal.lastSequence).toBe(10);
  expect(wal.append('next')).toBe(11);
});

test('a log can be truncated, appended and truncated, on and on', async () => {
  const wal = await logs.open({ segmentSize: smallSegment });
  for (let round = 0; round < 10; round++) {
    appendMany(wal, 1500, 100);
    await wal.truncateBefore(wal.lastSequence);
    expect(wal.segments().length).toBeLessThanOrEqual(2);
  }
  expect(wal.lastSequence).toBe(15_000);
  expect((await wal.verify()).ok).toBe(true);
});

test('reading from a record that was truncated away is an error, and starting at the first kept is not', async () => {
  const wal = await logs.open({ segmentSize: smallSegment });
  appendSegments(wal, 3);
  await wal.sync();
  const first = wal.segments()[1]!.firstSequence;
  await wal.truncateBefore(first);
  const error = await expectWalError('WAL_TRUNCATED', () => [...wal.read({ from: 1 })]);
  expect(error.message).toContain(String(first));
  expect(error.firstSequence).toBe(first);
  await expectWalError('WAL_TRUNCATED', () => collect(wal.read({ from: 1 })));
  await expectWalError('WAL_TRUNCATED', () => collect(wal.readBatches({ from: 1 })));
  expect(sequences(wal.read({ from: first, limit: 1 }))).toEqual([first]);
  expect(sequences(wal.read({ limit: 1 }))).toEqual([first]);
  expect(wal.get(1)).toBeUndefined();
});

test('a reader that has begun goes on when its segments are truncated away', async () => {
  const wal = await logs.open({ segmentSize: smallSegment });
  appendSegments(wal, 6);
  const last = wal.lastSequence;
  const iterator = wal.read()[Symbol.iterator]();
  expect(iterator.next().value).toMatchObject({ sequence: 1 });
  await wal.truncateBefore(last);
  let error: unknown;
  let count = 1;
  try {
    while (iterator.next().done !== true) count++;
  } catch (thrown) {
    error = thrown;
  }
  // Either it has a hold on what it reads, or it says so. It never skips records silently.
  if (error === undefined) expect(count).toBe(last);
  else expect(error).toMatchObject({ code: 'WAL_TRUNCATED' });
});
