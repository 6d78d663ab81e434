// The process that is killed: takes step after step, and prints the number of each that it has taken.
const { writeSync } = require('node:fs');

const { dimensions, stepOf } = require('./steps');
const { VectorWorker } = require('./worker');

async function work(directory, seed, first) {
  const worker = await VectorWorker.start({ directory, dimensions, enableWal: true });
  for (let i = first; ; i++) {
    const operations = stepOf(seed, i);
    if (operations.length === 0) await worker.processFlush();
    else if (operations.length > 1) worker.batch(operations);
    else if (operations[0].vector === undefined) worker.delete(operations[0].id);
    else worker.insert(operations[0].id, operations[0].vector);
    writeSync(1, `${i}\n`); // at once: process.stdout may keep lines that a kill takes along
  }
}

const [directory, seed, first] = process.argv.slice(2);
work(directory, Number(seed), Number(first));
