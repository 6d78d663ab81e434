import { WalError } from './errors';

/** How long a write that found no room waits before it looks again, unless it hears of a sync before, ms. */
const retryMs = 2;

interface WaitingWrite {
  /** Tries to append; throws `WAL_BACKPRESSURE` when there still is no room. */
  readonly attempt: () => void;
  readonly reject: (error: unknown) => void;
  readonly since: number;
}

/** What a {@link WriteQueue} needs of the log. */
export interface WriteTarget {
  /** Asks for a sync of everything appended so far. */
  requestSync(): void;
}

/**
 * Writes that wait for room: so much is not durable yet that `maxDirtyBytes` allows no more, or the disk has not supplied
 * the next segment. They go in in the order in which they came, and whoever comes meanwhile stands behind them.
 */
export class WriteQueue {
  waits = 0;
  waitedMs = 0;
  private readonly waiting: WaitingWrite[] = [];
  private readonly idle: (() => void)[] = [];
  private timer: NodeJS.Timeout | undefined;

  constructor(private readonly target: WriteTarget) {}

  get isEmpty(): boolean {
    return this.waiting.length === 0;
  }

  /**
   * Appends by `append` now, or when there is room: `append` throws `WAL_BACKPRESSURE` where there is none. `keep` is called when it has to wait: the caller may use its memory
   * again as soon as this has returned, so what is to be written must be copied then.
   */
  add(append: () => number, keep: () => void): number | Promise<number> {
    if (this.isEmpty) {
      const sequence = this.tryNow(append);
      if (sequence !== undefined) return sequence;
    }
    keep();
    this.waits++;
    return new Promise((resolve, reject) => {
      this.waiting.push({
        attempt: () => {
          resolve(append());
        },
        reject,
        since: performance.now(),
      });
      if (this.waiting.length === 1) this.comeBack();
    });
  }

  /** There may be room again. */
  retry(): void {
    if (this.isEmpty) return;
    clearTimeout(this.timer);
    for (let next = this.waiting[0]; next !== undefined; next = this.waiting[0]) {
      try {
        next.attempt();
      } catch (error) {
        if (isBackpressure(error)) break;
        next.reject(error);
      }
      this.waitedMs += performance.now() - next.since;
      this.waiting.shift();
    }
    if (!this.isEmpty) return this.comeBack();
    for (const resolve of this.idle.splice(0)) resolve();
  }

  /** Resolves when nothing waits. */
  drained(): Promise<void> {
    if (this.isEmpty) return Promise.resolve();
    return new Promise((resolve) => this.idle.push(resolve));
  }

  private tryNow(append: () => number): number | undefined {
    try {
      return append();
    } catch (error) {
      if (isBackpressure(error)) return undefined;
      throw error;
    }
  }

  private comeBack(): void {
    this.target.requestSync();
    this.timer = setTimeout(() => {
      this.retry();
    }, retryMs);
  }
}

/** There was no room. */
export function isBackpressure(error: unknown): boolean {
  return error instanceof WalError && error.code === 'WAL_BACKPRESSURE';
}
