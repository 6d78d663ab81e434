import { isUtf8 } from 'node:buffer';

import { Operation } from '../operation';
import type { WalRecord } from '../records';
import { print, formatTime } from './output';

export const recordLineHelp = `Each record is a line of JSON:
  {"sequence":1,"time":"2026-01-31T12:00:00.000000Z","kind":0,"key":"a","data":"…","encoding":"utf8"}
"encoding" is "base64" for data that is not valid UTF-8. "key" is null for a record without one; a key that is not
valid UTF-8 is in base64, and "keyEncoding" says so.`;

const blockCharacters = 64 * 1024;

/** A record as a line of JSON. */
export function toLine({ sequence, timestamp, kind, key, data }: WalRecord): string {
  const encoding = encodingOf(data);
  return (
    `{"sequence":${sequence},"time":"${timeOf(timestamp)}","kind":${kind},${keyFields(key)},` +
    `"data":${JSON.stringify(data.toString(encoding))},"encoding":"${encoding}"}\n`
  );
}

function keyFields(key: Buffer | null): string {
  if (key === null) return '"key":null';
  const encoding = encodingOf(key);
  const field = `"key":${JSON.stringify(key.toString(encoding))}`;
  return encoding === 'utf8' ? field : `${field},"keyEncoding":"${encoding}"`;
}

let latest = { timestamp: NaN, text: '' };

/** Many records are of the same tick of the log's clock. */
function timeOf(timestamp: number): string {
  if (latest.timestamp !== timestamp) latest = { timestamp, text: formatTime(timestamp) };
  return latest.text;
}

function encodingOf(bytes: Buffer): 'utf8' | 'base64' {
  return isUtf8(bytes) ? 'utf8' : 'base64';
}

/** Prints records as lines, in blocks. Returns how many. */
export async function printRecords(records: Iterable<WalRecord>): Promise<number> {
  let count = 0;
  let block = '';
  for (const record of records) {
    block += toLine(record);
    count++;
    if (block.length >= blockCharacters) {
      await print(block);
      block = '';
    }
  }
  if (block !== '') await print(block);
  return count;
}

/** A kind by its number, or by the name of an operation (`insert`, `update`, …). */
export function parseKind(text: string): number | undefined {
  const named = Object.entries(Operation).find(([name]) => name.toLowerCase() === text.toLowerCase());
  if (named !== undefined) return named[1];
  return /^\d{1,3}$/.test(text) && Number(text) <= 255 ? Number(text) : undefined;
}
