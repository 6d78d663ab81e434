// Golden logs: logs of each version of the format that later builds must read for ever. The files are compressed, for they
// are mostly zeros.
import { createHash } from 'node:crypto';
import { mkdirSync, readFileSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { gunzipSync, gzipSync } from 'node:zlib';

import type { WalRecord } from '../../lib';
import { LogFiles } from './log-files';

/** Bytes as the JSON beside a golden log has them: in hexadecimal, or, when they are many, as a digest. */
type Digest = string | { bytes: number; sha256: string };

export interface GoldenRecord {
  sequence: number;
  timestamp: number;
  kind: number;
  key: Digest | null;
  data: Digest;
}

function digest(bytes: Buffer): Digest {
  if (bytes.length <= 64) return bytes.toString('hex');
  return { bytes: bytes.length, sha256: createHash('sha256').update(bytes).digest('hex') };
}

export function toGolden({ sequence, timestamp, kind, key, data }: WalRecord): GoldenRecord {
  return { sequence, timestamp, kind, key: key && digest(key), data: digest(data) };
}

const directoryOf = (version: string): string => join(__dirname, '..', 'golden', version);

export function readGolden(version: string): { files: LogFiles; records: GoldenRecord[] } {
  const directory = join(directoryOf(version), 'log');
  const names = readdirSync(directory, { recursive: true, encoding: 'utf8' }).filter((name) => name.endsWith('.gz'));
  const files = names.map((name): [string, Buffer] => [
    name.replaceAll('\\', '/').replace(/\.gz$/, ''),
    gunzipSync(readFileSync(join(directory, name))),
  ]);
  const json = readFileSync(join(directoryOf(version), 'records.json'), 'utf8');
  return { files: LogFiles.of(Object.fromEntries(files)), records: JSON.parse(json) as GoldenRecord[] };
}

export function writeGolden(version: string, files: LogFiles, records: readonly GoldenRecord[]): void {
  const directory = directoryOf(version);
  rmSync(directory, { recursive: true, force: true });
  for (const name of files.names) {
    const path = join(directory, 'log', `${name}.gz`);
    mkdirSync(dirname(path), { recursive: true });
    writeFileSync(path, gzipSync(files.file(name), { level: 9 }));
  }
  const lines = records.map((record) => JSON.stringify(record));
  writeFileSync(join(directory, 'records.json'), `[\n${lines.join(',\n')}\n]\n`);
}
