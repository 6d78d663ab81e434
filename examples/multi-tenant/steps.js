// What the tenants do, step by step: step i of a seed is always the same.
const { below, randomFrom } = require('../shared/main');

/** The entries of a step, which go together. None: a checkpoint. */
function stepOf(seed, i) {
  const random = randomFrom(seed * 100_003 + i);
  const dice = random();
  if (dice < 0.02) return [];
  const count = dice < 0.3 ? 2 + below(random, 20) : 1;
  return Array.from({ length: count }, () => {
    const tenant = `tenant-${below(random, 8)}`;
    const key = `key-${below(random, 40)}`;
    if (random() < 0.2) return { tenant, operation: 'delete', key };
    return { tenant, operation: random() < 0.5 ? 'insert' : 'update', key, value: `value of step ${i}` };
  });
}

module.exports = { stepOf };
