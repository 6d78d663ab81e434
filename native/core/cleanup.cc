// WritableLog: taking the front of the log away, when somebody says so or when nobody needs it any more.
#include <algorithm>
#include <chrono>

#include "core/writable_log.h"

namespace segwal {

Status WritableLog::TruncateBefore(uint64_t sequence) {
  const std::lock_guard one_at_a_time(life_mutex_);
  CleanupResult result;
  SEGWAL_TRY(RemoveFront(sequence, &result));
  return RemoveFiles(&result);
}

Status WritableLog::Cleanup(CleanupResult* result) {
  const std::lock_guard one_at_a_time(life_mutex_);
  const uint64_t needed = FirstNeeded();
  if (needed > first_sequence()) {
    const uint64_t allowed = catalog_.holds().Raise(needed);
    Status status = RemoveFront(allowed, result);
    // Whole segments go, so it may be less.
    catalog_.holds().Lower(first_sequence());
    SEGWAL_TRY(std::move(status));
  }
  return RemoveFiles(result);
}

// The first record that the newest checkpoint or the retention still needs. Without either all of them are.
uint64_t WritableLog::FirstNeeded() {
  const std::vector<SegmentInfo> segments = Segments();
  std::optional<uint64_t> checkpoint;
  {
    const std::lock_guard lock(checkpoints_mutex_);
    if (!checkpoints_.empty()) checkpoint = checkpoints_.back().sequence;
  }
  const std::optional<Retention>& retention = options_.retention;
  if (!checkpoint && !retention) return first_sequence();
  const uint64_t now = state_.platform.Now();
  uint64_t kept_bytes = 0;
  for (const SegmentInfo& segment : segments) kept_bytes += segment.capacity;
  for (const SegmentInfo& segment : segments) {
    if (!segment.sealed) return segment.first_sequence;
    if (checkpoint && segment.last_sequence > *checkpoint) return segment.first_sequence;
    if (retention) {
      const bool too_old = segment.last_time_us <= now && now - segment.last_time_us > retention->max_age_us;
      if (!too_old && kept_bytes <= retention->max_bytes) return segment.first_sequence;
    }
    kept_bytes -= segment.capacity;
  }
  return segments.empty() ? first_sequence() : segments.back().first_sequence;
}

Status WritableLog::RemoveFront(uint64_t sequence, CleanupResult* result) {
  // The first segment to keep: the last one that begins at or before `sequence`, or the active one.
  std::vector<Catalog::Entry> entries = catalog_.Entries();
  const auto keep =
      std::prev(std::ranges::upper_bound(entries.begin() + 1, entries.end(), sequence, {},
                                         [](const Catalog::Entry& entry) { return entry.base_sequence(); }));
  if (keep == entries.begin()) return Status::Ok();
  // What stays must not depend on what goes: the kept log begins with a durable identity and durable records before it.
  SEGWAL_TRY(syncer_->Wait(keep->base_sequence() - 1));
  // Durable to its end is not sealed yet, and the syncer would fail to write the seal into a file that is gone. Should
  // this fail the log is poisoned, and says so.
  if (std::any_of(entries.begin(), keep, [](const Catalog::Entry& entry) { return !entry.seal; })) {
    static_cast<void>(syncer_->Step());
    SEGWAL_TRY(syncer_->Wait(keep->base_sequence() - 1));
  }
  if (keep->live) SEGWAL_TRY(keep->live->Sync(0, kSegmentHeaderSize));
  const uint64_t id = keep->id();
  LogMeta meta = meta_;
  meta.first_segment = id;
  meta.first_sequence = keep->base_sequence();
  // Durable before the first file goes, so that a missing front is told from a lost one.
  SEGWAL_TRY(state_.directory.WriteMeta(meta));
  {
    const std::lock_guard lock(meta_mutex_);
    meta_ = meta;
  }
  for (auto gone = entries.begin(); gone != keep; ++gone) to_remove_.push_back({gone->id(), gone->file_size});
  result->segments_removed += static_cast<uint64_t>(keep - entries.begin());
  catalog_.RemoveBefore(id);
  return Status::Ok();
}

// Nothing of them belongs to the log any more, so one that the system will not remove yet only takes room: it is tried
// again every time, and by the next open.
Status WritableLog::RemoveFiles(CleanupResult* result) {
  if (to_remove_.empty()) return Status::Ok();
  KeepRecyclable();
  Status first_failure;
  std::vector<Removal> left;
  for (const Removal& file : std::exchange(to_remove_, {})) {
    Status status = state_.platform.Remove(state_.directory.SegmentPath(file.id));
    if (status.ok()) result->bytes_freed += file.size;
    if (status.ok() || status.code() == ErrorCode::kNotFound) continue;
    left.push_back(file);
    if (first_failure.ok()) first_failure = std::move(status);
  }
  to_remove_ = std::move(left);
  Status synced = state_.platform.SyncDirectory(state_.directory.SegmentsPath());
  return first_failure.ok() ? std::move(synced) : std::move(first_failure);
}

// Of what would be removed, the newest files are kept aside and become the next segments; those that were kept before
// them make room. By name they are gone: who reads one of them has it open.
void WritableLog::KeepRecyclable() {
  const uint64_t most = state_.recycle_segments;
  std::vector<uint64_t> kept;
  while (!to_remove_.empty() && kept.size() < most) {
    const Removal& newest = to_remove_.back();
    // Compaction may have made it shorter.
    if (newest.size != meta_.segment_size) break;
    if (!state_.directory.PutAside(newest.id).ok()) break;
    kept.push_back(newest.id);
    to_remove_.pop_back();
  }
  std::vector<uint64_t> superseded;
  {
    const std::lock_guard lock(state_.mutex);
    std::deque<uint64_t>& recyclable = state_.recyclable;
    recyclable.insert(recyclable.end(), kept.rbegin(), kept.rend());
    while (recyclable.size() > most) {
      superseded.push_back(recyclable.front());
      recyclable.pop_front();
    }
  }
  for (const uint64_t id : superseded) static_cast<void>(state_.platform.Remove(state_.directory.RecyclablePath(id)));
}

std::unique_ptr<Holds::Hold> WritableLog::HoldFrom(uint64_t sequence) { return catalog_.holds().Take(sequence); }

void WritableLog::Janitor() {
  constexpr std::chrono::seconds kInterval{1};
  std::unique_lock lock(janitor_mutex_);
  while (!janitor_wake_.wait_for(lock, kInterval, [this] { return janitor_stop_; })) {
    lock.unlock();
    CleanupResult result;
    // What fails now is tried again. A log that cannot be written any more says so to whoever appends.
    static_cast<void>(Cleanup(&result));
    lock.lock();
  }
}

void WritableLog::StopJanitor() {
  {
    const std::lock_guard lock(janitor_mutex_);
    janitor_stop_ = true;
  }
  janitor_wake_.notify_all();
  if (janitor_.joinable()) janitor_.join();
}

}  // namespace segwal
