import type { WalManager } from './wal-manager';

/**
 * What {@link WalManager} and {@link NullWal} have in common, which is everything: the type for whatever uses a log that
 * may be switched off. `enabled` tells the two apart.
 */
export interface Wal<T = Buffer> extends Omit<WalManager<T>, 'enabled'> {
  /** Whether anything is stored. */
  readonly enabled: boolean;
}
