// `npm run test:windows [-- file …]`: the C++ tests, cross-compiled, and the tests in JavaScript, by a Windows node.exe
// with the binary that would be shipped, all under wine. Debian: apt-get install g++-mingw-w64-x86-64-posix wine wine64
// libgtest-dev strace. Ends with a table of what passed, a line for each file. `npm run check:windows` only compiles the
// library. --js leaves the C++ tests out, --native those in JavaScript; --prebuild builds the binary anew.
//
// Files of the tests are in memory (/dev/shm) where that is possible: what is tested here is the code of this platform,
// not the disk, and some tests open a log ten thousand times.
import assert from 'node:assert/strict';
import { execFileSync, spawnSync } from 'node:child_process';
import {
  closeSync,
  cpSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  openSync,
  readdirSync,
  readFileSync,
  rmSync,
  symlinkSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { basename, join, resolve } from 'node:path';

import { root } from './repository.mjs';
import { countTests, makeStage } from './stage.mjs';
import { directory as tools, need, npmPackage, runtime } from './tools.mjs';

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
  // A process takes seconds to start there.
  SEGWAL_KILLS: process.env.SEGWAL_KILLS ?? '20',
  SEGWAL_ROUNDS: process.env.SEGWAL_ROUNDS ?? '4',
  SEGWAL_STRIDE: process.env.SEGWAL_STRIDE ?? '8',
};
const nativeMinutes = 40;
const fileMinutes = 10; // one file of the tests in JavaScript
const run = (command, args, options = {}) => execFileSync(command, args, { stdio: 'inherit', ...options });

/**
 * A program under wine, and how it ended; null: it was stopped because it took too long. Its output goes into a file:
 * node.exe cannot write to a pipe that is not one of Windows.
 */
function wine(name, args, { cwd = base, before = [], minutes = 10 } = {}) {
  const path = join(base, `${name}.log`);
  const log = openSync(path, 'w');
  const start = Date.now();
  const [command, ...rest] = [...before, 'wine', ...args];
  const { status } = spawnSync(command, rest, {
    cwd,
    env: wineEnvironment,
    stdio: ['ignore', log, log],
    timeout: minutes * 60_000,
    killSignal: 'SIGKILL',
  });
  closeSync(log);
  return { status, output: readFileSync(path, 'utf8'), seconds: Math.round((Date.now() - start) / 1000) };
}

/** Where tests put their files: a drive of its own. */
function prepareTemporaryFiles() {
  const directory = mkdtempSync(join(existsSync('/dev/shm') ? '/dev/shm' : tmpdir(), 'segwal-wine-'));
  const drive = join(wineEnvironment.WINEPREFIX, 'dosdevices', 't:');
  rmSync(drive, { force: true });
  symlinkSync(directory, drive);
  mkdirSync(join(directory, 'temp'));
  for (const name of ['TEMP', 'TMP']) {
    const { status } = wine('reg', ['reg', 'add', 'HKCU\\Environment', '/v', name, '/d', 'T:\\temp', '/f']);
    assert.equal(status, 0, 'where temporary files go cannot be told to wine');
  }
  return directory;
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
  const args = ['segwal_tests.exe', '--gtest_output=xml:results.xml'];
  const { status, output, seconds } = wine('native', args, { minutes: nativeMinutes });
  console.log(output.split('\n').filter((line) => /FAILED|Failure|SKIPPED/.test(line)).join('\n')); // prettier-ignore
  return { what: 'C++', ...countTests(output), seconds, status };
}

/** A sync has to reach the system below: wine makes msync of FlushViewOfFile and fsync of FlushFileBuffers. */
function testFlush() {
  need('strace', 'strace');
  const trace = join(base, 'flush.trace');
  const before = ['strace', '-f', '-e', 'trace=msync,fsync,fdatasync', '-o', trace];
  const test = 'Win32PlatformTest.ASyncFlushesTheViewAndThenTheFile';
  const { status, seconds } = wine('flush', ['segwal_tests.exe', `--gtest_filter=${test}`], { before });
  const lines = readFileSync(trace, 'utf8').split('\n');
  const views = lines.filter((line) => /msync\(0x[0-9a-f]+, 65536, MS_\w+\) += 0/.test(line)).length;
  const files = lines.filter((line) => /f(data)?sync\(\d+\) += 0/.test(line)).length;
  const good = status === 0 && views === 8 && files >= 8;
  console.log(`8 syncs of a mapping under strace: ${views} msync of the range, ${files} fsync of the file`);
  return { what: 'flush, under strace', passed: Number(good), failed: Number(!good), skipped: 0, seconds, status };
}

/** The repository as it would be on a Windows machine: its packages include those that are only for Windows. */
function prepareStage() {
  makeStage(stage, ['win32-x64'], { rebuild: process.argv.includes('--prebuild') });
  const version = (name) => JSON.parse(readFileSync(join('node_modules', name, 'package.json'), 'utf8')).version;
  for (const [folder, of] of [
    ['@swc/core-win32-x64-msvc', '@swc/core'],
    ['@unrs/resolver-binding-win32-x64-msvc', 'unrs-resolver'],
    ['@node-rs/crc32-win32-x64-msvc', '@node-rs/crc32'],
    ['@antoniomuso/lz4-napi-win32-x64-msvc', 'lz4-napi'],
  ]) {
    const target = join(stage, 'node_modules', folder);
    mkdirSync(target, { recursive: true });
    cpSync(npmPackage(`${folder}@${version(of)}`), target, { recursive: true });
  }
}

// What needs Linux to be tried at all says so itself, and is skipped as a whole.
const wholly = {
  'disk-full.test.ts': 'mounts a small disk',
  'event-loop.test.ts': 'looks at system calls with strace',
  'failed-sync.test.ts': 'makes system calls fail with strace',
  'failing-calls.test.ts': 'makes system calls fail with strace',
  'recorded-crash.test.ts': 'preloads a library that records the process',
  'sync-calls.test.ts': 'looks at system calls with strace',
};

// What is tried less often than elsewhere.
const sampled = {
  'crash.test.ts': `${wineEnvironment.SEGWAL_KILLS} kills`,
  'torn-tail.test.ts': `one byte in ${wineEnvironment.SEGWAL_STRIDE}`,
  'workers.test.ts': `${wineEnvironment.SEGWAL_ROUNDS} rounds`,
};

/** One file after the other: what hangs or dies takes no other with it. */
function* testJavaScript(wanted) {
  prepareStage();
  const jest = join('node_modules', 'jest', 'bin', 'jest.js');
  const options = ['--watchman=false', '--runInBand', '--testTimeout=120000', '--verbose'];
  const node = runtime('node 20 windows');
  const all = readdirSync(join(stage, 'test')).filter((name) => name.endsWith('.test.ts'));
  for (const file of wanted.length === 0 ? all : wanted.map((path) => basename(path))) {
    assert(all.includes(file), `there is no test/${file}`);
    const args = [node, jest, ...options, `test/${file}`];
    const { status, output, seconds } = wine(file, args, { cwd: stage, minutes: fileMinutes });
    console.log(output.split('\n').filter((line) => /^(PASS|FAIL)|●|✕|○/.test(line.trim())).join('\n')); // prettier-ignore
    if (status === null) console.log(`STOPPED test/${file} after ${fileMinutes} minutes`);
    yield { what: file, ...countTests(output), seconds, status, note: wholly[file] ?? sampled[file] ?? '' };
  }
}

if (compileOnly) {
  buildNative(`${base}-library`, ['-DSEGWAL_WERROR=ON']);
  process.exit();
}
if (buildOnly) {
  buildTests();
  process.exit();
}
const files = process.argv.slice(2).filter((argument) => !argument.startsWith('--'));
const javaScriptOnly = process.argv.includes('--js') || files.length > 0;
const nativeOnly = process.argv.includes('--native');
assert(!(nativeOnly && javaScriptOnly), 'there is nothing left to run');
prepareWine();
const temporary = prepareTemporaryFiles();
try {
  const rows = javaScriptOnly ? [] : [testNative(), testFlush()];
  if (!nativeOnly) for (const row of testJavaScript(files)) rows.push(row);
  console.table(rows);
  console.log(execFileSync('wine', ['--version'], { encoding: 'utf8', env: wineEnvironment }).trim());
  const isGood = ({ what, passed, failed, skipped, status }) =>
    status === 0 && failed === 0 && (passed > 0 || (what in wholly && skipped > 0));
  assert(rows.every(isGood), 'not everything passed');
} finally {
  spawnSync('wineserver', ['-k'], { env: wineEnvironment });
  rmSync(temporary, { recursive: true, force: true });
}
