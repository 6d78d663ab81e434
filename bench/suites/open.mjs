// Opening a log that was closed in order, of 64 to 1,024 sealed segments. Seals are trusted, so that it takes a look at each
// segment and no more, however large it is.
import { WalManager } from 'segwal';

import { fillLog, packedRecords } from '../environment.mjs';

const frameOfThousand = 1000 * 108 + 28;

export const charts = [
  {
    id: 'open-segments',
    title: 'opening a log that was closed in order, by its sealed segments',
    kind: 'line',
    x: 'segments',
    y: 'ms',
    note: 'With segments of 64 MiB, 1,024 of them are 64 GiB. What is read of a segment does not depend on its size.',
  },
];

export function cases({ scale }) {
  const sealed = (segments) => Math.ceil(segments * scale);
  return [64, 256, 1024].map((segments) => ({
    name: `open ${segments} segments`,
    unit: 'ms',
    better: 'less',
    prepare: { trial: 'fill', segments: sealed(segments), segmentSize: 2 ** 18 },
    contenders: { segwal: { trial: 'open' } },
    targets: segments === 1024 ? [{ atMost: 50 }] : [],
    plot: { chart: 'open-segments', x: segments },
  }));
}

export const trials = {
  async fill({ segments, segmentSize }, directory) {
    const batchesPerSegment = Math.floor((segmentSize - 4096) / frameOfThousand);
    const wal = await fillLog(directory, batchesPerSegment * segments * 1000, { segmentSize });
    wal.appendBatch(packedRecords(1000, 100)); // the one that does not fit any more, so that the last one is sealed
    await wal.close();
  },

  /** The first time for the page cache; of the others the median. */
  async open(_, directory) {
    const times = [];
    let recovery;
    for (let i = 0; i < 6; i++) {
      const begin = performance.now();
      const wal = await WalManager.open(directory);
      times.push(performance.now() - begin);
      recovery = wal.recovery;
      await wal.close();
    }
    const [first, ...warm] = times;
    if (!recovery.clean) throw new Error('the log was not closed in order');
    const { segments, records, durationMs } = recovery;
    return { value: warm.sort((a, b) => a - b)[2], details: { firstMs: first, segments, records, durationMs } };
  },
};
