// Makes test/golden/v1-life, once for ever: node -r ./test/helpers/register.js test/golden/make-life.ts
// What a log of version 1 has that has been in use for long: segments that were compacted, segments that were others
// before, compressed batches, transactions; as a power cut leaves it. Not to be made again, like the log of make.ts.
import { rmSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';

import { Operation, WalManager } from '../../lib';
import { endOf, identityOf } from '../helpers/format';
import { toGolden, writeGolden } from '../helpers/golden';
import { LogFiles, makeFastDirectory } from '../helpers/log-files';

const options = {
  segmentSize: 64 * 1024,
  recycleSegments: 4,
  compression: 'gzip',
  sync: { policy: 'async', maxDelay: 3_600_000 },
} as const;

/** Segments that will be others. */
function appendOldLives(wal: WalManager): void {
  for (let i = 0; i < 200; i++) wal.append(Buffer.alloc(1000, `of an earlier life ${i} `));
}

/** Until the active segment is one that was another. */
async function rotateIntoAnOldOne(wal: WalManager, path: string): Promise<void> {
  for (let i = 1; !identityOf(LogFiles.read(path).segment(activeOf(wal))).recycled; i++) {
    wal.append(`rotation ${i}`);
    await wal.rotate();
    await sleep(50);
  }
}

function activeOf(wal: WalManager): number {
  return wal.segments().at(-1)?.id ?? 0;
}

/** Of 10 keys one version after the other, some of them in batches; two are deleted at last. */
function appendVersions(wal: WalManager, first: number): void {
  const { Update, Delete } = Operation;
  for (let version = first; version < first + 20; version++) {
    for (let i = 0; i < 10; i++) {
      const record = { data: Buffer.alloc(40 + i, `version ${version} of ${i} `), kind: Update, key: `key ${i}` };
      if (i % 3 !== 0) wal.append(record.data, { kind: record.kind, key: record.key });
      else wal.appendBatch([record, { data: `no key ${version}` }]);
    }
  }
  for (const key of ['key 3', 'key 7']) wal.append('', { kind: Delete, key });
}

async function make(path: string): Promise<void> {
  const wal = await WalManager.open(path, options);
  appendOldLives(wal);
  await wal.rotate();
  const first = wal.lastSequence + 1;
  appendVersions(wal, 1);
  await wal.rotate();
  appendVersions(wal, 21);
  await wal.rotate();
  await wal.compact();
  await wal.truncateBefore(first);
  await rotateIntoAnOldOne(wal, path);

  wal.appendBatch(Array.from({ length: 50 }, (_, i) => ({ data: `of a compressed batch, ${i}`, key: 'the same', kind: 2 })));
  for (let i = 0; i < 3; i++) {
    const transaction = wal.transaction();
    for (let part = 0; part <= i; part++) transaction.append(`part ${part} of ${i}`, { key: `key ${part}` });
    await transaction.commit();
  }
  wal.append('the last', { kind: 9 });
  await wal.sync();
  const records = Array.from(wal.read());
  const active = activeOf(wal);
  const files = LogFiles.read(path);
  await wal.close();

  // In segments of the usual size the rest of the file stays as it was until the log comes near.
  const segment = files.segment(active);
  const stale = endOf(files.frames(active)) + 8192;
  files.segment(files.segments[0] ?? 0).copy(segment, stale, 4096, 4096 + segment.length - stale);
  writeGolden('v1-life', files.powerCut(), records.map(toGolden));
  console.log(`${records.length} records in segments ${files.segments.join(', ')}, files ${files.names.join(', ')}`);
}

const directory = makeFastDirectory();
void make(join(directory, 'log')).finally(() => rmSync(directory, { recursive: true, force: true }));
