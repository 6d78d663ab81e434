import { parseArgs } from 'node:util';
import type { ParseArgsConfig } from 'node:util';

/** What the exit status says. */
export const exitCodes = {
  ok: 0,
  damaged: 1,
  usage: 2,
  log: 3,
  input: 4,
  bug: 70,
  interrupted: 130,
} as const;

export const exitCodeHelp = `Exit status:
  0    done
  1    the log is damaged, or verify or health found something wrong
  2    the command line is wrong
  3    the log could not be opened or used
  4    the input could not be read, or is not what it was said to be
  70   a bug in segwal
  130  interrupted (Ctrl-C)`;

/** One of segwal's commands. */
export interface Command {
  /** For the list of commands: a line without a full stop. */
  readonly summary: string;
  readonly help: string;
  readonly options: NonNullable<ParseArgsConfig['options']>;
  /** Resolves to the exit status. */
  run(args: Arguments): Promise<number>;
}

/** The command line is wrong. */
export class UsageError extends Error {}

/** The input could not be read, or is not what it was said to be. */
export class InputError extends Error {
  constructor(
    readonly code: string,
    message: string,
  ) {
    super(message);
  }
}

const sizeUnits: Record<string, number> = { '': 1, k: 2 ** 10, m: 2 ** 20, g: 2 ** 30 };

/** The arguments of a command. What they cannot be is a {@link UsageError} that names the option and the value. */
export class Arguments {
  readonly positionals: readonly string[];
  private readonly values: Record<string, unknown>;

  constructor(command: Command, args: string[]) {
    try {
      const parsed = parseArgs({ args, options: command.options, allowPositionals: true, strict: true });
      this.positionals = parsed.positionals;
      this.values = parsed.values;
    } catch (error) {
      throw new UsageError((error as Error).message.split('. ')[0]);
    }
  }

  /** The log's directory: the first argument, and the only one unless `more` are allowed. */
  directory(more = false): string {
    const [directory, ...rest] = this.positionals;
    if (directory === undefined || directory === '') throw new UsageError('the directory of the log is missing');
    if (!more && rest.length > 0) throw new UsageError(`too many arguments: '${rest[0] ?? ''}'`);
    return directory;
  }

  flag(name: string): boolean {
    return this.values[name] === true;
  }

  text(name: string): string | undefined {
    return this.values[name] as string | undefined;
  }

  texts(name: string): readonly string[] {
    return (this.values[name] as string[] | undefined) ?? [];
  }

  integer(name: string, min: number): number | undefined {
    const text = this.text(name);
    if (text === undefined) return undefined;
    const value = /^\d+$/.test(text) ? Number(text) : NaN;
    if (!Number.isSafeInteger(value) || value < min) {
      throw new UsageError(`--${name} must be an integer of at least ${min}, not '${text}'`);
    }
    return value;
  }

  choice<C extends string>(name: string, choices: readonly C[], fallback: C): C {
    const text = this.text(name);
    if (text === undefined) return fallback;
    const choice = choices.find((each) => each === text);
    if (choice === undefined) throw new UsageError(`--${name} must be one of ${choices.join(', ')}, not '${text}'`);
    return choice;
  }

  /** Bytes, with an optional K, M or G (also KiB, MiB, GiB). */
  size(name: string): number | undefined {
    const text = this.text(name);
    if (text === undefined) return undefined;
    const [, digits, unit] = /^(\d+)\s*(?:([kmg])(?:i?b)?)?$/i.exec(text) ?? [];
    if (digits === undefined) throw new UsageError(`--${name} must be a size such as 65536 or 64MiB, not '${text}'`);
    return Number(digits) * (sizeUnits[unit?.toLowerCase() ?? ''] as number);
  }

  /** A time: ISO 8601, or ms since the epoch. */
  time(name: string): number | undefined {
    const text = this.text(name);
    if (text === undefined) return undefined;
    const ms = /^\d+(\.\d+)?$/.test(text) ? Number(text) : Date.parse(text);
    if (Number.isNaN(ms)) {
      throw new UsageError(`--${name} must be a time such as 2026-01-31T12:00:00Z, or ms since 1970, not '${text}'`);
    }
    return ms;
  }
}
