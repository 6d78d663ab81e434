// WritableLog: a log that this process appends to. Wires the parts together and decides the order in which they start,
// stop and let go.
#pragma once

#include <condition_variable>
#include <memory>
#include <mutex>
#include <thread>

#include "core/allocator.h"
#include "core/checkpoints.h"
#include "core/committed_walk.h"
#include "core/compaction.h"
#include "core/log.h"
#include "core/recovery.h"
#include "core/syncer.h"
#include "core/writer_state.h"

namespace segwal {

class WritableLog final : public Log {
 public:
  // `reclaimer`: a stopped one makes everything that is let go of be destroyed at once.
  WritableLog(Platform& platform, LogDirectory directory, const LogOptions& options,
              std::shared_ptr<Reclaimer> reclaimer = Reclaimer::Start());
  ~WritableLog() override;

  // Once, before anything else. Nothing stays behind when it fails.
  Status OpenAndRecover();
  // Starts the threads that keep the log supplied and make it durable. Without them whoever drives the log does their
  // work, step by step, through the parts.
  void Start();

  struct Parts {
    WriterState& state;
    Syncer& syncer;
    Allocator& allocator;
  };
  Parts parts() { return {state_, *syncer_, *allocator_}; }

  const std::string& directory() const override { return state_.directory.root(); }
  uint64_t segment_size() const override { return meta_.segment_size; }
  bool read_only() const override { return false; }
  const RecoveryReport& recovery() const override { return recovery_; }
  const LogOptions& options() const override { return options_; }
  uint64_t max_frame_size() const override { return state_.max_frame_size; }
  std::unique_ptr<Appender> NewAppender() override;
  uint64_t first_sequence() override;
  uint64_t last_sequence() override;
  uint64_t durable_sequence() override { return state_.durable.load(std::memory_order_acquire); }
  uint64_t appended_sequence() override;
  Status RequestDurable(uint64_t sequence) override;
  Status ExpectDurable(uint64_t sequence) override;
  Status WaitDurable(uint64_t sequence) override;
  FollowOutcome FollowAppends(uint64_t sequence, AppendListener* listener) override;
  void StopFollowing(AppendListener* listener) override;
  void AddListener(DurabilityListener* listener) override;
  void RemoveListener(DurabilityListener* listener) override;
  Status Rotate() override;
  Status TruncateBefore(uint64_t sequence) override;
  Status Cleanup(CleanupResult* result) override;
  std::unique_ptr<Holds::Hold> HoldFrom(uint64_t sequence) override;
  Status TruncateAfter(uint64_t sequence) override;
  uint64_t truncations() const override { return catalog_.cuts(); }
  Status Compact(const CompactOptions& options, CompactResult* result) override;
  Status CreateCheckpoint(uint64_t sequence, std::optional<ByteView> data, Checkpoint* checkpoint) override;
  Status Checkpoints(std::vector<Checkpoint>* checkpoints) override;
  std::vector<SegmentInfo> Segments() override;
  LogStats Stats() override;
  Status NewReader(const ReadFilter& filter, std::unique_ptr<Reader>* reader) override;
  Status Verify(const VerifyOptions& options, VerifyReport* report) override;
  Status Close() override;
  void Abandon() override;

 private:
  // ---- cleanup.cc ----
  uint64_t FirstNeeded();
  Status RemoveFront(uint64_t sequence, CleanupResult* result);
  Status RemoveFiles(CleanupResult* result);
  void KeepRecyclable();
  void Janitor();
  void StopJanitor();

  // ---- truncate_after.cc ----
  // Where the log ends when everything behind a record is gone.
  struct NewEnd {
    Catalog::Entry entry;
    uint64_t offset = kSegmentHeaderSize;
    uint64_t count = 0;  // of sequence numbers in the segment up to there
    uint64_t earliest_us = 0;
    uint64_t latest_us = 0;
  };
  Status StopAppends(CommittedWalk::Position* end);
  void LetAppendsGoOn();
  Status FindNewEnd(uint64_t sequence, NewEnd* new_end);
  Status DecideTruncation(uint64_t sequence, LogMeta* meta);
  Status CarryOutTruncation(const NewEnd& new_end, const CommittedWalk::Position& end, LogMeta* meta,
                            Syncer::Pause* pause);
  Status MakeWhole(uint64_t id);
  Status RemoveSegmentsBehind(uint64_t id, uint64_t last);
  Status EmptyBehind(const NewEnd& new_end, uint64_t used, uint64_t truncations, Segment* live);

  // ---- compact.cc ----
  Status CompactOnce(const CompactOptions& options, CompactResult* result, bool* overtaken);
  Status CompactSegment(Compaction* compaction, size_t at, uint64_t cuts, CompactResult* result);
  Status SwapIn(const CompactedSegment& made, uint64_t cuts, CompactResult* result, Status* refusal);
  uint64_t FirstDeleteToKeep();

  Status Finish();
  Status Shut(Status status, bool orderly);

  LogOptions options_;
  const std::shared_ptr<Reclaimer> reclaimer_;
  Catalog catalog_;
  WriterState state_;
  std::unique_ptr<DirectoryLock> lock_;
  RecoveryReport recovery_;
  uint64_t opened_at_ = 0;        // the last sequence that was there already, or that a truncation left
  uint64_t dropped_records_ = 0;  // appended in this open before the last truncation; guarded by meta_mutex_, as above

  std::mutex compact_mutex_;
  std::condition_variable compact_done_;
  bool compacting_ = false;  // guarded by compact_mutex_

  std::mutex life_mutex_;  // one truncation or checkpoint at a time; taken before all others
  std::mutex meta_mutex_;
  LogMeta meta_;  // first_segment and first_sequence guarded by meta_mutex_, the rest constant once open

  struct Removal {
    uint64_t id;
    uint64_t size;
  };
  std::vector<Removal> to_remove_;  // files that do not belong to the log any more; guarded by life_mutex_
  std::thread janitor_;             // only with a retention
  std::mutex janitor_mutex_;
  std::condition_variable janitor_wake_;
  bool janitor_stop_ = false;

  CheckpointDirectory checkpoint_files_;
  std::mutex checkpoints_mutex_;
  std::vector<Checkpoint> checkpoints_;  // valid ones, by sequence, as they are on the disk

  std::unique_ptr<CommittedWalk> walk_;
  std::unique_ptr<Syncer> syncer_;
  std::unique_ptr<Allocator> allocator_;
};

}  // namespace segwal
