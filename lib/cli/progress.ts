import type * as CliProgress from 'cli-progress';

import { formatBytes, formatCount } from './output';

const refreshMs = 200;

/** How far an ingest has got. */
export interface Amount {
  records: number;
  bytes: number;
}

/** Tells a person on a terminal how far it is; says nothing elsewhere. */
export class Progress {
  private readonly started = performance.now();
  private readonly onTerminal = process.stderr.isTTY;
  private readonly bar: CliProgress.SingleBar | undefined;
  private shown = 0;

  /** @param totalBytes - `undefined` when nobody knows */
  constructor(private readonly totalBytes: number | undefined) {
    if (this.onTerminal && totalBytes !== undefined) this.bar = makeBar(totalBytes);
  }

  /** May be called as often as wanted. */
  update(amount: Amount): void {
    const now = performance.now();
    if (!this.onTerminal || now - this.shown < refreshMs) return;
    this.shown = now;
    const seconds = (now - this.started) / 1000;
    const rate = `${formatCount(Math.round(amount.records / seconds))} records/s`;
    const eta = this.timeLeft(amount, seconds);
    if (this.bar !== undefined)
      this.bar.update(amount.bytes, { records: formatCount(amount.records), rate, left: eta });
    else
      process.stderr.write(
        `\r\x1b[K${formatCount(amount.records)} records, ${formatBytes(amount.bytes)}, ${rate}${eta}`,
      );
  }

  /** Takes it off the terminal. */
  stop(): void {
    if (this.bar !== undefined) this.bar.stop();
    else if (this.shown > 0) process.stderr.write('\r\x1b[K');
  }

  private timeLeft(amount: Amount, seconds: number): string {
    if (this.totalBytes === undefined || amount.bytes === 0) return '';
    const left = ((this.totalBytes - amount.bytes) / amount.bytes) * seconds;
    return `, ${Math.max(0, Math.ceil(left))} s left`;
  }
}

/** cli-progress is an optional dependency: without it the plain line does. */
function makeBar(totalBytes: number): CliProgress.SingleBar | undefined {
  let cliProgress: typeof CliProgress;
  try {
    // eslint-disable-next-line @typescript-eslint/no-require-imports -- optional, and only wanted on a terminal
    cliProgress = require('cli-progress') as typeof CliProgress;
  } catch {
    return undefined;
  }
  const bar = new cliProgress.SingleBar({
    format: '{bar} {percentage}%  {records} records, {rate}{left}',
    barsize: 30,
    hideCursor: true,
    clearOnComplete: true,
    stream: process.stderr,
  });
  bar.start(totalBytes, 0, { records: '0', rate: '', left: '' });
  return bar;
}
