// `npm run bench:compare` on made-up results: what it calls a regression, and what noise.
import { spawnSync } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

let directory: string;

beforeEach(() => {
  directory = mkdtempSync(join(tmpdir(), 'segwal-compare-'));
});

afterEach(() => {
  rmSync(directory, { recursive: true });
});

interface Measure {
  values: number[];
  better?: 'more' | 'less';
  contender?: string;
}

/** A file of results, with one measure, that has the shape that the harness writes. */
function results(name: string, { values, better = 'more', contender = 'segwal' }: Measure, machine = {}): string {
  const sorted = [...values].sort((a, b) => a - b);
  const document = {
    schema: 1,
    machine: {
      cpu: 'one',
      cores: 2,
      memoryGiB: 8,
      system: 'Linux',
      fileSystem: 'ext4',
      disk: 'sda',
      node: 'v20',
      segwal: '1.0.0',
      commit: 'abc',
      date: '2026-01-01',
      ...machine,
    },
    options: { suites: ['append'], repeats: values.length, seconds: 1, smoke: false },
    peers: [{ name: 'lmdb', version: '3.0.0', guarantee: 'much' }],
    charts: [],
    results: [
      {
        suite: 'append',
        name: 'append',
        unit: 'M records/s',
        better,
        contenders: [
          {
            contender,
            median: sorted[sorted.length >> 1],
            min: sorted[0],
            max: sorted.at(-1),
            values,
            others: 0,
            details: [],
          },
        ],
        targets: [],
      },
    ],
    curves: [],
  };
  const path = join(directory, name);
  writeFileSync(path, JSON.stringify(document));
  return path;
}

function compare(before: string, after: string): { status: number | null; stdout: string; stderr: string } {
  return spawnSync(process.execPath, [join(__dirname, '..', 'bench', 'compare.mjs'), before, after], {
    encoding: 'utf8',
  });
}

const steady = [10, 10.1, 9.9, 10.05, 9.95];
const wild = [10, 14, 7, 12, 8];
const times = (factor: number): number[] => steady.map((value) => value * factor);

describe.each<[string, Measure, Measure, 'slower' | 'faster' | 'noise']>([
  ['a fifth less', { values: steady }, { values: times(0.8) }, 'slower'],
  ['a fifth more', { values: steady }, { values: times(1.2) }, 'faster'],
  [
    'a fifth more, of what should be little',
    { values: steady, better: 'less' },
    { values: times(1.2), better: 'less' },
    'slower',
  ],
  ['the same', { values: steady }, { values: steady }, 'noise'],
  ['one wild trial among five', { values: steady }, { values: [10, 10.1, 9.9, 10.05, 2] }, 'noise'],
  ['a lower median of trials that are all over the place', { values: wild }, { values: [9, 13, 6, 11, 7] }, 'noise'],
  ['two per cent less, beyond doubt', { values: steady }, { values: times(0.975) }, 'noise'],
  ['three trials a fifth lower', { values: [10, 10.1, 9.9] }, { values: [8, 8.1, 7.9] }, 'slower'],
  ['three trials seven per cent lower', { values: [10, 10.1, 9.9] }, { values: [9.3, 9.4, 9.2] }, 'noise'],
  ['three trials a fifth lower, one of them not', { values: [10, 10.1, 9.9] }, { values: [8, 9.95, 7.9] }, 'noise'],
  ['half of it, in two trials each', { values: [10, 10.1] }, { values: [5, 5.1] }, 'noise'],
])('%s', (_, before, after, verdict) => {
  test(`is ${verdict}`, () => {
    const { status, stdout, stderr } = compare(results('before.json', before), results('after.json', after));
    expect({ stderr, status }).toEqual({ stderr: '', status: verdict === 'slower' ? 1 : 0 });
    expect(stdout.split('\n')[0]).toMatch(new RegExp(`^${verdict} `));
  });
});

test.each(['raw, msync', 'control', 'lmdb'])('what became of %s is told, and is no regression of ours', (contender) => {
  const before = results('before.json', { values: steady, contender });
  const { status, stdout } = compare(before, results('after.json', { values: times(0.5), contender }));
  expect(stdout).toMatch(/^slower .*segwal: 0 slower, 0 faster, of 0\n$/s);
  expect(status).toBe(0);
});

test('another machine is told', () => {
  const { stdout } = compare(
    results('before.json', { values: steady }),
    results('after.json', { values: steady }, { cpu: 'another' }),
  );
  expect(stdout).toContain('other cpu: one before, another after');
});

test('what does not have the shape of results is refused, with what is wrong with it', () => {
  const good = results('good.json', { values: steady });
  const bad = results('bad.json', { values: steady }, { cores: null });
  const { status, stderr } = compare(good, bad);
  expect(status).toBe(1);
  expect(stderr).toContain('/machine/cores must be');
});
