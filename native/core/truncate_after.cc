// WritableLog::TruncateAfter. In one line: once wal.meta says that the log ends there, it does, and the rest is carried
// out now or by the next open. docs/FORMAT.md has the order; recovery.cc does the same for a log that nobody has open.
#include <algorithm>
#include <cassert>
#include <chrono>
#include <thread>

#include "core/reader.h"
#include "core/writable_log.h"

namespace segwal {
namespace {

constexpr std::chrono::seconds kWaitForAppends{2};

}  // namespace

Status WritableLog::TruncateAfter(uint64_t sequence) {
  const std::lock_guard one_at_a_time(life_mutex_);
  if (sequence >= appended_sequence()) return Status::Ok();
  if (sequence + 1 < first_sequence()) {
    return Status(ErrorCode::kTruncated, "the log cannot end with record " + std::to_string(sequence) +
                                             ": it begins with record " + std::to_string(first_sequence()));
  }
  CommittedWalk::Position end;
  Status status = StopAppends(&end);
  uint64_t durable_before = 0;
  bool done = false;
  if (status.ok()) {
    Syncer::Pause pause(*syncer_);
    status = pause.Step();  // what is kept is durable, and whoever waits for more is told before it goes
    durable_before = durable_sequence();
    NewEnd new_end;
    if (status.ok()) status = FindNewEnd(sequence, &new_end);
    LogMeta meta;
    if (status.ok()) status = DecideTruncation(sequence, &meta);
    if (status.ok()) {
      status = CarryOutTruncation(new_end, end, &meta, &pause);
      done = status.ok();
      if (!done) {
        const std::lock_guard lock(state_.mutex);
        state_.Fail(
            Status(ErrorCode::kPoisoned,
                   "the log was truncated behind record " + std::to_string(sequence) +
                       ", but that did not come to its end; close the log and open it again, which finishes it: " +
                       status.message(),
                   status.os_error()));
        status = state_.fatal;
      }
    }
  }
  LetAppendsGoOn();
  if (done) syncer_->TellTruncated(durable_before);
  return status;
}

// Nobody claims anything from here on, and what was claimed is committed. Who appends meanwhile waits (appender.cc).
Status WritableLog::StopAppends(CommittedWalk::Position* end) {
  std::unique_lock lock(state_.mutex);
  if (!state_.fatal.ok()) return state_.fatal;
  state_.truncating = true;
  state_.writer_wake.wait(lock, [this] { return (!state_.window_busy && !state_.spare_busy) || !state_.fatal.ok(); });
  if (!state_.fatal.ok()) return state_.fatal;
  const std::shared_ptr<Segment> current = state_.current;
  const uint64_t word = current->pointer().fetch_or(kSealedBit, std::memory_order_seq_cst);
  lock.unlock();
  const auto deadline = std::chrono::steady_clock::now() + kWaitForAppends;
  while (true) {
    SEGWAL_TRY(current->CheckMemory());
    *end = walk_->Advance();
    if (end->segment == current && end->offset == PointerOffset(word)) return Status::Ok();
    if (std::chrono::steady_clock::now() > deadline) {
      return Status(ErrorCode::kBackpressure, "an append has been under way for seconds; nothing was truncated");
    }
    std::this_thread::sleep_for(std::chrono::microseconds(20));
  }
}

void WritableLog::LetAppendsGoOn() {
  const std::lock_guard lock(state_.mutex);
  if (!state_.truncating) return;
  state_.truncating = false;
  // A sealed word is nobody else's to change.
  std::atomic<uint64_t>& pointer = state_.current->pointer();
  pointer.store(pointer.load(std::memory_order_seq_cst) & ~kSealedBit, std::memory_order_seq_cst);
  state_.WakeSleepers();
  state_.PublishLimit(*state_.current);
  state_.window_wake.notify_all();
  state_.spare_wake.notify_all();
  state_.syncer_wake.notify_all();
  state_.writer_wake.notify_all();
  state_.durable_wake.notify_all();
}

Status WritableLog::FindNewEnd(uint64_t sequence, NewEnd* new_end) {
  // The first segment when nothing is left.
  new_end->entry = catalog_.FindSequence(std::max(sequence, first_sequence())).value();
  std::shared_ptr<const SegmentView> view;
  SEGWAL_TRY(catalog_.View(new_end->entry.id(), &view));
  const uint64_t base = view->identity.base_sequence;
  while (base + new_end->count <= sequence) {
    Frame frame;
    const uint64_t first = base + new_end->count;
    if (CheckFrame(view->data, new_end->offset, view->end, static_cast<uint32_t>(new_end->count), view->salt_checksum,
                   &frame) != FrameState::kValid) {
      return state_.directory.SegmentDamage(
          {.segment = new_end->entry.id(), .offset = new_end->offset, .first_sequence = first, .last_sequence = first},
          "the frame of record " + std::to_string(first) + " is damaged; nothing was truncated");
    }
    const uint64_t last = first + frame.count - 1;
    if (last > sequence) {
      return Status(ErrorCode::kInsideBatch,
                    "the log cannot end with record " + std::to_string(sequence) + ": records " +
                        std::to_string(first) + " to " + std::to_string(last) +
                        (frame.removed()  ? " were removed together by compaction"
                         : frame.filler() ? " were given up together"
                                          : " are one batch, which is there whole or not at all"))
          .At({.segment = new_end->entry.id(),
               .offset = new_end->offset,
               .first_sequence = first,
               .last_sequence = last});
    }
    if (!frame.filler()) {
      const uint64_t time = view->identity.created_us + frame.time_us;
      new_end->earliest_us = new_end->earliest_us == 0 ? time : std::min(new_end->earliest_us, time);
      new_end->latest_us = std::max(new_end->latest_us, time);
    }
    new_end->offset += frame.padded_length();
    new_end->count += frame.count;
  }
  return CheckMemory(*view->failure, new_end->entry.id());
}

// From the moment at which this is durable the log ends with `sequence`, whatever happens.
Status WritableLog::DecideTruncation(uint64_t sequence, LogMeta* meta) {
  *meta = meta_;
  ++meta->truncations;
  meta->truncated_to = sequence;
  meta->truncating = true;
  meta->durable_sequence = std::min(meta->durable_sequence, sequence);
  Status status = state_.directory.WriteMeta(*meta);
  if (status.ok()) return status;
  // It may be there or not, and so it must not be.
  if (Status back = state_.directory.WriteMeta(meta_); !back.ok()) {
    const std::lock_guard lock(state_.mutex);
    state_.Fail(Status(ErrorCode::kPoisoned,
                       "whether the log was truncated behind record " + std::to_string(sequence) +
                           " is not known; close it and open it again to see: " + back.message(),
                       back.os_error()));
    return state_.fatal;
  }
  return status;
}

Status WritableLog::CarryOutTruncation(const NewEnd& new_end, const CommittedWalk::Position& end, LogMeta* meta,
                                       Syncer::Pause* pause) {
  const uint64_t sequence = meta->truncated_to;
  const uint64_t id = new_end.entry.id();
  const bool in_active = id == end.segment->id();
  CommittedWalk::Position position = end;
  position.offset = new_end.offset;
  position.sequence = sequence;
  position.earliest_us = new_end.earliest_us;
  position.latest_us = new_end.latest_us;
  // First the end, then the catalog: a reader that is made in between knows only of what stays.
  walk_->Hold(position);
  catalog_.CutAfter(sequence, id,
                    {.end_offset = new_end.offset,
                     .record_count = new_end.count,
                     .last_sequence = sequence,
                     .earliest_us = new_end.earliest_us,
                     .latest_us = new_end.latest_us});
  SEGWAL_TRY(checkpoint_files_.RemoveAfter(sequence));
  {
    const std::lock_guard lock(checkpoints_mutex_);
    std::erase_if(checkpoints_, [&](const Checkpoint& checkpoint) { return checkpoint.sequence > sequence; });
  }
  const uint64_t used = in_active ? end.offset : new_end.entry.seal->end_offset;
  if (!in_active) SEGWAL_TRY(RemoveSegmentsBehind(id, end.segment->id()));
  SEGWAL_TRY(EmptyBehind(new_end, used, meta->truncations, in_active ? end.segment.get() : nullptr));
  if (!in_active) {
    // Compaction may have made it shorter than what appending needs.
    SEGWAL_TRY(MakeWhole(id));
    std::unique_ptr<Segment> resumed;
    SEGWAL_TRY(Segment::Resume(state_.platform, state_.directory, new_end.entry.identity, new_end.offset, new_end.count,
                               WriterState::kWindowStep, &resumed));
    position.segment = reclaimer_->Own(std::move(resumed));
    position.segment->low_water_passed = true;  // the rest of the window comes behind
  }
  meta->truncating = false;
  SEGWAL_TRY(state_.directory.WriteMeta(*meta));
  {
    const std::lock_guard lock(meta_mutex_);
    meta_ = *meta;
    dropped_records_ += end.sequence > opened_at_ ? end.sequence - opened_at_ : 0;
    opened_at_ = sequence;
  }
  if (!in_active) catalog_.Revive(id, position.segment);
  walk_->Resume(position);
  const std::lock_guard lock(state_.mutex);
  end.segment->SetLimit(Segment::kAttentionLimit);
  position.segment->byte_base = static_cast<int64_t>(end.bytes) - static_cast<int64_t>(position.offset);
  state_.current = position.segment;
  state_.durable_bytes = end.bytes;
  state_.requested.store(std::min(state_.requested.load(std::memory_order_relaxed), sequence),
                         std::memory_order_relaxed);
  state_.durable.store(sequence, std::memory_order_release);
  ++state_.truncations;
  pause->MoveTo(position);
  return Status::Ok();
}

Status WritableLog::MakeWhole(uint64_t id) {
  std::unique_ptr<File> file;
  SEGWAL_TRY(state_.platform.Open(state_.directory.SegmentPath(id), OpenMode::kReadWrite, &file));
  uint64_t size = 0;
  SEGWAL_TRY(file->Size(&size));
  if (size >= meta_.segment_size) return Status::Ok();
  SEGWAL_TRY(file->Allocate(meta_.segment_size));
  return file->Sync();
}

// The last first. Whoever reads one of them keeps its bytes; whoever has appended there last looks before it goes on.
Status WritableLog::RemoveSegmentsBehind(uint64_t id, uint64_t last) {
  {
    const std::lock_guard lock(state_.mutex);
    if (state_.spare) last = std::max(last, state_.spare->id());
    state_.spare = nullptr;
  }
  for (uint64_t each = last; each > id; --each) {
    Status status = state_.platform.Remove(state_.directory.SegmentPath(each));
    if (!status.ok() && status.code() != ErrorCode::kNotFound) return status;
  }
  return state_.platform.SyncDirectory(state_.directory.SegmentsPath());
}

// Takes frames and proofs of what is dropped out of the last segment, durably. `live`: it is the active one.
Status WritableLog::EmptyBehind(const NewEnd& new_end, uint64_t used, uint64_t truncations, Segment* live) {
  assert(new_end.offset <= used);
  const SegmentIdentity& identity = new_end.entry.identity;
  std::unique_ptr<File> file;
  SEGWAL_TRY(state_.platform.Open(state_.directory.SegmentPath(identity.segment_id), OpenMode::kReadWrite, &file));
  std::unique_ptr<Mapping> mapping;
  std::byte* header = live != nullptr ? live->data() : nullptr;
  if (live == nullptr) {
    std::unique_ptr<File> second;
    SEGWAL_TRY(state_.platform.Open(state_.directory.SegmentPath(identity.segment_id), OpenMode::kReadWrite, &second));
    SEGWAL_TRY(state_.platform.Map(std::move(second), kSegmentHeaderSize, true, &mapping));
    header = mapping->data();
  }
  // Before a byte goes: who reads here, in whichever process, looks at this after every reading.
  StoreTruncations(header, truncations);
  SEGWAL_TRY(file->Zero(new_end.offset, used - new_end.offset));
  SEGWAL_TRY(file->Sync());
  TakeBackProofs(header, identity, identity.base_sequence + new_end.count - 1);
  if (live == nullptr) return mapping->Sync(0, kSegmentHeaderSize);
  live->pointer().store(MakePointer(new_end.offset, new_end.count) | kSealedBit, std::memory_order_seq_cst);
  SEGWAL_TRY(live->Sync(0, kSegmentHeaderSize));
  return live->PrepareWindow(new_end.offset, std::max(used, new_end.offset));
}

}  // namespace segwal
