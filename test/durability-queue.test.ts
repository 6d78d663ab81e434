import { DurabilityQueue } from '../lib/durability';
import type { NativeLog } from '../lib/native';

/** A queue, and how far the native side was asked to sync, each time. */
function queue(): { queue: DurabilityQueue; asked: number[] } {
  const asked: number[] = [];
  const native = { requestDurable: (sequence) => asked.push(sequence) } as Partial<NativeLog>;
  return { queue: new DurabilityQueue(native as NativeLog), asked };
}

function waitFor(durability: DurabilityQueue, first: number, last: number): void {
  for (let sequence = first; sequence <= last; sequence++) void durability.wait(sequence, true, sequence);
}

const turn = (): Promise<void> => new Promise((resolve) => setImmediate(resolve));

test('few who wait are asked for once, at the end of the turn', async () => {
  const { queue: durability, asked } = queue();
  waitFor(durability, 1, 100);
  expect(asked).toEqual([]);
  await turn();
  expect(asked).toEqual([100]);
});

test('many are asked for while the turn goes on: the disk works on half of them while the others are appended', async () => {
  const { queue: durability, asked } = queue();
  waitFor(durability, 1, 1000);
  expect(asked).toEqual([128, 256, 512]);
  await turn();
  expect(asked).toEqual([128, 256, 512, 1000]);
});

test('who all waited for one sync come to be two groups, which take turns', async () => {
  const { queue: durability, asked } = queue();
  waitFor(durability, 1, 1000);
  await turn();
  asked.length = 0;
  durability.settle(900); // 100 wait on
  waitFor(durability, 1001, 1900);
  await turn();
  // Of those who wait, half or more each time.
  expect(asked).toEqual([1128, 1356, 1812, 1900]);
});

test('a long turn is asked for in syncs that are long enough anyway', async () => {
  const { queue: durability, asked } = queue();
  waitFor(durability, 1, 10_000);
  await turn();
  expect(asked.slice(0, 5)).toEqual([128, 256, 512, 1024, 2048]);
  expect(asked.slice(5)).toEqual([3072, 4096, 5120, 6144, 7168, 8192, 9216, 10_000]);
});
