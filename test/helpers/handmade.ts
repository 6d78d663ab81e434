// Logs made by hand, byte by byte, to stand for what no well-behaved writer leaves behind.
import { randomBytes } from 'node:crypto';

import {
  claimed,
  encodeBatch,
  encodeFiller,
  encodeMeta,
  encodePlain,
  encodeSynced,
  headerSize,
  padded,
  writeIdentity,
  writeOwner,
  writePointer,
  writeSeal,
} from './format';
import type { FormatRecord, FrameHeader } from './format';
import { LogFiles, metaName, otherBoot, segmentName } from './log-files';
import { smallSegment } from './logs';
import type { PlainRecord } from './records';

const created = Date.UTC(2026, 0, 2, 3, 4, 5) * 1000;

/** What stands in the place of one frame. */
export type Piece =
  | { is: 'plain'; record: FormatRecord; watermark?: number }
  | { is: 'batch'; records: FormatRecord[] }
  | { is: 'filler'; length: number; count: number }
  /** Bytes that are no frame, in the place of one with `count` records. */
  | { is: 'hole'; count: number; bytes: Buffer };

export function text(data: string, key: string | null = null, kind = 0): FormatRecord {
  return { kind, key: key === null ? null : Buffer.from(key), data: Buffer.from(data) };
}

export const plainPiece = (data: string, key: string | null = null): Piece => ({
  is: 'plain',
  record: text(data, key),
});

/** Written when everything up to `watermark` was durable. */
export const pieceThatKnows = (watermark: number, data: string): Piece => ({
  is: 'plain',
  record: text(data),
  watermark,
});

export const batchPiece = (...data: string[]): Piece => ({ is: 'batch', records: data.map((each) => text(each)) });

/** Its writer died before it had committed: the claim is there, and half of the frame. */
export const claimedHole = (length: number, count = 1): Piece => {
  const bytes = Buffer.alloc(padded(length));
  bytes.fill('half', 4, Math.ceil(length / 2));
  bytes.writeUInt32LE((length | claimed) >>> 0);
  return { is: 'hole', count, bytes };
};

/** Its writer died before it had stored the claim. */
export const untouchedHole = (length: number, count = 1): Piece => ({
  is: 'hole',
  count,
  bytes: Buffer.alloc(padded(length)),
});

export interface HandmadeOptions {
  /** The boot in which it was written. */
  boot?: Buffer;
  /** Segments, by number, that get a seal. */
  sealed?: number[];
  firstSegment?: number;
  firstSequence?: number;
  /** Salt of each segment; random where none is given. */
  salts?: bigint[];
}

export interface Handmade {
  files: LogFiles;
  /** The records of the pieces that are frames. */
  records: PlainRecord[];
  /** Offset in its segment of each piece. */
  offsets: number[][];
}

function toFrame(
  piece: Piece,
  salt: bigint,
  header: FrameHeader,
): { bytes: Buffer; records: FormatRecord[]; count: number } {
  switch (piece.is) {
    case 'plain':
      return { bytes: encodePlain(salt, header, piece.record), records: [piece.record], count: 1 };
    case 'batch':
      return { bytes: encodeBatch(salt, header, piece.records), records: piece.records, count: piece.records.length };
    case 'filler':
      return { bytes: encodeFiller(salt, header, piece.length, piece.count), records: [], count: piece.count };
    case 'hole':
      return { bytes: piece.bytes, records: [], count: piece.count };
  }
}

/** A log whose segments consist of these pieces, of which nothing but seals says that anything was durable. */
export function handmade(segments: readonly Piece[][], options: HandmadeOptions = {}): Handmade {
  const { boot = otherBoot, sealed = [], firstSegment = 1, firstSequence = 1, salts = [] } = options;
  const logId = randomBytes(16);
  const files = LogFiles.of({
    [metaName]: encodeMeta({
      logId,
      segmentSize: smallSegment,
      created,
      firstSegment,
      firstSequence,
      durableSequence: 0,
    }),
  });
  const records: PlainRecord[] = [];
  const offsets: number[][] = [];
  let base = firstSequence;
  segments.forEach((pieces, i) => {
    const id = firstSegment + i;
    const segment = Buffer.alloc(smallSegment);
    const salt = salts[i] ?? randomBytes(8).readBigUInt64LE();
    writeIdentity(segment, { logId, segment: id, base, salt, size: smallSegment, created });
    writeOwner(segment, boot, 4711);
    let [offset, index] = [headerSize, 0];
    const places = pieces.map((piece) => {
      const place = offset;
      const watermark = piece.is === 'plain' ? (piece.watermark ?? 0) : 0;
      const frame = toFrame(piece, salt, { index, synced: encodeSynced(watermark, base), time: offset });
      frame.bytes.copy(segment, offset);
      frame.records.forEach(({ kind, key, data }, n) => {
        const sequence = base + index + n;
        records.push({ sequence, kind, key: key && key.toString('latin1'), data: data.toString('latin1') });
      });
      offset += padded(frame.bytes.length);
      index += frame.count;
      return place;
    });
    writePointer(segment, { end: offset, records: index, sealed: i + 1 < segments.length });
    if (sealed.includes(id)) {
      const times = { earliest: created + headerSize, latest: created + offset };
      writeSeal(segment, salt, { end: offset, records: index, last: base + index - 1, ...times });
    }
    files.set(segmentName(id), segment);
    offsets.push(places);
    base += index;
  });
  return { files, records, offsets };
}
