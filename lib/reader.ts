import type { Codec } from './codec';
import { decompressBatch } from './compression';
import { fromNative, settle, WalError } from './errors';
import type { Followers } from './following';
import type { NativeFailure, NativeLog, NativeReader } from './native';
import { defaultChunkBytes, oneRecord } from './read-options';
import type { ReadRequest } from './read-options';
import type { WalRecord } from './records';

/** What reading needs of an open log. */
export interface ReadSource<T> {
  readonly codec: Codec<T> | undefined;
  readonly descriptorBytes: number;
  /** Throws when the log is closed. */
  assertOpen(): void;
  /** Who waits for what is appended. */
  readonly followers: Followers;
  lastSequence(): number;
  /** Changes when the end of the log is taken away. */
  truncations(): number;
  closed(): boolean;
  /** A reader of what is in the log now; `null` when the request leaves nothing to read, now or, live, ever. */
  openReader(request: ReadRequest): NativeReader | null;
  /** Makes `close` wait for `operation`. */
  track<R>(operation: Promise<R>): Promise<R>;
}

/** Chunks start small, so that reading one record is cheap, and double up to the full size. */
const firstChunkBytes = 16 * 1024;
/** Room for descriptors: one for so many bytes of chunk. Smaller records are too many for it and fill less of a chunk. */
const chunkBytesPerDescriptor = 64;
/**
 * What fills less than this share of a chunk is copied out of it, small ones into the pool of Node's buffers. Whoever keeps
 * a record keeps the memory that it is in, and a live reader is often woken for one small record.
 */
const leastFilled = 1 / 4;
/**
 * Who finds so much at the end of the log is behind, and goes on on another thread: more may have left the memory already.
 * A compressed batch is read alone, however small it is: who knows of another behind it is behind.
 */
const behindBytes = 64 * 1024;
/** `NativeReader.fill` says by −(1000 + bytes) that it needs a larger chunk. */
const needsMoreBytes = -1000;

const hasKeyBit = 0x100;
const kindBits = 0xff;
const codecShift = 12;
const codecBits = 7;

class StoredRecord<T> implements WalRecord<T> {
  constructor(
    readonly sequence: number,
    readonly timestamp: number,
    readonly kind: number,
    readonly key: Buffer | null,
    readonly data: T,
  ) {}
}

/** The native side's description of the records in a chunk; see `NativeReader`. */
class Descriptors {
  readonly buffer: ArrayBuffer;
  readonly float64: Float64Array;
  readonly uint32: Uint32Array;

  constructor(buffer: ArrayBuffer) {
    this.buffer = buffer;
    this.float64 = new Float64Array(buffer);
    this.uint32 = new Uint32Array(buffer);
  }

  /** The codec of the first: what is described is then a compressed batch. 0: none. */
  get codec(): number {
    return ((this.uint32[7] as number) >> codecShift) & codecBits;
  }

  /** How much of the data the first `count` records take. */
  bytesOf(count: number): number {
    const last = (count - 1) * 8 + 4;
    return (this.uint32[last] as number) + (this.uint32[last + 1] as number);
  }
}

/**
 * What a `Buffer` is cut out of its memory by: `subarray` comes to this too, but asks the buffer for its memory first, each
 * time, and that takes longer than all the rest of a record.
 */
const BufferOver = Buffer[Symbol.species as never] as new (
  memory: ArrayBufferLike,
  byteOffset: number,
  length: number,
) => Buffer;

/** Records side by side. The memory of `data` goes to the reader for good; the descriptors are used again. */
class Chunk {
  private readonly memory: ArrayBufferLike;
  private readonly begin: number;

  constructor(
    data: Buffer,
    readonly descriptors: Descriptors,
    readonly count: number,
  ) {
    this.memory = data.buffer;
    this.begin = data.byteOffset;
  }

  /** 0 when there is none. */
  get lastSequence(): number {
    return this.count > 0 ? (this.descriptors.float64[(this.count - 1) * 4] as number) : 0;
  }

  bytes(start: number, length: number): Buffer {
    return new BufferOver(this.memory, this.begin + start, length);
  }
}

/** Makes record `index` of a chunk. */
function makeRecord<T>(chunk: Chunk, index: number, codec: Codec<T> | undefined): WalRecord<T> {
  const { float64, uint32 } = chunk.descriptors;
  const wide = index * 4;
  const narrow = index * 8 + 4;
  const sequence = float64[wide] as number;
  const start = uint32[narrow] as number;
  const attributes = uint32[narrow + 3] as number;
  const keyBytes = uint32[narrow + 2] as number;
  const bytes = chunk.bytes(start, uint32[narrow + 1] as number);
  return new StoredRecord<T>(
    sequence,
    float64[wide + 1] as number,
    attributes & kindBits,
    (attributes & hasKeyBit) === 0 ? null : chunk.bytes(start - keyBytes, keyBytes),
    codec === undefined ? (bytes as T) : decode(codec, bytes, sequence),
  );
}

/** A record of bytes as one of values. */
export function withDecodedData<T>(record: WalRecord<Buffer>, codec: Codec<T> | undefined): WalRecord<T> {
  if (codec === undefined) return record as unknown as WalRecord<T>;
  const { sequence, timestamp, kind, key, data } = record;
  return new StoredRecord<T>(sequence, timestamp, kind, key, decode(codec, data, sequence));
}

function decode<T>(codec: Codec<T>, bytes: Buffer, sequence: number): T {
  try {
    return codec.decode(bytes);
  } catch (cause) {
    const reason = cause instanceof Error ? cause.message : String(cause);
    throw new Error(`codec.decode failed on record ${sequence}: ${reason}`, { cause });
  }
}

/** Takes chunk after chunk from a native reader. Lets go of it at the end, at a failure, and when told to. */
class Cursor<T> {
  private readonly reader: NativeReader | null;
  /** Live: it is at the end of the log, as far as it knows. */
  caughtUp = false;
  private nextBytes: number;
  private unusedData: Buffer | null = null;
  /** Two at most: those of the chunk that is consumed, and those of the chunk that is read ahead. */
  private readonly unusedDescriptors: Descriptors[] = [];
  /** Live: up to here the reader may go, and how many records it may hand out yet. */
  private readUpTo: number;
  private remaining: number;
  /** Ends the waiting for more. */
  private cancel: (() => void) | null = null;
  /** Of the log, when the reader last looked. */
  private truncations: number;
  private closed = false;

  constructor(
    private readonly source: ReadSource<T>,
    private readonly request: ReadRequest,
    private readonly maxChunkBytes: number,
  ) {
    this.truncations = source.truncations();
    this.readUpTo = Math.max(source.lastSequence(), request.filter.from - 1);
    this.remaining = request.filter.limit;
    this.reader = source.openReader(request);
    this.nextBytes = Math.min(firstChunkBytes, maxChunkBytes);
  }

  /** The next records; `null` at the end. */
  fill(): Chunk | null {
    for (;;) {
      const chunk = this.fillOnce();
      if (chunk?.count !== 0) return chunk;
    }
  }

  private fillOnce(): Chunk | null {
    const { reader } = this;
    this.throwIfAborted();
    if (reader === null) return null;
    this.assertGoing();
    const descriptors = this.takeDescriptors();
    let data = this.takeData();
    let count = reader.fill(data, descriptors.buffer);
    if (count <= needsMoreBytes) {
      this.unusedData = data;
      data = Buffer.allocUnsafeSlow(needsMoreBytes - count);
      count = reader.fill(data, descriptors.buffer);
    }
    return this.filled(data, descriptors, count);
  }

  /** The same without blocking for the disk; live, it waits for what comes. REQUIRES: the one before has settled. */
  async fillAsync(): Promise<Chunk | null> {
    if (!this.request.live) return this.fillOnThread();
    for (;;) {
      if (this.closed || this.source.closed()) return null;
      // What was appended a moment ago is in memory: going to another thread would take longer than reading it.
      const chunk = this.caughtUp ? this.fillOnce() : await this.fillOnceOnThread();
      if (chunk?.count === 0) continue;
      if (chunk !== null) return chunk;
      if (this.closed || !(await this.more())) {
        this.close();
        return null;
      }
    }
  }

  private async fillOnThread(): Promise<Chunk | null> {
    for (;;) {
      const chunk = await this.fillOnceOnThread();
      if (chunk?.count !== 0) return chunk;
    }
  }

  private async fillOnceOnThread(): Promise<Chunk | null> {
    const { reader } = this;
    this.throwIfAborted();
    if (reader === null) return null;
    this.assertGoing();
    const descriptors = this.takeDescriptors();
    let data = this.takeData();
    try {
      let count = await this.run(reader, data, descriptors);
      if (count <= needsMoreBytes) {
        this.assertGoing();
        this.unusedData = data;
        data = Buffer.allocUnsafeSlow(needsMoreBytes - count);
        count = await this.run(reader, data, descriptors);
      }
      return this.filled(data, descriptors, count);
    } catch (error) {
      this.close();
      throw error;
    }
  }

  /** Gives the descriptors of a chunk back when all its records are made. */
  release(chunk: Chunk): void {
    this.unusedDescriptors.push(chunk.descriptors);
  }

  close(): void {
    this.closed = true;
    this.cancel?.();
    this.reader?.close();
  }

  /** Waits until there is more to read than before; false when there never will be. */
  private async more(): Promise<boolean> {
    const { source, request, reader } = this;
    const { signal } = request;
    this.caughtUp = true;
    if (reader === null || this.remaining <= 0 || this.readUpTo >= request.filter.to) return false;
    const { more, cancel } = source.followers.wait(this.readUpTo);
    // After asking: who truncates counts first and wakes then.
    const truncations = source.truncations();
    if (truncations !== this.truncations) {
      this.truncations = truncations;
      cancel();
      await more;
      return true;
    }
    this.cancel = cancel;
    signal?.addEventListener('abort', cancel);
    try {
      const appended = await more;
      this.throwIfAborted();
      if (!appended || this.closed) return false;
    } finally {
      this.cancel = null;
      signal?.removeEventListener('abort', cancel);
    }
    if (source.closed()) return false;
    this.readUpTo = Math.max(this.readUpTo, source.lastSequence());
    reader.extend(this.readUpTo);
    return true;
  }

  private run(reader: NativeReader, data: Buffer, descriptors: Descriptors): Promise<number> {
    return this.source.track(settle(reader.fillAsync(data, descriptors.buffer)));
  }

  /** What a fill has come to: a chunk, without records when nothing of a compressed batch is wanted; `null` at the end. */
  private filled(data: Buffer, descriptors: Descriptors, count: number): Chunk | null {
    if (count > 0) {
      const used = descriptors.bytesOf(count);
      const compressed = descriptors.codec !== 0;
      const chunk = compressed
        ? this.expand(data, descriptors)
        : new Chunk(this.fitted(data, used), descriptors, count);
      if (used >= behindBytes || (compressed && chunk.lastSequence < this.readUpTo)) this.caughtUp = false;
      this.remaining -= chunk.count;
      return chunk;
    }
    const failure: NativeFailure | null = count < 0 ? (this.reader as NativeReader).lastError() : null;
    if (failure !== null || !this.request.live) this.close();
    else this.giveBack(data, descriptors);
    if (failure !== null) throw fromNative(failure);
    return null;
  }

  /** The `used` bytes of a chunk, not in much more memory than they need. */
  private fitted(data: Buffer, used: number): Buffer {
    if (used >= data.length * leastFilled) return data;
    this.unusedData = data;
    const own = Buffer.allocUnsafe(used);
    own.set(data.subarray(0, used)); // copy() looks at what it was given for longer than this takes
    return own;
  }

  /** The records of the compressed batch that is in `data`. Their bytes are in what came of it. */
  private expand(data: Buffer, descriptors: Descriptors): Chunk {
    const [, , , , start, bytes, plainBytes] = descriptors.uint32 as unknown as number[];
    const compressed = data.subarray(start, (start as number) + (bytes as number));
    const sequence = descriptors.float64[0] as number;
    try {
      const plain = decompressBatch(descriptors.codec, compressed, plainBytes as number, sequence);
      const records = (this.reader as NativeReader).expand(plain);
      if (typeof records === 'number') throw fromNative((this.reader as NativeReader).lastError());
      this.unusedData = data;
      const { buffer, byteOffset, length } = plain;
      const count = records.byteLength / this.source.descriptorBytes;
      return new Chunk(Buffer.from(buffer, byteOffset, length), new Descriptors(records), count);
    } catch (error) {
      this.close();
      throw error;
    }
  }

  /** Nothing was read into them. */
  private giveBack(data: Buffer, descriptors: Descriptors): void {
    this.unusedData = data;
    this.unusedDescriptors.push(descriptors);
  }

  private throwIfAborted(): void {
    const { signal } = this.request;
    if (signal?.aborted === true) throw new WalError('WAL_ABORTED', 'the read was aborted', { cause: signal.reason });
  }

  private assertGoing(): void {
    try {
      this.throwIfAborted();
      this.source.assertOpen();
    } catch (error) {
      this.close();
      throw error;
    }
  }

  private takeData(): Buffer {
    const unused = this.unusedData;
    if (unused !== null) {
      this.unusedData = null;
      return unused;
    }
    const bytes = this.nextBytes;
    this.nextBytes = Math.min(bytes * 2, this.maxChunkBytes);
    return Buffer.allocUnsafeSlow(bytes);
  }

  private takeDescriptors(): Descriptors {
    const bytes = Math.ceil(this.nextBytes / chunkBytesPerDescriptor) * this.source.descriptorBytes;
    const unused = this.unusedDescriptors.pop();
    return unused !== undefined && unused.buffer.byteLength >= bytes ? unused : new Descriptors(new ArrayBuffer(bytes));
  }
}

/**
 * The records of a request, to be iterated as often as wanted, in a `for` or a `for await` loop. Each iteration ends with
 * the last record that is in the log when it starts. Leaving the loop early lets go of the log's files.
 */
export class RecordRange<T> implements Iterable<WalRecord<T>>, AsyncIterable<WalRecord<T>> {
  constructor(
    private readonly source: ReadSource<T>,
    private readonly request: ReadRequest,
  ) {}

  [Symbol.iterator](): IterableIterator<WalRecord<T>> {
    if (this.request.live) throw new TypeError('a live read waits: iterate it with for await');
    return new RecordIterator(new Cursor(this.source, this.request, defaultChunkBytes), this.source.codec);
  }

  [Symbol.asyncIterator](): AsyncIterableIterator<WalRecord<T>> {
    return new AsyncRecordIterator(new Cursor(this.source, this.request, defaultChunkBytes), this.source.codec);
  }
}

/** By hand and not by a generator, which takes half as long again. */
class RecordIterator<T> implements IterableIterator<WalRecord<T>> {
  private chunk: Chunk | null = null;
  private index = 0;
  private count = 0;
  private done = false;

  constructor(
    private readonly cursor: Cursor<T>,
    private readonly codec: Codec<T> | undefined,
  ) {}

  [Symbol.iterator](): this {
    return this;
  }

  next(): IteratorResult<WalRecord<T>, undefined> {
    if (this.index === this.count && !this.advance()) return { value: undefined, done: true };
    return { value: this.make(this.chunk as Chunk, this.index++), done: false };
  }

  return(): IteratorResult<WalRecord<T>, undefined> {
    this.finish();
    return { value: undefined, done: true };
  }

  private make(chunk: Chunk, index: number): WalRecord<T> {
    if (this.codec === undefined) return makeRecord<T>(chunk, index, undefined);
    try {
      return makeRecord(chunk, index, this.codec);
    } catch (error) {
      this.finish(); // who iterates does not call return() after an error of next()
      throw error;
    }
  }

  private advance(): boolean {
    if (this.done) return false;
    if (this.chunk !== null) this.cursor.release(this.chunk);
    this.chunk = null;
    this.index = this.count = 0;
    this.done = true; // unless there is more
    const chunk = this.cursor.fill();
    if (chunk === null) return false;
    this.done = false;
    this.chunk = chunk;
    this.count = chunk.count;
    return true;
  }

  private finish(): void {
    this.done = true;
    this.chunk = null;
    this.index = this.count = 0;
    this.cursor.close();
  }
}

/** Chunks ahead of time: while one is consumed, the next is read on a native thread, unless the log has no more yet. */
class Prefetcher<T> {
  private next: Promise<Chunk | null> | null = null;
  private ended = false;

  constructor(private readonly cursor: Cursor<T>) {}

  async take(): Promise<Chunk | null> {
    if (this.ended) return null;
    this.next ??= this.cursor.fillAsync();
    const chunk = await this.next;
    this.next = null;
    if (chunk === null) this.ended = true;
    if (this.ended) return null;
    // At the end of the log there is nothing to read ahead, and whoever waits for this chunk would wait for the attempt.
    if (this.cursor.caughtUp) return chunk;
    this.next = this.cursor.fillAsync();
    this.next.catch(() => undefined); // whoever takes it next hears of its failure
    return chunk;
  }

  release(chunk: Chunk): void {
    this.cursor.release(chunk);
  }

  /** Resolves when the native side is done with the buffers. */
  async close(): Promise<void> {
    this.ended = true;
    this.cursor.close(); // a fill under way keeps the native side until it is done
    await this.next?.catch(() => undefined);
  }
}

interface Consumer<V> {
  resolve(result: IteratorResult<V, undefined>): void;
  reject(error: unknown): void;
}

/**
 * Hands out records at once while a chunk lasts. Calls of `next` beyond that wait in a queue, so that also a caller who
 * does not wait for one result before asking for the next gets them in order.
 */
class AsyncRecordIterator<T> implements AsyncIterableIterator<WalRecord<T>> {
  private readonly chunks: Prefetcher<T>;
  private readonly consumers: Consumer<WalRecord<T>>[] = [];
  private chunk: Chunk | null = null;
  private index = 0;
  private count = 0;
  private done = false;

  constructor(
    cursor: Cursor<T>,
    private readonly codec: Codec<T> | undefined,
  ) {
    this.chunks = new Prefetcher(cursor);
  }

  [Symbol.asyncIterator](): this {
    return this;
  }

  next(): Promise<IteratorResult<WalRecord<T>, undefined>> {
    if (this.index < this.count) {
      try {
        return Promise.resolve({ value: this.make(), done: false });
      } catch (error) {
        return this.failed(error as Error);
      }
    }
    if (this.done) return Promise.resolve({ value: undefined, done: true });
    return new Promise((resolve, reject) => {
      this.consumers.push({ resolve, reject });
      if (this.consumers.length === 1) void this.serve();
    });
  }

  async return(): Promise<IteratorResult<WalRecord<T>, undefined>> {
    this.finish();
    await this.chunks.close();
    return { value: undefined, done: true };
  }

  /** Gets chunks until nobody waits. Never rejects. */
  private async serve(): Promise<void> {
    try {
      while (this.consumers.length > 0 && (await this.advance())) {
        while (this.consumers.length > 0 && this.index < this.count) {
          const value = this.make();
          this.consumers.shift()?.resolve({ value, done: false });
        }
      }
    } catch (error) {
      this.consumers.shift()?.reject(error);
      this.finish();
    }
  }

  private async advance(): Promise<boolean> {
    if (this.chunk !== null) this.chunks.release(this.chunk);
    this.chunk = null;
    this.index = this.count = 0;
    const chunk = await this.chunks.take();
    if (chunk === null || this.done) {
      this.finish();
      return false;
    }
    this.chunk = chunk;
    this.count = chunk.count;
    return true;
  }

  private make(): WalRecord<T> {
    return makeRecord(this.chunk as Chunk, this.index++, this.codec);
  }

  private failed(error: Error): Promise<never> {
    this.finish();
    return Promise.reject(error);
  }

  private finish(): void {
    this.done = true;
    this.chunk = null;
    this.index = this.count = 0;
    for (const consumer of this.consumers.splice(0)) consumer.resolve({ value: undefined, done: true });
    void this.chunks.close();
  }
}

/** The records of a request, a chunk at a time. */
export class BatchRange<T> implements AsyncIterable<WalRecord<T>[]> {
  constructor(
    private readonly source: ReadSource<T>,
    private readonly request: ReadRequest,
    private readonly batchBytes: number,
  ) {}

  async *[Symbol.asyncIterator](): AsyncGenerator<WalRecord<T>[], undefined> {
    const chunks = new Prefetcher(new Cursor(this.source, this.request, this.batchBytes));
    try {
      for (let chunk = await chunks.take(); chunk !== null; chunk = await chunks.take()) {
        const batch = new Array<WalRecord<T>>(chunk.count);
        for (let i = 0; i < chunk.count; i++) batch[i] = makeRecord(chunk, i, this.source.codec);
        chunks.release(chunk);
        yield batch;
      }
    } finally {
      await chunks.close();
    }
  }
}

/** Reads single records through memory that is used again, and hands out copies. */
export class RecordFinder<T> {
  private readonly scratch = Buffer.allocUnsafeSlow(firstChunkBytes);
  private readonly descriptors: Descriptors;

  constructor(
    private readonly native: NativeLog,
    private readonly source: ReadSource<T>,
  ) {
    this.descriptors = new Descriptors(new ArrayBuffer(source.descriptorBytes));
  }

  find(sequence: number): WalRecord<T> | undefined {
    const { native, descriptors } = this;
    let data = this.scratch;
    let count = native.readOne(sequence, data, descriptors.buffer);
    if (count <= needsMoreBytes) {
      data = Buffer.allocUnsafeSlow(needsMoreBytes - count);
      count = native.readOne(sequence, data, descriptors.buffer);
    }
    if (count < 0) throw fromNative(native.lastError());
    if (count === 0) return undefined;
    if (descriptors.codec !== 0) return this.findCompressed(sequence);
    return makeRecord(this.own(data), 0, this.source.codec);
  }

  /** All of its batch has to be decompressed. */
  private findCompressed(sequence: number): WalRecord<T> | undefined {
    const chunk = new Cursor(this.source, oneRecord(sequence), defaultChunkBytes).fill();
    return chunk === null ? undefined : makeRecord(chunk, 0, this.source.codec);
  }

  /** The one record in `data` as a chunk that nobody else will write to. */
  private own(data: Buffer): Chunk {
    const owned = data === this.scratch ? Buffer.from(data.subarray(0, this.descriptors.bytesOf(1))) : data;
    return new Chunk(owned, this.descriptors, 1);
  }
}
