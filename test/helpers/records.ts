import type { RecordInput, WalManager, WalRecord } from '../../lib';

/** A record without its time, in values that jest compares and prints well. */
export interface PlainRecord {
  sequence: number;
  kind: number;
  key: string | null;
  data: string;
}

export function plain({ sequence, kind, key, data }: WalRecord): PlainRecord {
  return { sequence, kind, key: key === null ? null : key.toString('latin1'), data: data.toString('latin1') };
}

export function sequences(records: Iterable<WalRecord>): number[] {
  return Array.from(records, ({ sequence }) => sequence);
}

export function texts(records: Iterable<WalRecord>): string[] {
  return Array.from(records, ({ data }) => data.toString());
}

export async function collect<V>(values: AsyncIterable<V>): Promise<V[]> {
  const collected: V[] = [];
  for await (const value of values) collected.push(value);
  return collected;
}

/** Appends `count` records of `bytes` bytes, each of them different. */
export function appendMany(wal: WalManager, count: number, bytes = 100): string[] {
  const appended = Array.from({ length: count }, (_, i) => `record ${wal.lastSequence + i + 1} `.padEnd(bytes, '.'));
  for (const each of appended) wal.append(each);
  return appended;
}

/** Appends until `segments` segments have been begun. */
export function appendSegments(wal: WalManager, segments: number): void {
  while (wal.segments().length < segments) appendMany(wal, 20, 1000);
}

export function packed(records: readonly Uint8Array[]): { buffer: Uint8Array; offsets: Uint32Array } {
  const offsets = new Uint32Array(records.length + 1);
  records.forEach((record, i) => {
    offsets[i + 1] = (offsets[i] ?? 0) + record.length;
  });
  return { buffer: Buffer.concat(records), offsets };
}

export function inputs(...data: string[]): RecordInput[] {
  return data.map((each) => ({ data: each }));
}
