// A real process is recorded while it uses a log: after each of its syncs and changes of names, what every file was. From
// that the disks are made that a loss of power could have left at those moments, and each of them is recovered.
import { spawnSync } from 'node:child_process';
import { existsSync, mkdirSync, readdirSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';

import { WalManager } from '../lib';
import { randomFrom } from './helpers/appends';
import { useLogs } from './helpers/logs';
import { startChildIn } from './helpers/processes';
import { contentOf, planOf } from './helpers/recorded-plan';
import type { Step } from './helpers/recorded-plan';
import { readRecording, RecordedDisk } from './helpers/recording';
import type { Choice, RecordedEvent } from './helpers/recording';

const seed = Number(process.env['SEGWAL_SEED'] ?? Date.now() % 1e9);
const images = Number(process.env['SEGWAL_IMAGES'] ?? 120);
const repository = resolve(__dirname, '..');
const liveSector = 1024; // of a segment's header: the write pointer, and the boot that it is of
const logs = useLogs();

function refusal(): string | undefined {
  if (process.platform !== 'linux') return 'it preloads a library, which is for Linux';
  if (spawnSync('c++', ['--version']).error !== undefined) return 'there is no C++ compiler';
  return undefined;
}

/** Runs the plan in a process that is recorded; the notes that it made are recorded with the rest. */
async function record(directory: string): Promise<RecordedEvent[]> {
  const library = join(directory, 'recorder.so');
  const source = join(repository, 'native', 'testing', 'recorder', 'recorder.cc');
  const compiled = spawnSync('c++', ['-std=c++20', '-O1', '-shared', '-fPIC', source, '-o', library, '-ldl']);
  expect(compiled.stderr.toString()).toBe('');
  const recording = join(directory, 'recording');
  const watched = join(directory, 'watched');
  mkdirSync(watched);
  const env = { LD_PRELOAD: library, SEGWAL_RECORD_ROOT: watched, SEGWAL_RECORD_FILE: recording };
  const child = startChildIn(env, 'recorded', watched, String(seed));
  expect(await child.outcome()).toMatchObject({ status: 0, signal: null, stderr: '' });
  return readRecording(recording);
}

interface Told {
  appended: number;
  durable: number;
  keptFrom: number;
}

function toldBy(notes: string): Told {
  const told = { appended: 0, durable: 0, keptFrom: 1 };
  for (const [, what, number] of notes.matchAll(/^(appended|durable|truncating) (\d+)\n/gm)) {
    const key = what === 'truncating' ? 'keptFrom' : (what as 'appended' | 'durable');
    told[key] = Math.max(told[key], Number(number));
  }
  return told;
}

/** The machine has been started anew: the log was written in a boot that is over. */
function restart(log: string): void {
  const segments = join(log, 'segments');
  if (!existsSync(segments)) return;
  for (const name of readdirSync(segments)) {
    const path = join(segments, name);
    const bytes = readFileSync(path);
    const boot = bytes.subarray(liveSector + 64, liveSector + 80);
    if (boot.some((byte) => byte !== 0))
      writeFileSync(path, bytes.fill('an older boot id', liveSector + 64, liveSector + 80));
  }
}

/** Opens what is there, and holds it against what the process was told. Returns how many records there are. */
async function examine(log: string, atLeast: number, told: Told, plan: readonly Step[]): Promise<number> {
  const wal = await WalManager.open(log);
  const last = wal.lastSequence;
  try {
    expect(last).toBeGreaterThanOrEqual(atLeast);
    expect(wal.firstSequence).toBeLessThanOrEqual(told.keptFrom);
    let due = wal.firstSequence;
    for (const { sequence, data } of wal.read()) {
      expect({ sequence, data: data.toString() }).toEqual({ sequence: due, data: contentOf(due) });
      due++;
    }
    expect(due).toBe(last + 1);
    const step = plan.find(({ first, count }) => first <= last && last < first + count);
    if (last > 0) expect(last).toBe((step?.first ?? NaN) + (step?.count ?? NaN) - 1); // no part of a batch
    expect(wal.durableSequence).toBe(last);
  } finally {
    await wal.close();
  }
  const again = await WalManager.open(log);
  expect(again.recovery).toMatchObject({ clean: true, findings: [] });
  expect(again.lastSequence).toBe(last);
  await again.close();
  return last;
}

const reason = refusal();
if (reason !== undefined) {
  test.skip(`no process is recorded: ${reason}`, () => undefined);
} else {
  test(`every disk that a loss of power could have left is recovered (SEGWAL_SEED=${seed}, SEGWAL_IMAGES=${images})`, async () => {
    const plan = planOf(seed);
    const events = await record(logs.directory);
    expect(events.length).toBeGreaterThan(100);
    const roll = randomFrom(seed + 1);
    const moments = Array.from({ length: images }, () => Math.floor(roll() * events.length)).sort((a, b) => a - b);
    const disk = new RecordedDisk();
    let applied = 0;
    const lengths = new Set<number>();
    for (const [n, moment] of moments.entries()) {
      for (; applied <= moment; applied++) disk.apply(events[applied] as RecordedEvent);
      const told = toldBy(disk.live('notes').toString('latin1'));
      // How much of what was not synced is on the disk differs from image to image, from nothing to everything.
      const inclination = [0, 1, roll(), roll()][n % 4] as number;
      const choice: Choice = {
        version: (of) =>
          of[roll() < inclination ? of.length - 1 : Math.floor(roll() * of.length * inclination)] as never,
        name: () => roll() < inclination,
      };
      const image = join(logs.directory, 'image');
      disk.write(image, choice);
      const log = join(image, 'log');
      restart(log);
      try {
        lengths.add(await examine(log, told.durable, told, plan));
      } catch (error) {
        const kept = join(tmpdir(), `segwal-image-${seed}-${n}`);
        renameSync(image, kept);
        throw new Error(`image ${n}, after event ${moment}; what is left of it is in ${kept}`, { cause: error });
      }
      rmSync(image, { recursive: true });
    }
    expect(lengths.size).toBeGreaterThan(10);

    // The process dies, and the machine goes on: everything is in the page cache, so every append that returned is there.
    const process = new RecordedDisk();
    for (const [i, event] of events.entries()) {
      process.apply(event);
      if (i % Math.ceil(events.length / 30) !== 0) continue;
      const image = join(logs.directory, 'image');
      process.write(image, { version: (of) => of[of.length - 1] as never, name: () => true });
      const told = toldBy(process.live('notes').toString('latin1'));
      await examine(join(image, 'log'), told.appended, told, plan);
      rmSync(image, { recursive: true });
    }
  }, 120_000);
}
