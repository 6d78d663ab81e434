import { Readable, Writable } from 'node:stream';

import type { WalData } from './codec';
import type { RecordOptions, WalRecord } from './records';
import { checkRecordOptions } from './records';
import { checkInteger, checkOptions } from './validation';

/** How to write records through a stream. Kind and key are those of every record. */
export interface WriteStreamOptions extends RecordOptions {
  /**
   * How much may wait in the stream before `write` returns false: bytes, default 1 MiB; in a typed log records, default
   * 1,024.
   */
  highWaterMark?: number;
}

const defaultStreamBytes = 1024 * 1024;
const defaultStreamRecords = 1024;

/** What the stream needs of the log. */
interface WriteStreamTarget<T> {
  readonly typed: boolean;
  /** Appends; waits for room. Not durable yet. */
  appendInTime(data: WalData<T>, options: RecordOptions): number | Promise<number>;
  whenDurable(sequence: number): Promise<void>;
}

/**
 * A stream that makes a record of each chunk. Its back-pressure comes from the disk: what is written while a sync is
 * under way gathers in the stream, up to `highWaterMark`, and goes into the log together when it ends. `finish` means
 * that everything is durable.
 */
export function makeWriteStream<T>(target: WriteStreamTarget<T>, options: WriteStreamOptions): Writable {
  checkOptions(options, ['highWaterMark', 'kind', 'key'], 'createWriteStream');
  const { highWaterMark, ...record } = options;
  checkRecordOptions(record);
  if (highWaterMark !== undefined) checkInteger('highWaterMark', highWaterMark, 1, Number.MAX_SAFE_INTEGER);

  const append = async (chunks: readonly unknown[]): Promise<void> => {
    let last = 0;
    for (const chunk of chunks) {
      const appended = target.appendInTime(chunk as WalData<T>, record);
      last = typeof appended === 'number' ? appended : await appended;
    }
    await target.whenDurable(last);
  };
  const settle = (work: Promise<void>, callback: (error?: Error | null) => void): void => {
    work.then(
      () => {
        callback();
      },
      (error: unknown) => {
        callback(error as Error);
      },
    );
  };
  return new Writable({
    objectMode: target.typed,
    decodeStrings: false,
    highWaterMark: highWaterMark ?? (target.typed ? defaultStreamRecords : defaultStreamBytes),
    write(chunk: unknown, _encoding, callback) {
      settle(append([chunk]), callback);
    },
    writev(chunks, callback) {
      settle(append(chunks.map(({ chunk }) => chunk as unknown)), callback);
    },
  });
}

/** The records of an iterable as a stream of objects. Destroying it ends the iteration. */
export function makeReadStream<T>(records: AsyncIterable<WalRecord<T>>): Readable {
  const iterator = records[Symbol.asyncIterator]();
  return new Readable({
    objectMode: true,
    highWaterMark: 256,
    read() {
      void push(this, iterator);
    },
    destroy(error, callback) {
      const ended = iterator.return?.() ?? Promise.resolve();
      ended.then(
        () => {
          callback(error);
        },
        (failure: unknown) => {
          callback(error ?? (failure as Error));
        },
      );
    },
  });
}

async function push<T>(stream: Readable, iterator: AsyncIterator<WalRecord<T>>): Promise<void> {
  try {
    for (let wanted = true; wanted;) {
      const result = await iterator.next();
      if (stream.destroyed) return;
      wanted = stream.push(result.done === true ? null : result.value) && result.done !== true;
    }
  } catch (error) {
    stream.destroy(error as Error);
  }
}
