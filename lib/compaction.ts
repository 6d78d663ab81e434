import { checkInteger, checkOptions } from './validation';

/** What a compaction looks at. */
export interface CompactOptions {
  /**
   * Only records before this one are removed, and only for the sake of others before it: whoever has read the log up to
   * here, or knows its state there, finds everything from here on as it was. Default: the whole of the sealed segments.
   */
  before?: number;
}

/** What a compaction did. */
export interface CompactResult {
  /** Records that are left in the sealed segments that it looked at. */
  readonly recordsKept: number;
  readonly recordsRemoved: number;
  /** Bytes by which files became shorter. */
  readonly bytesFreed: number;
  readonly segmentsRewritten: number;
  /**
   * Segments that have something to remove, and that the system would not replace yet: on Windows somebody has them
   * mapped. The next compaction tries again.
   */
  readonly skipped: readonly { readonly segment: number; readonly reason: string }[];
}

/** Before which record to look; `Infinity`: everywhere. */
export function checkCompactOptions(options: unknown): number {
  checkOptions(options, ['before'], 'compact');
  const { before } = options as Record<keyof CompactOptions, unknown>;
  if (before === undefined) return Infinity;
  checkInteger('before', before, 1, Number.MAX_SAFE_INTEGER);
  return before;
}
