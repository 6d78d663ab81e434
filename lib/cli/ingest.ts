import { addAbortSignal } from 'node:stream';

import type { SyncOptions } from '../options';
import type { RecordInput } from '../records';
import { WalManager } from '../wal-manager';
import { Batcher, syncModes } from './batcher';
import type { SyncMode } from './batcher';
import { exitCodes, InputError, UsageError } from './command';
import type { Arguments, Command } from './command';
import { evaluatePointer, parsePointer } from './json-pointer';
import type { JsonPointer } from './json-pointer';
import { LineSplitter } from './lines';
import { formatBytes, formatCount, formatRange, print } from './output';
import { Progress } from './progress';
import type { Amount } from './progress';
import { findSources, toInputError, totalSize } from './sources';
import type { Source } from './sources';

export const ingest: Command = {
  summary: 'append the lines of files or of standard input',
  help: `Usage: segwal ingest <dir> [files…] [options]

Appends every non-empty line of the files, or of standard input when there are none (or for "-"), as a record. A line
ends with LF or CR LF, which is not part of the record. Makes the log when there is none. Ends with a summary; on a
terminal it shows how far it is.

  --json                 every line must be JSON (NDJSON); the first that is not stops the ingest
  --key <pointer>        take each record's key from the line, which must be JSON, by a JSON pointer such as /user/id;
                         a line without that value, or with null there, makes a record without a key
  --batch <n>            append so many lines at a time; default 1000. A batch is atomic: after a crash it is there whole
                         or not at all. Batches are cut at 1 MiB, or an eighth of a segment when that is less
  --segment-size <size>  bytes of a segment, such as 16MiB, for a log that is new; default 64MiB
  --sync <mode>          when to wait for the disk:
       none        never; only full segments are synced before the log is closed at the end
       async       never; what is appended is synced in the background, every 10 ms
       end         as async, and once at the end of the input; the default
       batch       for each batch, while the next one is read
       immediate   for each batch, before the next one is read; with --batch 1, for each record

In all modes what is appended survives the death of the process; --sync is about power loss. Closing the log at the end
makes everything durable, whatever the mode.
Interrupted by Ctrl-C, it stops after the present batch, closes the log and prints the summary.

Examples:
  segwal ingest ./logs /var/log/syslog
  curl -sN https://example.com/events | segwal ingest ./events --json --key /user/id --sync batch`,
  options: {
    json: { type: 'boolean' },
    key: { type: 'string' },
    batch: { type: 'string' },
    'segment-size': { type: 'string' },
    sync: { type: 'string' },
  },
  async run(args) {
    const directory = args.directory(true);
    const mode = args.choice('sync', syncModes, 'end');
    const batch = args.integer('batch', 1) ?? 1000;
    const toRecord = recordMaker(args);
    const segmentSize = args.size('segment-size');
    const sources = await findSources(args.positionals.slice(1));
    const wal = await open(directory, mode, segmentSize);
    const job = new Ingest(wal, new Batcher(wal, mode, batch), toRecord, new Progress(totalSize(sources)));
    return job.run(sources);
  },
};

type RecordMaker = (line: Buffer) => RecordInput;

/** Durable within: what nothing else makes so, in the mode that leaves it all to the end. */
const never: SyncOptions = { policy: 'async', maxDelay: 3_600_000 };

async function open(directory: string, mode: SyncMode, segmentSize: number | undefined): Promise<WalManager> {
  const sync = mode === 'none' ? never : mode === 'end' ? 'async' : mode;
  try {
    return await WalManager.open(directory, { sync, segmentSize });
  } catch (error) {
    if (error instanceof RangeError) throw new UsageError(`--segment-size: ${error.message}`);
    throw error;
  }
}

function recordMaker(args: Arguments): RecordMaker {
  const key = args.text('key');
  if (key === undefined) return args.flag('json') ? jsonRecord : (line) => ({ data: line });
  const pointer = parsePointer(key);
  if (pointer === undefined) {
    throw new UsageError(`--key must be a JSON pointer such as /user/id (RFC 6901), not '${key}'`);
  }
  return (line) => ({ data: line, key: keyOf(parseJson(line), pointer) });
}

function jsonRecord(line: Buffer): RecordInput {
  parseJson(line);
  return { data: line };
}

function parseJson(line: Buffer): unknown {
  try {
    return JSON.parse(line.toString()) as unknown;
  } catch (error) {
    throw new InputError('BAD_JSON', (error as Error).message);
  }
}

function keyOf(document: unknown, pointer: JsonPointer): string | undefined {
  const value = evaluatePointer(document, pointer);
  switch (typeof value) {
    case 'string':
      return value;
    case 'number':
    case 'boolean':
      return String(value);
    default:
      if (value === undefined || value === null) return undefined;
      throw new InputError(
        'BAD_KEY',
        `the value at /${pointer.join('/')} is ${Array.isArray(value) ? 'an array' : 'an object'}`,
      );
  }
}

/** One run of `segwal ingest`. */
class Ingest {
  private readonly amount: Amount = { records: 0, bytes: 0 };
  private readonly interruption = new AbortController();
  private readonly started = performance.now();
  private readonly startedAfter: number;

  constructor(
    private readonly wal: WalManager,
    private readonly batcher: Batcher,
    private readonly toRecord: RecordMaker,
    private readonly progress: Progress,
  ) {
    this.startedAfter = wal.lastSequence;
  }

  /** Resolves to the exit status. The log is closed and the summary printed whatever happens. */
  async run(sources: readonly Source[]): Promise<number> {
    const interrupt = (): void => {
      this.interruption.abort();
    };
    process.once('SIGINT', interrupt);
    try {
      for (const source of sources) await this.read(source);
      await this.batcher.finish();
    } finally {
      process.off('SIGINT', interrupt);
      this.progress.stop();
      await this.summarize();
    }
    return this.interruption.signal.aborted ? exitCodes.interrupted : exitCodes.ok;
  }

  private async read(source: Source): Promise<void> {
    const { signal } = this.interruption;
    if (signal.aborted) return;
    const stream = addAbortSignal(signal, source.open());
    const splitter = new LineSplitter();
    let lineNumber = 0;
    try {
      for await (const chunk of stream as AsyncIterable<Buffer>) {
        for (const line of splitter.push(chunk)) {
          if (this.gather(line, source, ++lineNumber)) await this.batcher.flush();
        }
        if (splitter.pendingBytes > this.wal.segmentSize) {
          throw new InputError('LINE_TOO_LONG', `${source.name}:${lineNumber + 1}: longer than a segment`);
        }
        if (source.live) await this.batcher.flush();
        this.amount.bytes += chunk.length;
        this.progress.update(this.amount);
      }
      this.gather(splitter.end(), source, lineNumber + 1);
    } catch (error) {
      if (signal.aborted) return;
      if (error instanceof InputError) await this.batcher.flush();
      throw toInputError(error, source.name);
    }
  }

  /** True when it is time to append what is gathered. */
  private gather(line: Buffer, source: Source, lineNumber: number): boolean {
    if (line.length === 0) return false;
    this.amount.records++;
    try {
      return this.batcher.add(this.toRecord(line));
    } catch (error) {
      if (!(error instanceof InputError)) throw error;
      throw new InputError(error.code, `${source.name}:${lineNumber}: ${error.message}`);
    }
  }

  private async summarize(): Promise<void> {
    const { wal, amount, startedAfter } = this;
    const last = wal.lastSequence;
    await wal.close();
    const seconds = (performance.now() - this.started) / 1000;
    const records = last - startedAfter;
    const rates = `${formatCount(Math.round(records / seconds))} records/s, ${formatBytes(amount.bytes / seconds)}/s`;
    await print(
      `appended ${formatCount(records)} records from ${formatBytes(amount.bytes)} of input in ${seconds.toFixed(2)} s ` +
        `(${rates}); sequence numbers: ${formatRange(startedAfter + 1, last)}; durable\n`,
    );
  }
}
