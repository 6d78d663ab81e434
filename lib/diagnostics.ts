import { channel } from 'node:diagnostics_channel';

import type { WalError } from './errors';

/**
 * What is published on the channels of `node:diagnostics_channel` by which a log tells what befalls it:
 *
 * - `segwal:disk-full`: there is no room for the next segment. What fits into the present one is still appended; then
 *   `append` throws `WAL_DISK_FULL`, which is what `error` is.
 * - `segwal:disk-room`: there is room again, and the log goes on. Without `error`.
 * - `segwal:poisoned`: the log is poisoned; `error` is the `WAL_POISONED` that everybody gets.
 *
 * Published once for each change, by each `WalManager`, on the thread that has opened it, soon after and never inside
 * a call of the log.
 *
 * ```ts
 * diagnostics_channel.subscribe('segwal:disk-full', (event) => alarm((event as WalDiagnostic).directory));
 * ```
 */
export interface WalDiagnostic {
  /** As it was given to `open`, made absolute. */
  directory: string;
  error?: WalError;
}

const channels = {
  full: channel('segwal:disk-full'),
  room: channel('segwal:disk-room'),
  poisoned: channel('segwal:poisoned'),
};

/** Tells whoever has subscribed what befalls the log in `directory`. */
export class Diagnostics {
  private poisonedTold = false;

  constructor(private readonly directory: string) {}

  /** There is no room for the next segment; undefined: there is again. */
  room(error: WalError | undefined): void {
    if (error === undefined) this.publish('room', {});
    else this.publish('full', { error });
  }

  poisoned(error: WalError): void {
    if (this.poisonedTold || error.code !== 'WAL_POISONED') return;
    this.poisonedTold = true;
    this.publish('poisoned', { error });
  }

  private publish(name: keyof typeof channels, event: Omit<WalDiagnostic, 'directory'>): void {
    if (!channels[name].hasSubscribers) return;
    channels[name].publish({ directory: this.directory, ...event } satisfies WalDiagnostic);
  }
}
