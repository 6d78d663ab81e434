// `npm run test:native`: builds and runs the C++ tests by one of the presets of CMakePresets.json.
import { spawnSync } from 'node:child_process';
import { existsSync, readFileSync } from 'node:fs';
import { availableParallelism } from 'node:os';

import { findTool, skipWithout } from './repository.mjs';

const preset = process.argv[2];
const parallel = String(availableParallelism());
process.env.CMAKE_BUILD_PARALLEL_LEVEL ??= parallel;
process.env.CTEST_PARALLEL_LEVEL ??= parallel;

if (!findTool(['cmake'])) {
  skipWithout('CMake, which builds the C++ tests,', 'apt-get install cmake, or brew install cmake');
} else {
  const { status } = spawnSync('cmake', ['--workflow', '--preset', preset], { stdio: 'inherit' });
  const cache = `build-tests/${preset}/CMakeCache.txt`;
  if (status !== 0 && existsSync(cache) && readFileSync(cache, 'utf8').includes('GTest_DIR-NOTFOUND')) {
    skipWithout('GoogleTest, which the C++ tests need,', 'apt-get install libgtest-dev, or brew install googletest');
  } else {
    process.exitCode = status ?? 1;
  }
}
