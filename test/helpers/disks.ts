// File systems of a few MiB, to fill to the brim. Mounting takes a privilege that not every machine gives; where it is
// missing, the tests are skipped and say why.
import { spawnSync } from 'node:child_process';
import {
  closeSync,
  ftruncateSync,
  mkdtempSync,
  openSync,
  rmSync,
  rmdirSync,
  statfsSync,
  unlinkSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

const mebibyte = 1024 * 1024;

export interface DiskKind {
  name: string;
  /** Bytes of the whole file system, or of the file that it lies in. */
  bytes: number;
  /** Makes one in the file; undefined: it lies in memory. */
  format?: readonly string[];
}

export const diskKinds: readonly DiskKind[] = [
  { name: 'tmpfs', bytes: 2 * mebibyte },
  { name: 'ext4', bytes: 8 * mebibyte, format: ['mkfs.ext4', '-q', '-F'] },
  { name: 'btrfs', bytes: 128 * mebibyte, format: ['mkfs.btrfs', '-q', '-f'] },
];

function run(command: readonly string[]): void {
  const [program = '', ...args] = command;
  const { status, stderr, error } = spawnSync(program, args, { encoding: 'utf8' });
  if (error !== undefined) throw new Error(`${program}: ${(error as NodeJS.ErrnoException).code ?? error.message}`);
  if (status !== 0) throw new Error(`${program}: ${stderr.trim().split('\n')[0] ?? ''}`);
}

/** A small file system of its own, mounted. */
export class Disk {
  private constructor(
    readonly path: string,
    private readonly image: string | undefined,
  ) {}

  static mount({ name, bytes, format }: DiskKind): Disk {
    const path = mkdtempSync(join(tmpdir(), 'segwal-disk-'));
    const image = format === undefined ? undefined : `${path}.img`;
    try {
      if (format === undefined || image === undefined) {
        run(['mount', '-t', name, '-o', `size=${bytes}`, name, path]);
      } else {
        const file = openSync(image, 'w');
        ftruncateSync(file, bytes);
        closeSync(file);
        run([...format, image]);
        run(['mount', '-t', name, '-o', 'loop', image, path]);
      }
    } catch (error) {
      rmdirSync(path);
      if (image !== undefined) rmSync(image, { force: true });
      throw error;
    }
    return new Disk(path, image);
  }

  /** Why no disk of this kind can be had here; undefined when one can. */
  static refusal(kind: DiskKind): string | undefined {
    try {
      Disk.mount(kind).unmount();
      return undefined;
    } catch (error) {
      return (error as Error).message;
    }
  }

  get free(): number {
    const { bavail, bsize } = statfsSync(this.path);
    return bavail * bsize;
  }

  /** Somebody else's file takes all the room that is left. */
  fill(): void {
    const file = openSync(this.ballast, 'a');
    try {
      // Ever smaller pieces, down to a byte: what is left then is nothing.
      for (let piece = mebibyte; piece >= 1; piece = piece >> 2) {
        for (;;) {
          try {
            writeFileSync(file, Buffer.alloc(piece, 'b'));
          } catch {
            break;
          }
        }
      }
    } finally {
      closeSync(file);
    }
    spawnSync('sync', ['-f', this.path]);
  }

  /** That file goes. */
  empty(): void {
    unlinkSync(this.ballast);
    spawnSync('sync', ['-f', this.path]);
  }

  unmount(): void {
    run(['umount', '--lazy', this.path]); // a process that outlives a failed test must not hold it up
    rmdirSync(this.path);
    if (this.image !== undefined) unlinkSync(this.image);
  }

  private get ballast(): string {
    return join(this.path, 'ballast');
  }
}
