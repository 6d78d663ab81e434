// `npm run test:simulation -- --minutes 2`: builds the simulation (native/testing/simulation.h) and runs it with the given
// arguments. The seed is printed first; what fails is printed as a program that repeats it. The outcome goes to
// build-tests/simulation.xml, for scripts/count-tests.mjs.
import { spawnSync } from 'node:child_process';
import { mkdirSync, writeFileSync } from 'node:fs';
import { availableParallelism } from 'node:os';

import { findTool, skipWithout } from './repository.mjs';

process.env.CMAKE_BUILD_PARALLEL_LEVEL ??= String(availableParallelism());

const run = (command, args) => spawnSync(command, args, { stdio: 'inherit' }).status ?? 1;

if (!findTool(['cmake'])) {
  skipWithout('CMake, which builds the simulation,', 'apt-get install cmake, or brew install cmake');
} else {
  const status =
    run('cmake', ['--preset', 'plain']) ||
    run('cmake', ['--build', '--preset', 'plain', '--target', 'segwal_simulate']) ||
    run('build-tests/plain/segwal_simulate', process.argv.slice(2));
  mkdirSync('build-tests', { recursive: true });
  const failures = status === 0 ? 0 : 1;
  writeFileSync(
    'build-tests/simulation.xml',
    `<testsuite name="simulation" tests="1" failures="${failures}" disabled="0" skipped="0"/>\n`,
  );
  process.exitCode = status;
}
