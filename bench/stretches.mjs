// Appending for a while, in stretches with or without a pause between them.

const sleeper = new Int32Array(new SharedArrayBuffer(4));

/** A clock that can be stopped, and says when time is up. */
export class Stretches {
  #begin;
  #paused = 0;

  /** @param options { seconds, stretch, pauseMs }: a look at the clock, and a pause of so many ms, every `stretch` records */
  constructor({ seconds, stretch, pauseMs }) {
    Object.assign(this, { seconds, stretch, pauseMs });
  }

  /** Whether to go on after `count` records. The clock starts with the first call. It stands during pauses. */
  keepOn(count) {
    if (count % this.stretch !== 0) return true; // looking at the clock costs as much as a cheap append
    const now = performance.now();
    this.#begin ??= now;
    if (count === 0) return true;
    if (this.pauseMs > 0) {
      Atomics.wait(sleeper, 0, 0, this.pauseMs); // the thread does nothing; others may
      this.#paused += performance.now() - now;
    }
    return this.elapsed < this.seconds * 1000;
  }

  /** ms, without pauses. */
  get elapsed() {
    return performance.now() - this.#begin - this.#paused;
  }
}
