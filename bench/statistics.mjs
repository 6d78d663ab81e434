// What many numbers are boiled down to.

/** Median, least and greatest. */
export function summarize(values) {
  const sorted = values.toSorted((a, b) => a - b);
  const middle = Math.floor(sorted.length / 2);
  const median = sorted.length % 2 === 1 ? sorted[middle] : (sorted[middle - 1] + sorted[middle]) / 2;
  return { median, min: sorted[0], max: sorted.at(-1) };
}

/** The value below which a share of `sorted` lies. */
export function quantile(sorted, share) {
  return sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * share))];
}

/**
 * The probability (two-sided) that samples as far apart as `a` and `b` come from one source, by the test of Mann and
 * Whitney: exact, by counting every way in which the ranks could have fallen. It asks only which of two values is the
 * greater, so that one wild trial moves it little.
 */
export function mannWhitney(a, b) {
  const u = a.reduce((sum, x) => sum + b.reduce((wins, y) => wins + (x > y ? 1 : x === y ? 0.5 : 0), 0), 0);
  const ways = waysToRank(a.length, b.length);
  const all = ways.reduce((sum, count) => sum + count, 0);
  const least = Math.min(u, a.length * b.length - u);
  const tail = ways.reduce((sum, count, value) => (value <= least ? sum + count : sum), 0);
  return Math.min(1, (2 * tail) / all);
}

/** In how many of the orders of m and n values does U come out as 0, 1, 2, …? The recurrence is Mann and Whitney's. */
function waysToRank(m, n, known = new Map()) {
  if (m === 0 || n === 0) return [1];
  const key = m * 1024 + n;
  if (!known.has(key)) {
    const counts = new Array(m * n + 1).fill(0);
    waysToRank(m - 1, n, known).forEach((count, u) => (counts[u + n] += count));
    waysToRank(m, n - 1, known).forEach((count, u) => (counts[u] += count));
    known.set(key, counts);
  }
  return known.get(key);
}

/** Counts durations, ns, in buckets a sixteenth of an octave wide, so that recording one costs a few of them. */
export class Histogram {
  #counts = new Uint32Array(32 * 16);
  #max = 0;
  count = 0;

  record(ns) {
    const value = Math.max(16, ns) | 0;
    const octave = 31 - Math.clz32(value);
    this.#counts[(octave << 4) | ((value >> (octave - 4)) & 15)]++;
    if (ns > this.#max) this.#max = ns;
    this.count++;
  }

  /** The upper end of the bucket in which that share of all lies. */
  quantile(share) {
    let left = Math.ceil(this.count * share);
    for (let i = 0; i < this.#counts.length; i++) {
      left -= this.#counts[i];
      if (left <= 0) return Math.min(this.#max, ((i & 15) + 17) * 2 ** ((i >> 4) - 4));
    }
    return this.#max;
  }
}

const shares = [0.5, 0.9, 0.99, 0.999, 0.9999];

/** A curve of percentiles, for a chart whose x is "one in so many". */
export function percentileCurve(quantileOf, scale = 1) {
  return shares.map((share) => [Math.round(1 / (1 - share)), quantileOf(share) / scale]);
}
