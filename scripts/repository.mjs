// What the scripts have in common: where the repository is, which files it has, how a tool is found and run.
import { execFileSync, spawnSync } from 'node:child_process';
import { existsSync, readFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

export const root = dirname(dirname(fileURLToPath(import.meta.url)));
process.chdir(root);
process.env.PATH = join(root, 'node_modules', '.bin') + (process.platform === 'win32' ? ';' : ':') + process.env.PATH;

/** Paths of what is or would be committed, relative to the root, with forward slashes. */
export const files = execFileSync('git', ['ls-files', '--cached', '--others', '--exclude-standard'], {
  encoding: 'utf8',
})
  .split('\n')
  .filter((path) => path !== '' && existsSync(path))
  .sort();

export const nativeFiles = files.filter((path) => /^native\/.*\.(cc|h)$/.test(path));

/** What every build of the addon defines. Written twice, for gyp and for CMake; check-sources.mjs compares. */
export const defines = JSON.parse(/"defines": (\["NAPI_VERSION=.*\])/.exec(readFileSync('binding.gyp', 'utf8'))[1]);

/** The first of `names` that is installed and whose `--version` has `version` in it; undefined when there is none. */
export function findTool(names, version = '') {
  return names.find((name) => {
    const { status, stdout } = spawnSync(name, ['--version'], { encoding: 'utf8' });
    return status === 0 && stdout.includes(version);
  });
}

export const clangFormat = findTool(['clang-format-19', 'clang-format'], 'version 19.');

/** A developer may lack a tool and is told so; in CI that is a failure. */
export function skipWithout(what, remedy) {
  console.log(`skipped: ${what} is not installed (${remedy})`);
  if (process.env.CI) process.exitCode = 1;
}

/** Prints what is wrong, one line each, and sets the exit code. */
export function report(violations) {
  for (const violation of violations) console.error(violation);
  if (violations.length > 0) process.exitCode = 1;
}
