// One trial of a peer, in a process of its own: like ../trial.mjs, but that no suite of segwal is loaded.
import { inFlight } from '../in-flight.mjs';
import { sampleBuffers } from '../samples.mjs';
import { Histogram } from '../statistics.mjs';
import { Stretches } from '../stretches.mjs';
import { tellResult } from '../tell-result.mjs';
import { durableResult } from '../durable-result.mjs';
import { peers } from './peers.mjs';

const patienceMs = 20_000;

const [, options, directory] = process.argv.slice(2);
const load = JSON.parse(options);
const { peer, workload, bytes, seconds, depth } = load;
const records = sampleBuffers(bytes);
const workloads = { append, durable };
// Some wait for their own threads without keeping the process alive. One that never hears of them must not stop the run.
const watchdog = setTimeout(() => process.exit(3), patienceMs + seconds * 4000);
const measured = await workloads[workload]();
clearTimeout(watchdog);
tellResult(measured);

async function append() {
  const stretches = new Stretches(load);
  const count = await peers[peer].append(directory, records, (sofar) => stretches.keepOn(sofar));
  return { value: count / stretches.elapsed / 1000, details: { records: count } };
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
