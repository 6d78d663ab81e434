// What native/testing/recorder/recorder.cc has written down of a real process, and the disks that it could have left
// behind if the power had gone.
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';

const sectorSize = 512;
const root = 1; // the number of the directory that was recorded

interface Entry {
  readonly directory: number;
  readonly file: number;
  readonly isDirectory: boolean;
  readonly size: number;
  readonly name: string;
}

export interface RecordedEvent {
  readonly what: 'b' | 'e' | 'n';
  readonly sync: number;
  readonly file: number;
  readonly offset: number;
  readonly length: number; // Infinity: names and size too
  readonly tree: readonly Entry[];
  readonly sectors: readonly { file: number; sector: number; data: Buffer }[];
}

/** Reads a whole recording; the last event is left out if the process died in the middle of writing it. */
export function readRecording(path: string): RecordedEvent[] {
  const bytes = readFileSync(path);
  let at = 0;
  const u8 = (): number => bytes.readUInt8((at += 1) - 1);
  const u16 = (): number => bytes.readUInt16LE((at += 2) - 2);
  const u32 = (): number => bytes.readUInt32LE((at += 4) - 4);
  const u64 = (): bigint => bytes.readBigUInt64LE((at += 8) - 8);
  const slice = (length: number): Buffer => {
    if (at + length > bytes.length) throw new RangeError('the end');
    return bytes.subarray(at, (at += length));
  };
  const event = (): RecordedEvent => {
    const what = String.fromCharCode(u8()) as RecordedEvent['what'];
    const sync = u32();
    const file = u32();
    const offset = Number(u64());
    const length = u64();
    const tree = Array.from({ length: u32() }, () => ({
      directory: u32(),
      file: u32(),
      isDirectory: u8() === 1,
      size: Number(u64()),
      name: slice(u16()).toString(),
    }));
    const sectors = Array.from({ length: u32() }, () => ({ file: u32(), sector: u32(), data: slice(sectorSize) }));
    return { what, sync, file, offset, length: length === 2n ** 64n - 1n ? Infinity : Number(length), tree, sectors };
  };
  const events: RecordedEvent[] = [];
  while (at < bytes.length) {
    try {
      events.push(event());
    } catch (error) {
      if (error instanceof RangeError) break;
      throw error;
    }
  }
  return events;
}

/** Something that changed at an event, and the values that it had, the last durable one first. */
class Versions<T> {
  private readonly values: { at: number; value: T }[];

  constructor(initial: T) {
    this.values = [{ at: -1, value: initial }];
  }

  change(at: number, value: T): void {
    this.values.push({ at, value });
  }

  /** What it was at event `at` is durable; what it became later is not yet. */
  settle(at: number): void {
    while ((this.values[1]?.at ?? Infinity) <= at) this.values.shift();
  }

  get all(): readonly T[] {
    return this.values.map((each) => each.value);
  }

  get latest(): T {
    return this.values[this.values.length - 1]?.value as T;
  }
}

interface RecordedFile {
  readonly isDirectory: boolean;
  readonly size: Versions<number>;
  readonly sectors: Map<number, Versions<Buffer | null>>;
}

type Names = Map<number, Map<string, number>>;

/** One system call's changes of names; made durable by a sync of a directory that it is in. */
interface NameChange {
  readonly at: number;
  readonly changes: readonly { directory: number; name: string; file: number | undefined }[];
}

/** Which of the states that are possible is meant. */
export interface Choice {
  /** One of what a sector, or a size, was since its last sync. */
  version<T>(of: readonly T[]): T;
  /** Whether a change of names that no directory sync covers reached the disk. */
  name(): boolean;
}

/** The disk as it is after each of the events of a recording that were applied. */
export class RecordedDisk {
  private readonly files = new Map<number, RecordedFile>();
  private readonly begun = new Map<number, number>();
  private readonly durableNames: Names = new Map();
  private liveNames: Names = new Map();
  private pending: NameChange[] = [];
  private index = 0;

  apply(event: RecordedEvent): void {
    const at = this.index++;
    this.applyTree(event, at);
    for (const { file, sector, data } of event.sectors) {
      const { sectors } = this.file(file);
      const versions = sectors.get(sector) ?? new Versions<Buffer | null>(null);
      versions.change(at, data);
      sectors.set(sector, versions);
    }
    if (event.what === 'b') this.begun.set(event.sync, at);
    if (event.what === 'e') this.settle(event, this.begun.get(event.sync) ?? -1);
  }

  /** The bytes of a file by its path, as the process sees it now. */
  live(path: string): Buffer {
    let file: number | undefined = root;
    for (const name of path.split('/')) file = this.liveNames.get(file ?? 0)?.get(name);
    return file === undefined
      ? Buffer.alloc(0)
      : this.bytes(file, (versions) => versions[versions.length - 1] as never);
  }

  /** Writes below `directory` what the machine finds after its restart. */
  write(directory: string, choice: Choice): void {
    const names: Names = new Map([...this.durableNames].map(([each, entries]) => [each, new Map(entries)]));
    for (const change of this.pending) if (choice.name()) apply(names, change);
    this.writeDirectory(directory, root, names, (versions) => choice.version(versions));
  }

  private file(number: number): RecordedFile {
    const file = this.files.get(number);
    if (file === undefined) throw new Error(`the recording does not say what file ${number} is`);
    return file;
  }

  private applyTree(event: RecordedEvent, at: number): void {
    const names: Names = new Map();
    for (const { directory, file, isDirectory, size, name } of event.tree) {
      const known = this.files.get(file);
      if (known === undefined) {
        const sizes = new Versions(0);
        sizes.change(at, size);
        this.files.set(file, { isDirectory, size: sizes, sectors: new Map() });
      } else if (known.size.latest !== size) {
        known.size.change(at, size);
      }
      const entries = names.get(directory) ?? new Map<string, number>();
      names.set(directory, entries.set(name, file));
    }
    const changes: { directory: number; name: string; file: number | undefined }[] = [];
    for (const directory of new Set([...names.keys(), ...this.liveNames.keys()])) {
      const before = this.liveNames.get(directory) ?? new Map<string, number>();
      const now = names.get(directory) ?? new Map<string, number>();
      for (const name of new Set([...before.keys(), ...now.keys()])) {
        if (before.get(name) !== now.get(name)) changes.push({ directory, name, file: now.get(name) });
      }
    }
    if (changes.length > 0) this.pending.push({ at, changes });
    this.liveNames = names;
  }

  private settle(event: RecordedEvent, at: number): void {
    const file = event.file === root ? undefined : this.files.get(event.file);
    if (event.file === root || file?.isDirectory === true) {
      const covered = (change: NameChange): boolean =>
        change.at <= at && change.changes.some((each) => each.directory === event.file);
      for (const change of this.pending.filter(covered)) apply(this.durableNames, change);
      this.pending = this.pending.filter((change) => !covered(change));
    } else if (file !== undefined) {
      if (event.length === Infinity) file.size.settle(at);
      for (const [sector, versions] of file.sectors) {
        const begin = sector * sectorSize;
        if (begin < event.offset + event.length && begin + sectorSize > event.offset) versions.settle(at);
      }
    }
  }

  private bytes(number: number, pick: <T>(versions: readonly T[]) => T): Buffer {
    const { size, sectors } = this.file(number);
    const bytes = Buffer.alloc(pick(size.all));
    for (const [sector, versions] of sectors) {
      if (sector * sectorSize < bytes.length) pick(versions.all)?.copy(bytes, sector * sectorSize);
    }
    return bytes;
  }

  private writeDirectory(path: string, number: number, names: Names, pick: <T>(versions: readonly T[]) => T): void {
    mkdirSync(path, { recursive: true });
    for (const [name, file] of names.get(number) ?? []) {
      if (this.file(file).isDirectory) this.writeDirectory(join(path, name), file, names, pick);
      else writeFileSync(join(path, name), this.bytes(file, pick));
    }
  }
}

function apply(names: Names, change: NameChange): void {
  for (const { directory, name, file } of change.changes) {
    const entries = names.get(directory) ?? new Map<string, number>();
    if (file === undefined) entries.delete(name);
    else entries.set(name, file);
    names.set(directory, entries);
  }
}
