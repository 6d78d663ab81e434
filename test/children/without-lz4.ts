// A process in which lz4-napi cannot be found: opens a log for writing, verifies it, and reads it to where it fails.
import Module from 'node:module';

import { WalManager } from '../../lib';
import type { WalError } from '../../lib';

const loader = Module as unknown as { _load: (request: string, ...rest: unknown[]) => unknown };
const load = loader._load;
loader._load = (request, ...rest) => {
  if (request === 'lz4-napi')
    throw Object.assign(new Error("Cannot find module 'lz4-napi'"), { code: 'MODULE_NOT_FOUND' });
  return load(request, ...rest);
};

async function main(directory: string): Promise<void> {
  const refused = await WalManager.open(directory, { compression: 'lz4' }).catch((error: WalError) => error);
  const wal = await WalManager.open(directory);
  const { ok, records } = await wal.verify();
  const read: number[] = [];
  let failure: WalError | undefined;
  try {
    for (const { sequence } of wal.read()) read.push(sequence);
  } catch (error) {
    failure = error as WalError;
  }
  const last = wal.lastSequence;
  wal.append('one more');
  await wal.close();
  const tell = ({ code, message, firstSequence }: Partial<WalError>): object => ({ code, message, firstSequence });
  console.log(JSON.stringify({ refused: tell(refused), ok, records, last, read, failure: tell(failure ?? {}) }));
}

void main(process.argv[2] ?? '');
