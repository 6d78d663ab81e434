import { settle, WalError } from './errors';
import type { NativeLog } from './native';
import { toVerifyReport } from './reports';
import type { Progress, VerifyReport } from './reports';
import { checkInteger, checkOptions, describe } from './validation';

/** How to verify a log. */
export interface VerifyOptions {
  /** How many segments are read side by side, each on a native thread; 1 to 256, by default one for each core. */
  concurrency?: number;
  /** Gives up with `WAL_ABORTED`. */
  signal?: AbortSignal;
  /** Called a few times a second, and at the end. What it throws ends the verification. */
  onProgress?: (progress: Progress) => void;
}

const maxConcurrency = 256;
const progressIntervalMs = 100;

export async function runVerification(native: NativeLog, options: VerifyOptions): Promise<VerifyReport> {
  const { concurrency = 0, signal, onProgress } = checkVerifyOptions(options);
  if (signal?.reason !== undefined) throw aborted(signal);
  const { done, progress, cancel } = native.verify(concurrency);
  let failure: { readonly error: unknown } | undefined;
  const tell = (): void => {
    try {
      onProgress?.(progress());
    } catch (error) {
      failure ??= { error };
      cancel();
    }
  };
  const timer = onProgress === undefined ? undefined : setInterval(tell, progressIntervalMs);
  signal?.addEventListener('abort', cancel, { once: true });
  try {
    const report = toVerifyReport(await settle(done));
    if (signal?.aborted === true) throw aborted(signal);
    tell();
    return report;
  } catch (error) {
    throw signal?.reason === undefined ? error : aborted(signal);
  } finally {
    clearInterval(timer);
    signal?.removeEventListener('abort', cancel);
    // eslint-disable-next-line no-unsafe-finally -- what the caller's own function threw goes before what came of it
    if (failure !== undefined) throw failure.error;
  }
}

export function checkVerifyOptions(options: VerifyOptions): VerifyOptions {
  checkOptions(options, ['concurrency', 'signal', 'onProgress'], 'verify');
  const { concurrency, signal, onProgress } = options;
  if (concurrency !== undefined) checkInteger('concurrency', concurrency, 1, maxConcurrency);
  if (signal !== undefined && !(signal instanceof AbortSignal)) {
    throw new TypeError(`signal must be an AbortSignal, not ${describe(signal)}`);
  }
  if (onProgress !== undefined && typeof onProgress !== 'function') {
    throw new TypeError(`onProgress must be a function, not ${describe(onProgress)}`);
  }
  return options;
}

function aborted(signal: AbortSignal): WalError {
  return new WalError('WAL_ABORTED', 'the verification was aborted', { cause: signal.reason });
}
