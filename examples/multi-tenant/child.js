// The process that is killed: takes step after step, and prints the number of each that it has taken.
const { writeSync } = require('node:fs');

const { stepOf } = require('./steps');
const { TenantStore } = require('./store');

async function work(directory, seed, first) {
  const store = await TenantStore.open(directory);
  for (let i = first; ; i++) {
    const entries = stepOf(seed, i);
    if (entries.length === 0) await store.checkpoint();
    else if (entries.length === 1) await store.write(entries[0]);
    else await store.writeBatch(entries);
    writeSync(1, `${i}\n`); // at once: process.stdout may keep lines that a kill takes along
  }
}

const [directory, seed, first] = process.argv.slice(2);
work(directory, Number(seed), Number(first));
