#include "core/committed_walk.h"

#include <gtest/gtest.h>

#include "testing/assertions.h"
#include "testing/test_log.h"
#include "testing/writer_parts.h"

namespace segwal {
namespace {

class CommittedWalkTest : public testing::Test {
 protected:
  // Claims a place for a frame of 32 bytes, as an appender does, and leaves it at that.
  uint64_t ClaimOnly() {
    std::atomic<uint64_t>& pointer = parts_.current()->pointer();
    return PointerOffset(pointer.fetch_add(32 / kFrameAlignment + (uint64_t{1} << 32)));
  }

  WriterParts parts_{kMinSegmentSize, 10};
  Appender appender_{parts_.state()};
  CommittedWalk walk_{parts_.state(), parts_.Begin()};
};

TEST_F(CommittedWalkTest, StandsAtTheBeginningOfAnEmptyLog) {
  const CommittedWalk::Position at = walk_.Advance();
  EXPECT_EQ(at.offset, kSegmentHeaderSize);
  EXPECT_EQ(at.sequence, 9u);
  EXPECT_EQ(at.frames, 0u);
  EXPECT_EQ(at.earliest_us, 0u);
}

TEST_F(CommittedWalkTest, CountsFramesRecordsAndBytes) {
  appender_.Append(RecordOf("12345678"));
  appender_.AppendBatch(std::vector{RecordOf("a"), RecordOf("b")});
  const CommittedWalk::Position at = walk_.Advance();
  EXPECT_EQ(at.sequence, 12u);
  EXPECT_EQ(at.frames, 2u);
  EXPECT_EQ(at.bytes, 32u + 48u);
  EXPECT_EQ(at.offset, kSegmentHeaderSize + 80);
}

TEST_F(CommittedWalkTest, StopsBeforeAClaimUntilItIsCommitted) {
  appender_.Append(RecordOf("12345678"));
  const uint64_t claimed = ClaimOnly();
  appender_.Append(RecordOf("behind the claim"));
  EXPECT_EQ(walk_.Advance().sequence, 10u) << "claimed, and not a byte of it stored";
  const Segment& segment = *parts_.current();
  AtomicAt<uint32_t>(segment.data() + claimed).store(32 | kClaimBit);
  EXPECT_EQ(walk_.Advance().sequence, 10u) << "claimed";
  StoreFiller(segment.data(), claimed, 32, 1, 1, segment.salt_checksum());
  EXPECT_EQ(walk_.Advance().sequence, 12u) << "committed";
}

TEST_F(CommittedWalkTest, SeesNothingOfAFrameThatIsBeingWritten) {
  appender_.Append(RecordOf("a"));
  uint64_t seen = 0;
  parts_.platform().WatchCoarseClock([&] { seen = walk_.Advance().sequence; });
  appender_.Append(RecordOf("b"));
  EXPECT_EQ(seen, 10u);
  EXPECT_EQ(walk_.Advance().sequence, 11u);
}

TEST_F(CommittedWalkTest, NotesEarliestAndLatestTime) {
  const uint64_t created = parts_.current()->identity().created_us;
  for (uint64_t time : {created + 300, created + 100, created + 200}) {
    parts_.platform().SetTime(time);
    appender_.Append(RecordOf("x"));
  }
  const CommittedWalk::Position at = walk_.Advance();
  EXPECT_EQ(at.earliest_us, created + 100);
  EXPECT_EQ(at.latest_us, created + 300);
}

TEST_F(CommittedWalkTest, StepsIntoTheNextSegmentAndFillsInTheSealOfTheFullOne) {
  const uint64_t created = parts_.current()->identity().created_us;
  parts_.platform().SetTime(created + 500);
  appender_.Append(RecordOf("12345678"));
  const std::shared_ptr<Segment> full = parts_.current();
  parts_.Rotate();
  EXPECT_EQ(appender_.Append(RecordOf("next")), 11u);
  const CommittedWalk::Position at = walk_.Advance();
  EXPECT_EQ(at.segment, parts_.current());
  EXPECT_EQ(at.sequence, 11u);
  EXPECT_EQ(at.bytes, 64u);
  EXPECT_EQ(full->seal.end_offset, kSegmentHeaderSize + 32);
  EXPECT_EQ(full->seal.record_count, 1u);
  EXPECT_EQ(full->seal.last_sequence, 10u);
  EXPECT_EQ(full->seal.earliest_us, created + 500);
  EXPECT_EQ(full->seal.latest_us, created + 500);
}

TEST_F(CommittedWalkTest, DoesNotLeaveAFullSegmentBeforeItsLastClaimIsCommitted) {
  const std::shared_ptr<Segment> full = parts_.current();
  const uint64_t claimed = ClaimOnly();
  parts_.Rotate();
  appender_.Append(RecordOf("next"));
  EXPECT_EQ(walk_.Advance().sequence, 9u);
  StoreFiller(full->data(), claimed, 32, 0, 1, full->salt_checksum());
  EXPECT_EQ(walk_.Advance().sequence, 11u);
}

TEST_F(CommittedWalkTest, StepsThroughSegmentsThatWereFilledToTheLastByte) {
  appender_.Append(RecordOf(std::string(parts_.state().max_frame_size - kFrameHeaderSize, 'x')));
  parts_.Rotate();
  appender_.Append(RecordOf(std::string(parts_.state().max_frame_size - kFrameHeaderSize, 'y')));
  parts_.Rotate();
  const CommittedWalk::Position at = walk_.Advance();
  EXPECT_EQ(at.segment->id(), 3u);
  EXPECT_EQ(at.offset, kSegmentHeaderSize);
  EXPECT_EQ(at.sequence, 11u);
}

}  // namespace
}  // namespace segwal
