// Opening a log that was closed in order: 16, 32 and 64 sealed segments of 64 MiB. Seals are trusted, so that it takes a
// look at each segment and no more.
import { WalManager } from 'segwal';

import { fillLog, packedRecords } from '../environment.mjs';

const frameOfThousand = 1000 * 108 + 28;

export function cases(scale) {
  const segmentSize = Math.ceil(2 ** 10 * scale) * 2 ** 16;
  return [
    openCase('open 1 GiB', 16, segmentSize),
    openCase('open 2 GiB', 32, segmentSize),
    openCase('open 4 GiB', 64, segmentSize, { atMost: 50 }),
  ];
}

function openCase(name, segments, segmentSize, target) {
  return {
    name,
    unit: 'ms',
    prepare: { trial: 'fill', segments, segmentSize },
    contenders: { segwal: { trial: 'open' } },
    target,
  };
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
