// What a client does, step by step: step i of a seed is always the same.
const { below, randomFrom } = require('../shared/main');

const files = 6;

function stepOf(seed, i) {
  const random = randomFrom(seed * 100_003 + i);
  const dice = random();
  const handle = 1 + below(random, files);
  if (dice < 0.06) return { does: 'flush' };
  if (dice < 0.12) return { does: 'remove', handle };
  const data = Buffer.alloc(1 + below(random, dice < 0.2 ? 100_000 : 3000), `step ${i} `);
  return { does: 'write', handle, position: below(random, 150_000), data };
}

/** The files after so many steps, without a cache, a store or a log. */
function filesAfter(seed, steps) {
  const contents = new Map();
  for (let i = 1; i <= steps; i++) {
    const { does, handle, position, data } = stepOf(seed, i);
    if (does === 'remove') contents.delete(handle);
    if (does !== 'write') continue;
    const before = contents.get(handle) ?? Buffer.alloc(0);
    const after = Buffer.alloc(Math.max(before.length, position + data.length));
    before.copy(after);
    data.copy(after, position);
    contents.set(handle, after);
  }
  return contents;
}

module.exports = { filesAfter, stepOf };
