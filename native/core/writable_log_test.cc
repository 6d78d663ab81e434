// The life of a log: opening, rotating, truncating, closing, and what is left afterwards.
#include "core/writable_log.h"

#include <gtest/gtest.h>

#include <atomic>
#include <filesystem>
#include <thread>

#include "testing/assertions.h"
#include "testing/files.h"
#include "testing/process_resources.h"
#include "testing/stepped_log.h"
#include "testing/test_log.h"
#include "testing/waiting.h"

namespace segwal {
namespace {

class WritableLogTest : public testing::Test {
 protected:
  LogMeta Meta() {
    SectorState state = SectorState::kAbsent;
    LogMeta meta;
    EXPECT_OK(log_.layout().ReadMeta(&state, &meta));
    EXPECT_EQ(state, SectorState::kValid);
    return meta;
  }

  TestLog log_;
};

// ---- opening
// ------------------------------------------------------------------------------------------------------------

TEST_F(WritableLogTest, ANewLogHasAnIdentityAndAFirstSegment) {
  log_.Open();
  EXPECT_FALSE(log_->read_only());
  EXPECT_EQ(log_->segment_size(), TestLog::kSegmentSize);
  EXPECT_EQ(log_->max_frame_size(), TestLog::kSegmentSize - kSegmentHeaderSize);
  EXPECT_EQ(log_->last_sequence(), 0u);
  EXPECT_EQ(log_->appended_sequence(), 0u);
  EXPECT_EQ(Meta().first_segment, 1u);
  EXPECT_NE(Meta().log_id, LogId{});
  EXPECT_EQ(log_->Segments().size(), 1u);
}

TEST_F(WritableLogTest, OpensWithTheFirstPieceOfAWindowAndTouchesTheRestBehindIt) {
  const LogOptions options{.segment_size = uint64_t{64} << 20, .sync = SyncPolicy{.delay_us = 0}};
  for (const char* const what : {"a new log", "an old one"}) {
    SCOPED_TRACE(what);
    std::atomic<uint64_t> first = 0;
    std::atomic<uint64_t> end = 0;
    std::atomic<int> odd = 0;
    log_.platform().Watch([&](const Call& call) {
      if (call.operation == Operation::kPopulate && call.path.ends_with("wal-000001.log")) {
        const uint64_t reaches = call.offset + call.length;
        if (first == 0) {
          first = call.length;
        } else if (reaches % WriterState::kWindowStep > kPageSize) {
          ++odd;
        }
        end = std::max(end.load(), reaches);
      }
    });
    log_.platform().Hold(Operation::kPopulate, 2);
    ASSERT_OK(log_.TryOpen(options)) << "or else more than one piece is waited for";
    EXPECT_LE(first, WriterState::kWindowStep + kPageSize);
    log_.platform().Release();
    EXPECT_TRUE(ComesTrue([&] { return end > WriterState::kWindow + kPageSize; })) << "nobody has to append for it";
    EXPECT_EQ(odd, 0) << "what lies around a step may be dropped from memory, and has to be written for it";
    log_.Append(std::string(100'000, 'x'));  // so that it is an old one
    log_.Close();
    log_.platform().Watch(nullptr);
  }
}

TEST_F(WritableLogTest, IsNotMadeWhenItShouldBeThere) {
  EXPECT_CODE(log_.TryOpen({.segment_size = TestLog::kSegmentSize, .create = false}), kNotFound);
  EXPECT_TRUE(log_.SegmentIds().empty());
  log_.Open();
  log_.Close();
  EXPECT_OK(log_.TryOpen({.segment_size = TestLog::kSegmentSize, .create = false}));
}

TEST_F(WritableLogTest, HasOneWriter) {
  log_.Open();
  std::shared_ptr<Log> second;
  const Status status = Log::Open(log_.platform(), log_.path(), TestLog::Options(), &second);
  EXPECT_CODE(status, kLocked);
  EXPECT_TRUE(Mentions(status, "pid " + std::to_string(log_.platform().ProcessId())));
  EXPECT_EQ(log_.Append("the first one goes on"), 1u);
  log_.Close();
  EXPECT_OK(Log::Open(log_.platform(), log_.path(), TestLog::Options(), &second));
}

TEST_F(WritableLogTest, AnOpenThatFailedLetsGoOfTheLock) {
  log_.Open();
  log_.Close();
  for (Operation operation : {Operation::kRead, Operation::kMap, Operation::kPopulate, Operation::kSyncMapping}) {
    log_.platform().FailOnce(operation, Status(ErrorCode::kIo, "injected"));
    EXPECT_CODE(log_.TryOpen(), kIo) << "operation " << int(operation);
  }
  EXPECT_OK(log_.TryOpen());
}

TEST_F(WritableLogTest, AnEmptyFolderThatWasLostIsMadeAgain) {
  log_.Open();
  log_.Append("x");
  log_.Close();
  std::filesystem::remove(log_.layout().QuarantinePath());
  EXPECT_OK(log_.TryOpen({.segment_size = 0, .create = false}));
  EXPECT_TRUE(std::filesystem::is_directory(log_.layout().QuarantinePath()));
}

TEST_F(WritableLogTest, NumbersGoOnFromOpenToOpen) {
  for (uint64_t sequence = 1; sequence <= 5; ++sequence) {
    log_.Open();
    EXPECT_EQ(log_->last_sequence(), sequence - 1);
    EXPECT_EQ(log_.Append("x"), sequence);
    if (sequence % 2 == 0) {
      log_.Close();
    } else {
      log_.Kill();
    }
  }
}

// ---- rotating
// -------------------------------------------------------------------------------------------------------------

TEST_F(WritableLogTest, RotatesOnRequest) {
  log_.Open();
  log_.Append("one");
  ASSERT_OK(log_->Rotate());
  log_.Append("two");
  const std::vector<SegmentInfo> segments = log_->Segments();
  ASSERT_EQ(segments.size(), 2u);
  EXPECT_TRUE(segments[0].sealed);
  EXPECT_EQ(segments[0].last_sequence, 1u);
  EXPECT_EQ(segments[1].first_sequence, 2u);
  EXPECT_EQ(segments[1].last_sequence, 2u);
  EXPECT_EQ(log_->Stats().rotations, 1u);
}

TEST_F(WritableLogTest, DoesNotRotateAnEmptySegment) {
  log_.Open();
  ASSERT_OK(log_->Rotate());
  log_.Append("one");
  ASSERT_OK(log_->Rotate());
  ASSERT_OK(log_->Rotate());
  EXPECT_EQ(log_->Segments().size(), 2u);
}

TEST_F(WritableLogTest, RotatesWhileOthersAppend) {
  log_.Open();
  std::atomic<bool> done{false};
  std::thread rotator([&] {
    while (!done) EXPECT_OK(log_->Rotate());
  });
  for (uint64_t sequence = 1; sequence <= 300; ++sequence) EXPECT_EQ(log_.Append("x"), sequence);
  done = true;
  rotator.join();
  EXPECT_EQ(log_.Data().size(), 300u);
  log_.Close();
  log_.Open();
  EXPECT_EQ(log_.Data().size(), 300u);
}

// ---- truncating
// -----------------------------------------------------------------------------------------------------------

TEST_F(WritableLogTest, TruncatesWholeSegmentsBeforeASequence) {
  log_.Open();
  log_.AppendQuarters(1, 14);
  ASSERT_OK(log_->TruncateBefore(8));
  EXPECT_EQ(log_->first_sequence(), 5u) << "8 stands in the segment that begins with 5";
  EXPECT_EQ(log_->Segments().front().id, 2u);
  EXPECT_FALSE(std::filesystem::exists(log_.SegmentPath(1)));
  ASSERT_OK(log_->TruncateBefore(9));
  EXPECT_EQ(log_->first_sequence(), 9u);
  EXPECT_EQ(log_.Data().size(), 6u);
}

TEST_F(WritableLogTest, NeverTruncatesTheActiveSegment) {
  log_.Open();
  log_.AppendQuarters(1, 6);
  ASSERT_OK(log_->TruncateBefore(UINT64_MAX));
  EXPECT_EQ(log_->first_sequence(), 5u);
  EXPECT_EQ(log_.Data().size(), 2u);
  EXPECT_EQ(log_.Append("x"), 7u);
}

TEST_F(WritableLogTest, TruncatingBeforeTheBeginningDoesNothing) {
  log_.Open();
  log_.AppendQuarters(1, 6);
  ASSERT_OK(log_->TruncateBefore(0));
  ASSERT_OK(log_->TruncateBefore(4));
  EXPECT_EQ(log_.Data().size(), 6u);
}

TEST_F(WritableLogTest, ATruncatedLogIsTheSameAfterReopening) {
  log_.Open();
  log_.AppendQuarters(1, 14);
  ASSERT_OK(log_->TruncateBefore(9));
  log_.Kill();
  log_.Open();
  EXPECT_EQ(log_->first_sequence(), 9u);
  EXPECT_EQ(log_.Data().size(), 6u);
  EXPECT_TRUE(log_->recovery().findings.empty());
}

TEST_F(WritableLogTest, MetaSaysWhatIsKeptBeforeTheFirstFileGoes) {
  for (const LogOptions& options : {TestLog::WithoutRecycling(), TestLog::Options()}) {
    TestLog log;
    log.Open(options);
    log.AppendQuarters(1, 14);
    bool removed = false;
    log.platform().Watch([&](const Call& call) {
      const bool deleted = call.operation == Operation::kRemove && call.path.find("/segments/") != std::string::npos;
      const bool kept = call.operation == Operation::kRename && call.path.find("recyclable") != std::string::npos;
      if (!deleted && !kept) return;
      removed = true;
      SectorState state = SectorState::kAbsent;
      LogMeta meta;
      EXPECT_OK(LogDirectory(Platform::Default(), log.path()).ReadMeta(&state, &meta));
      EXPECT_EQ(meta.first_segment, 3u);
      EXPECT_EQ(meta.first_sequence, 9u);
    });
    ASSERT_OK(log->TruncateBefore(9));
    log.platform().Watch(nullptr);
    EXPECT_TRUE(removed);
  }
}

TEST_F(WritableLogTest, WhatStaysIsDurableBeforeAnythingGoes) {
  log_.Open();
  log_.AppendQuarters(1, 6);
  ASSERT_OK(log_->TruncateBefore(5));
  EXPECT_GE(log_->durable_sequence(), 4u);
  log_.Kill();
  log_.Edit(2, [](SegmentFile& segment) { EXPECT_EQ(segment.identity().base_sequence, 5u); });
}

// A segment can be durable to its end and have no seal yet. Without its file the syncer would fail to write that.
TEST(TruncateBeforeTest, ASegmentIsSealedBeforeItGoes) {
  TemporaryDirectory directory;
  FaultPlatform platform;
  SteppedLog log;
  ASSERT_OK(log.Open(platform, directory.path(), TestLog::Options()));
  const auto append = [&log](uint64_t sequence) {
    EXPECT_EQ(log.Append({RecordOf(TestLog::QuarterRecord(sequence))}, false), sequence);
  };
  for (uint64_t sequence = 1; sequence <= 4; ++sequence) append(sequence);
  ASSERT_OK(log.Sync());
  append(5);  // in the next segment
  ASSERT_OK(log.log().TruncateBefore(5));
  EXPECT_EQ(log.log().first_sequence(), 5u);
  append(6);
  EXPECT_OK(log.Sync());
}

TEST_F(WritableLogTest, AnInterruptedTruncationIsCarriedToItsEnd) {
  for (int nth = 1; nth <= 2; ++nth) {
    TestLog log;
    log.Open(TestLog::WithoutRecycling());
    log.AppendQuarters(1, 14);
    // The first file that is removed is the temporary one of wal.meta, from the time before.
    log.platform().FailFrom(Operation::kRemove, Status(ErrorCode::kIo, "injected"), nth + 1);
    EXPECT_CODE(log->TruncateBefore(9), kIo);
    log.Kill();
    log.platform().Heal();
    ASSERT_OK(log.TryOpen());
    EXPECT_EQ(log->first_sequence(), 9u);
    EXPECT_EQ(log.Data().size(), 6u);
    EXPECT_TRUE(log->recovery().findings.empty());
    EXPECT_FALSE(std::filesystem::exists(log.SegmentPath(1)));
    EXPECT_FALSE(std::filesystem::exists(log.SegmentPath(2)));
  }
}

TEST_F(WritableLogTest, ATruncationThatCouldNotBeNotedTakesNothingAway) {
  log_.Open();
  log_.AppendQuarters(1, 14);
  for (Operation operation : {Operation::kWrite, Operation::kSyncFile, Operation::kRename}) {
    log_.Sync();
    TestLog& log = log_;
    // Spares are made in the background with some of the same calls; only those on the file of wal.meta are to fail.
    EXPECT_TRUE(ComesTrue([&log] {
      const LogStats stats = log->Stats();
      return stats.disk_bytes > stats.segments * TestLog::kSegmentSize;
    }));
    log_.platform().FailOnce(operation, Status(ErrorCode::kIo, "injected"));
    EXPECT_CODE(log_->TruncateBefore(9), kIo) << "operation " << int(operation);
    EXPECT_EQ(log_->first_sequence(), 1u);
    EXPECT_EQ(log_.Data().size(), 14u);
  }
  EXPECT_OK(log_->TruncateBefore(9));
}

// ---- what it says of itself
// -------------------------------------------------------------------------------------------------

TEST_F(WritableLogTest, StatsCountFramesRecordsAndBytesOfThisOpen) {
  log_.Open();
  log_.Append("12345678");
  log_.Kill();
  log_.Open();
  log_.Append("12345678");
  log_.AppendBatch({"a", "b"});
  const LogStats stats = log_->Stats();
  EXPECT_EQ(stats.appends, 2u);
  EXPECT_EQ(stats.records, 3u);
  EXPECT_EQ(stats.bytes, 32u + 48u);
  EXPECT_EQ(stats.dirty_bytes, 80u);
  EXPECT_EQ(stats.first_sequence, 1u);
  EXPECT_EQ(stats.last_sequence, 4u);
  EXPECT_EQ(stats.durable_sequence, 1u);
  EXPECT_EQ(stats.segments, 1u);
}

TEST_F(WritableLogTest, SegmentsKnowTheirTimes) {
  log_.Open();
  const uint64_t time = log_.platform().Now() + 1'000'000;
  log_.platform().SetTime(time);
  log_.Append("a");
  log_.platform().SetTime(time + 500);
  log_.Append("b");
  const SegmentInfo info = log_->Segments()[0];
  EXPECT_EQ(info.first_time_us, time);
  EXPECT_EQ(info.last_time_us, time + 500);
  EXPECT_EQ(info.bytes, kSegmentHeaderSize + 64);
  EXPECT_EQ(info.capacity, TestLog::kSegmentSize);
  log_.Kill();
  log_.Open();
  EXPECT_EQ(log_->Segments()[0].first_time_us, time) << "after recovery";
  EXPECT_EQ(log_->Segments()[0].last_time_us, time + 500);
}

// ---- closing
// --------------------------------------------------------------------------------------------------------------

TEST_F(WritableLogTest, ClosingMakesEverythingDurable) {
  log_.Open();
  log_.AppendQuarters(1, 6);
  log_.Close();
  SegmentFile last(log_.SegmentPath(2));
  EXPECT_EQ(LoadMark(last.data(), last.identity()), 6u);
  EXPECT_EQ(LoadOrderlyEnd(last.data(), last.identity()), last.FrameAt(3));
}

TEST_F(WritableLogTest, ClosingTwiceIsClosingOnce) {
  log_.Open();
  log_.Append("x");
  EXPECT_OK(log_->Close());
  EXPECT_OK(log_->Close());
  log_->Abandon();
  EXPECT_OK(log_->Close());
}

TEST_F(WritableLogTest, ACloseThatFailsClosesAllTheSame) {
  log_.Open();
  log_.Append("x");
  log_.platform().FailFrom(Operation::kSyncMapping, Status(ErrorCode::kIo, "injected"));
  EXPECT_CODE(log_->Close(), kPoisoned);
  log_.platform().Heal();
  std::shared_ptr<Log> again;
  EXPECT_OK(Log::Open(log_.platform(), log_.path(), TestLog::Options(), &again));
  EXPECT_EQ(again->last_sequence(), 1u);
}

TEST_F(WritableLogTest, AReaderOutlivesTheLog) {
  log_.Open();
  log_.AppendQuarters(1, 6);
  std::unique_ptr<Reader> reader;
  ASSERT_OK(log_->NewReader({}, &reader));
  std::vector<std::byte> data(TestLog::kQuarter);
  std::vector<RecordDescriptor> records(1);
  ReadChunk chunk{.data = data, .records = records};
  ASSERT_OK(reader->Fill(&chunk));
  EXPECT_EQ(chunk.count, 1u);
  EXPECT_OK(log_->Close());
  reader->Close();
  ASSERT_OK(reader->Fill(&chunk));
  EXPECT_EQ(chunk.count, 0u);
}

// ---- nothing is left
// ------------------------------------------------------------------------------------------------------

TEST_F(WritableLogTest, NothingIsLeftOfAClosedLog) {
  if (!ProcessResources::CanBeCounted()) GTEST_SKIP() << "needs /proc";
  const ProcessResources before = ProcessResources::Baseline(log_.path());
  for (bool orderly : {true, false}) {
    log_.Open({.segment_size = TestLog::kSegmentSize, .sync = SyncPolicy{.delay_us = 100}});
    log_.AppendQuarters(log_->last_sequence() + 1, log_->last_sequence() + 10);
    EXPECT_EQ(log_.Data().size(), log_->last_sequence());
    const ProcessResources open = ProcessResources::Of(log_.path());
    EXPECT_GT(open.threads, before.threads);
    EXPECT_GT(open.descriptors, 0u);
    EXPECT_GT(open.mappings, 0u);
    if (orderly) {
      log_.Close();
    } else {
      log_.Kill();
    }
    EXPECT_EQ(ProcessResources::Settled(log_.path(), before), before) << (orderly ? "closed" : "abandoned");
  }
}

TEST_F(WritableLogTest, NothingIsLeftOfAnOpenThatFailed) {
  if (!ProcessResources::CanBeCounted()) GTEST_SKIP() << "needs /proc";
  log_.Open();
  log_.AppendQuarters(1, 6);
  log_.Kill();
  const ProcessResources before = ProcessResources::Baseline(log_.path());
  for (Operation operation :
       {Operation::kLock, Operation::kRead, Operation::kMap, Operation::kPopulate, Operation::kSyncMapping}) {
    log_.platform().FailOnce(operation, Status(ErrorCode::kIo, "injected"));
    EXPECT_FALSE(log_.TryOpen().ok());
    EXPECT_EQ(ProcessResources::Settled(log_.path(), before), before) << "operation " << int(operation);
  }
}

TEST_F(WritableLogTest, TruncatedSegmentsAreUnmappedOnceNobodyReadsThem) {
  if (!ProcessResources::CanBeCounted()) GTEST_SKIP() << "needs /proc";
  log_.Open();
  log_.AppendQuarters(1, 14);
  EXPECT_EQ(log_.Data().size(), 14u);
  ASSERT_OK(log_->TruncateBefore(13));
  log_.Append("lets go of what it held");
  EXPECT_TRUE(ComesTrue([&] { return ProcessResources::Of(log_.SegmentPath(1)).mappings == 0; }));
  EXPECT_TRUE(ComesTrue([&] { return ProcessResources::Of(log_.SegmentPath(3)).mappings == 0; }));
}

}  // namespace
}  // namespace segwal
