// Many operations in flight, each followed by the next as soon as it is done.
import { Histogram } from './statistics.mjs';

/** Of many chains only one in so many looks at the clock, which costs as much as a tenth of an operation. */
const perLook = 64;

/**
 * Keeps `depth` calls of `start(i)` in flight for so many seconds: { count, ms, latency }. All that were started are
 * waited for, and counted.
 */
export async function inFlight(depth, seconds, start) {
  const latency = new Histogram();
  const every = depth < perLook ? 1 : perLook;
  let next = 0;
  let stop = false;
  const begin = performance.now();
  const end = begin + seconds * 1000;

  const timed = async () => {
    while (!stop) {
      const started = performance.now();
      await start(next++);
      const now = performance.now();
      latency.record((now - started) * 1e6);
      if (now >= end) stop = true;
    }
  };
  const untimed = async () => {
    while (!stop) await start(next++);
  };
  const chains = Array.from({ length: depth }, (_, i) => (i % every === 0 ? timed() : untimed()));
  await Promise.all(chains);
  return { count: next, ms: performance.now() - begin, latency };
}
