// The files of segments that were removed from the front become the next segments, and nobody notices.
import { once } from 'node:events';
import { existsSync, linkSync, readFileSync, readdirSync, rmSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { Worker } from 'node:worker_threads';

import { WalManager } from '../lib';
import type { WalOptions } from '../lib';
import type { Task, Turned } from './children/turn-over';
import { appendDerived, dataOf, isDerived } from './helpers/derived';
import type { Manner, Reading } from './helpers/derived';
import { expectRangeError, expectTypeError, expectWalError } from './helpers/errors';
import { randomFrom } from './helpers/appends';
import { identityOf } from './helpers/format';
import { LogFiles, makeFastDirectory } from './helpers/log-files';
import { smallSegment, useLogs } from './helpers/logs';
import { injectInto, straceRefusal } from './helpers/orders';
import { startChild } from './helpers/processes';
import type { Child } from './helpers/processes';

const logs = useLogs();
const seed = Number(process.env['SEGWAL_SEED'] ?? Math.floor(Math.random() * 1e9));
console.info(`seed ${seed}: SEGWAL_SEED=${seed} repeats this`);

const recycles = process.platform === 'linux';
const whereRecycled = recycles ? test : test.skip;
const only = recycles ? '' : ' (not tried: only on Linux are files recycled)';

/** A file that becomes a segment this very moment has its old name still, and does not count any more. */
const inTheMaking = 1;
/** What could not be recycled, because somebody had it mapped still, is deleted when there is time: as many may wait. */
const deletedLater = 2;

function kept(path = logs.path): string[] {
  return readdirSync(join(path, 'metadata')).filter((name) => name.startsWith('recyclable-'));
}

function fileCount(path = logs.path): number {
  return kept(path).length + readdirSync(join(path, 'segments')).length;
}

/** Fills the segment that is written, until another one is begun. */
function fillSegment(wal: WalManager): void {
  for (const begun = wal.stats().rotations; wal.stats().rotations === begun;) appendDerived(wal);
}

/** Whole segments come at the end, and go from the front; `keep` of them are there in between. */
async function turnOver(wal: WalManager, times: number, keep = 2, look = (): void => undefined): Promise<void> {
  for (let i = 0; i < times; i++) {
    fillSegment(wal);
    const segments = wal.segments();
    await wal.truncateBefore(segments[Math.max(0, segments.length - keep)]?.firstSequence as number);
    look();
  }
}

/** Everything from the first record to the last is there, and is what was appended. */
function expectDerived(wal: WalManager): void {
  let due = wal.firstSequence;
  for (const record of wal.read()) {
    if (record.sequence !== due || !isDerived(record)) {
      throw new Error(
        `record ${record.sequence}, where ${due} is due, begins ${record.data.toString('latin1', 0, 40)}`,
      );
    }
    due++;
  }
  expect(due).toBe(wal.lastSequence + 1);
}

describe('a log that turns over', () => {
  whereRecycled(`many times holds what was appended, in few files${only}`, async () => {
    const wal = await logs.open({ segmentSize: smallSegment });
    await turnOver(wal, 100, 2, () => {
      expectDerived(wal);
      expect(kept().length).toBeLessThanOrEqual(2 + inTheMaking + deletedLater);
      // Two in use, the spare, and two that are kept.
      expect(fileCount()).toBeLessThanOrEqual(5 + inTheMaking + deletedLater);
      expect(wal.stats().diskBytes).toBeLessThanOrEqual((5 + deletedLater) * smallSegment);
    });
    const { segmentsRecycled, rotations, lastSequence } = wal.stats();
    expect(segmentsRecycled).toBeGreaterThan(50);
    expect(segmentsRecycled).toBeLessThanOrEqual(rotations + 1);
    expect((await wal.verify()).findings).toEqual([]);
    await wal.close();
    expect(kept()).toEqual([]);

    const again = await logs.open();
    expect(again.recovery.findings).toEqual([]);
    expect(again.lastSequence).toBe(lastSequence);
    expectDerived(again);
    expect(again.stats().segmentsRecycled).toBe(0);
    await turnOver(again, 20);
    expect(again.stats().segmentsRecycled).toBeGreaterThan(5);
    expectDerived(again);
    expect((await again.verify()).findings).toEqual([]);
  });

  whereRecycled.each([1, 2, 5])(`keeps at most recycleSegments files, the newest of them (%d)${only}`, async (most) => {
    const wal = await logs.open({ segmentSize: smallSegment, recycleSegments: most });
    for (let i = 0; i < 10; i++) fillSegment(wal);
    const ids = wal.segments().map(({ id }) => id);
    const newest = ids.slice(-1 - most, -1);
    await wal.truncateBefore(wal.segments()[6]?.firstSequence as number); // those make room for the next
    await wal.truncateBefore(wal.lastSequence);
    // One of them may have become a spare since.
    expect(newest.map((id) => `recyclable-${id}`)).toEqual(expect.arrayContaining(kept()));
    expect(kept().length).toBeGreaterThanOrEqual(most - 1);
    await turnOver(wal, 10, 2, () => {
      expect(kept().length).toBeLessThanOrEqual(2 * most + inTheMaking);
    });
    expectDerived(wal);
    await wal.close();
    expect(kept()).toEqual([]);
  });

  whereRecycled(`by its retention or by its checkpoints recycles likewise${only}`, async () => {
    const wal = await logs.open({ segmentSize: smallSegment, retention: { maxBytes: 2 * smallSegment } });
    for (let i = 0; i < 20; i++) {
      fillSegment(wal);
      await wal.sync();
      await wal.cleanup();
    }
    expect(wal.stats().segmentsRecycled).toBeGreaterThan(5);
    expectDerived(wal);
    await wal.close();

    const other = await logs.open({ segmentSize: smallSegment }, join(logs.directory, 'other'));
    for (let i = 0; i < 20; i++) {
      fillSegment(other);
      await other.createCheckpoint();
      expect((await other.cleanup()).bytesFreed).toBeLessThanOrEqual(smallSegment);
    }
    expect(other.stats().segmentsRecycled).toBeGreaterThan(5);
    expectDerived(other);
  });

  test('recycles nothing with recycleSegments 0', async () => {
    const wal = await logs.open({ segmentSize: smallSegment, recycleSegments: 0 });
    await turnOver(wal, 20, 2, () => {
      expect(kept()).toEqual([]);
    });
    expect(wal.stats().segmentsRecycled).toBe(0);
    expectDerived(wal);
  });

  whereRecycled(`takes back what it had cut off, and goes on over it${only}`, async () => {
    const wal = await logs.open({ segmentSize: smallSegment });
    const random = randomFrom(seed);
    for (let i = 0; i < 15; i++) {
      await turnOver(wal, 4);
      const { firstSequence, lastSequence } = wal;
      await wal.truncateAfter(firstSequence + Math.floor(random() * (lastSequence - firstSequence)));
      expectDerived(wal);
    }
    expect(wal.stats().segmentsRecycled).toBeGreaterThan(5);
    expect((await wal.verify()).ok).toBe(true);
    await wal.close();
    expectDerived(await logs.open());
  });
});

describe('recycleSegments', () => {
  test.each([-1, 1025, 1.5, NaN, Infinity, 2 ** 53])('may not be %d', async (recycleSegments) => {
    await expectRangeError(/recycleSegments must be an integer/, () => logs.open({ recycleSegments }));
    expect(existsSync(logs.path)).toBe(false);
  });

  test.each(['2', null, true, 2n, {}])('may not be %p', async (recycleSegments) => {
    await expectTypeError(/recycleSegments must be/, () => logs.open({ recycleSegments } as unknown as WalOptions));
    expect(existsSync(logs.path)).toBe(false);
  });

  test('is for a log that is written', async () => {
    await logs.make(['a']);
    for (const recycleSegments of [0, 2]) {
      await expectTypeError(/recycleSegments .*readOnly/, () => logs.open({ readOnly: true, recycleSegments }));
    }
  });

  test('may be 0 and 1024', async () => {
    for (const recycleSegments of [0, 1024]) await (await logs.open({ recycleSegments })).close();
  });

  test('is the same for everybody who has the log open', async () => {
    await logs.open({ recycleSegments: 3 });
    await (await logs.open({ recycleSegments: 3 })).close();
    await (await logs.open()).close();
    const error = await expectWalError('WAL_OPTIONS_MISMATCH', () => logs.open({ recycleSegments: 4 }));
    expect(error.message).toMatch(/recycleSegments 3\b.*\b4$/);
  });

  test('is 2 for who says nothing', async () => {
    await logs.open();
    await (await logs.open({ recycleSegments: 2 })).close();
    await expectWalError('WAL_OPTIONS_MISMATCH', () => logs.open({ recycleSegments: 0 }));
  });

  test('is the same in a worker thread', async () => {
    await logs.open({ recycleSegments: 3 });
    const openInWorker = async (options: WalOptions): Promise<unknown> => {
      const worker = new Worker(join(__dirname, 'children', 'opener.ts'), {
        execArgv: ['-r', join(__dirname, 'helpers', 'register.js')],
        workerData: { directory: logs.path, options },
      });
      const [answer] = (await once(worker, 'message')) as [unknown];
      return answer;
    };
    expect(await openInWorker({})).toBe('joined');
    expect(await openInWorker({ recycleSegments: 3 })).toBe('joined');
    expect(await openInWorker({ recycleSegments: 0 })).toMatch(/^WAL_OPTIONS_MISMATCH: .*recycleSegments 3\b.*\b0$/);
  });
});

describe('a segment that is removed', () => {
  whereRecycled(`keeps its bytes for ever under another name${only}`, async () => {
    const wal = await logs.open({ segmentSize: smallSegment, recycleSegments: 4 });
    for (let i = 0; i < 4; i++) fillSegment(wal);
    await wal.sync();
    const taken = wal
      .segments()
      .slice(0, 4)
      .map(({ path }, i) => {
        const name = join(logs.directory, `backup-${i}`);
        linkSync(path, name);
        return { name, bytes: readFileSync(name) };
      });
    await turnOver(wal, 20);
    expect(wal.stats().segmentsRecycled).toBeGreaterThan(5);
    await wal.close();
    for (const { name, bytes } of taken) expect(readFileSync(name).equals(bytes)).toBe(true);
  });

  whereRecycled(`is not recycled while a reader has it${only}`, async () => {
    const wal = await logs.open({ segmentSize: 4 * smallSegment });
    while (wal.segments().length < 3) fillSegment(wal);
    const readers = [wal.readBatches({ batchBytes: 4096 }), (await logs.open({ readOnly: true })).readBatches()];
    const iterators = readers.map((reader) => reader[Symbol.asyncIterator]());
    for (const iterator of iterators) await iterator.next();
    const before = wal.stats().segmentsRecycled;
    const last = wal.segments()[0]?.lastSequence as number;
    await turnOver(wal, 10);
    expect(wal.firstSequence).toBeGreaterThan(last);
    expect(wal.stats().segmentsRecycled).toBeGreaterThan(before);
    for (const iterator of iterators) {
      await expectWalError('WAL_TRUNCATED', async () => {
        for (;;) {
          const result = await iterator.next();
          if (result.done === true) return;
          for (const record of result.value) expect(record.data.equals(dataOf(record.sequence))).toBe(true);
        }
      });
    }
  });
});

// Each appender remembers the segment that it last appended to.
whereRecycled(
  `whoever has a log open and does not append keeps one segment, and nothing that came behind it${only}`,
  async () => {
    for (const recycleSegments of [2, 0]) {
      const path = join(logs.directory, `with-${recycleSegments}`);
      const wal = await logs.open({ segmentSize: smallSegment, recycleSegments }, path);
      await logs.open({}, path);
      await turnOver(wal, 30);
      expect(wal.stats().segmentsRecycled > 5).toBe(recycleSegments > 0);
      // Two in use, the spare, that of the idle one, and what is being unmapped.
      const mapped = (): number => readFileSync('/proc/self/maps', 'latin1').split(` ${path}/`).length - 1;
      for (let tries = 0; mapped() > 4 && tries < 500; tries++) await sleep(10);
      expect(mapped()).toBeLessThanOrEqual(4);
    }
  },
);

const turningMs = Number(process.env['SEGWAL_TURNING_MS'] ?? 4000);

/** What a child says when it is told to come to its end. */
async function lastLine<T>(child: Child): Promise<T> {
  child.process.stdin.end();
  const { status, signal, stdout, stderr } = await child.outcome();
  expect({ status, signal, stderr }).toEqual({ status: 0, signal: null, stderr: '' });
  return JSON.parse(stdout.trim().split('\n').at(-1) ?? '') as T;
}

describe('readers of a log that is turned over as fast as can be', () => {
  /** The writer, readers in its process and its threads, and in processes of their own. */
  async function readWhileTurning(task: Partial<Task>, processes: readonly Manner[]): Promise<[Turned, Reading[]]> {
    const directory = join(makeFastDirectory(), 'log'); // nobody waits for a disk
    try {
      const whole: Task = {
        directory,
        options: { segmentSize: 4 * smallSegment },
        keep: 1000,
        readers: [],
        workers: [],
        ...task,
      };
      const writer = startChild('turn-over', JSON.stringify(whole));
      expect(await writer.line()).toBe('turning');
      const readers = processes.map((manner) => startChild('derived-reader', directory, manner));
      for (const reader of readers) expect(await reader.line()).toBe('reading');
      await sleep(turningMs);
      const readings = await Promise.all(readers.map((reader) => lastLine<Reading>(reader)));
      return [await lastLine<Turned>(writer), readings];
    } finally {
      rmSync(dirname(directory), { recursive: true, force: true });
    }
  }

  function expectRight(reading: Reading): void {
    expect(reading).toMatchObject({ wrong: [], failures: [] });
    expect(reading.records).toBeGreaterThan(100);
  }

  whereRecycled(
    `in processes of their own see what was written, and nothing else${only}`,
    async () => {
      const [turned, readings] = await readWhileTurning({}, ['live', 'lag', 'open', 'lag']);
      expect(turned.recycled).toBeGreaterThan(20);
      expect(turned.kept).toBeLessThanOrEqual(2 + inTheMaking);
      for (const reading of readings) expectRight(reading);
      // Those that lag behind on purpose did lose the log under their feet.
      expect(readings[1]?.truncated).toBeGreaterThan(0);
      expect(readings[3]?.truncated).toBeGreaterThan(0);
    },
    60_000,
  );

  whereRecycled(
    `in its process and its worker threads see what was written, and nothing else${only}`,
    async () => {
      const [turned] = await readWhileTurning({ readers: ['live', 'lag'], workers: ['live', 'lag', 'open'] }, []);
      expect(turned.recycled).toBeGreaterThan(20);
      for (const reading of turned.readings) expectRight(reading);
      expect(turned.readings[1]?.truncated).toBeGreaterThan(0);
    },
    60_000,
  );

  whereRecycled(
    `and keeps as little as it can see right in the smallest segments${only}`,
    async () => {
      const task = { options: { segmentSize: smallSegment, recycleSegments: 8 }, keep: 1 };
      const [turned, readings] = await readWhileTurning({ ...task, readers: ['lag'] }, ['live', 'open', 'lag']);
      expect(turned.recycled).toBeGreaterThan(20);
      expect(turned.kept).toBeLessThanOrEqual(8 + inTheMaking);
      for (const reading of [...turned.readings, ...readings])
        expect(reading).toMatchObject({ wrong: [], failures: [] });
    },
    60_000,
  );
});

const refusal = straceRefusal();
(recycles && refusal === undefined ? test : test.skip)(
  `a reader for whom a file becomes another segment after it was opened says that the log was truncated${
    refusal === undefined ? only : ` (not tried: system calls cannot be delayed here: ${refusal})`
  }`,
  async () => {
    const directory = join(makeFastDirectory(), 'log');
    try {
      // A segment goes every few ms: hardly more than a reader needs to read a header now.
      const options = { segmentSize: smallSegment, recycleSegments: 1 };
      const task: Task = { directory, options, keep: 1, readers: [], workers: [], pause: 12 };
      const writer = startChild('turn-over', JSON.stringify(task));
      expect(await writer.line()).toBe('turning');
      const readers = ['open', 'live'].map((manner) => startChild('derived-reader', directory, manner));
      const tracers: { ended: Promise<unknown> }[] = [];
      for (const reader of readers) {
        expect(await reader.line()).toBe('reading');
        tracers.push(await injectInto(reader.pid, 'pread64:delay_enter=2000'));
      }
      await sleep(turningMs);
      for (const reader of readers) {
        expect(await lastLine<Reading>(reader)).toMatchObject({ wrong: [], failures: [] });
      }
      expect((await lastLine<Turned>(writer)).recycled).toBeGreaterThan(0);
      await Promise.all(tracers.map(({ ended }) => ended));
    } finally {
      rmSync(dirname(directory), { recursive: true, force: true });
    }
  },
  60_000,
);

describe('a writer that is killed while it turns a log over', () => {
  const kills = Number(process.env['SEGWAL_KILLS'] ?? 30);

  whereRecycled(
    `${kills} times loses nothing, and finds nothing of an earlier life, not even after a power cut${only}`,
    async () => {
      const random = randomFrom(seed);
      const folder = makeFastDirectory();
      const directory = join(folder, 'log');
      const copy = join(folder, 'copy');
      const task: Task = {
        directory,
        options: { segmentSize: smallSegment },
        keep: 50,
        readers: [],
        workers: [],
      };
      let last = 0;
      let recycled = 0;
      let leftBehind = 0;
      try {
        for (let kill = 0; kill < kills; kill++) {
          const child = startChild('turn-over', JSON.stringify(task));
          expect(await child.line()).toBe('turning');
          await sleep(random() * 60);
          const { signal, stderr } = await child.kill();
          expect({ signal, stderr }).toEqual({ signal: 'SIGKILL', stderr: '' });
          leftBehind += kept(directory).length;
          const files = LogFiles.read(directory);
          recycled += files.segments.filter((id) => identityOf(files.segment(id)).recycled).length;

          const reader = await WalManager.open(directory, { readOnly: true });
          expectDerived(reader);
          const seen = reader.lastSequence;
          expect(seen).toBeGreaterThan(last);
          await reader.close();

          const findings: string[][] = [];
          for (const path of [directory, copy]) {
            if (path === copy) files.copy().powerCut().write(copy);
            const wal = await WalManager.open(path);
            expectDerived(wal);
            expect(wal.lastSequence).toBe(seen);
            while (kept(path).length > 0) await sleep(1); // deleted behind the open
            const verified = await wal.verify();
            expect(verified).toMatchObject({ ok: true, findings: [] });
            findings.push(wal.recovery.findings.map((finding) => finding.case));
            await wal.close();
          }
          // An append that was cut off, and nothing else.
          expect(findings[0]).toEqual(findings[0]?.length === 0 ? [] : ['A']);
          expect(['A']).toEqual(expect.arrayContaining(findings[1] as string[]));
          last = seen;
        }
      } catch (error) {
        (error as Error).message += `\n\nThe log is still in ${folder} (SEGWAL_SEED=${seed}).`;
        throw error;
      }
      expect(recycled).toBeGreaterThan(kills / 3);
      expect(leftBehind).toBeGreaterThan(0);
      rmSync(folder, { recursive: true, force: true });
    },
    60_000 + kills * 2000,
  );
});
