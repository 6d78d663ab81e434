import { existsSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

import { WalManager } from '../../lib';
import type { WalOptions } from '../../lib';

/** The smallest that there is: fills quickly. */
export const smallSegment = 64 * 1024;

/** New logs are of segments smaller than the default, which take their time to allocate. */
const usualSegment = 4 * 1024 * 1024;

/** A directory for each test, and the logs that the test opens; all gone when it ends. */
export class Logs {
  directory = '';
  private readonly opened: WalManager<never>[] = [];

  /** Where the log lies. Nothing is there when a test begins. */
  get path(): string {
    return join(this.directory, 'log');
  }

  async open<T = Buffer>(options: WalOptions<T> = {}, path = this.path): Promise<WalManager<T>> {
    const { segmentSize = existsSync(path) ? undefined : usualSegment } = options;
    const wal = await WalManager.open<T>(path, { ...options, segmentSize });
    this.opened.push(wal as unknown as WalManager<never>);
    return wal;
  }

  /** A closed log with one record for each of `data`. */
  async make(data: readonly string[], options: WalOptions = {}): Promise<void> {
    const wal = await this.open(options);
    for (const each of data) wal.append(each);
    await wal.close();
  }

  begin(): void {
    this.directory = mkdtempSync(join(tmpdir(), 'segwal-'));
  }

  async end(): Promise<void> {
    await Promise.allSettled(this.opened.splice(0).map((wal) => wal.close()));
    rmSync(this.directory, { recursive: true, force: true });
  }
}

export function useLogs(): Logs {
  const logs = new Logs();
  beforeEach(() => {
    logs.begin();
  });
  afterEach(() => logs.end());
  return logs;
}
