// `npm run check`: everything that can be said about the sources without running them. All steps run, whatever fails.
import { spawn } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { availableParallelism } from 'node:os';

import { clangFormat, findTool, nativeFiles, skipWithout } from './repository.mjs';

const clangTidy = findTool(['clang-tidy-19', 'clang-tidy'], 'version 19.');

// A step says whether all was well, or nothing when it was skipped.
const steps = {
  prettier: () => run('prettier', ['--check', '--log-level=warn', '.']),
  eslint: () => run('eslint', ['.']),
  types: () => run('tsc', ['--project', 'tsconfig.test.json']),
  layering: () => run('node', ['scripts/check-layering.mjs']),
  sources: () => run('node', ['scripts/check-sources.mjs']),
  paths: () => run('node', ['scripts/check-paths.mjs']),
  'clang-format': () =>
    clangFormat
      ? run(clangFormat, ['--dry-run', '-Werror', '--ferror-limit=1', ...nativeFiles])
      : skipWithout('clang-format 19', 'apt-get install clang-format-19'),
  'clang-tidy': () => (clangTidy ? tidy() : skipWithout('clang-tidy 19', 'apt-get install clang-tidy-19')),
};

for (const [name, step] of Object.entries(steps)) {
  const start = performance.now();
  const ok = await step();
  if (ok === undefined) continue;
  console.log(`${ok ? 'ok    ' : 'FAILED'} ${name} (${((performance.now() - start) / 1000).toFixed(1)} s)`);
  if (!ok) process.exitCode = 1;
}

/** Runs quietly; what it printed is shown when it fails. */
function run(command, args) {
  return new Promise((resolve) => {
    let output = '';
    const child = spawn(command, args, { stdio: ['ignore', 'pipe', 'pipe'] });
    child.stdout.on('data', (chunk) => (output += chunk));
    child.stderr.on('data', (chunk) => (output += chunk));
    child.on('error', (error) => {
      console.log(error.message);
      resolve(false);
    });
    child.on('close', (code) => {
      if (code !== 0) console.log(output.trimEnd());
      resolve(code === 0);
    });
  });
}

/** The sources of the addon, with the flags that its build uses, as many at a time as there are processors. */
async function tidy() {
  if (!(await run('cmake-js', ['configure']))) return false;
  const compiled = JSON.parse(readFileSync('build/compile_commands.json', 'utf8')).map(({ file }) => file);
  let ok = true;
  const worker = async () => {
    for (let file = compiled.pop(); file; file = compiled.pop()) {
      if (!(await run(clangTidy, ['-p', 'build', '--quiet', file]))) ok = false;
    }
  };
  await Promise.all(Array.from({ length: availableParallelism() }, worker));
  return ok;
}
