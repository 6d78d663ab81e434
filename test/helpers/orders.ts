import { spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';

import { startChild } from './processes';
import type { Child } from './processes';

export interface Answer {
  value?: unknown;
  code?: string;
  message?: string;
  /** Code of the error's cause. */
  cause?: string;
  /** It is no answer, but was published. */
  event?: string;
  directory?: string;
}

/** A process with a log of its own (test/children/obedient.ts). */
export class Subordinate {
  /** What the log has published so far. */
  readonly events: Answer[] = [];

  constructor(readonly child: Child = startChild('obedient')) {}

  async order(...words: (string | number)[]): Promise<Answer> {
    this.child.say(words.join(' '));
    for (;;) {
      const answer = await this.next();
      if (answer.event === undefined) return answer;
    }
  }

  /** Waits until it has been published. */
  async published(event: string): Promise<Answer> {
    for (;;) {
      const found = this.events.find((each) => each.event === event);
      if (found !== undefined) return found;
      await this.next();
    }
  }

  /** It ends by itself, with nothing on its standard error: no crash, no signal. */
  async dismiss(): Promise<void> {
    this.child.process.stdin.end();
    expect(await this.child.outcome()).toMatchObject({ status: 0, signal: null, stderr: '' });
  }

  private async next(): Promise<Answer> {
    const answer = JSON.parse(await this.child.line()) as Answer;
    if (answer.event !== undefined) this.events.push(answer);
    return answer;
  }
}

/** Why this machine cannot trace the system calls of a process; undefined when it can. */
export function straceRefusal(): string | undefined {
  const trial = 'sleep 0.2 & strace -f -o /dev/null -p $!';
  const { status, stderr, error } = spawnSync('sh', ['-c', trial], { encoding: 'utf8' });
  if (error !== undefined) return error.message;
  return status === 0 ? undefined : (stderr.trim().split('\n')[0] ?? 'strace failed');
}

/**
 * From when this resolves, system calls of the process fail as strace's `inject` says. `ended` resolves when the tracer
 * has seen the process end.
 */
export function injectInto(pid: number, inject: string): Promise<{ ended: Promise<unknown> }> {
  const call = inject.split(':', 1)[0] ?? '';
  return attach(pid, ['-o', '/dev/null', '-e', `trace=${call}`, '-e', `inject=${inject}`]);
}

/**
 * From when this resolves, the system calls of the process are written to `file`, a line for each, with the thread that
 * made it in front.
 */
export function traceInto(pid: number, calls: readonly string[], file: string): Promise<{ ended: Promise<unknown> }> {
  return attach(pid, ['-o', file, '-e', `trace=${calls.join(',')}`]);
}

async function attach(pid: number, options: readonly string[]): Promise<{ ended: Promise<unknown> }> {
  const tracer = spawn('strace', ['-f', ...options, '-p', String(pid)], { stdio: ['ignore', 'ignore', 'pipe'] });
  const ended = once(tracer, 'exit');
  const attached = new Promise<void>((resolve) => {
    // Read to its end: it tells of every thread that comes.
    tracer.stderr.on('data', (text) => {
      if (String(text).includes('attached')) resolve();
    });
  });
  const early = ended.then(() => {
    throw new Error('strace has ended');
  });
  await Promise.race([attached, early]);
  early.catch(() => undefined);
  return { ended };
}
