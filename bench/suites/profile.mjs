// Where the processors' time goes, as flame graphs: trials of other suites, sampled by perf. What waits is not in them, for the
// disk or for each other: the processor does something else meanwhile.
import { flamesOf, javaScriptThread, percentOfProcessor, whyNoFlames } from '../flames.mjs';

const profiles = {
  'append(Buffer), 100 B, without pause': {
    suite: 'append',
    options: { trial: 'segwal', input: 'buffer', bytes: 100, count: 20_000_000 },
  },
  'append(Buffer), 100 B, bursts of 1 MiB': {
    suite: 'append',
    options: { trial: 'segwalBursts', input: 'buffer', bytes: 100, bursts: 2000 },
  },
  'write(Buffer), durable, one at a time': {
    suite: 'durable',
    options: { trial: 'segwal', policy: 'immediate', depth: 1, seconds: 8 },
  },
  'write(Buffer), durable, 1,024 in flight': {
    suite: 'durable',
    options: { trial: 'segwal', policy: 'immediate', depth: 1024, seconds: 5 },
  },
};
const unit = '% of a processor';

export function cases({ scale, directory }) {
  if (scale < 1) return skip('it takes minutes');
  const why = whyNoFlames(directory);
  if (why !== undefined) return skip(why);
  return Object.keys(profiles).map((name) => ({
    name: `profile, ${name}`,
    once: true,
    contenders: { segwal: { trial: 'record', name } },
    measures: [
      { of: 'all threads', unit, better: 'less' },
      { of: javaScriptThread, key: javaScriptThread, unit, better: 'less' },
      { of: 'syncer', key: 'syncer', unit, better: 'less' },
    ],
  }));
}

function skip(why) {
  console.log(`there are no flame graphs: ${why}`);
  return [];
}

export const trials = {
  record({ name }, directory) {
    const { suite, options } = profiles[name];
    const { samples, seconds, tree, threads } = flamesOf(suite, options, directory);
    const percent = (count = 0) => percentOfProcessor(count, seconds);
    return {
      value: percent(samples),
      more: Object.fromEntries([javaScriptThread, 'syncer'].map((thread) => [thread, percent(threads[thread])])),
      details: { seconds, ...threads },
      flame: { title: name, samples, seconds, tree },
    };
  },
};
