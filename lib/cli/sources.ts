import { createReadStream } from 'node:fs';
import { stat } from 'node:fs/promises';
import type { Readable } from 'node:stream';

import { InputError } from './command';

/** Something to ingest. */
export interface Source {
  readonly name: string;
  /** Bytes; `undefined` when nobody knows. */
  readonly size: number | undefined;
  /** Whether it comes as somebody produces it, so that waiting for more of it may take long. */
  readonly live: boolean;
  open(): Readable;
}

const readBytes = 1024 * 1024;

/** The sources that the command line names; standard input when it names none, and for `-`. */
export async function findSources(names: readonly string[]): Promise<Source[]> {
  const wanted = names.length === 0 ? ['-'] : names;
  return Promise.all(wanted.map(async (name) => (name === '-' ? standardInput : file(name))));
}

const standardInput: Source = { name: 'standard input', size: undefined, live: true, open: () => process.stdin };

/** Looked at before anything is ingested, so that a mistyped name does no harm. */
async function file(name: string): Promise<Source> {
  try {
    const stats = await stat(name);
    if (stats.isDirectory()) throw new InputError('EISDIR', `${name} is a directory`);
    const size = stats.isFile() ? stats.size : undefined;
    return { name, size, live: size === undefined, open: () => createReadStream(name, { highWaterMark: readBytes }) };
  } catch (error) {
    throw toInputError(error, name);
  }
}

export function toInputError(error: unknown, name: string): unknown {
  if (!(error instanceof Error) || error instanceof InputError) return error;
  const { code } = error as NodeJS.ErrnoException;
  return code === undefined ? error : new InputError(code, `cannot read ${name}`);
}

/** Bytes of all sources; `undefined` when nobody knows. */
export function totalSize(sources: readonly Source[]): number | undefined {
  let total = 0;
  for (const { size } of sources) {
    if (size === undefined) return undefined;
    total += size;
  }
  return total;
}
