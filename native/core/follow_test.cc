// Following a log that grows: nobody who sleeps misses an append. And how much may be appended before it is durable.
#include <gtest/gtest.h>

#include <atomic>
#include <thread>

#include "core/appender.h"
#include "core/log.h"
#include "core/reader.h"
#include "core/writer_state.h"
#include "testing/assertions.h"
#include "testing/test_log.h"
#include "testing/waiting.h"

namespace segwal {
namespace {

class CountingFollower final : public AppendListener {
 public:
  void OnAppended() override { calls.fetch_add(1); }
  std::atomic<int> calls{0};
};

// Waits until the log has more than `sequence`; false when it never will.
bool WaitForMore(Log& log, CountingFollower& follower, uint64_t sequence) {
  const int before = follower.calls;
  switch (log.FollowAppends(sequence, &follower)) {
    case FollowOutcome::kReady: return true;
    case FollowOutcome::kEnded: return false;
    case FollowOutcome::kWaiting: break;
  }
  EXPECT_TRUE(ComesTrue([&] { return follower.calls > before; }));
  return true;
}

class FollowTest : public testing::Test {
 protected:
  TestLog log_;
  CountingFollower follower_;
};

TEST_F(FollowTest, IsToldAtOnceOfWhatIsThere) {
  log_.Open();
  log_.Append("x");
  EXPECT_EQ(log_->FollowAppends(0, &follower_), FollowOutcome::kReady);
  EXPECT_EQ(follower_.calls, 0);
}

TEST_F(FollowTest, IsToldOnceOfTheNextAppendWhenItIsCommitted) {
  log_.Open();
  log_.Append("x");
  ASSERT_EQ(log_->FollowAppends(1, &follower_), FollowOutcome::kWaiting);
  log_.Append("y");
  EXPECT_EQ(follower_.calls, 1);
  EXPECT_EQ(log_->last_sequence(), 2u);
  log_.Append("z");
  EXPECT_EQ(follower_.calls, 1);
}

TEST_F(FollowTest, DoesNotKeepTheSyncerFromSleepingOrWaking) {
  log_.Open({.segment_size = TestLog::kSegmentSize, .sync = SyncPolicy{.delay_us = 100}});
  for (uint64_t i = 1; i <= 50; ++i) {
    ASSERT_EQ(log_->FollowAppends(i - 1, &follower_), FollowOutcome::kWaiting);
    log_.Append("x");
    EXPECT_TRUE(ComesTrue([&] { return log_->durable_sequence() == i; }));
  }
  EXPECT_EQ(follower_.calls, 50);
}

TEST_F(FollowTest, IsNotToldAnyMoreAfterItStopped) {
  log_.Open();
  ASSERT_EQ(log_->FollowAppends(0, &follower_), FollowOutcome::kWaiting);
  log_->StopFollowing(&follower_);
  log_.Append("x");
  EXPECT_EQ(follower_.calls, 0);
}

TEST_F(FollowTest, IsToldWhenTheLogCanTakeNoMore) {
  log_.Open();
  log_.Append("x");
  ASSERT_EQ(log_->FollowAppends(1, &follower_), FollowOutcome::kWaiting);
  log_.platform().FailFrom(Operation::kSyncMapping, Status(ErrorCode::kIo, "injected"));
  EXPECT_CODE(log_->WaitDurable(1), kPoisoned);
  EXPECT_TRUE(ComesTrue([&] { return follower_.calls == 1; }));
  EXPECT_EQ(log_->FollowAppends(1, &follower_), FollowOutcome::kEnded);
  EXPECT_EQ(log_->FollowAppends(0, &follower_), FollowOutcome::kReady) << "what is there can be read";
}

TEST_F(FollowTest, MissesNothingThatThreeThreadsAppend) {
  log_.Open({.segment_size = TestLog::kSegmentSize, .sync = SyncPolicy{.delay_us = 200}});
  constexpr uint64_t kEach = 4000;
  std::vector<std::thread> writers;
  for (int t = 0; t < 3; ++t) {
    writers.emplace_back([&] {
      const std::unique_ptr<Appender> appender = log_->NewAppender();
      for (uint64_t i = 0; i < kEach; ++i) {
        EXPECT_NE(appender->Append(RecordOf("some record")), 0u);
        if (i % 16 == 0) std::this_thread::yield();
      }
    });
  }
  uint64_t seen = 0;
  while (seen < 3 * kEach) {
    ASSERT_TRUE(WaitForMore(*log_.operator->(), follower_, seen));
    seen = log_->last_sequence();
  }
  for (std::thread& writer : writers) writer.join();
}

TEST_F(FollowTest, AReaderGoesOnWhereItWas) {
  log_.Open();
  log_.AppendQuarters(1, 3);
  std::unique_ptr<Reader> reader;
  ASSERT_OK(log_->NewReader({.from = 2, .to = 9}, &reader));
  std::vector<std::byte> data(TestLog::kQuarter);
  std::vector<RecordDescriptor> records(1);
  std::vector<double> seen;
  const auto read = [&] {
    ReadChunk chunk{.data = data, .records = records};
    do {
      ASSERT_OK(reader->Fill(&chunk));
      if (chunk.count != 0) seen.push_back(records[0].sequence);
    } while (chunk.count != 0);
  };
  read();
  EXPECT_EQ(seen, (std::vector<double>{2, 3}));
  log_.AppendQuarters(4, 6);
  reader->Extend(6);
  read();
  EXPECT_EQ(seen, (std::vector<double>{2, 3, 4, 5, 6}));
  log_.AppendQuarters(7, 12);
  reader->Extend(12);
  read();
  EXPECT_EQ(seen, (std::vector<double>{2, 3, 4, 5, 6, 7, 8, 9})) << "not past what the filter says";
}

// To seek where it stands already would take longer with every record since the last that the index knows.
TEST_F(FollowTest, AReaderThatGoesOnDoesNotLookAgainAtWhatItHasRead) {
  log_.Open();
  log_.Append("read before it is damaged");
  std::unique_ptr<Reader> reader;
  ASSERT_OK(log_->NewReader({.to = 9}, &reader));
  std::vector<std::byte> data(100);
  std::vector<RecordDescriptor> records(9);
  ReadChunk chunk{.data = data, .records = records};
  ASSERT_OK(reader->Fill(&chunk));
  EXPECT_EQ(chunk.count, 1u);

  std::unique_ptr<File> file;
  ASSERT_OK(log_.platform().Open(log_.SegmentPath(1), OpenMode::kReadWrite, &file));
  ASSERT_OK(file->Write(kSegmentHeaderSize + kFrameHeaderSize, BytesOf("R")));
  log_.Append("second");
  reader->Extend(2);
  ASSERT_OK(reader->Fill(&chunk));
  ASSERT_EQ(chunk.count, 1u);
  EXPECT_EQ(records[0].sequence, 2);
  std::vector<TestRecord> all;
  EXPECT_CODE(ReadRecords(log_.log(), {}, &all), kCorrupt);
}

TEST_F(FollowTest, AnotherProcessIsToldToo) {
  log_.Open();
  log_.Append("x");
  std::shared_ptr<Log> reader;
  ASSERT_OK(Log::Open(log_.platform(), log_.path(), {.read_only = true}, &reader));
  for (uint64_t i = 1; i <= 40; ++i) {  // rotations among them
    const int before = follower_.calls;
    ASSERT_EQ(reader->FollowAppends(i, &follower_), FollowOutcome::kWaiting);
    log_.AppendQuarters(i + 1, i + 1);
    EXPECT_TRUE(ComesTrue([&] { return follower_.calls > before; }));
    EXPECT_EQ(reader->last_sequence(), i + 1);
  }
  ASSERT_EQ(reader->FollowAppends(41, &follower_), FollowOutcome::kWaiting);
  const int before = follower_.calls;
  EXPECT_OK(reader->Close());
  EXPECT_EQ(follower_.calls, before + 1);
  EXPECT_EQ(reader->FollowAppends(41, &follower_), FollowOutcome::kEnded);
}

// ---- max_dirty_bytes ----------------------------------------------------------------------------------------------

class DirtyTest : public testing::Test {
 protected:
  static constexpr uint64_t kMaxDirty = 2 * TestLog::kSegmentSize;
  static LogOptions Options() {
    return {.segment_size = TestLog::kSegmentSize, .sync = SyncPolicy{.delay_us = 0}, .max_dirty_bytes = kMaxDirty};
  }
  // Appends until the log refuses; how many were taken.
  int Fill() {
    for (int i = 0;; ++i) {
      const Status refusal = log_.TryAppend(std::string(1000, 'x'));
      if (refusal.ok()) continue;
      EXPECT_CODE(refusal, kBackpressure);
      return i;
    }
  }

  TestLog log_;
};

TEST_F(DirtyTest, IsBoundedOverSegments) {
  log_.Open(Options());
  log_.platform().Hold(Operation::kSyncMapping);
  EXPECT_EQ(Fill(), kMaxDirty / 1024);
  EXPECT_LE(log_->Stats().dirty_bytes, kMaxDirty);
  EXPECT_GT(log_->Stats().dirty_bytes, kMaxDirty - 1024);
  EXPECT_GE(log_->Stats().rotations, 2u);
  log_.platform().Release();
}

TEST_F(DirtyTest, IsCountedAnewAfterEachSyncAndAfterReopening) {
  log_.Open(Options());
  for (int i = 0; i < 5; ++i) {
    log_.platform().Hold(Operation::kSyncMapping);
    EXPECT_EQ(Fill(), kMaxDirty / 1024) << i;
    log_.platform().Release();
    log_.Sync();
    if (i % 2 == 1) {
      log_.Kill();
      log_.Open(Options());
    }
  }
}

TEST_F(DirtyTest, ARefusedAppendHasAskedForTheSyncThatMakesRoom) {
  log_.Open(Options());
  Fill();
  EXPECT_TRUE(ComesTrue([&] { return log_.TryAppend("x").ok(); }));
}

TEST_F(DirtyTest, IsNoBoundWhenThereIsNone) {
  LogOptions options = Options();
  options.max_dirty_bytes = UINT64_MAX;
  log_.Open(options);
  log_.platform().Hold(Operation::kSyncMapping);
  for (uint64_t i = 0; i <= kMaxDirty / 1024; ++i) log_.Append(std::string(1000, 'x'));
  EXPECT_GT(log_->Stats().dirty_bytes, kMaxDirty);
  log_.platform().Release();
}

// ---- what a policy allows -----------------------------------------------------------------------------------------

TEST(SyncPolicyTest, SyncsWhenSoManyRecordsOrBytesAreExpected) {
  constexpr uint64_t kNever = uint64_t{3'600'000'000};
  TestLog log;
  log.Open({.segment_size = TestLog::kSegmentSize,
            .sync = SyncPolicy{.delay_us = kNever, .max_records = 3, .max_bytes = 4096}});
  log.Append("1");
  log.Append("2");
  EXPECT_OK(log->ExpectDurable(2));
  std::this_thread::sleep_for(std::chrono::milliseconds(30));
  EXPECT_EQ(log->durable_sequence(), 0u);
  log.Append("3");
  EXPECT_OK(log->ExpectDurable(3));
  EXPECT_TRUE(ComesTrue([&] { return log->durable_sequence() == 3; }));
  log.Append(std::string(5000, 'x'));
  EXPECT_OK(log->ExpectDurable(4));
  EXPECT_TRUE(ComesTrue([&] { return log->durable_sequence() == 4; }));
}

}  // namespace
}  // namespace segwal
