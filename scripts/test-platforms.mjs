// `npm run test:platforms [part …]`: what can be run on one x64 Linux machine of all that is shipped for Linux.
//
//   node    the tests in JavaScript on Node 20, 22, 24 and 26, all with the one binary that would be shipped
//   others  the smoke test on Bun and Deno, with the same binary
//   arm64   the C++ tests and the smoke test under qemu (Debian: qemu-user-static g++-aarch64-linux-gnu libgtest-dev)
//   musl    the C++ tests, linked with musl and libc++ and nothing else; the smoke test on a Bun that was built for musl
//           (Debian: musl libgtest-dev)
//   arm64-musl  the same for arm64 under qemu (Debian: qemu-user-static g++-aarch64-linux-gnu libgtest-dev)
//
// Windows has a script of its own, test-windows.mjs. Ends with a table.
import assert from 'node:assert/strict';
import { execFileSync, spawnSync } from 'node:child_process';
import { copyFileSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';

import { root } from './repository.mjs';
import { countTests, makeStage } from './stage.mjs';
import { directory as tools, muslArm64, need, runtime, zig } from './tools.mjs';

const base = resolve('build-tests', 'platforms');
const stage = join(base, 'stage');
const parallel = process.env.CMAKE_BUILD_PARALLEL_LEVEL ?? '2';
const rows = [];

function run(what, command, args, { cwd = stage, env = {}, count = countTests } = {}) {
  const start = Date.now();
  const { status, stdout, stderr, error } = spawnSync(command, args, {
    cwd,
    encoding: 'utf8',
    env: { ...process.env, CI: '', ...env },
    maxBuffer: 1 << 28,
  });
  const output = `${stdout ?? ''}${stderr ?? ''}`;
  const counts = count(output, status);
  if (status !== 0) console.log(error ?? output.split('\n').slice(-80).join('\n'));
  rows.push({ what, ...counts, seconds: Math.round((Date.now() - start) / 1000), status });
}

function smoke(what, command, env = {}) {
  const directory = mkdtempSync(join(tmpdir(), 'segwal-smoke-'));
  const [program, ...args] = command;
  const count = (output, status) => {
    console.log(`${what}: ${output.trim()}`);
    return { passed: Number(status === 0), failed: Number(status !== 0), skipped: 0 };
  };
  run(what, program, [...args, 'scripts/smoke.cjs', '.', directory], { count, env });
  rmSync(directory, { recursive: true });
}

/**
 * What lets Bun for musl find the libstdc++ that it wants (the addon wants none): that of Debian, and beside it what only
 * glibc has, as a library with the name of glibc's loader. Good enough to start a program. This is no Alpine.
 */
function muslLibraries({ target, gcc, loader }) {
  const directory = join(tools, `${target}-libraries`);
  mkdirSync(directory, { recursive: true });
  for (const name of ['libstdc++.so.6', 'libgcc_s.so.1']) {
    copyFileSync(execFileSync(gcc, [`-print-file-name=${name}`], { encoding: 'utf8' }).trim(), join(directory, name));
  }
  const code = `#define _GNU_SOURCE
    #include <locale.h>
    #include <sys/auxv.h>
    #include <sys/random.h>
    #include <time.h>
    unsigned arc4random(void) { unsigned value; getrandom(&value, sizeof value, 0); return value; }
    int _dl_find_object(void* address, void* result) { return -1; }
    unsigned long __getauxval(unsigned long type) { return getauxval(type); }
    size_t __strftime_l(char* out, size_t size, const char* format, const struct tm* time, locale_t locale) {
      return strftime_l(out, size, format, time, locale);
    }
    char __libc_single_threaded;
    int __cxa_thread_atexit_impl(void (*destroy)(void*), void* object, void* library) { return 0; }
    unsigned __cpu_model[4];
    int __cpu_indicator_init(void) { return 0; }`;
  const output = join(directory, loader);
  execFileSync(zig(), ['cc', '-target', target, '-shared', '-fPIC', '-O1', '-o', output, '-xc', '-'], {
    input: code,
    stdio: ['pipe', 'inherit', 'inherit'],
  });
  return { LD_LIBRARY_PATH: directory, LD_PRELOAD: output };
}

/** Builds the C++ tests by one of cmake/*.cmake; where they are. */
function crossBuildTests(name, env = {}) {
  const build = join(base, name);
  const configure = ['-S', root, '-B', build, '-DCMAKE_BUILD_TYPE=Debug', '-DSEGWAL_TESTS=ON'];
  const options = { stdio: ['ignore', 'ignore', 'inherit'], env: { ...process.env, ...env } };
  execFileSync(
    'cmake',
    [
      ...configure,
      `-DCMAKE_TOOLCHAIN_FILE=${join(root, 'cmake', `${name}.cmake`)}`,
      '-DSEGWAL_GTEST_SOURCE=/usr/src/googletest',
    ],
    options,
  );
  execFileSync('cmake', ['--build', build, '--parallel', parallel], options);
  return build;
}

/**
 * A program for ARM as one that this machine can start, also by itself, which death tests do: they start argv[0] again.
 * In qemu 7.2 an instruction that zeroes a cache line (DC ZVA) leaves 16 bytes as they were when the page was
 * write-protected and a signal handler has made it writable, as the machine in memory of the crash tests does. glibc has
 * a memset without that instruction, for a processor that is named here.
 */
function underQemu([qemu, ...options], program) {
  const script = `${program}.sh`;
  const command = [qemu, '-E', 'GLIBC_TUNABLES=glibc.cpu.name=kunpeng920', '-0', '"$0"', ...options, program];
  writeFileSync(script, `#!/bin/sh\nexec ${command.join(' ')} "$@"\n`, { mode: 0o755 });
  return script;
}

/** qemu answers MADV_POPULATE_WRITE with success and does nothing, which is what these two tests are about. */
function leftOutUnderQemu(part) {
  const lax = ['PopulatedPagesTakeNoFault', 'PopulatingATruncatedFileIsAnErrorAndNoSignal'];
  console.log(`${part}: left out because of qemu: ${lax.join(', ')}`);
  return `--gtest_filter=-${lax.map((name) => `PosixPlatformTest.${name}`).join(':')}`;
}

const parts = {
  node() {
    const programs = { 'node 20': process.execPath };
    for (const name of ['node 22', 'node 24', 'node 26']) programs[name] = runtime(name);
    for (const [name, program] of Object.entries(programs)) {
      const version = execFileSync(program, ['--version'], { encoding: 'utf8' }).trim();
      run(`${name} (${version}): jest`, program, ['node_modules/jest/bin/jest.js', '--maxWorkers=2'], {
        env: { SEGWAL_KILLS: process.env.SEGWAL_KILLS ?? '50' },
      });
    }
  },
  others() {
    smoke('bun', [runtime('bun')]);
    smoke('deno', [runtime('deno'), '-A']);
  },
  arm64() {
    const qemu = [need('qemu-aarch64-static', 'qemu-user-static'), '-L', '/usr/aarch64-linux-gnu'];
    need('aarch64-linux-gnu-g++', 'g++-aarch64-linux-gnu');
    smoke('arm64: node 20 under qemu', [...qemu, runtime('node 20 arm64')]);
    const build = crossBuildTests('linux-arm64');
    const filter = leftOutUnderQemu('arm64');
    for (const [what, name, args] of [
      ['C++', 'segwal_tests', [filter]],
      ['interleavings', 'segwal_interleavings', []],
    ]) {
      run(`arm64: ${what} under qemu`, underQemu(qemu, join(build, name)), ['--gtest_brief=1', ...args]);
    }
  },
  musl() {
    need('/lib/ld-musl-x86_64.so.1', 'musl');
    const libraries = muslLibraries({ target: 'x86_64-linux-musl', gcc: 'gcc', loader: 'ld-linux-x86-64.so.2' });
    smoke('musl: bun', [runtime('bun musl')], libraries);
    const build = crossBuildTests('linux-x64-musl', { SEGWAL_ZIG: zig() });
    run('musl: C++, static', join(build, 'segwal_tests'), ['--gtest_brief=1']);
  },
  'arm64-musl'() {
    const qemu = need('qemu-aarch64-static', 'qemu-user-static');
    const gcc = need('aarch64-linux-gnu-gcc', 'g++-aarch64-linux-gnu');
    const libraries = muslLibraries({ target: 'aarch64-linux-musl', gcc, loader: 'ld-linux-aarch64.so.1' });
    smoke('arm64-musl: bun under qemu', [qemu, '-L', muslArm64(), runtime('bun musl arm64')], libraries);
    const build = crossBuildTests('linux-arm64-musl', { SEGWAL_ZIG: zig() });
    const filter = leftOutUnderQemu('arm64-musl');
    run('arm64-musl: C++, static, under qemu', underQemu([qemu], join(build, 'segwal_tests')), [
      '--gtest_brief=1',
      filter,
    ]);
  },
};

const wanted = process.argv.slice(2).length > 0 ? process.argv.slice(2) : Object.keys(parts);
for (const part of wanted)
  assert(part in parts, `there is no part ${part}; there are ${Object.keys(parts).join(', ')}`);
const binaries = {
  node: 'linux-x64-glibc',
  others: 'linux-x64-glibc',
  arm64: 'linux-arm64-glibc',
  musl: 'linux-x64-musl',
  'arm64-musl': 'linux-arm64-musl',
};
makeStage(
  stage,
  wanted.map((part) => binaries[part]),
);
for (const part of wanted) parts[part]();
console.table(rows);
assert(
  rows.every((row) => row.status === 0 && row.failed === 0 && row.passed > 0),
  'not everything passed',
);
