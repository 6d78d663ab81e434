// `npm run pack:check`: the tarball has what a user needs and nothing else, and is one library for import and require.
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { existsSync, readFileSync } from 'node:fs';
import { createRequire } from 'node:module';

import './repository.mjs';

const manifest = JSON.parse(readFileSync('package.json', 'utf8'));
const [packed] = JSON.parse(
  execFileSync('npm', ['pack', '--dry-run', '--json', '--ignore-scripts'], {
    encoding: 'utf8',
    stdio: ['ignore', 'pipe', 'ignore'],
  }),
);
const paths = packed.files.map(({ path }) => path);

// Everything that package.json points at is inside.
const targets = (entry) => (typeof entry === 'string' ? [entry] : Object.values(entry).flatMap(targets));
const wanted = [manifest.main, manifest.types, ...targets(manifest.exports), ...targets(manifest.bin)];
for (const path of ['README.md', 'LICENSE', ...wanted.map((target) => target.replace(/^\.\//, ''))]) {
  assert(paths.includes(path), `${path} is missing from the package`);
}

// Nothing else is: tests, and above all no binding.gyp, which npm would take for an install script. The C++ sources are
// there for platforms that have no binary.
const allowed =
  /^(package\.json|README\.md|LICENSE|CHANGELOG\.md|dist\/.+\.(js|mjs|d\.ts|d\.mts)|prebuilds\/[\w+-]+\/[\w.+-]+\.node|prebuilds\/SHA256SUMS|native\/sources\.txt|CMakeLists\.txt|native\/(?!testing\/).+(?<!_test)\.(cc|h))$/;
assert.deepEqual(
  paths.filter((path) => !allowed.test(path)),
  [],
  'does not belong into the package',
);
const stale = paths.filter(
  (path) => /^dist\/.*\.m?js$/.test(path) && !existsSync(path.replace(/^dist\/(.*)js$/, 'lib/$1ts')),
);
assert.deepEqual(stale, [], 'left over from a source that is gone: delete dist/');

// Installing runs nothing.
assert.equal(manifest.gypfile, false);
for (const script of ['preinstall', 'install', 'postinstall'])
  assert(!(script in manifest.scripts), `${script} is a script`);

// Both worlds get the same classes, by the package's own name.
const required = createRequire(import.meta.url)(manifest.name);
const imported = await import(manifest.name);
const names = (module) =>
  Object.keys(module)
    .filter((name) => name !== 'default' && name !== 'module.exports')
    .sort();
assert.deepEqual(names(imported), names(required));
for (const name of names(required)) assert.equal(imported[name], required[name], `${name} is there twice`);

console.log(`${packed.filename}: ${paths.length} files, ${packed.size} bytes`);
