// `npm run prebuild [target …] [-- --twice]`: cross-builds the addon for every platform of scripts/prebuild/targets.mjs on
// one Linux machine, checks each binary, and lists them in prebuilds/SHA256SUMS. The same sources give the same bytes;
// --twice builds everything again in another directory and compares.
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { cpSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { tmpdir } from 'node:os';
import { basename, dirname, join, resolve } from 'node:path';

import { compareVersions, describe } from './prebuild/binary.mjs';
import { nodeApiImports } from './prebuild/node-api-imports.mjs';
import { glibcFloor, macosFloor, sourcesOf, targets } from './prebuild/targets.mjs';
import { defines, root } from './repository.mjs';
import { directory as toolsDirectory, zig } from './tools.mjs';

const napiVersion = Number(defines.find((define) => define.startsWith('NAPI_VERSION=')).slice(13));
const entryPoints = ['napi_register_module_v1', 'node_api_module_get_api_version_v1'];

const require = createRequire(import.meta.url);
const headers = {
  'node-api-headers': require('node-api-headers').include_dir,
  'node-addon-api': dirname(require.resolve('node-addon-api/package.json')),
};

const flags = [
  '-std=c++20',
  '-O2',
  '-DNDEBUG',
  '-fno-exceptions',
  '-fvisibility=hidden',
  '-fvisibility-inlines-hidden',
  '-fno-sanitize=undefined', // zig's own default
  ...defines.map((define) => `-D${define}`),
  '-Inative',
  '-isystem',
  'node-api-headers',
  '-isystem',
  'node-addon-api',
  '-Wall',
  '-Wextra',
  '-Wno-missing-field-initializers',
  '-Werror',
  '-shared',
  '-s',
];

/** Everything that a build reads, under one directory: nothing of where the repository is gets into a binary. */
function prepare(directory) {
  cpSync('native', join(directory, 'native'), { recursive: true });
  for (const [name, from] of Object.entries(headers)) {
    cpSync(from, join(directory, name), {
      recursive: true,
      filter: (path) => !/node_modules.*node_modules/.test(path),
    });
  }
  writeFileSync(join(directory, 'node_api_imports.cc'), nodeApiImports(napiVersion));
  writeFileSync(join(directory, 'exports.map'), `{ global: ${entryPoints.join('; ')}; local: *; };\n`);
  writeFileSync(join(directory, 'exports.def'), `EXPORTS\n${entryPoints.join('\n')}\n`);
  return directory;
}

function build(target, directory) {
  const cache = join(toolsDirectory, 'zig-cache');
  const { status } = spawnSync(
    zig(),
    [
      'c++',
      ...['-target', target.zig],
      ...flags,
      ...(target.flags ?? []),
      `-ffile-prefix-map=${directory}=.`,
      ...['-o', `${target.name}.node`],
      ...sourcesOf(target),
      ...(target.sources ?? []),
      ...target.link,
    ],
    {
      cwd: directory,
      stdio: ['ignore', 'inherit', 'inherit'],
      env: { ...process.env, ZIG_GLOBAL_CACHE_DIR: cache, ZIG_LOCAL_CACHE_DIR: join(directory, 'zig-cache') },
    },
  );
  assert.equal(status, 0, `${target.name} does not build`);
  return readFileSync(join(directory, `${target.name}.node`));
}

/** What is wrong with a binary, one line each. */
function complaints(target, bytes) {
  const found = describe(bytes);
  const wrong = [];
  const expect = (condition, message) => condition || wrong.push(`${target.name}: ${message}`);
  expect(found.architecture === target.arch, `is for ${found.architecture}`);
  for (const library of found.libraries) expect(target.libraries.test(library), `needs ${library}`);
  const exported = found.exports.filter((name) => !target.alsoExported?.test(name));
  expect(exported.sort().join() === entryPoints.join(), `exports ${exported.join(', ')}`);
  expect(!bytes.includes(root), 'has the path of the repository in it');
  expect(!bytes.includes(tmpdir() + '/'), 'has the path of a temporary directory in it');
  if (target.platform === 'linux') {
    expect(found.stripped, 'is not stripped');
    if (target.libc === 'musl') expect(found.floor === null, `wants glibc ${found.floor}`);
    else expect(compareVersions(found.floor, glibcFloor) <= 0, `wants glibc ${found.floor}, not ${glibcFloor}`);
  }
  if (target.platform === 'darwin') {
    expect(found.floor === macosFloor, `wants macOS ${found.floor}`);
    expect(target.arch !== 'arm64' || found.signed, 'has no signature, which arm64 asks for');
    // Every macOS path is in it, and none of another system.
    for (const name of ['fcntl', 'getentropy', 'sysctlbyname', 'msync']) {
      expect(found.imports.includes(name), `does not call ${name}`);
    }
    expect(bytes.includes('kern.bootsessionuuid'), 'does not ask for the boot');
    const unknown = found.imports.filter((name) => /^(fallocate|getrandom|epoll|__errno_location)/.test(name));
    expect(unknown.length === 0, `asks for ${unknown.join(', ')}`);
  }
  if (target.platform === 'win32') {
    expect(found.stripped, 'is not stripped');
    const unbound = found.imports.filter((name) => /^(napi|node_api)_/.test(name));
    expect(unbound.length === 0, 'is bound to the name of the program that loads it');
    for (const name of ['FlushViewOfFile', 'FlushFileBuffers', 'LockFileEx', 'CreateFileW']) {
      expect(
        found.imports.some((one) => one.startsWith(`${name}@`)),
        `does not call ${name}`,
      );
    }
  }
  return { wrong, found };
}

const wanted = process.argv.slice(2).filter((argument) => !argument.startsWith('--'));
const twice = process.argv.includes('--twice');
for (const name of wanted) {
  const known = targets.map((target) => target.name);
  assert(known.includes(name), `there is no target ${name}; there are ${known.join(', ')}`);
}
const chosen = targets.filter(({ name }) => wanted.length === 0 || wanted.includes(name));
mkdirSync(toolsDirectory, { recursive: true });
const first = prepare(resolve('build-tests', 'prebuild'));
const second = twice && prepare(mkdtempSync(join(tmpdir(), 'segwal-prebuild-again-')));
const sum = (bytes) => createHash('sha256').update(bytes).digest('hex');

const rows = [];
const wrong = [];
for (const target of chosen) {
  const bytes = build(target, first);
  const outcome = complaints(target, bytes);
  wrong.push(...outcome.wrong);
  if (second && sum(build(target, second)) !== sum(bytes)) wrong.push(`${target.name}: other bytes the second time`);
  const file = join('prebuilds', target.file);
  mkdirSync(dirname(file), { recursive: true });
  writeFileSync(file, bytes, { mode: 0o755 });
  const { floor, libraries, imports } = outcome.found;
  rows.push({
    target: target.name,
    bytes: bytes.length,
    system: floor === null ? '-' : `${target.platform === 'darwin' ? 'macOS' : 'glibc'} ${floor}`,
    libraries: libraries.length,
    imports: imports.length,
    sha256: sum(bytes),
  });
}
if (second) rmSync(second, { recursive: true });
console.table(rows);
if (wanted.length === 0) {
  const lines = chosen.map(({ file }, index) => `${rows[index].sha256}  ${file}\n`);
  writeFileSync(join('prebuilds', 'SHA256SUMS'), lines.join(''));
}
for (const line of wrong) console.error(line);
if (wrong.length > 0) process.exitCode = 1;
console.log(`${rows.length} binaries with ${basename(zig())} and Node-API ${napiVersion}`);
