#include <gtest/gtest.h>

#include <algorithm>
#include <atomic>
#include <mutex>
#include <thread>

#include "core/checkpoints.h"
#include "core/log.h"
#include "platform/thread_sanitizer.h"
#include "testing/assertions.h"
#include "testing/files.h"
#include "testing/test_log.h"
#include "testing/waiting.h"

namespace segwal {
namespace {

#if defined(SEGWAL_THREAD_SANITIZER)
constexpr bool kThreadSanitizer = true;
#else
constexpr bool kThreadSanitizer = false;
#endif

std::vector<std::string> Quarters(uint64_t first, uint64_t last) {
  std::vector<std::string> records;
  for (uint64_t sequence = first; sequence <= last; ++sequence) records.push_back(TestLog::QuarterRecord(sequence));
  return records;
}

void ExpectWhole(TestLog& log) {
  VerifyReport report;
  ASSERT_OK(log->Verify({.concurrency = 1}, &report));
  EXPECT_TRUE(report.ok) << (report.findings.empty() ? "" : report.findings[0].action);
  EXPECT_TRUE(report.findings.empty());
}

// Closed and opened, killed and opened, and after a restart of the machine: always the same log.
void ExpectToStay(TestLog& log, const std::vector<std::string>& data) {
  EXPECT_EQ(log.Data(), data);
  ExpectWhole(log);
  log.Kill();
  log.Open();
  EXPECT_EQ(log.Data(), data);
  log.Close();
  log.Open();
  EXPECT_TRUE(log->recovery().clean);
  EXPECT_EQ(log.Data(), data);
  log.Kill();
  log.Reboot();
  log.Open();
  EXPECT_EQ(log.Data(), data);
  ExpectWhole(log);
}

TEST(TruncateAfterTest, EndsTheLogExactlyThere) {
  for (const uint64_t end : {9, 8, 7, 5, 4, 1, 0}) {
    TestLog log;
    log.Open();
    log.AppendQuarters(1, 10);
    ASSERT_OK(log->TruncateAfter(end));
    EXPECT_EQ(log->last_sequence(), end);
    EXPECT_EQ(log->durable_sequence(), end);
    EXPECT_EQ(log->appended_sequence(), end);
    ExpectToStay(log, Quarters(1, end));
  }
}

TEST(TruncateAfterTest, HandsTheNumbersOutAgain) {
  for (const uint64_t end : {9, 7, 3, 0}) {
    TestLog log;
    log.Open();
    log.AppendQuarters(1, 10);
    ASSERT_OK(log->TruncateAfter(end));
    std::vector<std::string> data = Quarters(1, end);
    for (uint64_t i = 1; i <= 9; ++i) {
      data.push_back("again " + std::to_string(end + i));
      data.back().resize(TestLog::kQuarter, 'z');
      EXPECT_EQ(log.Append(data.back()), end + i);
    }
    log.Sync();
    EXPECT_EQ(log->durable_sequence(), end + 9);
    ExpectToStay(log, data);
  }
}

// The records behind have the salt of the segment and the index that is due: only that they are gone helps.
TEST(TruncateAfterTest, WhatWasDroppedNeverComesBackBehindNewRecords) {
  for (const bool sealed : {false, true}) {
    TestLog log;
    log.Open();
    for (int i = 0; i < 100; ++i) log.Append("old record of one size");
    if (sealed) {
      ASSERT_OK(log->Rotate());
      log.Append("in the next segment");
    }
    ASSERT_OK(log->TruncateAfter(50));
    EXPECT_EQ(log.Append("new record of one size"), 51u);
    log.Sync();
    log.Kill();
    log.Reboot();
    log.Open();
    const std::vector<std::string> data = log.Data();
    ASSERT_EQ(data.size(), 51u);
    EXPECT_EQ(data.back(), "new record of one size");
    EXPECT_EQ(log->recovery().findings.size(), 0u);
  }
}

TEST(TruncateAfterTest, RemovesTheSegmentsBehind) {
  TestLog log;
  log.Open();
  log.AppendQuarters(1, 18);
  ASSERT_OK(log->TruncateAfter(6));
  log.Close();
  EXPECT_EQ(log.SegmentIds(), (std::vector<uint64_t>{1, 2}));
}

TEST(TruncateAfterTest, DoesNothingAtOrBehindTheEnd) {
  TestLog log;
  log.Open();
  log.AppendQuarters(1, 3);
  ASSERT_OK(log->TruncateAfter(3));
  ASSERT_OK(log->TruncateAfter(300));
  EXPECT_EQ(log->truncations(), 0u);
  EXPECT_EQ(log.Data(), Quarters(1, 3));
}

TEST(TruncateAfterTest, RefusesTheInsideOfABatchAndNamesIt) {
  TestLog log;
  log.Open();
  log.Append("one");
  log.AppendBatch({"two", "three", "four"});
  log.Append("five");
  for (const uint64_t inside : {2, 3}) {
    const Status status = log->TruncateAfter(inside);
    EXPECT_CODE(status, kInsideBatch);
    EXPECT_TRUE(Mentions(status, "records 2 to 4 are one batch"));
    EXPECT_EQ(status.location().first_sequence, 2u);
    EXPECT_EQ(status.location().last_sequence, 4u);
  }
  EXPECT_EQ(log.Append("six"), 6u) << "and nothing happened";
  ASSERT_OK(log->TruncateAfter(4));
  EXPECT_EQ(log.Data(), (std::vector<std::string>{"one", "two", "three", "four"}));
  ASSERT_OK(log->TruncateAfter(1));
  ExpectToStay(log, {"one"});
}

TEST(TruncateAfterTest, RefusesWhatIsGone) {
  TestLog log;
  log.Open();
  log.AppendQuarters(1, 10);
  ASSERT_OK(log->TruncateBefore(5));
  EXPECT_CODE(log->TruncateAfter(3), kTruncated);
  ASSERT_OK(log->TruncateAfter(4));
  EXPECT_EQ(log->last_sequence(), 4u);
  EXPECT_EQ(log->first_sequence(), 5u);
  EXPECT_EQ(log.Append("five again"), 5u);
  ExpectToStay(log, {"five again"});
}

TEST(TruncateAfterTest, RemovesCheckpointsOfWhatIsDropped) {
  TestLog log;
  log.Open();
  log.AppendQuarters(1, 10);
  Checkpoint made;
  ASSERT_OK(log->CreateCheckpoint(4, std::nullopt, &made));
  ASSERT_OK(log->CreateCheckpoint(8, std::nullopt, &made));
  ASSERT_OK(log->TruncateAfter(7));
  std::vector<Checkpoint> checkpoints;
  ASSERT_OK(log->Checkpoints(&checkpoints));
  ASSERT_EQ(checkpoints.size(), 1u);
  EXPECT_EQ(checkpoints[0].sequence, 4u);
  EXPECT_EQ(NamesIn(log.layout().CheckpointsPath()), std::vector<std::string>{"checkpoint-4.meta"});
}

TEST(TruncateAfterTest, AReaderThatWouldGoFurtherIsTold) {
  TestLog log;
  log.Open();
  log.AppendQuarters(1, 10);
  std::unique_ptr<Reader> to_the_end;
  std::unique_ptr<Reader> not_so_far;
  ASSERT_OK(log->NewReader({}, &to_the_end));
  ASSERT_OK(log->NewReader({.to = 6}, &not_so_far));
  ASSERT_OK(log->TruncateAfter(6));
  for (int i = 0; i < 6; ++i) log.Append("again");
  std::vector<std::byte> data(TestLog::kSegmentSize);
  std::array<RecordDescriptor, 1> descriptors;
  ReadChunk chunk{.data = data, .records = descriptors};
  for (uint64_t sequence = 1; sequence <= 6; ++sequence) {
    for (const auto& reader : {&to_the_end, &not_so_far}) {
      ASSERT_OK((*reader)->Fill(&chunk));
      ASSERT_EQ(chunk.count, 1u);
      EXPECT_EQ(descriptors[0].sequence, static_cast<double>(sequence));
    }
  }
  const Status status = to_the_end->Fill(&chunk);
  EXPECT_CODE(status, kTruncated);
  EXPECT_TRUE(Mentions(status, "truncated behind record 6"));
  EXPECT_CODE(to_the_end->Fill(&chunk), kTruncated);
  ASSERT_OK(not_so_far->Fill(&chunk));
  EXPECT_EQ(chunk.count, 0u);
}

TEST(TruncateAfterTest, AReaderBackwardsGoesOnWithWhatIsLeft) {
  TestLog log;
  log.Open();
  log.AppendQuarters(1, 10);
  std::unique_ptr<Reader> behind;
  std::unique_ptr<Reader> before;
  ASSERT_OK(log->NewReader({.reverse = true}, &behind));
  ASSERT_OK(log->NewReader({.to = 5, .reverse = true}, &before));
  ASSERT_OK(log->TruncateAfter(6));
  std::vector<std::byte> data(TestLog::kSegmentSize);
  std::array<RecordDescriptor, 1> descriptors;
  ReadChunk chunk{.data = data, .records = descriptors};
  EXPECT_CODE(behind->Fill(&chunk), kTruncated);
  for (uint64_t sequence = 5; sequence >= 1; --sequence) {
    ASSERT_OK(before->Fill(&chunk));
    ASSERT_EQ(chunk.count, 1u);
    EXPECT_EQ(descriptors[0].sequence, static_cast<double>(sequence));
  }
  ASSERT_OK(before->Fill(&chunk));
  EXPECT_EQ(chunk.count, 0u);
}

TEST(TruncateAfterTest, AnotherProcessIsTold) {
  TestLog log;
  log.Open();
  log.AppendQuarters(1, 10);
  std::shared_ptr<Log> other;
  ASSERT_OK(Log::Open(log.platform(), log.path(), {.read_only = true}, &other));
  std::unique_ptr<Reader> reader;
  ASSERT_OK(other->NewReader({}, &reader));
  std::vector<std::byte> data(TestLog::kSegmentSize);
  std::array<RecordDescriptor, 1> descriptors;
  ReadChunk chunk{.data = data, .records = descriptors};
  for (int i = 0; i < 6; ++i) ASSERT_OK(reader->Fill(&chunk));
  ASSERT_OK(log->TruncateAfter(7));
  log.Append("eight again");
  ASSERT_OK(reader->Fill(&chunk));
  EXPECT_EQ(chunk.count, 1u);
  EXPECT_CODE(reader->Fill(&chunk), kTruncated);
  EXPECT_EQ(other->last_sequence(), 8u);
  EXPECT_EQ(DataOf(*other, {.from = 8}), std::vector<std::string>{"eight again"});
  ASSERT_OK(log->TruncateAfter(2));
  EXPECT_EQ(other->last_sequence(), 2u);
  EXPECT_EQ(DataOf(*other), Quarters(1, 2));
  ASSERT_OK(other->Close());
}

TEST(TruncateAfterTest, WhoeverWaitsForDurabilityIsNotLeftWaiting) {
  TestLog log;
  log.Open();
  log.AppendQuarters(1, 10);
  std::thread waiter([&] { EXPECT_OK(log->WaitDurable(10)); });
  ASSERT_OK(log->TruncateAfter(3));
  waiter.join();
}

// Each failing call of the whole truncation, one after the other: then the log has its old end, or it is poisoned and
// the next open gives it the new one or the old.
TEST(TruncateAfterTest, AFailureLeavesTheOldEndOrTheNew) {
  for (const Operation operation : {Operation::kOpen, Operation::kWrite, Operation::kSyncFile, Operation::kRename,
                                    Operation::kSyncDirectory, Operation::kRemove, Operation::kZero, Operation::kMap,
                                    Operation::kSyncMapping, Operation::kPopulate, Operation::kList}) {
    for (const uint64_t end : {9, 6}) {
      for (int nth = 1; nth < 40; ++nth) {
        TestLog log;
        log.Open();
        log.AppendQuarters(1, 10);
        log.Sync();
        const int before = log.platform().CallsOf(operation);
        log.platform().FailOnce(operation, Status(ErrorCode::kIo, "injected", 5), nth);
        const Status status = log->TruncateAfter(end);
        const bool reached = log.platform().CallsOf(operation) - before >= nth;
        log.platform().Heal();
        std::vector<std::string> data = Quarters(1, status.ok() ? end : 10);
        if (status.ok() || status.code() != ErrorCode::kPoisoned) {
          EXPECT_EQ(log.Data(), data) << nth;
          data.push_back("and on");
          EXPECT_EQ(log.Append("and on"), data.size());
        }
        log.Kill();
        log.Open();
        if (status.code() == ErrorCode::kPoisoned) {
          EXPECT_TRUE(log.Data() == Quarters(1, end) || log.Data() == Quarters(1, 10)) << nth;
          const uint64_t next = log->last_sequence() + 1;
          EXPECT_EQ(log.Append("and on"), next);
        } else {
          EXPECT_EQ(log.Data(), data) << nth;
        }
        ExpectWhole(log);
        log.Close();
        if (!reached) break;
      }
    }
  }
}

// What was noted of the window before is still so.
TEST(TruncateAfterTest, TheWindowOfTheActiveSegmentMovesAheadAsBefore) {
  constexpr uint64_t kMiB = uint64_t{1} << 20;
  TestLog log;
  std::atomic<uint64_t> end = 0;
  log.platform().Watch([&](const Call& call) {
    if (call.operation == Operation::kPopulate && call.path.ends_with("wal-000001.log")) {
      end = std::max(end.load(), call.offset + call.length);
    }
  });
  ASSERT_OK(log.TryOpen({.segment_size = 64 * kMiB, .sync = SyncPolicy{.delay_us = 0}}));
  log.Append("the first");
  log.Append("the second");
  EXPECT_TRUE(ComesTrue([&] { return end > WriterState::kWindow; }));
  ASSERT_OK(log->TruncateAfter(1));
  const std::string mebibyte(kMiB - kFrameHeaderSize, 'x');
  for (int i = 0; i < 12; ++i) log.Append(mebibyte);
  EXPECT_TRUE(ComesTrue([&] { return end > WriterState::kWindow + 8 * kMiB; })) << "only whoever is at its end asks";
  log.Close();
}

// Threads append on and on while the end is taken away again and again.
TEST(TruncateAfterTest, AppendsGoOnBesideIt) {
  TestLog log;
  log.Open();
  log.Append("the first");
  std::atomic<bool> stop{false};
  std::vector<std::thread> writers;
  for (int i = 0; i < 2; ++i) {
    writers.emplace_back([&] {
      const std::unique_ptr<Appender> appender = log->NewAppender();
      while (!stop) {
        if (appender->Append(RecordOf("a record that is appended beside a truncation")) == 0) {
          EXPECT_CODE(appender->failure(), kBackpressure);
        }
      }
    });
  }
  // What is read while it is taken away is thrown away again (Reader::CheckCuts), which the thread sanitizer cannot
  // know: there the two take turns.
  std::mutex turns;
  const auto turn = [&turns] { return kThreadSanitizer ? std::unique_lock(turns) : std::unique_lock<std::mutex>(); };
  std::thread reader([&] {
    while (!stop) {
      std::vector<TestRecord> records;
      const Status status = [&] {
        const std::unique_lock mine = turn();
        return ReadRecords(log.log(), {}, &records);
      }();
      EXPECT_TRUE(status.ok() || status.code() == ErrorCode::kTruncated) << status.message();
      for (size_t i = 0; i < records.size(); ++i) {
        ASSERT_EQ(records[i].sequence, i + 1);
        ASSERT_EQ(records[i].data, i == 0 ? "the first" : "a record that is appended beside a truncation");
      }
    }
  });
  for (int i = 0; i < 60; ++i) {
    const std::unique_lock mine = turn();
    const uint64_t last = log->last_sequence();
    ASSERT_OK(log->TruncateAfter(1 + last * static_cast<uint64_t>(i % 4) / 4));
  }
  stop = true;
  for (std::thread& writer : writers) writer.join();
  reader.join();
  const uint64_t last = log->last_sequence();
  ExpectWhole(log);
  log.Close();
  log.Open();
  EXPECT_EQ(log->last_sequence(), last);
}

}  // namespace
}  // namespace segwal
