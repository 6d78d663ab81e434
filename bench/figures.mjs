// node bench/figures.mjs results.json [other.json…]: writes the figures of a run into docs/PERFORMANCE.md, between the
// marks that say which. So what stands there can always be made again. Of runs on other machines it has how they stand
// to the targets.
import { readFileSync, writeFileSync } from 'node:fs';
import { basename, join } from 'node:path';

import { format } from 'prettier';

import { short } from './report.mjs';
import { readResults } from './results.mjs';

const [path, ...otherPaths] = process.argv.slice(2);
if (path === undefined) throw new Error('usage: node bench/figures.mjs results.json [other.json…]');
const run = readResults(path);
const { options, results } = run;
const others = otherPaths.map((other) => ({ name: basename(other, '.json'), ...readResults(other) }));

const median = (contender) =>
  contender === undefined ? '' : `${short(contender.median)} (${short(contender.min)}–${short(contender.max)})`;

function table(head, rows) {
  const odd = rows.find((row) => row.length !== head.length);
  if (odd !== undefined) throw new Error(`a row of ${odd.length} under a head of ${head.length}: ${odd[0]}`);
  const line = (cells) => `| ${cells.join(' | ')} |`;
  return [line(head), line(head.map(() => '---')), ...rows.map(line)].join('\n');
}

/** The results of a suite whose names begin so; of each the contenders by name. */
function find(suite, beginning) {
  return results
    .filter((result) => result.suite === suite && result.name.startsWith(beginning))
    .map((result) => ({ ...result, by: Object.fromEntries(result.contenders.map((each) => [each.contender, each])) }));
}

/** Results side by side: a row for each contender. */
function byContender(found, columns) {
  const names = [...new Set(found.flatMap(({ by }) => Object.keys(by)))];
  return table(
    ['', ...columns],
    names.map((name) => [name, ...found.map(({ by }) => median(by[name]))]),
  );
}

const withRatio = ({ name, by }, own, other) => [
  own === 'segwal' ? name : `${name}: ${own}`,
  median(by[own]),
  median(by[other]),
  (by[own].median / by[other].median).toFixed(2),
];

function underWhat({ machine, options, results } = run) {
  // Not of the suites that run under another process, which is what the others are then.
  const timed = results
    .filter(({ suite }) => suite !== 'instructions' && suite !== 'profile')
    .flatMap((each) => each.contenders);
  const mostTrials = Math.max(...timed.map(({ values }) => values.length));
  return (
    `${machine.cpu}, ${machine.cores} cores, ${machine.system}, ${machine.fileSystem} on ${machine.disk}, Node.js ${machine.node}, commit ${machine.commit}; ` +
    `medians of ${options.repeats} trials${mostTrials > options.repeats ? `, ${mostTrials} of short ones` : ''} (least–greatest). ` +
    `During the trials other processes had up to ${Math.round(100 * Math.max(...timed.map((each) => each.others)))} % of the processors.`
  );
}

const sections = {
  machine: () => underWhat(),
  bursts: () => {
    const rows = find('append', 'append').map((result) => withRatio(result, 'segwal', 'raw'));
    for (const result of find('batch', 'batches')) {
      rows.push(withRatio(result, 'segwal, packed', 'raw'), withRatio(result, 'segwal, array', 'raw'));
    }
    const [pages] = find('append', 'pages');
    return `${table(['M records/s', 'segwal', 'raw', 'ratio'], rows)}\n\nOne thread made pages of a new file ready at ${median(pages.by.raw)} GB/s.`;
  },
  'after-pauses': () => byContender(find('append', 'one append'), ['p50, µs', 'p90, µs']),
  'durable-one': () =>
    byContender(find('durable', 'durable, one'), ['k records/s', 'KiB to the disk a sync', 'p50, µs', 'p99, µs']),
  'durable-many': () =>
    byContender(
      find('durable', 'durable').filter(({ unit }) => unit === 'k records/s'),
      ['k records/s, 1 in flight', '64', '1,024', '4,096'],
    ),
  workers: () => {
    const cases = [...new Set(find('workers', '').map(({ name }) => name.split(': ')[0]))];
    const rows = cases.flatMap((name) =>
      ['segwal', 'raw'].map((who) => [
        `${name.replace('workers, ', '')}, ${who}`,
        ...find('workers', `${name}: `).map(({ by }) => median(by[who])),
      ]),
    );
    return table(['MB/s', 'one', 'two', 'four', 'two to one', 'four to two'], rows);
  },
  sustained: () =>
    table(
      ['', 'segwal', 'each append timed', 'new files', 'raw, new files', 'raw, one file', 'control'],
      find('sustained', '').map(({ name, unit, by }) => [
        `${name.split(': ')[1]}, ${unit}`,
        ...[
          'segwal',
          'segwal, each append timed',
          'segwal, new files',
          'raw, msync, new files',
          'raw, msync',
          'control',
        ].map((each) => median(by[each])),
      ]),
    ),
  tail: () =>
    table(
      ['µs', 'segwal', 'no log'],
      find('tail', '').map(({ name, by }) => [
        name.replace('live tail, ', ''),
        median(by.segwal),
        median(by['no log']),
      ]),
    ),
  life: () => {
    const only = ({ name, unit, by }) => [`${name}, ${unit}`, median(by.segwal)];
    const contenders = ['segwal', 'segwal, of durable records', 'without checkpoints'];
    const beside = find('life', 'append').map(({ name, unit, by }) => [
      `${name.split(': ')[1]}, ${unit}`,
      ...contenders.map((each) => median(by[each])),
    ]);
    return [
      underWhat(),
      table(['', 'segwal'], find('life', '10 M').map(only)),
      table(['', 'a checkpoint every 10 ms', 'of what is durable already', 'without checkpoints'], beside),
      table(['', 'segwal'], find('life', 'seek').map(only)),
      table(
        ['', 'segwal', 'reading it, writing what is kept'],
        find('life', 'compaction').map(({ name, unit, contenders }) => [`${name}, ${unit}`, ...contenders.map(median)]),
      ),
    ].join('\n\n');
  },
  peers: () =>
    byContender(
      find('peers', 'append'),
      find('peers', 'append').map(({ name }) => `M/s, ${name.slice(19)}`),
    ),
  targets,
};

/** What the harness is told to expect, and how the medians stand to it. */
function targets() {
  const columns = [run, ...others].map(({ results }) => results.flatMap(targetsOf));
  const rows = columns[0].map(({ key, what, wanted, value, met }) => [
    what,
    wanted,
    short(value),
    met ? 'yes' : '**no**',
    ...columns.slice(1).map((column) => {
      const same = column.find((each) => each.key === key);
      return same === undefined ? '' : same.met ? short(same.value) : `**${short(same.value)}**`;
    }),
  ]);
  const met = (column) => `${column.filter((each) => each.met).length} of ${column.length}`;
  const told = others.map((other, i) => `_${other.name}_: ${met(columns[i + 1])} are met. ${underWhat(other)}`);
  const head = ['', 'wanted', 'measured', 'met', ...others.map(({ name }) => name)];
  return [`${met(columns[0])} are met.`, table(head, rows), ...told].join('\n\n');
}

function targetsOf({ name, unit, targets: own }) {
  return own.map(({ of, to, value, atLeast, atMost, met }) => {
    const what = of === 'segwal' ? name : `${name}: ${of}`;
    const wanted = `${atLeast === undefined ? `at most ${atMost}` : `at least ${atLeast}`} ${to === undefined ? unit : `× ${to}`}`;
    return { key: `${what} ${wanted}`, what, wanted, value, met };
  });
}

/** A run of some of the suites writes what it can. */
const madeOf = {
  machine: ['append', 'batch', 'durable', 'workers', 'sustained', 'peers'],
  targets: ['append', 'batch', 'durable', 'workers', 'sustained', 'tail', 'read', 'recovery', 'open', 'peers'],
  bursts: ['append', 'batch'],
  'after-pauses': ['append'],
  'durable-one': ['durable'],
  'durable-many': ['durable'],
};
const wasRun = (name) => (madeOf[name] ?? [name]).every((suite) => options.suites.includes(suite));

const target = join(import.meta.dirname, '..', 'docs', 'PERFORMANCE.md');
let text = readFileSync(target, 'utf8');
for (const [name, write] of Object.entries(sections)) {
  if (!wasRun(name)) continue;
  const marks = new RegExp(`(<!-- figures: ${name} -->)[^]*?(<!-- end -->)`);
  if (!marks.test(text)) throw new Error(`${target} has no place for ${name}`);
  text = text.replace(marks, (_, begin, end) => `${begin}\n\n${write()}\n\n${end}`);
}
writeFileSync(target, await format(text, { parser: 'markdown', printWidth: 120, proseWrap: 'preserve' }));
