// A copy of the repository without what was built in it, for tests of what would be shipped: its files, its packages, and
// the binaries of `npm run prebuild`.
import { execFileSync } from 'node:child_process';
import { copyFileSync, existsSync, mkdirSync, rmSync } from 'node:fs';
import { dirname, join } from 'node:path';

import { targets } from './prebuild/targets.mjs';
import { files } from './repository.mjs';

/** Makes `directory` afresh, with the binary of each target in `names`, built when it is not there. */
export function makeStage(directory, names, { rebuild = false } = {}) {
  rmSync(directory, { recursive: true, force: true });
  for (const path of files.filter((name) =>
    /^(lib|test|bench|examples|native\/(sources\.txt|testing\/recorder\/)|scripts\/smoke\.cjs|[^/]+$)/.test(name),
  )) {
    mkdirSync(dirname(join(directory, path)), { recursive: true });
    copyFileSync(path, join(directory, path));
  }
  execFileSync('cp', ['-al', 'node_modules', join(directory, 'node_modules')]);
  if (existsSync('dist')) execFileSync('cp', ['-a', 'dist', join(directory, 'dist')]);
  for (const name of names) {
    const { file } = targets.find((target) => target.name === name);
    const built = join('prebuilds', file);
    if (rebuild || !existsSync(built)) execFileSync('node', ['scripts/prebuild.mjs', name], { stdio: 'inherit' });
    mkdirSync(dirname(join(directory, built)), { recursive: true });
    copyFileSync(built, join(directory, built));
  }
}

/** How many tests a run of GoogleTest or jest says that passed, failed and were skipped. */
export function countTests(output) {
  const first = (pattern) => Number(pattern.exec(output)?.[1] ?? 0);
  if (output.includes('[==========]')) {
    return {
      passed: first(/\[ {2}PASSED {2}\] (\d+) tests/),
      failed: first(/\[ {2}FAILED {2}\] (\d+) test/),
      skipped: first(/\[ {2}SKIPPED \] (\d+) test/),
    };
  }
  return {
    passed: first(/^Tests: .*?(\d+) passed/m),
    failed: first(/^Tests: .*?(\d+) failed/m),
    skipped: first(/^Tests: .*?(\d+) skipped/m),
  };
}
