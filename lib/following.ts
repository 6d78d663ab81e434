import { WalError } from './errors';
import type { NativeLog } from './native';

interface Follower {
  readonly sequence: number;
  readonly wake: (more: boolean) => void;
}

/** What `NativeLog.follow` returns; anything else: the log takes no more records. */
const outcomes = { ready: 0, waiting: 1 };

/** Live readers of one log that have read everything, and wait for the next append. */
export class Followers {
  private readonly waiting = new Set<Follower>();
  private closed = false;

  constructor(
    private readonly native: NativeLog,
    private readonly whyEnded: () => WalError | undefined,
  ) {}

  /**
   * Resolves with true when there is, or may be, a record behind `sequence`, and with false when the log is closed
   * before, or `cancel` is called. Rejects when the log can take no more records.
   */
  wait(sequence: number): { more: Promise<boolean>; cancel: () => void } {
    const follower = { sequence, wake: (_more: boolean): void => undefined };
    const more = new Promise<boolean>((resolve, reject) => {
      follower.wake = resolve;
      if (this.closed) return resolve(false);
      const outcome = this.native.follow(Math.min(sequence, ...[...this.waiting].map((each) => each.sequence)));
      if (outcome === outcomes.waiting) this.waiting.add(follower);
      else if (outcome === outcomes.ready) this.becameReady(resolve);
      else reject(this.whyEnded() ?? new WalError('WAL_CLOSED', 'the log is closed'));
    });
    const cancel = (): void => {
      follower.wake(false);
      if (this.waiting.delete(follower) && this.waiting.size === 0) this.native.stopFollowing();
    };
    return { more, cancel };
  }

  /** Something was appended. */
  wake(): void {
    const woken = [...this.waiting];
    this.waiting.clear();
    for (const follower of woken) follower.wake(true);
  }

  /** The log is closed: nobody will hear of anything any more. */
  close(): void {
    this.closed = true;
    for (const follower of this.waiting) follower.wake(false);
    this.waiting.clear();
  }

  /** A record behind the least of what is waited for is there: all look for themselves. */
  private becameReady(resolve: (more: boolean) => void): void {
    this.wake();
    resolve(true);
  }
}
