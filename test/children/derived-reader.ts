// A process that reads a log of another one until its standard input ends, and says in JSON what it has seen.
import { WalManager } from '../../lib';
import { DerivedReader } from '../helpers/derived';
import type { Manner } from '../helpers/derived';

const [directory = '', manner = 'live'] = process.argv.slice(2);
const reader = new DerivedReader(manner as Manner, () => WalManager.open(directory, { readOnly: true }));
process.stdin.resume().once('end', () => {
  reader.stop();
});
void reader.run().then((reading) => {
  console.log(JSON.stringify(reading));
  process.stdin.destroy();
});
console.log('reading');
