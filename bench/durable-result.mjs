import { percentileCurve } from './statistics.mjs';

/** What both segwal and its peers say of their writes. */
export function durableResult({ count, ms, latency }, depth, details = {}) {
  const at = (share) => latency.quantile(share);
  return {
    value: count / ms,
    more: { p50: at(0.5) / 1000, p99: at(0.99) / 1000 },
    ...(depth === 1 && { curves: { 'durable-latency': percentileCurve(at, 1000) } }),
    details: { records: count, ...details },
  };
}
