// A process that opens a log, appends, and comes to its end without closing it.
import { WalManager } from '../../lib';

void WalManager.open(process.argv[2] ?? '').then((wal) => {
  console.log(wal.append('left open'));
});
