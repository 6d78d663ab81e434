// One trial of a peer, in a process of its own: like ../trial.mjs, but that no suite of segwal is loaded.
import { inFlight } from '../in-flight.mjs';
import { sampleBuffers } from '../samples.mjs';
import { Histogram } from '../statistics.mjs';
import { tellResult } from '../tell-result.mjs';
import { durableResult } from '../durable-result.mjs';
import { peers } from './peers.mjs';

const [, options, directory] = process.argv.slice(2);
const { peer, workload, bytes, seconds, depth } = JSON.parse(options);
const records = sampleBuffers(bytes);
const workloads = { append, durable };
tellResult(await workloads[workload]());

async function append() {
  let begin;
  const keepOn = (count) => {
    if (count % 1000 !== 0) return true; // looking at the clock costs as much as a cheap append
    begin ??= performance.now(); // the file is open, and the first record is about to be written
    return count === 0 || performance.now() < begin + seconds * 1000;
  };
  const count = await peers[peer].append(directory, records, keepOn);
  return { value: count / (performance.now() - begin) / 1000, details: { records: count } };
}

async function durable() {
  let result;
  const run = async (start) => {
    await inFlight(depth, seconds / 4, start);
    result = await inFlight(depth, seconds, start);
  };
  run.together = async (write) => {
    let from = await together(write, 0, seconds / 4).then(({ count }) => count);
    result = await together(write, from, seconds);
  };
  await peers[peer].durable(directory, records, run);
  return durableResult(result, depth);
}

/** One group of `depth` records after another. */
async function together(write, first, forSeconds) {
  const latency = new Histogram();
  const begin = performance.now();
  let count = 0;
  for (let now = begin; now < begin + forSeconds * 1000; count += depth) {
    await write(first + count, depth);
    const done = performance.now();
    latency.record((done - now) * 1e6);
    now = done;
  }
  return { count, ms: performance.now() - begin, latency };
}
