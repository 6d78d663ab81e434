// A process that has a log open for writing. Appends the lines that it gets, and answers with their sequence numbers.
import { createInterface } from 'node:readline';

import { WalManager } from '../../lib';

async function main(directory: string, segmentSize: string | undefined): Promise<void> {
  const wal = await WalManager.open(directory, segmentSize === undefined ? {} : { segmentSize: Number(segmentSize) });
  console.log('open');
  for await (const line of createInterface({ input: process.stdin })) {
    if (line === 'close') break;
    console.log(wal.append(line));
  }
  await wal.close();
  console.log('closed');
}

void main(process.argv[2] ?? '', process.argv[3]);
