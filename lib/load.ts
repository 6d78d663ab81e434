import { closeSync, existsSync, openSync, readSync } from 'node:fs';
import { join, resolve } from 'node:path';

import { WalError } from './errors';
import type { Native } from './native';

/** From lib/ and from dist/ alike. */
const packageRoot = resolve(__dirname, '..');

/** What the package has a binary for. On Linux there are two each: one for glibc, one for musl. */
const shipped = ['darwin-arm64', 'darwin-x64', 'linux-arm64', 'linux-x64', 'win32-arm64', 'win32-x64'];

let loaded: Native | undefined;

/**
 * The native core, loaded at its first use, so that a program can import segwal and handle the failure. From the folder
 * that SEGWAL_PREBUILD names and from nowhere else, if it names one: a build with sanitizers, or one that a bundler put
 * somewhere.
 */
export function loadNative(): Native {
  return (loaded ??= load(process.env['SEGWAL_PREBUILD'] || packageRoot));
}

/** Finds the addon of this platform below `root` and loads it. */
export function load(root: string): Native {
  const places = candidates(root);
  const file = places.find((place) => existsSync(place));
  if (file === undefined) throw failure(root, places, 'there is none', undefined);
  try {
    // eslint-disable-next-line @typescript-eslint/no-require-imports -- an addon has no other way in
    return require(file) as Native;
  } catch (cause) {
    throw failure(root, [file], cause instanceof Error ? cause.message : String(cause), cause);
  }
}

/** Where an addon may be, best first: one that was built here, then the one that came with the package. */
function candidates(root: string): string[] {
  const prebuilt = (name: string): string => join(root, 'prebuilds', `${process.platform}-${process.arch}`, name);
  return [
    join(root, 'build', 'Release', 'segwal.node'),
    join(root, 'build', 'Debug', 'segwal.node'),
    prebuilt(process.platform === 'linux' ? `segwal.${libc()}.node` : 'segwal.node'),
  ];
}

/**
 * The C library that this process runs with. Two can be installed beside each other, so the program itself is asked: an
 * ELF file names its dynamic linker, which belongs to the library.
 */
export function libc(program = process.execPath): 'glibc' | 'musl' {
  return /\/ld-musl-/.test(interpreterOf(program)) ? 'musl' : 'glibc';
}

/** PT_INTERP of a 64-bit ELF file; empty when there is none, or when the file cannot be read. */
function interpreterOf(program: string): string {
  try {
    const file = openSync(program, 'r');
    try {
      const head = Buffer.alloc(4096);
      const size = readSync(file, head, 0, head.length, 0);
      const table = Number(head.readBigUInt64LE(32));
      for (let entry = 0; entry < head.readUInt16LE(56); ++entry) {
        const at = table + entry * head.readUInt16LE(54);
        if (at + 56 > size || head.readUInt32LE(at) !== 3) continue;
        const name = Buffer.alloc(Math.min(Number(head.readBigUInt64LE(at + 32)), 256));
        readSync(file, name, 0, name.length, Number(head.readBigUInt64LE(at + 8)));
        return name.toString('latin1');
      }
    } finally {
      closeSync(file);
    }
  } catch {
    // Not allowed to, or not an ELF file: the commoner library then.
  }
  return '';
}

function failure(root: string, places: readonly string[], reason: string, cause: unknown): WalError {
  const library = process.platform === 'linux' ? `-${libc()}` : '';
  const platform = `${process.platform}-${process.arch}${library}`;
  const runtime = `Node.js ${process.version}`;
  return new WalError(
    'WAL_NATIVE_LOAD',
    `the native core of segwal could not be loaded on ${platform} (${runtime}): ${reason.split('\n', 1)[0] ?? ''}; ` +
      `looked for ${places.join(' and ')}; to mend it, run: ${remedy(root, cause !== undefined)}`,
    cause === undefined ? {} : { cause },
  );
}

/**
 * The command that helps: a checkout builds the addon. A package that should have it can be installed again; where it has
 * none, or one that the system refuses, it is built from the sources inside.
 */
function remedy(root: string, refused: boolean): string {
  if (root === process.env['SEGWAL_PREBUILD']) return 'unset SEGWAL_PREBUILD';
  if (existsSync(join(root, 'binding.gyp'))) return `cd ${root} && npm run build:native`;
  const missing = shipped.includes(`${process.platform}-${process.arch}`) && !refused;
  if (missing) return 'npm install segwal --force';
  const tools = 'cmake-js@8 node-addon-api@8 node-api-headers@1';
  return `cd ${root} && npm install --no-save --ignore-scripts ${tools} && npx cmake-js build`;
}
