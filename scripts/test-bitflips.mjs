// `npm run test:bitflips`: turns 100,000 bits of a log, one at a time, and sees each noticed or harmless.
// --flips <n>, --seed <n>: as many, the same again.
import { spawnSync } from 'node:child_process';
import { existsSync } from 'node:fs';
import { parseArgs } from 'node:util';

const { values } = parseArgs({ options: { flips: { type: 'string', default: '100000' }, seed: { type: 'string' } } });

process.env.SEGWAL_BITFLIPS = values.flips;
if (values.seed !== undefined) process.env.SEGWAL_SEED = values.seed;
// In memory, where there is such a place: it opens a log some hundred thousand times.
if (process.env.TEST_TMPDIR === undefined && existsSync('/dev/shm')) process.env.TEST_TMPDIR = '/dev/shm/';

const run = (command, args) => spawnSync(command, args, { stdio: 'inherit' }).status ?? 1;
process.exitCode =
  run('cmake', ['--preset', 'plain']) ||
  run('cmake', ['--build', '--preset', 'plain']) ||
  run('build-tests/plain/segwal_tests', ['--gtest_filter=BitFlipTest.*', '--gtest_brief=1']);
