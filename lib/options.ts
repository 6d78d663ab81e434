import type { Codec } from './codec';
import type { Native, NativeOpenOptions } from './native';
import { checkBoolean, checkInteger, checkNumber, checkOptions, closest, describe } from './validation';

/**
 * When the log makes durable what nobody waits for.
 *
 * | policy | a sync starts |
 * |---|---|
 * | `immediate` | within a millisecond |
 * | `batch` | `maxDelay` after the first record that is not durable yet; the default |
 * | `async` | every `maxDelay` in the background |
 *
 * Whatever the policy, `append` means that the record survives the death of the process, and `sync` and `whenDurable`
 * are barriers that start a sync at once.
 */
export type SyncPolicy = 'immediate' | 'batch' | 'async';

/** A {@link SyncPolicy} with its particulars. */
export interface SyncOptions {
  /** Default `'batch'`. */
  policy?: SyncPolicy;
  /** Milliseconds, 0.1 to 3,600,000; default 10. Not with `'immediate'`. */
  maxDelay?: number;
}

/** How to open a log. */
export interface WalOptions<T = Buffer> {
  /**
   * Bytes of a segment: a multiple of 64 KiB, at most 1 GiB; 64 MiB for a new log when left out. Fixed for the life of
   * a log: opening with another value than its own is `WAL_SEGMENT_SIZE_MISMATCH`. The largest record is a little
   * smaller than a segment.
   */
  segmentSize?: number;
  /** When what nobody waits for becomes durable. Default `'batch'`. */
  sync?: SyncPolicy | SyncOptions;
  /**
   * Open for reading only. Any number of processes can, beside the one that writes; each new `read()` sees what has been
   * appended by then. Never creates a log. Default false.
   */
  readOnly?: boolean;
  /** Make the log when there is none. With false that is `WAL_NOT_FOUND`. Default true. */
  create?: boolean;
  /**
   * What to do with damage. `'strict'`, the default, refuses to open a log that has lost a durable record. `'salvage'`
   * reads the whole log, gives up what cannot be read and keeps the rest: the sequence numbers of what was lost are never
   * used again, reading steps over them, and every byte that is taken out is kept in `quarantine/` with a note why.
   * `recovery.findings` names each range. {@link WalManager.planSalvage} tells beforehand what it would do.
   */
  recovery?: 'strict' | 'salvage';
  /** Makes this a typed log. */
  codec?: Codec<T>;
}

/** Options that are checked and complete. */
export interface ResolvedOptions<T> {
  readonly native: NativeOpenOptions;
  readonly codec: Codec<T> | undefined;
}

const walOptionNames = ['segmentSize', 'sync', 'readOnly', 'create', 'recovery', 'codec'] as const;
const syncOptionNames = ['policy', 'maxDelay'] as const;
const syncPolicies = ['immediate', 'batch', 'async'] as const;

const minSyncDelayMs = 0.1;
const maxSyncDelayMs = 3_600_000;
const immediateSyncDelayUs = 1000;

export function resolveOptions<T>(options: WalOptions<T>, constants: Native['constants']): ResolvedOptions<T> {
  checkOptions(options, walOptionNames, 'WalManager.open');
  const readOnly = checkBoolean('readOnly', options.readOnly, false);
  const { recovery = 'strict' } = options;
  checkChoice('recovery', recovery, ['strict', 'salvage']);
  if (readOnly && recovery === 'salvage') {
    throw new TypeError("recovery: 'salvage' writes to the log; it cannot go with readOnly");
  }
  return {
    native: {
      segmentSize: resolveSegmentSize(options.segmentSize, constants),
      create: checkBoolean('create', options.create, true) && !readOnly,
      readOnly,
      salvage: recovery === 'salvage',
      syncDelayUs: resolveSyncDelay(options.sync, constants.defaultSyncDelayUs),
    },
    codec: resolveCodec(options.codec),
  };
}

/** A directory, as the native side takes it. */
export function checkDirectory(directory: unknown): asserts directory is string {
  if (typeof directory !== 'string') throw new TypeError(`directory must be a string, not ${describe(directory)}`);
  if (directory === '') throw new TypeError('directory must not be the empty string');
  if (directory.includes('\0')) throw new TypeError('directory must not have a null character in it');
}

function resolveSegmentSize(size: unknown, constants: Native['constants']): number {
  if (size === undefined) return 0;
  const { minSegmentSize, maxSegmentSize, segmentSizeStep } = constants;
  checkInteger('segmentSize', size, minSegmentSize, maxSegmentSize);
  if (size % segmentSizeStep !== 0) {
    throw new RangeError(`segmentSize must be a multiple of ${segmentSizeStep}, not ${size}`);
  }
  return size;
}

function resolveSyncDelay(sync: unknown, defaultUs: number): number {
  const options = typeof sync === 'string' || sync === undefined ? { policy: sync } : sync;
  checkOptions(options, syncOptionNames, 'sync');
  const { policy = 'batch', maxDelay } = options as { policy?: unknown; maxDelay?: unknown };
  checkChoice(typeof sync === 'string' ? 'sync' : 'sync.policy', policy, syncPolicies);
  if (maxDelay === undefined) return policy === 'immediate' ? immediateSyncDelayUs : defaultUs;
  if (policy === 'immediate') throw new TypeError("sync.maxDelay has no meaning with the policy 'immediate'");
  checkNumber('sync.maxDelay', maxDelay, minSyncDelayMs, maxSyncDelayMs);
  return Math.round(maxDelay * 1000);
}

function resolveCodec<T>(codec: Codec<T> | undefined): Codec<T> | undefined {
  if (codec === undefined) return undefined;
  const { encode, decode } = (codec ?? {}) as Partial<Codec<T>>;
  if (typeof encode !== 'function' || typeof decode !== 'function') {
    throw new TypeError(`codec must be an object with the functions encode and decode, not ${describe(codec)}`);
  }
  return codec;
}

function checkChoice(name: string, value: unknown, choices: readonly string[]): void {
  if (typeof value !== 'string') throw new TypeError(`${name} must be a string, not ${describe(value)}`);
  if (choices.includes(value)) return;
  const listed = choices.map((choice) => `'${choice}'`).join(', ');
  const hint = choices.length > 1 ? `; did you mean '${closest(value, choices)}'?` : '';
  throw new RangeError(`${name} must be ${choices.length > 1 ? 'one of ' : ''}${listed}, not '${value}'${hint}`);
}
