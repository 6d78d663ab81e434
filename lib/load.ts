import { existsSync } from 'node:fs';
import { join, resolve } from 'node:path';

import { WalError } from './errors';
import type { Native } from './native';

/** From lib/ and from dist/ alike. */
const packageRoot = resolve(__dirname, '..');

let loaded: Native | undefined;

/** The native core, loaded at its first use, so that a program can import segwal and handle the failure. */
export function loadNative(): Native {
  return (loaded ??= load(packageRoot));
}

/** Finds the addon of this platform below `root` and loads it. */
export function load(root: string): Native {
  try {
    // eslint-disable-next-line @typescript-eslint/no-require-imports -- inside, so that its absence is our error too
    return (require('node-gyp-build') as (directory: string) => Native)(root);
  } catch (cause) {
    throw new WalError('WAL_NATIVE_LOAD', explain(root, cause), { cause });
  }
}

function explain(root: string, cause: unknown): string {
  const target = `${process.platform}-${process.arch}`;
  const reason = (cause instanceof Error ? cause.message : String(cause)).split('\n', 1)[0];
  const places = [join(root, 'build', 'Release', '*.node'), join(root, 'prebuilds', target, '*.node')];
  return (
    `the native core of segwal could not be loaded on ${target} (Node.js ${process.version}): ${reason}; ` +
    `looked for ${places.join(' and ')}; to mend it, run: ${remedy(root)}`
  );
}

/** A checkout can build the addon; an installed package has it inside and can only be installed again. */
function remedy(root: string): string {
  if (existsSync(join(root, 'CMakeLists.txt'))) return `cd ${root} && npm run build:native`;
  return 'npm install segwal --force';
}
