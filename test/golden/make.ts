// Makes test/golden/v1, once for ever: node -r ./test/helpers/register.js test/golden/make.ts
// It is not to be made again while the format has this version. A later version gets a golden log of its own.
import { rmSync } from 'node:fs';
import { join } from 'node:path';

import { WalManager } from '../../lib';
import type { RecordInput, WalRecord } from '../../lib';
import { claimed, identityOf } from '../helpers/format';
import { toGolden, writeGolden } from '../helpers/golden';
import { LogFiles, makeFastDirectory } from '../helpers/log-files';

const options = { segmentSize: 64 * 1024, sync: { policy: 'async', maxDelay: 3_600_000 } } as const;
const everyByte = Buffer.from(Array.from({ length: 256 }, (_, i) => i));

/** What was appended, by sequence number. */
const appended = new Map<number, { data: Buffer; kind: number; key: Buffer | null }>();

function remember(sequence: number, { data, kind = 0, key = null }: RecordInput): void {
  appended.set(sequence, { data: Buffer.from(data), kind, key: key === null ? null : Buffer.from(key) });
}

function append(wal: WalManager, data: Buffer | string, kind?: number, key?: Buffer | string): number {
  const sequence = wal.append(data, { kind, key });
  remember(sequence, { data, kind, key });
  return sequence;
}

function appendBatch(wal: WalManager, ...records: RecordInput[]): number {
  const first = wal.appendBatch(records);
  records.forEach((record, i) => remember(first + i, record));
  return first;
}

function appendPacked(wal: WalManager, parts: string[], kind?: number, key?: string): void {
  const offsets = [0];
  for (const part of parts) offsets.push((offsets.at(-1) ?? 0) + part.length);
  const buffer = Buffer.from(parts.join(''));
  const first = wal.appendBatch({ buffer, offsets: Uint32Array.from(offsets), kind, key });
  parts.forEach((data, i) => remember(first + i, { data, kind, key }));
}

/** Every way in which a record can look. */
function appendPlainShapes(wal: WalManager): void {
  append(wal, 'plain');
  append(wal, '');
  append(wal, 'with a key', 1, 'tenant 1');
  append(wal, 'with an empty key', 2, '');
  append(wal, '', 3, 'a key and nothing else');
  append(wal, '', 255, '');
  for (const kind of [0, 1, 2, 3, 4, 5, 6, 127, 128, 255]) append(wal, `kind ${kind}`, kind);
  for (let length = 1; length <= 17; length++) append(wal, everyByte.subarray(0, length)); // every padding
  append(wal, everyByte, 9, everyByte);
  append(wal, 'naïve 水 🌊', 0, 'clé');
}

function appendBatchShapes(wal: WalManager): void {
  appendBatch(wal, { data: 'a batch of one' });
  appendBatch(wal, { data: 'first' }, { data: 'second', kind: 7 }, { data: '' }, { data: everyByte });
  appendBatch(
    wal,
    { data: 'keyed', key: 'k' },
    { data: 'not' },
    { data: 'empty key', key: '' },
    { data: '', key: 'empty' },
  );
  appendPacked(wal, ['packed', '', 'records', 'of one kind']);
  appendPacked(wal, ['packed', 'with', 'a', 'key', ''], 5, 'shared');
  appendPacked(wal, ['']);
}

/** What the death of threads between claim and commit leaves, had they been writing the frames of these records. */
function loseFrames(files: LogFiles, segment: number, sequences: number[]): void {
  const bytes = files.segment(segment);
  const { base } = identityOf(bytes);
  for (const { index, offset, length, count } of files.frames(segment)) {
    if (!sequences.includes(base + index)) continue;
    bytes.fill(0, offset + 24, offset + length);
    bytes.writeUInt32LE((length | claimed) >>> 0, offset);
    for (let i = 0; i < count; i++) appended.delete(base + index + i);
  }
}

async function make(path: string): Promise<void> {
  let wal = await WalManager.open(path, options);
  append(wal, 'in segment 1, which is truncated away');
  await wal.rotate();
  append(wal, 'in segment 2, likewise');
  await wal.rotate();
  const first = append(wal, 'the first that is kept');
  appendPlainShapes(wal);
  // Larger than what is left of the segment: the next begins with it, and the key is as long as can be in this log.
  append(wal, Buffer.alloc(60_000, 'fills a segment '), 4);
  await wal.truncateBefore(first);
  append(wal, Buffer.alloc(8000, 'long '), 1, Buffer.alloc(50_000, 'a long key '));
  await wal.rotate();
  appendBatchShapes(wal);
  await wal.sync();
  append(wal, 'this frame knows that all before it is durable');
  await wal.rotate();

  append(wal, 'before the fillers');
  const lost = [append(wal, '')]; // as small as can be: no room for a count
  append(wal, 'between the fillers');
  lost.push(appendBatch(wal, { data: 'lost' }, { data: 'lost', key: 'k' }, { data: 'lost' }));
  append(wal, 'between the fillers');
  lost.push(append(wal, 'lost'), append(wal, 'side by side', 8, 'key'));
  append(wal, 'behind the fillers');
  const segment = wal.segments().at(-1)?.id ?? 0;
  const files = LogFiles.read(path);
  await wal.close();
  loseFrames(files, segment, lost);
  files.write(path);

  wal = await WalManager.open(path, options);
  append(wal, 'after recovery');
  appendBatch(wal, { data: 'the' }, { data: 'end', kind: 6, key: 'end' });
  const records = Array.from(wal.read());
  await wal.close();
  check(records);

  // The boot and the process of whoever runs this are nobody's business.
  const made = LogFiles.read(path).powerCut();
  writeGolden('v1', made, records.map(toGolden));
  console.log(`${records.length} records in segments ${made.segments.join(', ')}`);
}

/** What the log holds is what was appended and kept. */
function check(records: WalRecord[]): void {
  const first = records[0]?.sequence ?? 0;
  const expected = [...appended]
    .filter(([sequence]) => sequence >= first)
    .map(([sequence, record]) => ({ sequence, ...record }));
  const actual = records.map(({ sequence, data, kind, key }) => ({ sequence, data, kind, key }));
  if (JSON.stringify(actual) !== JSON.stringify(expected))
    throw new Error('the log holds something else than was appended');
}

const directory = makeFastDirectory();
void make(join(directory, 'log')).finally(() => rmSync(directory, { recursive: true, force: true }));
