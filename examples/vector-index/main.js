// node examples/vector-index/main.js [--seed n] [folder]
//
// A worker that keeps a vector index in memory is killed, three times. Each time its index comes back from the log as it
// was, and finds the same neighbours.
const assert = require('node:assert/strict');
const { existsSync } = require('node:fs');
const { join } = require('node:path');

const { runAndKill } = require('../shared/crash');
const { below, main, randomFrom } = require('../shared/main');
const { VectorIndex } = require('./index');
const { dimensions, stepOf, vectorFrom } = require('./steps');
const { VectorWorker } = require('./worker');

const lives = 3;

async function run(folder, seed) {
  const random = randomFrom(seed);
  const directory = join(folder, 'log');
  const facts = {};
  let steps = 0;
  for (let life = 1; life <= lives; life++) {
    const lines = await runAndKill(join(__dirname, 'child.js'), [directory, seed, steps + 1], 50 + below(random, 400));
    const worker = await VectorWorker.start({ directory, dimensions, enableWal: true });
    steps = whichStep(worker.index, seed, Number(lines.at(-1)));
    facts[`killed after step ${steps}`] =
      `${worker.index.vectors.size} vectors, from ${worker.wal.lastSequence} records`;
    const model = indexAfter(seed, steps);
    for (let i = 0; i < 20; i++) {
      const query = vectorFrom(random);
      assert.deepEqual(worker.search(query, 10), model.search(query, 10));
    }
    await worker.stop();
  }
  await withoutLog(folder, random);
  return { ...facts, 'neighbours as they should be': 'yes' };
}

function indexAfter(seed, steps) {
  const index = new VectorIndex(dimensions);
  for (let i = 1; i <= steps; i++) {
    for (const { id, vector } of stepOf(seed, i)) {
      if (vector === undefined) index.delete(id);
      else index.insert(id, vector);
    }
  }
  return index;
}

/** The step that was under way at the kill may have been taken or not, but no half of it; the rest must be there. */
function whichStep(index, seed, acknowledged) {
  const same = (other) =>
    other.vectors.size === index.vectors.size &&
    [...other.vectors].every(([id, vector]) => String(vector) === String(index.vectors.get(id)));
  const steps = [acknowledged, acknowledged + 1].find((count) => same(indexAfter(seed, count)));
  assert(steps !== undefined, `the index is as after no step (${acknowledged} were acknowledged)`);
  return steps;
}

/** `enableWal: false`: the same worker, and nothing survives it. */
async function withoutLog(folder, random) {
  const directory = join(folder, 'ephemeral');
  const worker = await VectorWorker.start({ directory, dimensions, enableWal: false });
  worker.insert('a', vectorFrom(random));
  await worker.processFlush();
  assert.deepEqual(worker.search(vectorFrom(random), 1), ['a']);
  assert.throws(() => worker.insert('b', new Float32Array(3)), RangeError);
  await worker.stop();
  assert.equal(existsSync(directory), false);
}

main('vector-index', run);
