import { execFileSync } from 'node:child_process';
import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';

import { libc, load } from '../lib/load';
import { expectWalError } from './helpers/errors';
import { useLogs } from './helpers/logs';

const logs = useLogs();
const linux = process.platform === 'linux';
const target = `${process.platform}-${process.arch}`;
const fileName = linux ? `segwal.${libc()}.node` : 'segwal.node';

function place(...path: string[]): string {
  const directory = join(logs.directory, ...path);
  mkdirSync(directory, { recursive: true });
  return directory;
}

/** The beginning of an ELF file whose dynamic linker is `interpreter`. */
function elf(interpreter: string): Buffer {
  const file = Buffer.alloc(4096);
  file.write('\x7fELF', 0, 'latin1');
  file.writeBigUInt64LE(64n, 32); // program headers
  file.writeUInt16LE(56, 54);
  file.writeUInt16LE(2, 56);
  file.writeUInt32LE(1, 64); // PT_LOAD
  file.writeUInt32LE(3, 120); // PT_INTERP
  file.writeBigUInt64LE(1024n, 128);
  file.writeBigUInt64LE(BigInt(interpreter.length + 1), 152);
  file.write(interpreter, 1024, 'latin1');
  return file;
}

test('without an addon the error says what was looked for and how to mend it', async () => {
  const error = await expectWalError('WAL_NATIVE_LOAD', () => load(logs.directory));
  expect(error.message).toContain(linux ? `${target}-${libc()} (Node.js ` : `${target} (Node.js `);
  expect(error.message).toContain(join(logs.directory, 'prebuilds', target, fileName));
  expect(error.message).toContain(join(logs.directory, 'build', 'Release', 'segwal.node'));
  expect(error.message).toContain('npm install segwal --force');
});

test('in a checkout the error says how to build', async () => {
  writeFileSync(join(logs.directory, 'binding.gyp'), '');
  const error = await expectWalError('WAL_NATIVE_LOAD', () => load(logs.directory));
  expect(error.message).toContain(`cd ${logs.directory} && npm run build:native`);
});

test('an addon that cannot be loaded is told from one that is not there, and built from the sources', async () => {
  const file = join(place('prebuilds', target), fileName);
  writeFileSync(file, 'not an addon');
  const error = await expectWalError('WAL_NATIVE_LOAD', () => load(logs.directory));
  expect(error.message).toContain(`looked for ${file}; `);
  expect(error.message).toContain(`cd ${logs.directory} && npm install --no-save --ignore-scripts cmake-js@8 `);
  expect((error.cause as Error).message).toContain(file);
});

test('on a platform that the package has nothing for, the error says how to build', async () => {
  const actual = Object.getOwnPropertyDescriptor(process, 'arch')!;
  Object.defineProperty(process, 'arch', { ...actual, value: 'riscv64' });
  try {
    const error = await expectWalError('WAL_NATIVE_LOAD', () => load(logs.directory));
    expect(error.message).toContain(`${process.platform}-riscv64`);
    expect(error.message).toContain('npx cmake-js build');
  } finally {
    Object.defineProperty(process, 'arch', actual);
  }
});

test('what was built here comes before what came with the package', async () => {
  writeFileSync(join(place('prebuilds', target), fileName), 'not an addon');
  writeFileSync(join(place('build', 'Release'), 'segwal.node'), 'not an addon either');
  const error = await expectWalError('WAL_NATIVE_LOAD', () => load(logs.directory));
  expect(error.message).toContain(`looked for ${join(logs.directory, 'build', 'Release', 'segwal.node')}; `);
});

// The tests of worker threads under sanitizers name theirs in this way, and would test nothing if it went unheeded.
test('SEGWAL_PREBUILD names the only folder that is looked in', () => {
  const program = `require(${JSON.stringify(join(__dirname, '..', 'test', 'helpers', 'register.js'))});
    const { loadNative } = require(${JSON.stringify(join(__dirname, '..', 'lib', 'load'))});
    try { loadNative(); console.log('loaded'); } catch ({ code, message }) { console.log(code, message); }`;
  const run = (folder: string) =>
    execFileSync(process.execPath, ['-e', program], {
      env: { ...process.env, SEGWAL_PREBUILD: folder },
      encoding: 'utf8',
    });
  expect(run('')).toBe('loaded\n');
  expect(run(join(__dirname, '..'))).toBe('loaded\n');
  const message = run(logs.directory);
  expect(message).toContain('WAL_NATIVE_LOAD');
  expect(message).toContain(join(logs.directory, 'build', 'Release', 'segwal.node'));
  expect(message).toContain('run: unset SEGWAL_PREBUILD');
});

test.each([
  ['/lib64/ld-linux-x86-64.so.2', 'glibc'],
  ['/lib/ld-linux-aarch64.so.1', 'glibc'],
  ['/lib/ld-musl-x86_64.so.1', 'musl'],
  ['/nix/store/somewhere/lib/ld-musl-aarch64.so.1', 'musl'],
])('a program that is run by %s has %s', (interpreter, expected) => {
  const program = join(logs.directory, 'program');
  writeFileSync(program, elf(interpreter));
  expect(libc(program)).toBe(expected);
});

test('of a program that is no ELF file, or is not there, glibc is assumed', () => {
  const script = join(logs.directory, 'script');
  writeFileSync(script, '#!/bin/sh\n');
  expect(libc(script)).toBe('glibc');
  expect(libc(join(logs.directory, 'nothing'))).toBe('glibc');
});
