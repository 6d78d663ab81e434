import { setImmediate as nextTurn, setTimeout as sleep } from 'node:timers/promises';

import fc from 'fast-check';

import { Operation, ReplayError, WalError } from '../lib';
import type { ReplayOptions, WalErrorCode, WalManager, WalRecord } from '../lib';
import { expectRangeError, expectTypeError, failureOf } from './helpers/errors';
import { smallSegment, useLogs } from './helpers/logs';
import { appendMany, sequences } from './helpers/records';

const logs = useLogs();

// A failing run prints its seed; SEED=… runs it again.
const seed = process.env['SEED'] === undefined ? Date.now() : Number(process.env['SEED']);

async function expectReplayError(code: WalErrorCode, action: () => unknown): Promise<ReplayError> {
  const error = await failureOf(action);
  expect(error).toBeInstanceOf(ReplayError);
  expect(error).toBeInstanceOf(WalError);
  expect(error).toMatchObject({ name: 'ReplayError', code });
  return error as ReplayError;
}

/** A handler that notes what it gets. */
function collector(): { seen: WalRecord[]; handler: (record: WalRecord) => void } {
  const seen: WalRecord[] = [];
  return { seen, handler: (record) => void seen.push(record) };
}

async function replayed(wal: WalManager, from: Parameters<WalManager['replay']>[0], options?: ReplayOptions) {
  const { seen, handler } = collector();
  const result = await wal.replay(from, handler, options);
  expect(result.records).toBe(seen.length);
  return { numbers: sequences(seen), result };
}

describe('where it begins and ends', () => {
  test('from the beginning, a sequence number, or behind a checkpoint', async () => {
    const wal = await logs.open();
    appendMany(wal, 10);
    const all = await replayed(wal, undefined);
    expect(all.numbers).toEqual([1, 2, 3, 4, 5, 6, 7, 8, 9, 10]);
    expect(all.result).toMatchObject({ records: 10, lastSequence: 10, resumeFrom: 11, openTransactions: 0 });
    expect((await replayed(wal, 8)).numbers).toEqual([8, 9, 10]);
    expect((await replayed(wal, { sequence: 8 })).numbers).toEqual([9, 10]);
    expect((await replayed(wal, { sequence: 0 })).numbers).toHaveLength(10);
    const none = await replayed(wal, { sequence: 10 });
    expect(none.result).toMatchObject({ records: 0, lastSequence: 10, resumeFrom: 11 });
    expect((await replayed(wal, 500)).numbers).toEqual([]);
  });

  test('until a sequence number or a time', async () => {
    const wal = await logs.open();
    for (let i = 0; i < 5; i++) {
      wal.append(`record ${i}`);
      await sleep(10);
    }
    expect((await replayed(wal, undefined, { until: 3 })).numbers).toEqual([1, 2, 3]);
    expect((await replayed(wal, 2, { until: 2 })).numbers).toEqual([2]);
    const between = new Date(wal.get(3)!.timestamp + 5);
    expect((await replayed(wal, undefined, { until: between })).numbers).toEqual([1, 2, 3]);
    expect((await replayed(wal, 3, { until: new Date(0) })).numbers).toEqual([]);
  });

  test('an empty log', async () => {
    const wal = await logs.open();
    const { result } = await replayed(wal, undefined);
    expect(result).toMatchObject({ records: 0, lastSequence: 0, resumeFrom: 1 });
  });

  test('what was truncated away cannot be replayed, unless it is left to the log where to begin', async () => {
    const wal = await logs.open({ segmentSize: smallSegment });
    appendMany(wal, 200, 1000);
    await wal.truncateBefore(100);
    const first = wal.firstSequence;
    expect(first).toBeGreaterThan(1);
    const error = await expectReplayError('WAL_TRUNCATED', () => wal.replay(1, () => undefined));
    expect(error.resumeFrom).toBe(1);
    await expectReplayError('WAL_TRUNCATED', () => wal.replay({ sequence: first - 2 }, () => undefined));
    expect((await replayed(wal, { sequence: first - 1 })).numbers[0]).toBe(first);
    expect((await replayed(wal, undefined)).numbers[0]).toBe(first);
  });

  test('a read-only log can be replayed, and one with a codec gives values', async () => {
    const codec = {
      encode: (value: number) => Buffer.from(String(value)),
      decode: (data: Buffer) => Number(data.toString()),
    };
    const wal = await logs.open<number>({ codec });
    for (let i = 1; i <= 100; i++) wal.append(i, { key: String(i % 3) });
    const reader = await logs.open<number>({ codec, readOnly: true });
    for (const [log, concurrency] of [
      [wal, 1],
      [reader, 4],
    ] as const) {
      let sum = 0;
      await log.replay(undefined, ({ data }) => void (sum += data), { concurrency });
      expect(sum).toBe(5050);
    }
  });

  test('kinds and a key can be asked for', async () => {
    const wal = await logs.open();
    for (let i = 0; i < 30; i++) wal.append('x', { kind: i % 3, key: String(i % 5) });
    expect((await replayed(wal, undefined, { kind: 2 })).numbers).toEqual([3, 6, 9, 12, 15, 18, 21, 24, 27, 30]);
    expect((await replayed(wal, undefined, { kind: [0, 2], key: '0' })).numbers).toEqual([1, 6, 16, 21]);
  });
});

describe('concurrency', () => {
  interface Run {
    records: { key: number; delay: number }[];
    concurrency: number;
    failAt: number | null;
  }
  const runs: fc.Arbitrary<Run> = fc.record({
    // A key of 0 is none; a delay of 0 is a handler that is done when it returns.
    records: fc.array(fc.record({ key: fc.nat(6), delay: fc.nat(3) }), { maxLength: 120 }),
    concurrency: fc.integer({ min: 1, max: 6 }),
    failAt: fc.option(fc.nat(130), { nil: null }),
  });

  test('each key in order, no more handlers than asked for, everything once; a failure tells where to go on', async () => {
    let number = 0;
    await fc.assert(
      fc.asyncProperty(runs, async ({ records, concurrency, failAt }) => {
        const wal = await logs.open({ segmentSize: smallSegment }, `${logs.path}-${number++}`);
        for (const { key } of records) wal.append('x', { key: key === 0 ? null : String(key) });
        const busy = new Set<string>();
        const done = new Set<number>();
        const lastOf = new Map<string, number>();
        let failing = true;
        const handle = async (sequence: number, key: string, delay: number): Promise<void> => {
          expect(busy.has(key)).toBe(false);
          busy.add(key);
          expect(busy.size).toBeLessThanOrEqual(concurrency);
          for (let i = 0; i < delay; i++) await nextTurn();
          busy.delete(key);
          if (failing && sequence === failAt) throw new Error('on purpose');
          done.add(sequence);
        };
        const handler = ({ sequence, key }: WalRecord): unknown => {
          const name = String(key);
          expect(sequence).toBeGreaterThan(lastOf.get(name) ?? 0);
          lastOf.set(name, sequence);
          const { delay } = records[sequence - 1]!;
          if (delay > 0) return handle(sequence, name, delay);
          if (failing && sequence === failAt) throw new Error('on purpose');
          done.add(sequence);
          return undefined;
        };
        const expected = records.map((_, i) => i + 1);
        if (failAt === null || failAt < 1 || failAt > records.length) {
          const result = await wal.replay(undefined, handler, { concurrency });
          expect(result).toMatchObject({ records: records.length, lastSequence: records.length });
        } else {
          const error = await expectReplayError('WAL_REPLAY', () => wal.replay(undefined, handler, { concurrency }));
          expect(error.sequence).toBe(failAt);
          expect(error.cause).toEqual(new Error('on purpose'));
          expect(busy.size).toBe(0);
          expect(done.has(failAt)).toBe(false);
          // Exact: everything before is done, and the record itself is not.
          expect(expected.slice(0, error.resumeFrom - 1).every((sequence) => done.has(sequence))).toBe(true);
          expect(done.has(error.resumeFrom)).toBe(false);
          const settled = done.size;
          await nextTurn();
          expect(done.size).toBe(settled);
          failing = false;
          lastOf.clear();
          await wal.replay(error.resumeFrom, handler, { concurrency });
        }
        expect([...done].sort((a, b) => a - b)).toEqual(expected);
        await wal.close();
      }),
      { numRuns: 60, seed },
    );
  }, 120_000);

  test('different keys really run side by side', async () => {
    const wal = await logs.open();
    for (const key of ['a', 'b', 'c']) wal.append('x', { key });
    let running = 0;
    let all: () => void = () => undefined;
    const together = new Promise<void>((resolve) => (all = resolve));
    await wal.replay(
      undefined,
      () => {
        if (++running === 3) all();
        return together;
      },
      { concurrency: 3 },
    );
    expect(running).toBe(3);
  });

  test('one slow record holds up what is read ahead, and memory stays bounded', async () => {
    const wal = await logs.open();
    for (let i = 0; i < 20_000; i++) wal.append('x'.repeat(50), { key: String(i) });
    let release: () => void = () => undefined;
    const slow = new Promise<void>((resolve) => (release = resolve));
    let begun = 0;
    const replay = wal.replay(undefined, () => (++begun === 1 ? slow : undefined), { concurrency: 2 });
    for (let before = -1; before !== begun; await sleep(50)) before = begun;
    expect(begun).toBeGreaterThan(1000);
    expect(begun).toBeLessThan(5000);
    release();
    expect(await replay).toMatchObject({ records: 20_000, lastSequence: 20_000 });
  });

  test('large records count by their bytes', async () => {
    const wal = await logs.open({ segmentSize: 64 * 1024 * 1024 });
    const large = Buffer.alloc(1024 * 1024);
    for (let i = 0; i < 40; i++) wal.append(large, { key: String(i) });
    let release: () => void = () => undefined;
    const slow = new Promise<void>((resolve) => (release = resolve));
    let begun = 0;
    const replay = wal.replay(undefined, () => (++begun === 1 ? slow : undefined), { concurrency: 2 });
    for (let before = -1; before !== begun; await sleep(100)) before = begun;
    expect(begun).toBeLessThan(20);
    release();
    expect(await replay).toMatchObject({ records: 40 });
  });
});

describe('ending early', () => {
  test.each([1, 3])('an abort waits for the handlers under way (concurrency %i)', async (concurrency) => {
    const wal = await logs.open();
    for (let i = 0; i < 100; i++) wal.append('x', { key: String(i % 10) });
    const controller = new AbortController();
    const done = new Set<number>();
    const error = await expectReplayError('WAL_ABORTED', () =>
      wal.replay(
        undefined,
        async ({ sequence }) => {
          if (sequence === 20) controller.abort(new Error('enough'));
          await nextTurn();
          done.add(sequence);
        },
        { concurrency, signal: controller.signal },
      ),
    );
    expect(error.cause).toEqual(new Error('enough'));
    const settled = done.size;
    await sleep(20);
    expect(done.size).toBe(settled);
    expect(error.resumeFrom).toBeGreaterThanOrEqual(20);
    for (let sequence = 1; sequence < error.resumeFrom; sequence++) expect(done.has(sequence)).toBe(true);
    expect(done.has(error.resumeFrom)).toBe(false);
  });

  // Once it hung, when the abort fell between the end of reading and the waiting for the handlers.
  test('an abort ends it wherever it falls', async () => {
    const wal = await logs.open();
    for (let i = 0; i < 40; i++) wal.append('x', { key: String(i % 10) });
    for (let at = 1; at <= 40; at++) {
      for (const turns of [0, 1, 2, 3]) {
        const controller = new AbortController();
        const handler = async ({ sequence }: WalRecord): Promise<void> => {
          if (sequence === at) controller.abort();
          for (let i = 0; i < turns; i++) await nextTurn();
        };
        const options = { concurrency: 3, signal: controller.signal };
        await expectReplayError('WAL_ABORTED', () => wal.replay(undefined, handler, options));
      }
    }
  });

  test('a signal that was aborted before', async () => {
    const wal = await logs.open();
    wal.append('x');
    const { seen, handler } = collector();
    const signal = AbortSignal.abort();
    const error = await expectReplayError('WAL_ABORTED', () => wal.replay(undefined, handler, { signal }));
    expect(error.resumeFrom).toBe(1);
    expect(seen).toEqual([]);
  });

  test('close ends a replay, and waits for it', async () => {
    const wal = await logs.open();
    appendMany(wal, 1000);
    let closed: Promise<void> | undefined;
    const order: string[] = [];
    const replay = expectReplayError('WAL_CLOSED', () =>
      wal.replay(undefined, async ({ sequence }) => {
        if (sequence === 10) closed = wal.close().then(() => void order.push('close'));
        await nextTurn();
      }),
    ).then((error) => {
      order.push('replay');
      return error;
    });
    const error = await replay;
    expect(error.resumeFrom).toBe(11);
    await closed;
    expect(order).toEqual(['replay', 'close']);
  });

  test('an error of decoding is one of the record', async () => {
    const codec = {
      encode: (value: string) => Buffer.from(value),
      decode: (data: Buffer) => {
        if (data.toString() === 'bad') throw new Error('no sense');
        return data.toString();
      },
    };
    const wal = await logs.open<string>({ codec });
    for (const value of ['a', 'b', 'bad', 'c']) wal.append(value, { key: value });
    for (const concurrency of [1, 4]) {
      const error = await expectReplayError('WAL_REPLAY', () =>
        wal.replay(undefined, () => undefined, { concurrency }),
      );
      expect(error).toMatchObject({ sequence: 3, resumeFrom: 3 });
      expect(error.message).toMatch(/no sense/);
    }
  });

  test('what onProgress throws ends it', async () => {
    const wal = await logs.open();
    wal.append('x');
    const error = await failureOf(() =>
      wal.replay(undefined, () => undefined, {
        onProgress: () => {
          throw new Error('mine');
        },
      }),
    );
    expect(error).toEqual(new Error('mine'));
  });
});

test('progress reaches its total', async () => {
  const wal = await logs.open({ segmentSize: smallSegment });
  appendMany(wal, 500, 1000);
  const told: { records: number; bytes: number; totalBytes: number }[] = [];
  await wal.replay(100, () => undefined, { until: 400, onProgress: (progress) => void told.push(progress) });
  const last = told.at(-1)!;
  expect(last.records).toBe(301);
  expect(last.bytes).toBe(last.totalBytes);
  expect(last.totalBytes).toBeGreaterThan(301_000);
  expect(last.totalBytes).toBeLessThan(360_000);
});

describe('committedOnly', () => {
  const { BeginTx, CommitTx, AbortTx, Insert } = Operation;

  test('delivers at the commit, in order, and nothing of what was given up', async () => {
    const wal = await logs.open();
    const append = (kind: number, key: string | null, data = ''): number => wal.append(data, { kind, key });
    append(BeginTx, 'a'); // 1
    append(Insert, 'a'); // 2
    append(Insert, 'b'); // 3, belongs to none
    append(BeginTx, null); // 4
    append(Insert, null); // 5
    append(Insert, 'a'); // 6
    append(CommitTx, 'a'); // 7
    append(Insert, 'a'); // 8, belongs to none
    append(AbortTx, null); // 9
    append(Insert, null); // 10
    append(CommitTx, 'never begun'); // 11
    append(BeginTx, 'c'); // 12
    append(Insert, 'c'); // 13
    append(BeginTx, 'c'); // 14: the writer of 12 was gone
    append(Insert, 'c'); // 15
    append(CommitTx, 'c'); // 16
    append(BeginTx, 'open'); // 17
    append(Insert, 'open'); // 18
    append(Insert, 'd'); // 19
    const { numbers, result } = await replayed(wal, undefined, { committedOnly: true });
    expect(numbers).toEqual([3, 2, 6, 8, 10, 15, 19]);
    expect(result).toMatchObject({ lastSequence: 19, resumeFrom: 17, openTransactions: 1 });
    expect((await replayed(wal, undefined)).numbers).toHaveLength(19);
    expect((await replayed(wal, undefined, { committedOnly: true, key: 'a' })).numbers).toEqual([2, 6, 8]);
    expect((await replayed(wal, undefined, { committedOnly: true, kind: Insert })).numbers).toHaveLength(7);
    expect((await replayed(wal, undefined, { committedOnly: true, kind: 9 })).numbers).toEqual([]);
    expect((await replayed(wal, undefined, { committedOnly: true, until: 6 })).numbers).toEqual([3]);
  });

  test('what is held back is bounded', async () => {
    const wal = await logs.open();
    wal.append('', { kind: BeginTx, key: 'k' });
    for (let i = 0; i < 100; i++) wal.append(Buffer.alloc(1000), { key: 'k' });
    wal.append('', { kind: CommitTx, key: 'k' });
    const error = await expectReplayError('WAL_TRANSACTION_TOO_LARGE', () =>
      wal.replay(undefined, () => undefined, { committedOnly: true, maxTransactionBytes: 50_000 }),
    );
    expect(error).toMatchObject({ sequence: 48, resumeFrom: 1 });
    expect(error.message).toMatch(/maxTransactionBytes is 50000/);
    const enough = { committedOnly: true, maxTransactionBytes: 100 * (1000 + 1 + 64) };
    expect((await replayed(wal, undefined, enough)).numbers).toHaveLength(100);
  });

  type Step = { does: 'begin' | 'commit' | 'abort' | 'insert'; key: number };
  const steps: fc.Arbitrary<Step[]> = fc.array(
    fc.record({
      does: fc.oneof(
        { weight: 4, arbitrary: fc.constant('insert' as const) },
        { weight: 3, arbitrary: fc.constantFrom('begin' as const, 'commit' as const, 'abort' as const) },
      ),
      key: fc.nat(3),
    }),
    { maxLength: 80 },
  );
  const kindOf = { begin: BeginTx, commit: CommitTx, abort: AbortTx, insert: Insert } as const;

  /** What should come, of the whole: a list of lists. */
  function model(all: readonly Step[]): number[] {
    const open = new Map<number, number[]>();
    const delivered: number[] = [];
    all.forEach(({ does, key }, i) => {
      if (does === 'begin') open.set(key, []);
      else if (does === 'abort') open.delete(key);
      else if (does === 'commit') {
        delivered.push(...(open.get(key) ?? []));
        open.delete(key);
      } else (open.get(key) ?? delivered).push(i + 1);
    });
    return delivered;
  }

  test('any log gives what the model gives; after a failure the rest comes, and nothing that was given up', async () => {
    let number = 0;
    await fc.assert(
      fc.asyncProperty(steps, fc.nat(80), fc.integer({ min: 1, max: 3 }), async (all, failAt, concurrency) => {
        const wal = await logs.open({ segmentSize: smallSegment }, `${logs.path}-${number++}`);
        for (const { does, key } of all) wal.append('', { kind: kindOf[does], key: key === 0 ? null : String(key) });
        const expected = model(all);
        const { numbers } = await replayed(wal, undefined, { committedOnly: true });
        expect(numbers).toEqual(expected);
        // Fails once, and is taken up where it says.
        const done = new Set<number>();
        let failing = expected.includes(failAt);
        const handler = ({ sequence }: WalRecord): unknown => {
          if (failing && sequence === failAt) throw new Error('on purpose');
          expect(expected).toContain(sequence);
          done.add(sequence);
          return sequence % 2 === 0 ? nextTurn() : undefined;
        };
        if (failing) {
          const error = await expectReplayError('WAL_REPLAY', () =>
            wal.replay(undefined, handler, { committedOnly: true, concurrency }),
          );
          failing = false;
          const missing = expected.filter((sequence) => sequence < error.resumeFrom && !done.has(sequence));
          expect(missing).toEqual([]);
          await wal.replay(error.resumeFrom, handler, { committedOnly: true, concurrency });
        } else {
          await wal.replay(undefined, handler, { committedOnly: true, concurrency });
        }
        expect([...done].sort((a, b) => a - b)).toEqual([...expected].sort((a, b) => a - b));
        await wal.close();
      }),
      { numRuns: 60, seed },
    );
  }, 120_000);
});

describe('arguments', () => {
  const wrong: [RegExp, typeof TypeError | typeof RangeError, unknown[]][] = [
    [/from must be a sequence number, a checkpoint or undefined, not '1'/, TypeError, ['1', () => undefined]],
    [/from must be a sequence number, a checkpoint or undefined, not null/, TypeError, [null, () => undefined]],
    [/from must be an integer of at least 1/, RangeError, [0, () => undefined]],
    [/from.sequence must be a number/, TypeError, [{ sequence: '1' }, () => undefined]],
    [/handler must be a function, not undefined/, TypeError, [1]],
    [/until must be a sequence number or a Date, not '5'/, TypeError, [1, () => undefined, { until: '5' }]],
    [/until is not a time: Invalid Date/, RangeError, [1, () => undefined, { until: new Date(NaN) }]],
    [/concurrency must be an integer from 1 to 1024, not 0/, RangeError, [1, () => undefined, { concurrency: 0 }]],
    [/signal must be an AbortSignal/, TypeError, [1, () => undefined, { signal: {} }]],
    [/onProgress must be a function/, TypeError, [1, () => undefined, { onProgress: 1 }]],
    [/committedOnly must be true or false/, TypeError, [1, () => undefined, { committedOnly: 1 }]],
    [/unknown option 'commitedOnly'.*'committedOnly'/, TypeError, [1, () => undefined, { commitedOnly: true }]],
    [/kind must be an integer from 0 to 255/, RangeError, [1, () => undefined, { kind: 256 }]],
  ];
  test.each(wrong)('%s', async (message, type, args) => {
    const wal = await logs.open();
    const replay = (): unknown => wal.replay(...(args as Parameters<WalManager['replay']>));
    await (type === TypeError ? expectTypeError : expectRangeError)(message, replay);
  });
});
