#include "core/compaction.h"

#include <algorithm>
#include <bit>
#include <cstring>

namespace segwal {

// ---- which record of a key is the latest ---------------------------------------------------------------------------

// Multiply and fold, eight bytes at a time, as wyhash does.
uint64_t KeyTable::HashOf(ByteView key) const {
  constexpr uint64_t kFactor = 0x9e37'79b9'7f4a'7c15;
  const auto mix = [](uint64_t value) {
    value *= kFactor;
    return value ^ (value >> 29);
  };
  uint64_t hash = mix(seed_ ^ key.size());
  size_t at = 0;
  for (; at + 8 <= key.size(); at += 8) hash = mix(hash ^ Load<uint64_t>(key.data() + at));
  uint64_t rest = 0;
  if (at < key.size()) std::memcpy(&rest, key.data() + at, key.size() - at);
  return mix(mix(hash ^ rest));
}

KeyTable::State& KeyTable::PlaceOf(ByteView key, uint64_t hash) {
  const size_t mask = places_.size() - 1;
  for (size_t place = hash & mask;; place = (place + 1) & mask) {
    State& state = places_[place];
    if (state.key == nullptr) return state;
    if (state.hash == hash && state.key_size == key.size() &&
        (key.empty() || std::memcmp(state.key, key.data(), key.size()) == 0)) {
      return state;
    }
  }
}

KeyTable::State* KeyTable::Find(ByteView key) {
  State& state = PlaceOf(key, HashOf(key));
  return state.key == nullptr ? nullptr : &state;
}

KeyTable::State& KeyTable::At(ByteView key) {
  const uint64_t hash = HashOf(key);
  State* state = &PlaceOf(key, hash);
  if (state->key != nullptr) return *state;
  if (++used_ > places_.size() / 4 * 3) {
    Grow();
    state = &PlaceOf(key, hash);
  }
  *state = {.key = Keep(key), .hash = hash, .key_size = static_cast<uint32_t>(key.size())};
  return *state;
}

void KeyTable::Grow() {
  std::vector<State> old(places_.size() * 2);
  old.swap(places_);
  const size_t mask = places_.size() - 1;
  for (const State& state : old) {
    if (state.key == nullptr) continue;
    size_t place = state.hash & mask;
    while (places_[place].key != nullptr) place = (place + 1) & mask;
    places_[place] = state;
  }
}

const std::byte* KeyTable::Keep(ByteView key) {
  if (key.size() > block_left_ || block_at_ == nullptr) {
    block_left_ = std::max(kBlock, key.size());
    blocks_.push_back(std::make_unique<std::byte[]>(block_left_));
    block_at_ = blocks_.back().get();
  }
  std::byte* const kept = block_at_;
  if (!key.empty()) std::memcpy(kept, key.data(), key.size());
  block_at_ += key.size();
  block_left_ -= key.size();
  return kept;
}

// ---- the new file --------------------------------------------------------------------------------------------------

namespace {

// Frames one behind the other, from the first place of a segment on. Small ones are gathered, a large one goes to the
// file from where it lies.
class FrameWriter {
 public:
  FrameWriter(File* file, uint32_t salt_checksum) : file_(*file), salt_checksum_(salt_checksum) {}

  uint64_t offset() const { return offset_; }

  // `words`: the header behind length and CRC.
  Status Add(uint64_t word1, uint64_t word2, ByteView payload) {
    const auto length = static_cast<uint32_t>(kFrameHeaderSize + payload.size());
    std::array<std::byte, kFrameHeaderSize> header;
    Store(header.data(), length);
    Store(header.data() + 4, Crc32cFrame(salt_checksum_, length, word1, word2, payload.data(), payload.size()));
    Store(header.data() + 8, word1);
    Store(header.data() + 16, word2);
    SEGWAL_TRY(Put(header));
    SEGWAL_TRY(Put(payload));
    constexpr std::array<std::byte, kFrameAlignment> kPadding{};
    return Put({kPadding.data(), AlignUp(length, kFrameAlignment) - length});
  }

  Status AddFiller(uint32_t index, uint32_t count, uint8_t kind) {
    const uint32_t length = FillerLength(count);
    alignas(8) std::array<std::byte, 32> frame{};
    StoreFiller(frame.data(), 0, length, index, count, salt_checksum_, kind);
    return Put({frame.data(), length});
  }

  // Zeros up to the end of the page, so that the file ends there.
  Status Finish() {
    const std::vector<std::byte> zeros(AlignUp(offset_, kPageSize) - offset_);
    SEGWAL_TRY(Put(zeros));
    return Flush();
  }

 private:
  static constexpr size_t kBuffer = size_t{1} << 20;

  Status Put(ByteView bytes) {
    if (bytes.size() > kBuffer - buffer_.size()) SEGWAL_TRY(Flush());
    if (bytes.size() >= kBuffer) {
      SEGWAL_TRY(file_.Write(offset_, bytes));
    } else {
      buffer_.insert(buffer_.end(), bytes.begin(), bytes.end());
    }
    offset_ += bytes.size();
    return Status::Ok();
  }

  Status Flush() {
    if (buffer_.empty()) return Status::Ok();
    SEGWAL_TRY(file_.Write(offset_ - buffer_.size(), buffer_));
    buffer_.clear();
    return Status::Ok();
  }

  File& file_;
  const uint32_t salt_checksum_;
  uint64_t offset_ = kSegmentHeaderSize;
  std::vector<std::byte> buffer_;
};

// What a segment becomes: records that stay, in frames as they were, and fillers that say that the others were removed.
class SegmentRewriter {
 public:
  SegmentRewriter(FrameWriter* writer, uint64_t created_us) : writer_(*writer), created_us_(created_us) {}

  // `goes`: for each record of the frame, in order; empty when all stay.
  Status Add(const Frame& frame, const std::vector<bool>& goes) {
    if (frame.filler()) return Gap(frame.index, frame.count, frame.kind);
    const auto gone = static_cast<uint32_t>(std::ranges::count(goes, true));
    if (gone != 0 && gone == goes.size()) return Gap(frame.index, frame.count, kFillerRemoved);
    SEGWAL_TRY(EndGap());
    const uint64_t time = created_us_ + frame.time_us;
    seal_.earliest_us = seal_.earliest_us == 0 ? time : std::min(seal_.earliest_us, time);
    seal_.latest_us = std::max(seal_.latest_us, time);
    ByteView payload(frame.payload, frame.payload_size);
    if (gone != 0) {
      MakeBatch(frame, goes);
      payload = batch_;
    }
    seal_.record_count += frame.count;
    if (frame.batch() && frame.codec() == 0) seal_.removed += RemovedRecords(FrameOf(frame, payload));
    return writer_.Add(HeaderWord1(frame.index, frame.synced), HeaderWord2(frame.time_us, frame.kind, frame.flags),
                       payload);
  }

  Status Finish(uint64_t base_sequence, Seal* seal) {
    SEGWAL_TRY(EndGap());
    seal_.end_offset = writer_.offset();
    seal_.last_sequence = base_sequence + seal_.record_count - 1;
    *seal = seal_;
    return writer_.Finish();
  }

 private:
  static Frame FrameOf(const Frame& frame, ByteView payload) {
    Frame other = frame;
    other.payload = payload.data();
    other.payload_size = static_cast<uint32_t>(payload.size());
    return other;
  }

  // One filler for all that were removed side by side.
  Status Gap(uint32_t index, uint32_t count, uint8_t kind) {
    if (gap_count_ != 0 && gap_kind_ != kind) SEGWAL_TRY(EndGap());
    if (gap_count_ == 0) gap_index_ = index;
    gap_count_ += count;
    gap_kind_ = kind;
    return Status::Ok();
  }

  Status EndGap() {
    if (gap_count_ == 0) return Status::Ok();
    seal_.record_count += gap_count_;
    if (gap_kind_ == kFillerRemoved) seal_.removed += gap_count_;
    return writer_.AddFiller(gap_index_, std::exchange(gap_count_, 0), gap_kind_);
  }

  // The batch stays one frame, and keeps its sequence numbers: an entry stands for records that were removed.
  void MakeBatch(const Frame& frame, const std::vector<bool>& goes) {
    batch_.resize(frame.payload_size);  // no entry is larger than what it stands for
    Store(batch_.data(), frame.count);
    std::byte* at = batch_.data() + kBatchHeaderSize;
    FrameRecords records(frame);
    RecordView record;
    uint32_t next = 0;  // everything before it has been written
    for (size_t i = 0; records.Next(&record); ++i) {
      if (goes[i]) continue;
      if (records.index() != next) at = StoreBatchGap(at, records.index() - next);
      at = StoreBatchRecord(at, record.data, record.key, record.kind);
      next = records.index() + 1;
    }
    if (next != frame.count) at = StoreBatchGap(at, frame.count - next);
    batch_.resize(static_cast<size_t>(at - batch_.data()));
  }

  FrameWriter& writer_;
  const uint64_t created_us_;
  Seal seal_;
  uint32_t gap_index_ = 0;
  uint32_t gap_count_ = 0;
  uint8_t gap_kind_ = kFillerRemoved;
  std::vector<std::byte> batch_;
};

}  // namespace

// ---- the first pass ------------------------------------------------------------------------------------------------

Compaction::Compaction(Platform& platform, const LogDirectory& directory, const std::vector<Catalog::Entry>& sealed,
                       const CompactOptions& options)
    : platform_(platform), directory_(directory), options_(options) {
  for (const Catalog::Entry& entry : sealed) {
    sources_.push_back({.identity = entry.identity, .seal = *entry.seal, .file_size = entry.file_size});
  }
}

template <typename Read>
Status Compaction::WithBytesOf(const Source& source, const Read& read) {
  const uint64_t id = source.identity.segment_id;
  std::unique_ptr<File> file;
  SEGWAL_TRY(platform_.Open(directory_.SegmentPath(id), OpenMode::kRead, &file));
  std::unique_ptr<Mapping> mapping;
  SEGWAL_TRY(
      MapSegmentForReading(platform_, directory_, source.identity, source.seal.end_offset, std::move(file), &mapping));
  Status status = read(mapping->data());
  // First of all: a page that was replaced looks like damage, or like data.
  SEGWAL_TRY(CheckMemory(*mapping->failure(), id));
  return status;
}

template <typename TakeFrame>
Status Compaction::Walk(const std::byte* data, const SegmentIdentity& identity, const Seal& seal,
                        const TakeFrame& take_frame) {
  constexpr uint64_t kStride = uint64_t{1} << 20;  // bytes between two looks at whether to go on
  const uint32_t salt_checksum = SaltChecksum(identity.salt);
  uint64_t offset = kSegmentHeaderSize;
  uint64_t index = 0;
  uint64_t next_look = 0;
  while (offset < seal.end_offset) {
    if (offset >= next_look) {
      if (options_.cancelled && options_.cancelled()) return Status(ErrorCode::kAborted, "compaction was cancelled");
      next_look = offset + kStride;
    }
    Frame frame;
    const FrameState state =
        CheckFrame(data, offset, seal.end_offset, static_cast<uint32_t>(index), salt_checksum, &frame);
    if (state != FrameState::kValid) {
      const uint64_t sequence = identity.base_sequence + index;
      return directory_.SegmentDamage(
          {.segment = identity.segment_id, .offset = offset, .first_sequence = sequence, .last_sequence = sequence},
          "the frame of record " + std::to_string(sequence) + " is damaged; the segment was not compacted");
    }
    SEGWAL_TRY(take_frame(frame));
    offset += frame.padded_length();
    index += frame.count;
  }
  if (index == seal.record_count) return Status::Ok();
  return directory_.SegmentDamage(
      {.segment = identity.segment_id, .offset = offset, .first_sequence = identity.base_sequence + index},
      "the seal does not agree with the frames; the segment was not compacted");
}

Status Compaction::Analyze() {
  std::array<std::byte, sizeof(uint64_t)> seed{};
  SEGWAL_TRY(platform_.Random(seed));
  keys_ = std::make_unique<KeyTable>(Load<uint64_t>(seed.data()));
  for (Source& source : sources_) {
    source.first_record = readable_;
    const auto take = [&](const Frame& frame) {
      if (frame.codec() != 0) {
        // Its records can be of any key.
        unreadable_before_ = true;
        records_ += frame.count;
        return Status::Ok();
      }
      FrameRecords records(frame);
      RecordView record;
      while (records.Next(&record)) Take(record, source.identity.base_sequence + frame.index + records.index());
      return Status::Ok();
    };
    SEGWAL_TRY(
        WithBytesOf(source, [&](const std::byte* data) { return Walk(data, source.identity, source.seal, take); }));
  }
  EndKeys();
  return Status::Ok();
}

void Compaction::Take(const RecordView& record, uint64_t sequence) {
  const uint64_t number = readable_++;
  ++records_;
  if (number / 64 == marks_.size()) marks_.push_back(0);
  if (!record.key || sequence >= options_.before) return;
  KeyTable::State& key = keys_->At(*record.key);
  // Records between the marks of a transaction have its key, and are many. Whether they count is decided by its end.
  if (record.kind == kKindBegin || record.kind == kKindCommit || record.kind == kKindAbort) {
    key.in_transaction = record.kind == kKindBegin;
    key.stays = true;
    return;
  }
  if (key.in_transaction) return;
  if (key.latest != 0) Mark(key.latest - 1);
  key.latest = number + 1;
  key.ends = record.kind == kKindDelete && !key.stays && !unreadable_before_;
}

// Deletes behind which nothing is left go too.
void Compaction::EndKeys() {
  for (const KeyTable::State& key : keys_->places()) {
    if (key.key == nullptr || !key.ends) continue;
    const uint64_t number = key.latest - 1;
    Mark(number);
    const auto behind = std::ranges::upper_bound(sources_, number, {}, &Source::first_record);
    ++std::prev(behind)->last_records;
  }
}

// ---- the second pass -----------------------------------------------------------------------------------------------

uint64_t Compaction::MarkedIn(size_t at) const {
  const uint64_t end = at + 1 < sources_.size() ? sources_[at + 1].first_record : readable_;
  uint64_t marked = 0;
  uint64_t number = sources_[at].first_record;
  while (number < end) {
    const uint64_t count = std::min(64 - number % 64, end - number);
    const uint64_t mask = count == 64 ? UINT64_MAX : (uint64_t{1} << count) - 1;
    marked += static_cast<uint64_t>(std::popcount(marks_[number / 64] >> (number % 64) & mask));
    number += count;
  }
  return marked;
}

// `*last`: it is a Delete that goes though no later record of its key stays.
bool Compaction::Goes(uint64_t number, uint64_t sequence, const RecordView& record, uint64_t first_delete_to_keep,
                      bool* last) {
  *last = false;
  if (!Marked(number)) return false;
  if (record.kind != kKindDelete) return true;
  const KeyTable::State& key = *keys_->Find(*record.key);
  if (key.latest != number + 1) return true;
  *last = true;
  return sequence < first_delete_to_keep && !key.outlived;
}

// The frames were checked by the first pass.
template <typename TakeMarked>
Status Compaction::ForEachMarked(size_t at, const TakeMarked& take_marked) {
  const Source& source = sources_[at];
  uint64_t number = source.first_record;
  const auto take = [&](const Frame& frame) {
    if (frame.codec() != 0) return Status::Ok();
    FrameRecords records(frame);
    RecordView record;
    for (; records.Next(&record); ++number) {
      if (!Marked(number)) continue;
      take_marked(number, source.identity.base_sequence + frame.index + records.index(), record);
    }
    return Status::Ok();
  };
  return WithBytesOf(source, [&](const std::byte* data) { return Walk(data, source.identity, source.seal, take); });
}

Status Compaction::LeaveAsItIs(size_t at) {
  return ForEachMarked(
      at, [this](uint64_t, uint64_t, const RecordView& record) { keys_->Find(*record.key)->outlived = true; });
}

Status Compaction::Rewrite(size_t at, uint64_t first_delete_to_keep, CompactedSegment* made) {
  const Source& source = sources_[at];
  *made = {.old_salt = source.identity.salt, .old_file_size = source.file_size, .identity = source.identity};
  const uint64_t marked = MarkedIn(at);
  if (marked == 0) return Status::Ok();
  if (marked == source.last_records) {
    // Perhaps all of them stay.
    bool any = false;
    SEGWAL_TRY(ForEachMarked(at, [&](uint64_t number, uint64_t sequence, const RecordView& record) {
      bool last = false;
      any |= Goes(number, sequence, record, first_delete_to_keep, &last);
    }));
    if (!any) return Status::Ok();
  }
  std::array<std::byte, sizeof made->identity.salt> salt{};
  SEGWAL_TRY(platform_.Random(salt));
  made->identity.salt = Load<uint64_t>(salt.data());
  made->identity.flags = kSegmentCompacted;  // and in a file of its own
  Status status =
      WithBytesOf(source, [&](const std::byte* data) { return Write(source, data, first_delete_to_keep, made); });
  if (!status.ok()) static_cast<void>(platform_.Remove(directory_.CompactionPath()));
  return status;
}

Status Compaction::Write(const Source& source, const std::byte* data, uint64_t first_delete_to_keep,
                         CompactedSegment* made) {
  const std::string path = directory_.CompactionPath();
  if (Status status = platform_.Remove(path); !status.ok() && status.code() != ErrorCode::kNotFound) return status;
  std::unique_ptr<File> file;
  SEGWAL_TRY(platform_.Open(path, OpenMode::kCreate, &file));
  FrameWriter writer(file.get(), SaltChecksum(made->identity.salt));
  SegmentRewriter rewriter(&writer, made->identity.created_us);
  uint64_t number = source.first_record;
  std::vector<bool> goes;
  SEGWAL_TRY(Walk(data, source.identity, source.seal, [&](const Frame& frame) {
    goes.clear();
    if (frame.codec() == 0) {
      FrameRecords records(frame);
      RecordView record;
      for (; records.Next(&record); ++number) {
        bool last = false;
        const uint64_t sequence = source.identity.base_sequence + frame.index + records.index();
        goes.push_back(Goes(number, sequence, record, first_delete_to_keep, &last));
        if (!goes.back()) continue;
        ++made->removed;
        if (last) made->last_delete = sequence;
      }
    }
    return rewriter.Add(frame, goes);
  }));
  SEGWAL_TRY(rewriter.Finish(made->identity.base_sequence, &made->seal));
  made->file_size = writer.offset();

  alignas(8) std::array<std::byte, kSegmentHeaderSize> header{};
  StoreIdentity(header.data(), made->identity);
  StoreSeal(header.data(), made->identity, made->seal);
  // Of no boot: nothing is ever taken for unfinished here.
  StoreLive(header.data(), {.pointer = MakePointer(made->seal.end_offset, made->seal.record_count) | kSealedBit});
  StoreTruncations(header.data(), LoadTruncations(data));
  SEGWAL_TRY(file->Write(0, header));
  SEGWAL_TRY(file->Sync());
  return Prove(std::move(file), *made);
}

// What takes the place of durable records is read once more, from the file, before they go.
Status Compaction::Prove(std::unique_ptr<File> file, const CompactedSegment& made) {
  std::unique_ptr<Mapping> mapping;
  SEGWAL_TRY(platform_.Map(std::move(file), made.file_size, false, &mapping));
  uint64_t removed = 0;
  Status status = Walk(mapping->data(), made.identity, made.seal, [&removed](const Frame& frame) {
    removed += RemovedRecords(frame);
    return Status::Ok();
  });
  if (status.code() == ErrorCode::kAborted) return status;
  SegmentHeader header;
  const bool same = LoadSegmentHeader(mapping->data(), &header) == SectorState::kValid && header.seal &&
                    removed == made.seal.removed && header.seal->record_count == made.seal.record_count;
  SEGWAL_TRY(CheckMemory(*mapping->failure(), made.identity.segment_id));
  if (status.ok() && same) return Status::Ok();
  return Status(ErrorCode::kIo, directory_.CompactionPath() +
                                    " does not hold what was written to it; nothing was replaced by it" +
                                    (status.ok() ? "" : ": " + status.message()));
}

}  // namespace segwal
