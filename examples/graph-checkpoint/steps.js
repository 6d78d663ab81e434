// What is done to the graph, step by step: step i of a seed is always the same.
const { below, randomFrom } = require('../shared/main');

const ids = 200;

/** The operations of a step, which go together. None: a checkpoint. */
function stepOf(seed, i) {
  const random = randomFrom(seed * 100_003 + i);
  if (random() < 0.01) return [];
  return Array.from({ length: 1 + below(random, 4) }, () => {
    const [id, to] = [below(random, ids), below(random, ids)];
    const dice = random();
    if (dice < 0.4) return { does: 'node', id, label: `node ${id} of step ${i} `.padEnd(below(random, 200), '.') };
    return dice < 0.85 ? { does: 'edge', id, to } : { does: 'remove', id };
  });
}

module.exports = { stepOf };
