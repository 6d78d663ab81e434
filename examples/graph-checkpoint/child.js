// The process that is killed: takes step after step, and prints the number of each that it has taken.
const { stepOf } = require('./steps');
const { GraphStore } = require('./store');

async function work(directory, seed, first) {
  const store = await GraphStore.open(directory);
  for (let i = first; ; i++) {
    const operations = stepOf(seed, i);
    if (operations.length === 0) await store.checkpoint();
    else store.change(operations);
    process.stdout.write(`${i}\n`);
  }
}

const [directory, seed, first] = process.argv.slice(2);
work(directory, Number(seed), Number(first));
