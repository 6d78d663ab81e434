// What a process holds of the logs below a directory, to see what is left behind.
import { readFileSync, readdirSync, readlinkSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';

export interface Holdings {
  threads: number;
  descriptors: number;
  mappings: number;
}

export function holdings(directory: string): Holdings {
  // Only Linux tells. Elsewhere nothing is counted, and the rounds show that nothing is lost and nothing hangs.
  if (process.platform !== 'linux') return { threads: 0, descriptors: 0, mappings: 0 };
  const links = readdirSync('/proc/self/fd').map((name) => {
    try {
      return readlinkSync(`/proc/self/fd/${name}`);
    } catch {
      return ''; // that of the listing itself
    }
  });
  return {
    threads: readdirSync('/proc/self/task').length,
    descriptors: links.filter((link) => link.startsWith(directory)).length,
    mappings: readFileSync('/proc/self/maps', 'latin1')
      .split('\n')
      .filter((line) => line.includes(` ${directory}`)).length,
  };
}

export function isMore(now: Holdings, before: Holdings): boolean {
  return now.threads > before.threads || now.descriptors > before.descriptors || now.mappings > before.mappings;
}

/** Waits, at most ten seconds, until no more is held than at the beginning. */
export async function settled(directory: string, before: Holdings): Promise<Holdings> {
  for (let patience = 1000; ; patience--) {
    const now = holdings(directory);
    if (!isMore(now, before) || patience === 0) return now;
    await sleep(10);
  }
}
