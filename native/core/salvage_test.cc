// Salvage: what strict recovery refuses is given up, and nothing but that. Every test ends with a log that opens
// strictly, says nothing is wrong, has the records that were not hit, and goes on with numbers that were never used.
#include <gtest/gtest.h>

#include <algorithm>
#include <filesystem>

#include "core/recovery.h"
#include "testing/assertions.h"
#include "testing/files.h"
#include "testing/test_log.h"

namespace segwal {
namespace {

LogOptions Salvaging() {
  LogOptions options = TestLog::Options();
  options.salvage = true;
  return options;
}

// Ten durable records of a quarter of a segment: 1 to 4, 5 to 8, 9 and 10.
class SalvageTest : public testing::Test {
 protected:
  void Write(bool closed = true) {
    log_.Open();
    log_.AppendQuarters(1, 10);
    log_.Sync();
    closed ? log_.Close() : log_.Kill();
  }

  std::vector<uint64_t> Sequences() {
    std::vector<uint64_t> sequences;
    for (const TestRecord& record : RecordsOf(log_.log())) {
      EXPECT_EQ(record.data, TestLog::QuarterRecord(record.sequence)) << "invented";
      sequences.push_back(record.sequence);
    }
    return sequences;
  }

  Status Plan(RecoveryReport* report) { return PlanSalvage(log_.platform(), log_.layout(), report); }

  using Numbers = std::vector<uint64_t>;
  // The first finding that says that records were lost.
  static Finding LossIn(const RecoveryReport& report) {
    const auto loss = std::ranges::find_if(report.findings, [](const Finding& finding) { return finding.rule == "D"; });
    return loss == report.findings.end() ? Finding{} : *loss;
  }

  // Salvages; expects that the records of `lost` are gone and that what follows has the number 11, or a higher one when
  // nothing tells how much was lost.
  Finding ExpectLoss(const Numbers& lost, bool exact = true) {
    const auto before = SnapshotOf(log_.path());
    RecoveryReport plan;
    EXPECT_OK(Plan(&plan));
    EXPECT_TRUE(SnapshotOf(log_.path()) == before) << "a plan changes nothing";

    log_.Open(Salvaging());
    const RecoveryReport report = log_->recovery();
    EXPECT_FALSE(report.clean);
    EXPECT_EQ(report.findings.size(), plan.findings.size());
    Numbers kept;
    for (uint64_t sequence = 1; sequence <= 10; ++sequence) {
      if (std::ranges::find(lost, sequence) == lost.end()) kept.push_back(sequence);
    }
    EXPECT_EQ(Sequences(), kept);
    VerifyReport verified;
    EXPECT_OK(log_->Verify({}, &verified));
    EXPECT_TRUE(verified.ok);
    const uint64_t next = log_->last_sequence() + 1;
    EXPECT_GE(next, 11u) << "a number is never used again";
    EXPECT_EQ(next == 11, exact);
    EXPECT_EQ(log_.Append(TestLog::QuarterRecord(next)), next);
    log_.Close();

    log_.Open();
    EXPECT_TRUE(log_->recovery().clean);
    EXPECT_TRUE(log_->recovery().findings.empty());
    kept.push_back(next);
    EXPECT_EQ(Sequences(), kept);
    log_.Close();
    return LossIn(report);
  }

  std::vector<std::string> Quarantine() { return NamesIn(log_.layout().QuarantinePath()); }

  TestLog log_;
};

TEST_F(SalvageTest, OfASoundLogIsAnOrdinaryOpen) {
  Write();
  log_.Open(Salvaging());
  EXPECT_TRUE(log_->recovery().clean);
  EXPECT_TRUE(log_->recovery().findings.empty());
  EXPECT_EQ(Sequences().size(), 10u);
  EXPECT_TRUE(Quarantine().empty());
}

TEST_F(SalvageTest, GivesUpADamagedFrameAndKeepsWhatIsBehindIt) {
  for (const uint64_t segment : {1, 2, 3}) {
    for (const bool seal : {true, false}) {
      TestLog fresh;
      SCOPED_TRACE(segment);
      fresh.Open();
      fresh.AppendQuarters(1, 10);
      fresh.Sync();
      fresh.Close();
      fresh.Edit(segment, [seal](SegmentFile& file) {
        file.Flip(1);
        if (!seal) file.EraseSeal();
      });
      const uint64_t lost = (segment - 1) * 4 + 1;
      fresh.Open(Salvaging());
      const Finding loss = LossIn(fresh->recovery());
      EXPECT_EQ(loss.segment, segment);
      EXPECT_EQ(loss.offset, kSegmentHeaderSize);
      EXPECT_EQ(loss.bytes, TestLog::kQuarter + kFrameHeaderSize);
      EXPECT_EQ(loss.first_sequence, lost);
      EXPECT_EQ(loss.last_sequence, lost);
      EXPECT_TRUE(loss.durable);
      EXPECT_EQ(RecordsOf(fresh.log()).size(), 9u);
      EXPECT_EQ(fresh.Append("next"), 11u);
      fresh.Close();
    }
  }
}

TEST_F(SalvageTest, KeepsTheBytesOfADamagedFrameWithANote) {
  Write();
  std::vector<std::byte> bytes;
  log_.Edit(2, [&bytes](SegmentFile& segment) {
    segment.Flip(2);
    bytes.assign(segment.data() + segment.FrameAt(2), segment.data() + segment.FrameAt(3));
  });
  ExpectLoss({6});
  ASSERT_EQ(Quarantine().size(), 2u);
  const std::string kept = log_.layout().QuarantinePath() + "/" + Quarantine()[0];
  std::vector<std::byte> content = ReadFile(kept);
  content.resize(bytes.size());  // but for zeros at its end
  EXPECT_TRUE(content == bytes);
  EXPECT_NE(ReadText(kept + ".txt").find("record 6 had been made durable"), std::string::npos)
      << ReadText(kept + ".txt");
}

TEST_F(SalvageTest, GivesUpTheLastFrames) {
  Write();
  log_.Edit(3, [](SegmentFile& segment) {
    segment.Flip(1);
    segment.Flip(2);
  });
  const Finding loss = ExpectLoss({9, 10});
  EXPECT_EQ(loss.first_sequence, 9u);
  EXPECT_EQ(loss.last_sequence, 10u);
}

TEST_F(SalvageTest, GivesUpTheLastFrameOfAFullSegment) {
  Write();
  log_.Edit(1, [](SegmentFile& segment) { segment.Flip(4); });
  ExpectLoss({4});
}

TEST_F(SalvageTest, PutsAStandInWhereASegmentIsMissing) {
  Write();
  std::filesystem::remove(log_.SegmentPath(2));
  const Finding loss = ExpectLoss({5, 6, 7, 8});
  EXPECT_EQ(loss.segment, 2u);
  EXPECT_EQ(loss.first_sequence, 5u);
  EXPECT_EQ(loss.last_sequence, 8u);
  EXPECT_TRUE(loss.durable);
}

TEST_F(SalvageTest, GoesOnBehindALastSegmentThatIsMissing) {
  Write();
  std::filesystem::remove(log_.SegmentPath(3));
  ExpectLoss({9, 10}, false);
}

TEST_F(SalvageTest, BeginsWithTheFirstSegmentThatIsThere) {
  Write();
  std::filesystem::remove(log_.SegmentPath(1));
  const Finding loss = ExpectLoss({1, 2, 3, 4});
  EXPECT_EQ(loss.first_sequence, 1u);
  EXPECT_EQ(loss.last_sequence, 4u);
}

TEST_F(SalvageTest, PutsAnIdentityRightThatLostABit) {
  for (const size_t bit : {8 * 3, 8 * 17 + 1, 8 * 33, 8 * 41 + 2, 8 * 50, 8 * 57, 8 * 66, 8 * 300, 8 * 510}) {
    SCOPED_TRACE(bit);
    TestLog fresh;
    fresh.Open();
    fresh.AppendQuarters(1, 10);
    fresh.Close();
    const auto before = ReadFile(fresh.SegmentPath(2));
    fresh.Edit(2, [bit](SegmentFile& segment) { segment.data()[bit / 8] ^= std::byte{1} << (bit % 8); });
    fresh.Open(Salvaging());
    EXPECT_EQ(RecordsOf(fresh.log()).size(), 10u);
    fresh.Close();
    EXPECT_TRUE(ReadFile(fresh.SegmentPath(2)) == before);
  }
}

TEST_F(SalvageTest, PutsAnIdentityRightOfWhichItKnowsWhatIsGone) {
  Write();
  log_.Edit(2, [](SegmentFile& segment) { segment.Fill(0, 40, std::byte{0x55}); });
  RecoveryReport plan;
  EXPECT_OK(Plan(&plan));
  log_.Open(Salvaging());
  EXPECT_EQ(Sequences().size(), 10u);
}

TEST_F(SalvageTest, ReplacesASegmentWithoutAnIdentityAndKeepsTheFile) {
  Write();
  log_.Edit(2, [](SegmentFile& segment) { segment.EraseIdentity(); });
  const auto before = ReadFile(log_.SegmentPath(2));
  ExpectLoss({5, 6, 7, 8});
  ASSERT_EQ(Quarantine().size(), 2u);
  EXPECT_TRUE(ReadFile(log_.layout().QuarantinePath() + "/" + Quarantine()[0]) == before);
}

TEST_F(SalvageTest, NeverUsesTheNumbersAgainOfALastSegmentWithoutAnIdentity) {
  Write(false);  // nothing outside it says how far it went
  log_.Edit(3, [](SegmentFile& segment) { segment.Fill(0, kSectorSize, std::byte{0x55}); });
  ExpectLoss({9, 10});
}

TEST_F(SalvageTest, NeverUsesTheNumbersAgainOfALastSegmentOfWhichTheLengthsAreGoneToo) {
  Write(false);
  log_.Edit(3, [](SegmentFile& segment) {
    segment.Fill(0, kSectorSize, std::byte{0x55});
    segment.Fill(kSegmentHeaderSize, kSegmentHeaderSize + 4, std::byte{0});
  });
  log_.Open(Salvaging());
  EXPECT_GT(log_->last_sequence(), 10u);
  EXPECT_EQ(Sequences().size(), 8u);
}

TEST_F(SalvageTest, ReplacesASegmentOfAnotherLogAndACopyOfAnotherSegment) {
  Write();
  TestLog other;
  other.Open();
  other.AppendQuarters(1, 10);
  other.Close();
  WriteFile(log_.SegmentPath(2), ReadFile(other.SegmentPath(2)));
  ExpectLoss({5, 6, 7, 8});
  std::filesystem::remove_all(log_.layout().QuarantinePath());
  WriteFile(log_.SegmentPath(1), ReadFile(log_.SegmentPath(3)));
  log_.Open(Salvaging());
  EXPECT_EQ(log_->first_sequence(), 5u);
}

TEST_F(SalvageTest, TakesAFileThatWasCutShort) {
  Write();
  log_.Edit(1, [](SegmentFile& segment) { segment.Resize(segment.FrameAt(3) + 100); });
  ExpectLoss({3, 4});
  EXPECT_EQ(std::filesystem::file_size(log_.SegmentPath(1)), TestLog::kSegmentSize);
}

TEST_F(SalvageTest, RefusesALogOfANewerVersion) {
  Write();
  log_.Edit(2, [](SegmentFile& segment) { Store(segment.data() + 8, kFormatVersion + 1); });
  EXPECT_CODE(log_.TryOpen(Salvaging()), kUnsupportedVersion);
}

TEST_F(SalvageTest, RefusesWhenNoSegmentIsLeft) {
  Write();
  for (uint64_t id = 1; id <= 3; ++id) std::filesystem::remove(log_.SegmentPath(id));
  const auto before = SnapshotOf(log_.path());
  const Status status = log_.TryOpen(Salvaging());
  EXPECT_CODE(status, kCorrupt);
  EXPECT_TRUE(SnapshotOf(log_.path()) == before);
}

TEST_F(SalvageTest, RefusesWhenWalMetaIsOfAnotherLog) {
  Write();
  TestLog other;
  other.Open();
  other.Close();
  WriteFile(log_.layout().MetaPath(), ReadFile(other.layout().MetaPath()));
  const auto before = SnapshotOf(log_.path());
  const Status status = log_.TryOpen(Salvaging());
  EXPECT_CODE(status, kCorrupt);
  EXPECT_NE(status.message().find("different logs"), std::string::npos) << status.message();
  EXPECT_TRUE(SnapshotOf(log_.path()) == before);
}

TEST_F(SalvageTest, StillLeavesToTheTableWhatNoCrashForbids) {
  log_.Open();
  log_.AppendQuarters(1, 2);
  log_.Sync();
  log_.AppendQuarters(3, 4);
  log_.Kill();
  log_.Edit(1, [](SegmentFile& segment) {
    segment.Zero(3);
    segment.EraseMark();
    segment.Mark(2);
  });
  log_.Reboot();
  log_.Open(Salvaging());
  EXPECT_EQ(log_->last_sequence(), 2u) << "case C: keep the prefix";
}

TEST_F(SalvageTest, APlanIsRefusedWhileSomebodyWrites) {
  log_.Open();
  RecoveryReport report;
  EXPECT_CODE(Plan(&report), kLocked);
}

// Wherever it fails, the files are such that a salvage again comes to the same records and numbers.
TEST_F(SalvageTest, CanBeInterruptedAnywhere) {
  const std::vector<Operation> operations = {Operation::kRename,     Operation::kRemove, Operation::kSyncDirectory,
                                             Operation::kOpen,       Operation::kMap,    Operation::kWrite,
                                             Operation::kAllocate,   Operation::kZero,   Operation::kSyncFile,
                                             Operation::kSyncMapping};
  for (const Operation operation : operations) {
    for (int nth = 1; nth < 200; nth += nth < 12 ? 1 : 5) {
      SCOPED_TRACE(std::to_string(static_cast<int>(operation)) + " " + std::to_string(nth));
      TestLog fresh;
      fresh.Open();
      fresh.AppendQuarters(1, 18);
      fresh.Close();
      fresh.Edit(1, [](SegmentFile& segment) { segment.Flip(2); });
      std::filesystem::remove(fresh.SegmentPath(2));
      fresh.Edit(3, [](SegmentFile& segment) { segment.EraseIdentity(); });
      fresh.Edit(4, [](SegmentFile& segment) {
        segment.EraseSeal();
        segment.Flip(1);
      });
      fresh.Edit(5, [](SegmentFile& segment) { segment.Fill(0, kSectorSize, std::byte{0x55}); });
      fresh.platform().FailFrom(operation, Status(ErrorCode::kIo, "the machine stops"), nth);
      const Status status = fresh.TryOpen(Salvaging());
      fresh.platform().Heal();
      if (status.ok()) {
        fresh.Kill();
        break;
      }
      fresh.Open(Salvaging());
      std::vector<uint64_t> sequences;
      for (const TestRecord& record : RecordsOf(fresh.log())) {
        EXPECT_EQ(record.data, TestLog::QuarterRecord(record.sequence));
        sequences.push_back(record.sequence);
      }
      EXPECT_EQ(sequences, (Numbers{1, 3, 4, 14, 15, 16}));
      EXPECT_EQ(fresh.Append("next"), 19u);
      fresh.Close();
      fresh.Open();
      EXPECT_TRUE(fresh->recovery().clean);
      fresh.Close();
      if (HasFailure()) return;
    }
  }
}

}  // namespace
}  // namespace segwal
