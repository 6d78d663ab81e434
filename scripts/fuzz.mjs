// `npm run fuzz -- --seconds 60`: runs each fuzz target (native/testing/fuzz_targets.h) so long under libFuzzer, with
// address and undefined-behaviour sanitizers. --target <name>: only that one. What makes one crash is written to
// test/fuzz/<target>/, where the C++ tests find it from then on.
import { spawnSync } from 'node:child_process';
import { mkdirSync } from 'node:fs';
import { parseArgs } from 'node:util';

import { findTool } from './repository.mjs';

const targets = ['frames', 'payload', 'headers', 'recovery'];
const { values } = parseArgs({ options: { seconds: { type: 'string', default: '60' }, target: { type: 'string' } } });
const wanted = values.target === undefined ? targets : [values.target];
const compiler = findTool(['clang++-19', 'clang++']);

if (!compiler) {
  console.log('skipped fuzzing: it needs clang (apt-get install clang-19)');
} else if (wanted.some((each) => !targets.includes(each))) {
  console.error(`--target must be one of ${targets.join(', ')}`);
  process.exitCode = 2;
} else {
  process.exitCode = build() || wanted.map(fuzz).find((status) => status !== 0) || 0;
}

function run(command, args, env = {}) {
  return spawnSync(command, args, { stdio: 'inherit', env: { ...process.env, ...env } }).status ?? 1;
}

function build() {
  const configure = [
    ...['-S', '.', '-B', 'build-tests/fuzz', '-DCMAKE_BUILD_TYPE=Debug', '-DSEGWAL_FUZZ=ON'],
    ...[`-DCMAKE_CXX_COMPILER=${compiler}`, '-DSEGWAL_SANITIZE=fuzzer-no-link,address,undefined'],
  ];
  return run('cmake', configure) || run('cmake', ['--build', 'build-tests/fuzz', '--target', 'segwal_fuzz']);
}

function fuzz(target) {
  const corpus = `build-tests/fuzz/corpus/${target}`;
  const found = `test/fuzz/${target}`;
  for (const folder of [corpus, found]) mkdirSync(folder, { recursive: true });
  console.log(`fuzzing ${target} for ${values.seconds} s`);
  const limits = [`-max_total_time=${values.seconds}`, '-timeout=20', '-rss_limit_mb=2048', '-max_len=8192'];
  const quiet = ['-verbosity=0', '-print_final_stats=1', `-artifact_prefix=${found}/`];
  return run('build-tests/fuzz/segwal_fuzz', [...limits, ...quiet, corpus, found], {
    SEGWAL_FUZZ_TARGET: target,
    SEGWAL_FUZZ_SEEDS: corpus,
  });
}
