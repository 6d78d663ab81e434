#include "core/catalog.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <filesystem>
#include <thread>

#include "testing/assertions.h"
#include "testing/files.h"
#include "testing/test_log.h"
#include "testing/writer_parts.h"

namespace segwal {
namespace {

// ---- the index
// --------------------------------------------------------------------------------------------------------

class SegmentIndexTest : public testing::Test {
 protected:
  static constexpr uint64_t kSize = uint64_t{1} << 20;

  // Frames of about a KiB, every tenth of them a batch of three.
  SegmentIndexTest() : parts_(kSize) {
    Appender appender(parts_.state());
    const std::string data(1000, 'x');
    for (int i = 0; i < 600; ++i) {
      offsets_.push_back({PointerOffset(parts_.current()->pointer()),
                          static_cast<uint32_t>(PointerCount(parts_.current()->pointer()))});
      if (i % 10 == 9) {
        appender.AppendBatch(std::vector{RecordOf(data), RecordOf("y"), RecordOf("z")});
      } else {
        appender.Append(RecordOf(data));
      }
    }
    count_ = static_cast<uint32_t>(PointerCount(parts_.current()->pointer()));
  }

  SegmentIndex::Position Seek(uint32_t index) { return index_.Seek(parts_.current()->data(), kSize, index); }

  void ExpectUseful(uint32_t index) {
    const SegmentIndex::Position found = Seek(index);
    EXPECT_LE(found.index, index);
    const auto frame = std::ranges::find(offsets_, found.offset, &SegmentIndex::Position::offset);
    ASSERT_NE(frame, offsets_.end()) << "no frame begins at " << found.offset;
    EXPECT_EQ(frame->index, found.index);
    const auto wanted = std::prev(std::ranges::upper_bound(offsets_, index, {}, &SegmentIndex::Position::index));
    EXPECT_LT(wanted->offset - found.offset, 2 * 64 * 1024u) << "so much would have to be walked over";
  }

  WriterParts parts_;
  std::vector<SegmentIndex::Position> offsets_;
  uint32_t count_ = 0;
  SegmentIndex index_;
};

TEST_F(SegmentIndexTest, KnowsTheBeginning) {
  EXPECT_EQ(Seek(0).offset, kSegmentHeaderSize);
  EXPECT_EQ(Seek(0).index, 0u);
}

TEST_F(SegmentIndexTest, FindsAFrameNotFarBeforeAnyIndexInAnyOrder) {
  for (uint32_t index : {uint32_t{5}, count_ - 1, uint32_t{300}, uint32_t{11}, uint32_t{10}, uint32_t{599}}) {
    ExpectUseful(index);
  }
  for (uint32_t index = 0; index < count_; ++index) ExpectUseful(index);
}

TEST_F(SegmentIndexTest, GoesAsFarAsItCan) {
  const SegmentIndex::Position found = Seek(count_ + 100000);
  EXPECT_LT(found.index, count_);
  ExpectUseful(count_ - 1);
}

// ---- entries
// ----------------------------------------------------------------------------------------------------------

class CatalogTest : public testing::Test {
 protected:
  void SetUp() override { ASSERT_OK(directory_.Create()); }
  ~CatalogTest() override { reclaimer_->Stop(); }

  static SegmentIdentity Identity(uint64_t id, uint64_t base) {
    return {.segment_id = id, .base_sequence = base, .salt = id, .segment_size = kMinSegmentSize};
  }
  static Seal SealOf(uint64_t base, uint64_t count) {
    return {.end_offset = kSegmentHeaderSize + count * 24, .record_count = count, .last_sequence = base + count - 1};
  }
  void AddSealed(uint64_t id, uint64_t base, uint64_t count) {
    catalog_.AddSealed(Identity(id, base), SealOf(base, count));
  }

  TemporaryDirectory temporary_;
  FaultPlatform platform_;
  LogDirectory directory_{platform_, temporary_.path()};
  std::shared_ptr<Reclaimer> reclaimer_ = Reclaimer::Start();
  Catalog catalog_{platform_, directory_, reclaimer_};
};

TEST_F(CatalogTest, FindsSegmentsByIdAndBySequence) {
  AddSealed(3, 100, 10);
  AddSealed(4, 110, 5);
  catalog_.AddUnsealed(Identity(5, 115));
  EXPECT_FALSE(catalog_.Find(2).has_value());
  EXPECT_EQ(catalog_.Find(4)->base_sequence(), 110u);
  EXPECT_FALSE(catalog_.Find(6).has_value());
  EXPECT_FALSE(catalog_.FindSequence(99).has_value());
  EXPECT_EQ(catalog_.FindSequence(100)->id(), 3u);
  EXPECT_EQ(catalog_.FindSequence(109)->id(), 3u);
  EXPECT_EQ(catalog_.FindSequence(110)->id(), 4u);
  EXPECT_EQ(catalog_.FindSequence(9999)->id(), 5u);
}

TEST_F(CatalogTest, OfSegmentsWithOneBaseTheLastHasTheRecords) {
  AddSealed(1, 1, 10);
  AddSealed(2, 11, 0);
  AddSealed(3, 11, 5);
  EXPECT_EQ(catalog_.FindSequence(11)->id(), 3u);
}

TEST_F(CatalogTest, KnowsTheLastSequenceOfEach) {
  AddSealed(1, 1, 10);
  catalog_.AddUnsealed(Identity(2, 11));
  catalog_.AddUnsealed(Identity(3, 20));
  EXPECT_EQ(catalog_.LastSequenceOf(1), 10u);
  EXPECT_EQ(catalog_.LastSequenceOf(2), 19u) << "by its successor";
  EXPECT_EQ(catalog_.LastSequenceOf(3), UINT64_MAX);
  EXPECT_EQ(catalog_.LastSequenceOf(4), 0u);
}

TEST_F(CatalogTest, ForgetsTheFront) {
  for (uint64_t id = 1; id <= 4; ++id) AddSealed(id, id * 10, 10);
  catalog_.RemoveBefore(3);
  EXPECT_EQ(catalog_.size(), 2u);
  EXPECT_FALSE(catalog_.Find(2).has_value());
  EXPECT_EQ(catalog_.Find(3)->id(), 3u);
  std::shared_ptr<const SegmentView> view;
  EXPECT_CODE(catalog_.View(2, &view), kTruncated);
  catalog_.RemoveBefore(100);
  EXPECT_EQ(catalog_.size(), 0u);
}

TEST_F(CatalogTest, DescribesSealedAndGrowingSegments) {
  AddSealed(1, 1, 10);
  catalog_.AddUnsealed(Identity(2, 11));
  const std::vector<SegmentInfo> infos =
      catalog_.Describe({.segment = 2, .offset = 5000, .sequence = 13, .earliest_us = 7, .latest_us = 9});
  ASSERT_EQ(infos.size(), 2u);
  EXPECT_TRUE(infos[0].sealed);
  EXPECT_EQ(infos[0].first_sequence, 1u);
  EXPECT_EQ(infos[0].last_sequence, 10u);
  EXPECT_EQ(infos[0].bytes, kSegmentHeaderSize + 240);
  EXPECT_EQ(infos[0].path, directory_.SegmentPath(1));
  EXPECT_FALSE(infos[1].sealed);
  EXPECT_EQ(infos[1].last_sequence, 13u);
  EXPECT_EQ(infos[1].bytes, 5000u);
  EXPECT_EQ(infos[1].first_time_us, 7u);
  EXPECT_EQ(infos[1].last_time_us, 9u);
  EXPECT_EQ(infos[1].capacity, kMinSegmentSize);
}

// ---- views
// ------------------------------------------------------------------------------------------------------------

TEST_F(CatalogTest, AViewIsMappedOnceForAllWhoLook) {
  WriteFile(directory_.SegmentPath(1), std::vector<std::byte>(kMinSegmentSize));
  AddSealed(1, 1, 10);
  std::shared_ptr<const SegmentView> view;
  std::shared_ptr<const SegmentView> again;
  ASSERT_OK(catalog_.View(1, &view));
  ASSERT_OK(catalog_.View(1, &again));
  EXPECT_EQ(view, again);
  EXPECT_EQ(view->end, kSegmentHeaderSize + 240) << "of a sealed segment only what has frames";
  EXPECT_EQ(platform_.CallsOf(Operation::kMap), 1);
}

TEST_F(CatalogTest, AViewOutlivesTheRemovalOfItsSegment) {
  std::vector<std::byte> bytes(kMinSegmentSize);
  bytes[kSegmentHeaderSize] = std::byte{0x42};
  WriteFile(directory_.SegmentPath(1), bytes);
  AddSealed(1, 1, 10);
  AddSealed(2, 11, 10);
  std::shared_ptr<const SegmentView> view;
  ASSERT_OK(catalog_.View(1, &view));
  catalog_.RemoveBefore(2);
  std::filesystem::remove(directory_.SegmentPath(1));
  EXPECT_EQ(view->data[kSegmentHeaderSize], std::byte{0x42});
}

TEST_F(CatalogTest, AFileThatIsGoneWasTruncatedAndOneThatIsShortIsDamaged) {
  AddSealed(1, 1, 10);
  std::shared_ptr<const SegmentView> view;
  EXPECT_CODE(catalog_.View(1, &view), kTruncated);
  WriteFile(directory_.SegmentPath(1), std::vector<std::byte>(kSegmentHeaderSize + 239));
  const Status status = catalog_.View(1, &view);
  EXPECT_CODE(status, kCorrupt);
  EXPECT_EQ(status.location().segment, 1u);
  EXPECT_EQ(status.location().offset, kSegmentHeaderSize + 239);
}

TEST_F(CatalogTest, AnotherFileUnderTheNameIsTakenUpWhenItIsTheSameSegmentCompacted) {
  SegmentIdentity identity = Identity(1, 1);
  AddSealed(1, 1, 10);
  Seal seal = SealOf(1, 10);
  seal.end_offset = kSegmentHeaderSize + 32;
  const auto write = [&](const SegmentIdentity& found, const Seal& found_seal) {
    alignas(8) std::array<std::byte, 2 * kPageSize> bytes{};
    StoreIdentity(bytes.data(), found);
    StoreSeal(bytes.data(), found, found_seal);
    WriteFile(directory_.CompactionPath(), {bytes.begin(), bytes.end()});
    catalog_.LetGoOf(1);
    EXPECT_OK(platform_.Rename(directory_.CompactionPath(), directory_.SegmentPath(1)));
    std::shared_ptr<const SegmentView> view;
    EXPECT_OK(catalog_.View(1, &view));
    return view->identity.salt;
  };
  SegmentIdentity other = identity;
  other.salt = 99;
  EXPECT_EQ(write(other, seal), identity.salt) << "compaction has not written it";
  other.flags = kSegmentCompacted;
  other.base_sequence = 2;
  EXPECT_EQ(write(other, SealOf(2, 9)), identity.salt) << "it begins elsewhere";
  other.base_sequence = 1;
  EXPECT_EQ(write(other, SealOf(1, 9)), identity.salt) << "it ends elsewhere";
  EXPECT_EQ(write(other, seal), 99u);
  EXPECT_EQ(catalog_.Find(1)->identity.salt, 99u);
  EXPECT_EQ(catalog_.Find(1)->file_size, 2 * kPageSize);
  EXPECT_EQ(catalog_.Find(1)->seal->end_offset, kSegmentHeaderSize + 32);
}

TEST_F(CatalogTest, ALiveSegmentIsSeenWhereItsWriterHasIt) {
  WriterParts parts;
  Appender(parts.state()).Append(RecordOf("x"));
  std::shared_ptr<const SegmentView> view;
  ASSERT_OK(parts.catalog().View(1, &view));
  EXPECT_EQ(view->data, parts.current()->data());
  EXPECT_EQ(view->end, kMinSegmentSize);
}

// A reader maps the end of a truncated log, and meanwhile the log goes on in that segment. Had its view been kept, the
// next reader would take the new records for damage.
TEST_F(CatalogTest, AViewFromBeforeItsSegmentWasTakenUpAgainIsNotKept) {
  WriterParts parts;
  Appender(parts.state()).Append(RecordOf("x"));
  const std::shared_ptr<Segment> segment = parts.current();
  Catalog& catalog = parts.catalog();
  const Seal end{.end_offset = kSegmentHeaderSize + 32, .record_count = 1, .last_sequence = 1};
  catalog.MarkSealed(1, end);
  catalog.CutAfter(1, 1, end);
  parts.platform().Watch([&](const Call& call) {
    if (call.operation == Operation::kMap) catalog.Revive(1, segment);
  });
  std::shared_ptr<const SegmentView> early;
  ASSERT_OK(catalog.View(1, &early));
  EXPECT_EQ(early->end, end.end_offset);
  std::shared_ptr<const SegmentView> view;
  ASSERT_OK(catalog.View(1, &view));
  EXPECT_EQ(view->data, segment->data());
  EXPECT_EQ(view->end, kMinSegmentSize);
}

}  // namespace
}  // namespace segwal
