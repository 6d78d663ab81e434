// node examples/graph-checkpoint/main.js [--seed n] [folder]
//
// A store that replaces its log by snapshots is killed, three times, perhaps in the middle of a checkpoint. Each time its
// graph comes back. In the end a checkpoint makes the log on the disk really smaller.
const assert = require('node:assert/strict');
const { join } = require('node:path');

const { runAndKill } = require('../shared/crash');
const { below, main, randomFrom } = require('../shared/main');
const { stepOf } = require('./steps');
const { Graph, GraphStore } = require('./store');

const lives = 3;

async function run(folder, seed) {
  const random = randomFrom(seed);
  const directory = join(folder, 'graph');
  const facts = {};
  let steps = 0;
  for (let life = 1; life <= lives; life++) {
    const lines = await runAndKill(join(__dirname, 'child.js'), [directory, seed, steps + 1], 100 + below(random, 400));
    const store = await GraphStore.open(directory);
    steps = whichStep(store.graph, seed, Number(lines.at(-1)));
    const { snapshot, replayed } = store.opened;
    facts[`killed after step ${steps}`] = `${snapshot ?? 'no snapshot'}, and ${replayed} changes behind it`;
    await store.close();
  }
  return { ...facts, ...(await shrink(directory, seed, steps)), 'graph as it should be': 'yes' };
}

/** The step that was under way at the kill may have been taken or not, but no half of it; the rest must be there. */
function whichStep(graph, seed, acknowledged) {
  const found = JSON.stringify(graph);
  const steps = [acknowledged, acknowledged + 1].find((count) => JSON.stringify(graphAfter(seed, count)) === found);
  assert(steps !== undefined, `the graph is as after no step (${acknowledged} were acknowledged)`);
  return steps;
}

function graphAfter(seed, steps) {
  const graph = new Graph();
  for (let i = 1; i <= steps; i++) for (const operation of stepOf(seed, i)) graph.apply(operation);
  return graph;
}

/** Makes the log large, and small again. */
async function shrink(directory, seed, steps) {
  const store = await GraphStore.open(directory);
  for (let i = steps + 1; i <= steps + 3000; i++) {
    const operations = stepOf(seed, i);
    if (operations.length > 0) store.change(operations);
  }
  const [before, segments] = [store.logBytes(), store.wal.segments().length];
  await store.checkpoint();
  const graph = JSON.stringify(store.graph);
  await store.close();
  const after = store.logBytes();
  assert(segments > 4, `${segments} segments before the checkpoint`);
  assert(after < before / 2, `the log has ${after} bytes after the checkpoint, and had ${before} before`);
  const again = await GraphStore.open(directory);
  assert.equal(JSON.stringify(again.graph), graph);
  assert.equal(again.opened.replayed, 0, 'everything is in the snapshot');
  await again.close();
  return { 'bytes of the log': `${before} before the checkpoint, ${after} after it` };
}

main('graph-checkpoint', run);
