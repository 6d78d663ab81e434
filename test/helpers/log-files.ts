// The files of a log as bytes in memory, to take a picture of a log, damage it and lay it out again.
import { existsSync, mkdirSync, mkdtempSync, readFileSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join, relative, sep } from 'node:path';

import { eraseMark, readFrames, readIdentity, readLive, writeOwner } from './format';
import type { Frame } from './format';

export const metaName = 'metadata/wal.meta';

export function segmentName(id: number): string {
  return `segments/wal-${String(id).padStart(6, '0')}.log`;
}

function filesBelow(directory: string): string[] {
  return readdirSync(directory, { withFileTypes: true, recursive: true })
    .filter((entry) => entry.isFile())
    .map((entry) => relative(directory, join(entry.parentPath, entry.name)).split(sep).join('/'));
}

function readIfThere(path: string): Buffer | undefined {
  try {
    return readFileSync(path);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return undefined;
    throw error;
  }
}

export class LogFiles {
  private constructor(private readonly files: Map<string, Buffer>) {}

  /**
   * What is there now, whether or not the log is open. The lock is of no interest. An open log renames and deletes, in
   * threads of its own, what it does not need: that may be gone before it was read.
   */
  static read(directory: string): LogFiles {
    const files = new Map<string, Buffer>();
    for (const name of filesBelow(directory).sort()) {
      const bytes = name === 'LOCK' ? undefined : readIfThere(join(directory, name));
      if (bytes !== undefined) files.set(name, bytes);
    }
    return new LogFiles(files);
  }

  static of(files: Record<string, Buffer>): LogFiles {
    return new LogFiles(new Map(Object.entries(files)));
  }

  /** Makes `directory` hold these files and nothing else. */
  write(directory: string): void {
    rmSync(directory, { recursive: true, force: true });
    for (const [name, bytes] of this.files) {
      mkdirSync(dirname(join(directory, name)), { recursive: true });
      writeFileSync(join(directory, name), bytes);
    }
  }

  copy(): LogFiles {
    return new LogFiles(new Map(Array.from(this.files, ([name, bytes]) => [name, Buffer.from(bytes)])));
  }

  get names(): string[] {
    return [...this.files.keys()];
  }

  has(name: string): boolean {
    return this.files.has(name);
  }

  file(name: string): Buffer {
    const bytes = this.files.get(name);
    if (bytes === undefined) throw new Error(`the log has no file ${name}, but ${this.names.join(', ')}`);
    return bytes;
  }

  set(name: string, bytes: Buffer): void {
    this.files.set(name, bytes);
  }

  remove(name: string): void {
    this.file(name);
    this.files.delete(name);
  }

  /** The bytes of a segment; changing them changes what is written. */
  segment(id: number): Buffer {
    return this.file(segmentName(id));
  }

  frames(id: number): Frame[] {
    return readFrames(this.segment(id));
  }

  /** The numbers of the segments that are in use, in order. */
  get segments(): number[] {
    return this.names
      .filter((name) => name.startsWith('segments/'))
      .filter((name) => readIdentity(this.file(name)) !== undefined)
      .map((name) => Number(/\d+/.exec(name)?.[0]));
  }

  /** Makes it look as if the machine had been started again since. */
  powerCut(): this {
    for (const id of this.segments) writeOwner(this.segment(id), otherBoot, readLive(this.segment(id)).pid);
    return this;
  }

  /** Takes back the marks: of what the segments' headers say of durability, only seals are left. */
  eraseMarks(): this {
    for (const id of this.segments) eraseMark(this.segment(id));
    return this;
  }

  /** Names of the files that differ, are missing or are new. */
  differences(other: LogFiles): string[] {
    const names = new Set([...this.names, ...other.names]);
    return [...names].filter((name) => {
      const [mine, theirs] = [this.files.get(name), other.files.get(name)];
      return mine === undefined || theirs === undefined || !mine.equals(theirs);
    });
  }
}

/** An id that no boot of any machine has. */
export const otherBoot = Buffer.from('a boot gone by..', 'latin1');

/**
 * A folder for hundreds of small logs. In memory where the system has such a place: what these tests lose, they lose on
 * purpose, and every open costs several syncs.
 */
export function makeFastDirectory(): string {
  return mkdtempSync(join(existsSync('/dev/shm') ? '/dev/shm' : tmpdir(), 'segwal-'));
}
