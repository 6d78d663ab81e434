import { types } from 'node:util';

import type { NativeFilter } from './native';
import { checkData, checkKey, checkKind } from './records';
import { checkBoolean, checkInteger, checkOptions, checkSequence, checkSignal, describe } from './validation';

/** Which records to read. Whatever is left out does not restrict; what is given must all hold. */
export interface ReadOptions {
  /**
   * First sequence number, inclusive. Reading from one that has been truncated away is `WAL_TRUNCATED`; leave it out to
   * read from whatever is kept first.
   */
  from?: number;
  /** Last sequence number, inclusive. */
  to?: number;
  /**
   * Time of the append, inclusive: a `Date`, or ms since the epoch with µs in the fraction. Exactly those records are read
   * whose own time lies in the range. Times need not ascend: threads append side by side by a clock of about a
   * millisecond, and clocks are set back. What lies outside is skipped and not looked at: whole segments by what their
   * seal says, and parts of a segment by an index that the first such read makes (see docs/ARCHITECTURE.md).
   */
  fromTime?: number | Date;
  /** Time of the append, inclusive, likewise. */
  toTime?: number | Date;
  /** Newest first. Default false. */
  reverse?: boolean;
  /** At most so many records. */
  limit?: number;
  /** Only records of this kind, or of one of these kinds. */
  kind?: number | readonly number[];
  /** Only records with exactly this key. */
  key?: Uint8Array | string;
  /**
   * At the end, wait for what is appended, by whatever thread or process, until `to` or `limit` is reached, `signal`
   * aborts, or the log is closed. Only in a `for await` loop. Default false.
   */
  live?: boolean;
  /** Aborts the reading: the loop throws `WAL_ABORTED`. */
  signal?: AbortSignal;
}

/** How to read in batches. */
export interface ReadBatchOptions extends ReadOptions {
  /** Bytes of records in a batch: 1,024 to 67,108,864, default 262,144. A larger record comes alone. */
  batchBytes?: number;
}

/** What to read, in the terms of the native side. */
export interface ReadRequest {
  readonly filter: NativeFilter;
  /** Whether `from` was asked for, or is only where logs begin. */
  readonly explicitFrom: boolean;
  readonly live: boolean;
  readonly signal: AbortSignal | undefined;
}

export const defaultChunkBytes = 256 * 1024;

const minBatchBytes = 1024;
const maxBatchBytes = 64 * 1024 * 1024;
const readOptionNames = [
  'from',
  'to',
  'fromTime',
  'toTime',
  'reverse',
  'limit',
  'kind',
  'key',
  'live',
  'signal',
] as const;

/** The request that {@link ReadOptions} spell out. */
export function resolveRead(options: ReadOptions, maxKeyBytes: number): ReadRequest {
  checkOptions(options, readOptionNames, 'read');
  return request(options, maxKeyBytes);
}

/** The same for `readBatches`, and the size of a batch. */
export function resolveReadBatches(
  options: ReadBatchOptions,
  maxKeyBytes: number,
): { request: ReadRequest; batchBytes: number } {
  checkOptions(options, [...readOptionNames, 'batchBytes'], 'readBatches');
  const { batchBytes = defaultChunkBytes } = options;
  checkInteger('batchBytes', batchBytes, minBatchBytes, maxBatchBytes);
  return { request: request(options, maxKeyBytes), batchBytes };
}

/** Everything in one segment. */
export function wholeSegment(id: number): ReadRequest {
  return requestOf({ segment: id });
}

/** One record. */
export function oneRecord(sequence: number): ReadRequest {
  return requestOf({ from: sequence, to: sequence });
}

function requestOf(asked: Partial<NativeFilter>): ReadRequest {
  const filter: NativeFilter = {
    from: 1,
    to: Infinity,
    fromTimeUs: 0,
    toTimeUs: Infinity,
    reverse: false,
    limit: Infinity,
    kinds: null,
    key: null,
    segment: 0,
    ...asked,
  };
  return { filter, explicitFrom: false, live: false, signal: undefined };
}

function request(options: ReadOptions, maxKeyBytes: number): ReadRequest {
  const { from = 1, to = Infinity, limit = Infinity } = options;
  checkSequence('from', from);
  if (to !== Infinity) checkSequence('to', to);
  if (limit !== Infinity) checkInteger('limit', limit, 0, Number.MAX_SAFE_INTEGER);
  const filter: NativeFilter = {
    from,
    to,
    fromTimeUs: microseconds('fromTime', options.fromTime, 0),
    toTimeUs: microseconds('toTime', options.toTime, Infinity),
    reverse: checkBoolean('reverse', options.reverse, false),
    limit,
    kinds: resolveKinds(options.kind),
    key: resolveKey(options.key, maxKeyBytes),
    segment: 0,
  };
  const live = checkBoolean('live', options.live, false);
  if (live && filter.reverse) throw new TypeError('a live read goes forwards: live and reverse exclude each other');
  checkSignal(options.signal);
  return { filter, explicitFrom: options.from !== undefined, live, signal: options.signal };
}

function microseconds(name: string, time: unknown, fallback: number): number {
  if (time === undefined) return fallback;
  const ms = types.isDate(time) ? time.getTime() : time;
  if (typeof ms !== 'number') throw new TypeError(`${name} must be a Date or a number of ms, not ${describe(time)}`);
  if (Number.isNaN(ms)) throw new RangeError(`${name} is not a time: ${types.isDate(time) ? 'Invalid Date' : 'NaN'}`);
  // To the nearest µs: a record's own timestamp, given back, must find that record.
  return Math.max(0, Math.round(ms * 1000));
}

function resolveKinds(kind: unknown): Uint8Array | null {
  if (kind === undefined) return null;
  const kinds: readonly unknown[] = Array.isArray(kind) ? kind : [kind];
  if (kinds.length === 0) throw new RangeError('kind is an empty array: name at least one kind, or leave it out');
  return Uint8Array.from(kinds, (each) => {
    checkKind(each);
    return each;
  });
}

function resolveKey(key: unknown, maxKeyBytes: number): Uint8Array | null {
  if (key === undefined) return null;
  checkData(key, 'key');
  checkKey(key, maxKeyBytes);
  return typeof key === 'string' ? Buffer.from(key) : Uint8Array.from(key); // a copy: iterating may start much later
}
