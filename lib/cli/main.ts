#!/usr/bin/env node
import { readFileSync } from 'node:fs';
import { join } from 'node:path';

import { WalError } from '../errors';
import { closest } from '../validation';
import { checkpoint } from './checkpoint';
import { cleanup } from './cleanup';
import { Arguments, exitCodeHelp, exitCodes, InputError, UsageError } from './command';
import type { Command } from './command';
import { compact } from './compact';
import { dump } from './dump';
import { health } from './health';
import { ingest } from './ingest';
import { inspect } from './inspect';
import { complain, endQuietlyWithReader, print } from './output';
import { repair } from './repair';
import { tail } from './tail';
import { truncate } from './truncate';
import { verify } from './verify';

const commands: Readonly<Record<string, Command>> = {
  ingest,
  inspect,
  health,
  dump,
  verify,
  repair,
  tail,
  checkpoint,
  truncate,
  cleanup,
  compact,
};

const help = `Usage: segwal <command> <dir> [arguments]

Works on a write-ahead log, which is a directory.

${Object.entries(commands)
  .map(([name, { summary }]) => `  ${name.padEnd(12)}${summary}`)
  .join('\n')}

  segwal <command> --help   what the command does and takes
  segwal --version          the version of this program

All commands but ingest, checkpoint, truncate, cleanup, compact and repair --apply only read, and work on a log that another process is writing.
Errors are one line on standard error: "segwal: CODE: what is wrong".

${exitCodeHelp}
`;

async function main(args: string[]): Promise<number> {
  const [name, ...rest] = args;
  if (name === '--help' || name === '-h' || name === 'help') return show(helpOn(rest[0]));
  if (name === '--version' || name === '-v') return show(`${version()}\n`);
  if (name === undefined) throw new UsageError('which command? See segwal --help');
  const command = find(name);
  if (rest.includes('--help') || rest.includes('-h')) return show(helpOn(name));
  try {
    return await command.run(new Arguments(command, rest));
  } catch (error) {
    if (error instanceof UsageError) throw new UsageError(`${error.message}; see segwal ${name} --help`);
    throw error;
  }
}

function find(name: string): Command {
  const command = Object.hasOwn(commands, name) ? commands[name] : undefined;
  if (command !== undefined) return command;
  throw new UsageError(`no command '${name}'; did you mean ${closest(name, Object.keys(commands))}? See segwal --help`);
}

function helpOn(name: string | undefined): string {
  return name === undefined ? help : `${find(name).help}\n\n${exitCodeHelp}\n`;
}

async function show(text: string): Promise<number> {
  await print(text);
  return exitCodes.ok;
}

function version(): string {
  const manifest = readFileSync(join(__dirname, '..', '..', 'package.json'), 'utf8');
  return (JSON.parse(manifest) as { version: string }).version;
}

/** Says what went wrong in a line, and returns the exit status for it. */
function report(error: unknown): number {
  if (error instanceof UsageError) {
    complain('USAGE', error.message);
    return exitCodes.usage;
  }
  if (error instanceof WalError) {
    complain(error.code, error.message);
    return error.code === 'WAL_CORRUPT' ? exitCodes.damaged : exitCodes.log;
  }
  if (error instanceof InputError) {
    complain(error.code, error.message);
    return exitCodes.input;
  }
  complain('BUG', error instanceof Error ? (error.stack ?? error.message) : String(error));
  return exitCodes.bug;
}

endQuietlyWithReader();
main(process.argv.slice(2)).then(
  (status) => {
    process.exitCode = status;
  },
  (error: unknown) => {
    process.exitCode = report(error);
  },
);
