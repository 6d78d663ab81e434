// WritableLog: compaction of an open log. What is left of a segment is written to a file of its own (compaction.cc)
// beside everything that goes on in the log, and without a lock: nothing changes in a sealed segment. Only to put the
// file in the place of the old one, `life_mutex_` is taken, which no append, rotation or reader ever waits for.
//
// Why the first segment comes first, and each swap is durable before the next one: a Delete may only go when what it
// ended has gone, on the medium too. The other way round a power cut could bring that back.
#include <algorithm>
#include <chrono>

#include "core/writable_log.h"

namespace segwal {

Status WritableLog::Compact(const CompactOptions& options, CompactResult* result) {
  {
    constexpr std::chrono::milliseconds kLook{20};
    std::unique_lock lock(compact_mutex_);
    while (compacting_) {
      if (options.cancelled && options.cancelled()) return Status(ErrorCode::kAborted, "compaction was cancelled");
      compact_done_.wait_for(lock, kLook);
    }
    compacting_ = true;
  }
  Status status;
  bool overtaken = false;
  do {
    overtaken = false;
    status = CompactOnce(options, result, &overtaken);
  } while (overtaken);
  const std::lock_guard lock(compact_mutex_);
  compacting_ = false;
  compact_done_.notify_all();
  return status;
}

// `*overtaken`: the end of the log was taken away meanwhile, perhaps in the middle of what was read. What was done is
// right all the same; the rest begins anew.
Status WritableLog::CompactOnce(const CompactOptions& options, CompactResult* result, bool* overtaken) {
  const uint64_t cuts = catalog_.cuts();
  std::vector<Catalog::Entry> sealed = catalog_.Entries();
  const auto not_ours = [&](const Catalog::Entry& entry) {
    return !entry.seal || entry.live || entry.base_sequence() >= options.before;
  };
  sealed.erase(std::ranges::find_if(sealed, not_ours), sealed.end());
  Compaction compaction(state_.platform, state_.directory, sealed, options);
  result->records_kept = 0;
  Status status = compaction.Analyze();
  // What an earlier compaction swapped in is durable before anything of this one is: its sync may have failed, or its
  // process died before it.
  if (status.ok()) status = state_.platform.SyncDirectory(state_.directory.SegmentsPath());
  const uint64_t removed_before = result->records_removed;
  for (size_t at = 0; at < compaction.size() && status.ok(); ++at) {
    status = CompactSegment(&compaction, at, cuts, result);
  }
  // A cleanup that took the front away while it was read: the log begins later now.
  const bool front_gone = status.code() == ErrorCode::kNotFound && !sealed.empty() && !catalog_.Find(sealed[0].id());
  *overtaken = catalog_.cuts() != cuts || front_gone;
  if (*overtaken) return Status::Ok();
  const uint64_t removed = result->records_removed - removed_before;
  if (status.ok()) result->records_kept = compaction.records() - removed;
  return status;
}

Status WritableLog::CompactSegment(Compaction* compaction, size_t at, uint64_t cuts, CompactResult* result) {
  // On Windows nothing that is mapped can be replaced.
  catalog_.LetGoOf(compaction->id(at));
  while (true) {
    CompactedSegment made;
    SEGWAL_TRY(compaction->Rewrite(at, FirstDeleteToKeep(), &made));
    if (made.removed == 0) return Status::Ok();
    Status refusal;
    Status status = SwapIn(made, cuts, result, &refusal);
    if (!status.ok() || !refusal.ok()) static_cast<void>(state_.platform.Remove(state_.directory.CompactionPath()));
    SEGWAL_TRY(std::move(status));
    if (refusal.ok()) return Status::Ok();
    if (refusal.code() == ErrorCode::kBackpressure) continue;  // somebody needs a Delete now that could go before
    if (refusal.code() == ErrorCode::kTruncated) return Status::Ok();
    result->skipped.push_back({compaction->id(at), refusal.message()});
    return compaction->LeaveAsItIs(at);
  }
}

// `*refusal`: the old file stays. kBackpressure: a Delete that was removed is needed; kTruncated: the segment is gone.
Status WritableLog::SwapIn(const CompactedSegment& made, uint64_t cuts, CompactResult* result, Status* refusal) {
  const std::lock_guard one_at_a_time(life_mutex_);
  {
    const std::lock_guard lock(state_.mutex);
    if (!state_.fatal.ok()) return state_.fatal;
  }
  const uint64_t id = made.identity.segment_id;
  const std::optional<Catalog::Entry> entry = catalog_.Find(id);
  if (!entry || entry->identity.salt != made.old_salt || entry->live || catalog_.cuts() != cuts) {
    *refusal = Status(ErrorCode::kTruncated, "the segment is not there any more");
    return Status::Ok();
  }
  if (made.last_delete >= FirstDeleteToKeep()) {
    *refusal = Status(ErrorCode::kBackpressure, "a checkpoint or a reader needs what was removed");
    return Status::Ok();
  }
  Status renamed = state_.platform.Rename(state_.directory.CompactionPath(), state_.directory.SegmentPath(id));
  if (!renamed.ok()) {
    SegmentHeader header;
    SEGWAL_TRY(state_.directory.ReadSegmentHeader(id, &header));
    if (header.state != SectorState::kValid || header.identity.salt != made.identity.salt) {
      *refusal = std::move(renamed);
      return Status::Ok();
    }
  }
  catalog_.Replace(made.identity, made.seal, made.file_size);
  result->records_removed += made.removed;
  result->bytes_freed += made.old_file_size - std::min(made.old_file_size, made.file_size);
  ++result->segments_rewritten;
  return state_.platform.SyncDirectory(state_.directory.SegmentsPath());
}

// Whoever goes on from a checkpoint or reads already has what came before, perhaps with the key that a Delete ends: the
// Delete has still to come to it.
uint64_t WritableLog::FirstDeleteToKeep() {
  uint64_t first = catalog_.holds().Lowest();
  const std::lock_guard lock(checkpoints_mutex_);
  if (!checkpoints_.empty()) first = std::min(first, checkpoints_.front().sequence + 1);
  return first;
}

}  // namespace segwal
