import type { WalError } from './errors';
import type { NativeLog } from './native';

interface Waiter {
  readonly sequence: number;
  readonly value: unknown;
  readonly resolve: (value: unknown) => void;
  readonly reject: (error: WalError) => void;
}

/**
 * Half of all who wait are asked for before the turn of JavaScript ends, so that the disk works on them while the turn
 * appends the others. Fewer than `fewestToAsk` are not worth a sync of their own, and `enoughToAsk` make a long one.
 */
const fewestToAsk = 128;
const enoughToAsk = 1024;

// What the constructor of a promise hands out. A closure for each promise costs more than the rest of `wait`.
let resolveNew: Waiter['resolve'];
let rejectNew: Waiter['reject'];
const takeSettlers = (resolve: Waiter['resolve'], reject: Waiter['reject']): void => {
  resolveNew = resolve;
  rejectNew = reject;
};

/**
 * Who waits for durability: a queue in the order of sequence numbers. One call from the native side, after each sync,
 * settles everybody whose record that sync made durable, in order; nobody costs a call of its own. Nor does asking: the
 * native side hears at the end of the present turn of JavaScript, or for every so many, how far somebody waits.
 */
export class DurabilityQueue {
  /** Those before `head` are settled. */
  private waiters: (Waiter | undefined)[] = [];
  private head = 0;
  private failure: WalError | undefined;
  /** What the native side is still to be asked for; 0: nothing. */
  private unasked = 0;
  private asksSoon = false;
  private wantedAtOnce = 0;
  private wantedInTime = 0;

  constructor(private readonly native: NativeLog) {}

  /** Why nothing becomes durable any more, when that is so. */
  get failed(): WalError | undefined {
    return this.failure;
  }

  /**
   * Resolves with `value` when {@link settle} gets as far as `sequence`; rejects when the log fails first. Asks for a
   * sync, `atOnce` or in the time that the log's policy allows.
   */
  wait<V>(sequence: number, atOnce: boolean, value: V): Promise<V> {
    if (sequence === 0 && this.failure === undefined) return Promise.resolve(value); // an empty log
    const promise = new Promise<unknown>(takeSettlers);
    this.insert({ sequence, value, resolve: resolveNew, reject: rejectNew });
    if (atOnce) this.wantedAtOnce = Math.max(this.wantedAtOnce, sequence);
    else this.wantedInTime = Math.max(this.wantedInTime, sequence);
    this.unasked++;
    if (!this.asksSoon) {
      this.asksSoon = true;
      queueMicrotask(this.askAtLast);
    }
    if (this.unasked >= fewestToAsk && this.isEnough()) this.ask();
    if (this.failure !== undefined) this.fail(this.failure);
    return promise as Promise<V>;
  }

  /** Everything up to `durable` is durable. */
  settle(durable: number): void {
    const { waiters } = this;
    let { head } = this;
    for (let next = waiters[head]; next !== undefined && next.sequence <= durable; next = waiters[++head]) {
      waiters[head] = undefined;
      next.resolve(next.value);
    }
    this.head = head;
    if (head === waiters.length) {
      this.waiters = [];
      this.head = 0;
    } else if (head > 1024 && head > waiters.length / 2) {
      this.waiters = waiters.slice(head);
      this.head = 0;
    }
  }

  /** Records behind `last`, up to `dropped`, had been durable when the log was truncated: nobody waits for them any more. */
  settleDropped(last: number, dropped: number): void {
    const waiting = this.waiters.slice(this.head) as Waiter[];
    this.waiters = [];
    this.head = 0;
    for (const waiter of waiting) {
      if (waiter.sequence > last && waiter.sequence <= dropped) waiter.resolve(waiter.value);
      else this.waiters.push(waiter);
    }
  }

  /** Nothing more will become durable. Everybody who waits, now or later, gets `error`. */
  fail(error: WalError): void {
    this.failure ??= error;
    const { waiters } = this;
    this.waiters = [];
    this.head = 0;
    for (const waiter of waiters) waiter?.reject(error);
  }

  private readonly askAtLast = (): void => {
    this.asksSoon = false;
    this.ask();
  };

  private isEnough(): boolean {
    const { unasked } = this;
    return unasked >= enoughToAsk || 2 * unasked >= this.waiters.length - this.head;
  }

  private ask(): void {
    const { native, wantedAtOnce, wantedInTime } = this;
    this.unasked = this.wantedAtOnce = this.wantedInTime = 0;
    if (wantedInTime > wantedAtOnce) native.expectDurable(wantedInTime);
    if (wantedAtOnce > 0) native.requestDurable(wantedAtOnce);
  }

  private insert(waiter: Waiter): void {
    // Nearly always the newest record is the one that is waited for: search from the back.
    const { waiters, head } = this;
    let place = waiters.length;
    while (place > head && (waiters[place - 1] as Waiter).sequence > waiter.sequence) place--;
    if (place === waiters.length) waiters.push(waiter);
    else waiters.splice(place, 0, waiter);
  }
}
