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
    EXPECT_OK(log_->Verify({}, &report));
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
  EXPECT_EQ(report.findings[0].last_sequence, 3u);
  EXPECT_EQ(report.findings[0].bytes, TestLog::kQuarter + kFrameHeaderSize);
  EXPECT_TRUE(report.findings[0].durable);
  EXPECT_EQ(report.records, 9u) << "it goes on behind the damage";
  EXPECT_NE(report.findings[0].action.find("had been made durable"), std::string::npos) << report.findings[0].action;
}

TEST_F(VerifyTest, GoesOnWithTheOtherSegments) {
  WriteThenDamage(1, [](SegmentFile& segment) { segment.Fill(kSegmentHeaderSize, segment.size(), std::byte{0}); });
  EXPECT_EQ(Verify().segments, 3u);
  EXPECT_EQ(Verify().records, 6u);
}

TEST_F(VerifyTest, HasAFindingForEachDamagedRange) {
  WriteThenDamage(1, [](SegmentFile& segment) {
    segment.Flip(1);
    segment.Flip(3);
    segment.Flip(4);
  });
  const VerifyReport report = Verify();
  ASSERT_EQ(report.findings.size(), 2u);
  EXPECT_EQ(report.findings[0].first_sequence, 1u);
  EXPECT_EQ(report.findings[0].last_sequence, 1u);
  EXPECT_EQ(report.findings[1].first_sequence, 3u);
  EXPECT_EQ(report.findings[1].last_sequence, 4u);
  EXPECT_EQ(report.records, 7u);
}

TEST_F(VerifyTest, ReadsSegmentsSideBySideAndReportsInTheirOrder) {
  log_.Open();
  log_.AppendQuarters(1, 42);
  log_.Sync();
  log_.Kill();
  for (uint64_t id = 1; id <= 10; ++id) log_.Edit(id, [](SegmentFile& segment) { segment.Flip(2); });
  log_.Open();
  VerifyReport alone;
  EXPECT_OK(log_->Verify({.concurrency = 1}, &alone));
  EXPECT_EQ(alone.findings.size(), 10u);
  for (const size_t concurrency : {0u, 2u, 5u, 64u}) {
    VerifyReport report;
    VerifyProgress progress;
    EXPECT_OK(log_->Verify({.concurrency = concurrency, .progress = &progress}, &report));
    ASSERT_EQ(report.findings.size(), 10u);
    for (size_t i = 0; i < 10; ++i) EXPECT_EQ(report.findings[i].segment, i + 1);
    EXPECT_EQ(report.records, alone.records);
    EXPECT_EQ(progress.records, alone.records);
    EXPECT_EQ(progress.bytes, alone.bytes);
    EXPECT_EQ(progress.total_bytes, 10 * (TestLog::kSegmentSize - kSegmentHeaderSize));
  }
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
  EXPECT_CODE(log_->Verify({.concurrency = 1, .cancelled = [&asked] { return ++asked == 3; }}, &report), kAborted);
  EXPECT_EQ(report.segments, 1u);
}

}  // namespace
}  // namespace segwal
