#include "core/read_only_log.h"

#include <algorithm>

#include "core/appender.h"
#include "core/checkpoints.h"
#include "core/reader.h"
#include "core/verify.h"

namespace segwal {
namespace {

Status ReadOnly(const char* what) {
  return Status(ErrorCode::kReadOnly, std::string(what) + " needs a log that was opened for writing");
}

}  // namespace

ReadOnlyLog::ReadOnlyLog(Platform& platform, LogDirectory directory)
    : platform_(platform),
      directory_(std::move(directory)),
      reclaimer_(Reclaimer::Start()),
      catalog_(platform, directory_, reclaimer_) {
  catalog_.SetLook([this] {
    const std::lock_guard lock(mutex_);
    static_cast<void>(Refresh());
  });
}

ReadOnlyLog::~ReadOnlyLog() { Abandon(); }

Status ReadOnlyLog::OpenAndLook(const LogOptions& options) {
  // The writer may delete segments between our listing and our opening of them. Then look again.
  Status status = Look(options);
  const auto gone = [&status] {
    return status.code() == ErrorCode::kNotFound || status.code() == ErrorCode::kTruncated;
  };
  for (int again = 0; again < 100 && (gone() || TruncatedSince()) && LogIsThere(); ++again) {
    catalog_.Clear();
    status = Look(options);
  }
  return status;
}

// Whether the end of the log was taken away while it was looked at.
bool ReadOnlyLog::TruncatedSince() const {
  SectorState state = SectorState::kAbsent;
  LogMeta meta;
  return directory_.ReadMeta(&state, &meta).ok() && state == SectorState::kValid && meta.truncations != truncations_;
}

bool ReadOnlyLog::LogIsThere() const {
  SectorState state = SectorState::kAbsent;
  LogMeta meta;
  return directory_.ReadMeta(&state, &meta).ok() && state == SectorState::kValid;
}

Status ReadOnlyLog::Look(const LogOptions& options) {
  const uint64_t started = platform_.Monotonic();
  options_ = options;
  SEGWAL_TRY(directory_.Exists());
  SectorState meta_state = SectorState::kAbsent;
  LogMeta meta;
  SEGWAL_TRY(directory_.ReadMeta(&meta_state, &meta));
  std::vector<LogDirectory::SegmentFile> files;
  std::vector<std::string> strays;
  SEGWAL_TRY(directory_.List(&files, &strays));
  if (meta_state == SectorState::kValid) {
    std::erase_if(files, [&meta](const auto& file) { return file.id < meta.first_segment; });
  }
  const std::lock_guard lock(mutex_);
  truncations_ = meta_state == SectorState::kValid ? meta.truncations : 0;
  limit_ = meta_state == SectorState::kValid && meta.truncating ? meta.truncated_to : UINT64_MAX;
  SegmentHeader first;
  if (!files.empty()) SEGWAL_TRY(ReadHeader(files.front().id, &first));
  const bool meta_there = meta_state == SectorState::kValid;
  if (first.state != SectorState::kValid || (meta_there && first.identity.segment_id != meta.first_segment)) {
    if (meta_state == SectorState::kAbsent) return Status(ErrorCode::kNotFound, directory_.root() + " holds no log");
    // Unless the writer has truncated the log since we read wal.meta: then it is to be looked at again.
    LogMeta now;
    if (directory_.ReadMeta(&meta_state, &now).ok() && meta_state == SectorState::kValid &&
        now.first_segment != meta.first_segment) {
      return Status(ErrorCode::kTruncated, "the log was truncated while it was opened");
    }
    return Status::Corrupt(directory_.SegmentsPath() + " does not hold the first segment of the log",
                           {.segment = meta.first_segment, .first_sequence = meta_there ? meta.first_sequence : 0});
  }
  if (meta_there && meta.log_id != first.identity.log_id) {
    return Status::Corrupt(directory_.MetaPath() + " and the segments are of different logs",
                           {.segment = meta.first_segment, .first_sequence = meta.first_sequence});
  }
  std::vector<Checkpoint> checkpoints;
  report_.findings.clear();
  SEGWAL_TRY(CheckpointDirectory(platform_, directory_).Load(first.identity.log_id, &checkpoints, &report_.findings));
  checkpoint_at_ = checkpoints.empty() ? 0 : std::min(limit_, checkpoints.back().sequence);
  SEGWAL_TRY(Adopt(first));
  if (options.segment_size != 0 && options.segment_size != segment_size_) {
    return Status(ErrorCode::kSegmentSizeMismatch, "the log has segments of " + std::to_string(segment_size_) +
                                                       " bytes, but segmentSize asks for " +
                                                       std::to_string(options.segment_size));
  }
  SEGWAL_TRY(Follow());
  SEGWAL_TRY(LookBehindTheEnd(files));  // names a segment that is missing in the middle better than the end does
  SEGWAL_TRY(CheckDurableEnd());
  report_.clean = tail_ != nullptr && LoadOrderlyEnd(tail_->data, tail_->identity) == end_.offset;
  report_.segments = catalog_.size();
  report_.records = end_.sequence + 1 - catalog_.first_sequence();
  report_.bytes = 0;  // this may not be the first look
  for (const SegmentInfo& info : catalog_.Describe(end_)) {
    report_.bytes += info.bytes - kSegmentHeaderSize;
    report_.records -= info.removed;
  }
  for (const std::string& stray : strays)
    report_.findings.push_back({.rule = "stray", .action = "left alone: " + stray});
  report_.duration_ms = static_cast<double>(platform_.Monotonic() - started) / 1e6;
  return Status::Ok();
}

// Whether what stands behind the end that Refresh found can be the work of a live writer, or waits for a recovery, or
// is a log that has lost something in its middle.
Status ReadOnlyLog::LookBehindTheEnd(const std::vector<LogDirectory::SegmentFile>& files) {
  if (end_.sequence >= limit_) return Status::Ok();  // it is going, or will go with the next open for writing
  const bool sealed = catalog_.Find(end_.segment)->seal.has_value();
  bool successor = false;
  for (const LogDirectory::SegmentFile& file : files) {
    if (file.id <= end_.segment) continue;
    successor |= file.id == end_.segment + 1;
    SegmentHeader header;
    SEGWAL_TRY(ReadHeader(file.id, &header));
    // Twice, for a live writer may have put it into use while it was read.
    if (header.traces) {
      header = {};
      SEGWAL_TRY(ReadHeader(file.id, &header));
    }
    if (header.traces) {
      return directory_.SegmentDamage({.segment = file.id, .first_sequence = end_.sequence + 1},
                                      "its identity was erased");
    }
    if (header.state != SectorState::kValid) continue;  // allocated ahead
    if (!successor || sealed || header.identity.log_id != log_id_) {
      return Status::Corrupt("segment " + std::to_string(end_.segment + 1) + " is missing or does not follow segment " +
                                 std::to_string(end_.segment) + ": " + directory_.SegmentPath(end_.segment + 1),
                             {.segment = end_.segment + 1,
                              .first_sequence = end_.sequence + 1,
                              .last_sequence = header.identity.base_sequence - 1});
    }
    report_.findings.push_back({.rule = "gap",
                                .segment = end_.segment,
                                .offset = end_.offset,
                                .first_sequence = end_.sequence + 1,
                                .action = "records behind a gap are not shown: they are being written, or wait for the "
                                          "next open for writing to decide"});
    break;
  }
  return Status::Ok();
}

Status ReadOnlyLog::ReadHeader(uint64_t id, SegmentHeader* header) const {
  SEGWAL_TRY(directory_.ReadSegmentHeader(id, header));
  return directory_.JudgeIdentity(id, *header);
}

Status ReadOnlyLog::Adopt(const SegmentHeader& header) {
  const SegmentIdentity& identity = header.identity;
  if (catalog_.size() == 0) {
    log_id_ = identity.log_id;
    segment_size_ = identity.segment_size;
  } else if (identity.log_id != log_id_ || identity.segment_size != segment_size_) {
    return Status::Corrupt(directory_.SegmentPath(identity.segment_id) + ": the file belongs to another log",
                           {.segment = identity.segment_id});
  }
  if (header.seal && header.seal->last_sequence <= limit_) {
    catalog_.AddSealed(identity, *header.seal, header.file_size);
    durable_ = std::max(durable_, header.seal->last_sequence);
  } else {
    catalog_.AddUnsealed(identity);
  }
  tail_ = nullptr;
  end_ = {.segment = identity.segment_id, .offset = kSegmentHeaderSize, .sequence = identity.base_sequence - 1};
  return Status::Ok();
}

Status ReadOnlyLog::Refresh() {
  refreshed_ns_ = platform_.Monotonic();
  Status status;
  for (int again = 0; again < 100; ++again) {
    status = Follow();
    if (status.ok()) status = CheckDurableEnd();
    // What wal.meta called the first segment may have gone before it was read: then wal.meta says another one.
    if (status.ok() || !(status.code() == ErrorCode::kNotFound || TruncatedSince())) break;
  }
  return status;
}

// A log that was closed in order may have lost its last segment since, and then no segment says so. A live writer is no
// excuse: it notes in wal.meta only what stands in the segments already, and truncateBefore takes nothing from the end.
Status ReadOnlyLog::CheckDurableEnd() {
  const uint64_t proven = std::max(closed_at_, checkpoint_at_);
  if (end_.sequence >= proven) {
    durable_ = std::max(durable_, proven);
    return Status::Ok();
  }
  return directory_.SegmentDamage(
      {.segment = end_.segment, .offset = end_.offset, .first_sequence = end_.sequence + 1, .last_sequence = proven},
      "the log ends here, but " +
          (proven == closed_at_ ? "it had been closed with records up to " + std::to_string(proven) + ", all durable"
                                : "there is a checkpoint of record " + std::to_string(proven)));
}

Status ReadOnlyLog::Follow() {
  SEGWAL_TRY(DropTruncated());
  while (true) {
    const std::optional<Catalog::Entry> last = catalog_.Find(end_.segment);
    if (!last) return Status(ErrorCode::kTruncated, "the log was truncated past what this reader knew of it");
    if (last->seal && last->seal->last_sequence <= limit_) {
      end_.offset = last->seal->end_offset;
      end_.sequence = last->seal->last_sequence;
      end_.earliest_us = last->seal->earliest_us;
      end_.latest_us = last->seal->latest_us;
    } else {
      if (!tail_) SEGWAL_TRY(catalog_.View(end_.segment, &tail_));
      // Before the walk: a live writer moves the mark only behind what the walk will then see.
      const uint64_t mark = std::min(limit_, LoadMark(tail_->data, tail_->identity));
      Frame frame;
      const auto index = [this, &last] { return static_cast<uint32_t>(end_.sequence + 1 - last->base_sequence()); };
      while (end_.sequence < limit_ && CheckFrame(tail_->data, end_.offset, tail_->end, index(), tail_->salt_checksum,
                                                  &frame) == FrameState::kValid) {
        const uint64_t time = tail_->identity.created_us + frame.time_us;
        end_.earliest_us = end_.earliest_us == 0 ? time : std::min(end_.earliest_us, time);
        end_.latest_us = std::max(end_.latest_us, time);
        end_.offset += frame.padded_length();
        end_.sequence += frame.count;
        durable_ = std::max(durable_, std::min(limit_, DecodeSynced(frame.synced, last->base_sequence())));
      }
      if (Status lost = CheckMemory(*tail_->failure, end_.segment); !lost.ok()) {
        tail_ = nullptr;  // the next look maps the file anew, and finds out more
        return lost;
      }
      if (mark > end_.sequence) {
        return Status::Corrupt("segment " + std::to_string(end_.segment) + ", offset " + std::to_string(end_.offset) +
                                   ": records up to " + std::to_string(mark) + " had been made durable, and record " +
                                   std::to_string(end_.sequence + 1) + " cannot be read",
                               {.segment = end_.segment,
                                .offset = end_.offset,
                                .first_sequence = end_.sequence + 1,
                                .last_sequence = mark});
      }
      durable_ = std::max(durable_, mark);
    }
    if (end_.sequence >= limit_) return Status::Ok();
    SegmentHeader next;
    bool reached = false;
    SEGWAL_TRY(ReachedSuccessor(&next, &reached));
    if (!reached) return Status::Ok();
    if (!last->seal) {
      catalog_.MarkSealed(end_.segment, {.end_offset = end_.offset,
                                         .record_count = end_.sequence + 1 - last->base_sequence(),
                                         .last_sequence = end_.sequence,
                                         .earliest_us = end_.earliest_us,
                                         .latest_us = end_.latest_us});
    }
    SEGWAL_TRY(Adopt(next));
  }
}

Status ReadOnlyLog::ReachedSuccessor(SegmentHeader* next, bool* reached) const {
  Status status = ReadHeader(end_.segment + 1, next);
  if (status.code() == ErrorCode::kIo) return status;  // says nothing about what is there
  *reached = status.ok() && next->state == SectorState::kValid && next->identity.base_sequence == end_.sequence + 1 &&
             next->identity.log_id == log_id_;
  return Status::Ok();
}

Status ReadOnlyLog::DropTruncated() {
  SectorState state = SectorState::kAbsent;
  LogMeta meta;
  if (!directory_.ReadMeta(&state, &meta).ok() || state != SectorState::kValid || meta.log_id != log_id_) {
    return Status::Ok();
  }
  closed_at_ = meta.durable_sequence;
  limit_ = meta.truncating ? meta.truncated_to : UINT64_MAX;
  const bool cut = meta.truncations != truncations_;
  if (cut) {
    // Of several in the meantime only the last is known.
    catalog_.NoteCut(meta.truncations == truncations_ + 1 ? meta.truncated_to : 0);
    truncations_ = meta.truncations;
    durable_ = checkpoint_at_ = 0;
  }
  if (meta.first_segment <= end_.segment && !cut) {
    catalog_.RemoveBefore(meta.first_segment);
    return Status::Ok();
  }
  // What was known is gone, or may be: begin again with the first segment that is kept.
  SegmentHeader first;
  SEGWAL_TRY(ReadHeader(meta.first_segment, &first));
  if (first.state != SectorState::kValid || first.identity.log_id != log_id_) {
    return Status(ErrorCode::kTruncated, "the log was truncated past what this reader knew of it");
  }
  catalog_.Clear();
  return Adopt(first);
}

std::unique_ptr<Appender> ReadOnlyLog::NewAppender() { return nullptr; }

uint64_t ReadOnlyLog::first_sequence() {
  const std::lock_guard lock(mutex_);
  static_cast<void>(Refresh());
  return catalog_.first_sequence();
}

uint64_t ReadOnlyLog::last_sequence() {
  const std::lock_guard lock(mutex_);
  static_cast<void>(Refresh());  // should it fail, what was seen before is still true
  return end_.sequence;
}

uint64_t ReadOnlyLog::durable_sequence() {
  const std::lock_guard lock(mutex_);
  static_cast<void>(Refresh());
  return durable_;
}

Status ReadOnlyLog::RequestDurable(uint64_t) { return ReadOnly("making records durable"); }
Status ReadOnlyLog::ExpectDurable(uint64_t) { return ReadOnly("making records durable"); }
Status ReadOnlyLog::WaitDurable(uint64_t) { return ReadOnly("making records durable"); }
Status ReadOnlyLog::Rotate() { return ReadOnly("rotating"); }
Status ReadOnlyLog::TruncateBefore(uint64_t) { return ReadOnly("truncating"); }

Status ReadOnlyLog::Cleanup(CleanupResult*) { return ReadOnly("cleaning up"); }
std::unique_ptr<Holds::Hold> ReadOnlyLog::HoldFrom(uint64_t sequence) { return catalog_.holds().Take(sequence); }
Status ReadOnlyLog::Compact(const CompactOptions&, CompactResult*) { return ReadOnly("compacting"); }
Status ReadOnlyLog::TruncateAfter(uint64_t) { return ReadOnly("truncating"); }

Status ReadOnlyLog::CreateCheckpoint(uint64_t, std::optional<ByteView>, Checkpoint*) {
  return ReadOnly("making a checkpoint");
}

Status ReadOnlyLog::Checkpoints(std::vector<Checkpoint>* checkpoints) {
  std::vector<Finding> findings;
  return CheckpointDirectory(platform_, directory_).Load(log_id_, checkpoints, &findings);
}

std::vector<SegmentInfo> ReadOnlyLog::Segments() {
  const std::lock_guard lock(mutex_);
  static_cast<void>(Refresh());
  return catalog_.Describe(end_);
}

LogStats ReadOnlyLog::Stats() {
  LogStats stats;
  stats.last_sequence = last_sequence();
  stats.first_sequence = first_sequence();
  stats.durable_sequence = durable_sequence();
  stats.segments = catalog_.size();
  stats.disk_bytes = catalog_.file_bytes();
  stats.recovery_ms = report_.duration_ms;
  return stats;
}

Status ReadOnlyLog::NewReader(const ReadFilter& filter, std::unique_ptr<Reader>* reader) {
  const std::lock_guard lock(mutex_);
  SEGWAL_TRY(Refresh());
  return Reader::Make(catalog_, catalog_.cuts(), catalog_.first_sequence(), end_.sequence, filter, reader);
}

Status ReadOnlyLog::Verify(const VerifyOptions& options, VerifyReport* report) {
  uint64_t last = 0;
  uint64_t durable = 0;
  {
    const std::lock_guard lock(mutex_);
    SEGWAL_TRY(Refresh());
    last = end_.sequence;
    durable = durable_;
  }
  return VerifyCatalog(platform_, catalog_, last, durable, options, report);
}

FollowOutcome ReadOnlyLog::FollowAppends(uint64_t sequence, AppendListener* listener) {
  const uint64_t cuts = catalog_.cuts();
  if (last_sequence() > sequence) return FollowOutcome::kReady;
  const std::lock_guard lock(follow_mutex_);
  if (follow_stop_) return FollowOutcome::kEnded;
  followers_.push_back({sequence, listener, cuts});
  if (!follow_thread_.joinable()) follow_thread_ = std::thread([this] { LookForMore(); });
  follow_wake_.notify_one();
  return FollowOutcome::kWaiting;
}

void ReadOnlyLog::StopFollowing(AppendListener* listener) {
  const std::lock_guard lock(follow_mutex_);
  std::erase_if(followers_, [listener](const Follower& follower) { return follower.listener == listener; });
}

// Looks often where records have just come, and less and less so where none do. A look costs a load from the mapped
// segment; only now and then one that asks the file system for the next segment.
void ReadOnlyLog::LookForMore() {
  constexpr std::chrono::microseconds kShortest{20};
  constexpr std::chrono::microseconds kLongest{5000};
  constexpr int kLooksPerDelay = 500;
  std::chrono::microseconds delay = kShortest;
  int looks = 0;
  std::unique_lock lock(follow_mutex_);
  while (!follow_stop_) {
    if (followers_.empty()) {
      follow_wake_.wait(lock);
      continue;
    }
    const uint64_t last = LastSequenceNow();
    const uint64_t cuts = catalog_.cuts();
    const auto ready = [last, cuts](const Follower& follower) {
      return follower.sequence < last || follower.cuts != cuts;
    };
    if (std::ranges::any_of(followers_, ready)) {
      delay = kShortest;
      looks = 0;
      for (const Follower& follower : followers_) {
        if (ready(follower)) follower.listener->OnAppended();
      }
      std::erase_if(followers_, ready);
      continue;
    }
    if (++looks % kLooksPerDelay == 0) delay = std::min(delay * 2, kLongest);
    follow_wake_.wait_for(lock, delay);
  }
}

// The same as last_sequence(), but it only asks the file system when there is a sign of something new, or when it has
// not asked for a while.
uint64_t ReadOnlyLog::LastSequenceNow() {
  constexpr uint64_t kLookAnyway = 20'000'000;
  const std::lock_guard lock(mutex_);
  const bool sign = tail_ && (PointerSealed(LoadLive(tail_->data).pointer) ||
                              (end_.offset < tail_->end && Load<uint32_t>(tail_->data + end_.offset) != 0));
  if (sign || platform_.Monotonic() - refreshed_ns_ > kLookAnyway) static_cast<void>(Refresh());
  return end_.sequence;
}

Status ReadOnlyLog::Close() {
  {
    const std::lock_guard lock(follow_mutex_);
    follow_stop_ = true;
    for (const Follower& follower : std::exchange(followers_, {})) follower.listener->OnAppended();
  }
  follow_wake_.notify_one();
  if (follow_thread_.joinable()) follow_thread_.join();
  const std::lock_guard lock(mutex_);
  tail_ = nullptr;
  catalog_.Clear();
  reclaimer_->Stop();
  return Status::Ok();
}

}  // namespace segwal
