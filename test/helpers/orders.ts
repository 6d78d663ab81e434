import { spawnSync } from 'node:child_process';

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

/** Why this machine cannot trace system calls; undefined when it can. */
export function straceRefusal(): string | undefined {
  const { status, error, stderr } = spawnSync('strace', ['-f', '-o', '/dev/null', 'true'], { encoding: 'utf8' });
  if (error !== undefined) return 'strace is not installed';
  return status === 0 ? undefined : stderr.trim().split('\n')[0];
}
