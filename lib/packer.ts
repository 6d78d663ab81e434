import type { RecordInput } from './records';

const maxBytes = 256 * 1024;
const maxRecords = 4096;

/**
 * Copies the records of a small array behind each other, which is how the native side takes many records fastest: to
 * ask an array for its elements one by one costs it more than an append.
 */
export class Packer {
  private buffer: Uint8Array | undefined;
  private readonly offsets = new Uint32Array(maxRecords + 1);

  /**
   * The records as one buffer, to be used before the next call. `undefined` when they are too many or too large, or
   * anything in them is more than plain bytes, or not what it should be: that is for somebody else to look at.
   */
  pack(records: readonly unknown[]): { buffer: Uint8Array; offsets: Uint32Array } | undefined {
    const count = Array.isArray(records) ? records.length : 0;
    if (count === 0 || count > maxRecords) return undefined;
    const buffer = (this.buffer ??= new Uint8Array(maxBytes));
    const { offsets } = this;
    let end = 0;
    for (let i = 0; i < count; i++) {
      const record = records[i] as RecordInput | null | undefined;
      if (!isPlain(record)) return undefined;
      const { data } = record;
      if (data.length > maxBytes - end) return undefined;
      buffer.set(data, end);
      end += data.length;
      offsets[i + 1] = end;
    }
    return { buffer, offsets: offsets.subarray(0, count + 1) };
  }
}

function isPlain(record: RecordInput | null | undefined): record is { data: Buffer } {
  return (
    typeof record === 'object' &&
    record !== null &&
    record.data instanceof Uint8Array &&
    record.kind === undefined &&
    record.key === undefined
  );
}
