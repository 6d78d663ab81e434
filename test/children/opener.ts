// A worker thread that opens a log and says how that went: `joined`, or why not.
import { parentPort, workerData } from 'node:worker_threads';

import { WalManager } from '../../lib';
import type { WalError, WalOptions } from '../../lib';

const { directory, options } = workerData as { directory: string; options: WalOptions };
void WalManager.open(directory, options)
  .then(async (wal) => {
    await wal.close();
    return 'joined';
  })
  .catch((error: unknown) => `${(error as WalError).code}: ${(error as WalError).message}`)
  .then((answer) => parentPort?.postMessage(answer));
