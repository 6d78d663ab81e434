// node bench/write-path.mjs [records]: which system calls the appending thread makes, counted by strace (Linux).
//
// The run is marked by a system call that does nothing else here, kill(pid, 0), before and after.
import { spawnSync } from 'node:child_process';
import { readFileSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';

import { WalManager } from 'segwal';

import { sampleBuffers, workDirectory } from './environment.mjs';

const here = fileURLToPath(import.meta.url);
const recordBytes = 100;
const warmUp = 100_000;

if (process.argv[2] === 'child') await child(process.argv[3], Number(process.argv[4]));
else parent(Number(process.argv[2] ?? 2_000_000));

async function child(directory, count) {
  const { pid } = process; // asking for it is a system call too
  const mark = () => process.kill(pid, 0);
  const records = sampleBuffers(recordBytes);
  const wal = await WalManager.open(directory);
  const append = (n) => {
    for (let i = 0; i < n; i++) wal.append(records[i & 1023]);
  };
  append(warmUp);
  await wal.sync();
  mark();
  append(count);
  mark();
  const { rotations, writerStalls } = wal.stats();
  console.log(
    `${count} records of ${recordBytes} bytes, ${rotations} rotations, ${writerStalls} waits for the allocator`,
  );
  await wal.close();
}

function parent(count) {
  const directory = workDirectory(join(import.meta.dirname, '.tmp'), 2 ** 32);
  try {
    const trace = join(directory, 'trace');
    const victim = [process.execPath, here, 'child', join(directory, 'log'), String(count)];
    const { status, error } = spawnSync('strace', ['-f', '-qq', '-o', trace, ...victim], { stdio: 'inherit' });
    if (status !== 0) throw error ?? new Error(`strace ended with status ${status}`);
    const calls = callsBetweenMarks(readFileSync(trace, 'utf8').split('\n'));
    console.log(`system calls of the appending thread meanwhile: ${calls.size === 0 ? 'none' : ''}`);
    for (const [name, times] of calls) console.log(`${String(times).padStart(8)} ${name}`);
  } finally {
    rmSync(directory, { recursive: true });
  }
}

/** How often each system call was made, by the thread that set the marks. */
function callsBetweenMarks(lines) {
  const mark = /^(\d+) +kill\(\d+, 0/;
  const [begin, end] = lines.flatMap((line, index) => (mark.test(line) ? [index] : []));
  const [, thread] = mark.exec(lines[begin]);
  const calls = new Map();
  for (const line of lines.slice(begin + 1, end)) {
    const [, id, name] = /^(\d+) +(\w+)\(/.exec(line) ?? [];
    if (id === thread) calls.set(name, (calls.get(name) ?? 0) + 1);
  }
  return calls;
}
