import type { WalError } from './errors';

interface Waiter {
  readonly sequence: number;
  readonly resolve: () => void;
  readonly reject: (error: WalError) => void;
}

/**
 * Who waits for durability: a queue in the order of sequence numbers. One call from the native side, after each sync,
 * settles everybody whose record that sync made durable, in order; nobody costs a call of its own.
 */
export class DurabilityQueue {
  private waiters: Waiter[] = [];
  private failure: WalError | undefined;

  /**
   * Resolves when {@link settle} gets as far as `sequence`; rejects when the log fails first. `durable` is how far it is
   * already: also who asks for what is durable has to stand in the queue, or it would hear before those ahead of it.
   */
  wait(sequence: number, durable: number): Promise<void> {
    return new Promise((resolve, reject) => {
      this.insert({ sequence, resolve, reject });
      if (sequence <= durable) this.settle(durable);
      else if (this.failure !== undefined) this.fail(this.failure);
    });
  }

  /** Everything up to `durable` is durable. */
  settle(durable: number): void {
    const { waiters } = this;
    let settled = 0;
    for (let next = waiters[0]; next !== undefined && next.sequence <= durable; next = waiters[++settled]) {
      next.resolve();
    }
    if (settled > 0) this.waiters = waiters.slice(settled);
  }

  /** Nothing more will become durable. Everybody who waits, now or later, gets `error`. */
  fail(error: WalError): void {
    this.failure ??= error;
    const { waiters } = this;
    this.waiters = [];
    for (const waiter of waiters) waiter.reject(error);
  }

  private insert(waiter: Waiter): void {
    // Nearly always the newest record is the one that is waited for: search from the back.
    let place = this.waiters.length;
    while (place > 0 && (this.waiters[place - 1] as Waiter).sequence > waiter.sequence) place--;
    if (place === this.waiters.length) this.waiters.push(waiter);
    else this.waiters.splice(place, 0, waiter);
  }
}
