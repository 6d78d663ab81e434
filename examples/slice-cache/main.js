// node examples/slice-cache/main.js [--seed n] [folder]
//
// A cache that acknowledges writes when they are in the log is killed, three times. Each time it comes back with every
// write that it had acknowledged, without the files that were removed, and uploads what was pending.
const assert = require('node:assert/strict');
const { existsSync } = require('node:fs');
const { join } = require('node:path');

const { runAndKill } = require('../shared/crash');
const { below, main, randomFrom } = require('../shared/main');
const { SliceCache } = require('./cache');
const { filesAfter } = require('./steps');

const lives = 3;

async function run(folder, seed) {
  const random = randomFrom(seed);
  const directory = join(folder, 'cache');
  const facts = {};
  let steps = 0;
  for (let life = 1; life <= lives; life++) {
    const lines = await runAndKill(join(__dirname, 'child.js'), [directory, seed, steps + 1], 20 + below(random, 150));
    steps = Number(lines.at(-1));
    const cache = await SliceCache.open(directory);
    steps = whichStep(cache, seed, steps);
    const { slices, pending } = cache.recovered;
    facts[`killed after step ${steps}`] = `${slices} slices in the log, ${pending} of them pending`;
    assert.equal(cache.pending().length, 0, 'recovery uploads what was pending');
    await cache.close();
  }
  await withoutLog(folder);
  return { ...facts, 'files as they should be': 'yes' };
}

/** The step that was under way at the kill may have been taken or not, but no half of it; the rest must be there. */
function whichStep(cache, seed, acknowledged) {
  for (const steps of [acknowledged, acknowledged + 1]) {
    const expected = filesAfter(seed, steps);
    const handles = [...expected.keys()].sort((a, b) => a - b);
    if (String(handles) !== String(cache.handles)) continue;
    if (handles.every((handle) => expected.get(handle).equals(cache.read(handle)))) return steps;
  }
  return assert.fail(`the files are as after no step (${acknowledged} were acknowledged)`);
}

/** Switched off by configuration, the cache works, and nothing survives. */
async function withoutLog(folder) {
  const directory = join(folder, 'ephemeral');
  const cache = await SliceCache.open(directory, { enabled: false });
  assert.equal(cache.persister.isEnabled(), false);
  cache.write(1, 0, Buffer.from('gone'));
  assert.equal(cache.read(1).toString(), 'gone');
  await cache.flush();
  await cache.close();
  assert.equal(existsSync(join(directory, 'log')), false);
  const again = await SliceCache.open(directory, { enabled: false });
  assert.deepEqual(again.handles, []);
  await again.close();
}

main('slice-cache', run);
