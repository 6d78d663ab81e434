// A process that does with one log what its standard input says, a line for each, and answers each with a line of JSON.
// What the log publishes on its diagnostics channels comes as lines too.
import { subscribe } from 'node:diagnostics_channel';
import { createInterface } from 'node:readline';
import { setImmediate } from 'node:timers/promises';

import { WalError, WalManager } from '../../lib';
import type { WalDiagnostic, WalOptions } from '../../lib';
import type { Answer } from '../helpers/orders';

let wal: WalManager;
const waiting: Promise<Answer>[] = [];

function print(answer: Answer): void {
  console.log(JSON.stringify(answer));
}

for (const event of ['disk-full', 'disk-room', 'poisoned']) {
  subscribe(`segwal:${event}`, (message) => {
    const { directory, error } = message as WalDiagnostic;
    print({ event, directory, code: error?.code });
  });
}

function refusal(error: unknown): Answer {
  if (!(error instanceof WalError)) throw error;
  const { code, message } = error;
  return { code, message, cause: (error.cause as NodeJS.ErrnoException | undefined)?.code };
}

async function outcomeOf(action: () => unknown): Promise<Answer> {
  try {
    return { value: await action() };
  } catch (error) {
    return refusal(error);
  }
}

const record = (bytes: number): Buffer => Buffer.alloc(bytes, 'r');

const orders: Record<string, (...args: string[]) => unknown> = {
  open: async (directory = '', options = '{}') => {
    wal = await WalManager.open(directory, JSON.parse(options) as WalOptions);
    return wal.lastSequence;
  },
  append: (bytes = '100') => wal.append(record(Number(bytes))),
  'append-many': (count = '1', bytes = '100') => {
    for (let i = 0; i < Number(count); i++) wal.append(record(Number(bytes)));
    return wal.lastSequence;
  },
  /** Until it is refused. What was refused is the answer; `value` is the last sequence number that was returned. */
  'append-until-refused': async (bytes = '100') => {
    let value = 0;
    for (;;) {
      try {
        for (let i = 0; i < 100; i++) value = wal.append(record(Number(bytes)));
      } catch (error) {
        const answer = refusal(error);
        if (answer.code !== 'WAL_BACKPRESSURE') return print({ value, ...answer });
      }
      await setImmediate();
    }
  },
  sync: () => wal.sync(),
  /** Somebody begins to wait; `waited` tells how that ended. */
  wait: (sequence = '1') => {
    waiting.push(outcomeOf(() => wal.whenDurable(Number(sequence))));
  },
  'wait-sync': () => {
    waiting.push(outcomeOf(() => wal.sync()));
  },
  waited: () => Promise.all(waiting.splice(0)),
  rotate: () => wal.rotate(),
  'truncate-before': (sequence = '1') => wal.truncateBefore(Number(sequence)),
  health: () => wal.health(),
  durable: () => wal.durableSequence,
  last: () => wal.lastSequence,
  count: () => {
    let count = 0;
    for (const { data } of wal.read()) if (data.length > 0) ++count;
    return count;
  },
  close: () => wal.close(),
};

async function main(): Promise<void> {
  for await (const line of createInterface({ input: process.stdin })) {
    const [order = '', ...args] = line.split(' ');
    if (order === 'append-until-refused') await orders[order]?.(...args);
    else print(await outcomeOf(() => orders[order]?.(...args)));
  }
}

void main();
