// Another process's view of a log: it takes no lock, changes nothing, and follows the writer wherever that goes.
#include "core/read_only_log.h"

#include <gtest/gtest.h>

#include <filesystem>
#include <thread>
#include <utility>

#include "testing/assertions.h"
#include "testing/files.h"
#include "testing/process_resources.h"
#include "testing/test_log.h"

namespace segwal {
namespace {

class ReadOnlyLogTest : public testing::Test {
 protected:
  static LogOptions ReadOnly() { return {.read_only = true}; }

  Status TryFollow() { return Log::Open(platform_, log_.path(), ReadOnly(), &follower_); }
  void Follow() { ASSERT_OK(TryFollow()); }
  std::vector<std::string> Seen() { return DataOf(*follower_); }

  using Texts = std::vector<std::string>;
  TestLog log_;
  FaultPlatform platform_;
  std::shared_ptr<Log> follower_;
};

TEST_F(ReadOnlyLogTest, SeesWhatIsThere) {
  log_.Open();
  log_.Append("one");
  log_.AppendBatch({"two", "three"});
  Follow();
  EXPECT_EQ(Seen(), (Texts{"one", "two", "three"}));
  EXPECT_TRUE(follower_->read_only());
  EXPECT_EQ(follower_->segment_size(), TestLog::kSegmentSize);
  EXPECT_EQ(follower_->first_sequence(), 1u);
  EXPECT_EQ(follower_->last_sequence(), 3u);
  EXPECT_EQ(follower_->recovery().records, 3u);
}

TEST_F(ReadOnlyLogTest, SeesMoreWheneverItLooks) {
  log_.Open();
  Follow();
  EXPECT_EQ(follower_->last_sequence(), 0u);
  log_.Append("one");
  EXPECT_EQ(Seen(), (Texts{"one"}));
  log_.Append("two");
  EXPECT_EQ(follower_->last_sequence(), 2u);
  EXPECT_EQ(Seen(), (Texts{"one", "two"}));
}

TEST_F(ReadOnlyLogTest, DoesNotSeeWhatIsBeingWritten) {
  log_.Open();
  log_.Append("one");
  Follow();
  log_.platform().WatchCoarseClock([&] { EXPECT_EQ(follower_->last_sequence(), 1u); });
  log_.Append("two");
  EXPECT_EQ(follower_->last_sequence(), 2u);
}

TEST_F(ReadOnlyLogTest, FollowsAcrossRotation) {
  log_.Open();
  log_.AppendQuarters(1, 2);
  Follow();
  for (uint64_t sequence = 3; sequence <= 14; ++sequence) {
    log_.AppendQuarters(sequence, sequence);
    EXPECT_EQ(follower_->last_sequence(), sequence);
  }
  EXPECT_EQ(Seen().size(), 14u);
  EXPECT_EQ(follower_->Segments().size(), 4u);
  EXPECT_EQ(Seen().back(), TestLog::QuarterRecord(14));
}

TEST_F(ReadOnlyLogTest, FollowsAcrossTruncation) {
  log_.Open();
  log_.AppendQuarters(1, 14);
  Follow();
  EXPECT_EQ(Seen().size(), 14u);
  ASSERT_OK(log_->TruncateBefore(9));
  EXPECT_EQ(Seen().size(), 6u);
  EXPECT_EQ(follower_->first_sequence(), 9u);
  log_.AppendQuarters(15, 20);
  EXPECT_EQ(follower_->last_sequence(), 20u);
}

TEST_F(ReadOnlyLogTest, IsNotLeftBehindWhenEverythingThatItKnewIsTruncated) {
  log_.Open();
  log_.AppendQuarters(1, 2);
  Follow();
  EXPECT_EQ(follower_->last_sequence(), 2u);
  log_.AppendQuarters(3, 14);
  ASSERT_OK(log_->TruncateBefore(13));
  EXPECT_EQ(Seen().size(), 2u);
  EXPECT_EQ(follower_->first_sequence(), 13u);
  EXPECT_EQ(follower_->last_sequence(), 14u);
  log_.AppendQuarters(15, 20);
  EXPECT_EQ(follower_->last_sequence(), 20u);
}

TEST_F(ReadOnlyLogTest, AFileThatBecomesAnotherSegmentBeforeItIsReadIsNoDamage) {
  if (!platform_.RecyclesFiles()) GTEST_SKIP() << "nothing is recycled here";
  for (const uint64_t id : {1, 2, 3}) {
    TestLog log;
    log.Open();
    log.AppendQuarters(1, 14);
    for (const uint64_t full : {1, 2, 3}) log.AwaitUnmapped(full);
    bool met = false;
    platform_.Watch([&](const Call& call) {
      if (call.operation != Operation::kRead || call.path != log.SegmentPath(id) || std::exchange(met, true)) return;
      ASSERT_OK(log->TruncateBefore(4 * id + 1));
      log.AppendQuarters(15, 40);
    });
    std::shared_ptr<Log> follower;
    EXPECT_OK(Log::Open(platform_, log.path(), ReadOnly(), &follower));
    platform_.Watch(nullptr);
    EXPECT_TRUE(met);
    EXPECT_GE(log->Stats().segments_recycled, std::min<uint64_t>(id, 2));
    ASSERT_TRUE(follower);
    EXPECT_EQ(follower->first_sequence(), 4 * id + 1);
    EXPECT_EQ(DataOf(*follower).back(), TestLog::QuarterRecord(40));
  }
}

TEST_F(ReadOnlyLogTest, AFileThatBecomesAnotherSegmentBeforeItIsMappedIsNotReadAsItsOwn) {
  if (!platform_.RecyclesFiles()) GTEST_SKIP() << "nothing is recycled here";
  log_.Open();
  log_.AppendQuarters(1, 14);
  log_.AwaitUnmapped(2);
  Follow();
  bool met = false;
  platform_.Watch([&](const Call& call) {
    if (call.operation != Operation::kMap || call.path != log_.SegmentPath(2) || std::exchange(met, true)) return;
    ASSERT_OK(log_->TruncateBefore(9));
    log_.AppendQuarters(15, 40);
  });
  std::vector<TestRecord> records;
  EXPECT_CODE(ReadRecords(*follower_, {}, &records), kTruncated);
  platform_.Watch(nullptr);
  EXPECT_TRUE(met);
  EXPECT_GE(log_->Stats().segments_recycled, 1u);
  EXPECT_EQ(records.size(), 4u);
}

TEST_F(ReadOnlyLogTest, LooksAgainWhenTheFirstSegmentGoesBeforeItIsOpened) {
  log_.Open();
  log_.AppendQuarters(1, 4);
  Follow();
  log_.AppendQuarters(5, 14);
  ASSERT_OK(log_->TruncateBefore(9));
  bool met = false;
  platform_.Watch([&](const Call& call) {
    if (call.operation != Operation::kOpen || call.path != log_.SegmentPath(3) || std::exchange(met, true)) return;
    ASSERT_OK(log_->TruncateBefore(13));
  });
  EXPECT_EQ(Seen(), (Texts{TestLog::QuarterRecord(13), TestLog::QuarterRecord(14)}));
  platform_.Watch(nullptr);
  EXPECT_TRUE(met);
}

TEST_F(ReadOnlyLogTest, FollowsAWriterThatNeverStops) {
  log_.Open({.segment_size = TestLog::kSegmentSize, .sync = SyncPolicy{.delay_us = 200}});
  Follow();
  std::thread writer([&] {
    for (uint64_t i = 1; i <= 3000; ++i) log_.Append(std::to_string(i) + std::string(i % 400, '.'));
  });
  uint64_t seen = 0;
  while (seen < 3000) {
    for (const TestRecord& record : RecordsOf(*follower_, {.from = seen + 1})) {
      ASSERT_EQ(record.sequence, ++seen);
      ASSERT_EQ(record.data, std::to_string(seen) + std::string(seen % 400, '.'));
    }
  }
  writer.join();
}

TEST_F(ReadOnlyLogTest, KnowsWhatIsDurableAsFarAsItIsProven) {
  log_.Open();
  log_.Append("one");
  log_.Append("two");
  Follow();
  EXPECT_EQ(follower_->durable_sequence(), 0u);
  log_.Sync();
  EXPECT_EQ(follower_->last_sequence(), 2u);
  EXPECT_EQ(follower_->durable_sequence(), 2u);
}

TEST_F(ReadOnlyLogTest, RefusesEverythingThatWrites) {
  log_.Open();
  log_.Append("one");
  Follow();
  EXPECT_EQ(follower_->NewAppender(), nullptr);
  EXPECT_CODE(follower_->Rotate(), kReadOnly);
  EXPECT_CODE(follower_->TruncateBefore(1), kReadOnly);
  EXPECT_CODE(follower_->RequestDurable(1), kReadOnly);
  EXPECT_CODE(follower_->WaitDurable(1), kReadOnly);
}

TEST_F(ReadOnlyLogTest, ChangesNothing) {
  log_.Open();
  for (const char* data : {"one", "two", "three", "four"}) log_.Append(data);
  log_.Kill();
  log_.Edit(1, [](SegmentFile& segment) { segment.Claim(3); });
  const auto before = SnapshotOf(log_.path());
  Follow();
  EXPECT_EQ(Seen(), (Texts{"one", "two"})) << "the longest valid prefix";
  EXPECT_OK(follower_->Close());
  EXPECT_TRUE(SnapshotOf(log_.path()) == before);
}

TEST_F(ReadOnlyLogTest, ThereIsNoneWhereThereIsNoLog) {
  EXPECT_CODE(TryFollow(), kNotFound);
  EXPECT_TRUE(NamesIn(log_.path()).empty());
  EXPECT_CODE(Log::Open(platform_, log_.path() + "/missing", ReadOnly(), &follower_), kNotFound);
}

TEST_F(ReadOnlyLogTest, TellsDamage) {
  log_.Open();
  log_.AppendQuarters(1, 14);
  log_.Sync();
  log_.Kill();
  std::filesystem::remove(log_.SegmentPath(2));
  EXPECT_CODE(TryFollow(), kCorrupt);
}

TEST_F(ReadOnlyLogTest, TellsWhenADurableRecordCannotBeRead) {
  log_.Open();
  for (int i = 1; i <= 5; ++i) log_.Append("record");
  log_.Sync();
  log_.Kill();
  log_.Edit(1, [](SegmentFile& segment) { segment.Flip(3); });
  const Status status = TryFollow();
  EXPECT_CODE(status, kCorrupt);
  EXPECT_EQ(status.location().first_sequence, 3u);
  EXPECT_EQ(status.location().last_sequence, 5u);
}

TEST_F(ReadOnlyLogTest, TellsWhenTheLastSegmentOfAClosedLogIsLost) {
  log_.Open();
  log_.AppendQuarters(1, 10);
  log_.Close();
  std::filesystem::remove(log_.SegmentPath(3));
  const Status status = TryFollow();
  EXPECT_CODE(status, kCorrupt);
  EXPECT_EQ(status.location().segment, 2u);
  EXPECT_EQ(status.location().first_sequence, 9u);
  EXPECT_EQ(status.location().last_sequence, 10u);
}

TEST_F(ReadOnlyLogTest, TellsWhenTheLastSegmentOfAClosedLogIsLostBelowIt) {
  log_.Open();
  log_.AppendQuarters(1, 10);
  log_.Close();
  Follow();
  LogMeta meta;
  SectorState state = SectorState::kAbsent;
  ASSERT_OK(log_.layout().ReadMeta(&state, &meta));
  EXPECT_EQ(meta.durable_sequence, 10u);
  meta.durable_sequence = 11;
  ASSERT_OK(log_.layout().WriteMeta(meta));
  std::unique_ptr<Reader> reader;
  EXPECT_CODE(follower_->NewReader({}, &reader), kCorrupt);
  VerifyReport report;
  EXPECT_CODE(follower_->Verify({}, &report), kCorrupt);
}

TEST_F(ReadOnlyLogTest, TellsWhenTheIdentityOfTheLastSegmentWasErased) {
  log_.Open();
  log_.AppendQuarters(1, 6);
  log_.Sync();
  log_.Kill();
  log_.Edit(2, [](SegmentFile& segment) { segment.EraseIdentity(); });
  EXPECT_CODE(TryFollow(), kCorrupt);
}

TEST_F(ReadOnlyLogTest, TellsWhenWalMetaIsOfAnotherLog) {
  log_.Open();
  log_.AppendQuarters(1, 6);
  log_.Close();
  TestLog other;
  other.Open();
  other.Close();
  WriteFile(log_.layout().MetaPath(), ReadFile(other.layout().MetaPath()));
  EXPECT_CODE(TryFollow(), kCorrupt);
}

TEST_F(ReadOnlyLogTest, IsNotMisledByAWriterThatClosesAndTruncates) {
  log_.Open();
  log_.AppendQuarters(1, 10);
  log_.Close();
  Follow();
  for (uint64_t round = 0; round < 5; ++round) {
    log_.Open();
    log_.AppendQuarters(11 + 4 * round, 14 + 4 * round);
    ASSERT_OK(log_->TruncateBefore(8 + 4 * round));
    log_.Close();
    EXPECT_EQ(follower_->durable_sequence(), 14 + 4 * round);
    std::unique_ptr<Reader> reader;
    EXPECT_OK(follower_->NewReader({}, &reader));
    EXPECT_OK(TryFollow());
  }
}

TEST_F(ReadOnlyLogTest, CanBeOpenedWhileAWriterClosesAndOpens) {
  log_.Open();
  log_.AppendQuarters(1, 2);
  log_.Close();
  std::atomic<bool> done = false;
  std::thread writer([&] {
    for (uint64_t sequence = 3; sequence <= 122; sequence += 3) {
      log_.Open();
      log_.AppendQuarters(sequence, sequence + 2);
      if (sequence > 20) {
        EXPECT_OK(log_->TruncateBefore(sequence - 10));
      }
      log_.Close();
    }
    done = true;
  });
  while (!done) {
    ASSERT_OK(TryFollow());
    std::unique_ptr<Reader> reader;
    EXPECT_OK(follower_->NewReader({}, &reader));
  }
  writer.join();
}

TEST_F(ReadOnlyLogTest, RefusesSegmentsOfANewerVersionAndOfAnotherLog) {
  log_.Open();
  log_.AppendQuarters(1, 6);
  log_.Kill();
  log_.Edit(2, [](SegmentFile& segment) { Store(segment.data() + 8, kFormatVersion + 1); });
  EXPECT_CODE(TryFollow(), kUnsupportedVersion);
  TestLog other;
  other.Open();
  other.AppendQuarters(1, 6);
  other.Kill();
  WriteFile(log_.SegmentPath(2), ReadFile(other.SegmentPath(2)));
  EXPECT_CODE(TryFollow(), kCorrupt);
  WriteFile(log_.SegmentPath(2), ReadFile(log_.SegmentPath(1)));
  EXPECT_CODE(TryFollow(), kCorrupt);
}

TEST_F(ReadOnlyLogTest, AnotherSegmentSizeIsAMistakeOfTheCaller) {
  log_.Open();
  EXPECT_CODE(
      Log::Open(platform_, log_.path(), {.segment_size = 2 * TestLog::kSegmentSize, .read_only = true}, &follower_),
      kSegmentSizeMismatch);
}

TEST_F(ReadOnlyLogTest, VerifiesWhatItSees) {
  log_.Open();
  log_.AppendQuarters(1, 6);
  Follow();
  VerifyReport report;
  EXPECT_OK(follower_->Verify({}, &report));
  EXPECT_TRUE(report.ok);
  EXPECT_EQ(report.records, 6u);
}

TEST_F(ReadOnlyLogTest, NothingIsLeftWhenItIsClosed) {
  if (!ProcessResources::CanBeCounted()) GTEST_SKIP() << "needs /proc";
  log_.Open();
  log_.AppendQuarters(1, 6);
  log_.Kill();
  const ProcessResources before = ProcessResources::Baseline(log_.path());
  Follow();
  EXPECT_EQ(Seen().size(), 6u);
  EXPECT_OK(follower_->Close());
  EXPECT_OK(follower_->Close());
  EXPECT_EQ(ProcessResources::Settled(log_.path(), before), before);
}

}  // namespace
}  // namespace segwal
