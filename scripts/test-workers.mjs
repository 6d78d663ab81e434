// `npm run test:workers:asan -- --rounds 50 --stride 1 --seed 1`, with the addon built under sanitizers: worker threads
// that come to all kinds of ends while they use a log (test/children/restless.ts), and, at every call into Node.js or
// every so many, are terminated (terminated.ts). `tsan` likewise.
import { spawnSync } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { parseArgs } from 'node:util';

import { root } from './repository.mjs';

const kinds = {
  // Leaks are looked for by counting what the process holds; what Node.js itself leaves at its exit would drown them.
  asan: { sanitize: 'address,undefined', library: 'libasan.so', options: { ASAN_OPTIONS: 'detect_leaks=0' } },
  // Node.js is not built with it: what is seen of its own threads makes no sense.
  tsan: {
    sanitize: 'thread',
    library: 'libtsan.so',
    options: { TSAN_OPTIONS: 'halt_on_error=1:ignore_noninstrumented_modules=1' },
  },
};

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    rounds: { type: 'string', default: '20' },
    stride: { type: 'string', default: '10' },
    seed: { type: 'string' },
  },
});
const kind = kinds[positionals[0]];
if (kind === undefined) throw new Error(`one of ${Object.keys(kinds).join(', ')} is meant`);
const seed = values.seed ?? String(Math.floor(Math.random() * 1e9));

function run(command, args, env = {}) {
  const { status, signal } = spawnSync(command, args, { stdio: 'inherit', env: { ...process.env, ...env } });
  if (status !== 0) throw new Error(`${command} ended with ${status ?? signal}; --seed ${seed} repeats it`);
}

const place = join(root, 'build-tests', `addon-${positionals[0]}`);
const variant = [`--CDSEGWAL_SANITIZE=${kind.sanitize}`, '--CDSEGWAL_TERMINATIONS=ON'];
run('cmake-js', ['build', '--log-level', 'warn', '--out', join(place, 'build'), ...variant]);
const { stdout } = spawnSync('gcc', [`-print-file-name=${kind.library}`], { encoding: 'utf8' });
const directory = mkdtempSync(join(tmpdir(), 'segwal-workers-'));
console.log(`seed ${seed}`);
const runChild = (name, ...args) =>
  run(process.execPath, ['-r', './test/helpers/register.js', `test/children/${name}.ts`, ...args], {
    LD_PRELOAD: stdout.trim(),
    SEGWAL_PREBUILD: place,
    UBSAN_OPTIONS: 'halt_on_error=1:print_stacktrace=1',
    ...kind.options,
  });
try {
  runChild('restless', join(directory, 'log'), seed, values.rounds);
  const first = 1 + (Number(seed) % Number(values.stride));
  runChild('terminated', join(directory, 'logs'), String(first), values.stride);
} finally {
  rmSync(directory, { recursive: true, force: true });
}
