// The same instance for import and require: classes and errors are compared by identity.
export { NullWal, Operation, ReplayError, WalError, WalHold, WalManager } from './index.js';
export type * from './index.js';
