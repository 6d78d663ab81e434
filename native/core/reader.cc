#include "core/reader.h"

#include <algorithm>
#include <atomic>
#include <cstring>
#include <utility>

namespace segwal {

Reader::Reader(Catalog& catalog, uint64_t cuts, const ReadFilter& filter, uint64_t wanted_to,
               std::unique_ptr<Holds::Hold> hold)
    : catalog_(catalog),
      filter_(filter),
      hold_(std::move(hold)),
      wanted_to_(wanted_to),
      times_{.from_us = filter.from_time_us, .to_us = filter.to_time_us},
      remaining_(filter.limit),
      cuts_(cuts),
      next_(filter.reverse ? filter.to : filter.from) {}

Status Reader::Make(Catalog& catalog, uint64_t cuts, uint64_t first, uint64_t last, ReadFilter filter,
                    std::unique_ptr<Reader>* reader) {
  const uint64_t wanted_to = filter.to;
  filter.from = std::max(filter.from, first);
  filter.to = std::min(filter.to, last);
  if (filter.segment != 0) {
    const std::optional<Catalog::Entry> entry = catalog.Find(filter.segment);
    if (!entry) {
      const std::vector<Catalog::Entry> entries = catalog.Entries();
      const bool gone = !entries.empty() && filter.segment < entries.front().id();
      return Status(gone ? ErrorCode::kTruncated : ErrorCode::kNotFound,
                    "the log has no segment " + std::to_string(filter.segment) + (gone ? " any more" : ""));
    }
    filter.from = std::max(filter.from, entry->base_sequence());
    filter.to = std::min(filter.to, catalog.LastSequenceOf(filter.segment));
  }
  std::unique_ptr<Holds::Hold> hold = catalog.holds().Take(filter.from);
  filter.from = std::max(filter.from, hold->sequence());
  reader->reset(new Reader(catalog, cuts, filter, wanted_to, std::move(hold)));
  return Status::Ok();
}

void Reader::Extend(uint64_t last) {
  if (cut_) return;
  filter_.from = std::max(filter_.from, next_);  // going on in the middle of a stretch, what was read is passed again
  filter_.to = std::max(filter_.to, std::min(wanted_to_, last));
}

void Reader::Close() {
  closed_ = true;
  hold_.reset();
  view_.reset();
  items_.clear();
  next_item_ = 0;
}

Status Reader::Fill(ReadChunk* chunk) {
  chunk->count = 0;
  chunk->needed = 0;
  NoteCuts();
  Status status = CheckCuts(FillFromItems(chunk), chunk);
  // Afterwards: a page may have been lost after its frame was found whole, and before it was copied.
  Status memory = CheckMemory();
  if (memory.ok()) return status;
  chunk->count = 0;
  chunk->needed = 0;
  return memory;
}

void Reader::NoteCuts() {
  const uint64_t cuts = catalog_.cuts();
  if (cuts == cuts_) return;
  const uint64_t lowest = catalog_.LowestCutSince(cuts_);
  cuts_ = cuts;
  if (filter_.to <= lowest) return;
  filter_.to = lowest;
  view_last_ = std::min(view_last_, lowest);
  const auto gone = [lowest](const Item& item) { return item.sequence > lowest; };
  const bool waiting = std::any_of(items_.begin() + static_cast<std::ptrdiff_t>(next_item_), items_.end(), gone);
  // Backwards, what is left to read may well be all that it was.
  cut_ = !filter_.reverse || next_ > lowest || waiting;
  if (!waiting) return;
  items_.erase(items_.begin(), items_.begin() + static_cast<std::ptrdiff_t>(next_item_));
  next_item_ = 0;
  std::erase_if(items_, gone);
}

// Whoever truncates says so, to this process by the catalog and to others in the segment, before a byte goes. So
// whatever was read before that could be seen is what it was.
Status Reader::CheckCuts(Status status, ReadChunk* chunk) {
  std::atomic_thread_fence(std::memory_order_seq_cst);
  const uint64_t view_cuts = view_ ? LoadTruncations(view_->data) : view_cuts_;
  const bool changed = std::exchange(view_cuts_, view_cuts) != view_cuts;
  if (changed || !status.ok()) catalog_.Look();
  NoteCuts();
  if (!cut_) return status;
  const auto dropped = [&](size_t i) { return static_cast<uint64_t>(chunk->records[i].sequence) > filter_.to; };
  if (filter_.reverse) {
    if (chunk->count != 0 && dropped(0)) chunk->count = 0;
  } else {
    while (chunk->count != 0 && dropped(chunk->count - 1)) --chunk->count;
  }
  if (chunk->count != 0) return Status::Ok();
  const bool at_end = next_item_ == items_.size() && Exhausted();
  if (status.ok() && !at_end && !filter_.reverse) return status;
  chunk->needed = 0;
  return Status(ErrorCode::kTruncated,
                "the log was truncated behind record " + std::to_string(filter_.to) + " while it was read");
}

Status Reader::CheckMemory() {
  if (lost_.ok() && view_) lost_ = segwal::CheckMemory(*view_->failure, view_->identity.segment_id);
  return lost_;
}

Status Reader::FillFromItems(ReadChunk* chunk) {
  size_t used = 0;
  while (remaining_ != 0) {
    if (next_item_ == items_.size()) {
      items_.clear();
      next_item_ = 0;
      if (Exhausted()) break;
      Status status = filter_.reverse ? LoadBackward() : LoadForward();
      if (status.ok()) continue;
      items_.clear();  // backwards, they stand before the damage, on the far side of it
      return chunk->count != 0 ? Status::Ok() : std::move(status);  // likewise: first what was read
    }
    if (items_[next_item_].codec != 0) {
      if (chunk->count == 0 && EmitCompressed(items_[next_item_], chunk)) ++next_item_;
      break;
    }
    if (!Emit(items_[next_item_], &used, chunk)) break;
    ++next_item_;
    --remaining_;
  }
  return Status::Ok();
}

bool Reader::Emit(const Item& item, size_t* used, ReadChunk* chunk) {
  const size_t key_size = item.record.key ? item.record.key->size() : 0;
  const size_t size = key_size + item.record.data.size();
  if (chunk->count == chunk->records.size()) return false;
  if (size > chunk->data.size() - *used) {
    if (chunk->count == 0) chunk->needed = size;
    return false;
  }
  std::byte* to = chunk->data.data() + *used;
  if (key_size != 0) std::memcpy(to, item.record.key->data(), key_size);
  if (!item.record.data.empty()) std::memcpy(to + key_size, item.record.data.data(), item.record.data.size());
  chunk->records[chunk->count++] = {
      .sequence = static_cast<double>(item.sequence),
      .time_ms = item.time_ms,
      .data_offset = static_cast<uint32_t>(*used + key_size),
      .data_length = static_cast<uint32_t>(item.record.data.size()),
      .key_length = static_cast<uint32_t>(key_size),
      .attributes = item.record.kind | (item.record.key ? RecordDescriptor::kHasKey : 0),
  };
  *used += size;
  return true;
}

bool Reader::EmitCompressed(const Item& item, ReadChunk* chunk) {
  if (chunk->records.empty()) return false;
  const ByteView bytes = item.record.data;
  if (bytes.size() > chunk->data.size()) {
    chunk->needed = bytes.size();
    return false;
  }
  std::memcpy(chunk->data.data(), bytes.data(), bytes.size());
  chunk->records[0] = {.sequence = static_cast<double>(item.sequence),
                       .time_ms = item.time_ms,
                       .data_offset = 0,
                       .data_length = static_cast<uint32_t>(bytes.size()),
                       .key_length = item.plain_size,
                       .attributes = static_cast<uint32_t>(item.codec) << RecordDescriptor::kCodecShift};
  chunk->count = 1;
  compressed_ = item;
  return true;
}

Status Reader::Expand(ByteView plain, std::vector<RecordDescriptor>* records) {
  const Item batch = std::exchange(compressed_, {});
  const Frame frame{.payload = plain.data(),
                    .length = static_cast<uint32_t>(kFrameHeaderSize + plain.size()),
                    .payload_size = static_cast<uint32_t>(plain.size()),
                    .count = batch.count,
                    .flags = kFlagBatch};
  if (batch.count == 0 || plain.size() != batch.plain_size || Load<uint32_t>(plain.data()) != batch.count ||
      !FrameShapeHolds(frame)) {
    return Status::Corrupt("the compressed batch that begins with record " + std::to_string(batch.sequence) +
                               " does not hold the records that it should",
                           {.first_sequence = batch.sequence, .last_sequence = batch.sequence + batch.count - 1});
  }
  FrameRecords steps(frame);
  RecordView record;
  while (steps.Next(&record)) {
    const uint64_t sequence = batch.sequence + steps.index();
    if (sequence < filter_.from || sequence > filter_.to || !Wanted(record)) continue;
    records->push_back({.sequence = static_cast<double>(sequence),
                        .time_ms = batch.time_ms,
                        .data_offset = static_cast<uint32_t>(record.data.data() - plain.data()),
                        .data_length = static_cast<uint32_t>(record.data.size()),
                        .key_length = static_cast<uint32_t>(record.key ? record.key->size() : 0),
                        .attributes = record.kind | (record.key ? RecordDescriptor::kHasKey : 0)});
  }
  if (filter_.reverse) std::ranges::reverse(*records);
  if (records->size() > remaining_) records->resize(remaining_);
  remaining_ -= records->size();
  return Status::Ok();
}

Status Reader::EnterSegment() {
  if (view_) {
    catalog_.Look();
    NoteCuts();
    if (Exhausted()) return Status::Ok();
  }
  const bool timed = !times_.Everything();
  if (timed && filter_.segment == 0) {
    next_ = catalog_.NextInTime(next_, times_, filter_.reverse);
    if (Exhausted()) return Status::Ok();
  }
  const std::optional<Catalog::Entry> entry =
      filter_.segment != 0 ? catalog_.Find(filter_.segment) : catalog_.FindSequence(next_);
  if (!entry) {
    return Status(ErrorCode::kTruncated,
                  "record " + std::to_string(next_) + " was removed from the log while it was read");
  }
  SEGWAL_TRY(CheckMemory());  // of the segment that is left
  const std::shared_ptr<const SegmentView> left = view_;
  SEGWAL_TRY(catalog_.View(entry->id(), &view_));
  view_cuts_ = LoadTruncations(view_->data);
  if (hold_ && !filter_.reverse) hold_->MoveTo(next_);
  view_first_ = entry->base_sequence();
  view_last_ = std::min(filter_.to, catalog_.LastSequenceOf(entry->id()));
  // Who follows a log comes back to the segment that he was in, and stands where he wants to go on. Seeking would look
  // at all that stands before that, back to what the index knows.
  const auto index = static_cast<uint32_t>(next_ - view_first_);
  if (view_ != left || position_.index != index) position_ = view_->index->Seek(view_->data, view_->end, index);
  ask_times_ = timed && !(entry->seal && times_.Covers(entry->seal->earliest_us, entry->seal->latest_us));
  asked_until_ = 0;
  return Status::Ok();
}

void Reader::SkipForward() {
  const auto last_index = static_cast<uint32_t>(view_last_ - view_first_);
  const TimeIndex::Stretch stretch = view_->times->Next(*view_, position_, last_index, times_);
  position_ = stretch.begin;
  asked_until_ = stretch.end;
  next_ = std::max(next_, view_first_ + position_.index);
}

void Reader::SkipBackward() {
  const TimeIndex::Before before = view_->times->Last(*view_, static_cast<uint32_t>(next_ - view_first_), times_);
  if (before.known) next_ = before.index ? view_first_ + *before.index : view_first_ - 1;
}

// A codec is somebody else's to know; that a batch does not claim to be larger than any can be is checked here.
Status Reader::CheckCodec(const Frame& frame) const {
  const uint64_t sequence = view_first_ + frame.index;
  if (!frame.batch()) {
    return Status(ErrorCode::kUnsupportedVersion,
                  "record " + std::to_string(sequence) + " is compressed by itself, which this version does not know");
  }
  if (kFrameHeaderSize + uint64_t{frame.plain_size()} <= view_->identity.segment_size - kSegmentHeaderSize) {
    return Status::Ok();
  }
  return Status::Corrupt(
      "the compressed batch that begins with record " + std::to_string(sequence) + " claims to be " +
          std::to_string(frame.plain_size()) + " bytes, which no batch of this log can be",
      {.segment = view_->identity.segment_id, .first_sequence = sequence, .last_sequence = sequence + frame.count - 1});
}

Status Reader::CheckedFrame(uint64_t offset, uint32_t index, Frame* frame) const {
  if (CheckFrame(view_->data, offset, view_->end, index, view_->salt_checksum, frame) == FrameState::kValid) {
    return frame->codec() == 0 ? Status::Ok() : CheckCodec(*frame);
  }
  const uint64_t sequence = view_first_ + index;
  return Status::Corrupt(
      "segment " + std::to_string(view_->identity.segment_id) + ", offset " + std::to_string(offset) +
          ": the frame of record " + std::to_string(sequence) + " is damaged",
      {.segment = view_->identity.segment_id, .offset = offset, .first_sequence = sequence, .last_sequence = sequence});
}

bool Reader::Wanted(const RecordView& record) const {
  if (filter_.kinds && !(*filter_.kinds)[record.kind]) return false;
  if (!filter_.key) return true;
  return record.key && record.key->size() == filter_.key->size() &&
         std::memcmp(record.key->data(), filter_.key->data(), filter_.key->size()) == 0;
}

void Reader::AddItems(const Frame& frame) {
  const uint64_t time_us = view_->identity.created_us + frame.time_us;
  if (!times_.Meets(time_us, time_us)) return;
  const double time_ms = static_cast<double>(time_us) / 1000.0;
  if (frame.codec() != 0) {
    const uint64_t first = view_first_ + frame.index;
    if (first > filter_.to || first + frame.count - 1 < filter_.from) return;
    items_.push_back({.record = {.data = frame.compressed()},
                      .sequence = first,
                      .time_ms = time_ms,
                      .codec = frame.codec(),
                      .count = frame.count,
                      .plain_size = frame.plain_size()});
    return;
  }
  FrameRecords records(frame);
  RecordView record;
  while (records.Next(&record)) {
    const uint64_t sequence = view_first_ + frame.index + records.index();
    if (sequence < filter_.from || sequence > filter_.to || !Wanted(record)) continue;
    items_.push_back({.record = record, .sequence = sequence, .time_ms = time_ms});
  }
}

Status Reader::LoadForward() {
  if (!view_ || next_ > view_last_) SEGWAL_TRY(EnterSegment());
  if (Exhausted()) return Status::Ok();
  // A few frames at once, so that the loops stay tight; as few as fit into the cache with what they describe, and no
  // more than are wanted: for one large record not the checksums of many.
  constexpr uint64_t kEnough = 64;
  constexpr uint64_t kEnoughBytes = uint64_t{256} << 10;
  const uint64_t enough = std::min(kEnough, remaining_);
  uint64_t bytes = 0;
  while (next_ <= view_last_ && items_.size() < enough && bytes < kEnoughBytes) {
    if (ask_times_ && position_.offset >= asked_until_) {
      SkipForward();
      continue;
    }
    Frame frame;
    if (Status status = CheckedFrame(position_.offset, position_.index, &frame); !status.ok()) {
      // What stands before the damage is handed out first; the next call meets the damage again.
      return items_.empty() ? std::move(status) : Status::Ok();
    }
    AddItems(frame);
    bytes += frame.padded_length();
    position_.offset += frame.padded_length();
    position_.index += frame.count;
    next_ = std::max(next_, view_first_ + position_.index);
  }
  return Status::Ok();
}

Status Reader::LoadBackward() {
  if (!view_ || next_ < view_first_ || next_ > view_last_) SEGWAL_TRY(EnterSegment());
  if (Exhausted()) return Status::Ok();
  if (ask_times_) SkipBackward();
  if (next_ < view_first_) return Status::Ok();
  // Frames cannot be walked backwards: take the stretch that the index knows before next_, and turn it round.
  const auto last_index = static_cast<uint32_t>(next_ - view_first_);
  SegmentIndex::Position at = view_->index->Seek(view_->data, view_->end, last_index);
  const uint64_t stretch_first = view_first_ + at.index;
  while (at.index <= last_index) {
    Frame frame;
    SEGWAL_TRY(CheckedFrame(at.offset, at.index, &frame));
    AddItems(frame);
    at.offset += frame.padded_length();
    at.index += frame.count;
  }
  std::erase_if(items_, [this](const Item& item) { return item.sequence > next_; });
  std::ranges::reverse(items_);
  next_ = stretch_first - 1;
  return Status::Ok();
}

}  // namespace segwal
