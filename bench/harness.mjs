// Runs trials, each in a process of its own, and gathers what they say.
import { execFileSync, fork } from 'node:child_process';
import { once } from 'node:events';
import { mkdirSync, rmSync } from 'node:fs';
import { join } from 'node:path';

import { busyTime, describeMachine, settleDisk } from './environment.mjs';
import { summarize } from './statistics.mjs';

export class Harness {
  machine;
  peers = [];
  results = [];
  curves = [];
  flames = [];
  charts = [];
  #trials = 0;

  /**
   * @param context { directory, repeats, scale, seconds, longSeconds, withPeers, inHaste }; in haste nothing waits for
   * its turn
   */
  constructor(context) {
    Object.assign(this, context);
    this.machine = describeMachine(this.directory);
    if (this.withPeers) this.peers = probePeers();
  }

  /** Runs every case of a suite; `onCase` gets the results of each. */
  async runSuite(suite, onCase) {
    const { cases, charts = [] } = await import(`./suites/${suite}.mjs`);
    this.charts.push(...charts);
    for (const one of cases(this)) onCase(await this.#runCase(suite, one));
    rmSync(join(this.directory, suite), { recursive: true, force: true });
  }

  async #runCase(suite, { name, prepare, contenders, measures, once, atLeast = 1, ...rest }) {
    const prepared = prepare && (await this.#prepareOnce(suite, prepare));
    const runnable = Object.entries(contenders).filter(([, { peer }]) => peer === undefined || this.#isThere(peer));
    const trials = Object.fromEntries(runnable.map(([contender]) => [contender, []]));
    const run = async ([contender, trial]) => {
      if (trials[contender] === undefined) return;
      const result = await this.#runTrial(suite, trial, prepared).catch((error) => this.#giveUp(trial.peer, error));
      if (result === undefined) delete trials[contender];
      else trials[contender].push(result);
    };
    // Once is enough for what is counted, not timed; what takes a moment only varies more, and can be had more often.
    const repeats = once || this.inHaste ? 1 : Math.max(this.repeats, atLeast);
    for (let i = 0; i < repeats; i++) {
      if (this.inHaste) await Promise.all(runnable.map(run));
      else for (const each of runnable) await run(each);
    }
    this.curves.push(...curvesOf(suite, name, trials));
    this.flames.push(...Object.values(trials).flatMap((own) => own.flatMap(({ flame = [] }) => flame)));
    const results = (measures ?? [rest]).map((measure) => summarizeMeasure(suite, name, measure, trials));
    this.results.push(...results);
    return results;
  }

  /** A peer that breaks down is one line of the report. */
  #giveUp(peer, error) {
    if (peer === undefined) throw error;
    this.peers.find(({ name }) => name === peer).missing = error.message;
  }

  #isThere(peer) {
    return this.peers.some(({ name, missing }) => name === peer && missing === undefined);
  }

  /** What several cases read is made once, and kept until the suite ends. */
  async #prepareOnce(suite, prepare) {
    const path = join(this.directory, suite, JSON.stringify(prepare).replace(/\W+/g, '-'));
    if (mkdirSync(path, { recursive: true }) !== undefined) await this.#startTrial(suite, prepare, path);
    return path;
  }

  async #runTrial(suite, trial, prepared) {
    if (!this.inHaste) settleDisk();
    if (prepared !== undefined) return checked(suite, trial, await this.#startTrial(suite, trial, prepared));
    const own = join(this.directory, suite, `trial-${++this.#trials}`);
    mkdirSync(own, { recursive: true });
    try {
      return checked(suite, trial, await this.#startTrial(suite, trial, own));
    } finally {
      rmSync(own, { recursive: true, force: true });
    }
  }

  async #startTrial(suite, trial, path) {
    const begin = { time: performance.now(), busy: busyTime() };
    const program = trial.peer === undefined ? 'trial.mjs' : join('peers', 'trial.mjs');
    const child = fork(join(import.meta.dirname, program), [suite, JSON.stringify(trial), path]);
    let result;
    child.once('message', (message) => (result = message));
    // What it told may still be in the channel when it is gone: 'close' only comes after the last message.
    const [status, signal] = await once(child, 'close');
    if (status !== 0 || result === undefined) {
      throw new Error(`${suite} ${JSON.stringify(trial)} ended with ${signal ?? `status ${status}`}`);
    }
    const available = (performance.now() - begin.time) * this.machine.cores;
    return { ...result, others: Math.max(0, busyTime() - begin.busy - result.cpuMs) / available };
  }
}

/** Which peers can be loaded, in which version; what each guarantees. */
function probePeers() {
  const probe = join(import.meta.dirname, 'peers', 'probe.mjs');
  return JSON.parse(execFileSync(process.execPath, [probe], { encoding: 'utf8' }));
}

function checked(suite, trial, result) {
  if (!(result.value > 0 && Number.isFinite(result.value))) {
    throw new Error(`${suite} ${JSON.stringify(trial)} has no sane number: ${JSON.stringify(result)}`);
  }
  return result;
}

/** One row of the report: of each contender the numbers of its trials. Those who do not measure this are left out. */
function summarizeMeasure(
  suite,
  name,
  { of: what = '', key = 'value', unit, better = 'more', targets = [], plot },
  trials,
) {
  const contenders = Object.entries(trials)
    .map(([contender, own]) => [contender, own.map((trial) => (key === 'value' ? trial.value : trial.more?.[key]))])
    .filter(([, values]) => values.every(Number.isFinite))
    .map(([contender, values]) => {
      const own = trials[contender];
      const result = {
        contender,
        ...summarize(values),
        values,
        others: Math.max(...own.map(({ others }) => others)),
        details: own.map(({ details = {} }) => details),
      };
      const threadNs = own.map((trial) => trial.threadNs);
      if (key === 'value' && threadNs.every(Number.isFinite)) result.threadNs = summarize(threadNs).median;
      return result;
    });
  const title = what === '' ? name : `${name}: ${what}`;
  return { suite, name: title, unit, better, ...(plot && { plot }), contenders, targets: judge(targets, contenders) };
}

/**
 * How the medians stand to the targets: `atLeast` or `atMost`, in the unit of the measure or, with `to`, times that
 * contender's. `of` is segwal where it is not said. A target that compares with who did not run is left out.
 */
function judge(targets, contenders) {
  const median = (name) => contenders.find(({ contender }) => contender === name)?.median;
  return targets.flatMap(({ of = 'segwal', to, atLeast, atMost }) => {
    const value = median(of) / (to === undefined ? 1 : median(to));
    if (!Number.isFinite(value)) return [];
    const wanted = atLeast === undefined ? { atMost } : { atLeast };
    return [
      {
        of,
        ...(to !== undefined && { to }),
        value,
        ...wanted,
        met: atLeast === undefined ? value <= atMost : value >= atLeast,
      },
    ];
  });
}

/** Of trials that return curves, the one whose value is in the middle. */
function curvesOf(suite, name, trials) {
  return Object.entries(trials).flatMap(([contender, own]) => {
    const middle = own.toSorted((a, b) => a.value - b.value)[Math.floor(own.length / 2)];
    return Object.entries(middle?.curves ?? {}).map(([chart, points]) => ({ suite, name, chart, contender, points }));
  });
}
