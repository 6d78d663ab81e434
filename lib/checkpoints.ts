import { fromNative, settle } from './errors';
import type { Native, NativeCheckpoint, NativeLog } from './native';
import { checkOptions, checkSequence, describe } from './validation';

/** What an application said of the log: it has everything up to `sequence` elsewhere, in a snapshot for instance. */
export interface Checkpoint {
  /** The last record that it covers; 0 when it was made of a log without records. */
  readonly sequence: number;
  /** When it was made: ms since the epoch, µs in the fraction. */
  readonly timestamp: number;
  /** What the application gave with it; `null` when it gave nothing. */
  readonly data: Buffer | null;
}

/** What `createCheckpoint` takes. */
export interface CheckpointOptions {
  /** The last record that it covers. Default: the last one that was appended before the call, by any thread. */
  sequence?: number;
  /** Whatever is wanted when the log is opened again: the name of a snapshot, an offset. At most 1 MiB; copied. */
  data?: Uint8Array | string;
}

export async function createCheckpoint(
  native: NativeLog,
  constants: Native['constants'],
  options: CheckpointOptions,
): Promise<Checkpoint> {
  const { sequence, data } = checkCheckpointOptions(options, native.appendedSequence(), constants.maxCheckpointBytes);
  return toCheckpoint(await settle(native.createCheckpoint(sequence, data)));
}

/** What is to be made, of a log whose last record is `last`. */
export function checkCheckpointOptions(
  options: CheckpointOptions,
  last: number,
  maxBytes: number,
): { sequence: number; data: Uint8Array | null } {
  checkOptions(options, ['sequence', 'data'], 'createCheckpoint');
  const { sequence = last } = options;
  if (options.sequence !== undefined) checkSequence('sequence', sequence);
  if (sequence > last) {
    throw new RangeError(`sequence must not be beyond the last record, which is ${last}, not ${sequence}`);
  }
  return { sequence, data: checkpointData(options.data, maxBytes) };
}

export function listCheckpoints(native: NativeLog): Checkpoint[] {
  const found = native.checkpoints();
  if (typeof found === 'number') throw fromNative(native.lastError());
  return found.map(toCheckpoint);
}

function checkpointData(data: unknown, maxBytes: number): Uint8Array | null {
  if (data === undefined || data === null) return null;
  const bytes = typeof data === 'string' ? Buffer.from(data) : data;
  if (!(bytes instanceof Uint8Array)) {
    throw new TypeError(`data of a checkpoint must be a Uint8Array or a string, not ${describe(data)}`);
  }
  if (bytes.length > maxBytes) {
    throw new RangeError(`data of a checkpoint must be at most ${maxBytes} bytes, not ${bytes.length}`);
  }
  return bytes;
}

function toCheckpoint({ sequence, timeMs, data }: NativeCheckpoint): Checkpoint {
  return { sequence, timestamp: timeMs, data };
}
