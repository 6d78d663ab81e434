// The process that is killed: takes step after step, and prints the number of each that it has taken.
const { writeSync } = require('node:fs');

const { SliceCache } = require('./cache');
const { stepOf } = require('./steps');

async function work(directory, seed, first) {
  const cache = await SliceCache.open(directory);
  for (let i = first; ; i++) {
    const { does, handle, position, data } = stepOf(seed, i);
    if (does === 'write') cache.write(handle, position, data);
    else if (does === 'remove') cache.remove(handle);
    else await cache.flush();
    writeSync(1, `${i}\n`); // at once: process.stdout may keep lines that a kill takes along
  }
}

const [directory, seed, first] = process.argv.slice(2);
work(directory, Number(seed), Number(first));
