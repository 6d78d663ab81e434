// npm run bench -- [append|batch|read|recovery|open …] [--repeats n] [--smoke] [--dir path] [--json file]
//
// Every trial is a process of its own. The trials of a case take turns (segwal, raw, segwal, raw, …), and the disk comes
// to rest between them. What is printed is the median of the trials, with the least and the greatest.
import { fork } from 'node:child_process';
import { once } from 'node:events';
import { mkdirSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { parseArgs } from 'node:util';

import { busyTime, describeMachine, settleDisk, workDirectory } from './environment.mjs';
import { judge, printCase, printHeader, printMachine, summarize } from './report.mjs';

const suites = ['append', 'batch', 'read', 'recovery', 'open'];
const smokeScale = 1 / 100;
const roomNeeded = 8 * 2 ** 30;

const { values: options, positionals } = parseArgs({
  options: {
    repeats: { type: 'string' },
    smoke: { type: 'boolean', default: false },
    dir: { type: 'string', default: join(import.meta.dirname, '.tmp') },
    json: { type: 'string' },
  },
  allowPositionals: true,
});
const chosen = positionals.length === 0 ? suites : positionals;
const unknown = chosen.filter((suite) => !suites.includes(suite));
if (unknown.length > 0) throw new Error(`no such suite: ${unknown.join(', ')}; there are ${suites.join(', ')}`);
const repeats = Number(options.repeats ?? (options.smoke ? 1 : 5));
const scale = options.smoke ? smokeScale : 1;

const directory = workDirectory(options.dir, options.smoke ? roomNeeded * scale : roomNeeded);
const machine = describeMachine(directory);
const results = [];
try {
  printMachine(machine);
  for (const suite of chosen) await runSuite(suite);
} finally {
  rmSync(directory, { recursive: true });
}
if (options.json !== undefined) writeFileSync(options.json, JSON.stringify({ machine, repeats, results }, null, 2));

async function runSuite(suite) {
  const { cases } = await import(`./suites/${suite}.mjs`);
  console.log(`\n${suite}`);
  printHeader();
  for (const one of cases(scale)) {
    const result = await runCase(suite, one);
    results.push({ suite, ...result });
    printCase(result);
  }
  rmSync(join(directory, suite), { recursive: true, force: true });
}

async function runCase(suite, { name, unit, prepare, contenders, target }) {
  const prepared = prepare && (await prepareOnce(suite, prepare));
  const measured = Object.fromEntries(Object.keys(contenders).map((contender) => [contender, []]));
  for (let i = 0; i < repeats; i++) {
    for (const [contender, trial] of Object.entries(contenders)) {
      measured[contender].push(await runTrial(suite, trial, prepared));
    }
  }
  const summary = Object.fromEntries(
    Object.entries(measured).map(([contender, trials]) => [contender, summarize(trials.map(({ value }) => value))]),
  );
  const threadNs = Object.values(measured).map((trials) => summarize(trials.map((trial) => trial.threadNs)).median);
  const others = Math.max(
    ...Object.values(measured)
      .flat()
      .map((trial) => trial.others),
  );
  return { name, unit, target, summary, met: judge(target, summary), threadNs, others, trials: measured };
}

/** What several cases read is made once, and kept until the suite ends. */
async function prepareOnce(suite, prepare) {
  const path = join(directory, suite, JSON.stringify(prepare).replace(/\W+/g, '-'));
  if (mkdirSync(path, { recursive: true }) !== undefined) await startTrial(suite, prepare, path);
  return path;
}

async function runTrial(suite, trial, prepared) {
  settleDisk();
  if (prepared !== undefined) return checked(await startTrial(suite, trial, prepared));
  const own = join(directory, suite, 'trial');
  mkdirSync(own, { recursive: true });
  try {
    return checked(await startTrial(suite, trial, own));
  } finally {
    rmSync(own, { recursive: true, force: true });
  }
}

async function startTrial(suite, trial, path) {
  const begin = { time: performance.now(), busy: busyTime() };
  const child = fork(join(import.meta.dirname, 'trial.mjs'), [suite, JSON.stringify(trial), path]);
  let result;
  child.once('message', (message) => (result = message));
  const [status] = await once(child, 'exit');
  if (status !== 0 || result === undefined)
    throw new Error(`${suite} ${JSON.stringify(trial)} ended with status ${status}`);
  const available = (performance.now() - begin.time) * machine.cores;
  return { ...result, others: Math.max(0, busyTime() - begin.busy - result.cpuMs) / available };
}

function checked(result) {
  if (!(result.value > 0 && Number.isFinite(result.value)))
    throw new Error(`no sane number: ${JSON.stringify(result)}`);
  return result;
}
