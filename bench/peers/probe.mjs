// Prints, as JSON, which peers can be loaded here. One that cannot is no failure.
import { readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { join } from 'node:path';

import { peers } from './peers.mjs';

const require = createRequire(import.meta.url);

function probe([name, { package: wanted, guarantee }]) {
  if (wanted === undefined) return { name, version: `of Node.js ${process.version}`, guarantee };
  try {
    require(wanted);
    const manifest = join(import.meta.dirname, 'node_modules', wanted, 'package.json');
    return { name, version: JSON.parse(readFileSync(manifest, 'utf8')).version, guarantee };
  } catch ({ message }) {
    const missing = message.includes('Cannot find module')
      ? 'not installed (npm run bench:peers)'
      : message.split('\n')[0];
    return { name, guarantee, missing };
  }
}

console.log(JSON.stringify(Object.entries(peers).map(probe)));
