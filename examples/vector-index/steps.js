// What is done to the index, step by step: step i of a seed is always the same.
const { below, randomFrom } = require('../shared/main');

const dimensions = 16;
const ids = 300;

function vectorFrom(random) {
  return Float32Array.from({ length: dimensions }, random);
}

/** The operations of a step, which go together. None: a flush. */
function stepOf(seed, i) {
  const random = randomFrom(seed * 100_003 + i);
  const dice = random();
  if (dice < 0.05) return [];
  const count = dice < 0.3 ? 2 + below(random, 10) : 1;
  return Array.from({ length: count }, () => {
    const id = `vector-${below(random, ids)}`;
    return random() < 0.2 ? { id } : { id, vector: vectorFrom(random) };
  });
}

module.exports = { dimensions, stepOf, vectorFrom };
