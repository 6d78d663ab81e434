#include "core/catalog.h"

#include <algorithm>
#include <cerrno>

namespace segwal {
namespace {

Status Gone(uint64_t id) {
  return Status(ErrorCode::kTruncated, "segment " + std::to_string(id) + " was removed from the log");
}

}  // namespace

SegmentIndex::Position SegmentIndex::Seek(const std::byte* data, uint64_t end, uint32_t index) {
  const std::lock_guard lock(mutex_);
  while (walked_.index <= index) {
    Frame frame;
    if (PeekFrame(data, walked_.offset, end, &frame) != FrameState::kValid || frame.count == 0) break;
    if (walked_.offset - positions_.back().offset >= kIndexStretch) positions_.push_back(walked_);
    walked_.offset += frame.padded_length();
    walked_.index += frame.count;
  }
  const auto after = std::ranges::upper_bound(positions_, index, {}, &Position::index);
  return *std::prev(after);
}

Status MapSegmentForReading(Platform& platform, const LogDirectory& directory, const SegmentIdentity& identity,
                            uint64_t end, std::unique_ptr<File> file, std::unique_ptr<Mapping>* mapping) {
  const std::string path = directory.SegmentPath(identity.segment_id);
  uint64_t size = 0;
  SEGWAL_TRY(file->Size(&size));
  if (size < end) {
    return Status::Corrupt(
        path + " was cut short: it has " + std::to_string(size) + " bytes, and its records need " + std::to_string(end),
        {.segment = identity.segment_id, .offset = size, .first_sequence = identity.base_sequence});
  }
  SEGWAL_TRY(platform.Map(std::move(file), end, false, mapping));
  // Its writer may have removed the segment after the file was opened here, and have made another one of it. From now
  // on it leaves the file alone.
  const std::byte* header = (*mapping)->data();
  const bool spare = LoadSpare(header);  // before the identity, which is there when this is not any more
  SegmentIdentity found;
  const bool used = LoadIdentity(header, &found) == SectorState::kValid;
  if (used ? found.recycled() && found.segment_id != identity.segment_id : spare) {
    mapping->reset();
    return Status(ErrorCode::kNotFound, path + " was removed, and its file is used again", ENOENT);
  }
  return Status::Ok();
}

void Catalog::AddSealed(const SegmentIdentity& identity, const Seal& seal, uint64_t file_size) {
  const std::lock_guard lock(mutex_);
  slots_.push_back(
      {.entry = {.identity = identity, .seal = seal, .file_size = file_size != 0 ? file_size : identity.segment_size}});
}

void Catalog::AddUnsealed(const SegmentIdentity& identity) {
  const std::lock_guard lock(mutex_);
  slots_.push_back({.entry = {.identity = identity, .file_size = identity.segment_size}});
}

void Catalog::AddLive(std::shared_ptr<Segment> segment) {
  const std::lock_guard lock(mutex_);
  const SegmentIdentity identity = segment->identity();
  slots_.push_back({.entry = {.identity = identity, .live = std::move(segment), .file_size = identity.segment_size}});
}

void Catalog::MarkSealed(uint64_t id, const Seal& seal) {
  std::shared_ptr<Segment> let_go;  // destroyed outside the lock
  const std::lock_guard lock(mutex_);
  const auto slot = SlotOf(id);
  if (slot == slots_.end()) return;
  slot->entry.seal = seal;
  let_go = std::move(slot->entry.live);
  slot->entry.live = nullptr;
}

void Catalog::Replace(const SegmentIdentity& identity, const Seal& seal, uint64_t file_size) {
  const std::lock_guard lock(mutex_);
  const auto slot = SlotOf(identity.segment_id);
  if (slot == slots_.end()) return;
  // Without views: whoever has the old one goes on with it, and with the index that belongs to it.
  *slot = {.entry = {.identity = identity, .seal = seal, .file_size = file_size}};
  std::erase_if(recent_, [&](const auto& view) { return view->identity.segment_id == identity.segment_id; });
}

void Catalog::LetGoOf(uint64_t id) {
  const std::lock_guard lock(mutex_);
  std::erase_if(recent_, [id](const auto& view) { return view->identity.segment_id == id; });
}

void Catalog::RemoveBefore(uint64_t id) {
  const std::lock_guard lock(mutex_);
  while (!slots_.empty() && slots_.front().entry.id() < id) slots_.pop_front();
  std::erase_if(recent_, [id](const auto& view) { return view->identity.segment_id < id; });
}

void Catalog::CutAfter(uint64_t sequence, uint64_t id, const Seal& seal) {
  NoteCut(sequence);
  std::deque<Slot> let_go;  // destroyed outside the lock
  const std::lock_guard lock(mutex_);
  while (!slots_.empty() && slots_.back().entry.id() > id) {
    let_go.push_back(std::move(slots_.back()));
    slots_.pop_back();
  }
  if (const auto slot = SlotOf(id); slot != slots_.end()) {
    if (!slot->entry.live) slot->entry.seal = seal;
    slot->index = std::make_shared<SegmentIndex>();
    slot->times = std::make_shared<TimeIndex>();
    slot->view.reset();
  }
  std::erase_if(recent_, [id](const auto& view) { return view->identity.segment_id >= id; });
}

void Catalog::Revive(uint64_t id, std::shared_ptr<Segment> segment) {
  const std::lock_guard lock(mutex_);
  const auto slot = SlotOf(id);
  if (slot == slots_.end()) return;
  slot->entry.seal.reset();
  slot->entry.live = std::move(segment);
  slot->entry.file_size = slot->entry.identity.segment_size;
  slot->view.reset();
  std::erase_if(recent_, [id](const auto& view) { return view->identity.segment_id == id; });
  // A view that somebody is making this very moment ends where the log did; it is not kept, because its index is not
  // the one that is here.
  slot->index = std::make_shared<SegmentIndex>();
}

void Catalog::NoteCut(uint64_t sequence) {
  const std::lock_guard lock(mutex_);
  cuts_.push_back(sequence);
  // Seq_cst, and a fence: what is stored to the segment afterwards is seen by nobody who does not see this then.
  cuts_count_.store(cuts_.size(), std::memory_order_seq_cst);
  std::atomic_thread_fence(std::memory_order_seq_cst);
}

uint64_t Catalog::LowestCutSince(uint64_t cuts) const {
  const std::lock_guard lock(mutex_);
  uint64_t lowest = UINT64_MAX;
  for (size_t i = cuts; i < cuts_.size(); ++i) lowest = std::min(lowest, cuts_[i]);
  return lowest;
}

void Catalog::Clear() {
  const std::lock_guard lock(mutex_);
  slots_.clear();
  recent_.clear();
}

uint64_t Catalog::first_sequence() const {
  const std::lock_guard lock(mutex_);
  return slots_.empty() ? 1 : slots_.front().entry.base_sequence();
}

std::vector<Catalog::Entry> Catalog::Entries() const {
  const std::lock_guard lock(mutex_);
  std::vector<Entry> entries;
  entries.reserve(slots_.size());
  for (const Slot& slot : slots_) entries.push_back(slot.entry);
  return entries;
}

size_t Catalog::size() const {
  const std::lock_guard lock(mutex_);
  return slots_.size();
}

uint64_t Catalog::file_bytes() const {
  const std::lock_guard lock(mutex_);
  uint64_t bytes = 0;
  for (const Slot& slot : slots_) bytes += slot.entry.file_size;
  return bytes;
}

std::vector<SegmentInfo> Catalog::Describe(const End& end) const {
  std::vector<SegmentInfo> infos;
  for (const Entry& entry : Entries()) {
    SegmentInfo info{.id = entry.id(),
                     .first_sequence = entry.base_sequence(),
                     .last_sequence = entry.base_sequence() - 1,
                     .bytes = kSegmentHeaderSize,
                     .capacity = entry.file_size,
                     .sealed = entry.seal.has_value(),
                     .path = directory_.SegmentPath(entry.id())};
    if (entry.id() == end.segment) {
      info.last_sequence = end.sequence;
      info.bytes = end.offset;
      info.first_time_us = end.earliest_us;
      info.last_time_us = end.latest_us;
    } else if (entry.seal || entry.id() < end.segment) {
      const Seal& seal = entry.seal ? *entry.seal : entry.live->seal;
      info.last_sequence = seal.last_sequence;
      info.bytes = seal.end_offset;
      info.first_time_us = seal.earliest_us;
      info.last_time_us = seal.latest_us;
      info.removed = seal.removed;
    }
    infos.push_back(std::move(info));
  }
  return infos;
}

std::optional<Catalog::Entry> Catalog::Find(uint64_t id) const {
  const std::lock_guard lock(mutex_);
  const auto slot = SlotOf(id);
  return slot == slots_.end() ? std::nullopt : std::optional(slot->entry);
}

std::optional<Catalog::Entry> Catalog::FindSequence(uint64_t sequence) const {
  const std::lock_guard lock(mutex_);
  // Of several segments with one base the last has the records: the others were sealed empty.
  const auto after =
      std::ranges::upper_bound(slots_, sequence, {}, [](const Slot& slot) { return slot.entry.base_sequence(); });
  return after == slots_.begin() ? std::nullopt : std::optional(std::prev(after)->entry);
}

uint64_t Catalog::NextInTime(uint64_t sequence, TimeRange range, bool reverse) const {
  const auto base_of = [](const Slot& slot) { return slot.entry.base_sequence(); };
  const auto left_out = [range](const Slot& slot) {
    const std::optional<Seal>& seal = slot.entry.seal;
    return seal && !range.Meets(seal->earliest_us, seal->latest_us);
  };
  const std::lock_guard lock(mutex_);
  auto behind = std::ranges::upper_bound(slots_, sequence, {}, base_of);
  if (behind == slots_.begin()) return sequence;
  for (auto slot = std::prev(behind); left_out(*slot);) {
    if (reverse) {
      sequence = slot->entry.base_sequence() - 1;
      if (slot-- == slots_.begin()) break;
    } else {
      sequence = std::max(sequence, slot->entry.seal->last_sequence + 1);
      if (++slot == slots_.end()) break;
    }
  }
  return sequence;
}

uint64_t Catalog::LastSequenceOf(uint64_t id) const {
  const std::lock_guard lock(mutex_);
  const auto slot = SlotOf(id);
  if (slot == slots_.end()) return 0;
  if (slot->entry.seal) return slot->entry.seal->last_sequence;
  const auto next = std::next(slot);
  return next == slots_.end() ? UINT64_MAX : next->entry.base_sequence() - 1;
}

Status Catalog::View(uint64_t id, std::shared_ptr<const SegmentView>* view) {
  auto made = std::make_unique<SegmentView>();
  {
    const std::lock_guard lock(mutex_);
    const auto slot = SlotOf(id);
    if (slot == slots_.end()) return Gone(id);
    // One that failed is of no use any more; a new look at the file says what is the matter.
    if ((*view = slot->view.lock()) && !(*view)->failure->Happened()) return Status::Ok();
    view->reset();
    made->identity = slot->entry.identity;
    made->index = slot->index;
    made->times = slot->times;
    made->seal = slot->entry.seal;
    made->end = made->seal ? made->seal->end_offset : made->identity.segment_size;
    if (slot->entry.live) {
      made->data = slot->entry.live->data();
      made->failure = slot->entry.live->failure();
      made->owner = slot->entry.live;
    }
  }
  if (made->data == nullptr) {
    // Without the lock: a rotation on the event loop must not wait for this open.
    std::unique_ptr<File> file;
    Status status = platform_.Open(directory_.SegmentPath(id), OpenMode::kRead, &file);
    if (status.code() == ErrorCode::kNotFound) return Gone(id);
    SEGWAL_TRY(std::move(status));
    SEGWAL_TRY(LoadReplaced(file.get(), made.get()));
    std::unique_ptr<Mapping> mapping;
    status = MapSegmentForReading(platform_, directory_, made->identity, made->end, std::move(file), &mapping);
    if (status.code() == ErrorCode::kNotFound) return Gone(id);
    SEGWAL_TRY(std::move(status));
    made->data = mapping->data();
    made->failure = mapping->failure();
    made->owner = reclaimer_->Own(std::move(mapping));
  }
  made->salt_checksum = SaltChecksum(made->identity.salt);
  *view = std::shared_ptr<const SegmentView>(std::move(made));

  const std::lock_guard lock(mutex_);
  // Unless the segment was cut short meanwhile: who comes later gets a view of what is left.
  if (const auto slot = SlotOf(id); slot != slots_.end() && slot->index == (*view)->index) {
    slot->view = *view;
    recent_.push_front(*view);
    if (recent_.size() > kRecentViews) recent_.pop_back();
  }
  return Status::Ok();
}

Status Catalog::LoadReplaced(File* file, SegmentView* view) {
  const SegmentIdentity known = view->identity;
  SegmentHeader header;
  Status read = directory_.ReadSegmentHeader(known.segment_id, file, &header);
  if (read.code() == ErrorCode::kIo) return read;
  const SegmentIdentity& found = header.identity;
  // Anything else that is odd with it shows in the frames.
  if (header.state != SectorState::kValid || found.salt == known.salt || !found.compacted() || !header.seal ||
      found.log_id != known.log_id || found.segment_id != known.segment_id ||
      found.base_sequence != known.base_sequence ||
      (view->seal && view->seal->last_sequence != header.seal->last_sequence)) {
    return Status::Ok();
  }
  view->identity = found;
  view->seal = header.seal;
  view->end = header.seal->end_offset;
  const std::lock_guard lock(mutex_);
  const auto slot = SlotOf(known.segment_id);
  if (slot != slots_.end() && slot->entry.identity.salt == known.salt && !slot->entry.live) {
    *slot = {.entry = {.identity = found, .seal = header.seal, .file_size = header.file_size}};
  }
  const bool same = slot != slots_.end() && slot->entry.identity.salt == found.salt;
  view->index = same ? slot->index : std::make_shared<SegmentIndex>();
  view->times = same ? slot->times : std::make_shared<TimeIndex>();
  return Status::Ok();
}

std::deque<Catalog::Slot>::iterator Catalog::SlotOf(uint64_t id) {
  if (slots_.empty() || id < slots_.front().entry.id()) return slots_.end();
  const uint64_t place = id - slots_.front().entry.id();
  return place < slots_.size() ? slots_.begin() + static_cast<std::ptrdiff_t>(place) : slots_.end();
}

std::deque<Catalog::Slot>::const_iterator Catalog::SlotOf(uint64_t id) const {
  return const_cast<Catalog*>(this)->SlotOf(id);
}

}  // namespace segwal
