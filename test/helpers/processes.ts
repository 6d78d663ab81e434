import { spawn } from 'node:child_process';
import type { ChildProcessWithoutNullStreams } from 'node:child_process';
import { EventEmitter, once } from 'node:events';
import { join, resolve } from 'node:path';

const root = resolve(__dirname, '..', '..');
const register = join(__dirname, 'register.js');

/** On Windows a process can end another one, but not send it what Ctrl-C sends. */
export const canInterrupt = process.platform !== 'win32';

export interface Outcome {
  status: number | null;
  signal: NodeJS.Signals | null;
  stdout: string;
  stderr: string;
}

/** A child process that runs TypeScript of this repository. */
export class Child {
  readonly process: ChildProcessWithoutNullStreams;
  private readonly closed: Promise<Outcome>;
  private readonly lines: AsyncGenerator<string>;
  private readonly output = new EventEmitter();
  private stdout = '';
  private stderr = '';
  private ended = false;

  constructor(script: string, args: readonly string[], env: NodeJS.ProcessEnv = {}) {
    this.process = spawn(process.execPath, ['-r', register, join(root, script), ...args], {
      env: { ...process.env, ...env },
    });
    this.closed = this.gather();
    this.lines = this.split();
    running.add(this);
  }

  get pid(): number {
    return this.process.pid ?? 0;
  }

  /** The next line of its standard output. */
  async line(): Promise<string> {
    const result = await this.lines.next();
    if (result.done !== true) return result.value;
    const { status, stderr } = await this.closed;
    throw new Error(`the child ended with status ${status}: ${stderr}`);
  }

  /** Sends a line to its standard input. */
  say(line: string): void {
    this.process.stdin.write(`${line}\n`);
  }

  outcome(): Promise<Outcome> {
    return this.closed;
  }

  async kill(signal: NodeJS.Signals = 'SIGKILL'): Promise<Outcome> {
    this.process.kill(signal);
    return this.closed;
  }

  private async gather(): Promise<Outcome> {
    this.process.stdout.setEncoding('utf8').on('data', (text: string) => {
      this.stdout += text;
      this.output.emit('more');
    });
    this.process.stderr.setEncoding('utf8').on('data', (text: string) => {
      this.stderr += text;
    });
    this.process.stdin.on('error', () => undefined); // it may end before it has read everything
    const [status, signal] = (await once(this.process, 'close')) as [number | null, NodeJS.Signals | null];
    running.delete(this);
    this.ended = true;
    this.output.emit('more');
    return { status, signal, stdout: this.stdout, stderr: this.stderr };
  }

  private async *split(): AsyncGenerator<string> {
    let start = 0;
    for (;;) {
      const end = this.stdout.indexOf('\n', start);
      if (end !== -1) {
        yield this.stdout.slice(start, end);
        start = end + 1;
      } else {
        if (this.ended) return;
        await once(this.output, 'more');
      }
    }
  }
}

const running = new Set<Child>();

/** Starts one of test/children. It is killed with the test, if it is still there. */
export function startChild(name: string, ...args: string[]): Child {
  return startChildIn({}, name, ...args);
}

/** The same, with variables in its environment. */
export function startChildIn(env: NodeJS.ProcessEnv, name: string, ...args: string[]): Child {
  return new Child(join('test', 'children', `${name}.ts`), args, env);
}

export function startCli(...args: string[]): Child {
  return new Child(join('lib', 'cli', 'main.ts'), args);
}

/** Runs `segwal` to its end, with `input` on its standard input. */
export async function runCli(args: readonly string[], input: string | Buffer = ''): Promise<Outcome> {
  const child = startCli(...args);
  child.process.stdin.end(input);
  return child.outcome();
}

afterEach(async () => {
  await Promise.all(Array.from(running, (child) => child.kill()));
});
