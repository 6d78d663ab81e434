// Commits transactions of random sizes for ever, in two threads of events, and says how many records each has that has
// resolved. Every record names its transaction, its place and how many there are.
import { setImmediate as nextTurn } from 'node:timers/promises';

import { WalManager } from '../../lib';

const [directory, seedText] = process.argv.slice(2) as [string, string];
let state = Number(seedText) >>> 0;
const random = (): number => (state = (Math.imul(state, 1664525) + 1013904223) >>> 0) / 2 ** 32;

async function transact(wal: WalManager, name: string): Promise<never> {
  for (let i = 0; ; i++) {
    const records = 1 + Math.floor(random() * 40);
    const transaction = wal.transaction();
    for (let place = 1; place <= records; place++) {
      transaction.append(`${name}${i} ${place}/${records} `.padEnd(Math.floor(random() * 300), '.'), { key: name });
      if (random() < 0.1) await nextTurn();
    }
    if (random() < 0.2) {
      transaction.abort();
      continue;
    }
    const first = await transaction.commit({ sync: random() < 0.5 ? 'async' : 'immediate' });
    process.stdout.write(`${first} ${records} ${name}${i}\n`);
  }
}

void WalManager.open(directory, { segmentSize: 64 * 1024 }).then((wal) =>
  Promise.all([transact(wal, 'a'), transact(wal, 'b')]),
);
