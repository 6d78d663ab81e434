#include "core/verify.h"

#include <gtest/gtest.h>

#include "testing/assertions.h"
#include "testing/test_log.h"

namespace segwal {
namespace {

class VerifyTest : public testing::Test {
 protected:
  // Ten records in three segments, of which the first eight are durable; then the process dies and the log is opened
  // again.
  void WriteThenDamage(uint64_t segment, const std::function<void(SegmentFile&)>& damage) {
    log_.Open();
    log_.AppendQuarters(1, 10);
    log_.Sync();
    log_.Kill();
    log_.Edit(segment, damage);
    log_.Open();
  }
  VerifyReport Verify() {
    VerifyReport report;
    EXPECT_OK(log_->Verify([] { return false; }, &report));
    return report;
  }

  TestLog log_;
};

TEST_F(VerifyTest, AnEmptyLogIsSound) {
  log_.Open();
  const VerifyReport report = Verify();
  EXPECT_TRUE(report.ok);
  EXPECT_EQ(report.segments, 1u);
  EXPECT_EQ(report.records, 0u);
}

TEST_F(VerifyTest, CountsWhatItReads) {
  log_.Open();
  log_.AppendQuarters(1, 10);
  log_.AppendBatch({"11", "12"});
  const VerifyReport report = Verify();
  EXPECT_TRUE(report.ok);
  EXPECT_TRUE(report.findings.empty());
  EXPECT_EQ(report.segments, 3u);
  EXPECT_EQ(report.records, 12u);
  EXPECT_EQ(report.bytes, 10 * (TestLog::kQuarter + kFrameHeaderSize) + 48);
}

TEST_F(VerifyTest, FindsADamagedFrameInASealedSegment) {
  WriteThenDamage(1, [](SegmentFile& segment) { segment.Flip(3); });
  const VerifyReport report = Verify();
  EXPECT_FALSE(report.ok);
  ASSERT_EQ(report.findings.size(), 1u);
  EXPECT_EQ(report.findings[0].segment, 1u);
  EXPECT_EQ(report.findings[0].offset, kSegmentHeaderSize + 2 * (TestLog::kQuarter + kFrameHeaderSize));
  EXPECT_EQ(report.findings[0].first_sequence, 3u);
  EXPECT_EQ(report.findings[0].last_sequence, 4u);
  EXPECT_NE(report.findings[0].action.find("had been made durable"), std::string::npos) << report.findings[0].action;
}

TEST_F(VerifyTest, GoesOnWithTheOtherSegments) {
  WriteThenDamage(1, [](SegmentFile& segment) { segment.Flip(1); });
  EXPECT_EQ(Verify().segments, 3u);
  EXPECT_EQ(Verify().records, 6u);
}

TEST_F(VerifyTest, FindsASealThatDoesNotAgreeWithTheFrames) {
  WriteThenDamage(1, [](SegmentFile& segment) {
    Seal seal;
    ASSERT_EQ(LoadSeal(segment.data(), segment.identity(), &seal), SectorState::kValid);
    seal.end_offset -= 8;
    StoreSeal(segment.data(), segment.identity(), seal);
  });
  EXPECT_FALSE(Verify().ok);
}

TEST_F(VerifyTest, FindsAFileThatWasCutShortUnderAnOpenLog) {
  log_.Open();
  log_.AppendQuarters(1, 10);
  log_.Sync();
  SegmentFile segment(log_.SegmentPath(1));
  segment.Resize(TestLog::kSegmentSize / 2);
  segment.Save();
  const VerifyReport report = Verify();
  EXPECT_FALSE(report.ok);
  ASSERT_EQ(report.findings.size(), 1u);
  EXPECT_EQ(report.findings[0].first_sequence, 1u);
  EXPECT_EQ(report.findings[0].last_sequence, 4u);
}

TEST_F(VerifyTest, ChangesNothing) {
  WriteThenDamage(1, [](SegmentFile& segment) { segment.Flip(3); });
  const int writes = log_.platform().CallsOf(Operation::kWrite) + log_.platform().CallsOf(Operation::kSyncMapping);
  Verify();
  EXPECT_EQ(log_.platform().CallsOf(Operation::kWrite) + log_.platform().CallsOf(Operation::kSyncMapping), writes);
}

TEST_F(VerifyTest, CanBeCancelled) {
  log_.Open();
  log_.AppendQuarters(1, 10);
  int asked = 0;
  VerifyReport report;
  EXPECT_CODE(log_->Verify([&asked] { return ++asked == 2; }, &report), kAborted);
  EXPECT_EQ(report.segments, 1u);
}

}  // namespace
}  // namespace segwal
