#include "core/format.h"

#include <algorithm>
#include <atomic>
#include <cstring>

namespace segwal {
namespace {

// "segwal", then bytes that a text-mode transfer would mangle.
constexpr uint64_t kMagic = 0x0a1a'6c61'7767'6573;

bool IsZero(const std::byte* sector) { return FindNonZero(sector, 0, kSectorSize) == kSectorSize; }

uint32_t SectorChecksum(const std::byte* sector) { return Crc32c({sector, kSectorChecksumOffset}); }

uint32_t SaltedChecksum(uint64_t salt, std::initializer_list<uint32_t> words) {
  uint32_t crc = SaltChecksum(salt);
  for (uint32_t word : words) crc = ExtendCrc32c(crc, &word, sizeof word);
  return crc;
}

}  // namespace

uint32_t SaltChecksum(uint64_t salt) { return ExtendCrc32c(0, &salt, sizeof salt); }

void StoreIdentity(std::byte* header, const SegmentIdentity& identity) {
  std::byte sector[kSectorSize] = {};
  Store(sector, kMagic);
  Store(sector + 8, kFormatVersion);
  Store(sector + 12, identity.flags);
  std::copy(identity.log_id.begin(), identity.log_id.end(), sector + 16);
  Store(sector + 32, identity.segment_id);
  Store(sector + 40, identity.base_sequence);
  Store(sector + 48, identity.salt);
  Store(sector + 56, identity.segment_size);
  Store(sector + 64, identity.created_us);
  Store(sector + kSectorChecksumOffset, SectorChecksum(sector));
  std::memcpy(header + kIdentityOffset + 8, sector + 8, kSectorSize - 8);
  // The kernel may write the page at any moment, and another process may read it: release keeps the magic behind the
  // rest.
  AtomicAt<uint64_t>(header + kIdentityOffset).store(kMagic, std::memory_order_release);
}

SectorState LoadIdentity(const std::byte* header, SegmentIdentity* identity, uint32_t* version) {
  const std::byte* sector = header + kIdentityOffset;
  // A writer that dies before its magic leaves a segment that was never activated; fields may be there already.
  const uint64_t magic = AtomicAt<uint64_t>(sector).load(std::memory_order_acquire);
  if (magic == 0) return SectorState::kAbsent;
  if (magic != kMagic) return SectorState::kForeign;
  const auto found = Load<uint32_t>(sector + 8);
  if (version != nullptr) *version = found;
  if (found > kFormatVersion) return SectorState::kUnsupportedVersion;
  if (found == 0 || Load<uint32_t>(sector + kSectorChecksumOffset) != SectorChecksum(sector)) {
    return SectorState::kDamaged;
  }
  identity->flags = Load<uint32_t>(sector + 12);
  std::copy(sector + 16, sector + 32, identity->log_id.begin());
  identity->segment_id = Load<uint64_t>(sector + 32);
  identity->base_sequence = Load<uint64_t>(sector + 40);
  identity->salt = Load<uint64_t>(sector + 48);
  identity->segment_size = Load<uint64_t>(sector + 56);
  identity->created_us = Load<uint64_t>(sector + 64);
  return SectorState::kValid;
}

bool RepairIdentity(std::byte* sector, const LogId& log_id, uint64_t segment_id, uint64_t segment_size) {
  const auto try_it = [&](const std::byte* repaired) {
    SegmentIdentity identity;
    if (LoadIdentity(repaired, &identity) != SectorState::kValid || identity.log_id != log_id ||
        identity.segment_id != segment_id || identity.segment_size != segment_size) {
      return false;
    }
    std::memcpy(sector, repaired, kSectorSize);
    return true;
  };
  alignas(8) std::array<std::byte, kSectorSize> copy;
  std::memcpy(copy.data(), sector, kSectorSize);
  for (size_t bit = 0; bit < 8 * kSectorSize; ++bit) {
    const auto mask = std::byte{1} << (bit % 8);
    copy[bit / 8] ^= mask;
    if (try_it(copy.data())) return true;
    copy[bit / 8] ^= mask;
  }
  Store(copy.data(), kMagic);
  Store(copy.data() + 8, kFormatVersion);
  std::copy(log_id.begin(), log_id.end(), copy.begin() + 16);
  Store(copy.data() + 32, segment_id);
  Store(copy.data() + 56, segment_size);
  return std::ranges::any_of(std::array{uint32_t{0}, kSegmentCompacted, kSegmentRecycled}, [&](uint32_t flags) {
    Store(copy.data() + 12, flags);
    return try_it(copy.data());
  });
}

void StoreSeal(std::byte* header, const SegmentIdentity& identity, const Seal& seal) {
  std::byte sector[kSectorSize] = {};
  Store(sector, identity.salt);
  Store(sector + 8, seal.end_offset);
  Store(sector + 16, seal.record_count);
  Store(sector + 24, seal.last_sequence);
  Store(sector + 32, seal.earliest_us);
  Store(sector + 40, seal.latest_us);
  Store(sector + 48, seal.removed);
  Store(sector + kSectorChecksumOffset, SectorChecksum(sector));
  std::memcpy(header + kSealOffset, sector, kSectorSize);
}

SectorState LoadSeal(const std::byte* header, const SegmentIdentity& identity, Seal* seal) {
  const std::byte* sector = header + kSealOffset;
  if (IsZero(sector)) return SectorState::kAbsent;
  if (Load<uint32_t>(sector + kSectorChecksumOffset) != SectorChecksum(sector)) return SectorState::kDamaged;
  if (Load<uint64_t>(sector) != identity.salt) return SectorState::kAbsent;
  seal->end_offset = Load<uint64_t>(sector + 8);
  seal->record_count = Load<uint64_t>(sector + 16);
  seal->last_sequence = Load<uint64_t>(sector + 24);
  seal->earliest_us = Load<uint64_t>(sector + 32);
  seal->latest_us = Load<uint64_t>(sector + 40);
  seal->removed = Load<uint64_t>(sector + 48);
  const bool sane = seal->end_offset >= kSegmentHeaderSize && seal->end_offset <= identity.segment_size &&
                    seal->end_offset % kFrameAlignment == 0 && seal->removed <= seal->record_count &&
                    seal->last_sequence + 1 == identity.base_sequence + seal->record_count;
  return sane ? SectorState::kValid : SectorState::kDamaged;
}

void StoreMark(std::byte* header, const SegmentIdentity& identity, uint64_t watermark) {
  const uint32_t synced = EncodeSynced(watermark, identity.base_sequence);
  if (synced == 0) return;
  const uint64_t word = synced | uint64_t{SaltedChecksum(identity.salt, {synced})} << 32;
  // Release, so that a reader in another process that sees the mark sees the frames that it speaks of.
  AtomicAt<uint64_t>(header + kMarkOffset).store(word, std::memory_order_release);
}

uint64_t LoadMark(const std::byte* header, const SegmentIdentity& identity) {
  const uint64_t word = AtomicAt<uint64_t>(header + kMarkOffset).load(std::memory_order_acquire);
  const auto synced = static_cast<uint32_t>(word);
  if (synced == 0 || word >> 32 != SaltedChecksum(identity.salt, {synced})) return 0;
  return DecodeSynced(synced, identity.base_sequence);
}

namespace {

uint64_t OrderlyEndWord(const std::byte* header, const SegmentIdentity& identity, uint32_t end) {
  const auto synced = Load<uint32_t>(header + kMarkOffset);
  return end | uint64_t{SaltedChecksum(identity.salt, {synced, end})} << 32;
}

}  // namespace

void StoreOrderlyEnd(std::byte* header, const SegmentIdentity& identity, uint64_t end_offset) {
  const auto end = static_cast<uint32_t>(end_offset / kFrameAlignment);
  AtomicAt<uint64_t>(header + kMarkOffset + 64)
      .store(end == 0 ? 0 : OrderlyEndWord(header, identity, end), std::memory_order_relaxed);
}

uint64_t LoadOrderlyEnd(const std::byte* header, const SegmentIdentity& identity) {
  const uint64_t word = AtomicAt<uint64_t>(header + kMarkOffset + 64).load(std::memory_order_relaxed);
  const auto end = static_cast<uint32_t>(word);
  return end != 0 && word == OrderlyEndWord(header, identity, end) ? end * kFrameAlignment : 0;
}

void StoreSpare(std::byte* header, uint64_t segment_id) {
  const auto id = static_cast<uint32_t>(segment_id);
  AtomicAt<uint64_t>(header + kSpareOffset)
      .store(id | uint64_t{Crc32c(std::as_bytes(std::span(&id, 1)))} << 32, std::memory_order_relaxed);
}

void ClearSpare(std::byte* header) { AtomicAt<uint64_t>(header + kSpareOffset).store(0, std::memory_order_release); }

bool LoadSpare(const std::byte* header) {
  const uint64_t word = AtomicAt<uint64_t>(header + kSpareOffset).load(std::memory_order_acquire);
  const auto id = static_cast<uint32_t>(word);
  return word != 0 && word >> 32 == Crc32c(std::as_bytes(std::span(&id, 1)));
}

namespace {

constexpr uint64_t kTruncationsOffset = 96;

}  // namespace

void StoreLive(std::byte* header, const LiveState& live) {
  std::byte* sector = header + kLiveOffset;
  std::copy(live.boot.begin(), live.boot.end(), sector + 64);
  Store(sector + 80, live.pid);
  AtomicAt<uint64_t>(sector).store(live.pointer, std::memory_order_release);
}

LiveState LoadLive(const std::byte* header) {
  const std::byte* sector = header + kLiveOffset;
  LiveState live;
  live.pointer = AtomicAt<uint64_t>(sector).load(std::memory_order_acquire);
  std::copy(sector + 64, sector + 80, live.boot.begin());
  live.pid = Load<uint32_t>(sector + 80);
  return live;
}

void StoreTruncations(std::byte* header, uint64_t truncations) {
  AtomicAt<uint64_t>(header + kLiveOffset + kTruncationsOffset).store(truncations, std::memory_order_seq_cst);
}

uint64_t LoadTruncations(const std::byte* header) {
  return AtomicAt<uint64_t>(header + kLiveOffset + kTruncationsOffset).load(std::memory_order_seq_cst);
}

void TakeBackProofs(std::byte* header, const SegmentIdentity& identity, uint64_t last) {
  std::memset(header + kSealOffset, 0, kSectorSize);
  StoreOrderlyEnd(header, identity, 0);
  StoreMark(header, identity, last);
}

namespace {

// What stands before the key and the data of a record in a batch, or in the place of removed ones.
class BatchEntry {
 public:
  explicit BatchEntry(const std::byte* at)
      : length_(Load<uint32_t>(at)),
        kind_(Load<uint8_t>(at + 4)),
        flags_(Load<uint8_t>(at + 5)),
        key_size_(Load<uint16_t>(at + 6)) {}

  bool removed() const { return (flags_ & kFlagRemoved) != 0; }
  uint32_t count() const { return removed() ? length_ : 1; }  // of sequence numbers
  uint64_t data_size() const { return removed() ? 0 : length_; }
  uint64_t key_size() const { return key_size_; }
  uint64_t size() const { return key_size() + data_size(); }  // of what follows
  bool has_key() const { return (flags_ & kFlagKey) != 0; }
  uint8_t kind() const { return kind_; }

 private:
  uint32_t length_;
  uint8_t kind_;
  uint8_t flags_;
  uint16_t key_size_;
};

}  // namespace

bool FlaggedShapeHolds(const Frame& frame) {
  if (frame.filler()) return !frame.batch() && frame.count >= 1;
  if (!frame.batch()) {
    if ((frame.flags & kFlagKey) == 0) return true;
    return frame.payload_size >= kKeyLengthSize && frame.payload_size >= kKeyLengthSize + Load<uint16_t>(frame.payload);
  }
  if (frame.count == 0) return false;
  if (frame.codec() != 0) {
    if (frame.payload_size <= kCompressedHeaderSize) return false;
    const uint64_t size = frame.compressed().size();
    return size != 0 && frame.payload_size == CompressedPayloadSize(frame.count, size) &&
           frame.plain_size() >= kBatchHeaderSize + uint64_t{frame.count} * kBatchRecordHeaderSize;
  }
  uint64_t at = kBatchHeaderSize;
  uint64_t count = 0;
  while (count < frame.count) {
    if (frame.payload_size - at < kBatchRecordHeaderSize) return false;
    const BatchEntry entry(frame.payload + at);
    at += kBatchRecordHeaderSize;
    if (frame.payload_size - at < entry.size()) return false;
    at += entry.size();
    if (entry.removed() && (entry.count() == 0 || entry.size() != 0)) return false;
    count += entry.count();
  }
  return at == frame.payload_size && count == frame.count;
}

void StoreFiller(std::byte* segment, uint64_t offset, uint32_t length, uint32_t index, uint32_t count,
                 uint32_t salt_checksum, uint8_t kind) {
  std::byte* at = segment + offset;
  const uint32_t payload_size = length - static_cast<uint32_t>(kFrameHeaderSize);
  std::memset(at + kFrameHeaderSize, 0, payload_size);
  if (payload_size >= kBatchHeaderSize) Store(at + kFrameHeaderSize, count);
  const uint64_t word1 = HeaderWord1(index, 0);
  const uint64_t word2 = HeaderWord2(0, kind, kFlagFiller);
  Store(at + 4, Crc32cFrame(salt_checksum, length, word1, word2, at + kFrameHeaderSize, payload_size));
  Store(at + 8, word1);
  Store(at + 16, word2);
  AtomicAt<uint32_t>(at).store(length, std::memory_order_release);
}

std::byte* StoreBatchRecord(std::byte* at, ByteView data, const std::optional<ByteView>& key, uint8_t kind) {
  const uint64_t key_size = key ? key->size() : 0;
  const uint64_t flags = key ? kFlagKey : 0;
  Store(at, uint64_t{data.size()} | uint64_t{kind} << 32 | flags << 40 | key_size << 48);
  at += kBatchRecordHeaderSize;
  if (key_size != 0) std::memcpy(at, key->data(), key_size);
  at += key_size;
  if (!data.empty()) std::memcpy(at, data.data(), data.size());
  return at + data.size();
}

std::byte* StoreBatchGap(std::byte* at, uint32_t count) {
  Store(at, uint64_t{count} | uint64_t{kFlagRemoved} << 40);
  return at + kBatchRecordHeaderSize;
}

uint32_t RemovedRecords(const Frame& frame) {
  if (frame.filler()) return frame.removed() ? frame.count : 0;
  if (!frame.batch() || frame.codec() != 0) return 0;
  uint32_t removed = 0;
  uint64_t at = kBatchHeaderSize;
  while (at < frame.payload_size) {
    const BatchEntry entry(frame.payload + at);
    if (entry.removed()) removed += entry.count();
    at += kBatchRecordHeaderSize + entry.size();
  }
  return removed;
}

FrameRecords::FrameRecords(const Frame& frame) : frame_(&frame), at_(frame.batch() ? kBatchHeaderSize : 0) {}

bool FrameRecords::Next(RecordView* record) {
  if (frame_->filler() || next_ >= frame_->count) return false;
  const std::byte* at = frame_->payload + at_;
  uint64_t data_size = 0;
  uint64_t key_size = 0;
  bool has_key = false;
  if (frame_->batch()) {
    BatchEntry entry(at);
    for (; entry.removed(); entry = BatchEntry(at)) {
      next_ += entry.count();
      at_ += kBatchRecordHeaderSize + entry.size();
      if (next_ >= frame_->count) return false;
      at = frame_->payload + at_;
    }
    data_size = entry.data_size();
    record->kind = entry.kind();
    has_key = entry.has_key();
    key_size = entry.key_size();
    at += kBatchRecordHeaderSize;
    at_ += kBatchRecordHeaderSize + entry.size();
  } else {
    record->kind = frame_->kind;
    has_key = (frame_->flags & kFlagKey) != 0;
    if (has_key) {
      key_size = Load<uint16_t>(at);
      at += kKeyLengthSize;
      data_size = frame_->payload_size - kKeyLengthSize - key_size;
    } else {
      data_size = frame_->payload_size;
    }
  }
  record->key = has_key ? std::optional<ByteView>(ByteView(at, key_size)) : std::nullopt;
  record->data = ByteView(at + key_size, data_size);
  ++next_;
  return true;
}

}  // namespace segwal
