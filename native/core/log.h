// Log: one open write-ahead log. Ties the parts together; each part is a file of its own.
//
//   Appender   (appender.h)   one per writing thread: claim, copy, commit
//   Allocator  (allocator.h)  two threads: the next segment, and the touched window of the active one
//   Syncer     (syncer.h)     thread: walks to the committed end, syncs, moves the durable watermark
//   Reclaimer  (reclaimer.h)  thread: unmaps what nobody uses any more
//   Reader     (reader.h)     any number, any thread
//   Recover    (recovery.h)   before any of them
#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "core/holds.h"
#include "core/types.h"
#include "platform/platform.h"

namespace segwal {

class Appender;
class AppendListener;
class Reader;

// Told of progress from the log's threads; must not block, and must not call back into the log.
class DurabilityListener {
 public:
  virtual ~DurabilityListener() = default;
  // Everything up to `watermark` is durable.
  virtual void OnDurable(uint64_t watermark) = 0;
  // The log is poisoned: nothing more will become durable. Called once.
  virtual void OnPoisoned(const Status& cause) = 0;
  // kDiskFull: there is no room for the next segment, and appends will fail when the active one is full. Ok, later:
  // there is room again. In turns, each once.
  virtual void OnRoom(const Status& status) { static_cast<void>(status); }
  // The log was truncated behind a record. Everything up to `durable_before` had been durable; numbers behind the new
  // end are used again from now on.
  virtual void OnTruncated(uint64_t durable_before) { static_cast<void>(durable_before); }
};

// What became of waiting for the next append.
enum class FollowOutcome {
  kReady,    // there is one already
  kWaiting,  // the listener will be called, once
  kEnded,    // none will ever come: the log is poisoned or closed
};

// Threads: every method may be called from any thread, except that Close must not run beside an append.
class Log {
 public:
  // Opens `directory`, recovers it, starts the threads. Blocks for the disk. Fails with kLocked, kNotFound, kCorrupt,
  // kUnsupportedVersion, kSegmentSizeMismatch, kDiskFull or kIo.
  static Status Open(Platform& platform, const std::string& directory, const LogOptions& options,
                     std::shared_ptr<Log>* log);
  virtual ~Log() = default;  // closes, without making anything durable, when Close was not called

  virtual const std::string& directory() const = 0;
  virtual uint64_t segment_size() const = 0;
  virtual bool read_only() const = 0;
  virtual const RecoveryReport& recovery() const = 0;
  // What the log was opened with; whatever was left out is filled in.
  virtual const LogOptions& options() const = 0;
  // Bytes of the largest frame that fits into a segment.
  virtual uint64_t max_frame_size() const = 0;

  // One per thread that appends; must be gone before the log is closed. nullptr when read-only.
  virtual std::unique_ptr<Appender> NewAppender() = 0;

  // Of the first record that is kept; of the first one to come when there is none.
  virtual uint64_t first_sequence() = 0;
  // Of the last record that any reader may see: everything up to it is committed. 0 when there never was one.
  virtual uint64_t last_sequence() = 0;
  virtual uint64_t durable_sequence() = 0;

  // The last sequence number that was handed out, committed or not yet: what a barrier has to wait for.
  virtual uint64_t appended_sequence() = 0;

  // Asks for a sync that covers `sequence`; listeners hear of it. Returns at once. Fails when the log is poisoned or
  // closed: listeners hear nothing then.
  virtual Status RequestDurable(uint64_t sequence) = 0;
  // The same in the time that the policy of the log allows: with the next background sync, or at once when so many
  // records or bytes wait that the policy says so.
  virtual Status ExpectDurable(uint64_t sequence) = 0;
  // Blocks until `sequence` (at most last_sequence()) is durable, or the log is poisoned or closed.
  virtual Status WaitDurable(uint64_t sequence) = 0;
  virtual void AddListener(DurabilityListener* listener) = 0;
  virtual void RemoveListener(DurabilityListener* listener) = 0;  // when it returns, the listener is not called again

  // Waits for a record behind `sequence` to be committed. The listener (writer_state.h) is told from the thread that
  // commits it, or, in a read-only log, from one that looks for it. One wait of a listener at a time.
  virtual FollowOutcome FollowAppends(uint64_t sequence, AppendListener* listener) = 0;
  virtual void StopFollowing(AppendListener* listener) = 0;  // when it returns, the listener is not called any more

  // Goes on in the next segment, and seals the active one unless it is empty; it is durable then. Blocks for the disk.
  virtual Status Rotate() = 0;
  // Deletes whole segments all of whose records lie before `sequence`. Everything before the segments that stay is
  // durable first, and so is the identity of the first of them.
  virtual Status TruncateBefore(uint64_t sequence) = 0;

  // Deletes whole segments that neither the newest checkpoint nor the retention of the options needs any more, and that
  // nobody of this process reads or holds. What cannot be deleted yet is tried again, and said to have failed.
  virtual Status Cleanup(CleanupResult* result) = 0;
  // Cleanup keeps `sequence` and what follows as long as this lives; or less, when a part of that is going already.
  virtual std::unique_ptr<Holds::Hold> HoldFrom(uint64_t sequence) = 0;

  // Drops every record behind `sequence`, durably: either all of them or, when it fails before, none. Their numbers are
  // used again. What came before is durable first, checkpoints of dropped records are removed, and readers that would
  // go on behind `sequence` get kTruncated. kInsideBatch, with its range, in the middle of a batch, and kTruncated for
  // what is gone already; nothing happens then. kPoisoned when it failed midway: the next open finishes it.
  virtual Status TruncateAfter(uint64_t sequence) = 0;
  // Changes with each of these that this log has seen.
  virtual uint64_t truncations() const = 0;

  // Of the records with a key, keeps the latest of each key; one of kind Delete ends its key and goes too, as soon as
  // nobody can have missed it. Only in sealed segments, each of which is rewritten under another name and put in the
  // place of the old one atomically; sequence numbers stay. docs/COMPACTION.md has the rules. Blocks for the disk;
  // appends do not wait for it, nor does anybody else for long. kAborted when it was cancelled, kCorrupt when a frame
  // is damaged, kDiskFull, kIo, kPoisoned: what was done until then stays done, and is in `result`.
  virtual Status Compact(const CompactOptions& options, CompactResult* result) = 0;

  // Makes everything up to `sequence` durable, and says durably that an application has it elsewhere, with `data`, at
  // most kMaxCheckpointData bytes. Older checkpoints are thinned out. kNotFound for a record that is not there yet,
  // kTruncated for one that is gone. Blocks for the disk.
  virtual Status CreateCheckpoint(uint64_t sequence, std::optional<ByteView> data, Checkpoint* checkpoint) = 0;
  // The valid ones, by sequence.
  virtual Status Checkpoints(std::vector<Checkpoint>* checkpoints) = 0;

  virtual std::vector<SegmentInfo> Segments() = 0;
  virtual LogStats Stats() = 0;
  // kTruncated when `filter.segment` names one that is gone, kNotFound when there never was such a segment.
  virtual Status NewReader(const ReadFilter& filter, std::unique_ptr<Reader>* reader) = 0;
  // Reads every frame of every segment and compares with seals and meta. `cancelled` is asked now and then.
  virtual Status Verify(const VerifyOptions& options, VerifyReport* report) = 0;

  // Makes everything durable, stops the threads, unmaps, unlocks. Idempotent. The log is closed whatever it returns.
  virtual Status Close() = 0;
  // The same without the durability: for a process that is on its way out.
  virtual void Abandon() = 0;
};

}  // namespace segwal
