// Writers that are killed at random moments, over and over, on the same logs: what they were told is there, and nothing
// that they did not append.
import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';

import { WalManager } from '../lib';
import type { WalRecord } from '../lib';
import { Acknowledgements, makeAppend, mostRecordsOfAnAppend, parseAuthor, randomFrom } from './helpers/appends';
import type { Author } from './helpers/appends';
import { identityOf } from './helpers/format';
import { LogFiles, makeFastDirectory } from './helpers/log-files';
import { smallSegment } from './helpers/logs';
import { startChild } from './helpers/processes';

/** `npm run test:kill -- --kills 5000 --seed 1` sets these. */
const kills = Number(process.env.SEGWAL_KILLS ?? 200);
const seed = Number(process.env.SEGWAL_SEED ?? Math.floor(Math.random() * 1e9));

/** Above this the front of a log is truncated, so that looking at it stays quick. */
const keepBytes = 2 << 20;

interface VictimOptions {
  directory: string;
  threads: number;
  segmentSize: number;
  turnsOver?: boolean;
}

/** One log, and what is known of it from the kills before. */
class Victim {
  acknowledged = 0;
  holes = 0;
  segments = 0;
  /** Segments in use that were made of the file of another one, as the kills left them. */
  recycled = 0;
  /** Whose is what, by sequence number. */
  private readonly known = new Map<number, string>();
  private last = 0;
  private truncatedBefore = 1;
  private readonly log: string;
  private readonly notes: string;

  constructor(private readonly options: VictimOptions) {
    mkdirSync(options.directory);
    this.log = join(options.directory, 'log');
    this.notes = join(options.directory, 'notes');
  }

  /** Starts a writer and kills it: mostly while it writes, now and then while it starts, opens and recovers. */
  async kill(life: number): Promise<void> {
    const { threads, segmentSize, turnsOver = false } = this.options;
    const random = randomFrom(life);
    writeFileSync(this.notes, Buffer.alloc(Acknowledgements.size(threads)));
    const task = { directory: this.log, notes: this.notes, life, threads, segmentSize, turnsOver };
    const child = startChild('doomed-writer', JSON.stringify(task));
    if (random() < 0.85) await child.line();
    await sleep(random() * (random() < 0.2 ? 150 : 50));
    const { signal, stderr } = await child.kill();
    expect({ signal, stderr }).toEqual({ signal: 'SIGKILL', stderr: '' });
  }

  async examine(life: number): Promise<void> {
    if (existsSync(this.log)) {
      const files = LogFiles.read(this.log);
      this.recycled += files.segments.filter((id) => identityOf(files.segment(id)).recycled).length;
    }
    const wal = await WalManager.open(this.log, { segmentSize: this.options.segmentSize });
    try {
      const verdicts = new Set(wal.recovery.findings.map((finding) => finding.case));
      expect(['A', 'B']).toEqual(expect.arrayContaining([...verdicts]));
      const verified = await wal.verify();
      expect(verified.ok).toBe(true);
      // What is left to tell of are the fillers of recoveries before.
      expect(verified.findings.filter((finding) => finding.case !== 'filler')).toEqual([]);
      this.segments += wal.segments().length;
      const told = new Acknowledgements(readFileSync(this.notes));
      const fresh = this.compareWithBefore(wal, told);
      this.compareWithAppends(fresh, life, told, Math.max(this.last + 1, wal.firstSequence));
      this.last = wal.lastSequence;
      if (wal.stats().diskBytes > keepBytes) {
        this.truncatedBefore = wal.lastSequence;
        await wal.truncateBefore(this.truncatedBefore);
      }
    } finally {
      await wal.close();
    }
  }

  /** What was there before the last life still is, but for what somebody asked to truncate. Returns what is new. */
  private compareWithBefore(wal: WalManager, told: Acknowledgements): WalRecord[] {
    const records = Array.from(wal.read());
    const found = new Map(records.map((record) => [record.sequence, record]));
    this.truncatedBefore = Math.max(this.truncatedBefore, told.truncatedBefore);
    expect(wal.firstSequence).toBeLessThanOrEqual(this.truncatedBefore);
    for (const [sequence, signature] of this.known) {
      if (sequence < wal.firstSequence) this.known.delete(sequence);
      else same(signature, signatureOf(found.get(sequence)), `record ${sequence}, written before`);
    }
    return records.filter(({ sequence }) => sequence > this.last);
  }

  /** `records` are those of the last life; their sequence numbers begin at `due`, be there a record or not. */
  private compareWithAppends(records: WalRecord[], life: number, told: Acknowledgements, due: number): void {
    const truncated = told.truncatedBefore > 0;
    const first = due;
    const latest = Array.from({ length: this.options.threads }, () => ({ turn: -1, sequence: 0 }));
    for (let i = 0; i < records.length;) {
      const record = records[i] as WalRecord;
      const { sequence } = record;
      const author = parseAuthor(record.data);
      const { thread, turn } = author;
      // All appends of a thread are there, in their order; what was truncated was in front of them.
      const before = latest[thread]?.turn ?? NaN;
      if (before !== -1 || !truncated) same(before + 1, turn, `the turn of thread ${thread} at ${sequence}`);
      latest[thread] = { turn, sequence };
      // A sequence number without a record was that of an append that died, and there are no more of them than threads.
      const gap = sequence - due;
      this.holes += gap;
      if (gap < 0 || gap > (this.options.threads - 1) * mostRecordsOfAnAppend) {
        throw new Error(`record ${sequence} stands where ${due} is due`);
      }
      const appended = signaturesOf({ ...author, life });
      appended.forEach((signature, n) => {
        same(signature, signatureOf(records[i + n]), `record ${n} of append ${turn} of thread ${thread}`);
        same(sequence + n, records[i + n]?.sequence, 'its sequence number');
        this.known.set(sequence + n, signature);
      });
      due = sequence + appended.length;
      i += appended.length;
    }
    latest.forEach(({ turn, sequence }, thread) => {
      const { returned, sequence: last } = told.of(thread);
      this.acknowledged += returned;
      if (turn === -1 && last < first) return; // it has not begun, or all of it was truncated
      // Everything that had returned is there, and at most the one append that had not.
      if (turn + 1 === returned) same(last, sequence, `the last append of thread ${thread}`);
      else same(returned + 1, turn + 1, `the number of appends of thread ${thread}`);
    });
  }
}

/** Everything about a record but its place and time. */
function signatureOf(record: Pick<WalRecord, 'kind' | 'key' | 'data'> | undefined): string | undefined {
  return record && `${record.kind} ${record.key?.toString() ?? '-'} ${record.data.toString('latin1')}`;
}

function signaturesOf(author: Author): string[] {
  return makeAppend(author).records.map(({ kind, key, data }) => `${kind} ${key ?? '-'} ${data.toString('latin1')}`);
}

/** `expect` would take longer than everything else together: there are a million of them. */
function same<V extends string | number>(expected: V | undefined, actual: V | undefined, what: string): void {
  if (expected !== actual) throw new Error(`${what}: expected ${expected ?? 'none'}, but it is ${actual ?? 'none'}`);
}

function chunks<V>(values: V[], size: number): V[][] {
  return Array.from({ length: Math.ceil(values.length / size) }, (_, i) => values.slice(i * size, (i + 1) * size));
}

test(
  `nothing is lost by ${kills} SIGKILLs at random moments (SEGWAL_SEED=${seed})`,
  async () => {
    const [disk, memory] = [mkdtempSync(join(tmpdir(), 'segwal-')), makeFastDirectory()];
    const victims = [
      new Victim({ directory: join(disk, 'one'), threads: 1, segmentSize: 4 * smallSegment }),
      new Victim({ directory: join(disk, 'two'), threads: 2, segmentSize: smallSegment }),
      // Without a disk to wait for, it is the writing and not the waiting that the kill hits.
      new Victim({ directory: join(memory, 'one'), threads: 1, segmentSize: smallSegment }),
      new Victim({ directory: join(memory, 'three'), threads: 3, segmentSize: 16 * smallSegment }),
      new Victim({ directory: join(memory, 'over'), threads: 1, segmentSize: smallSegment, turnsOver: true }),
      new Victim({ directory: join(memory, 'over-two'), threads: 2, segmentSize: smallSegment, turnsOver: true }),
    ];
    const lives = Array.from({ length: kills }, (_, i) => (seed + i) >>> 0);
    try {
      // All write at once, and nobody while the logs are looked at: looking would put off the kills.
      for (const round of chunks(lives, victims.length)) {
        await Promise.all(round.map((life, i) => (victims[i] as Victim).kill(life)));
        for (const [i, life] of round.entries()) await victims[i]?.examine(life);
      }
    } catch (error) {
      (error as Error).message += `\n\nThe logs are still in ${disk} and ${memory}.`;
      throw error;
    }

    const total = (of: (victim: Victim) => number): number => victims.reduce((sum, victim) => sum + of(victim), 0);
    const [acknowledged, segments, holes] = [
      total((victim) => victim.acknowledged),
      total((victim) => victim.segments),
      total((victim) => victim.holes),
    ];
    if (process.env.SEGWAL_KILLS !== undefined) {
      process.stdout.write(`${kills} kills, ${acknowledged} appends, ${segments} segments, ${holes} holes, lost: 0\n`);
    }
    expect(acknowledged).toBeGreaterThan(kills * 10);
    expect(segments).toBeGreaterThan(kills * 2);
    if (process.platform === 'linux') expect(total((victim) => victim.recycled)).toBeGreaterThan(kills / 10);
    for (const directory of [disk, memory]) rmSync(directory, { recursive: true, force: true });
  },
  60_000 + kills * 1000,
);
