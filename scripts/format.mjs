// `npm run format`: rewrites what `npm run check` would complain about.
import { execFileSync } from 'node:child_process';

import { clangFormat, nativeFiles, skipWithout } from './repository.mjs';

execFileSync('prettier', ['--write', '--log-level=warn', '.'], { stdio: 'inherit' });
if (clangFormat) execFileSync(clangFormat, ['-i', ...nativeFiles], { stdio: 'inherit' });
else skipWithout('clang-format 19', 'apt-get install clang-format-19');
