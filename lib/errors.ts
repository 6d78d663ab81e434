import { getSystemErrorName } from 'node:util';

import type { NativeFailure } from './native';

/**
 * What a log can refuse. Misuse of the interface (a wrong type, a value out of range) is a `TypeError` or a
 * `RangeError` instead.
 *
 * | code | meaning |
 * |---|---|
 * | `WAL_LOCKED` | another process has the log open for writing; the message names its pid |
 * | `WAL_NOT_FOUND` | there is no log in the directory and `create` is false, or the log is opened read-only |
 * | `WAL_CORRUPT` | a record that was durable is damaged or missing; `segment`, `offset` and the sequence range tell which |
 * | `WAL_UNSUPPORTED_VERSION` | a newer segwal wrote the log |
 * | `WAL_SEGMENT_SIZE_MISMATCH` | the log was made with another `segmentSize` |
 * | `WAL_OPTIONS_MISMATCH` | this process has the log open with other options; the message names them |
 * | `WAL_RECORD_TOO_LARGE` | the record or batch does not fit into one segment; the message names the limit |
 * | `WAL_DISK_FULL` | no room for the next segment; nothing is lost, and appending goes on when there is room again |
 * | `WAL_BACKPRESSURE` | the disk does not keep up: `maxDirtyBytes` are not durable yet, or it did not supply the next segment within two seconds. Nothing was appended; try again later, or use `write`, which waits |
 * | `WAL_POISONED` | a sync failed; `cause` says why. Only a new `open` goes on |
 * | `WAL_CLOSED` | the log was closed |
 * | `WAL_READ_ONLY` | the log was opened with `readOnly` |
 * | `WAL_TRUNCATED` | what was asked for lies before the first record that is kept, or behind where the log was truncated meanwhile |
 * | `WAL_INSIDE_BATCH` | the log cannot end in the middle of a batch; `firstSequence` and `lastSequence` are its range |
 * | `WAL_CODEC_MISSING` | a batch is, or is to be, compressed with a codec that is not there; the message says how to get it |
 * | `WAL_REPLAY` | the handler of a replay failed; `cause` is what it threw. See {@link ReplayError} |
 * | `WAL_TRANSACTION_TOO_LARGE` | a replay with `committedOnly` would have to hold back more than `maxTransactionBytes` |
 * | `WAL_ABORTED` | the operation was given up before it was done |
 * | `WAL_IO` | the operating system refused; `cause` says what |
 * | `WAL_NATIVE_LOAD` | the native core could not be loaded; the message says how to mend that |
 */
export type WalErrorCode =
  | 'WAL_LOCKED'
  | 'WAL_NOT_FOUND'
  | 'WAL_CORRUPT'
  | 'WAL_UNSUPPORTED_VERSION'
  | 'WAL_SEGMENT_SIZE_MISMATCH'
  | 'WAL_OPTIONS_MISMATCH'
  | 'WAL_RECORD_TOO_LARGE'
  | 'WAL_DISK_FULL'
  | 'WAL_BACKPRESSURE'
  | 'WAL_POISONED'
  | 'WAL_CLOSED'
  | 'WAL_READ_ONLY'
  | 'WAL_TRUNCATED'
  | 'WAL_CODEC_MISSING'
  | 'WAL_REPLAY'
  | 'WAL_TRANSACTION_TOO_LARGE'
  | 'WAL_ABORTED'
  | 'WAL_INSIDE_BATCH'
  | 'WAL_IO'
  | 'WAL_NATIVE_LOAD';

/** Where in the log a {@link WalError} lies, and what caused it. */
export interface WalErrorDetails {
  cause?: unknown;
  segment?: number;
  offset?: number;
  firstSequence?: number;
  lastSequence?: number;
}

/** A log said no. Tell the cases apart by {@link WalError.code}, never by the message. */
export class WalError extends Error {
  static {
    // On the prototype, as in the language's own errors, so that it is not printed as a property of each error.
    Object.defineProperty(this.prototype, 'name', { value: 'WalError', configurable: true, writable: true });
  }

  /** Which of the documented refusals this is. */
  readonly code: WalErrorCode;
  /** Number of the segment concerned, when one is. */
  declare readonly segment?: number;
  /** Byte offset in that segment, when one is concerned. */
  declare readonly offset?: number;
  /** First sequence number concerned, when records are. */
  declare readonly firstSequence?: number;
  /** Last sequence number concerned, when records are. */
  declare readonly lastSequence?: number;

  constructor(code: WalErrorCode, message: string, details: WalErrorDetails = {}) {
    const { cause, ...location } = details;
    super(message, cause === undefined ? undefined : { cause });
    this.code = code;
    Object.assign(this, location);
  }
}

/** What a function that promises something returns when it refuses at once. */
export function rejection(error: unknown): Promise<never> {
  return Promise.reject(error instanceof Error ? error : new Error(String(error)));
}

/**
 * A replay has ended early, for whatever reason. By then no handler is under way.
 *
 * ```ts
 * catch (error) {
 *   if (error instanceof ReplayError) await wal.replay(error.resumeFrom, handler);
 * }
 * ```
 */
export class ReplayError extends WalError {
  static {
    Object.defineProperty(this.prototype, 'name', { value: 'ReplayError', configurable: true, writable: true });
  }

  /** The record whose handler failed, or that could not be read, when it was one. */
  readonly sequence: number | undefined;
  /**
   * Everything before this sequence number is done. Of the records from it on, some may be done already, when handlers
   * ran side by side or transactions overlapped: handlers get those again.
   */
  readonly resumeFrom: number;

  constructor(code: WalErrorCode, message: string, details: WalErrorDetails, resumeFrom: number) {
    super(code, message, details);
    this.sequence = details.firstSequence;
    this.resumeFrom = resumeFrom;
  }

  /** @internal */
  static of(error: WalError, resumeFrom: number): ReplayError {
    const { code, message, cause, segment, offset, firstSequence, lastSequence } = error;
    const details: WalErrorDetails = {};
    if (cause !== undefined) details.cause = cause;
    if (segment !== undefined) Object.assign(details, { segment, offset });
    if (firstSequence !== undefined) Object.assign(details, { firstSequence, lastSequence });
    return new ReplayError(code, message, details, resumeFrom);
  }
}

/** Makes the error that a user sees of what the native side reported. */
export function fromNative(failure: NativeFailure): WalError {
  const details: WalErrorDetails = {};
  if (failure.errno !== 0) details.cause = systemError(failure.errno);
  if (failure.segment !== 0) {
    details.segment = failure.segment;
    details.offset = failure.offset;
  }
  if (failure.firstSequence !== 0) {
    details.firstSequence = failure.firstSequence;
    details.lastSequence = failure.lastSequence;
  }
  return new WalError(failure.code as WalErrorCode, failure.message, details);
}

/** Waits for a native operation; its failure comes out as a {@link WalError}. */
export async function settle<R>(operation: Promise<R>): Promise<R> {
  try {
    return await operation;
  } catch (reason) {
    throw isNativeFailure(reason) ? fromNative(reason) : reason;
  }
}

function isNativeFailure(reason: unknown): reason is NativeFailure {
  return typeof reason === 'object' && reason !== null && 'code' in reason && 'firstSequence' in reason;
}

function systemError(errno: number): Error {
  const name = systemErrorName(errno);
  return Object.assign(new Error(`${name} (errno ${errno})`), { code: name, errno });
}

function systemErrorName(errno: number): string {
  // libuv's numbers are the negated ones of POSIX.
  return process.platform === 'win32' ? (windowsErrors.get(errno) ?? 'UNKNOWN') : getSystemErrorName(-errno);
}

/** The errors of Windows that files meet, by the names that Node.js has for them. */
const windowsErrors = new Map(
  Object.entries({
    EACCES: [998],
    EBUSY: [32, 33, 1224],
    EDQUOT: [1295],
    EEXIST: [80, 183],
    EFBIG: [223],
    EINVAL: [87, 123],
    EIO: [23, 29, 30, 31, 1117],
    EMFILE: [4],
    ENAMETOOLONG: [206],
    ENOENT: [2, 3, 53],
    ENOMEM: [8, 14, 1455],
    ENOSPC: [39, 112, 314],
    ENOTDIR: [267],
    ENOTSUP: [50],
    EPERM: [5],
    EROFS: [19],
  }).flatMap(([name, numbers]) => numbers.map((number): [number, string] => [number, name])),
);
