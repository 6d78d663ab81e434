import * as zlib from 'node:zlib';

import { WalError } from './errors';
import type { NativeLog } from './native';
import { Operation } from './operation';
import type { Batch, PackedRecords } from './records';

/** How batches are compressed; see {@link WalOptions.compression}. */
export type Compression = 'none' | 'lz4' | 'zstd' | 'gzip';

export const compressions = ['none', 'lz4', 'zstd', 'gzip'] as const;

/** The number of a codec stands in the frames that it made: it never changes, and none is used again. */
const codecIds = { lz4: 1, zstd: 2, gzip: 3 } as const;
type CodecName = keyof typeof codecIds;

/** Below so many bytes a batch is stored as it is. */
const minPlainBytes = 256;

interface BlockCodec {
  compress(plain: Uint8Array): Uint8Array;
  /** What `compress` made of `plainBytes` bytes; throws when it is anything else, before it takes more memory. */
  decompress(bytes: Uint8Array, plainBytes: number): Uint8Array;
}

const loaders: Record<CodecName, () => BlockCodec> = { lz4: loadLz4, zstd: loadZstd, gzip: () => gzip };
const loaded: Partial<Record<CodecName, BlockCodec>> = {};

/**
 * The codec of this name.
 *
 * @throws {@link WalError} `WAL_CODEC_MISSING`, with what has to be done.
 */
function codecOf(name: CodecName): BlockCodec {
  return (loaded[name] ??= loaders[name]());
}

/** Makes the compressed form of batches, for a log that is to have them. */
export class BatchCompressor {
  private readonly codec: BlockCodec;
  private readonly id: number;

  /** @throws {@link WalError} `WAL_CODEC_MISSING`. */
  constructor(name: CodecName) {
    this.codec = codecOf(name);
    this.id = codecIds[name];
  }

  /** What appends the batch compressed; `undefined` when it has to be appended as it is, or cannot be appended. */
  ofBatch(native: NativeLog, { data, kinds, keys }: Batch): (() => number) | undefined {
    if (kinds?.some(isMark)) return undefined;
    return this.appendOf(native, native.packBatch(data, kinds, keys));
  }

  ofPacked(native: NativeLog, { buffer, offsets, kind = 0, key }: PackedRecords): (() => number) | undefined {
    if (isMark(kind)) return undefined;
    return this.appendOf(native, native.packPacked(buffer, offsets, kind, key ?? undefined));
  }

  private appendOf(native: NativeLog, plain: Uint8Array | number): (() => number) | undefined {
    if (typeof plain === 'number' || plain.length < minPlainBytes) return undefined;
    const compressed = this.codec.compress(plain);
    if (!native.compressionPays(plain, compressed.length)) return undefined;
    return () => native.appendCompressed(this.id, plain, compressed);
  }
}

/**
 * The marks of a transaction stay readable without a codec: compaction, which has none, has to see which records lie
 * between them.
 */
function isMark(kind: number): boolean {
  return kind === Operation.BeginTx || kind === Operation.CommitTx || kind === Operation.AbortTx;
}

/** `undefined` for `'none'`. */
export function compressorFor(name: Compression): BatchCompressor | undefined {
  return name === 'none' ? undefined : new BatchCompressor(name);
}

/**
 * The payload of a compressed batch as it was.
 *
 * @throws {@link WalError} `WAL_CODEC_MISSING`, `WAL_UNSUPPORTED_VERSION` (a codec of a newer segwal), `WAL_CORRUPT`; all
 * name the batch's first record.
 */
export function decompressBatch(id: number, bytes: Uint8Array, plainBytes: number, sequence: number): Uint8Array {
  const batch = `the batch that begins with record ${sequence}`;
  const where = { firstSequence: sequence, lastSequence: sequence };
  const name = (Object.keys(codecIds) as CodecName[]).find((each) => codecIds[each] === id);
  if (name === undefined) {
    throw new WalError(
      'WAL_UNSUPPORTED_VERSION',
      `${batch} is compressed with codec ${id}, which this version of segwal does not know`,
      where,
    );
  }
  let codec: BlockCodec;
  try {
    codec = codecOf(name);
  } catch (error) {
    const { message, cause } = error as WalError;
    throw new WalError('WAL_CODEC_MISSING', `${batch} cannot be read: ${message}`, { cause, ...where });
  }
  try {
    const plain = codec.decompress(bytes, plainBytes);
    if (plain.length !== plainBytes) throw new Error(`${plain.length} bytes came of it, and not ${plainBytes}`);
    return plain;
  } catch (cause) {
    const reason = cause instanceof Error ? cause.message : String(cause);
    throw new WalError('WAL_CORRUPT', `${batch} cannot be decompressed with ${name}: ${reason}`, { cause, ...where });
  }
}

/** The fast end of what it can. */
const gzip: BlockCodec = {
  compress: (plain) => zlib.gzipSync(plain, { level: 1 }),
  decompress: (bytes, plainBytes) => zlib.gunzipSync(bytes, { maxOutputLength: plainBytes }),
};

interface ZlibWithZstd {
  zstdCompressSync?: (data: Uint8Array) => Buffer;
  zstdDecompressSync?: (data: Uint8Array, options: { maxOutputLength: number }) => Buffer;
}

function loadZstd(): BlockCodec {
  const { zstdCompressSync, zstdDecompressSync } = zlib as ZlibWithZstd;
  if (zstdCompressSync === undefined || zstdDecompressSync === undefined) {
    throw new WalError(
      'WAL_CODEC_MISSING',
      `zstd needs Node.js 22.15 or later, or 23.8 or later; this is ${process.version}`,
    );
  }
  return {
    compress: zstdCompressSync,
    decompress: (bytes, plainBytes) => zstdDecompressSync(bytes, { maxOutputLength: plainBytes }),
  };
}

interface Lz4 {
  compressSync(data: Uint8Array): Buffer;
  uncompressSync(data: Uint8Array): Buffer;
}

/** Its blocks begin with the size of what was compressed, a little-endian u32, for which memory is taken. */
function loadLz4(): BlockCodec {
  let lz4: Lz4;
  try {
    // eslint-disable-next-line @typescript-eslint/no-require-imports -- optional, and only wanted where it is used
    lz4 = require('lz4-napi') as Lz4;
  } catch (cause) {
    throw new WalError('WAL_CODEC_MISSING', 'lz4 needs the package lz4-napi: npm install lz4-napi', { cause });
  }
  return {
    compress: (plain) => lz4.compressSync(plain),
    decompress: (bytes, plainBytes) => {
      const { buffer, byteOffset, length } = bytes;
      const size = length < 4 ? 0 : new DataView(buffer, byteOffset).getUint32(0, true);
      if (size !== plainBytes) throw new Error(`it claims to be of ${size} bytes, and not ${plainBytes}`);
      return lz4.uncompressSync(bytes);
    },
  };
}
