const newline = 0x0a;
const carriageReturn = 0x0d;
const empty = Buffer.alloc(0);

/**
 * Cuts a stream of bytes into lines. A line ends with LF, CR LF or the end of the stream; its end is not part of it.
 */
export class LineSplitter {
  private rest: Buffer[] = [];
  private restBytes = 0;

  /** Bytes of the line that has begun and not yet ended. */
  get pendingBytes(): number {
    return this.restBytes;
  }

  /** The lines that end in `chunk`. */
  push(chunk: Buffer): Buffer[] {
    const lines: Buffer[] = [];
    let start = 0;
    for (let end = chunk.indexOf(newline); end !== -1; end = chunk.indexOf(newline, start)) {
      lines.push(this.complete(chunk.subarray(start, end)));
      start = end + 1;
    }
    if (start < chunk.length) {
      this.rest.push(chunk.subarray(start));
      this.restBytes += chunk.length - start;
    }
    return lines;
  }

  /** The last line, when the stream does not end with a line end; else an empty one. */
  end(): Buffer {
    return this.complete(empty);
  }

  private complete(tail: Buffer): Buffer {
    const line = this.rest.length === 0 ? tail : Buffer.concat([...this.rest, tail]);
    this.rest = [];
    this.restBytes = 0;
    return line[line.length - 1] === carriageReturn ? line.subarray(0, -1) : line;
  }
}
