#include "core/writable_log.h"

#include <algorithm>
#include <thread>

#include "core/appender.h"
#include "core/reader.h"
#include "core/utc.h"
#include "core/verify.h"

namespace segwal {
namespace {

// What stands in LOCK, and so in the message that a second writer gets.
std::string OwnerNote(Platform& platform) {
  return "pid " + std::to_string(platform.ProcessId()) + " on host " + platform.HostName() + " since " +
         FormatUtc(platform.Now());
}

}  // namespace

WritableLog::WritableLog(Platform& platform, LogDirectory directory, const LogOptions& options,
                         std::shared_ptr<Reclaimer> reclaimer)
    : options_(options),
      reclaimer_(std::move(reclaimer)),
      catalog_(platform, directory, reclaimer_),
      state_(platform, std::move(directory), catalog_, reclaimer_),
      checkpoint_files_(platform, state_.directory) {}

Status WritableLog::OpenAndRecover() {
  Platform& platform = state_.platform;
  const LogDirectory& directory = state_.directory;
  if (options_.create) {
    SEGWAL_TRY(directory.Create());
  } else {
    SEGWAL_TRY(directory.Exists());
  }
  SEGWAL_TRY(platform.Lock(directory.LockPath(), OwnerNote(platform), &lock_));
  RecoveredLog recovered;
  SEGWAL_TRY(Recover(platform, directory, options_, &recovered));
  if (recovered.is_new && !options_.create) {
    return Status(ErrorCode::kNotFound, directory.root() + " holds no log, and create is false");
  }
  recovery_ = std::move(recovered.report);
  meta_ = recovered.meta;
  checkpoints_ = std::move(recovered.checkpoints);
  options_.segment_size = meta_.segment_size;
  if (!options_.sync) options_.sync.emplace();
  if (!options_.max_dirty_bytes) options_.max_dirty_bytes = std::max(kDefaultMaxDirtyBytes, 2 * meta_.segment_size);
  if (!options_.recycle_segments) options_.recycle_segments = kDefaultRecycledSegments;
  state_.max_dirty_bytes = *options_.max_dirty_bytes;
  if (platform.RecyclesFiles()) state_.recycle_segments = *options_.recycle_segments;
  state_.max_frame_size = meta_.segment_size - kSegmentHeaderSize;
  for (const auto& sealed : recovered.sealed) {
    catalog_.AddSealed(sealed.identity, sealed.seal, sealed.file_size);
  }

  // What is deleted when there is time, unless room is needed now.
  if (!recovered.tail) directory.RemoveRecyclable();
  CommittedWalk::Position end;
  RecoveredLog::Tail tail;
  if (recovered.tail) {
    tail = *recovered.tail;
    std::unique_ptr<Segment> resumed;
    SEGWAL_TRY(Segment::Resume(platform, directory, tail.identity, tail.end_offset, tail.count,
                               WriterState::kWindowStep, &resumed));
    end.segment = reclaimer_->Own(std::move(resumed));
  } else {
    SEGWAL_TRY(Allocator::MakeSegment(state_, meta_.log_id, recovered.next_segment, meta_.segment_size,
                                      WriterState::kWindowStep, &end.segment));
    end.segment->Activate(recovered.next_sequence, platform.Now(), state_.boot, state_.pid);
    SEGWAL_TRY(end.segment->Sync(0, kSegmentHeaderSize));
    // Only now that there is a first segment: a meta without segments is a log that lost them.
    if (recovered.is_new) SEGWAL_TRY(directory.WriteMeta(meta_));
  }
  end.offset = tail.end_offset;
  end.sequence = recovered.next_sequence - 1;
  opened_at_ = end.sequence;
  state_.durable.store(end.sequence, std::memory_order_release);
  end.segment->byte_base = -static_cast<int64_t>(end.offset);
  state_.current = end.segment;
  catalog_.AddLive(end.segment);
  {
    const std::lock_guard lock(state_.mutex);
    state_.current->low_water_passed = true;  // the rest of the window comes behind
    state_.PublishLimit(*state_.current);
  }
  end.earliest_us = tail.earliest_us;
  end.latest_us = tail.latest_us;
  walk_ = std::make_unique<CommittedWalk>(state_, end);
  syncer_ = std::make_unique<Syncer>(state_, *walk_, end, *options_.sync);
  allocator_ =
      std::make_unique<Allocator>(state_, meta_.log_id, [this](const Status& status) { syncer_->TellRoom(status); });
  state_.unusable = directory.Recyclable();
  return Status::Ok();
}

void WritableLog::Start() {
  allocator_->Start();
  syncer_->Start();
  if (options_.retention) janitor_ = std::thread([this] { Janitor(); });
}

WritableLog::~WritableLog() { Abandon(); }

std::unique_ptr<Appender> WritableLog::NewAppender() { return std::make_unique<Appender>(state_); }

uint64_t WritableLog::first_sequence() {
  const std::lock_guard lock(meta_mutex_);
  return meta_.first_sequence;
}

uint64_t WritableLog::last_sequence() { return walk_->Advance().sequence; }

uint64_t WritableLog::appended_sequence() { return state_.AppendedSequence(); }

Status WritableLog::RequestDurable(uint64_t sequence) { return syncer_->Request(sequence); }

Status WritableLog::ExpectDurable(uint64_t sequence) { return syncer_->Expect(sequence); }

FollowOutcome WritableLog::FollowAppends(uint64_t sequence, AppendListener* listener) {
  while (true) {
    if (walk_->Advance().sequence > sequence) return FollowOutcome::kReady;
    {
      const std::lock_guard lock(state_.mutex);
      if (!state_.fatal.ok()) return FollowOutcome::kEnded;
      // First asleep, then a last look: see writer_state.h.
      state_.followers.push_back(listener);
      state_.PublishLimit(*state_.current);
      if (state_.AppendedSequenceLocked() <= sequence) return FollowOutcome::kWaiting;
      std::erase(state_.followers, listener);
      state_.PublishLimit(*state_.current);
    }
    std::this_thread::yield();  // its writer is copying it this very moment
  }
}

void WritableLog::StopFollowing(AppendListener* listener) {
  const std::lock_guard lock(state_.mutex);
  std::erase(state_.followers, listener);
  if (state_.current) state_.PublishLimit(*state_.current);
}

Status WritableLog::WaitDurable(uint64_t sequence) { return syncer_->Wait(sequence); }

void WritableLog::AddListener(DurabilityListener* listener) { syncer_->AddListener(listener); }

void WritableLog::RemoveListener(DurabilityListener* listener) { syncer_->RemoveListener(listener); }

Status WritableLog::Rotate() {
  std::unique_lock lock(state_.mutex);
  state_.CheckMemory();
  const std::shared_ptr<Segment> full = state_.current;
  if (PointerCount(full->pointer().load(std::memory_order_relaxed)) == 0) return state_.fatal;
  const uint64_t truncations = state_.truncations;
  state_.writer_wake.wait(lock, [&] {
    return (!state_.truncating && (state_.spare || !state_.spare_failure.ok() || state_.current != full)) ||
           !state_.fatal.ok();
  });
  if (state_.truncations != truncations) return state_.fatal;  // which has ended the segment in its own way
  if (!state_.fatal.ok()) return state_.fatal;
  if (state_.current == full) {  // otherwise somebody else was quicker
    if (!state_.spare) return Status(state_.spare_failure).WithContext("no new segment");
    RotateLocked(state_);
    if (state_.current == full) return state_.fatal;
  }
  // The watermark follows the seal. The word is sealed, so it stays.
  const uint64_t last = full->base_sequence() + PointerCount(full->pointer().load(std::memory_order_relaxed)) - 1;
  const auto done = [&] {
    return (full->sealed && state_.durable.load(std::memory_order_acquire) >= last) ||
           state_.truncations != truncations;
  };
  state_.durable_wake.wait(lock, [&] { return done() || !state_.fatal.ok(); });
  return done() ? Status::Ok() : state_.fatal;
}

Status WritableLog::CreateCheckpoint(uint64_t sequence, std::optional<ByteView> data, Checkpoint* checkpoint) {
  const std::lock_guard one_at_a_time(life_mutex_);
  // An empty log has no record to speak of, and everything up to its end is elsewhere all the same.
  const uint64_t first = first_sequence();
  const uint64_t appended = appended_sequence();
  if (sequence > appended) {
    return Status(ErrorCode::kNotFound, "a checkpoint of record " + std::to_string(sequence) +
                                            " cannot be made: the log ends with record " + std::to_string(appended));
  }
  if (sequence < first && sequence != appended) {
    return Status(ErrorCode::kTruncated, "a checkpoint of record " + std::to_string(sequence) +
                                             " cannot be made: the log begins with record " + std::to_string(first));
  }
  SEGWAL_TRY(syncer_->Wait(sequence));
  checkpoint->sequence = sequence;
  checkpoint->created_us = state_.platform.Now();
  checkpoint->has_data = data.has_value();
  if (data) checkpoint->data.assign(data->begin(), data->end());
  SEGWAL_TRY(checkpoint_files_.Write(meta_.log_id, *checkpoint));
  std::vector<Checkpoint> thinned;
  {
    const std::lock_guard lock(checkpoints_mutex_);
    std::erase_if(checkpoints_, [&](const Checkpoint& other) { return other.sequence == sequence; });
    const auto place = std::ranges::upper_bound(checkpoints_, sequence, {}, &Checkpoint::sequence);
    checkpoints_.insert(place, *checkpoint);
    while (checkpoints_.size() > kCheckpointsKept) {
      // The oldest, and never the one that was just made.
      const auto oldest = checkpoints_.begin() + (checkpoints_.front().sequence == sequence ? 1 : 0);
      thinned.push_back(std::move(*oldest));
      checkpoints_.erase(oldest);
    }
  }
  // The new one is durable; should these stay for lack of luck, they are thinned out another time.
  for (const Checkpoint& old : thinned) static_cast<void>(checkpoint_files_.Remove(old.sequence));
  return Status::Ok();
}

Status WritableLog::Checkpoints(std::vector<Checkpoint>* checkpoints) {
  const std::lock_guard lock(checkpoints_mutex_);
  *checkpoints = checkpoints_;
  return Status::Ok();
}

std::vector<SegmentInfo> WritableLog::Segments() {
  const CommittedWalk::Position end = walk_->Advance();
  return catalog_.Describe({end.segment->id(), end.offset, end.sequence, end.earliest_us, end.latest_us});
}

LogStats WritableLog::Stats() {
  LogStats stats;
  uint64_t durable_bytes = 0;
  {
    const std::lock_guard lock(state_.mutex);
    durable_bytes = state_.durable_bytes;  // before the walk, which it then cannot be ahead of
  }
  const CommittedWalk::Position end = walk_->Advance();
  const Syncer::Latency latency = syncer_->latency();
  stats.appends = end.frames;
  {
    const std::lock_guard lock(meta_mutex_);
    stats.records = dropped_records_ + (end.sequence > opened_at_ ? end.sequence - opened_at_ : 0);
  }
  stats.bytes = end.bytes;
  stats.first_sequence = first_sequence();
  stats.last_sequence = end.sequence;
  stats.durable_sequence = durable_sequence();
  stats.dirty_bytes = end.bytes - durable_bytes;
  stats.syncs = latency.syncs;
  stats.sync_p50_ms = latency.p50_ms;
  stats.sync_p99_ms = latency.p99_ms;
  stats.sync_max_ms = latency.max_ms;
  stats.last_sync_us = latency.last_us;
  stats.rotations = state_.rotations.load(std::memory_order_relaxed);
  stats.segments_recycled = state_.recycled.load(std::memory_order_relaxed);
  stats.writer_stalls = state_.writer_stalls.load(std::memory_order_relaxed);
  stats.writer_stall_ms = static_cast<double>(state_.writer_stall_ns.load(std::memory_order_relaxed)) / 1e6;
  stats.recovery_ms = recovery_.duration_ms;
  stats.segments = catalog_.size();
  stats.disk_bytes = catalog_.file_bytes();
  const std::lock_guard lock(state_.mutex);
  const size_t others = state_.recyclable.size() + state_.unusable.size() + (state_.spare ? 1 : 0);
  stats.disk_bytes += others * meta_.segment_size;
  return stats;
}

Status WritableLog::NewReader(const ReadFilter& filter, std::unique_ptr<Reader>* reader) {
  const uint64_t cuts = catalog_.cuts();  // before the end is asked for
  return Reader::Make(catalog_, cuts, first_sequence(), last_sequence(), filter, reader);
}

Status WritableLog::Verify(const VerifyOptions& options, VerifyReport* report) {
  return VerifyCatalog(state_.platform, catalog_, last_sequence(), durable_sequence(), options, report);
}

Status WritableLog::Close() {
  StopJanitor();
  Status status;
  if (syncer_) status = syncer_->Wait(appended_sequence());
  return Shut(std::move(status), true);
}

void WritableLog::Abandon() { static_cast<void>(Shut(Status::Ok(), false)); }

Status WritableLog::Finish() {
  SEGWAL_TRY(syncer_->Finish());
  meta_.durable_sequence = walk_->Advance().sequence;
  // A proof more, for the case that the last segment gets lost. On a full disk the log is no less durable without it.
  static_cast<void>(state_.directory.WriteMeta(meta_));
  return Status::Ok();
}

Status WritableLog::Shut(Status status, bool orderly) {
  uint64_t spare_id = 0;
  StopJanitor();
  if (allocator_) {
    allocator_->Stop();
    syncer_->Stop();
    if (orderly && status.ok()) status = Finish();
    const std::lock_guard lock(state_.mutex);
    state_.Fail(Status(ErrorCode::kClosed, "the log is closed"));
    if (state_.spare) spare_id = state_.spare->id();
    state_.spare = nullptr;
    state_.current = nullptr;
  }
  allocator_.reset();
  syncer_.reset();
  walk_.reset();
  catalog_.Clear();
  reclaimer_->Stop();  // whatever was let go of is unmapped now
  CleanupResult removed;
  if (orderly && !to_remove_.empty()) static_cast<void>(RemoveFiles(&removed));
  if (orderly) state_.directory.RemoveRecyclable();
  if (orderly && spare_id != 0) static_cast<void>(state_.platform.Remove(state_.directory.SegmentPath(spare_id)));
  lock_.reset();
  return status;
}

}  // namespace segwal
