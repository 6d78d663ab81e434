import type { Codec } from './codec';
import { compressions, compressorFor } from './compression';
import type { BatchCompressor, Compression } from './compression';
import type { Native, NativeOpenOptions, NativeSyncPolicy } from './native';
import { resolveRetention } from './retention';
import type { RetentionOptions } from './retention';
import { checkBoolean, checkInteger, checkNumber, checkOptions, closest, describe } from './validation';

/**
 * When what was appended becomes durable, and what `write` waits for.
 *
 * | policy | `write` resolves | a sync starts |
 * |---|---|---|
 * | `immediate` | when the record is durable | at once; whoever writes while it runs shares the next |
 * | `batch` | when the record is durable | after `maxRecords`, `maxBytes` or `maxDelay`, whichever is first; the default |
 * | `async` | when the record survives the death of the process | every `maxDelay` in the background |
 *
 * Whatever the policy, `append` means that the record survives the death of the process; nobody waits for it, and it
 * becomes durable within `maxDelay` (`immediate`: within a millisecond). `sync` and `whenDurable` are barriers that start
 * a sync at once.
 */
export type SyncPolicy = 'immediate' | 'batch' | 'async';

/** A {@link SyncPolicy} with its particulars. */
export interface SyncOptions {
  /** Default `'batch'`. */
  policy?: SyncPolicy;
  /** Milliseconds, 0.1 to 3,600,000; default 10. Not with `'immediate'`. */
  maxDelay?: number;
  /** Only with `'batch'`: sync when so many records wait for it; default 1,024. */
  maxRecords?: number;
  /** Only with `'batch'`: sync when so many bytes wait for it; default 1 MiB. */
  maxBytes?: number;
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
   * How many bytes may be appended and not yet durable: 64 KiB or more, or `Infinity`; default 256 MiB, or two segments
   * if that is more. Beyond it `write` waits, and `append` throws `WAL_BACKPRESSURE`. A single record larger than that is
   * taken when nothing else waits for the disk.
   */
  maxDirtyBytes?: number;
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
  /**
   * Compresses batches: of `appendBatch`, `writeBatch` and transactions; single records are stored as they are. Default
   * `'none'`. `'gzip'` is always there, `'zstd'` from Node.js 22.15 on, `'lz4'` needs the package `lz4-napi`; what is missing
   * is `WAL_CODEC_MISSING`. Batches that are small or do not get smaller are stored as they are. It is a property of each
   * batch, not of the log: it may be another one at each open, and whatever was written with any of them can be read.
   * The limit for the size of a batch is the one before compression. Compressing and decompressing take their time on the
   * JavaScript thread.
   */
  compression?: Compression;
  /**
   * What is kept though no checkpoint needs it. Given, the log cleans up by itself, about once a second, on a native
   * thread: see {@link WalManager.cleanup}. Default: nothing is deleted unasked.
   */
  retention?: RetentionOptions;
  /**
   * How many files of segments that were removed from the front of the log are kept, until they become the next segments:
   * 0 to 1,024, default 2. Appending at the speed of the disk is faster so, for nothing has to be allocated; as many as
   * are removed at once is best. A file that somebody reads still is deleted instead; so are all of them by `close`, and
   * with 0. On Linux only: elsewhere nothing is kept.
   */
  recycleSegments?: number;
  /** Makes this a typed log. */
  codec?: Codec<T>;
  /** See {@link SwitchableWalOptions}. */
  enabled?: true;
}

/** Options by which a log can be switched off. */
export interface SwitchableWalOptions<T = Buffer> extends Omit<WalOptions<T>, 'enabled'> {
  /** With false the directory is left alone, nothing is stored, and `open` gives a {@link NullWal}. Default true. */
  enabled?: boolean;
}

/** Options that are checked and complete. */
export interface ResolvedOptions<T> {
  readonly policy: SyncPolicy;
  readonly native: NativeOpenOptions;
  readonly compressor: BatchCompressor | undefined;
  readonly codec: Codec<T> | undefined;
}

const walOptionNames = [
  'segmentSize',
  'sync',
  'maxDirtyBytes',
  'readOnly',
  'create',
  'recovery',
  'retention',
  'recycleSegments',
  'compression',
  'codec',
  'enabled',
] as const;
const syncOptionNames = ['policy', 'maxDelay', 'maxRecords', 'maxBytes'] as const;
const syncPolicies = ['immediate', 'batch', 'async'] as const;

const minSyncDelayMs = 0.1;
const maxSyncDelayMs = 3_600_000;
const immediateSyncDelayUs = 1000;
const defaultSyncDelayMs = 10;
const defaultSyncRecords = 1024;
const defaultSyncBytes = 1024 * 1024;
const minDirtyBytes = 64 * 1024;
const maxRecycledSegments = 1024;

/** That the options are options at all: what can be said without the native core. */
export function checkWalOptions<T>(options: SwitchableWalOptions<T>): void {
  checkOptions(options, walOptionNames, 'WalManager.open');
  checkBoolean('enabled', options.enabled, true);
  resolveCodec(options.codec);
}

export function resolveOptions<T>(options: WalOptions<T>, constants: Native['constants']): ResolvedOptions<T> {
  checkOptions(options, walOptionNames, 'WalManager.open');
  const readOnly = checkBoolean('readOnly', options.readOnly, false);
  const { policy, native: sync } = resolveSync(options.sync);
  const { recovery = 'strict', compression = 'none' } = options;
  checkChoice('compression', compression, compressions);
  checkChoice('recovery', recovery, ['strict', 'salvage']);
  if (readOnly && recovery === 'salvage') {
    throw new TypeError("recovery: 'salvage' writes to the log; it cannot go with readOnly");
  }
  if (readOnly && options.retention !== undefined) {
    throw new TypeError('retention deletes segments; it cannot go with readOnly');
  }
  if (readOnly && options.recycleSegments !== undefined) {
    throw new TypeError('recycleSegments is for a log that is written; it cannot go with readOnly');
  }
  return {
    policy,
    native: {
      segmentSize: resolveSegmentSize(options.segmentSize, constants),
      create: checkBoolean('create', options.create, true) && !readOnly,
      readOnly,
      salvage: recovery === 'salvage',
      sync,
      maxDirtyBytes: resolveDirtyBytes(options.maxDirtyBytes),
      retention: resolveRetention(options.retention),
      recycleSegments: resolveRecycled(options.recycleSegments),
    },
    compressor: compressorFor(compression),
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

function resolveDirtyBytes(bytes: unknown): number | null {
  if (bytes === undefined) return null;
  if (bytes !== Infinity) checkInteger('maxDirtyBytes', bytes, minDirtyBytes, Number.MAX_SAFE_INTEGER);
  return bytes;
}

function resolveRecycled(segments: unknown): number | null {
  if (segments === undefined) return null;
  checkInteger('recycleSegments', segments, 0, maxRecycledSegments);
  return segments;
}

/** What `write` does when it is not told otherwise, and when the log syncs; null when that was left out. */
function resolveSync(sync: unknown): { policy: SyncPolicy; native: NativeSyncPolicy | null } {
  if (sync === undefined) return { policy: 'batch', native: null };
  const options = typeof sync === 'string' ? { policy: sync } : sync;
  checkOptions(options, syncOptionNames, 'sync');
  const { policy = 'batch', maxDelay, maxRecords, maxBytes } = options as Record<keyof SyncOptions, unknown>;
  checkSyncPolicy(typeof sync === 'string' ? 'sync' : 'sync.policy', policy);
  if (policy === 'immediate' && maxDelay !== undefined) {
    throw new TypeError("sync.maxDelay has no meaning with the policy 'immediate'");
  }
  for (const [name, value] of Object.entries({ maxRecords, maxBytes })) {
    if (value === undefined) continue;
    if (policy !== 'batch') throw new TypeError(`sync.${name} has no meaning with the policy '${policy}'`);
    checkInteger(`sync.${name}`, value, 1, Number.MAX_SAFE_INTEGER);
  }
  if (maxDelay !== undefined) checkNumber('sync.maxDelay', maxDelay, minSyncDelayMs, maxSyncDelayMs);
  const batch = policy === 'batch';
  return {
    policy,
    native: {
      delayUs: policy === 'immediate' ? immediateSyncDelayUs : Math.round((maxDelay ?? defaultSyncDelayMs) * 1000),
      maxRecords: batch ? ((maxRecords as number | undefined) ?? defaultSyncRecords) : 0,
      maxBytes: batch ? ((maxBytes as number | undefined) ?? defaultSyncBytes) : 0,
    },
  };
}

/** One of the names of {@link SyncPolicy}. */
export function checkSyncPolicy(name: string, policy: unknown): asserts policy is SyncPolicy {
  checkChoice(name, policy, syncPolicies);
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
