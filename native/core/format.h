// The bytes on disk, version 1: layouts, constants, and the conversion between bytes and structs. Pure functions;
// shared by everything that writes or reads a log. docs/FORMAT.md says the same in prose, with a worked example.
//
// A segment is a file of exactly `segment_size` bytes:
//
//   0        512      1024     1536     2048     2560     4096                                    segment_size
//   +--------+--------+--------+--------+--------+--------+----------+----------+-- … --+---------+
//   |identity| seal   | live   | mark   | spare  | zero   | frame    | frame    |       | zero *  |
//   +--------+--------+--------+--------+--------+--------+----------+----------+-- … --+---------+
//   * in a recycled segment what the file held before
//
//   identity     0 u64 magic   8 u32 version   12 u32 flags   16 [16] log id   32 u64 segment id   40 u64 base_seq
//               48 u64 salt   56 u64 segment size   64 u64 created at, µs   508 u32 CRC32C of bytes 0 … 507
//   seal         0 u64 salt    8 u64 end offset   16 u64 record count   24 u64 last sequence   32 u64 earliest, µs
//               40 u64 latest, µs   48 u64 removed   508 u32 CRC32C of bytes 0 … 507
//   live         0 u64 write pointer (atomic)   64 [16] boot id   80 u32 pid   96 u64 truncations (atomic)
//   mark         0 u32 synced (encoded as in a frame)   4 u32 CRC32C over salt and synced
//               64 u32 end offset / 8 at the last orderly close, 0 while open   68 u32 CRC32C over salt, synced and it
//   spare        0 u32 segment id, its low half   4 u32 CRC32C of it; both 0 as soon as there is an identity
//
// A frame is 8-byte aligned and never crosses a segment:
//
//   0         4         8         12        16             22      23      24
//   +---------+---------+---------+---------+--------------+-------+-------+------------------------+---------+
//   | length  | crc     | index   | synced  | time (u48)   | kind  | flags | [u16 n, key of n] data | padding |
//   +---------+---------+---------+---------+--------------+-------+-------+------------------------+---------+
//
// A frame is valid if and only if
//   (1) its offset is 8-aligned and inside the segment,
//   (2) 24 <= length, the claim bit is clear, and it ends inside the segment,
//   (3) its index is the one expected there,
//   (4) its CRC is right under this segment's salt: CRC32C over salt, length, and bytes 8 … length - 1.
#pragma once

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>

#include "core/bytes.h"
#include "core/crc32c/crc32c.h"
#include "core/types.h"

namespace segwal {

inline constexpr uint32_t kFormatVersion = 1;

inline constexpr uint64_t kSectorSize = 512;
inline constexpr uint64_t kPageSize = 4096;
inline constexpr uint64_t kSegmentHeaderSize = kPageSize;
inline constexpr uint64_t kSegmentSizeStep = uint64_t{64} << 10;
inline constexpr uint64_t kMinSegmentSize = kSegmentSizeStep;
inline constexpr uint64_t kMaxSegmentSize = uint64_t{1} << 30;
static_assert(kDefaultSegmentSize % kSegmentSizeStep == 0 && kDefaultSegmentSize <= kMaxSegmentSize);

inline constexpr uint64_t kIdentityOffset = 0 * kSectorSize;
inline constexpr uint64_t kSealOffset = 1 * kSectorSize;
inline constexpr uint64_t kLiveOffset = 2 * kSectorSize;
inline constexpr uint64_t kMarkOffset = 3 * kSectorSize;
inline constexpr uint64_t kSpareOffset = 4 * kSectorSize;
inline constexpr uint64_t kSectorChecksumOffset = kSectorSize - 4;

inline constexpr uint64_t kFrameAlignment = 8;
inline constexpr uint64_t kFrameHeaderSize = 24;
inline constexpr uint32_t kClaimBit = uint32_t{1} << 31;
static_assert(kMaxSegmentSize < kClaimBit, "a length never reaches the claim bit");
inline constexpr uint64_t kKeyLengthSize = 2;
inline constexpr uint64_t kMaxKeySize = 65535;
inline constexpr uint64_t kBatchHeaderSize = 4;
inline constexpr uint64_t kBatchRecordHeaderSize = 8;
// Of a compressed batch: the count, the size of the payload before compression, the size of what follows. Zeros come
// behind that, when a frame would otherwise take less than 8 bytes for each of its sequence numbers: the write pointer
// has no room for more of them in a segment, and whoever searches for frames goes by it.
inline constexpr uint64_t kCompressedHeaderSize = 12;
inline uint64_t CompressedPayloadSize(uint32_t count, uint64_t compressed_size) {
  return std::max(kCompressedHeaderSize + compressed_size, count * kBatchRecordHeaderSize);
}

inline constexpr uint8_t kFlagBatch = 1u << 0;
inline constexpr uint8_t kFlagKey = 1u << 1;
inline constexpr uint8_t kFlagFiller = 1u << 2;
// Of an entry in a batch, with the same meaning: it stands for records that compaction removed. Its data length is
// their number, and nothing follows it.
inline constexpr uint8_t kFlagRemoved = kFlagFiller;
inline constexpr int kCodecShift = 3;  // three bits
inline constexpr uint8_t kCodecMask = 7u << kCodecShift;

// The kind of a filler: why there is no record.
inline constexpr uint8_t kFillerLost = 0;     // a recovery gave it up
inline constexpr uint8_t kFillerRemoved = 1;  // compaction removed it

// Flags of an identity.
inline constexpr uint32_t kSegmentCompacted = 1u << 0;  // the file ends with the page in which its frames end
// The file had been another segment before. Behind the frames may stand what is left of that: never a frame of this
// segment, for SaltChecksum of its salt is another.
inline constexpr uint32_t kSegmentRecycled = 1u << 1;

using LogId = std::array<std::byte, 16>;

// ---- the segment header -------------------------------------------------------------------------------------------

struct SegmentIdentity {
  uint32_t flags = 0;
  LogId log_id{};
  uint64_t segment_id = 0;
  uint64_t base_sequence = 0;
  uint64_t salt = 0;
  uint64_t segment_size = 0;
  uint64_t created_us = 0;

  bool compacted() const { return (flags & kSegmentCompacted) != 0; }
  bool recycled() const { return (flags & kSegmentRecycled) != 0; }
};

enum class SectorState : uint8_t {
  kAbsent,  // all zero: never written
  kValid,
  kForeign,             // the magic is another's
  kUnsupportedVersion,  // a newer version of this format; nothing else of it was looked at
  kDamaged,
};

// Writes everything but the magic, then, after a release fence, the magic: whoever sees the magic sees the rest.
void StoreIdentity(std::byte* header, const SegmentIdentity& identity);
// `version`, when not null, receives the version found, for the message about an unsupported one.
SectorState LoadIdentity(const std::byte* header, SegmentIdentity* identity, uint32_t* version = nullptr);

// Puts a damaged identity sector right: with what the caller knows of it, or with any one of its bits turned. False,
// and it is left alone, unless its CRC proves that it is right then.
bool RepairIdentity(std::byte* sector, const LogId& log_id, uint64_t segment_id, uint64_t segment_size);

struct Seal {
  uint64_t end_offset = 0;
  uint64_t record_count = 0;
  uint64_t last_sequence = 0;  // base_sequence - 1 when there is no record
  uint64_t earliest_us = 0;
  uint64_t latest_us = 0;
  uint64_t removed = 0;  // of record_count, by compaction
};

void StoreSeal(std::byte* header, const SegmentIdentity& identity, const Seal& seal);
// A seal of another life of the segment (another salt) is no seal.
SectorState LoadSeal(const std::byte* header, const SegmentIdentity& identity, Seal* seal);

// The durable watermark relative to a segment, as frames and the mark hold it: 0 when it lies below the records before
// this segment, 1 when exactly all of those are durable, 1 + n when n of this segment's are too.
inline uint32_t EncodeSynced(uint64_t watermark, uint64_t base_sequence) {
  return watermark + 1 < base_sequence ? 0 : static_cast<uint32_t>(watermark + 2 - base_sequence);
}
// The sequence up to which `synced` proves durability; 0 when it proves nothing.
inline uint64_t DecodeSynced(uint32_t synced, uint64_t base_sequence) {
  return synced == 0 ? 0 : base_sequence + synced - 2;
}

// Both are one aligned 8-byte store, so that no crash leaves half of one behind.
void StoreMark(std::byte* header, const SegmentIdentity& identity, uint64_t watermark);
uint64_t LoadMark(const std::byte* header, const SegmentIdentity& identity);  // the watermark; 0: no mark
void StoreOrderlyEnd(std::byte* header, const SegmentIdentity& identity, uint64_t end_offset);  // 0 clears
uint64_t LoadOrderlyEnd(const std::byte* header, const SegmentIdentity& identity);  // 0: was not closed in order

// Seal, mark and orderly end say nothing of what comes behind `last` any more.
void TakeBackProofs(std::byte* header, const SegmentIdentity& identity, uint64_t last);

// Says that a file without an identity is a segment that was made ready and never put into use, whatever it holds.
void StoreSpare(std::byte* header, uint64_t segment_id);
// Behind the identity: whoever sees it cleared sees that.
void ClearSpare(std::byte* header);
bool LoadSpare(const std::byte* header);

// The write pointer: offset / 8 in bits 0–31, the record count in bits 32–62, SEALED on top.
inline constexpr uint64_t kSealedBit = uint64_t{1} << 63;
constexpr uint64_t MakePointer(uint64_t offset, uint64_t count) { return offset / kFrameAlignment | count << 32; }
constexpr uint64_t PointerOffset(uint64_t word) { return (word & 0xffff'ffffu) * kFrameAlignment; }
constexpr uint64_t PointerCount(uint64_t word) { return (word & ~kSealedBit) >> 32; }
constexpr bool PointerSealed(uint64_t word) { return (word & kSealedBit) != 0; }
// Sequence numbers that one segment can have.
inline constexpr uint64_t kMaxSequenceCount = (uint64_t{1} << 31) - 1;
static_assert(PointerOffset(MakePointer(kMaxSegmentSize, 7)) == kMaxSegmentSize);
static_assert(kMaxSegmentSize / kBatchRecordHeaderSize < uint64_t{1} << 31, "any record count fits");

struct LiveState {
  uint64_t pointer = 0;
  BootId boot{};
  uint32_t pid = 0;
};
void StoreLive(std::byte* header, const LiveState& live);
LiveState LoadLive(const std::byte* header);
// How often the log had been truncated behind a record when this segment last lost frames that way. Whoever has it
// mapped sees that something was taken out from under it.
void StoreTruncations(std::byte* header, uint64_t truncations);
uint64_t LoadTruncations(const std::byte* header);
inline std::byte* PointerWord(std::byte* header) { return header + kLiveOffset; }

// ---- frames -------------------------------------------------------------------------------------------------------

// CRC32C of the salt, with which every frame's CRC begins; computed once per segment.
uint32_t SaltChecksum(uint64_t salt);

struct Frame {
  const std::byte* payload = nullptr;  // behind the header; key included
  uint32_t length = 0;                 // header and payload
  uint32_t payload_size = 0;
  uint32_t index = 0;
  uint32_t synced = 0;
  uint32_t count = 0;    // sequence numbers it stands for, at least 1
  uint64_t time_us = 0;  // since the segment's created_us
  uint8_t kind = 0;
  uint8_t flags = 0;

  bool batch() const { return (flags & kFlagBatch) != 0; }
  bool filler() const { return (flags & kFlagFiller) != 0; }
  bool removed() const { return filler() && kind == kFillerRemoved; }
  uint8_t codec() const { return static_cast<uint8_t>((flags & kCodecMask) >> kCodecShift); }
  // Of a compressed batch whose shape holds.
  uint32_t plain_size() const { return Load<uint32_t>(payload + kBatchHeaderSize); }
  ByteView compressed() const { return {payload + kCompressedHeaderSize, Load<uint32_t>(payload + 8)}; }
  uint64_t padded_length() const { return AlignUp(length, kFrameAlignment); }
};

enum class FrameState : uint8_t {
  kValid,
  kUnclaimed,  // length word 0, or no room for a header
  kClaimed,    // its writer has not committed it
  kBadLength,
  kWrongIndex,
  kBadChecksum,  // or a payload whose shape contradicts its flags
};

// Looks at the frame at `offset` of a segment whose usable bytes end at `end`. Conditions (1) and (2) only: what a walk
// over frames committed by this boot needs. The header is read after an acquire load of its length.
inline FrameState PeekFrame(const std::byte* segment, uint64_t offset, uint64_t end, Frame* frame) {
  if (offset % kFrameAlignment != 0 || offset + kFrameHeaderSize > end) return FrameState::kUnclaimed;
  const std::byte* at = segment + offset;
  // Acquire pairs with the release store that commits a frame: what is read below is what its writer wrote.
  const uint32_t length = AtomicAt<uint32_t>(at).load(std::memory_order_acquire);
  if (length == 0) return FrameState::kUnclaimed;
  if ((length & kClaimBit) != 0) return FrameState::kClaimed;
  if (length < kFrameHeaderSize || length > end - offset) return FrameState::kBadLength;

  frame->payload = at + kFrameHeaderSize;
  frame->length = length;
  frame->payload_size = length - static_cast<uint32_t>(kFrameHeaderSize);
  frame->index = Load<uint32_t>(at + 8);
  frame->synced = Load<uint32_t>(at + 12);
  const auto word2 = Load<uint64_t>(at + 16);
  frame->time_us = word2 & ((uint64_t{1} << 48) - 1);
  frame->kind = static_cast<uint8_t>(word2 >> 48);
  frame->flags = static_cast<uint8_t>(word2 >> 56);
  frame->count = 1;
  if ((frame->flags & (kFlagBatch | kFlagFiller)) != 0) {
    if (frame->payload_size >= kBatchHeaderSize) {
      frame->count = Load<uint32_t>(frame->payload);
    } else if (frame->batch()) {
      frame->count = 0;
    }
  }
  return FrameState::kValid;
}
// Condition (4) for a frame that PeekFrame accepted.
inline bool FrameChecksumHolds(const std::byte* segment, uint64_t offset, uint32_t salt_checksum, const Frame& frame) {
  const std::byte* at = segment + offset;
  return Load<uint32_t>(at + 4) == Crc32cFrame(salt_checksum, frame.length, Load<uint64_t>(at + 8),
                                               Load<uint64_t>(at + 16), frame.payload, frame.payload_size);
}

// Whether the payload is laid out as the flags say, to the byte. A frame with a right CRC always is, unless its writer
// was wrong; CheckFrame asks, so that nobody who walks its records has to.
bool FlaggedShapeHolds(const Frame& frame);
inline bool FrameShapeHolds(const Frame& frame) {
  if (uint64_t{frame.index} + frame.count > kMaxSequenceCount) return false;
  // What most frames are can be laid out in no other way.
  return (frame.flags & (kFlagBatch | kFlagFiller | kFlagKey)) == 0 || FlaggedShapeHolds(frame);
}

// All four conditions; `index` must be exactly `expected_index`.
inline FrameState CheckFrame(const std::byte* segment, uint64_t offset, uint64_t end, uint32_t expected_index,
                             uint32_t salt_checksum, Frame* frame) {
  const FrameState state = PeekFrame(segment, offset, end, frame);
  if (state != FrameState::kValid) return state;
  if (frame->index != expected_index) return FrameState::kWrongIndex;
  if (!FrameChecksumHolds(segment, offset, salt_checksum, *frame) || !FrameShapeHolds(*frame)) {
    return FrameState::kBadChecksum;
  }
  return FrameState::kValid;
}

// For who looks at one small frame after the other and does nothing else. The processor fetches ahead by itself, but
// never into another page.
inline void FetchFramesAhead(const std::byte* at) {
  constexpr size_t kDistance = 2048;
  constexpr size_t kCacheLine = 64;
  __builtin_prefetch(at + kDistance);
  __builtin_prefetch(at + kDistance + kCacheLine);
}

// The header words behind length and crc, as they lie in the file and go into the CRC.
constexpr uint64_t HeaderWord1(uint32_t index, uint32_t synced) { return index | uint64_t{synced} << 32; }
constexpr uint64_t HeaderWord2(uint64_t time_us, uint8_t kind, uint8_t flags) {
  return (time_us & ((uint64_t{1} << 48) - 1)) | uint64_t{kind} << 48 | uint64_t{flags} << 56;
}

// Writes a committed filler frame over [offset, offset + length): it stands for `count` sequence numbers without a
// record. 24 <= length, a multiple of 8; a length of exactly 24 has no room for a count and stands for one.
void StoreFiller(std::byte* segment, uint64_t offset, uint32_t length, uint32_t index, uint32_t count,
                 uint32_t salt_checksum, uint8_t kind = kFillerLost);
// The length of the shortest one.
constexpr uint32_t FillerLength(uint32_t count) {
  return static_cast<uint32_t>(AlignUp(kFrameHeaderSize + (count == 1 ? 0 : kBatchHeaderSize), kFrameAlignment));
}

// Bytes that a record takes in the payload of a batch, and the writing of it; returns where the next one goes.
inline uint64_t BatchRecordSize(uint64_t data_size, const std::optional<ByteView>& key) {
  return kBatchRecordHeaderSize + (key ? key->size() : 0) + data_size;
}
std::byte* StoreBatchRecord(std::byte* at, ByteView data, const std::optional<ByteView>& key, uint8_t kind);
// The same of an entry that stands for `count` removed records.
std::byte* StoreBatchGap(std::byte* at, uint32_t count);

// Of the sequence numbers of a frame that passed CheckFrame: how many compaction took the record of.
uint32_t RemovedRecords(const Frame& frame);

// Steps through the records of a frame that passed CheckFrame: one for a plain frame, many for a batch, less those that
// compaction removed, none for a filler.
class FrameRecords {
 public:
  explicit FrameRecords(const Frame& frame);
  // False at the end. `index` counts from 0 within the frame.
  bool Next(RecordView* record);
  uint32_t index() const { return next_ - 1; }

 private:
  const Frame* frame_;
  uint32_t next_ = 0;
  uint64_t at_ = 0;
};

}  // namespace segwal
