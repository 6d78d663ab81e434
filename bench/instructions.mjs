// node bench/instructions.mjs: how many instructions one append takes, and where, counted by callgrind (valgrind, Linux).
//
// Each way of appending runs twice, with so many records and with `more` times as many; the difference is what they cost
// without start-up, compilation and warm-up. Instructions of all threads are counted, those of the kernel are not.
import { spawnSync } from 'node:child_process';
import { mkdirSync, rmSync } from 'node:fs';
import { basename, join } from 'node:path';
import { fileURLToPath } from 'node:url';

import { WalManager } from 'segwal';

import { raw, sampleBuffers, sampleStrings, workDirectory } from './environment.mjs';

const here = fileURLToPath(import.meta.url);
const few = 100_000;
const more = 3;
const bytes = 100;
const leastShown = 5;

export const ways = {
  'append(Buffer)': logged((wal, records, i) => wal.append(records[i & 1023]), sampleBuffers),
  'append(string)': logged((wal, records, i) => wal.append(records[i & 1023]), sampleStrings),
  'append(Buffer, { key })': logged(
    (wal, records, i) => wal.append(records[i & 1023], { key: 'tenant' }),
    sampleBuffers,
  ),
  'raw Buffer': rawly('appendBuffer', sampleBuffers),
  'raw string': rawly('appendString', sampleStrings),
  'write(Buffer), 1,024 in flight': writeMany,
};

function logged(append, samples) {
  return async (count, directory) => {
    const wal = await WalManager.open(directory);
    const records = samples(bytes);
    for (let i = 0; i < count; i++) append(wal, records, i);
    await wal.close();
  };
}

function rawly(name, samples) {
  return (count, directory) => {
    const append = raw.open(join(directory, 'raw'), 2 ** 26)[name];
    const records = samples(bytes);
    for (let i = 0; i < count; i++) append(records[i & 1023]);
  };
}

async function writeMany(count, directory) {
  const wal = await WalManager.open(directory);
  const records = sampleBuffers(bytes);
  let left = count;
  const chain = async () => {
    while (left-- > 0) await wal.write(records[left & 1023]);
  };
  await Promise.all(Array.from({ length: 1024 }, chain));
  await wal.close();
}

/** Instructions by object and, where they are ours, by function. Code that V8 has compiled has no object. */
function count(way, records, directory) {
  const [own, out] = [join(directory, 'log'), join(directory, 'callgrind.out')];
  rmSync(own, { recursive: true, force: true });
  mkdirSync(own);
  const valgrind = ['--tool=callgrind', '--smc-check=all-non-file', `--callgrind-out-file=${out}`];
  const victim = [process.execPath, '--single-threaded', here, way, String(records), own];
  const { status, stderr, error } = spawnSync('valgrind', [...valgrind, ...victim], { encoding: 'utf8' });
  if (status !== 0) throw error ?? new Error(`valgrind ended with status ${status}: ${stderr}`);
  const listed = spawnSync('callgrind_annotate', ['--threshold=100', out], { encoding: 'utf8', maxBuffer: 2 ** 28 });
  const counts = {};
  const add = (name, instructions) => (counts[name] = (counts[name] ?? 0) + Number(instructions.replaceAll(',', '')));
  for (const line of listed.stdout.split('\n')) {
    const [, instructions, name, object] = /^\s*([\d,]+) \([^)]*\)\s+\S*?:(.*) \[([^\]]*)\]\s*$/.exec(line) ?? [];
    if (instructions === undefined) continue;
    const program = object === '???' ? 'compiled JavaScript' : basename(object);
    add(program, instructions);
    if (/^segwal/.test(program)) add(`${program} ${name.replace(/'\d+$/, '')}`, instructions);
  }
  return counts;
}

/** How many instructions of what one record takes: by object and, where they are ours, by function. */
export function instructionsOf(way, directory) {
  const [less, all] = [count(way, few, directory), count(way, few * more, directory)];
  const each = (name) => (all[name] - (less[name] ?? 0)) / (few * (more - 1));
  return Object.fromEntries(Object.keys(all).map((name) => [name, each(name)]));
}

export function hasValgrind() {
  return spawnSync('valgrind', ['--version']).status === 0;
}

function print(chosen) {
  const directory = workDirectory(join(import.meta.dirname, '.tmp'), 2 ** 30);
  try {
    for (const way of chosen) {
      console.log(way);
      for (const [name, instructions] of Object.entries(instructionsOf(way, directory)).sort((a, b) => b[1] - a[1])) {
        if (instructions >= leastShown) console.log(`${instructions.toFixed(0).padStart(8)} ${name}`);
      }
    }
  } finally {
    rmSync(directory, { recursive: true });
  }
}

if (process.argv[1] === here) {
  const [, , way, records, directory] = process.argv;
  if (directory !== undefined) await ways[way](Number(records), directory);
  else print(way === undefined ? Object.keys(ways) : [way]);
}
