import { types } from 'node:util';

import type { Codec, WalData } from './codec';
import { checkOptions, describe } from './validation';

/** What a record may carry beside its data. */
export interface RecordOptions {
  /** An integer from 0 to 255 that means what its user says; `Operation` names a few. Default 0. */
  kind?: number;
  /** A tenant, partition or entity, at most 65,535 bytes; a string is stored as UTF-8. An empty key is not the same as none. */
  key?: Uint8Array | string | null;
}

/** One record of a batch. */
export interface RecordInput<T = Buffer> extends RecordOptions {
  data: WalData<T>;
}

/**
 * Many records in one buffer, the fastest way in: record `i` is bytes `offsets[i]` up to `offsets[i + 1]`, so there is
 * one offset more than there are records. Kind and key are those of every record. A codec is not applied.
 */
export interface PackedRecords extends RecordOptions {
  buffer: Uint8Array;
  offsets: Uint32Array;
}

/** A record, as a reader gets it. */
export interface WalRecord<T = Buffer> {
  /** Its place in the log: an integer of at least 1. */
  readonly sequence: number;
  /** When it was appended: ms since the epoch, µs in the fraction. */
  readonly timestamp: number;
  readonly kind: number;
  /** `null` when it was appended without one. */
  readonly key: Buffer | null;
  /** The reader's own: never changes, and never points into the log. */
  readonly data: T;
}

/** Parallel arrays, the shape in which the native side takes a batch. */
export interface Batch {
  data: (Uint8Array | string)[];
  kinds: Uint8Array | null;
  keys: (Uint8Array | string | null | undefined)[] | null;
}

/** What a write holds on to while it waits: its caller may use the memory again. */
export function copyOf<D extends Uint8Array | string | null | undefined>(data: D): D | Buffer {
  return data instanceof Uint8Array ? Buffer.from(data) : data;
}

export function copyOfBatch({ data, kinds, keys }: Batch): Batch {
  return { data: data.map((each) => copyOf(each)), kinds, keys: keys?.map((key) => copyOf(key)) ?? null };
}

export function copyOfPacked({ buffer, offsets, kind, key }: PackedRecords): PackedRecords {
  return {
    buffer: Buffer.from(buffer),
    offsets: offsets.slice(),
    ...(kind === undefined ? {} : { kind }),
    ...(key === undefined ? {} : { key: copyOf(key) }),
  };
}

export function isPacked(records: unknown): records is PackedRecords {
  return typeof records === 'object' && records !== null && !Array.isArray(records) && 'buffer' in records;
}

/**
 * Spreads an array of records. Types of data and keys are not looked at here: the native side does that while it
 * copies, and {@link checkBatch} finds the words when it refuses.
 */
export function toBatch<T>(records: readonly RecordInput<T>[], codec: Codec<T> | undefined): Batch {
  const count = checkCount(records);
  const data = new Array<Uint8Array | string>(count);
  let kinds: Uint8Array | null = null;
  let keys: Batch['keys'] = null;
  for (let i = 0; i < count; i++) {
    const record = records[i];
    if (typeof record !== 'object' || record === null) {
      throw new TypeError(`records[${i}] must be an object with a 'data' property, not ${describe(record)}`);
    }
    data[i] = codec === undefined ? (record.data as Uint8Array | string) : codec.encode(record.data as T);
    if (record.kind !== undefined && record.kind !== 0) {
      checkKind(record.kind, `records[${i}].kind`);
      kinds ??= new Uint8Array(count);
      kinds[i] = record.kind;
    }
    if (record.key !== undefined && record.key !== null) {
      keys ??= new Array<undefined>(count).fill(undefined);
      keys[i] = record.key;
    }
  }
  return { data, kinds, keys };
}

function checkCount(records: unknown): number {
  if (!Array.isArray(records)) {
    throw new TypeError(`records must be an array of records, or { buffer, offsets }, not ${describe(records)}`);
  }
  if (records.length === 0) throw new RangeError('records is empty: a batch has at least one record');
  return records.length;
}

/** Looks for what makes the native side refuse a batch. REQUIRES: called after the refusal; this is not the hot path. */
export function checkBatch(batch: Batch, maxKeyBytes: number, encoded: boolean): void {
  batch.data.forEach((data, i) => {
    checkData(data, encoded ? `what codec.encode made of records[${i}].data` : `records[${i}].data`);
  });
  batch.keys?.forEach((key, i) => {
    checkKey(key, maxKeyBytes, `records[${i}].key`);
  });
}

/** What it costs is little for a whole batch. */
export function checkPackedTypes({ buffer, offsets, key }: PackedRecords): void {
  if (typeof buffer === 'string') throw new TypeError('buffer must be a Uint8Array, not a string');
  checkData(buffer, 'buffer');
  if (!types.isUint32Array(offsets)) throw new TypeError(`offsets must be a Uint32Array, not ${describe(offsets)}`);
  if (key !== undefined && key !== null) checkData(key, 'key');
}

/** Like {@link checkBatch}. REQUIRES: the types are right. */
export function checkPackedRanges({ buffer, offsets, key }: PackedRecords, maxKeyBytes: number): void {
  if (offsets.length < 2) {
    throw new RangeError(
      `offsets has ${offsets.length} entries: a batch of n records needs n + 1, and n is at least 1`,
    );
  }
  for (let i = 1; i < offsets.length; i++) {
    const [start, end] = [offsets[i - 1] as number, offsets[i] as number];
    if (end < start) throw new RangeError(`offsets[${i}] is ${end}, which is less than the one before it, ${start}`);
  }
  const end = offsets[offsets.length - 1] as number;
  if (end > buffer.length) {
    throw new RangeError(`offsets[${offsets.length - 1}] is ${end}, beyond the ${buffer.length} bytes of buffer`);
  }
  checkKey(key, maxKeyBytes);
}

export function checkData(data: unknown, name: string): asserts data is Uint8Array | string {
  if (typeof data === 'string') return;
  if (types.isUint8Array(data)) return;
  throw new TypeError(`${name} must be a Uint8Array (a Buffer is one) or a string, not ${describe(data)}`);
}

export function checkKind(kind: unknown, name = 'kind'): asserts kind is number {
  if (typeof kind !== 'number') throw new TypeError(`${name} must be a number, not ${describe(kind)}`);
  if (!Number.isInteger(kind) || kind < 0 || kind > 255) {
    throw new RangeError(`${name} must be an integer from 0 to 255, not ${kind}`);
  }
}

export function checkKey(key: unknown, maxBytes: number, name = 'key'): void {
  if (key === undefined || key === null) return;
  checkData(key, name);
  const bytes = typeof key === 'string' ? Buffer.byteLength(key) : key.length;
  if (bytes > maxBytes) throw new RangeError(`${name} has ${bytes} bytes; the limit is ${maxBytes}`);
}

const recordOptionNames = ['kind', 'key'] as const;

export function checkRecordOptions(options: unknown): asserts options is RecordOptions {
  checkOptions(options, recordOptionNames, 'append');
}
