// The checksum that the core puts on what is appended, against that of another implementation. It is computed while the
// data is copied, from wherever it lies, in whatever pieces; so it is looked at where it ends up.
import { crc32c } from '@node-rs/crc32';
import { rmSync } from 'node:fs';
import { join } from 'node:path';

import { WalManager } from '../lib';
import { randomFrom } from './helpers/appends';
import { headerSize, identityOf, padded } from './helpers/format';
import { LogFiles, makeFastDirectory } from './helpers/log-files';

const seed = Number(process.env.SEGWAL_SEED ?? Math.floor(Math.random() * 1e9));
const random = randomFrom(seed);
const upTo = (limit: number): number => Math.floor(random() * limit);

const pool = Buffer.from(Array.from({ length: 1 << 20 }, () => upTo(256)));
/** Bytes that begin at an address with this remainder by 64. */
const bytesAt = (alignment: number, length: number): Buffer => pool.subarray(alignment, alignment + length);

let directory = '';
beforeAll(() => {
  directory = makeFastDirectory();
});
afterAll(() => {
  rmSync(directory, { recursive: true, force: true });
});

/** The frames of a log that `append` fills: for each its checksum, and what that should be. */
async function checksums(append: (wal: WalManager) => void): Promise<{ actual: number[]; expected: number[] }> {
  const path = join(directory, 'log');
  rmSync(path, { recursive: true, force: true });
  const wal = await WalManager.open(path, { segmentSize: 32 << 20 });
  append(wal);
  const { appends } = wal.stats();
  await wal.close();

  const segment = LogFiles.read(path).segment(1);
  const salt = Buffer.alloc(8);
  salt.writeBigUInt64LE(identityOf(segment).salt);
  const [actual, expected]: [number[], number[]] = [[], []];
  for (let at = headerSize, length = 0; actual.length < appends; at += padded(length)) {
    length = segment.readUInt32LE(at);
    actual.push(segment.readUInt32LE(at + 4));
    const covered = [salt, segment.subarray(at, at + 4), segment.subarray(at + 8, at + length)];
    expected.push(crc32c(Buffer.concat(covered)));
  }
  return { actual, expected };
}

async function expectRightChecksums(append: (wal: WalManager) => void): Promise<void> {
  const { actual, expected } = await checksums(append);
  expect(actual.length).toBeGreaterThan(100);
  expect(actual).toEqual(expected);
}

describe(`CRC32C (SEGWAL_SEED=${seed})`, () => {
  test('the other implementation is one of CRC32C', () => {
    expect(crc32c('123456789')).toBe(0xe3069283); // RFC 3720 has the polynomial; this is the customary check value
    expect(crc32c(Buffer.alloc(32))).toBe(0x8a9136aa); // RFC 3720, B.4
  });

  test('is right for records of every length up to 600 bytes, from every alignment', async () => {
    await expectRightChecksums((wal) => {
      for (let length = 0; length <= 600; length++) {
        for (let alignment = 0; alignment < 8; alignment++) wal.append(bytesAt(alignment, length));
      }
    });
  });

  test('is right behind keys of every length up to 100 bytes', async () => {
    await expectRightChecksums((wal) => {
      for (let keyLength = 0; keyLength <= 100; keyLength++) {
        for (let length = 0; length <= 24; length++) {
          wal.append(bytesAt(length % 8, length), { key: bytesAt(keyLength % 8, keyLength), kind: keyLength });
        }
      }
    });
  });

  test('is right for long records, at and around the lengths where the way of computing changes', async () => {
    await expectRightChecksums((wal) => {
      for (let power = 9; power <= 17; power++) {
        for (let around = -9; around <= 9; around++) wal.append(bytesAt(upTo(64), 2 ** power + around));
      }
      for (let i = 0; i < 100; i++) wal.append(bytesAt(upTo(64), upTo(100_000)));
    });
  });

  test('is right for strings', async () => {
    await expectRightChecksums((wal) => {
      for (let length = 0; length <= 300; length++) wal.append('aé水🌊'.repeat(100).slice(0, 2 * length));
    });
  });

  test('is right for batches, however their bytes are split into records', async () => {
    await expectRightChecksums((wal) => {
      for (let i = 0; i < 300; i++) {
        const records = Array.from({ length: 1 + upTo(40) }, () => ({
          data: bytesAt(upTo(64), upTo(random() < 0.1 ? 10_000 : 200)),
          kind: upTo(256),
          key: random() < 0.3 ? bytesAt(upTo(64), upTo(30)) : null,
        }));
        wal.appendBatch(records);
      }
    });
  });

  test('is right for packed batches, however their bytes are split into records', async () => {
    await expectRightChecksums((wal) => {
      for (let i = 0; i < 300; i++) {
        const buffer = bytesAt(upTo(64), upTo(50_000));
        const offsets = Uint32Array.from({ length: 2 + upTo(60) }, () => upTo(buffer.length + 1)).sort();
        wal.appendBatch({ buffer, offsets, kind: upTo(256), key: random() < 0.5 ? bytesAt(upTo(64), upTo(30)) : null });
      }
    });
  });
});
