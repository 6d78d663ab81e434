// Format version 1 of the files of a log, as docs/FORMAT.md has it, read and written by code of its own: a second opinion
// on native/core/format.cc. Sizes and sequence numbers are numbers, salts are bigints.
import { gunzipSync } from 'node:zlib';

import { crc32c } from '@node-rs/crc32';

export const headerSize = 4096;
export const frameHeaderSize = 24;
export const claimed = 0x8000_0000;

const sectorSize = 512;
const sealAt = 512;
const liveAt = 1024;
const markAt = 1536;
const identityMagic = Buffer.from('segwal\x1a\n', 'latin1');
const metaMagic = Buffer.from('segwlM\x1a\n', 'latin1');
const version = 1;

export const flag = { batch: 1, key: 2, filler: 4, codec: 7 << 3 } as const;

function u16(value: number): Buffer {
  const bytes = Buffer.alloc(2);
  bytes.writeUInt16LE(value);
  return bytes;
}

function u32(value: number): Buffer {
  const bytes = Buffer.alloc(4);
  bytes.writeUInt32LE(value);
  return bytes;
}

function u64(value: number | bigint): Buffer {
  const bytes = Buffer.alloc(8);
  bytes.writeBigUInt64LE(BigInt(value));
  return bytes;
}

function number64(bytes: Buffer, at: number): number {
  return Number(bytes.readBigUInt64LE(at));
}

export function padded(length: number): number {
  return Math.ceil(length / 8) * 8;
}

/** The bytes that a sector begins with, then zeros, then the checksum of all of them. */
function sector(...parts: Buffer[]): Buffer {
  const bytes = Buffer.alloc(sectorSize);
  Buffer.concat(parts).copy(bytes);
  bytes.writeUInt32LE(crc32c(bytes.subarray(0, sectorSize - 4)), sectorSize - 4);
  return bytes;
}

function sectorHolds(bytes: Buffer): boolean {
  return bytes.readUInt32LE(sectorSize - 4) === crc32c(bytes.subarray(0, sectorSize - 4));
}

// ---- metadata/wal.meta ----

export interface Meta {
  logId: Buffer;
  segmentSize: number;
  /** µs since the epoch. */
  created: number;
  firstSegment: number;
  firstSequence: number;
  /** The last record at the last orderly close. */
  durableSequence: number;
}

export function encodeMeta(meta: Meta): Buffer {
  return sector(
    metaMagic,
    u32(version),
    u32(0),
    meta.logId,
    u64(meta.segmentSize),
    u64(meta.created),
    u64(meta.firstSegment),
    u64(meta.firstSequence),
    u64(meta.durableSequence),
  );
}

export function decodeMeta(bytes: Buffer): Meta | undefined {
  const known =
    bytes.length === sectorSize && bytes.subarray(0, 8).equals(metaMagic) && bytes.readUInt32LE(8) === version;
  if (!known || !sectorHolds(bytes)) return undefined;
  return {
    logId: bytes.subarray(16, 32),
    segmentSize: number64(bytes, 32),
    created: number64(bytes, 40),
    firstSegment: number64(bytes, 48),
    firstSequence: number64(bytes, 56),
    durableSequence: number64(bytes, 64),
  };
}

// ---- the header of a segment ----

export interface Identity {
  logId: Buffer;
  segment: number;
  /** Sequence number of the first record that the segment holds or will hold. */
  base: number;
  salt: bigint;
  size: number;
  /** µs since the epoch. */
  created: number;
  /** Compaction has written it: the file ends with its frames. */
  compacted?: boolean;
  /** The file had been another segment before. */
  recycled?: boolean;
}

export function writeIdentity(segment: Buffer, identity: Identity): void {
  const { logId, segment: id, base, salt, size, created, compacted = false, recycled = false } = identity;
  const bytes = sector(
    identityMagic,
    u32(version),
    u32((compacted ? 1 : 0) | (recycled ? 2 : 0)),
    logId,
    u64(id),
    u64(base),
    u64(salt),
    u64(size),
    u64(created),
  );
  bytes.copy(segment);
}

/** `undefined` when there is none, or none that its checksum vouches for. */
export function readIdentity(segment: Buffer): Identity | undefined {
  const known = segment.subarray(0, 8).equals(identityMagic) && segment.readUInt32LE(8) === version;
  if (!known || !sectorHolds(segment.subarray(0, sectorSize))) return undefined;
  return {
    logId: segment.subarray(16, 32),
    segment: number64(segment, 32),
    base: number64(segment, 40),
    salt: segment.readBigUInt64LE(48),
    size: number64(segment, 56),
    created: number64(segment, 64),
    compacted: (segment.readUInt32LE(12) & 1) !== 0,
    recycled: (segment.readUInt32LE(12) & 2) !== 0,
  };
}

/** The identity of a segment that must have one. */
export function identityOf(segment: Buffer): Identity {
  const identity = readIdentity(segment);
  if (identity === undefined) throw new Error('the segment has no valid identity');
  return identity;
}

export interface Seal {
  end: number;
  records: number;
  last: number;
  /** µs since the epoch. */
  earliest: number;
  latest: number;
  /** Of `records`: those that compaction removed. */
  removed?: number;
}

export function writeSeal(segment: Buffer, salt: bigint, seal: Seal): void {
  const { end, records, last, earliest, latest, removed = 0 } = seal;
  sector(u64(salt), ...[end, records, last, earliest, latest, removed].map(u64)).copy(segment, sealAt);
}

export function readSeal(segment: Buffer): Seal | undefined {
  const bytes = segment.subarray(sealAt, sealAt + sectorSize);
  if (!sectorHolds(bytes) || bytes.readBigUInt64LE(0) !== identityOf(segment).salt) return undefined;
  return {
    end: number64(bytes, 8),
    records: number64(bytes, 16),
    last: number64(bytes, 24),
    earliest: number64(bytes, 32),
    latest: number64(bytes, 40),
    removed: number64(bytes, 48),
  };
}

/** A durable watermark, as frames and marks hold it. */
export function encodeSynced(watermark: number, base: number): number {
  return watermark < base - 1 ? 0 : watermark - base + 2;
}

export function writeMark(segment: Buffer, watermark: number, { salt, base } = identityOf(segment)): void {
  const synced = u32(encodeSynced(watermark, base));
  Buffer.concat([synced, u32(crc32c(Buffer.concat([u64(salt), synced])))]).copy(segment, markAt);
}

/** The durable watermark that the mark of the segment vouches for; 0: none. */
export function readMark(segment: Buffer): number {
  const { salt, base } = identityOf(segment);
  const synced = segment.subarray(markAt, markAt + 4);
  const holds = segment.readUInt32LE(markAt + 4) === crc32c(Buffer.concat([u64(salt), synced]));
  return holds && synced.readUInt32LE() !== 0 ? base + synced.readUInt32LE() - 2 : 0;
}

/** Where the frames ended when the log was closed in order; 0: it was not. */
export function readOrderlyEnd(segment: Buffer): number {
  const { salt } = identityOf(segment);
  const synced = segment.subarray(markAt, markAt + 4);
  const end = segment.subarray(markAt + 64, markAt + 68);
  const holds = segment.readUInt32LE(markAt + 68) === crc32c(Buffer.concat([u64(salt), synced, end]));
  return holds ? end.readUInt32LE() * 8 : 0;
}

export function writeOrderlyEnd(segment: Buffer, end: number): void {
  const { salt } = identityOf(segment);
  const synced = segment.subarray(markAt, markAt + 4);
  const word = u32(end / 8);
  Buffer.concat([word, u32(crc32c(Buffer.concat([u64(salt), synced, word])))]).copy(segment, markAt + 64);
}

/** Takes back the mark and the orderly end. */
export function eraseMark(segment: Buffer): void {
  segment.fill(0, markAt, markAt + sectorSize);
}

export function eraseSeal(segment: Buffer): void {
  segment.fill(0, sealAt, sealAt + sectorSize);
}

export interface Live {
  end: number;
  records: number;
  sealed: boolean;
  boot: Buffer;
  pid: number;
}

export function readLive(segment: Buffer): Live {
  const word = segment.readBigUInt64LE(liveAt);
  return {
    end: Number(word & 0xffff_ffffn) * 8,
    records: Number((word >> 32n) & 0x7fff_ffffn),
    sealed: word >> 63n === 1n,
    boot: segment.subarray(liveAt + 64, liveAt + 80),
    pid: segment.readUInt32LE(liveAt + 80),
  };
}

export function writePointer(segment: Buffer, { end, records, sealed }: Omit<Live, 'boot' | 'pid'>): void {
  u64(BigInt(end / 8) | (BigInt(records) << 32n) | (BigInt(sealed) << 63n)).copy(segment, liveAt);
}

export function writeOwner(segment: Buffer, boot: Buffer, pid: number): void {
  boot.copy(segment, liveAt + 64, 0, 16);
  segment.writeUInt32LE(pid, liveAt + 80);
}

// ---- frames ----

export interface FormatRecord {
  kind: number;
  key: Buffer | null;
  data: Buffer;
}

export interface FrameHeader {
  /** Sequence number of the frame's first record, less the segment's base. */
  index: number;
  synced: number;
  /** µs since the segment's creation. */
  time: number;
}

export interface Frame extends FrameHeader {
  offset: number;
  /** Header included, padding excluded. */
  length: number;
  flags: number;
  /** Sequence numbers that it stands for. */
  count: number;
  /** None in a filler, and in a compressed batch unless the codec is gzip. */
  records: FormatRecord[];
  /** Of `count`: those that compaction removed. */
  removed: number;
  /** Of a batch: the place of each of `records` among `count`. */
  places?: number[];
}

function frameChecksum(salt: bigint, frame: Buffer): number {
  return crc32c(Buffer.concat([u64(salt), frame.subarray(0, 4), frame.subarray(8)]));
}

function encodeFrame(salt: bigint, header: FrameHeader, kind: number, flags: number, payload: Buffer): Buffer {
  const frame = Buffer.concat([Buffer.alloc(frameHeaderSize), payload]);
  frame.writeUInt32LE(frame.length, 0);
  frame.writeUInt32LE(header.index, 8);
  frame.writeUInt32LE(header.synced, 12);
  frame.writeUIntLE(header.time, 16, 6);
  frame.writeUInt8(kind, 22);
  frame.writeUInt8(flags, 23);
  frame.writeUInt32LE(frameChecksum(salt, frame), 4);
  return frame;
}

/** The frame of a single record, without the padding behind it. */
export function encodePlain(salt: bigint, header: FrameHeader, { kind, key, data }: FormatRecord): Buffer {
  const payload = key === null ? data : Buffer.concat([u16(key.length), key, data]);
  return encodeFrame(salt, header, kind, key === null ? 0 : flag.key, payload);
}

export function encodeBatch(salt: bigint, header: FrameHeader, records: readonly FormatRecord[]): Buffer {
  const parts = records.flatMap(({ kind, key, data }) => [
    u32(data.length),
    Buffer.of(kind, key === null ? 0 : flag.key),
    u16(key?.length ?? 0),
    key ?? Buffer.alloc(0),
    data,
  ]);
  return encodeFrame(salt, header, 0, flag.batch, Buffer.concat([u32(records.length), ...parts]));
}

/** A frame of `length` bytes that stands for `count` sequence numbers without a record. */
export function encodeFiller(salt: bigint, header: FrameHeader, length: number, count: number): Buffer {
  const payload = Buffer.alloc(length - frameHeaderSize);
  if (payload.length >= 4) payload.writeUInt32LE(count);
  return encodeFrame(salt, header, 0, flag.filler, payload);
}

function decodeBatch(payload: Buffer): { records: FormatRecord[]; places: number[]; removed: number } | undefined {
  const records: FormatRecord[] = [];
  const places: number[] = [];
  const count = payload.readUInt32LE(0);
  let [at, removed] = [4, 0];
  while (records.length + removed < count) {
    if (payload.length < at + 8) return undefined;
    if ((payload.readUInt8(at + 5) & flag.filler) !== 0) {
      if (payload.readUInt32LE(at) === 0 || payload.readUInt16LE(at + 6) !== 0) return undefined;
      removed += payload.readUInt32LE(at);
      at += 8;
      continue;
    }
    const keyAt = at + 8;
    const dataAt = keyAt + payload.readUInt16LE(at + 6);
    const end = dataAt + payload.readUInt32LE(at);
    if (payload.length < end) return undefined;
    places.push(records.length + removed);
    records.push({
      kind: payload.readUInt8(at + 4),
      key: (payload.readUInt8(at + 5) & flag.key) === 0 ? null : payload.subarray(keyAt, dataAt),
      data: payload.subarray(dataAt, end),
    });
    at = end;
  }
  if (at !== payload.length || count === 0 || records.length + removed !== count) return undefined;
  return { records, places, removed };
}

const gzipCodec = 3;

/** The kind of a filler for what compaction removed; 0 is for what was lost. */
const removedFiller = 1;

/** The payload of a compressed batch: its records, when the codec is gzip, and how many there are in any case. */
function decodeCompressed(payload: Buffer, codec: number): { count: number; records: FormatRecord[] } | undefined {
  if (payload.length <= 12) return undefined;
  const count = payload.readUInt32LE(0);
  const bytes = payload.readUInt32LE(8);
  if (payload.length !== Math.max(12 + bytes, 8 * count)) return undefined;
  if (codec !== gzipCodec) return { count, records: [] };
  const plain = gunzipSync(payload.subarray(12, 12 + bytes));
  const records = plain.length === payload.readUInt32LE(4) ? decodeBatch(plain)?.records : undefined;
  return records?.length === count ? { count, records } : undefined;
}

/** Makes the checksum of the frame at `offset` right again, after its bytes were changed. */
export function writeFrameChecksum(segment: Buffer, offset: number): void {
  const frame = segment.subarray(offset, offset + segment.readUInt32LE(offset));
  frame.writeUInt32LE(frameChecksum(identityOf(segment).salt, frame), 4);
}

function decodePlain(payload: Buffer, kind: number, flags: number): FormatRecord | undefined {
  if ((flags & flag.key) === 0) return { kind, key: null, data: payload };
  const dataAt = payload.length < 2 ? Infinity : 2 + payload.readUInt16LE(0);
  return payload.length < dataAt
    ? undefined
    : { kind, key: payload.subarray(2, dataAt), data: payload.subarray(dataAt) };
}

/** The frame at `offset`, when one that is valid there stands there. */
export function readFrame(segment: Buffer, offset: number, index: number): Frame | undefined {
  const { salt } = identityOf(segment);
  if (offset % 8 !== 0 || offset + frameHeaderSize > segment.length) return undefined;
  const length = segment.readUInt32LE(offset);
  if (length < frameHeaderSize || length >= claimed || offset + length > segment.length) return undefined;
  const bytes = segment.subarray(offset, offset + length);
  if (bytes.readUInt32LE(8) !== index || bytes.readUInt32LE(4) !== frameChecksum(salt, bytes)) return undefined;

  const [kind, flags] = [bytes.readUInt8(22), bytes.readUInt8(23)];
  const header = { offset, length, flags, index, synced: bytes.readUInt32LE(12), time: bytes.readUIntLE(16, 6) };
  const payload = bytes.subarray(frameHeaderSize);
  if ((flags & flag.filler) !== 0) {
    const count = payload.length < 4 ? 1 : payload.readUInt32LE(0);
    return { ...header, count, records: [], removed: kind === removedFiller ? count : 0 };
  }
  if ((flags & flag.codec) !== 0) {
    const compressed = decodeCompressed(payload, (flags & flag.codec) >> 3);
    return compressed && { ...header, ...compressed, removed: 0 };
  }
  if ((flags & flag.batch) !== 0) {
    const batch = payload.length < 4 ? undefined : decodeBatch(payload);
    return batch && { ...header, ...batch, count: batch.records.length + batch.removed };
  }
  const record = decodePlain(payload, kind, flags);
  return record && { ...header, count: 1, records: [record], removed: 0 };
}

/** The frames of a segment, from its first to the last before anything else. */
export function readFrames(segment: Buffer): Frame[] {
  const frames: Frame[] = [];
  let [offset, index] = [headerSize, 0];
  for (;;) {
    const frame = readFrame(segment, offset, index);
    if (frame === undefined) return frames;
    frames.push(frame);
    offset += padded(frame.length);
    index += frame.count;
  }
}

/** One past the last byte of the last frame, padding included. */
export function endOf(frames: readonly Frame[]): number {
  const last = frames.at(-1);
  return last === undefined ? headerSize : last.offset + padded(last.length);
}
