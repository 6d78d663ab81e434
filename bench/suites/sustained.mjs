// Appending for a while at the speed of the disk, in segments of 16 MiB that go behind it and come back in front, or are
// deleted, beside timers that want to be on time. Whatever an append waits for shows in its latency, and whatever holds
// up the event loop in that of the timers; the same program without a log tells what the machine does of itself. Asking
// the clock after each append takes a good part of the thread that appends, so how much goes through is measured
// without.
import { join } from 'node:path';
import { monitorEventLoopDelay } from 'node:perf_hooks';
import { setImmediate as nextTurn } from 'node:timers/promises';

import { WalManager } from 'segwal';

import { bytesWritten, raw, sampleBuffers } from '../environment.mjs';
import { Histogram, percentileCurve } from '../statistics.mjs';

const bytes = 100;
const frameBytes = 128;
const segmentSize = 16 * 2 ** 20;
const keptSegments = 4;
/** A removal waits until as many are behind them, and one may be in between. */
const goneAtOnce = keptSegments + 1;
// In records:
const kept = (keptSegments * segmentSize) / frameBytes;
const perTurn = 500;
/** So many records may wait for the disk: a segment of them, which is enough to keep it busy. */
const mostDirty = segmentSize / frameBytes;
const rawGroup = 8192; // 1 MiB of frames
const sampleMs = 100;
const withTimes = 'segwal, each append timed';

export const charts = [
  {
    id: 'throughput-time',
    title: 'bytes made durable, over time, through one rotation after another (segments of 16 MiB)',
    kind: 'line',
    x: 'seconds',
    y: 'MB/s',
    xScale: 'linear',
  },
  {
    id: 'append-latency',
    title: 'latency of append at the speed of the disk',
    kind: 'line',
    x: 'one in so many appends takes longer',
    y: 'µs',
    yScale: 'logarithmic',
  },
  {
    id: 'loop-delay',
    title: 'delay of the event loop meanwhile',
    kind: 'line',
    x: 'one in so many timers is later',
    y: 'ms',
    yScale: 'logarithmic',
  },
];

export function cases({ longSeconds }) {
  return [
    {
      name: 'sustained append, 100 B',
      contenders: {
        segwal: { trial: 'segwal', seconds: longSeconds, recycleSegments: goneAtOnce },
        [withTimes]: {
          trial: 'segwal',
          seconds: longSeconds,
          recycleSegments: goneAtOnce,
          eachTimed: true,
        },
        'segwal, new files': { trial: 'segwal', seconds: longSeconds, recycleSegments: 0 },
        'raw, msync': { trial: 'raw', seconds: longSeconds, newFileBytes: 0 },
        'raw, msync, new files': { trial: 'raw', seconds: longSeconds, newFileBytes: segmentSize },
        control: { trial: 'control', seconds: longSeconds },
      },
      measures: [
        {
          of: 'through to the disk',
          key: 'rate',
          unit: 'MB/s',
          targets: [
            { to: 'raw, msync', atLeast: 0.9 },
            { to: 'raw, msync, new files', atLeast: 0.9 },
          ],
        },
        { of: 'append p99.9', key: 'p999', unit: 'µs', better: 'less', targets: [{ of: withTimes, atMost: 10 }] },
        { of: 'append p99.99', key: 'p9999', unit: 'µs', better: 'less', targets: [{ of: withTimes, atMost: 200 }] },
        { of: 'append max', key: 'max', unit: 'µs', better: 'less' },
        { of: 'event loop delay, p99.9', key: 'delay999', unit: 'ms', better: 'less' },
        { of: 'event loop delay, max', key: 'delayMax', unit: 'ms', better: 'less', targets: [{ atMost: 10 }] },
        { of: 'growth of the resident memory', key: 'growth', unit: 'MiB', better: 'less' },
        { of: 'page faults for each MiB', key: 'faults', unit: 'faults', better: 'less' },
        { of: 'bytes to the disk for each appended', key: 'amplification', unit: 'bytes', better: 'less' },
      ],
    },
  ];
}

export const trials = {
  async segwal({ seconds, recycleSegments, eachTimed = false }, directory) {
    const wal = await WalManager.open(directory, { segmentSize, recycleSegments });
    const records = sampleBuffers(bytes);
    const append = () => {
      for (let i = 0; i < perTurn; i++) wal.append(records[i & 1023]);
    };
    const appendTimed = (latency) => {
      let before = performance.now();
      for (let i = 0; i < perTurn; i++) {
        wal.append(records[i & 1023]);
        const now = performance.now();
        latency.record((now - before) * 1e6);
        before = now;
      }
    };
    const durableBytes = () => wal.durableSequence * frameBytes;
    let truncatedTo = 0;
    let truncated = Promise.resolve();
    const keepUp = async () => {
      const { lastSequence, durableSequence } = wal;
      if (lastSequence - durableSequence > mostDirty) await wal.whenDurable(lastSequence - mostDirty / 2);
      if (durableSequence - truncatedTo > 2 * kept) {
        truncatedTo = durableSequence - kept;
        await truncated;
        truncated = wal.truncateBefore(truncatedTo);
      }
    };
    const result = await appendFor(seconds, eachTimed ? appendTimed : append, keepUp, durableBytes);
    await truncated;
    const { bytes: appended, rotations, segmentsRecycled, writerStalls, writerStallMs, syncLatency } = wal.stats();
    await wal.close();
    const counts = { rotations, segmentsRecycled, writerStalls, writerStallMs, syncLatency };
    return { ...result, details: { ...counts, megabytes: appended / 1e6 } };
  },

  /**
   * What the disk takes, from one thread that does nothing else: over one file again and again, whose blocks and pages
   * are there, or, as a log has to, into one new file after the other.
   */
  raw({ seconds, newFileBytes }, directory) {
    const path = join(directory, 'raw');
    const groups = raw.durableLoop(path, 'msync', bytes, frameBytes, rawGroup, seconds, newFileBytes);
    const points = [];
    let [since, passed, written] = [0, 0, 0];
    for (const ns of groups) {
      passed += ns / 1e6;
      written += rawGroup * frameBytes;
      if (passed - since < sampleMs) continue;
      points.push([passed / 1000, written / (passed - since) / 1000]);
      [since, written] = [passed, 0];
    }
    const rate = (groups.length * rawGroup * frameBytes) / passed / 1000;
    return { value: rate, more: { rate }, curves: { 'throughput-time': points } };
  },

  /** The same program, but that a record goes no further than into memory. */
  async control({ seconds }) {
    const records = sampleBuffers(bytes);
    const memory = Buffer.alloc(bytes * perTurn);
    const appendBurst = () => {
      for (let i = 0; i < perTurn; i++) records[i & 1023].copy(memory, i * bytes);
    };
    let turns = 0;
    const result = await appendFor(
      seconds,
      appendBurst,
      () => nextTurn(),
      () => ++turns,
    );
    const { delay999, delayMax } = result.more;
    return { value: delayMax, more: { delay999, delayMax }, curves: { 'loop-delay': result.curves['loop-delay'] } };
  },
};

/** Burst after burst, a turn of the event loop for each, for so long. */
async function appendFor(seconds, appendBurst, keepUp, durableBytes) {
  const latency = new Histogram();
  for (let i = 0; i < 200; i++) {
    appendBurst(new Histogram());
    await keepUp();
    await nextTurn();
  }
  const points = [];
  const delay = monitorEventLoopDelay({ resolution: 1 });
  const residentBefore = process.memoryUsage.rss();
  const faultsBefore = process.resourceUsage().minorPageFault;
  const writtenBefore = bytesWritten();
  delay.enable();
  const begin = performance.now();
  const before = durableBytes();
  let sample = { time: begin, bytes: before };
  for (let now = begin; now < begin + seconds * 1000; now = performance.now()) {
    appendBurst(latency);
    await keepUp();
    await nextTurn();
    if (now - sample.time < sampleMs) continue;
    const next = { time: now, bytes: durableBytes() };
    points.push([(now - begin) / 1000, (next.bytes - sample.bytes) / (next.time - sample.time) / 1000]);
    sample = next;
  }
  delay.disable();
  const durable = durableBytes() - before;
  const rate = durable / (performance.now() - begin) / 1000;
  const growth = Math.max(0, process.memoryUsage.rss() - residentBefore) / 2 ** 20;
  const at = (share) => latency.quantile(share);
  const delayAt = (share) => Math.max(delay.percentile(share * 100), 1);
  return {
    value: rate,
    more: {
      rate,
      ...(latency.count > 0 && { p999: at(0.999) / 1000, p9999: at(0.9999) / 1000, max: at(1) / 1000 }),
      delay999: delayAt(0.999) / 1e6,
      delayMax: delay.max / 1e6,
      growth,
      faults: (process.resourceUsage().minorPageFault - faultsBefore) / (durable / 2 ** 20),
      ...(writtenBefore !== undefined && { amplification: (bytesWritten() - writtenBefore) / durable }),
    },
    curves: {
      'throughput-time': points,
      ...(latency.count > 0 && { 'append-latency': percentileCurve(at, 1000) }),
      'loop-delay': percentileCurve(delayAt, 1e6),
    },
  };
}
