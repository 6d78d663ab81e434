#include <algorithm>

#include "core/checkpoints.h"
#include "core/recovery_plan.h"
#include "core/segment.h"

namespace segwal {
namespace {

class RecoveryAction {
 public:
  RecoveryAction(Platform& platform, const LogDirectory& directory, RecoveryPlan* plan)
      : platform_(platform), directory_(directory), plan_(*plan) {}

  Status Run();

 private:
  // Whether something will be written for which a full disk may have no room before files are deleted.
  bool NeedsRoom() const { return plan_.is_new || !plan_.report.findings.empty(); }
  Status KeepPieces();
  Status ApplyCut();
  Status Settle(size_t at);
  Status FinishTruncation(const Candidate& segment);
  Status ZeroTail(const Candidate& segment, uint64_t offset);
  Status MoveFilesAway();
  Status PutStandIn(size_t at);

  Platform& platform_;
  const LogDirectory& directory_;
  RecoveryPlan& plan_;
};

// Where the first frame with a sequence above `sequence` begins.
uint64_t OffsetBehind(const std::byte* data, uint64_t end, uint64_t base, uint64_t sequence) {
  uint64_t offset = kSegmentHeaderSize;
  uint64_t next = base;
  Frame frame;
  while (next <= sequence && PeekFrame(data, offset, end, &frame) == FrameState::kValid) {
    next += frame.count;
    offset += frame.padded_length();
  }
  return offset;
}

// Stores to every page of the range what is there already, so that the next sync writes it.
void Dirty(std::byte* data, uint64_t begin, uint64_t end) {
  for (uint64_t at = AlignDown(begin, kPageSize); at < end; at += kPageSize) {
    volatile std::byte* const byte =
        data + at;  // volatile: or the compiler sees that nothing changes, and stores nothing
    *byte = *byte;
  }
}

Status RecoveryAction::Run() {
  SEGWAL_TRY(directory_.Create());  // a log that lost an empty folder, as some copying tools lose it, gets it back
  if (NeedsRoom()) directory_.RemoveRecyclable();
  if (plan_.is_new) return MoveFilesAway();
  const size_t last = plan_.ends.size() - 1;
  // The wal.meta that is there can be one whose name is not durable yet: whoever wrote it died before. After a power
  // loss another would be back, which says that a truncation is over or is not, or that the front is still there.
  SEGWAL_TRY(platform_.SyncDirectory(directory_.MetadataPath()));
  // Likewise that of a checkpoint, on which an application relies from now on.
  if (!plan_.checkpoints.empty()) SEGWAL_TRY(CheckpointDirectory(platform_, directory_).Sync());
  // What a compaction that died had not finished. Should it stay, it only takes room until the next one.
  static_cast<void>(platform_.Remove(directory_.CompactionPath()));
  SEGWAL_TRY(KeepPieces());
  if (plan_.cut) SEGWAL_TRY(ApplyCut());
  for (size_t i = 0; i <= last; ++i) {
    if (!plan_.candidates[i].settled() || plan_.candidates[i].repaired) SEGWAL_TRY(Settle(i));
  }
  if (plan_.zero_tail || !(plan_.candidates[last].settled() || plan_.scanned[last].nothing_behind)) {
    SEGWAL_TRY(ZeroTail(plan_.candidates[last], plan_.ends[last]));
  }
  if (plan_.truncate_to) SEGWAL_TRY(FinishTruncation(plan_.candidates[last]));
  SEGWAL_TRY(MoveFilesAway());
  // Whoever removed some of it before may have died before this.
  if (plan_.truncate_to) SEGWAL_TRY(platform_.SyncDirectory(directory_.SegmentsPath()));
  for (size_t i = 0; i <= last; ++i) {
    if (plan_.candidates[i].stand_in) SEGWAL_TRY(PutStandIn(i));
  }
  return plan_.write_meta ? directory_.WriteMeta(plan_.meta) : Status::Ok();
}

// Before a filler takes their place.
Status RecoveryAction::KeepPieces() {
  for (const RecoveryPlan::Piece& piece : plan_.pieces) {
    const Mapping& mapping = *plan_.scanned[piece.segment].mapping;
    SEGWAL_TRY(directory_.QuarantineBytes(plan_.candidates[piece.segment].id, piece.offset,
                                          {mapping.data() + piece.offset, piece.end - piece.offset}, piece.why));
  }
  return Status::Ok();
}

// A segment that holds nothing but a filler for the records that were lost with the one that should be there. Made
// under another name, so that there is no moment at which the name stands for neither of them.
Status RecoveryAction::PutStandIn(size_t at) {
  Candidate& segment = plan_.candidates[at];
  if (segment.file_size != 0) SEGWAL_TRY(directory_.QuarantineCopy(segment.id, segment.trouble));
  const std::string temporary = directory_.StandInPath();
  if (Status status = platform_.Remove(temporary); !status.ok() && status.code() != ErrorCode::kNotFound) return status;
  std::unique_ptr<File> file;
  SEGWAL_TRY(platform_.Open(temporary, OpenMode::kCreate, &file));
  SEGWAL_TRY(file->Allocate(plan_.meta.segment_size));
  SEGWAL_TRY(file->Sync());
  std::unique_ptr<Mapping> mapping;
  SEGWAL_TRY(platform_.Map(std::move(file), plan_.meta.segment_size, true, &mapping));
  SegmentIdentity& identity = segment.identity;
  std::array<std::byte, sizeof identity.salt> salt{};
  SEGWAL_TRY(platform_.Random(salt));
  identity.salt = Load<uint64_t>(salt.data());
  const uint64_t end = plan_.ends[at];
  const uint64_t count = plan_.counts[at];
  if (count != 0) {
    StoreFiller(mapping->data(), kSegmentHeaderSize, static_cast<uint32_t>(end - kSegmentHeaderSize), 0,
                static_cast<uint32_t>(count), SaltChecksum(identity.salt));
  }
  const Seal seal{.end_offset = end, .record_count = count, .last_sequence = identity.base_sequence + count - 1};
  StoreSeal(mapping->data(), identity, seal);
  StoreIdentity(mapping->data(), identity);
  SEGWAL_TRY(mapping->Sync(0, end));
  SEGWAL_TRY(CheckMemory(*mapping->failure(), segment.id));
  mapping.reset();
  SEGWAL_TRY(platform_.Rename(temporary, directory_.SegmentPath(segment.id)));
  segment.seal = seal;
  segment.file_size = plan_.meta.segment_size;
  return platform_.SyncDirectory(directory_.SegmentsPath());
}

// Takes out what lies behind the end: the following segments, the last first, so that a crash in between leaves a log
// of which the same is still true.
Status RecoveryAction::ApplyCut() {
  const std::string why = "Recovery found that the log ends before this, at segment " +
                          std::to_string(plan_.candidates[plan_.cut->segment].id) + ", offset " +
                          std::to_string(plan_.cut->offset) + ", record " + std::to_string(plan_.next_sequence) +
                          ". It was never durable, and what should stand before it is missing.";
  for (size_t i = plan_.candidates.size() - 1; i > plan_.cut->segment; --i) {
    plan_.scanned[i].mapping.reset();  // nothing mapped is renamed or deleted
    if (plan_.candidates[i].stand_in && plan_.candidates[i].file_size == 0) continue;
    if (plan_.cut->keep_what_follows && !plan_.candidates[i].lost()) {
      SEGWAL_TRY(directory_.QuarantineSegment(plan_.candidates[i].id, why));
    } else {
      plan_.remove.push_back(plan_.candidates[i].id);
    }
  }
  if (!plan_.cut->keep_what_follows || !plan_.zero_tail) return Status::Ok();
  const Mapping& mapping = *plan_.scanned[plan_.cut->segment].mapping;
  const uint64_t used =
      FindNonZeroEnd(mapping.data(), std::min<uint64_t>(plan_.cut->offset, mapping.size()), mapping.size());
  return directory_.QuarantineBytes(plan_.candidates[plan_.cut->segment].id, plan_.cut->offset,
                                    {mapping.data() + plan_.cut->offset, used - plan_.cut->offset}, why);
}

// Makes what is kept of an unsealed segment durable: writes the fillers, rewrites every page behind the last proof of
// durability - a page whose write-back failed once is clean in the page cache, and no sync would ever write it again -
// and seals the segment if another follows.
Status RecoveryAction::Settle(size_t at) {
  const Candidate& segment = plan_.candidates[at];
  const uint64_t end = plan_.ends[at];
  const bool full = at + 1 < plan_.ends.size() || segment.seal;
  const bool filled =
      std::ranges::any_of(plan_.fillers, [at](const RecoveryPlan::Filler& filler) { return filler.segment == at; });
  // What was compacted ends with its frames, unless appending goes on in it.
  const uint64_t size = segment.identity.compacted() && full ? AlignUp(end, kPageSize) : segment.identity.segment_size;
  const bool whole = segment.file_size >= size;
  plan_.scanned[at].mapping.reset();
  if (!full && !filled && whole && !segment.repaired && segment.base() + plan_.counts[at] - 1 <= plan_.proof)
    return Status::Ok();

  std::unique_ptr<File> file;
  SEGWAL_TRY(platform_.Open(directory_.SegmentPath(segment.id), OpenMode::kReadWrite, &file));
  if (!whole) {
    SEGWAL_TRY(file->Allocate(size));
    SEGWAL_TRY(file->Sync());
    plan_.candidates[at].file_size = size;
  }
  std::unique_ptr<Mapping> mapping;
  SEGWAL_TRY(platform_.Map(std::move(file), size, true, &mapping));
  std::byte* data = mapping->data();
  if (segment.repaired) StoreIdentity(data, segment.identity);
  if (segment.settled()) return mapping->Sync(0, kSegmentHeaderSize);
  for (const RecoveryPlan::Filler& filler : plan_.fillers) {
    if (filler.segment != at) continue;
    StoreFiller(data, filler.offset, filler.length, filler.index, filler.count, SaltChecksum(segment.identity.salt));
  }
  Dirty(data, 0, kSegmentHeaderSize);
  Dirty(data, OffsetBehind(data, end, segment.base(), plan_.proof), end);
  SEGWAL_TRY(mapping->Sync(0, end));
  SEGWAL_TRY(CheckMemory(*mapping->failure(), segment.id));
  if (!full) return Status::Ok();
  const SegmentScan& scan = plan_.scanned[at].scan;
  const Seal seal{.end_offset = end,
                  .record_count = plan_.counts[at],
                  .last_sequence = segment.base() + plan_.counts[at] - 1,
                  .earliest_us = scan.earliest_us,
                  .latest_us = scan.latest_us,
                  .removed = scan.removed};
  StoreSeal(data, segment.identity, seal);
  SEGWAL_TRY(mapping->Sync(0, kSegmentHeaderSize));
  SEGWAL_TRY(CheckMemory(*mapping->failure(), segment.id));
  plan_.candidates[at].seal = seal;
  return Status::Ok();
}

// What proves that dropped records were durable goes with them.
Status RecoveryAction::FinishTruncation(const Candidate& segment) {
  std::unique_ptr<File> file;
  SEGWAL_TRY(platform_.Open(directory_.SegmentPath(segment.id), OpenMode::kReadWrite, &file));
  std::unique_ptr<Mapping> mapping;
  SEGWAL_TRY(platform_.Map(std::move(file), kSegmentHeaderSize, true, &mapping));
  TakeBackProofs(mapping->data(), segment.identity, *plan_.truncate_to);
  StoreTruncations(mapping->data(), plan_.meta.truncations);
  SEGWAL_TRY(mapping->Sync(0, kSegmentHeaderSize));
  SEGWAL_TRY(CheckMemory(*mapping->failure(), segment.id));
  return CheckpointDirectory(platform_, directory_).RemoveAfter(*plan_.truncate_to);
}

// A dropped frame must never come back to life behind new ones.
Status RecoveryAction::ZeroTail(const Candidate& segment, uint64_t offset) {
  std::unique_ptr<File> file;
  SEGWAL_TRY(platform_.Open(directory_.SegmentPath(segment.id), OpenMode::kReadWrite, &file));
  if (plan_.zero_tail) SEGWAL_TRY(file->Zero(offset, segment.identity.segment_size - offset));
  if (plan_.truncate_to) {
    // Everything was durable here, and zeros that a failed sync has lost would never be written by a later one.
    std::unique_ptr<File> second;
    SEGWAL_TRY(platform_.Open(directory_.SegmentPath(segment.id), OpenMode::kReadWrite, &second));
    std::unique_ptr<Mapping> mapping;
    SEGWAL_TRY(platform_.Map(std::move(second), segment.identity.segment_size, true, &mapping));
    Dirty(mapping->data(), offset, mapping->size());
    SEGWAL_TRY(mapping->Sync(AlignDown(offset, kPageSize), mapping->size() - AlignDown(offset, kPageSize)));
    SEGWAL_TRY(CheckMemory(*mapping->failure(), segment.id));
  }
  // Also when it reads as zero: whoever zeroed it before may have died before this.
  return file->Sync();
}

Status RecoveryAction::MoveFilesAway() {
  for (const RecoveryPlan::Unreadable& file : plan_.quarantine) {
    SEGWAL_TRY(directory_.QuarantineSegment(file.id, file.why));
  }
  if (plan_.remove.empty()) return Status::Ok();
  for (uint64_t id : plan_.remove) {
    // To delete a spare takes longer than to look through a hundred thousand records: that can wait until the log is
    // open.
    if (!NeedsRoom() && platform_.RecyclesFiles() && directory_.PutAside(id).ok()) continue;
    if (Status status = platform_.Remove(directory_.SegmentPath(id));
        !status.ok() && status.code() != ErrorCode::kNotFound) {
      return status;
    }
  }
  return platform_.SyncDirectory(directory_.SegmentsPath());
}

}  // namespace

Status ApplyRecovery(Platform& platform, const LogDirectory& directory, RecoveryPlan* plan, RecoveredLog* recovered) {
  SEGWAL_TRY(RecoveryAction(platform, directory, plan).Run());
  recovered->is_new = plan->is_new;
  recovered->meta = plan->meta;
  recovered->checkpoints = std::move(plan->checkpoints);
  recovered->report = std::move(plan->report);
  if (plan->is_new) return Status::Ok();
  const size_t last = plan->ends.size() - 1;
  for (size_t i = 0; i <= last; ++i) {
    const Candidate& segment = plan->candidates[i];
    if (segment.seal) recovered->sealed.push_back({segment.identity, *segment.seal, segment.file_size});
  }
  recovered->next_segment = plan->candidates[last].id + 1;
  recovered->next_sequence = plan->next_sequence;
  if (!plan->candidates[last].seal) {
    const SegmentScan& scan = plan->scanned[last].scan;
    recovered->tail = {plan->candidates[last].identity, plan->ends[last], plan->counts[last], scan.earliest_us,
                       scan.latest_us};
  }
  return Status::Ok();
}

}  // namespace segwal
