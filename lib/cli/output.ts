import { once } from 'node:events';

/** Writes to standard output, and waits while whoever reads it is slower. */
export async function print(text: string): Promise<void> {
  if (!process.stdout.write(text)) await once(process.stdout, 'drain');
}

/** One line on standard error. */
export function complain(code: string, message: string): void {
  process.stderr.write(`segwal: ${code}: ${message.replace(/\s*\n\s*/g, ' ')}\n`);
}

/** Whoever read our output has read enough (`segwal dump … | head`): that is a success, and nobody wants to hear of it. */
export function endQuietlyWithReader(): void {
  process.stdout.on('error', (error: NodeJS.ErrnoException) => {
    // On Windows it is the one or the other, as it happens.
    process.exit(error.code === 'EPIPE' || error.code === 'EOF' ? 0 : 3);
  });
  process.stderr.on('error', () => undefined);
}

export function formatCount(count: number): string {
  return count.toLocaleString('en-US');
}

export function formatBytes(bytes: number): string {
  const units = ['bytes', 'KiB', 'MiB', 'GiB', 'TiB'];
  let value = bytes;
  let unit = 0;
  while (value >= 1024 && unit < units.length - 1) {
    value /= 1024;
    unit++;
  }
  return `${unit === 0 ? formatCount(value) : value.toFixed(1)} ${units[unit] ?? ''}`;
}

/** ISO 8601 in UTC, to the µs. */
export function formatTime(ms: number): string {
  const microseconds = Math.round(ms * 1000);
  const fraction = String(microseconds % 1_000_000).padStart(6, '0');
  return `${new Date(Math.floor(microseconds / 1_000_000) * 1000).toISOString().slice(0, -5)}.${fraction}Z`;
}

export function formatRange(first: number, last: number): string {
  return last < first || last === 0 ? 'none' : `${first} to ${last}`;
}

/** Columns as wide as they need to be; numbers are right-aligned by being padded by the caller's `align`. */
export function formatTable(rows: readonly (readonly string[])[], align: readonly ('left' | 'right')[]): string {
  const widths = align.map((_, column) => Math.max(...rows.map((row) => (row[column] ?? '').length)));
  const line = (row: readonly string[]): string =>
    row
      .map((cell, i) => (align[i] === 'right' ? cell.padStart(widths[i] ?? 0) : cell.padEnd(widths[i] ?? 0)))
      .join('  ')
      .trimEnd();
  return rows.map((row) => `${line(row)}\n`).join('');
}
