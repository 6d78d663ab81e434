// npm run bench -- [append|batch|durable …] [--repeats n] [--seconds n] [--no-peers] [--dir path] [--json file]
//                  [--html file] [--smoke]
//
// Every trial is a process of its own. The trials of a case take turns (segwal, raw, lmdb, segwal, …), and the disk comes
// to rest between them. What is printed is the median of the trials, with the least and the greatest.
import { mkdirSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { parseArgs } from 'node:util';

import { workDirectory } from './environment.mjs';
import { Harness } from './harness.mjs';
import { renderReport } from './html.mjs';
import { printHeader, printMachine, printPeers, printResult } from './report.mjs';
import { checkResults, schemaVersion, writeResults } from './results.mjs';

const suites = [
  'append',
  'batch',
  'durable',
  'workers',
  'sustained',
  'tail',
  'read',
  'recovery',
  'open',
  'life',
  'peers',
  'instructions',
  'profile',
];
const roomNeeded = 8 * 2 ** 30;
const smoke = { scale: 1 / 100, seconds: 0.1, longSeconds: 0.3, repeats: 1 };
const full = { scale: 1, seconds: 2, longSeconds: 30, repeats: 5 };
const leastLongSeconds = 10;

const { values: options, positionals } = parseArgs({
  options: {
    repeats: { type: 'string' },
    seconds: { type: 'string' },
    smoke: { type: 'boolean', default: false },
    'no-peers': { type: 'boolean', default: false },
    dir: { type: 'string', default: join(import.meta.dirname, '.tmp') },
    json: { type: 'string' },
    html: { type: 'string' },
  },
  allowPositionals: true,
});
const chosen = positionals.length === 0 ? suites : positionals;
const unknown = chosen.filter((suite) => !suites.includes(suite));
if (unknown.length > 0) throw new Error(`no such suite: ${unknown.join(', ')}; there are ${suites.join(', ')}`);

const defaults = options.smoke ? smoke : full;
const repeats = Number(options.repeats ?? defaults.repeats);
const seconds = Number(options.seconds ?? defaults.seconds);
// What is to show that nothing happens needs its time.
const longSeconds = options.seconds === undefined ? defaults.longSeconds : Math.max(leastLongSeconds, seconds);
const directory = workDirectory(options.dir, roomNeeded * defaults.scale);
const began = performance.now();
const harness = new Harness({
  directory,
  repeats,
  seconds,
  longSeconds,
  scale: defaults.scale,
  withPeers: !options['no-peers'],
  inHaste: options.smoke,
});
try {
  printMachine(harness.machine);
  printPeers(harness.peers);
  for (const suite of chosen) {
    printHeader(suite);
    await harness.runSuite(suite, (results) => results.forEach(printResult));
  }
} finally {
  rmSync(directory, { recursive: true, force: true });
}

for (const { name, missing } of harness.peers)
  if (missing !== undefined) console.log(`\nnot measured: ${name}: ${missing}`);

const { machine, peers, charts, results, curves, flames } = harness;
const document = {
  schema: schemaVersion,
  machine,
  options: { suites: chosen, repeats, seconds, smoke: options.smoke },
  peers,
  charts,
  results,
  curves,
  ...(flames.length > 0 && { flames }),
};
checkResults(document);
const json = options.json ?? join(options.dir, 'results.json');
const html = options.html ?? join(options.dir, 'report.html');
mkdirSync(options.dir, { recursive: true });
writeResults(json, document);
writeFileSync(html, renderReport(document));
console.log(`\n${Math.round((performance.now() - began) / 1000)} s; every number is in ${json}, with plots in ${html}`);
