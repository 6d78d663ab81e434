import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';

import { load } from '../lib/load';
import { expectWalError } from './helpers/errors';
import { useLogs } from './helpers/logs';

const logs = useLogs();
const target = `${process.platform}-${process.arch}`;

test('without an addon the error says what was looked for and how to mend it', async () => {
  const error = await expectWalError('WAL_NATIVE_LOAD', () => load(logs.directory));
  expect(error.message).toContain(target);
  expect(error.message).toContain(join(logs.directory, 'prebuilds', target));
  expect(error.message).toContain('npm install segwal --force');
  expect(error.cause).toBeInstanceOf(Error);
});

test('in a checkout the error says how to build', async () => {
  writeFileSync(join(logs.directory, 'CMakeLists.txt'), '');
  const error = await expectWalError('WAL_NATIVE_LOAD', () => load(logs.directory));
  expect(error.message).toContain(`cd ${logs.directory} && npm run build:native`);
});

test('an addon that cannot be loaded is told from one that is not there', async () => {
  const directory = join(logs.directory, 'prebuilds', target);
  mkdirSync(directory, { recursive: true });
  writeFileSync(join(directory, 'segwal.node'), 'not an addon');
  const error = await expectWalError('WAL_NATIVE_LOAD', () => load(logs.directory));
  expect(error.message).toMatch(/segwal\.node/);
});
