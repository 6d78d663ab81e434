// A process that carries out a plan on a log, and notes in a file what it has been told, for test/recorded-crash.test.ts.
import { openSync, writeSync } from 'node:fs';
import { join } from 'node:path';

import { WalManager } from '../../lib';
import { contentOf, planOf, recordedSegment } from '../helpers/recorded-plan';

async function main(directory: string, seed: number): Promise<void> {
  const notes = openSync(join(directory, 'notes'), 'a');
  const note = (text: string): void => {
    writeSync(notes, `${text}\n`);
  };
  let wal = await WalManager.open(join(directory, 'log'), { segmentSize: recordedSegment });
  for (const step of planOf(seed)) {
    if (step.what === 'append') {
      note(`appended ${wal.append(contentOf(step.first))}`);
    } else if (step.what === 'write') {
      const first = await wal.write(contentOf(step.first), { sync: 'immediate' });
      note(`appended ${first}\ndurable ${first}`);
    } else if (step.what === 'batch') {
      const data = Array.from({ length: step.count }, (_, i) => ({ data: contentOf(step.first + i) }));
      note(`appended ${wal.appendBatch(data) + step.count - 1}`);
    } else if (step.what === 'sync') {
      note(`durable ${await wal.sync()}`);
    } else if (step.what === 'rotate') {
      await wal.rotate();
    } else if (step.what === 'truncate') {
      note(`truncating ${step.first}`);
      await wal.truncateBefore(step.first);
    } else {
      await wal.close();
      note(`durable ${step.first - 1}`);
      wal = await WalManager.open(join(directory, 'log'));
    }
  }
  await wal.close();
}

void main(process.argv[2] ?? '', Number(process.argv[3]));
