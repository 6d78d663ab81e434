// ReadOnlyLog: a log as another process sees it, whether or not somebody writes it. Takes no lock, changes nothing,
// recovers nothing: it sees the longest valid prefix, and more of it whenever it looks again.
#pragma once

#include <condition_variable>
#include <memory>
#include <mutex>
#include <thread>
#include <vector>

#include "core/catalog.h"
#include "core/log.h"

namespace segwal {

class ReadOnlyLog final : public Log {
 public:
  ReadOnlyLog(Platform& platform, LogDirectory directory);
  ~ReadOnlyLog() override;

  Status OpenAndLook(const LogOptions& options);

  const std::string& directory() const override { return directory_.root(); }
  uint64_t segment_size() const override { return segment_size_; }
  bool read_only() const override { return true; }
  const RecoveryReport& recovery() const override { return report_; }
  const LogOptions& options() const override { return options_; }
  uint64_t max_frame_size() const override { return segment_size_ - kSegmentHeaderSize; }
  std::unique_ptr<Appender> NewAppender() override;
  uint64_t first_sequence() override;
  uint64_t last_sequence() override;
  uint64_t durable_sequence() override;  // as far as marks, seals and frames prove it
  uint64_t appended_sequence() override { return last_sequence(); }
  Status RequestDurable(uint64_t sequence) override;
  Status ExpectDurable(uint64_t sequence) override;
  Status WaitDurable(uint64_t sequence) override;
  FollowOutcome FollowAppends(uint64_t sequence, AppendListener* listener) override;
  void StopFollowing(AppendListener* listener) override;
  void AddListener(DurabilityListener*) override {}
  void RemoveListener(DurabilityListener*) override {}
  Status Rotate() override;
  Status TruncateBefore(uint64_t sequence) override;
  Status Cleanup(CleanupResult* result) override;
  std::unique_ptr<Holds::Hold> HoldFrom(uint64_t sequence) override;
  Status TruncateAfter(uint64_t sequence) override;
  Status Compact(const CompactOptions& options, CompactResult* result) override;
  uint64_t truncations() const override { return catalog_.cuts(); }
  Status CreateCheckpoint(uint64_t sequence, std::optional<ByteView> data, Checkpoint* checkpoint) override;
  Status Checkpoints(std::vector<Checkpoint>* checkpoints) override;
  std::vector<SegmentInfo> Segments() override;
  LogStats Stats() override;
  Status NewReader(const ReadFilter& filter, std::unique_ptr<Reader>* reader) override;
  Status Verify(const VerifyOptions& options, VerifyReport* report) override;
  Status Close() override;
  void Abandon() override { static_cast<void>(Close()); }

 private:
  // The header of a segment that is there or still a spare; anything else is kCorrupt.
  Status ReadHeader(uint64_t id, SegmentHeader* header) const;
  bool LogIsThere() const;
  bool TruncatedSince() const;
  Status Look(const LogOptions& options);

  // The methods below require mutex_.
  Status Adopt(const SegmentHeader& header);
  // Looks for what was appended, rotated and truncated since the last look.
  Status Refresh();
  Status Follow();
  // That the log reaches as far as it did when it was closed in order.
  Status CheckDurableEnd();
  Status DropTruncated();
  Status ReachedSuccessor(SegmentHeader* next, bool* reached) const;
  Status LookBehindTheEnd(const std::vector<LogDirectory::SegmentFile>& files);

  Platform& platform_;
  const LogDirectory directory_;
  const std::shared_ptr<Reclaimer> reclaimer_;
  Catalog catalog_;
  RecoveryReport report_;
  LogOptions options_;
  uint64_t segment_size_ = 0;

  std::mutex mutex_;
  LogId log_id_{};
  // The last segment, mapped while it grows, and how far its frames have been checked.
  std::shared_ptr<const SegmentView> tail_;
  Catalog::End end_;
  uint64_t durable_ = 0;
  // What wal.meta said of it, before the last look at the segments: whatever it speaks of was in them by then.
  uint64_t closed_at_ = 0;
  uint64_t truncations_ = 0;     // as wal.meta said
  uint64_t limit_ = UINT64_MAX;  // while a truncation is under way, or waits to be finished: where the log ends
  uint64_t checkpoint_at_ = 0;   // likewise the newest checkpoint, when the log was opened

  // Whoever waits for more, and the thread that looks for it while somebody does. The writer is another process and
  // must not be disturbed, so that nothing but looking is left.
  void LookForMore();
  uint64_t LastSequenceNow();
  std::mutex follow_mutex_;  // taken before mutex_
  std::condition_variable follow_wake_;
  std::thread follow_thread_;
  struct Follower {
    uint64_t sequence;
    AppendListener* listener;
    uint64_t cuts;
  };
  std::vector<Follower> followers_;
  bool follow_stop_ = false;
  uint64_t refreshed_ns_ = 0;  // guarded by mutex_; when Refresh was last called
};

}  // namespace segwal
