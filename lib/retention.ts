import { fromNative } from './errors';
import type { NativeLog, NativeRetention } from './native';
import { checkInteger, checkNumber, checkOptions } from './validation';

/** What of a log is kept though no checkpoint needs it. Whole segments go. */
export interface RetentionOptions {
  /** ms: what was appended within that time is kept. */
  maxAge?: number;
  /** Bytes on the disk: older segments go when all together take more. At least two segments are of use. */
  maxBytes?: number;
}

/** What a cleanup did. */
export interface CleanupResult {
  /** Segments that do not belong to the log any more. */
  readonly segmentsRemoved: number;
  /** Bytes of files that were deleted, those of earlier tries included; not of files that are kept for recycling. */
  readonly bytesFreed: number;
}

/** Keeps a record and what follows from being cleaned up, until it is released or the log is closed. */
export class WalHold implements Disposable {
  private constructor(
    /** The first record that is held. */
    readonly sequence: number,
    private readonly letGo: () => void,
  ) {}

  /** @internal */
  static take(native: NativeLog, sequence: number): WalHold {
    const id = native.hold(sequence);
    if (id < 0) throw fromNative(native.lastError());
    return new WalHold(sequence, () => {
      native.releaseHold(id);
    });
  }

  /** @internal Of a log that has nothing to clean up. */
  static ofNothing(sequence: number): WalHold {
    return new WalHold(sequence, () => undefined);
  }

  /** Idempotent. */
  release(): void {
    this.letGo();
  }

  /** {@link WalHold.release}, for `using`. */
  [Symbol.dispose](): void {
    this.release();
  }
}

export function resolveRetention(retention: unknown): NativeRetention | null {
  if (retention === undefined) return null;
  checkOptions(retention, ['maxAge', 'maxBytes'], 'retention');
  const { maxAge, maxBytes } = retention as Record<keyof RetentionOptions, unknown>;
  if (maxAge === undefined && maxBytes === undefined) {
    throw new TypeError('retention must say maxAge, maxBytes or both');
  }
  if (maxAge !== undefined) checkNumber('retention.maxAge', maxAge, 0, Number.MAX_SAFE_INTEGER / 1000);
  if (maxBytes !== undefined) checkInteger('retention.maxBytes', maxBytes, 0, Number.MAX_SAFE_INTEGER);
  return {
    maxAgeUs: maxAge === undefined ? Infinity : Math.round(maxAge * 1000),
    maxBytes: maxBytes ?? Infinity,
  };
}
