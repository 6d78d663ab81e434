import type { ReadOptions } from '../read-options';
import { WalManager } from '../wal-manager';
import { UsageError } from './command';
import type { Arguments, Command } from './command';
import { parseKind, printRecords, recordLineHelp } from './record-line';

export const dump: Command = {
  summary: 'print records as lines of JSON',
  help: `Usage: segwal dump <dir> [options]

Prints the records of a log, all of them or those that the options leave. The log may be in use: what is dumped ends with
the last record that is there when the dump starts.

  --from <seq>         first sequence number
  --to <seq>           last sequence number
  --since <time>       appended at that time or later (ISO 8601, or ms since 1970); --from-time is the same
  --until <time>       appended at that time or earlier; --to-time is the same
  --kind <kind>        only this kind: 0 to 255, insert, update, delete, beginTx, commitTx or abortTx; may be repeated
  --key <text>         only records with exactly this key
  --limit <n>          at most so many
  --reverse            newest first

${recordLineHelp}

Examples:
  segwal dump ./orders --limit 10
  segwal dump ./orders --key customer-7 --reverse | head -1
  segwal dump ./orders | jq -r .data`,
  options: {
    from: { type: 'string' },
    to: { type: 'string' },
    since: { type: 'string' },
    until: { type: 'string' },
    'from-time': { type: 'string' },
    'to-time': { type: 'string' },
    kind: { type: 'string', multiple: true },
    key: { type: 'string' },
    limit: { type: 'string' },
    reverse: { type: 'boolean' },
  },
  async run(args) {
    const directory = args.directory();
    const options = readOptions(args);
    const wal = await WalManager.open(directory, { readOnly: true });
    try {
      await printRecords(wal.read(options));
    } finally {
      await wal.close();
    }
    return 0;
  },
};

function readOptions(args: Arguments): ReadOptions {
  const options: ReadOptions = {
    from: args.integer('from', 1),
    to: args.integer('to', 1),
    fromTime: args.time('since') ?? args.time('from-time'),
    toTime: args.time('until') ?? args.time('to-time'),
    limit: args.integer('limit', 0),
    key: args.text('key'),
    reverse: args.flag('reverse'),
  };
  const kinds = args.texts('kind').map(toKind);
  if (kinds.length > 0) options.kind = kinds;
  return options;
}

function toKind(text: string): number {
  const kind = parseKind(text);
  if (kind === undefined) {
    throw new UsageError(`--kind must be an integer from 0 to 255 or the name of an operation, not '${text}'`);
  }
  return kind;
}
