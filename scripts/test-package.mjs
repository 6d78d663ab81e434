// `npm run test:package`: packs the package as it would be published, lets publint and attw look at it, installs it into
// empty projects with npm, pnpm and yarn with scripts disabled, and uses it: by import, require, TypeScript and `segwal`.
//
// With --all every binary of `npm run prebuild` has to be there. Without, what this checkout has built stands in for the
// one of this platform, so that no cross compiler is needed.
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { cpSync, existsSync, mkdirSync, mkdtempSync, readFileSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { tmpdir } from 'node:os';
import { dirname, join, resolve } from 'node:path';

import { targets } from './prebuild/targets.mjs';
import { root } from './repository.mjs';
import { npmPackage } from './tools.mjs';

const { libc } = createRequire(import.meta.url)('../dist/load.js');
const all = process.argv.includes('--all');
const work = mkdtempSync(join(tmpdir(), 'segwal-package-'));
// Nothing of the checkout may help: neither its node_modules nor its settings for npm.
const environment = { ...process.env, NODE_PATH: '', npm_config_fund: 'false', npm_config_audit: 'false' };
for (const name of Object.keys(environment))
  if (/^npm_(package|lifecycle|config_local)/.test(name)) delete environment[name];

function run(cwd, command, ...args) {
  try {
    return execFileSync(command, args, { cwd, encoding: 'utf8', env: environment, stdio: ['ignore', 'pipe', 'pipe'] });
  } catch (error) {
    throw new Error(`${command} ${args.join(' ')} in ${cwd}\n${error.stdout}\n${error.stderr}`, { cause: error });
  }
}

/** The package's files in a folder of their own, with the binaries that are wanted; gives the tarball. */
function pack() {
  const stage = join(work, 'stage');
  const [{ files }] = JSON.parse(run(root, 'npm', 'pack', '--dry-run', '--json', '--ignore-scripts'));
  for (const { path } of files.filter(({ path }) => all || !path.startsWith('prebuilds/'))) {
    mkdirSync(join(stage, dirname(path)), { recursive: true });
    cpSync(path, join(stage, path));
  }
  if (all) {
    for (const { file } of targets)
      assert(existsSync(join(stage, 'prebuilds', file)), `${file} is missing: npm run prebuild`);
  } else {
    const folder = join(stage, 'prebuilds', `${process.platform}-${process.arch}`);
    mkdirSync(folder, { recursive: true });
    cpSync(
      'build/Release/segwal.node',
      join(folder, process.platform === 'linux' ? `segwal.${libc()}.node` : 'segwal.node'),
    );
  }
  assert(!existsSync(join(stage, 'binding.gyp')), 'binding.gyp would be run when it is installed');
  const [packed] = JSON.parse(run(stage, 'npm', 'pack', '--json', '--ignore-scripts', '--pack-destination', work));
  console.log(
    `${packed.filename}: ${packed.files.length} files, ${packed.size} bytes, ${packed.unpackedSize} unpacked`,
  );
  const binaries = packed.files.filter(({ path }) => path.endsWith('.node'));
  const rest = packed.unpackedSize - binaries.reduce((sum, { size }) => sum + size, 0);
  for (const { path, size } of binaries) {
    assert(rest + size < 3_000_000, `${path} and what is not a binary are ${rest + size} bytes`);
    console.log(`  ${path}: ${size} bytes; with all that is not a binary ${rest + size}`);
  }
  return join(work, packed.filename);
}

const programs = {
  'import.mjs': `
    import { WalManager, WalError } from 'segwal';
    import { createRequire } from 'node:module';
    const required = createRequire(import.meta.url)('segwal');
    if (required.WalManager !== WalManager || required.WalError !== WalError) throw new Error('two libraries');
    const wal = await WalManager.open('by-import');
    for (let i = 1; i <= 1000; ++i) wal.append('record ' + i);
    await wal.sync();
    await wal.close();
    const again = await WalManager.open('by-import', { readOnly: true });
    let count = 0;
    for (const record of again.read()) if (record.data.toString() === 'record ' + ++count) continue; else throw record;
    await again.close();
    console.log(count);`,
  'require.cjs': `
    const { WalManager } = require('segwal');
    (async () => {
      const wal = await WalManager.open('by-require');
      for (let i = 1; i <= 1000; ++i) wal.append('record ' + i);
      await wal.close();
      const again = await WalManager.open('by-require');
      console.log([...again.read()].length);
      await again.close();
    })();`,
  'typed.mts': `
    import { WalManager, WalError, type WalOptions } from 'segwal';
    const options: WalOptions = { segmentSize: 65536 };
    const wal: WalManager = await WalManager.open('by-typescript', options);
    const sequence: number = wal.append('a record');
    // @ts-expect-error -- a number is no data
    const misuse = (): number => wal.append(5);
    await wal.whenDurable(sequence);
    for (const record of wal.read()) { const data: Buffer = record.data; console.log(data.length, record.sequence); }
    await wal.close();
    try { wal.append('x'); } catch (error) { console.log(error instanceof WalError && error.code, typeof misuse); }`,
  'typed.cts': `
    import segwal = require('segwal');
    const open: Promise<segwal.WalManager> = segwal.WalManager.open('by-typescript-cjs');
    void open.then(async (wal) => { const s: number = wal.append('x'); await wal.close(); console.log(s); });`,
  'lines.txt': Array.from({ length: 500 }, (_, index) => `line ${index}\n`).join(''),
  'tsconfig.json': JSON.stringify({
    compilerOptions: {
      module: 'nodenext',
      target: 'es2022',
      lib: ['es2023', 'esnext.disposable'],
      strict: true,
      types: ['node'],
    },
    include: ['*.mts', '*.cts'],
  }),
};

/** An empty project that has the package and nothing else. */
function project(name) {
  const directory = join(work, name);
  mkdirSync(directory);
  writeFileSync(join(directory, 'package.json'), JSON.stringify({ name, version: '1.0.0', private: true }));
  for (const [file, text] of Object.entries(programs)) writeFileSync(join(directory, file), text.replace(/^\n/, ''));
  return directory;
}

function use(directory) {
  assert.equal(run(directory, process.execPath, 'import.mjs'), '1000\n');
  assert.equal(run(directory, process.execPath, 'require.cjs'), '1000\n');
  const summary = run(
    directory,
    join(directory, 'node_modules', '.bin', 'segwal'),
    'ingest',
    'by-command',
    'lines.txt',
  );
  assert.match(summary, /500/);
  const dumped = run(directory, join(directory, 'node_modules', '.bin', 'segwal'), 'dump', 'by-command');
  assert.equal(dumped.trim().split('\n').length, 500);
}

function compileTypeScript(directory) {
  mkdirSync(join(directory, 'node_modules', '@types'), { recursive: true });
  for (const name of ['@types/node', 'undici-types']) {
    cpSync(join(root, 'node_modules', name), join(directory, 'node_modules', name), { recursive: true });
  }
  run(directory, join(root, 'node_modules', '.bin', 'tsc'), '-p', '.');
  assert.equal(run(directory, process.execPath, 'typed.mjs'), '8 1\nWAL_CLOSED function\n');
  assert.equal(run(directory, process.execPath, 'typed.cjs'), '1\n');
}

/** A package that lost its binary says what would mend it. */
function loseTheBinary(directory) {
  rmSync(join(directory, 'node_modules', 'segwal', 'prebuilds'), { recursive: true });
  const program = `import('segwal').then((m) => m.WalManager.open('x')).catch((e) => console.log(e.code, e.message))`;
  const said = run(directory, process.execPath, '-e', program);
  assert.match(said, /^WAL_NATIVE_LOAD .*prebuilds.*npm install segwal --force/s);
}

const tarball = pack();
const step = (what, action) => {
  const start = Date.now();
  const result = action();
  console.log(`ok  ${what} (${((Date.now() - start) / 1000).toFixed(1)} s)`);
  return result;
};

step('publint', () => run(work, join(root, 'node_modules', '.bin', 'publint'), 'run', tarball, '--strict'));
step('attw', () => run(work, join(root, 'node_modules', '.bin', 'attw'), tarball, '--no-color'));
const byNpm = project('by-npm');
step('npm install --ignore-scripts', () => run(byNpm, 'npm', 'install', '--ignore-scripts', tarball));
step('import, require, segwal', () => use(byNpm));
step('TypeScript, both ways', () => compileTypeScript(byNpm));
step('without a binary', () => loseTheBinary(byNpm));

const managers = {
  pnpm: ['pnpm@10.34.9', 'bin/pnpm.cjs', ['add', '--ignore-scripts', '--store-dir', join(work, 'pnpm-store'), tarball]],
  yarn: ['yarn@1.22.22', 'bin/yarn.js', ['add', '--ignore-scripts', '--no-lockfile', '--cache-folder', join(work, 'yarn'), tarball]], // prettier-ignore
};
for (const [name, [specification, program, args]] of Object.entries(managers)) {
  const directory = project(`by-${name}`);
  step(`${name} with scripts disabled`, () => {
    run(directory, process.execPath, join(npmPackage(specification), program), ...args);
    use(directory);
  });
}
step('npm install, scripts allowed: there are none to run', () => {
  const manifest = JSON.parse(readFileSync(join(work, 'by-pnpm', 'node_modules', 'segwal', 'package.json'), 'utf8'));
  assert.equal(manifest.gypfile, false);
  for (const script of ['preinstall', 'install', 'postinstall', 'prepare'])
    assert(!(script in manifest.scripts), script);
  const names = readdirSync(resolve(work, 'by-pnpm', 'node_modules', 'segwal'));
  assert(!names.includes('binding.gyp'));
});
rmSync(work, { recursive: true });
