import { Followers } from '../lib/following';
import type { NativeLog, NativeReader } from '../lib/native';
import { resolveRead } from '../lib/read-options';
import { RecordRange } from '../lib/reader';

const descriptorBytes = 32;
const recordBytes = 1024;

/** What the calls of a native reader find, one after the other: so many records each. And where each was made. */
function readerOf(finds: number[]): { reader: NativeReader; calls: string[] } {
  const calls: string[] = [];
  let next = 1;
  const fill = (where: string, data: Uint8Array, descriptors: ArrayBuffer): number => {
    const [count = 0] = finds;
    const bytes = count * recordBytes;
    if (bytes > data.length) return -(1000 + bytes);
    finds.shift();
    calls.push(where);
    for (let i = 0; i < count; i++) {
      new Float64Array(descriptors, i * descriptorBytes, 2).set([next++, 0]);
      new Uint32Array(descriptors, i * descriptorBytes + 16, 4).set([i * recordBytes, recordBytes, 0, 0]);
    }
    return count;
  };
  const reader: Partial<NativeReader> = {
    fill: (data, descriptors) => fill('here', data, descriptors),
    fillAsync: (data, descriptors) => Promise.resolve(fill('on a thread', data, descriptors)),
    extend: () => undefined,
    close: () => undefined,
  };
  return { reader: reader as NativeReader, calls };
}

test('a live reader reads on a thread until it has everything, then here, and on a thread again when it is behind', async () => {
  const { reader, calls } = readerOf([16, 0, 1, 0, 2, 0, 1, 15, 64, 16, 0, 1]);
  const native: Partial<NativeLog> = { follow: () => 0 }; // something is there whenever it is asked
  const source = {
    codec: undefined,
    descriptorBytes,
    assertOpen: () => undefined,
    followers: new Followers(native as NativeLog, () => undefined),
    lastSequence: () => 1000,
    truncations: () => 0,
    closed: () => false,
    openReader: () => reader,
    track: <R>(operation: Promise<R>) => operation,
  };
  const read = new RecordRange(source, resolveRead({ live: true }, 100));
  let expected = 0;
  for await (const { sequence } of read) {
    expect(sequence).toBe(++expected);
    if (expected === 116) break;
  }
  expect(calls).toEqual([
    ...['on a thread', 'on a thread'], // 16, and no more
    ...['here', 'here', 'here', 'here'], // 1, 2
    ...['here', 'here', 'here'], // 1, 15, 64: behind
    ...['on a thread', 'on a thread'], // 16, and no more
    'here',
  ]);
});
