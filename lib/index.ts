export type { Codec, WalData } from './codec';
export { WalError } from './errors';
export type { WalErrorCode, WalErrorDetails } from './errors';
export { Operation } from './operation';
export type { SyncOptions, SyncPolicy, WalOptions } from './options';
export type { ReadBatchOptions, ReadOptions } from './read-options';
export type { PackedRecords, RecordInput, RecordOptions, WalRecord } from './records';
export type { Finding, RecoveryReport, SegmentInfo, VerifyReport, WalStats } from './reports';
export { WalManager } from './wal-manager';
