// Small segments, so that the log goes through many of them; and what the command line may say.
const { createHash, randomInt } = require('node:crypto');
const { parseArgs } = require('node:util');

const segmentSize = 4 * 1024 * 1024;

function parseCommandLine() {
  const { values, positionals } = parseArgs({ options: { seed: { type: 'string' } }, allowPositionals: true });
  return { seed: values.seed ?? String(randomInt(1_000_000)), parent: positionals[0] };
}

/** A number from 0 to 1 that is always the same for the same seed. */
function fraction(seed) {
  return createHash('sha256').update(seed).digest().readUInt32LE() / 2 ** 32;
}

module.exports = { fraction, parseCommandLine, segmentSize };
