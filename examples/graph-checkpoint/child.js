// The process that is killed: takes step after step, and prints the number of each that it has taken.
const { writeSync } = require('node:fs');

const { stepOf } = require('./steps');
const { GraphStore } = require('./store');

async function work(directory, seed, first) {
  const store = await GraphStore.open(directory);
  for (let i = first; ; i++) {
    const operations = stepOf(seed, i);
    if (operations.length === 0) await store.checkpoint();
    else store.change(operations);
    writeSync(1, `${i}\n`); // at once: process.stdout may keep lines that a kill takes along
  }
}

const [directory, seed, first] = process.argv.slice(2);
work(directory, Number(seed), Number(first));
