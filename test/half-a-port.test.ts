/**
 * What is wrong with a log on a system that it was half ported to: everything seems to work, and nothing is on the disk.
 * Seen in real ports: the file has its header and nothing else; after a restart "0 entries replayed"; a flush that flushes
 * nothing; space that is never given back. So the files are looked at from outside, by plain reads, while the log is open.
 */
import { existsSync, readFileSync, readdirSync, statSync } from 'node:fs';
import { join } from 'node:path';

import { WalManager } from '../lib';
import type { WalRecord } from '../lib';
import { smallSegment, useLogs } from './helpers/logs';
import { startChild } from './helpers/processes';
import { texts } from './helpers/records';

const logs = useLogs();
const headerSize = 4096;
const segmentFile = (id: number): string => join(logs.path, 'segments', `wal-${String(id).padStart(6, '0')}.log`);

function bytesInSegments(): number {
  const directory = join(logs.path, 'segments');
  return readdirSync(directory).reduce((sum, name) => sum + statSync(join(directory, name)).size, 0);
}

async function until(condition: () => boolean): Promise<void> {
  for (let i = 0; i < 500 && !condition(); i++) await new Promise((resolve) => setTimeout(resolve, 10));
  expect(condition()).toBe(true);
}

test('the file of an open log has the records in it, not only the header', async () => {
  const wal = await logs.open({ segmentSize: smallSegment });
  wal.append('what was appended');
  const file = readFileSync(segmentFile(1));
  expect(file).toHaveLength(smallSegment);
  expect(file.indexOf('what was appended')).toBe(headerSize + 24);
});

test('a segment has its full size from the beginning, and keeps it', async () => {
  const wal = await logs.open({ segmentSize: smallSegment });
  expect(statSync(segmentFile(1)).size).toBe(smallSegment);
  wal.append('x');
  await wal.close();
  expect(statSync(segmentFile(1)).size).toBe(smallSegment);
});

test('what was durable in the file is told so by its header', async () => {
  const wal = await logs.open({ segmentSize: smallSegment });
  for (let i = 0; i < 10; i++) wal.append('x');
  await wal.sync();
  const file = readFileSync(segmentFile(1));
  expect(file.subarray(0, 6).toString('latin1')).toBe('segwal');
  expect(file.readUInt32LE(1536)).toBe(11); // the mark: 10 records, encoded as watermark − base + 2
});

test('after the death of the writer everything is replayed', async () => {
  const writer = startChild('writer', logs.path, String(smallSegment));
  expect(await writer.line()).toBe('open');
  for (const line of ['one', 'two', 'three']) {
    writer.say(line);
    await writer.line();
  }
  expect(readFileSync(segmentFile(1)).includes('three')).toBe(true);
  await writer.kill();
  const wal = await logs.open();
  expect(wal.recovery.records).toBe(3);
  expect(texts(wal.read())).toEqual(['one', 'two', 'three']);
});

test('what is truncated gives its room back, though somebody was reading it', async () => {
  const wal = await logs.open({ segmentSize: smallSegment });
  while (wal.segments().length < 6) wal.append('x'.repeat(1000));
  await wal.sync();
  const reader = await WalManager.open(logs.path, { readOnly: true });
  const iterator = reader.read()[Symbol.iterator]();
  expect((iterator.next().value as WalRecord).sequence).toBe(1);
  const before = bytesInSegments();
  await wal.truncateBefore(wal.lastSequence);
  iterator.return?.();
  await reader.close();
  // Where a mapped file cannot be deleted, that is made up for by what the log does next.
  wal.append('goes on');
  await wal.rotate();
  await until(() => !existsSync(segmentFile(1)) && !existsSync(segmentFile(3)));
  expect(bytesInSegments()).toBeLessThan(before / 2);
  await wal.close();
  const again = await logs.open();
  expect(again.recovery.clean).toBe(true);
  expect(texts(again.read()).at(-1)).toBe('goes on');
});

test('the lock gives its room back when the log is closed', async () => {
  const wal = await logs.open();
  expect(readFileSync(join(logs.path, 'LOCK'), 'utf8')).toContain(String(process.pid));
  await wal.close();
  expect(statSync(join(logs.path, 'LOCK')).size).toBe(0);
});
