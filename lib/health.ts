import { readdir, readFile, statfs } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';

import type { RecoveryReport, WalStats } from './reports';

/** One thing that was looked at. */
export interface HealthCheck {
  /** `poisoned`, `room`, `lock`, `durable`, `sync`, `read`, `recovery`. */
  readonly name: string;
  readonly ok: boolean;
  /** For a person. */
  readonly detail: string;
}

/** How a log is. */
export interface HealthReport {
  /** Every check is. */
  readonly ok: boolean;
  readonly checks: readonly HealthCheck[];
}

/** What a health check needs of an open log. */
export interface HealthSource {
  readonly directory: string;
  readonly readOnly: boolean;
  readonly segmentSize: number;
  readonly recovery: RecoveryReport;
  /** Why nothing becomes durable any more, and why there is no room for the next segment. */
  readonly poisoned: () => Error | undefined;
  readonly noRoom: () => Error | undefined;
  /** Whether writes wait for room. */
  readonly writesWait: () => boolean;
  readonly stats: () => WalStats;
  readonly sync: () => Promise<number>;
  /** Reads the newest record. */
  readonly readNewest: () => void;
}

/** A sync that takes longer is as good as none. */
const syncLimitMs = 5000;

export async function checkHealth(source: HealthSource): Promise<HealthReport> {
  const poisoned = source.poisoned();
  const checks: HealthCheck[] = [
    { name: 'poisoned', ok: poisoned === undefined, detail: poisoned?.message ?? 'no' },
    await room(source),
    await lock(source),
    durable(source),
  ];
  if (!source.readOnly) checks.push(await sync(source));
  checks.push(read(source), await recovery(source));
  return { ok: checks.every(({ ok }) => ok), checks };
}

async function room({ directory, segmentSize, readOnly, noRoom }: HealthSource): Promise<HealthCheck> {
  const failure = noRoom();
  let free = Infinity;
  try {
    const { bavail, bsize } = await statfs(directory);
    free = bavail * bsize;
  } catch {
    // Not every system tells.
  }
  const told = free === Infinity ? 'unknown' : `${free} bytes are free, ${Math.floor(free / segmentSize)} segments`;
  // Who only reads cannot know whether the next segment is there already.
  const ok = failure === undefined && !(readOnly && free < segmentSize);
  return { name: 'room', ok, detail: failure === undefined ? told : `${failure.message}; ${told}` };
}

async function lock({ directory, readOnly }: HealthSource): Promise<HealthCheck> {
  let note: string;
  try {
    note = (await readFile(join(directory, 'LOCK'), 'utf8')).trim();
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    // Where locks are mandatory, one that is held cannot be read.
    const ok = readOnly || (code !== 'ENOENT' && code !== 'ENOTDIR');
    return { name: 'lock', ok, detail: `LOCK cannot be read (${code ?? 'unknown'})` };
  }
  if (readOnly) return { name: 'lock', ok: true, detail: note === '' ? 'nobody writes' : `held by ${note}` };
  const ok = note.startsWith(`pid ${process.pid} `);
  const detail = ok
    ? `held by ${note}`
    : `LOCK is not what this process wrote, but '${note}': the directory was replaced, and others can write to it`;
  return { name: 'lock', ok, detail };
}

function durable({ stats, writesWait }: HealthSource): HealthCheck {
  const { lastSequence, durableSequence, dirtyBytes } = stats();
  const behind = lastSequence - durableSequence;
  const waits = writesWait();
  const detail =
    behind === 0
      ? `to ${durableSequence}, all`
      : `to ${durableSequence}, all but ${behind} records (${dirtyBytes} bytes)`;
  return { name: 'durable', ok: !waits, detail: waits ? `${detail}; writes wait for the disk` : detail };
}

/** Makes everything durable, and looks at the time that it takes. */
async function sync(source: HealthSource): Promise<HealthCheck> {
  const begin = performance.now();
  const timeUp = new AbortController();
  try {
    const outcome = await Promise.race([
      source.sync().then(() => 'synced'),
      sleep(syncLimitMs, 'late', { signal: timeUp.signal, ref: false }),
    ]);
    const { syncs, syncLatency, lastSyncTimestamp } = source.stats();
    const last = lastSyncTimestamp === 0 ? 'none yet' : new Date(lastSyncTimestamp).toISOString();
    const detail =
      outcome === 'synced'
        ? `a barrier took ${(performance.now() - begin).toFixed(1)} ms`
        : `a barrier has taken more than ${syncLimitMs} ms`;
    const latency = `syncs: ${syncs}, p99 ${syncLatency.p99.toFixed(1)} ms, the last ended ${last}`;
    return { name: 'sync', ok: outcome === 'synced', detail: `${detail}; ${latency}` };
  } catch (error) {
    return { name: 'sync', ok: false, detail: (error as Error).message };
  } finally {
    timeUp.abort();
  }
}

function read({ readNewest }: HealthSource): HealthCheck {
  try {
    readNewest();
    return { name: 'read', ok: true, detail: 'the newest record can be read' };
  } catch (error) {
    return { name: 'read', ok: false, detail: (error as Error).message };
  }
}

/** That the log was not closed in order is no illness; that something durable was lost is. */
async function recovery({ directory, recovery: report }: HealthSource): Promise<HealthCheck> {
  const lost = report.findings.filter((finding) => finding.case === 'D');
  const how = report.clean ? 'closed in order the last time' : 'in use, or not closed in order the last time';
  const found = report.findings.length === 0 ? '' : `; ${report.findings.length} findings`;
  const given = lost.length === 0 ? '' : `, ${lost.length} of them of what was durable`;
  const kept = await readdir(join(directory, 'quarantine')).catch(() => []);
  const quarantine = kept.length === 0 ? '' : `; ${kept.length} files in quarantine`;
  return { name: 'recovery', ok: lost.length === 0, detail: how + found + given + quarantine };
}
