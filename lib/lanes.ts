import type { WalRecord } from './records';

/** What is read ahead of the oldest record that is not done: so many records, or so many bytes of them. */
const windowRecords = 4096;
const windowBytes = 16 * 1024 * 1024;

export type Handler<T> = (record: WalRecord<T>) => unknown;

/** A record that was handed over. */
interface Entry<T> {
  readonly record: WalRecord<T>;
  readonly bytes: number;
  /** Where to begin again, to get it again. */
  readonly restart: number;
  done: boolean;
}

/** The records of one key that wait while one of them is handled. */
interface Lane<T> {
  readonly name: string | null;
  readonly waiting: Entry<T>[];
}

export interface HandlerFailure {
  readonly sequence: number;
  readonly error: unknown;
}

/**
 * Hands records to a handler: those of a key one after the other, those of different keys up to `concurrency` at a time;
 * records without a key are in order among themselves. How many may wait is bounded, counted from the oldest that is not
 * done: one slow handler ends by holding up all.
 */
export class Lanes<T> {
  /** How many are done. */
  records = 0;
  /** The highest sequence number that is done; 0: none. */
  lastSequence = 0;
  /** Of several the one with the lowest sequence number. */
  failure: HandlerFailure | undefined;

  /** Those before `head` are done. */
  private entries: Entry<T>[] = [];
  private head = 0;
  private entriesBytes = 0;
  private readonly lanes = new Map<string | null, Lane<T>>();
  private ready: Lane<T>[] = [];
  private running = 0;
  private stopped = false;
  private waiter: { readonly until: () => boolean; readonly resolve: () => void } | undefined;

  constructor(
    private readonly handler: Handler<T>,
    private readonly concurrency: number,
  ) {}

  /** Where to begin again for the oldest record that is not done; Infinity when all are. */
  get restart(): number {
    let restart = Infinity;
    for (let i = this.head; i < this.entries.length; i++) {
      const entry = this.entries[i] as Entry<T>;
      if (!entry.done) restart = Math.min(restart, entry.restart);
    }
    return restart;
  }

  /** Hands `record` over. What is returned has to be awaited before the next, when it is not undefined. */
  add(record: WalRecord<T>, bytes: number, restart: number): Promise<void> | undefined {
    const entry: Entry<T> = { record, bytes, restart, done: false };
    this.entries.push(entry);
    this.entriesBytes += bytes;
    const name = record.key === null ? null : record.key.toString('latin1');
    const lane = this.lanes.get(name);
    if (lane !== undefined) {
      lane.waiting.push(entry);
    } else {
      const fresh: Lane<T> = { name, waiting: [entry] };
      this.lanes.set(name, fresh);
      this.ready.push(fresh);
      this.start();
    }
    return this.hasRoom() || this.isOver ? undefined : this.waitUntil(() => this.hasRoom());
  }

  /** Nothing more is started. Resolves when nothing runs any more. */
  stop(): Promise<void> {
    this.stopped = true;
    return this.running === 0 ? Promise.resolve() : this.waitUntil(() => this.running === 0);
  }

  /** Resolves when everything is done, something has failed, or it was interrupted. */
  finish(): Promise<void> {
    const finished = (): boolean => this.head === this.entries.length;
    return finished() || this.isOver ? Promise.resolve() : this.waitUntil(finished);
  }

  /** Nothing more is started, and {@link add} and {@link finish} do not wait any more. */
  interrupt(): void {
    this.stopped = true;
    this.wake(true);
  }

  /** Nothing more will be started: whoever waited for what has not begun would wait for ever. */
  private get isOver(): boolean {
    return this.stopped || this.failure !== undefined;
  }

  private hasRoom(): boolean {
    return this.entries.length - this.head < windowRecords && this.entriesBytes < windowBytes;
  }

  private start(): void {
    while (this.running < this.concurrency && this.ready.length > 0 && !this.isOver) {
      this.run(this.ready.shift() as Lane<T>);
    }
  }

  /** Goes on with a lane, as long as its handlers are done when they return. */
  private run(lane: Lane<T>): void {
    for (let entry = lane.waiting.shift(); entry !== undefined; entry = lane.waiting.shift()) {
      const current = entry;
      try {
        const result = this.handler(current.record);
        if (isThenable(result)) {
          this.running++;
          result.then(
            () => {
              this.settled(lane, current, undefined);
            },
            (error: unknown) => {
              this.settled(lane, current, { sequence: current.record.sequence, error });
            },
          );
          return;
        }
      } catch (error) {
        this.fail({ sequence: current.record.sequence, error });
        return;
      }
      this.done(current);
    }
    this.lanes.delete(lane.name);
  }

  private settled(lane: Lane<T>, entry: Entry<T>, failure: HandlerFailure | undefined): void {
    this.running--;
    if (failure !== undefined) {
      this.fail(failure);
    } else {
      this.done(entry);
      if (lane.waiting.length > 0) this.ready.push(lane);
      else this.lanes.delete(lane.name);
      this.start();
    }
    this.wake(this.failure !== undefined && !this.stopped);
  }

  private fail(failure: HandlerFailure): void {
    if (this.failure === undefined || failure.sequence < this.failure.sequence) this.failure = failure;
  }

  private done(entry: Entry<T>): void {
    entry.done = true;
    this.records++;
    this.lastSequence = Math.max(this.lastSequence, entry.record.sequence);
    const { entries } = this;
    let { head } = this;
    for (let next = entries[head]; next?.done === true; next = entries[++head]) this.entriesBytes -= next.bytes;
    this.head = head;
    if (head === entries.length) {
      this.entries = [];
      this.head = 0;
    } else if (head > 1024 && head > entries.length / 2) {
      this.entries = entries.slice(head);
      this.head = 0;
    }
  }

  private waitUntil(until: () => boolean): Promise<void> {
    return new Promise((resolve) => {
      this.waiter = { until, resolve };
    });
  }

  private wake(inAnyCase: boolean): void {
    const { waiter } = this;
    if (waiter === undefined || !(inAnyCase || waiter.until())) return;
    this.waiter = undefined;
    waiter.resolve();
  }
}

export function isThenable(value: unknown): value is PromiseLike<unknown> {
  return typeof value === 'object' && value !== null && typeof (value as PromiseLike<unknown>).then === 'function';
}
