import { pipeline } from 'node:stream/promises';

import type { WalManager } from '../lib';
import type { WalRecord } from '../lib';
import { expectTypeError, expectWalError } from './helpers/errors';
import { smallSegment, useLogs } from './helpers/logs';
import { appendMany, collect } from './helpers/records';

const logs = useLogs();

const turn = (ms = 0): Promise<void> => new Promise((resolve) => setTimeout(resolve, ms));
const numbers = (count: number, from = 1): number[] => Array.from({ length: count }, (_, i) => from + i);

/** Reads live until `count` records are there. */
async function take(records: AsyncIterable<WalRecord>, count: number): Promise<number[]> {
  const taken: number[] = [];
  if (count === 0) return taken;
  for await (const { sequence } of records) if (taken.push(sequence) === count) break;
  return taken;
}

interface Filling {
  fill: (...buffers: unknown[]) => number;
  fillAsync: (...buffers: unknown[]) => Promise<number>;
}

/** What the readers of `wal` do from now on: a list that grows. */
function doingsOf(wal: WalManager): ('reads here' | 'reads on a thread' | 'waits')[] {
  const doings: ('reads here' | 'reads on a thread' | 'waits')[] = [];
  const { native } = wal as unknown as {
    native: { reader: (...request: unknown[]) => Filling; follow: (sequence: number) => number };
  };
  const { reader, follow } = native;
  native.follow = (sequence) => {
    doings.push('waits');
    return follow(sequence);
  };
  native.reader = (...request) => {
    const made = reader(...request);
    const fill = (...buffers: unknown[]): number => {
      doings.push('reads here');
      return made.fill(...buffers);
    };
    const fillAsync = (...buffers: unknown[]): Promise<number> => {
      doings.push('reads on a thread');
      return made.fillAsync(...buffers);
    };
    return { ...made, fill, fillAsync };
  };
  return doings;
}

describe.each([false, true])('a live read (readOnly: %s)', (readOnly) => {
  /** What reads: the log itself, or another view of it, which knows it from its files only. */
  const readerOf = async (wal: WalManager): Promise<WalManager> => (readOnly ? logs.open({ readOnly }) : wal);

  test('goes on with what is appended', async () => {
    const wal = await logs.open();
    appendMany(wal, 10);
    const reader = await readerOf(wal);
    const reading = take(reader.read({ live: true }), 30);
    await turn(20);
    appendMany(wal, 10);
    await turn(20);
    for (let i = 0; i < 10; i++) {
      await turn();
      wal.append('one');
    }
    expect(await reading).toEqual(numbers(30));
  });

  // Whoever keeps a record keeps the memory that it is in.
  test('gives records that come alone little more memory than they need', async () => {
    const wal = await logs.open();
    const reader = await readerOf(wal);
    const kept: Buffer[] = [];
    const reading = (async () => {
      for await (const { data } of reader.read({ live: true, limit: 20 })) kept.push(data);
    })();
    for (let i = 0; i < 20; i++) {
      wal.append(`record ${i}`);
      while (kept.length <= i) await turn();
    }
    await reading;
    expect(kept.map((data) => data.toString())).toEqual(numbers(20, 0).map((i) => `record ${i}`));
    const memory = [...new Set(kept.map(({ buffer }) => buffer))];
    expect(memory.reduce((sum, { byteLength }) => sum + byteLength, 0)).toBeLessThanOrEqual(2 * Buffer.poolSize);
  });

  // The event loop waits for no disk, and nobody for an attempt to read what is not there.
  test('reads here what came a moment ago, hands it out at once, and reads on a thread when it is behind', async () => {
    const wal = await logs.open();
    const reader = await readerOf(wal);
    const doings = doingsOf(reader);
    const seen: string[][] = [];
    const reading = (async () => {
      for await (const { sequence } of reader.read({ live: true, limit: 1002 })) {
        if (sequence <= 2 || sequence === 1002) seen.push(doings.splice(0));
      }
    })();
    for (const count of [1, 1, 1000]) {
      const isWaiting = (): boolean => seen.length === wal.lastSequence && doings.at(-1) === 'waits';
      for (let i = 0; i < 1000 && !isWaiting(); i++) await turn(5);
      appendMany(wal, count, 1024);
    }
    await reading;
    expect(seen[0]).toEqual(['reads on a thread', 'waits', 'reads here']);
    expect(seen[1]).toEqual(['reads here', 'waits', 'reads here']);
    expect(seen[2]?.slice(0, 3)).toEqual(['reads here', 'waits', 'reads here']);
    expect(seen[2]).toContain('reads on a thread');
  });

  test('reads compressed batches on a thread, too, when it is behind, wanted or not', async () => {
    const wal = await logs.open({ compression: 'gzip' });
    const reader = await readerOf(wal);
    const doings = doingsOf(reader);
    const batchOf = (kind: number) => Array.from({ length: 20 }, () => ({ data: Buffer.alloc(200, 'x'), kind }));
    const caughtUp = async (): Promise<string[]> => {
      for (let i = 0; i < 1000 && doings.at(-1) !== 'waits'; i++) await turn(5);
      return doings.splice(0);
    };
    const taken = take(reader.read({ live: true, kind: 1 }), 20 * 7);
    expect(await caughtUp()).toEqual(['reads on a thread', 'waits']);
    wal.appendBatch(batchOf(1));
    expect(await caughtUp()).toEqual(['reads here', 'reads here', 'waits']);
    for (const kind of [1, 2]) {
      for (let i = 0; i < 5; i++) wal.appendBatch(batchOf(kind));
      expect((await caughtUp()).slice(0, 3)).toEqual(['reads here', 'reads on a thread', 'reads on a thread']);
    }
    wal.appendBatch(batchOf(1));
    expect(await taken).toEqual([...numbers(20 * 6), ...numbers(20, 1 + 20 * 11)]);
  });

  test('begins in an empty log, and where it is told to, also ahead of the end', async () => {
    const wal = await logs.open();
    const reader = await readerOf(wal);
    const readings = [
      take(reader.read({ live: true }), 5),
      take(reader.read({ live: true, from: 3 }), 3),
      take(reader.read({ live: true, from: 9 }), 2),
    ];
    for (let i = 0; i < 10; i++) {
      await turn(2);
      wal.append('x');
    }
    expect(await Promise.all(readings)).toEqual([numbers(5), numbers(3, 3), numbers(2, 9)]);
  });

  test('misses and repeats nothing over rotations, in records and in batches', async () => {
    const wal = await logs.open({ segmentSize: smallSegment });
    const reader = await readerOf(wal);
    const count = 3000;
    const single = take(reader.read({ live: true }), count);
    const batched = (async () => {
      const taken: number[] = [];
      for await (const batch of reader.readBatches({ live: true, to: count, batchBytes: 4096 })) {
        taken.push(...batch.map(({ sequence }) => sequence));
      }
      return taken;
    })();
    while (wal.lastSequence < count) {
      appendMany(wal, 1 + Math.floor(Math.random() * 60));
      if (Math.random() < 0.3) await turn();
    }
    expect(await single).toEqual(numbers(count));
    expect(await batched).toEqual(numbers(count));
    expect(wal.stats().rotations).toBeGreaterThan(3);
  });

  test('lets through what the filter says, and ends with its limit or its last record', async () => {
    const wal = await logs.open();
    const reader = await readerOf(wal);
    const limited = collect(reader.read({ live: true, kind: 7, limit: 3 }));
    const bounded = collect(reader.read({ live: true, to: 8 }));
    for (let i = 0; i < 12; i++) {
      wal.append('x', { kind: i % 2 === 0 ? 7 : 0 });
      await turn();
    }
    expect((await limited).map(({ sequence }) => sequence)).toEqual([1, 3, 5]);
    expect((await bounded).map(({ sequence }) => sequence)).toEqual(numbers(8));
  });

  test('ends with its signal, while it waits and while it reads', async () => {
    const wal = await logs.open();
    appendMany(wal, 10);
    const reader = await readerOf(wal);
    const interruption = new AbortController();
    let seen = 0;
    const waiting = (async () => {
      for await (const record of reader.read({ live: true, signal: interruption.signal })) seen = record.sequence;
    })();
    await turn(30);
    interruption.abort(new Error('enough'));
    const error = await expectWalError('WAL_ABORTED', () => waiting);
    expect(error.cause).toMatchObject({ message: 'enough' });
    expect(seen).toBe(10);
    const aborted = { signal: AbortSignal.abort() };
    await expectWalError('WAL_ABORTED', () => [...reader.read(aborted)]);
    await expectWalError('WAL_ABORTED', () => collect(reader.read(aborted)));
  });

  test('ends when the log is closed, which does not wait for it', async () => {
    const wal = await logs.open();
    appendMany(wal, 3);
    const reader = await readerOf(wal);
    const reading = collect(reader.read({ live: true }));
    await turn(20);
    await reader.close();
    expect(await reading).toHaveLength(3);
  });

  test('can be left, and leaves nothing behind', async () => {
    const wal = await logs.open();
    wal.append('x');
    const reader = await readerOf(wal);
    for (let i = 0; i < 20; i++) expect(await take(reader.read({ live: true }), 1)).toEqual([1]);
    const iterator = reader.read({ live: true, from: 2 })[Symbol.asyncIterator]();
    const next = iterator.next();
    await turn(10);
    await iterator.return?.();
    expect(await next).toEqual({ value: undefined, done: true });
    expect(wal.append('y')).toBe(2);
  });
});

test('a live read has what its own thread appends before the event loop goes on', async () => {
  const wal = await logs.open();
  const ways = [
    () => wal.append(Buffer.from('bytes')),
    () => wal.append('a string'),
    () => wal.append('with a key', { key: 'k' }),
    () => wal.appendBatch([{ data: 'a' }, { data: 'batch' }]),
    () => wal.appendBatch({ buffer: Buffer.from('packed'), offsets: Uint32Array.of(0, 3, 6) }),
  ];
  const read: number[] = [];
  const reading = (async () => {
    for await (const { sequence } of wal.read({ live: true, limit: 7 })) read.push(sequence);
  })();
  for (const append of ways) {
    await turn(5);
    append();
    let wentOn = false;
    setImmediate(() => (wentOn = true));
    for (let i = 0; i < 100 && read.at(-1) !== wal.lastSequence; i++) await Promise.resolve();
    expect(read.at(-1)).toBe(wal.lastSequence);
    expect(wentOn).toBe(false);
  }
  await reading;
  expect(read).toEqual(numbers(7));
});

test('a live read of many records by many readers is complete for each', async () => {
  const wal = await logs.open({ segmentSize: smallSegment });
  const readings = Array.from({ length: 10 }, (_, i) => take(wal.read({ live: true, from: i * 7 + 1 }), 500));
  for (let i = 0; i < 600; i++) {
    wal.append('x'.repeat(i % 300));
    if (i % 5 === 0) await turn();
  }
  for (const [i, reading] of (await Promise.all(readings)).entries()) expect(reading).toEqual(numbers(500, i * 7 + 1));
});

test('a live read whose next record is truncated away says so', async () => {
  const wal = await logs.open({ segmentSize: smallSegment });
  appendMany(wal, 10);
  const iterator = wal.read({ live: true })[Symbol.asyncIterator]();
  expect(await iterator.next()).toMatchObject({ value: { sequence: 1 } });
  appendMany(wal, 4000);
  await wal.sync();
  await wal.truncateBefore(4000);
  await expectWalError('WAL_TRUNCATED', async () => {
    for (;;) if ((await iterator.next()).done === true) return;
  });
});

test('a live read that cannot be is refused', async () => {
  const wal = await logs.open();
  await expectTypeError(/live and reverse/, () => wal.read({ live: true, reverse: true }));
  await expectTypeError(/for await/, () => [...wal.read({ live: true })]);
  await expectTypeError(/AbortSignal/, () => wal.read({ signal: {} as never }));
});

describe('createReadStream', () => {
  test('is a stream of records, whose destruction ends the reading', async () => {
    const wal = await logs.open();
    appendMany(wal, 1000);
    const records: WalRecord[] = [];
    for await (const record of wal.createReadStream({ from: 11 })) records.push(record as WalRecord);
    expect(records.map(({ sequence }) => sequence)).toEqual(numbers(990, 11));
    const stream = wal.createReadStream({ live: true });
    const seen: number[] = [];
    stream.on('data', ({ sequence }: WalRecord) => seen.push(sequence));
    while (seen.length < 1000) await turn(5);
    wal.append('more');
    while (seen.length < 1001) await turn(1);
    stream.destroy();
    await new Promise((resolve) => stream.once('close', resolve));
    expect(seen).toEqual(numbers(1001));
  });

  test('fails with what the reading fails with', async () => {
    const wal = await logs.open();
    await expectWalError('WAL_ABORTED', () => collect(wal.createReadStream({ signal: AbortSignal.abort() })));
  });
});

describe('createWriteStream', () => {
  test('makes a record of each chunk, all of them durable when it finishes', async () => {
    const wal = await logs.open({ sync: { policy: 'async', maxDelay: 3_600_000 } });
    const chunks = numbers(5000).map((i) => (i % 2 === 0 ? `record ${i}` : Buffer.from(`record ${i}`)));
    await pipeline(chunks, wal.createWriteStream({ kind: 4, key: 'k' }));
    expect(wal.durableSequence).toBe(5000);
    const records = [...wal.read()];
    expect(records.map(({ data }) => data.toString())).toEqual(chunks.map(String));
    expect(records.every(({ kind, key }) => kind === 4 && key?.toString() === 'k')).toBe(true);
    expect(wal.stats().syncs).toBeLessThan(500);
  });

  test('pushes back while the disk is slower', async () => {
    const wal = await logs.open();
    const stream = wal.createWriteStream({ highWaterMark: 4096 });
    let written = 0;
    while (stream.write(Buffer.alloc(1000))) written++;
    expect(written).toBe(4);
    await new Promise((resolve) => stream.once('drain', resolve));
    expect(wal.durableSequence).toBe(5);
    await new Promise<void>((resolve) => stream.end(resolve));
  });

  test('of a typed log takes values', async () => {
    const codec = {
      encode: (value: unknown) => Buffer.from(JSON.stringify(value)),
      decode: (data: Buffer) => JSON.parse(data.toString()) as unknown,
    };
    const wal = await logs.open<unknown>({ codec });
    await pipeline([{ a: 1 }, [2], 'three'], wal.createWriteStream());
    expect(Array.from(wal.read(), ({ data }) => data)).toEqual([{ a: 1 }, [2], 'three']);
  });

  test('fails when the log refuses', async () => {
    const wal = await logs.open();
    await expectWalError('WAL_RECORD_TOO_LARGE', () =>
      pipeline([Buffer.alloc(wal.segmentSize)], wal.createWriteStream()),
    );
    const stream = wal.createWriteStream();
    await wal.close();
    await expectWalError('WAL_CLOSED', () => pipeline(['x'], stream));
    await expectWalError('WAL_CLOSED', () => wal.createWriteStream());
    await expectTypeError(/highWatermark/, async () =>
      (await logs.open()).createWriteStream({ highWatermark: 1 } as never),
    );
  });
});
