// `npm run test:windows [-- jest's arguments]`: the C++ tests, cross-compiled, and the tests in JavaScript, by a Windows
// node.exe with the binary that would be shipped, all under wine. Debian: apt-get install g++-mingw-w64-x86-64-posix
// wine wine64 libgtest-dev strace. Ends with a table of what passed. `npm run check:windows` only compiles the library.
import assert from 'node:assert/strict';
import { execFileSync, spawnSync } from 'node:child_process';
import { closeSync, cpSync, existsSync, mkdirSync, openSync, readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { join, resolve } from 'node:path';

import { root } from './repository.mjs';
import { countTests, makeStage } from './stage.mjs';
import { directory as tools, need, npmPackage, runtime } from './tools.mjs';

const require = createRequire(import.meta.url);
const base = resolve('build-tests', 'windows-x64');
const stage = join(base, 'stage');
mkdirSync(base, { recursive: true });

const compiler = need('x86_64-w64-mingw32-g++-posix', 'g++-mingw-w64-x86-64-posix');
const compileOnly = process.argv.includes('--compile-only'); // the library, to see that it still compiles; warnings fail
const buildOnly = process.argv.includes('--build-only'); // the C++ tests, for a real Windows
if (!compileOnly && !buildOnly) need('wine', 'wine wine64');
const wineEnvironment = {
  ...process.env,
  WINEPREFIX: join(tools, 'wine'),
  WINEDEBUG: '-all',
  WINEARCH: 'win64',
  WINEDLLOVERRIDES: 'mscoree,mshtml=',
  // A process takes seconds to start there, an open ten times as long.
  SEGWAL_KILLS: process.env.SEGWAL_KILLS ?? '20',
  SEGWAL_BITFLIPS: process.env.SEGWAL_BITFLIPS ?? '50',
  SEGWAL_ROUNDS: process.env.SEGWAL_ROUNDS ?? '4',
};
const run = (command, args, options = {}) => execFileSync(command, args, { stdio: 'inherit', ...options });

/** A program under wine. Its output goes into a file: node.exe cannot write to a pipe that is not one of Windows. */
function wine(name, args, { cwd = base, before = [] } = {}) {
  const path = join(base, `${name}.log`);
  const log = openSync(path, 'w');
  const [command, ...rest] = [...before, 'wine', ...args];
  const { status } = spawnSync(command, rest, { cwd, env: wineEnvironment, stdio: ['ignore', log, log] });
  closeSync(log);
  return { status, output: readFileSync(path, 'utf8') };
}

function prepareWine() {
  const system = join(wineEnvironment.WINEPREFIX, 'drive_c', 'windows', 'system32');
  if (!existsSync(system)) {
    wine('wineboot', ['wineboot', '-i']);
    wine('winecfg', ['winecfg', '-v', 'win10']);
  }
  // What compiled Rust takes its random numbers from, and wine 8 lacks: the transformer and the resolver of jest need it.
  const library = join(system, 'bcryptprimitives.dll');
  if (!existsSync(library)) {
    const code = `#include <windows.h>
      BOOLEAN NTAPI SystemFunction036(PVOID, ULONG);
      __declspec(dllexport) BOOL WINAPI ProcessPrng(PBYTE out, SIZE_T size) { return SystemFunction036(out, (ULONG)size); }`;
    run(compiler.replace('g++', 'gcc'), ['-shared', '-o', library, '-xc', '-', '-ladvapi32'], {
      input: code,
      stdio: ['pipe', 'inherit', 'inherit'],
    });
  }
  // While it runs, the "boot" of all programs under it is one and the same.
  spawnSync('wineserver', ['-p'], { env: wineEnvironment, stdio: 'ignore' });
}

function buildNative(build, options) {
  const toolchain = join(root, 'cmake', 'windows-x64.cmake');
  const configure = ['-S', '.', '-B', build, '-DCMAKE_BUILD_TYPE=Debug', `-DCMAKE_TOOLCHAIN_FILE=${toolchain}`];
  run('cmake', [...configure, ...options]);
  run('cmake', ['--build', build, '--parallel', process.env.CMAKE_BUILD_PARALLEL_LEVEL ?? '2']);
}

const buildTests = () => {
  buildNative(base, ['-DSEGWAL_TESTS=ON', '-DSEGWAL_GTEST_SOURCE=/usr/src/googletest']);
};

function testNative() {
  buildTests();
  const { status, output } = wine('native', ['segwal_tests.exe', '--gtest_output=xml:results.xml']);
  console.log(output.split('\n').filter((line) => /FAILED|Failure|SKIPPED/.test(line)).join('\n')); // prettier-ignore
  return {
    what: 'C++',
    ...countTests(output),
    status,
  };
}

/** A sync has to reach the system below: wine makes msync of FlushViewOfFile and fsync of FlushFileBuffers. */
function testFlush() {
  need('strace', 'strace');
  const trace = join(base, 'flush.trace');
  const before = ['strace', '-f', '-e', 'trace=msync,fsync,fdatasync', '-o', trace];
  const test = 'Win32PlatformTest.ASyncFlushesTheViewAndThenTheFile';
  const { status } = wine('flush', ['segwal_tests.exe', `--gtest_filter=${test}`], { before });
  const lines = readFileSync(trace, 'utf8').split('\n');
  const views = lines.filter((line) => /msync\(0x[0-9a-f]+, 65536, MS_\w+\) += 0/.test(line)).length;
  const files = lines.filter((line) => /f(data)?sync\(\d+\) += 0/.test(line)).length;
  const good = status === 0 && views === 8 && files >= 8;
  console.log(`8 syncs of a mapping under strace: ${views} msync of the range, ${files} fsync of the file`);
  return { what: 'flush, under strace', passed: Number(good), failed: Number(!good), skipped: 0, status };
}

/** The repository as it would be on a Windows machine: its packages include those that are only for Windows. */
function prepareStage() {
  makeStage(stage, ['win32-x64'], { rebuild: process.argv.includes('--prebuild') });
  const version = (name) => require(`${name}/package.json`).version;
  for (const [folder, of] of [
    ['@swc/core-win32-x64-msvc', '@swc/core'],
    ['@unrs/resolver-binding-win32-x64-msvc', 'unrs-resolver'],
    ['@node-rs/crc32-win32-x64-msvc', '@node-rs/crc32'],
  ]) {
    const target = join(stage, 'node_modules', folder);
    mkdirSync(target, { recursive: true });
    cpSync(npmPackage(`${folder}@${version(of)}`), target, { recursive: true });
  }
}

function testJavaScript(jestArguments) {
  prepareStage();
  const jest = join('node_modules', 'jest', 'bin', 'jest.js');
  const options = ['--watchman=false', '--runInBand', '--testTimeout=120000'];
  const node = runtime('node 20 windows');
  const { status, output } = wine('jest', [node, jest, ...options, ...jestArguments], { cwd: stage });
  console.log(output.split('\n').filter((line) => /^(PASS|FAIL)|●|✕|○/.test(line.trim())).join('\n')); // prettier-ignore
  return {
    what: 'JavaScript',
    ...countTests(output),
    status,
  };
}

if (compileOnly) {
  buildNative(`${base}-library`, ['-DSEGWAL_WERROR=ON']);
  process.exit();
}
if (buildOnly) {
  buildTests();
  process.exit();
}
const jestArguments = process.argv.slice(2).filter((argument) => argument !== '--prebuild');
prepareWine();
try {
  const rows = jestArguments.length > 0 ? [] : [testNative(), testFlush()];
  rows.push(testJavaScript(jestArguments));
  console.table(rows);
  console.log(execFileSync('wine', ['--version'], { encoding: 'utf8', env: wineEnvironment }).trim());
  assert(
    rows.every((row) => row.status === 0 && row.failed === 0 && row.passed > 0),
    'not everything passed',
  );
} finally {
  spawnSync('wineserver', ['-k'], { env: wineEnvironment });
}
