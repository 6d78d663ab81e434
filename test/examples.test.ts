// The examples, as somebody would run them: each kills its own child processes and looks at what comes back.
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, readdirSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';

const root = resolve(__dirname, '..');
const seed = process.env['SEED'] === undefined ? Date.now() % 1_000_000 : Number(process.env['SEED']);

let folder = '';
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'segwal-examples-'));
});
afterEach(() => {
  rmSync(folder, { recursive: true, force: true });
});

async function runExample(name: string): Promise<string> {
  const script = join(root, 'examples', name, 'main.js');
  const child = spawn(process.execPath, [script, '--seed', String(seed), folder]);
  let output = '';
  for (const stream of [child.stdout, child.stderr]) {
    stream.setEncoding('utf8').on('data', (text: string) => {
      output += text;
    });
  }
  const [status] = (await once(child, 'close')) as [number | null];
  // What it printed says why, and its seed.
  if (status !== 0) throw new Error(`${name} ended with status ${status}:\n${output}`);
  expect(readdirSync(folder)).toEqual([]);
  return output;
}

const examples: [string, RegExp][] = [
  ['slice-cache', /files as they should be +yes/],
  ['graph-checkpoint', /graph as it should be +yes/],
  ['multi-tenant', /tenants as they should be +yes/],
  ['vector-index', /neighbours as they should be +yes/],
];

test.each(examples)(
  '%s comes back from its crashes',
  async (name, verdict) => {
    const output = await runExample(name);
    expect(output.match(/^killed after step \d+/gm)).toHaveLength(3);
    expect(output).toMatch(verdict);
  },
  120_000,
);
