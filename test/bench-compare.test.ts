// `npm run bench:compare` on made-up results: what it calls a regression, and what noise. How stacks become flame graphs, and
// whether the report has them.
import { spawnSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Script } from 'node:vm';

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
function results(name: string, measure: Measure, machine = {}, more = {}): string {
  const path = join(directory, name);
  writeFileSync(path, JSON.stringify({ ...made(measure, machine), ...more }));
  return path;
}

function made({ values, better = 'more', contender = 'segwal' }: Measure, machine = {}): object {
  const sorted = [...values].sort((a, b) => a - b);
  return {
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

interface Frame {
  name: string;
  value: number;
  children?: Frame[];
}

interface Folded {
  samples: number;
  seconds: number;
  tree: Frame;
  threads: Record<string, number>;
}

/** What a module of bench/ says to `input`: they are modules of ECMAScript, which Jest cannot load. */
function inBench<Result>(module: string, expression: string, input: unknown): Result {
  const path = JSON.stringify(join(__dirname, '..', 'bench', module));
  const program = `
    import { pathToFileURL } from 'node:url';
    import { text } from 'node:stream/consumers';
    const module = await import(pathToFileURL(${path}));
    const input = JSON.parse(await text(process.stdin));
    process.stdout.write(JSON.stringify(${expression}));`;
  const { status, stdout, stderr } = spawnSync(process.execPath, ['--input-type=module', '-e', program], {
    encoding: 'utf8',
    input: JSON.stringify(input),
  });
  expect({ stderr, status }).toEqual({ stderr: '', status: 0 });
  return JSON.parse(stdout) as Result;
}

function fold(text: string, least?: number): Folded {
  return inBench('flames.mjs', 'module.foldStacks(...input)', least === undefined ? [text] : [text, least]);
}

interface Sample {
  tid?: number;
  time?: number;
  /** As perf prints them, the innermost first. */
  stack: string[];
}

function perfScript(samples: Sample[]): string {
  return samples
    .map(({ tid = 7, time = 1, stack }) => [`node ${7}/${tid} ${time.toFixed(6)}: `, ...stack, ''].join('\n'))
    .join('\n');
}

/** Every path through the tree, with its samples. */
function paths({ name, value, children = [] }: Frame): string[] {
  return [`${name} ${value}`, ...children.flatMap((child) => paths(child).map((path) => `${name} > ${path}`))];
}

const addon = '(/opt/someone/build/Release/segwal.node)';
const program = '(/opt/someone/bin/node)';
const kernel = '([kernel.kallsyms])';
const eventLoop = [`\t   14c05fa uv__io_poll ${program}`, '\tffffffffffffffff [unknown] ([unknown])'];
const append = [
  `\t   845d94 v8impl::(anonymous namespace)::FunctionCallbackWrapper::Invoke ${program}`,
  '\t   b27 JS:*append file:///opt/someone/dist/wal-manager.js:152:11 (/opt/someone/jitted-7-3103.so)',
  `\t   c4993c v8::internal::(anonymous namespace)::Invoke ${program}`,
  ...eventLoop,
];

test('a stack becomes a path from the thread to the innermost function', () => {
  const { tree, samples, seconds, threads } = fold(
    perfScript([
      { time: 1.5, stack: [`\t   305ba segwal::Appender::AppendPlain ${addon}`, ...append] },
      {
        time: 3,
        stack: [
          `\tffffffff815eea80 handle_mm_fault.constprop.0 ${kernel}`,
          `\tffffffff81000c82 asm_exc_page_fault ${kernel}`,
          `\t   305ba segwal::Appender::AppendPlain ${addon}`,
          ...append.map((frame) => frame.replace('JS:*', 'JS:~')),
        ],
      },
    ]),
  );
  const outside = 'all > JavaScript thread > append wal-manager.js:152_[j] > v8impl::FunctionCallbackWrapper::Invoke';
  expect(paths(tree)).toEqual([
    'all 2',
    'all > JavaScript thread 2',
    'all > JavaScript thread > append wal-manager.js:152_[j] 2',
    `${outside} 2`,
    `${outside} > segwal::Appender::AppendPlain 2`,
    `${outside} > segwal::Appender::AppendPlain > handle_mm_fault_[k] 1`,
  ]);
  expect({ samples, seconds, threads }).toEqual({ samples: 2, seconds: 1.5, threads: { 'JavaScript thread': 2 } });
});

test('a thread has the name of what it does, also in samples that do not show it', () => {
  const syncer = [`\t   f1 segwal::Syncer::Run ${addon}`, '\t  891f5 start_thread (/usr/lib/libc.so.6)'];
  const { threads } = fold(
    perfScript([
      { tid: 8, stack: [`\tffffffff81000000 schedule ${kernel}`] },
      { tid: 8, stack: syncer },
      { tid: 9, stack: [`\t   f1 segwal::Allocator::KeepWindow ${addon}`] },
      { tid: 10, stack: [`\t   f1 segwal::Allocator::KeepSpare ${addon}`] },
      { tid: 11, stack: [`\t   f1 segwal::Reclaimer::Run ${addon}`] },
      { tid: 12, stack: [`\t   f1 node::(anonymous namespace)::PlatformWorkerThread ${program}`] },
      { tid: 13, stack: [`\t   f1 compress (/usr/lib/libz.so.1)`] },
      { stack: append },
    ]),
  );
  expect(threads).toEqual({
    'JavaScript thread': 1,
    syncer: 2,
    "allocator's window": 1,
    "allocator's spare segment": 1,
    reclaimer: 1,
    "V8's workers": 1,
    'other threads': 1,
  });
});

test.each([
  ['\t  1 [unknown] (/usr/lib/libfoo.so.6.0.30)', '[libfoo.so.6.0.30]'],
  ['\t  1 [unknown] (/opt/someone/jitted-7-3.so)', '[compiled by V8]'],
  ['\t  1 [unknown] (/tmp/perf-7.map)', '[compiled by V8]'],
  ['\t  ffffffffffffffff [unknown] ([unknown])', '[unknown]'],
  ['\tffffffff81000000 [unknown] ([kernel.kallsyms])', 'kernel_[k]'],
  ['\tffffffffc0000000 xfs_sync ([xfs])', 'xfs_sync_[k]'],
  ['\tffffffff81000000 asm_sysvec_apic_timer_interrupt ([kernel.kallsyms])', 'interrupt_[k]'],
  [
    '\t  1 JS:~ file:///opt/some%20one/bench/append.mjs:92:47 (/opt/someone/jitted-7-3.so)',
    '(anonymous) append.mjs:92_[j]',
  ],
  [
    '\t  1 JS:^runMicrotask node:internal/process/task_queues:136:12 (/tmp/perf-7.map)',
    'runMicrotask task_queues:136_[j]',
  ],
  ['\t  1 LazyCompile:*now C:\\someone/lib/a.js:1:2 (/tmp/perf-7.map)', 'now a.js:1_[j]'],
  ['\t  1 Builtin:RunMicrotasks (/opt/someone/jitted-7-3.so)', 'Builtins_RunMicrotasks'],
  ['\t  1 RegExp:/opt/someone/x (/opt/someone/jitted-7-3.so)', 'RegExp:x'],
  ['\t  1 memcpy@@GLIBC_2.14 (/usr/lib/libc.so.6)', 'memcpy'],
  ['\t  1 uv__work.part.0 (/opt/someone/bin/node (deleted))', 'uv__work'],
  ['\t  1 segwal::Put(int) (/opt/some one/segwal.node)', 'segwal::Put'],
  [
    '\t  1 std::_Function_handler<void (), segwal::Open(Napi::CallbackInfo const&)::{lambda()#1}>::_M_invoke (/a/segwal.node)',
    'std::_Function_handler::_M_invoke',
  ],
])('%j is shown as %s', (frame, name) => {
  const { tree } = fold(perfScript([{ stack: [frame] }]));
  expect(paths(tree).at(-1)).toBe(`all > JavaScript thread > ${name} 1`);
});

test('what is pruned still counts in what called it, and no box is wider than the one below', () => {
  // A thousand samples: one way in three hundred, one in seven hundred less one, and a single sample of its own.
  const way = (i: number): string => (i < 300 ? 'left' : i < 999 ? `right ${i % 2}` : 'rare');
  const text = perfScript(
    Array.from({ length: 1000 }, (_, i) => ({
      stack: [`\t  1 leaf${i % 400} ${program}`, `\t  1 ${way(i)} ${program}`, `\t  1 work ${program}`],
    })),
  );
  const { tree, samples } = fold(text, 0.003);
  const check = ({ value, children = [] }: Frame): void => {
    expect(children.reduce((sum, child) => sum + child.value, 0)).toBeLessThanOrEqual(value);
    for (const child of children) expect(child.value).toBeGreaterThanOrEqual(3);
    children.forEach(check);
  };
  check(tree);
  expect(samples).toBe(1000);
  expect(paths(tree)).toEqual([
    'all 1000',
    'all > JavaScript thread 1000',
    'all > JavaScript thread > work 1000',
    'all > JavaScript thread > work > right 0 350',
    'all > JavaScript thread > work > right 1 349',
    'all > JavaScript thread > work > left 300',
  ]);
  const whole = fold(text, 0);
  const leaves = ({ value, children }: Frame): number =>
    children === undefined ? value : children.reduce((sum, child) => sum + leaves(child), 0);
  expect(leaves(whole.tree)).toBe(1000);
});

const flame = {
  title: 'append, made up',
  samples: 2,
  seconds: 1,
  tree: { name: 'all', value: 2, children: [{ name: 'work </script>', value: 1 }] },
};

test('results may have flame graphs, of the right shape', () => {
  const plain = results('plain.json', { values: steady });
  const good = results('good.json', { values: steady }, {}, { flames: [flame] });
  expect(compare(plain, good).status).toBe(0);
  const bad = results('bad.json', { values: steady }, {}, { flames: [{ ...flame, tree: { name: 'all' } }] });
  expect(compare(plain, bad)).toMatchObject({
    status: 1,
    stderr: expect.stringContaining("/flames/0/tree must have required property 'value'") as string,
  });
});

test.each([
  ['with flame graphs', { flames: [flame] }],
  ['without', {}],
])('the report %s has its data, and scripts that parse', (_, more) => {
  const document = { ...made({ values: steady }), ...more };
  const page = inBench<string>('html.mjs', 'module.renderReport(input)', document);
  const scripts = [...page.matchAll(/<script>(.*?)<\/script>/gs)].map(([, script]) => script!);
  expect(scripts).toHaveLength(2);
  for (const script of scripts) new Script(script);
  expect(page.includes('<h2>Flame graphs</h2>')).toBe('flames' in more);
  expect(scripts[0]!.includes('flamegraph')).toBe('flames' in more);
  expect(scripts[1]).toContain('flames' in more ? 'work \\u003c/script>' : 'const flames = [];');
});

test('results are written as they are read, a flame graph on a line of its own', () => {
  const path = join(directory, 'written.json');
  const document = { ...made({ values: steady }), flames: [flame, flame] };
  inBench('results.mjs', '(module.writeResults(...input), 0)', [path, document]);
  expect(inBench('results.mjs', 'module.readResults(input)', path)).toEqual(document);
  const lines = readFileSync(path, 'utf8').split('\n');
  expect(lines.filter((line) => line.includes('made up'))).toHaveLength(2);
});
