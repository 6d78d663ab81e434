// Finding every valid frame of a segment, whatever stands between them.
#include <gtest/gtest.h>

#include <map>

#include "core/recovery.h"
#include "testing/test_log.h"

namespace segwal {
namespace {

class ScanTest : public testing::Test {
 protected:
  // A segment of ten records, with the second made durable before the third was written.
  void SetUp() override {
    log_.Open();
    for (uint64_t i = 1; i <= 10; ++i) {
      log_.Append("this is record " + std::to_string(i));
      if (i == 2) log_.Sync();
    }
    log_.Kill();
    segment_ = std::make_unique<SegmentFile>(log_.SegmentPath(1));
  }

  SegmentScan Scan(bool first_run_only = false) {
    return ScanSegment(segment_->data(), segment_->size(), segment_->identity(), first_run_only);
  }
  // The records of every run, e.g. "1-3 5-10".
  std::string Runs(const SegmentScan& scan) {
    std::string text;
    for (const FrameRun& run : scan.runs) {
      EXPECT_EQ(run.offset, segment_->FrameAt(run.index + 1));
      EXPECT_EQ(run.end, segment_->FrameAt(run.end_index + 1));
      text += (text.empty() ? "" : " ") + std::to_string(run.index + 1) + "-" + std::to_string(run.end_index);
    }
    return text;
  }

  TestLog log_;
  std::unique_ptr<SegmentFile> segment_;
};

TEST_F(ScanTest, FindsFramesThatFollowOneAnother) { EXPECT_EQ(Runs(Scan()), "1-10"); }

TEST_F(ScanTest, FindsNothingInAnEmptySegment) {
  segment_->Fill(kSegmentHeaderSize, segment_->size(), std::byte{0});
  EXPECT_TRUE(Scan().runs.empty());
  EXPECT_EQ(Scan().proof, 0u);
}

TEST_F(ScanTest, GoesOnBehindAHole) {
  segment_->Zero(4);
  EXPECT_EQ(Runs(Scan()), "1-3 5-10");
  segment_->Zero(1);
  segment_->Zero(10);
  EXPECT_EQ(Runs(Scan()), "2-3 5-9");
}

TEST_F(ScanTest, GoesOnBehindADamagedFrame) {
  segment_->Flip(4);
  segment_->Claim(7);
  Store(segment_->data() + segment_->FrameAt(9), uint32_t{0x12345678});
  EXPECT_EQ(Runs(Scan()), "1-3 5-6 8-8 10-10");
}

TEST_F(ScanTest, StopsAtTheFirstGapWhenAskedTo) {
  segment_->Zero(4);
  EXPECT_EQ(Runs(Scan(true)), "1-3");
  segment_->Zero(1);
  EXPECT_TRUE(Scan(true).runs.empty());
}

TEST_F(ScanTest, FindsAFrameBehindGarbage) {
  segment_->Fill(segment_->FrameAt(1), segment_->FrameAt(10), std::byte{0x5a});
  EXPECT_EQ(Runs(Scan()), "10-10");
}

TEST_F(ScanTest, TakesTheProofFromAnyFrame) {
  EXPECT_EQ(Scan().proof, 2u);
  for (size_t n = 1; n <= 9; ++n) segment_->Zero(n);
  EXPECT_EQ(Scan().proof, 2u);
}

TEST_F(ScanTest, FramesUnderAnotherSaltAreNone) {
  SegmentIdentity later = segment_->identity();
  later.salt ^= 1;
  EXPECT_TRUE(ScanSegment(segment_->data(), segment_->size(), later, false).runs.empty());
}

// A record may hold the bytes of this very log. A frame found inside a damaged one must not pass for a frame of the
// log.
TEST_F(ScanTest, ACopyOfAnEarlierFrameInsideADamagedOneIsNoFrame) {
  const std::string copy(reinterpret_cast<const char*>(segment_->data() + segment_->FrameAt(3)),
                         segment_->FrameAt(4) - segment_->FrameAt(3));
  log_.Open();
  log_.Append(copy);
  log_.Append("record 12");
  log_.Kill();
  segment_ = std::make_unique<SegmentFile>(log_.SegmentPath(1));
  segment_->data()[segment_->FrameAt(11) + 4] ^= std::byte{1};
  EXPECT_EQ(Runs(Scan()), "1-10 12-12");
}

TEST_F(ScanTest, NotesTheTimesOfRecords) {
  const SegmentScan scan = Scan();
  EXPECT_GE(scan.earliest_us, segment_->identity().created_us);
  EXPECT_GE(scan.latest_us, scan.earliest_us);
}

// What was never written would have to be made up of zeros, page by page, and stay in memory.
TEST(ScanOfRecoveryTest, FetchesAllThatWasWrittenAndNoMore) {
  LogOptions options = TestLog::Options();
  options.segment_size = uint64_t{16} << 20;
  TestLog log;
  log.Open(options);
  constexpr int kRecords = 80;
  for (int i = 0; i < kRecords; ++i) log.Append(std::string(100'000, 'x'));
  const uint64_t end = log->Segments().back().bytes;
  log.Sync();
  log.Kill();

  std::map<uint64_t, uint64_t> fetched;  // lengths by offset
  log.platform().Watch([&](const Call& call) {
    if (call.operation == Operation::kFetch) fetched[call.offset] = call.length;
  });
  log.Open(options);
  log.platform().Watch(nullptr);
  EXPECT_EQ(log.Data().size(), static_cast<size_t>(kRecords));
  EXPECT_GT(fetched.size(), 1u);
  uint64_t at = kSegmentHeaderSize;
  for (const auto& [offset, length] : fetched) {
    EXPECT_EQ(offset, at);
    at += length;
  }
  EXPECT_EQ(at, end);
}

}  // namespace
}  // namespace segwal
