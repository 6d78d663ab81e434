// What the examples have in common: [--seed n] [folder], a folder of their own, and an exit code.
const { mkdirSync, mkdtempSync, rmSync } = require('node:fs');
const { tmpdir } = require('node:os');
const { join } = require('node:path');
const { parseArgs } = require('node:util');

/** Calls `run(folder, seed)`, prints what it returns, and exits with 0 unless it throws. */
async function main(name, run) {
  const { values, positionals } = parseArgs({ options: { seed: { type: 'string' } }, allowPositionals: true });
  const seed = values.seed === undefined ? Math.floor(Math.random() * 1e9) : Number(values.seed);
  const parent = positionals[0] ?? tmpdir();
  mkdirSync(parent, { recursive: true });
  const folder = mkdtempSync(join(parent, `segwal-${name}-`));
  console.log(`--seed ${seed}`);
  try {
    for (const [fact, value] of Object.entries(await run(folder, seed))) console.log(`${fact.padEnd(36)} ${value}`);
  } catch (error) {
    console.error(error);
    process.exitCode = 1;
  } finally {
    rmSync(folder, { recursive: true });
  }
}

/** Numbers from 0 to below 1 that follow from `seed` (mulberry32, by Tommy Ettinger). */
function randomFrom(seed) {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let mixed = Math.imul(state ^ (state >>> 15), 1 | state);
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed;
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  };
}

/** An integer from 0 to below `bound`. */
function below(random, bound) {
  return Math.floor(random() * bound);
}

module.exports = { below, main, randomFrom };
