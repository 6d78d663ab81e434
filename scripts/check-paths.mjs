// What is committed must make sense to everybody: no paths of one machine, no addresses of package registries.
import { readFileSync } from 'node:fs';

import { files, report } from './repository.mjs';

const foreign = [
  { what: 'a path of one machine', pattern: /(?<![\w.~$}/-])\/(home|root|work|Users)\/\w/ },
  {
    what: 'the address of a registry',
    pattern: /\b(registry\.[\w-]+|pypi|crates|proxy\.golang|deb\.debian)\.(org|com|net|io)\b/,
  },
  { what: 'a registry address in the lock', pattern: /^ *"resolved": "http/ },
];

const binary = /\.(node|wal|log|meta|png|gz)$/;

report(
  files
    .filter((path) => !binary.test(path))
    .flatMap((path) =>
      readFileSync(path, 'utf8')
        .split('\n')
        .flatMap((line, index) =>
          foreign
            .filter(({ pattern }) => pattern.test(line))
            .map(({ what }) => `${path}:${index + 1}: ${what}: ${line.trim().slice(0, 120)}`),
        ),
    ),
);
