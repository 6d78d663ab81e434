// `npm run test:workers:asan -- --rounds 50 --seed 1`: worker threads that come to all kinds of ends while they use a
// log (test/children/restless.ts), with the addon built under sanitizers. `tsan` likewise.
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
  options: { rounds: { type: 'string', default: '20' }, seed: { type: 'string' } },
});
const kind = kinds[positionals[0]];
if (kind === undefined) throw new Error(`one of ${Object.keys(kinds).join(', ')} is meant`);
const seed = values.seed ?? String(Math.floor(Math.random() * 1e9));

function run(command, args, env = {}) {
  const { status, signal } = spawnSync(command, args, { stdio: 'inherit', env: { ...process.env, ...env } });
  if (status !== 0) throw new Error(`${command} ended with ${status ?? signal}; --seed ${seed} repeats it`);
}

const place = join(root, 'build-tests', `addon-${positionals[0]}`);
const build = ['build', '--log-level', 'warn', '--out', join(place, 'build'), `--CDSEGWAL_SANITIZE=${kind.sanitize}`];
run('cmake-js', build);
const { stdout } = spawnSync('gcc', [`-print-file-name=${kind.library}`], { encoding: 'utf8' });
const directory = mkdtempSync(join(tmpdir(), 'segwal-workers-'));
console.log(`seed ${seed}`);
try {
  const program = ['-r', './test/helpers/register.js', 'test/children/restless.ts'];
  run(process.execPath, [...program, join(directory, 'log'), seed, values.rounds], {
    LD_PRELOAD: stdout.trim(),
    SEGWAL_PREBUILD: place,
    UBSAN_OPTIONS: 'halt_on_error=1:print_stacktrace=1',
    ...kind.options,
  });
} finally {
  rmSync(directory, { recursive: true, force: true });
}
