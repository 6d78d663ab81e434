// The bytes on disk: every field there and back, every state of every sector, every way for a frame not to be valid.
#include "core/format.h"

#include <gtest/gtest.h>

#include <numeric>
#include <string>
#include <vector>

namespace segwal {
namespace {

constexpr uint64_t kEnd = 2 * kSegmentHeaderSize;

SegmentIdentity SomeIdentity() {
  SegmentIdentity identity{.flags = 0x01020304,
                           .segment_id = 77,
                           .base_sequence = 1000,
                           .salt = 0xfeed'beef'1234'5678,
                           .segment_size = kMinSegmentSize,
                           .created_us = 1'700'000'000'123'456};
  for (size_t i = 0; i < identity.log_id.size(); ++i) identity.log_id[i] = std::byte(i + 1);
  return identity;
}

// A header page of zeros, and room for some frames behind it.
class Bytes {
 public:
  std::byte* data() { return bytes_; }
  void Flip(uint64_t at) { bytes_[at] ^= std::byte{1}; }

 private:
  alignas(8) std::byte bytes_[kEnd] = {};
};

// ---- identity -----------------------------------------------------------------------------------------------------

TEST(IdentityTest, EveryFieldComesBack) {
  Bytes header;
  const SegmentIdentity stored = SomeIdentity();
  StoreIdentity(header.data(), stored);
  SegmentIdentity loaded;
  uint32_t version = 0;
  ASSERT_EQ(LoadIdentity(header.data(), &loaded, &version), SectorState::kValid);
  EXPECT_EQ(version, kFormatVersion);
  EXPECT_EQ(loaded.flags, stored.flags);
  EXPECT_EQ(loaded.log_id, stored.log_id);
  EXPECT_EQ(loaded.segment_id, stored.segment_id);
  EXPECT_EQ(loaded.base_sequence, stored.base_sequence);
  EXPECT_EQ(loaded.salt, stored.salt);
  EXPECT_EQ(loaded.segment_size, stored.segment_size);
  EXPECT_EQ(loaded.created_us, stored.created_us);
}

TEST(IdentityTest, IsAbsentUntilItsMagicIsThere) {
  Bytes header;
  SegmentIdentity loaded;
  EXPECT_EQ(LoadIdentity(header.data(), &loaded), SectorState::kAbsent);
  StoreIdentity(header.data(), SomeIdentity());
  Store(header.data(), uint64_t{0});
  EXPECT_EQ(LoadIdentity(header.data(), &loaded), SectorState::kAbsent) << "its writer died before the magic";
}

TEST(IdentityTest, OfSomethingElseIsForeign) {
  Bytes header;
  StoreIdentity(header.data(), SomeIdentity());
  header.Flip(0);
  SegmentIdentity loaded;
  EXPECT_EQ(LoadIdentity(header.data(), &loaded), SectorState::kForeign);
}

TEST(IdentityTest, ANewerVersionIsToldBeforeTheChecksumIsLookedAt) {
  Bytes header;
  StoreIdentity(header.data(), SomeIdentity());
  Store(header.data() + 8, kFormatVersion + 1);
  SegmentIdentity loaded;
  uint32_t version = 0;
  EXPECT_EQ(LoadIdentity(header.data(), &loaded, &version), SectorState::kUnsupportedVersion);
  EXPECT_EQ(version, kFormatVersion + 1);
}

TEST(IdentityTest, IsDamagedByAnyWrongBitBehindTheMagic) {
  for (uint64_t at = 8; at < kSectorSize; ++at) {
    Bytes header;
    StoreIdentity(header.data(), SomeIdentity());
    header.Flip(at);
    SegmentIdentity loaded;
    const SectorState state = LoadIdentity(header.data(), &loaded);
    // The version 1 with its lowest bit flipped is 0; with another bit it is a newer one.
    const bool newer = at > 8 && at < 12;
    EXPECT_EQ(state, newer ? SectorState::kUnsupportedVersion : SectorState::kDamaged) << "byte " << at;
  }
}

TEST(IdentityTest, LeavesTheOtherSectorsAlone) {
  Bytes header;
  StoreIdentity(header.data(), SomeIdentity());
  EXPECT_EQ(FindNonZero(header.data(), kSectorSize, kEnd), kEnd);
}

// ---- seal ---------------------------------------------------------------------------------------------------------

Seal SomeSeal() {
  return {.end_offset = kSegmentHeaderSize + 80,
          .record_count = 3,
          .last_sequence = 1002,
          .earliest_us = 1'700'000'000'200'000,
          .latest_us = 1'700'000'000'300'000};
}

SectorState StoreAndLoadSeal(const Seal& seal) {
  Bytes header;
  StoreSeal(header.data(), SomeIdentity(), seal);
  Seal loaded;
  return LoadSeal(header.data(), SomeIdentity(), &loaded);
}

TEST(SealTest, EveryFieldComesBack) {
  Bytes header;
  const Seal stored = SomeSeal();
  StoreSeal(header.data(), SomeIdentity(), stored);
  Seal loaded;
  ASSERT_EQ(LoadSeal(header.data(), SomeIdentity(), &loaded), SectorState::kValid);
  EXPECT_EQ(loaded.end_offset, stored.end_offset);
  EXPECT_EQ(loaded.record_count, stored.record_count);
  EXPECT_EQ(loaded.last_sequence, stored.last_sequence);
  EXPECT_EQ(loaded.earliest_us, stored.earliest_us);
  EXPECT_EQ(loaded.latest_us, stored.latest_us);
}

TEST(SealTest, OfAnotherLifeOfTheSegmentIsNoSeal) {
  Bytes header;
  SegmentIdentity earlier = SomeIdentity();
  earlier.salt ^= 1;
  StoreSeal(header.data(), earlier, SomeSeal());
  Seal loaded;
  EXPECT_EQ(LoadSeal(header.data(), SomeIdentity(), &loaded), SectorState::kAbsent);
}

TEST(SealTest, IsAbsentInAFreshHeader) {
  Bytes header;
  Seal loaded;
  EXPECT_EQ(LoadSeal(header.data(), SomeIdentity(), &loaded), SectorState::kAbsent);
}

TEST(SealTest, IsDamagedByAnyWrongBit) {
  for (uint64_t at = 0; at < kSectorSize; ++at) {
    Bytes header;
    StoreSeal(header.data(), SomeIdentity(), SomeSeal());
    header.Flip(kSealOffset + at);
    Seal loaded;
    EXPECT_EQ(LoadSeal(header.data(), SomeIdentity(), &loaded), SectorState::kDamaged) << "byte " << at;
  }
}

TEST(SealTest, ThatContradictsItsSegmentIsDamaged) {
  Seal seal = SomeSeal();
  seal.end_offset = kSegmentHeaderSize - 8;
  EXPECT_EQ(StoreAndLoadSeal(seal), SectorState::kDamaged) << "ends inside the header";
  seal.end_offset = kMinSegmentSize + 8;
  EXPECT_EQ(StoreAndLoadSeal(seal), SectorState::kDamaged) << "ends behind the segment";
  seal.end_offset = kSegmentHeaderSize + 4;
  EXPECT_EQ(StoreAndLoadSeal(seal), SectorState::kDamaged) << "ends off the grid";
  seal = SomeSeal();
  ++seal.record_count;
  EXPECT_EQ(StoreAndLoadSeal(seal), SectorState::kDamaged) << "counts something else than it ends with";
}

TEST(SealTest, OfAnEmptySegmentAndOfAFullOneIsValid) {
  Seal seal = SomeSeal();
  seal.end_offset = kSegmentHeaderSize;
  seal.record_count = 0;
  seal.last_sequence = SomeIdentity().base_sequence - 1;
  EXPECT_EQ(StoreAndLoadSeal(seal), SectorState::kValid);
  seal = SomeSeal();
  seal.end_offset = kMinSegmentSize;
  EXPECT_EQ(StoreAndLoadSeal(seal), SectorState::kValid);
}

// ---- synced, mark, orderly end --------------------------------------------------------------------------------------

TEST(SyncedTest, EncodesTheWatermarkRelativeToTheSegment) {
  EXPECT_EQ(EncodeSynced(0, 1000), 0u);
  EXPECT_EQ(EncodeSynced(998, 1000), 0u) << "not all before the segment";
  EXPECT_EQ(EncodeSynced(999, 1000), 1u) << "exactly all before it";
  EXPECT_EQ(EncodeSynced(1000, 1000), 2u) << "its first record too";
  EXPECT_EQ(EncodeSynced(0, 1), 1u) << "there is nothing before the first segment";
  EXPECT_EQ(EncodeSynced(1, 1), 2u);
}

TEST(SyncedTest, ComesBackAsTheWatermarkOrAsNoProof) {
  EXPECT_EQ(DecodeSynced(0, 1000), 0u);
  EXPECT_EQ(DecodeSynced(1, 1), 0u);
  for (uint64_t base : {uint64_t{1}, uint64_t{1000}, (uint64_t{1} << 53) - 2}) {
    for (uint64_t watermark : {base - 1, base, base + 12345}) {
      EXPECT_EQ(DecodeSynced(EncodeSynced(watermark, base), base), watermark);
    }
  }
}

TEST(MarkTest, ComesBack) {
  Bytes header;
  EXPECT_EQ(LoadMark(header.data(), SomeIdentity()), 0u);
  StoreMark(header.data(), SomeIdentity(), 999);
  EXPECT_EQ(LoadMark(header.data(), SomeIdentity()), 999u);
  StoreMark(header.data(), SomeIdentity(), 1234);
  EXPECT_EQ(LoadMark(header.data(), SomeIdentity()), 1234u);
}

TEST(MarkTest, ThatSaysNothingIsNotStoredOverOneThatDoes) {
  Bytes header;
  StoreMark(header.data(), SomeIdentity(), 1234);
  StoreMark(header.data(), SomeIdentity(), 5);
  EXPECT_EQ(LoadMark(header.data(), SomeIdentity()), 1234u);
}

TEST(MarkTest, OfAnotherLifeOrWithAWrongBitIsNone) {
  SegmentIdentity earlier = SomeIdentity();
  earlier.salt ^= 1;
  Bytes header;
  StoreMark(header.data(), earlier, 1234);
  EXPECT_EQ(LoadMark(header.data(), SomeIdentity()), 0u);
  for (uint64_t at = 0; at < 8; ++at) {
    StoreMark(header.data(), SomeIdentity(), 1234);
    header.Flip(kMarkOffset + at);
    EXPECT_EQ(LoadMark(header.data(), SomeIdentity()), 0u) << "byte " << at;
  }
}

TEST(OrderlyEndTest, ComesBackAndCanBeCleared) {
  Bytes header;
  EXPECT_EQ(LoadOrderlyEnd(header.data(), SomeIdentity()), 0u);
  StoreMark(header.data(), SomeIdentity(), 1234);
  for (uint64_t end : {kSegmentHeaderSize, kSegmentHeaderSize + 24, kMaxSegmentSize}) {
    StoreOrderlyEnd(header.data(), SomeIdentity(), end);
    EXPECT_EQ(LoadOrderlyEnd(header.data(), SomeIdentity()), end);
  }
  StoreOrderlyEnd(header.data(), SomeIdentity(), 0);
  EXPECT_EQ(LoadOrderlyEnd(header.data(), SomeIdentity()), 0u);
  EXPECT_EQ(LoadMark(header.data(), SomeIdentity()), 1234u) << "the mark is not touched";
}

TEST(OrderlyEndTest, HoldsForItsMarkAndItsLifeOnly) {
  Bytes header;
  StoreMark(header.data(), SomeIdentity(), 1234);
  StoreOrderlyEnd(header.data(), SomeIdentity(), kSegmentHeaderSize + 24);
  SegmentIdentity later = SomeIdentity();
  later.salt ^= 1;
  EXPECT_EQ(LoadOrderlyEnd(header.data(), later), 0u);
  for (uint64_t at = 64; at < 72; ++at) {
    header.Flip(kMarkOffset + at);
    EXPECT_EQ(LoadOrderlyEnd(header.data(), SomeIdentity()), 0u) << "byte " << at;
    header.Flip(kMarkOffset + at);
  }
  StoreMark(header.data(), SomeIdentity(), 1235);
  EXPECT_EQ(LoadOrderlyEnd(header.data(), SomeIdentity()), 0u) << "something was synced since";
}

// ---- write pointer --------------------------------------------------------------------------------------------------

TEST(PointerTest, HoldsOffsetCountAndTheSealedBit) {
  const uint64_t word = MakePointer(kSegmentHeaderSize + 32, 12345);
  EXPECT_EQ(PointerOffset(word), kSegmentHeaderSize + 32);
  EXPECT_EQ(PointerCount(word), 12345u);
  EXPECT_FALSE(PointerSealed(word));
  const uint64_t sealed = word | kSealedBit;
  EXPECT_EQ(PointerOffset(sealed), kSegmentHeaderSize + 32);
  EXPECT_EQ(PointerCount(sealed), 12345u);
  EXPECT_TRUE(PointerSealed(sealed));
}

TEST(PointerTest, MovesByAddition) {
  const uint64_t word = MakePointer(kSegmentHeaderSize, 5) + 48 / kFrameAlignment + (uint64_t{3} << 32);
  EXPECT_EQ(word, MakePointer(kSegmentHeaderSize + 48, 8));
}

TEST(LiveTest, EveryFieldComesBack) {
  Bytes header;
  LiveState stored{.pointer = MakePointer(8192, 3) | kSealedBit, .pid = 4242};
  for (size_t i = 0; i < stored.boot.size(); ++i) stored.boot[i] = std::byte(0xa0 + i);
  StoreLive(header.data(), stored);
  const LiveState loaded = LoadLive(header.data());
  EXPECT_EQ(loaded.pointer, stored.pointer);
  EXPECT_EQ(loaded.boot, stored.boot);
  EXPECT_EQ(loaded.pid, stored.pid);
  EXPECT_EQ(Load<uint64_t>(PointerWord(header.data())), stored.pointer);
}

// ---- frames ---------------------------------------------------------------------------------------------------------

// Writes a frame as an appender would, out of its own understanding of the layout.
struct TestFrame {
  uint32_t index = 0;
  uint32_t synced = 0;
  uint64_t time_us = 0;
  uint8_t kind = 0;
  uint8_t flags = 0;
  std::string payload;

  uint32_t length() const { return static_cast<uint32_t>(kFrameHeaderSize + payload.size()); }

  void StoreAt(std::byte* at, uint64_t salt = SomeIdentity().salt) const {
    Store(at, length());
    Store(at + 8, index);
    Store(at + 12, synced);
    Store(at + 16, time_us);
    Store(at + 22, kind);
    Store(at + 23, flags);
    std::memcpy(at + 24, payload.data(), payload.size());
    uint32_t crc = ExtendCrc32c(0, &salt, sizeof salt);
    crc = ExtendCrc32c(crc, at, 4);
    Store(at + 4, ExtendCrc32c(crc, at + 8, length() - 8));
  }
};

std::string U16(size_t value) { return {static_cast<char>(value), static_cast<char>(value >> 8)}; }
std::string U32(size_t value) { return U16(value & 0xffff) + U16(value >> 16); }
std::string BatchRecord(const std::string& data, uint8_t kind = 0, std::optional<std::string> key = {}) {
  return U32(data.size()) + static_cast<char>(kind) + static_cast<char>(key ? kFlagKey : 0) +
         U16(key ? key->size() : 0) + key.value_or("") + data;
}

class FrameTest : public testing::Test {
 protected:
  FrameState Check(uint64_t offset = kSegmentHeaderSize, uint32_t index = 5, uint64_t end = kEnd) {
    return CheckFrame(bytes_.data(), offset, end, index, SaltChecksum(SomeIdentity().salt), &frame_);
  }
  std::byte* At(uint64_t offset = kSegmentHeaderSize) { return bytes_.data() + offset; }

  // What CheckFrame says of a frame with these flags and this payload, its CRC being right.
  FrameState CheckShape(uint8_t flags, const std::string& payload) {
    std::memset(At(), 0, kEnd - kSegmentHeaderSize);
    TestFrame{.index = 5, .flags = flags, .payload = payload}.StoreAt(At());
    return Check();
  }

  Bytes bytes_;
  Frame frame_;
  const TestFrame sound_{
      .index = 5, .synced = 4, .time_us = (uint64_t{1} << 48) - 2, .kind = 200, .flags = 0, .payload = "hello, log"};
};

TEST_F(FrameTest, EveryFieldComesBack) {
  sound_.StoreAt(At());
  ASSERT_EQ(Check(), FrameState::kValid);
  EXPECT_EQ(frame_.length, 34u);
  EXPECT_EQ(frame_.padded_length(), 40u);
  EXPECT_EQ(frame_.payload_size, 10u);
  EXPECT_EQ(frame_.payload, At() + kFrameHeaderSize);
  EXPECT_EQ(frame_.index, 5u);
  EXPECT_EQ(frame_.synced, 4u);
  EXPECT_EQ(frame_.count, 1u);
  EXPECT_EQ(frame_.time_us, (uint64_t{1} << 48) - 2);
  EXPECT_EQ(frame_.kind, 200);
  EXPECT_EQ(frame_.flags, 0);
  EXPECT_EQ(frame_.codec(), 0);
}

TEST_F(FrameTest, HeaderWordsAreTheHeader) {
  TestFrame frame = sound_;
  frame.flags = kFlagKey;
  frame.payload = U16(0);
  frame.StoreAt(At());
  EXPECT_EQ(HeaderWord1(frame.index, frame.synced), Load<uint64_t>(At() + 8));
  EXPECT_EQ(HeaderWord2(frame.time_us, frame.kind, frame.flags), Load<uint64_t>(At() + 16));
  EXPECT_EQ(HeaderWord2(uint64_t{1} << 48, 0, 0), 0u) << "a time that does not fit must not run into the kind";
}

TEST_F(FrameTest, Condition1TheOffsetIsAlignedAndInside) {
  sound_.StoreAt(At(kSegmentHeaderSize + 4));
  EXPECT_EQ(Check(kSegmentHeaderSize + 4), FrameState::kUnclaimed);
  sound_.StoreAt(At());
  EXPECT_EQ(Check(kSegmentHeaderSize, 5, kSegmentHeaderSize + 23), FrameState::kUnclaimed);
  EXPECT_EQ(Check(kEnd), FrameState::kUnclaimed);
  EXPECT_EQ(Check(kEnd + 8), FrameState::kUnclaimed);
}

TEST_F(FrameTest, Condition2TheLengthIsCommittedAndEndsInside) {
  EXPECT_EQ(Check(), FrameState::kUnclaimed) << "a length of 0";
  sound_.StoreAt(At());
  Store(At(), sound_.length() | kClaimBit);
  EXPECT_EQ(Check(), FrameState::kClaimed);
  Store(At(), static_cast<uint32_t>(kFrameHeaderSize - 1));
  EXPECT_EQ(Check(), FrameState::kBadLength);
  Store(At(), static_cast<uint32_t>(kEnd - kSegmentHeaderSize + 1));
  EXPECT_EQ(Check(), FrameState::kBadLength);
  Store(At(), kClaimBit - 1);
  EXPECT_EQ(Check(), FrameState::kBadLength);
}

TEST_F(FrameTest, Condition2AFrameMayEndWithTheSegment) {
  sound_.StoreAt(At());
  EXPECT_EQ(Check(kSegmentHeaderSize, 5, kSegmentHeaderSize + sound_.length()), FrameState::kValid);
  EXPECT_EQ(Check(kSegmentHeaderSize, 5, kSegmentHeaderSize + sound_.length() - 1), FrameState::kBadLength);
  TestFrame{.index = 5}.StoreAt(At(kEnd - kFrameHeaderSize));
  EXPECT_EQ(Check(kEnd - kFrameHeaderSize), FrameState::kValid);
}

TEST_F(FrameTest, Condition3TheIndexIsTheOneExpected) {
  sound_.StoreAt(At());
  EXPECT_EQ(Check(kSegmentHeaderSize, 4), FrameState::kWrongIndex);
  EXPECT_EQ(Check(kSegmentHeaderSize, 6), FrameState::kWrongIndex);
}

TEST_F(FrameTest, Condition4TheChecksumIsRightUnderThisSalt) {
  sound_.StoreAt(At(), SomeIdentity().salt ^ 1);
  EXPECT_EQ(Check(), FrameState::kBadChecksum) << "a frame of another segment, or of another life of this one";
}

TEST_F(FrameTest, Condition4AnyWrongBitIsNoticed) {
  for (uint64_t at = 4; at < sound_.length(); ++at) {
    if (at >= 8 && at < 12) continue;  // the index: condition 3
    sound_.StoreAt(At());
    bytes_.Flip(kSegmentHeaderSize + at);
    EXPECT_EQ(Check(), FrameState::kBadChecksum) << "byte " << at;
  }
  sound_.StoreAt(At());
  Store(At(), sound_.length() + 1);
  EXPECT_EQ(Check(), FrameState::kBadChecksum) << "the length";
  sound_.StoreAt(At());
  Store(At() + 8, uint32_t{6});
  EXPECT_EQ(Check(kSegmentHeaderSize, 6), FrameState::kBadChecksum) << "the index";
}

TEST_F(FrameTest, PaddingIsNotLookedAt) {
  sound_.StoreAt(At());
  bytes_.Flip(kSegmentHeaderSize + sound_.length());
  EXPECT_EQ(Check(), FrameState::kValid);
}

TEST_F(FrameTest, PeekLooksAtPlaceAndLengthOnly) {
  sound_.StoreAt(At());
  bytes_.Flip(kSegmentHeaderSize + 4);
  EXPECT_EQ(PeekFrame(bytes_.data(), kSegmentHeaderSize, kEnd, &frame_), FrameState::kValid);
  EXPECT_FALSE(FrameChecksumHolds(bytes_.data(), kSegmentHeaderSize, SaltChecksum(SomeIdentity().salt), frame_));
}

// ---- the shape of payloads, the checksum being right
// ------------------------------------------------------------------

TEST_F(FrameTest, AKeyFitsIntoItsFrame) {
  EXPECT_EQ(CheckShape(kFlagKey, U16(3) + "key"), FrameState::kValid);
  EXPECT_EQ(CheckShape(kFlagKey, U16(0)), FrameState::kValid);
  EXPECT_EQ(CheckShape(kFlagKey, U16(4) + "key"), FrameState::kBadChecksum);
  EXPECT_EQ(CheckShape(kFlagKey, "x"), FrameState::kBadChecksum);
  EXPECT_EQ(CheckShape(kFlagKey, ""), FrameState::kBadChecksum);
}

TEST_F(FrameTest, ABatchIsItsRecordsToTheByte) {
  const std::string two = U32(2) + BatchRecord("one") + BatchRecord("", 7, "k");
  EXPECT_EQ(CheckShape(kFlagBatch, two), FrameState::kValid);
  EXPECT_EQ(frame_.count, 2u);
  EXPECT_EQ(CheckShape(kFlagBatch, two + "x"), FrameState::kBadChecksum) << "a byte too many";
  EXPECT_EQ(CheckShape(kFlagBatch, two.substr(0, two.size() - 1)), FrameState::kBadChecksum) << "one too few";
  EXPECT_EQ(CheckShape(kFlagBatch, U32(3) + two.substr(4)), FrameState::kBadChecksum) << "a record too few";
  EXPECT_EQ(CheckShape(kFlagBatch, U32(1) + two.substr(4)), FrameState::kBadChecksum) << "a record too many";
  EXPECT_EQ(CheckShape(kFlagBatch, U32(0xffffffff) + two.substr(4)), FrameState::kBadChecksum);
  EXPECT_EQ(CheckShape(kFlagBatch, U32(1) + U32(0xffffffff) + "\0\0\0\0"), FrameState::kBadChecksum);
}

TEST_F(FrameTest, AnEntryOfABatchStandsForWhatCompactionRemoved) {
  const auto gap = [](uint32_t count) {
    std::string entry(kBatchRecordHeaderSize, '\0');
    StoreBatchGap(reinterpret_cast<std::byte*>(entry.data()), count);
    return entry;
  };
  const std::string payload = U32(7) + gap(3) + BatchRecord("one") + BatchRecord("", 7, "k") + gap(2);
  ASSERT_EQ(CheckShape(kFlagBatch, payload), FrameState::kValid);
  EXPECT_EQ(frame_.count, 7u);
  EXPECT_EQ(RemovedRecords(frame_), 5u);
  FrameRecords records(frame_);
  RecordView record;
  ASSERT_TRUE(records.Next(&record));
  EXPECT_EQ(records.index(), 3u);
  EXPECT_EQ(record.data.size(), 3u);
  ASSERT_TRUE(records.Next(&record));
  EXPECT_EQ(records.index(), 4u);
  EXPECT_EQ(record.kind, 7);
  EXPECT_FALSE(records.Next(&record));
  EXPECT_EQ(CheckShape(kFlagBatch, U32(6) + payload.substr(4)), FrameState::kBadChecksum) << "more than it says";
  EXPECT_EQ(CheckShape(kFlagBatch, U32(8) + payload.substr(4)), FrameState::kBadChecksum) << "less than it says";
  EXPECT_EQ(CheckShape(kFlagBatch, U32(1) + gap(0) + BatchRecord("one")), FrameState::kBadChecksum) << "for nothing";
  EXPECT_EQ(CheckShape(kFlagBatch, U32(2) + gap(0xffffffff) + gap(3)), FrameState::kBadChecksum);
  std::string with_key = gap(1);
  with_key[6] = 1;
  EXPECT_EQ(CheckShape(kFlagBatch, U32(1) + with_key + "k"), FrameState::kBadChecksum) << "nothing belongs to it";
  EXPECT_EQ(CheckShape(kFlagBatch, U32(3) + gap(3)), FrameState::kValid);
  EXPECT_FALSE(FrameRecords(frame_).Next(&record));
}

TEST_F(FrameTest, AFillerSaysWhyThereIsNoRecord) {
  for (const uint32_t count : {1u, 2u, 70'000u}) {
    const uint32_t salt_checksum = SaltChecksum(SomeIdentity().salt);
    EXPECT_EQ(FillerLength(count), count == 1 ? 24u : 32u);
    for (const uint8_t kind : {kFillerLost, kFillerRemoved}) {
      StoreFiller(bytes_.data(), kSegmentHeaderSize, FillerLength(count), 5, count, salt_checksum, kind);
      ASSERT_EQ(Check(), FrameState::kValid);
      EXPECT_EQ(frame_.count, count);
      EXPECT_EQ(frame_.removed(), kind == kFillerRemoved);
      EXPECT_EQ(RemovedRecords(frame_), kind == kFillerRemoved ? count : 0);
    }
  }
}

TEST_F(FrameTest, AnEmptyBatchIsNone) {
  EXPECT_EQ(CheckShape(kFlagBatch, U32(0)), FrameState::kBadChecksum);
  EXPECT_EQ(CheckShape(kFlagBatch, ""), FrameState::kBadChecksum);
  EXPECT_EQ(CheckShape(kFlagBatch, "abc"), FrameState::kBadChecksum);
}

TEST_F(FrameTest, OfACompressedBatchOnlyTheCountIsKnown) {
  const uint8_t flags = kFlagBatch | 2 << kCodecShift;
  const auto payload = [](uint32_t count, uint32_t plain, uint32_t size, size_t bytes) {
    return U32(count) + U32(plain) + U32(size) + std::string(bytes, 's');
  };
  EXPECT_EQ(CheckShape(flags, payload(3, 100, 16, 16)), FrameState::kValid);
  EXPECT_EQ(frame_.count, 3u);
  EXPECT_EQ(frame_.codec(), 2);
  EXPECT_EQ(frame_.plain_size(), 100u);
  EXPECT_EQ(frame_.compressed().size(), 16u);
  EXPECT_EQ(CheckShape(flags, U32(3)), FrameState::kBadChecksum);
  EXPECT_EQ(CheckShape(flags, payload(1, 100, 0, 0)), FrameState::kBadChecksum) << "nothing that was compressed";
  EXPECT_EQ(CheckShape(flags, payload(0, 100, 16, 16)), FrameState::kBadChecksum);
  EXPECT_EQ(CheckShape(flags, payload(3, 100, 17, 16)), FrameState::kBadChecksum) << "less than it says";
  EXPECT_EQ(CheckShape(flags, payload(3, 100, 15, 16)), FrameState::kBadChecksum) << "more than it says";
  EXPECT_EQ(CheckShape(flags, payload(3, 100, 0xffffffff, 16)), FrameState::kBadChecksum);
  EXPECT_EQ(CheckShape(flags, payload(3, 27, 16, 16)), FrameState::kBadChecksum) << "no room for three records";
  EXPECT_EQ(CheckShape(flags, payload(5, 100, 16, 16)), FrameState::kBadChecksum) << "8 bytes for each record";
  EXPECT_EQ(CheckShape(flags, payload(5, 100, 16, 28)), FrameState::kValid) << "with bytes to fill it up";
  EXPECT_EQ(frame_.compressed().size(), 16u);
}

TEST_F(FrameTest, AFillerIsNoBatchAndStandsForSomething) {
  EXPECT_EQ(CheckShape(kFlagFiller, U32(2)), FrameState::kValid);
  EXPECT_EQ(CheckShape(kFlagFiller, U32(0)), FrameState::kBadChecksum);
  EXPECT_EQ(CheckShape(kFlagFiller | kFlagBatch, U32(1) + BatchRecord("x")), FrameState::kBadChecksum);
}

class FillerTest : public FrameTest {
 protected:
  FrameState Fill(uint32_t length, uint32_t count) {
    std::memset(At(), 0xee, kEnd - kSegmentHeaderSize);
    StoreFiller(bytes_.data(), kSegmentHeaderSize, length, 5, count, SaltChecksum(SomeIdentity().salt));
    return Check();
  }
};

TEST_F(FillerTest, Of24BytesStandsForOneRecord) {
  ASSERT_EQ(Fill(24, 1), FrameState::kValid);
  EXPECT_TRUE(frame_.filler());
  EXPECT_EQ(frame_.count, 1u);
  EXPECT_EQ(frame_.padded_length(), 24u);
  EXPECT_EQ(Load<uint64_t>(At(kSegmentHeaderSize + 24)), 0xeeee'eeee'eeee'eeeeu) << "nothing behind it is touched";
}

TEST_F(FillerTest, OfMoreBytesStandsForAsManyAsItSays) {
  for (uint32_t length : {32u, 40u, 1024u}) {
    ASSERT_EQ(Fill(length, 17), FrameState::kValid) << length;
    EXPECT_EQ(frame_.count, 17u);
    EXPECT_EQ(frame_.length, length);
    EXPECT_EQ(Load<uint8_t>(At(kSegmentHeaderSize + length)), 0xee);
  }
}

TEST_F(FillerTest, HoldsNoRecord) {
  ASSERT_EQ(Fill(32, 3), FrameState::kValid);
  FrameRecords records(frame_);
  RecordView record;
  EXPECT_FALSE(records.Next(&record));
}

// ---- records
// ----------------------------------------------------------------------------------------------------------

std::string Text(ByteView bytes) { return {reinterpret_cast<const char*>(bytes.data()), bytes.size()}; }

TEST_F(FrameTest, AFrameIsOneRecord) {
  sound_.StoreAt(At());
  ASSERT_EQ(Check(), FrameState::kValid);
  FrameRecords records(frame_);
  RecordView record;
  ASSERT_TRUE(records.Next(&record));
  EXPECT_EQ(Text(record.data), "hello, log");
  EXPECT_EQ(record.kind, 200);
  EXPECT_FALSE(record.key.has_value());
  EXPECT_EQ(records.index(), 0u);
  EXPECT_FALSE(records.Next(&record));
}

TEST_F(FrameTest, ARecordMayHaveAKeyAndAnEmptyKeyIsOne) {
  ASSERT_EQ(CheckShape(kFlagKey, U16(3) + "keydata"), FrameState::kValid);
  RecordView record;
  ASSERT_TRUE(FrameRecords(frame_).Next(&record));
  ASSERT_TRUE(record.key.has_value());
  EXPECT_EQ(Text(*record.key), "key");
  EXPECT_EQ(Text(record.data), "data");
  ASSERT_EQ(CheckShape(kFlagKey, U16(0) + "data"), FrameState::kValid);
  ASSERT_TRUE(FrameRecords(frame_).Next(&record));
  ASSERT_TRUE(record.key.has_value());
  EXPECT_TRUE(record.key->empty());
}

TEST_F(FrameTest, ABatchIsManyRecords) {
  const std::string long_key(300, 'k');
  ASSERT_EQ(
      CheckShape(kFlagBatch, U32(3) + BatchRecord("one", 1) + BatchRecord("", 2, "") + BatchRecord("3", 3, long_key)),
      FrameState::kValid);
  FrameRecords records(frame_);
  RecordView record;
  ASSERT_TRUE(records.Next(&record));
  EXPECT_EQ(Text(record.data), "one");
  EXPECT_EQ(record.kind, 1);
  EXPECT_FALSE(record.key.has_value());
  ASSERT_TRUE(records.Next(&record));
  EXPECT_TRUE(record.data.empty());
  ASSERT_TRUE(record.key.has_value());
  EXPECT_TRUE(record.key->empty());
  EXPECT_EQ(records.index(), 1u);
  ASSERT_TRUE(records.Next(&record));
  EXPECT_EQ(Text(record.data), "3");
  EXPECT_EQ(Text(record.key.value()), long_key);
  EXPECT_EQ(record.kind, 3);
  EXPECT_EQ(records.index(), 2u);
  EXPECT_FALSE(records.Next(&record));
}

}  // namespace
}  // namespace segwal
