#include "core/compaction.h"

#include <gtest/gtest.h>

#include <filesystem>
#include <map>
#include <random>
#include <thread>

#include "core/log.h"
#include "testing/assertions.h"
#include "testing/files.h"
#include "testing/test_log.h"
#include "testing/waiting.h"

namespace segwal {
namespace {

struct Put {
  std::optional<std::string> key;
  std::string data;
  uint8_t kind = 0;

  RecordView view() const {
    RecordView record{.data = BytesOf(data), .kind = kind};
    if (key) record.key = BytesOf(*key);
    return record;
  }
};

// There a file that somebody has mapped can neither be cut short nor be replaced.
constexpr bool kOnWindows = std::filesystem::path::preferred_separator == '\\';

// On Windows a segment that an appender holds cannot be replaced. The binding lets go of it before it compacts.
Status RotateAndLetGo(TestLog& log) {
  SEGWAL_TRY(log->Rotate());
  log.appender().LetGoOfSealed();
  return Status::Ok();
}

class CompactionTest : public testing::Test {
 protected:
  void SetUp() override { log_.Open(); }

  uint64_t Write(const std::string& key, const std::string& data, uint8_t kind = 0) {
    return log_.Append(Put{key, data, kind}.view());
  }
  uint64_t Delete(const std::string& key) { return Write(key, "", kKindDelete); }
  uint64_t Batch(const std::vector<Put>& puts) {
    std::vector<RecordView> records;
    for (const Put& put : puts) records.push_back(put.view());
    return log_.appender().AppendBatch(records);
  }
  uint64_t Squeezed(uint32_t count) { return log_.appender().AppendCompressed(3, count, 4096, BytesOf("squeezed")); }
  void Rotate() { ASSERT_OK(RotateAndLetGo(log_)); }

  CompactResult Compact(const CompactOptions& options = {}) {
    CompactResult result;
    EXPECT_OK(log_->Compact(options, &result));
    ExpectWhole(log_.log());
    return result;
  }

  static void ExpectWhole(Log& log) {
    VerifyReport report;
    ASSERT_OK(log.Verify({.concurrency = 1}, &report));
    EXPECT_TRUE(report.ok) << (report.findings.empty() ? "" : report.findings[0].action);
    EXPECT_TRUE(report.findings.empty()) << report.findings[0].action;
  }

  // "sequence:data" of each record, forwards; backwards, and one by one, it has to be the same.
  static std::vector<std::string> Seen(Log& log) {
    std::vector<std::string> seen;
    for (const TestRecord& record : RecordsOf(log)) {
      seen.push_back(std::to_string(record.sequence) + ":" + record.data);
      const std::vector<TestRecord> alone = RecordsOf(log, {.from = record.sequence, .to = record.sequence});
      EXPECT_EQ(alone, (std::vector<TestRecord>{record}));
    }
    std::vector<std::string> backwards;
    for (const TestRecord& record : RecordsOf(log, {.reverse = true})) {
      backwards.insert(backwards.begin(), std::to_string(record.sequence) + ":" + record.data);
    }
    EXPECT_EQ(backwards, seen);
    return seen;
  }
  std::vector<std::string> Seen() { return Seen(log_.log()); }

  // The same log whatever happens to it.
  void ExpectToStay() {
    const std::vector<std::string> seen = Seen();
    const uint64_t last = log_->last_sequence();
    for (int i = 0; i < 3; ++i) {
      if (i == 1) {
        log_.Close();
      } else {
        log_.Kill();
      }
      if (i == 2) log_.Reboot();
      log_.Open();
      EXPECT_EQ(Seen(), seen);
      EXPECT_EQ(log_->last_sequence(), last);
      ExpectWhole(log_.log());
    }
  }

  uint64_t FileSize(uint64_t segment) { return std::filesystem::file_size(log_.SegmentPath(segment)); }
  uint64_t FilesSize() {
    uint64_t size = 0;
    for (const uint64_t id : log_.SegmentIds()) size += FileSize(id);
    return size;
  }

  using Texts = std::vector<std::string>;
  TestLog log_;
};

// ---- which records ------------------------------------------------------------------------------------------------

TEST_F(CompactionTest, KeepsTheLatestOfEachKeyAndWhatHasNone) {
  Write("a", "a1");
  Write("b", "b1");
  log_.Append("no key");
  Write("", "the empty key, old");
  Rotate();
  Write("a", "a2");
  Write("", "the empty key");
  log_.Append("no key");
  Write("a", "a3");
  Rotate();
  const CompactResult result = Compact();
  EXPECT_EQ(Seen(), (Texts{"2:b1", "3:no key", "6:the empty key", "7:no key", "8:a3"}));
  EXPECT_EQ(result.records_removed, 3u);
  EXPECT_EQ(result.records_kept, 5u);
  EXPECT_EQ(result.segments_rewritten, 2u);
  EXPECT_EQ(log_->first_sequence(), 1u);
  EXPECT_EQ(log_.Append("next"), 9u);
  log_.Sync();
  ExpectToStay();
}

TEST_F(CompactionTest, LooksAtSealedSegmentsOnly) {
  Write("a", "a1");
  Rotate();
  Write("a", "a2");
  Write("a", "a3");
  EXPECT_EQ(Compact().records_removed, 0u);
  EXPECT_EQ(Seen(), (Texts{"1:a1", "2:a2", "3:a3"}));
  EXPECT_EQ(FileSize(1), TestLog::kSegmentSize);
}

TEST_F(CompactionTest, LooksAtNothingFromBeforeOn) {
  for (int i = 1; i <= 3; ++i) {
    Write("a", "a" + std::to_string(2 * i - 1));
    Write("a", "a" + std::to_string(2 * i));
    Rotate();
  }
  EXPECT_EQ(Compact({.before = 4}).records_removed, 2u);
  EXPECT_EQ(Seen(), (Texts{"3:a3", "4:a4", "5:a5", "6:a6"}));
  EXPECT_EQ(Compact({.before = 1}).records_removed, 0u);
  EXPECT_EQ(Compact({.before = 6}).records_removed, 2u);
  EXPECT_EQ(Seen(), (Texts{"5:a5", "6:a6"}));
  ExpectToStay();
}

TEST_F(CompactionTest, ADeleteEndsItsKeyAndGoesToo) {
  Write("a", "a1");
  Write("b", "b1");
  Rotate();
  Delete("a");
  Delete("never there");
  Rotate();
  EXPECT_EQ(Compact().records_removed, 3u);
  EXPECT_EQ(Seen(), (Texts{"2:b1"}));
  Write("a", "a again");
  Rotate();
  EXPECT_EQ(Compact().records_removed, 0u);
  EXPECT_EQ(Seen(), (Texts{"2:b1", "5:a again"}));
  ExpectToStay();
}

TEST_F(CompactionTest, ADeleteStaysForWhoGoesOnFromACheckpoint) {
  Write("a", "a1");
  Write("b", "b1");
  Checkpoint made;
  ASSERT_OK(log_->CreateCheckpoint(2, std::nullopt, &made));
  Delete("a");
  Rotate();
  EXPECT_EQ(Compact().records_removed, 1u);
  EXPECT_EQ(Seen(), (Texts{"2:b1", "3:"}));
  EXPECT_EQ(Compact().segments_rewritten, 0u) << "there is nothing to do";
  ASSERT_OK(log_->CreateCheckpoint(3, std::nullopt, &made));
  EXPECT_EQ(Compact().records_removed, 0u) << "the older checkpoint is still there";
  Write("b", "b2");
  ASSERT_OK(log_->CreateCheckpoint(4, std::nullopt, &made));
  EXPECT_EQ(Compact().records_removed, 1u);
  EXPECT_EQ(Seen(), (Texts{"2:b1", "4:b2"}));
}

TEST_F(CompactionTest, ADeleteStaysForWhoReadsOrHolds) {
  Write("a", "a1");
  Delete("a");
  Rotate();
  {
    const auto hold = log_->HoldFrom(2);
    EXPECT_EQ(Compact().records_removed, 1u);
  }
  EXPECT_EQ(Seen(), (Texts{"2:"}));
  EXPECT_EQ(Compact().records_removed, 1u);
  EXPECT_EQ(Seen(), (Texts{}));
  EXPECT_EQ(log_->first_sequence(), 1u);
  EXPECT_EQ(log_->last_sequence(), 2u);
  ExpectToStay();
}

TEST_F(CompactionTest, ACheckpointThatIsMadeMeanwhileKeepsItsDeletes) {
  Write("a", "a1");
  Delete("a");
  Rotate();
  Write("b", "b1");
  log_.platform().Hold(Operation::kWrite);
  std::thread other([this] { Compact(); });
  log_.platform().WaitUntilHeld();  // the file without the Delete is being written
  const auto hold = log_->HoldFrom(2);
  log_.platform().Release();
  other.join();
  EXPECT_EQ(Seen(), (Texts{"2:", "3:b1"}));
}

TEST_F(CompactionTest, BatchesStayWhole) {
  Batch({{"a", "a1"}, {"b", "b1"}, {std::nullopt, "none"}, {"a", "a2"}, {"c", "c1"}});
  Batch({{"a", "a3"}, {"a", "a4"}});
  Batch({{"a", "a5", 7}, {"d", "d1", 9}, {"c", "c2"}});
  Rotate();
  EXPECT_EQ(Compact().records_removed, 5u);
  EXPECT_EQ(Seen(), (Texts{"2:b1", "3:none", "8:a5", "9:d1", "10:c2"}));
  EXPECT_EQ(RecordsOf(log_.log(), {.from = 8}),
            (std::vector<TestRecord>{{8, "a5", "a", 7}, {9, "d1", "d", 9}, {10, "c2", "c", 0}}));
  const Status inside = log_->TruncateAfter(3);
  EXPECT_CODE(inside, kInsideBatch);
  EXPECT_EQ(inside.location().first_sequence, 1u);
  EXPECT_EQ(inside.location().last_sequence, 5u);
  ExpectToStay();
  Write("b", "b2");
  Rotate();
  EXPECT_EQ(Compact().records_removed, 1u);
  EXPECT_EQ(Seen(), (Texts{"3:none", "8:a5", "9:d1", "10:c2", "11:b2"}));
  ExpectToStay();
}

TEST_F(CompactionTest, KeepsCompressedBatchesAndTheDeletesBehindThem) {
  Write("a", "a1");
  Delete("b");
  Squeezed(3);
  Write("a", "a2");
  Delete("c");
  Delete("a");
  Rotate();
  const CompactResult result = Compact();
  EXPECT_EQ(result.records_removed, 3u) << "two of a, and the Delete before the batch";
  EXPECT_EQ(result.records_kept, 5u);
  const std::vector<std::byte> bytes = ReadFile(log_.SegmentPath(1));
  Frame frame;
  ASSERT_EQ(PeekFrame(bytes.data(), kSegmentHeaderSize + 32, bytes.size(), &frame), FrameState::kValid);
  EXPECT_EQ(frame.codec(), 3);
  EXPECT_EQ(frame.index, 2u);
  EXPECT_EQ(RecordsOf(log_.log(), {.from = 6}).size(), 2u);
}

TEST_F(CompactionTest, LeavesTransactionsAlone) {
  Write("t", "plain");
  Write("t", "begin", kKindBegin);
  Write("t", "t1");
  Write("t", "t2");
  Write("t", "commit", kKindCommit);
  Write("u", "plain");
  Write("u", "begin", kKindBegin);
  Write("u", "u1", kKindDelete);
  Write("u", "abort", kKindAbort);
  Write("v", "v1");
  Write("v", "begin", kKindBegin);
  Write("v", "v2");
  Rotate();
  Compact();
  EXPECT_EQ(Seen().size(), 12u);
  Write("v", "v3");
  Write("t", "t3");
  Delete("u");
  Rotate();
  EXPECT_EQ(Compact().records_removed, 2u);
  EXPECT_EQ(Seen(), (Texts{"2:begin", "3:t1", "4:t2", "5:commit", "7:begin", "8:u1", "9:abort", "10:v1", "11:begin",
                           "12:v2", "13:v3", "14:t3", "15:"}))
      << "a Delete of a key of which something stays must stay";
  Write("v", "abort", kKindAbort);
  Write("v", "v4");
  Rotate();
  EXPECT_EQ(Compact().records_removed, 1u) << "what came before the transaction";
  ExpectToStay();
}

TEST_F(CompactionTest, AMarkWithoutATransactionStaysAndEndsNothing) {
  Write("a", "a1");
  Write("a", "commit", kKindCommit);
  Rotate();
  EXPECT_EQ(Compact().records_removed, 0u);
  Delete("a");
  Rotate();
  EXPECT_EQ(Compact().records_removed, 1u);
  EXPECT_EQ(Seen(), (Texts{"2:commit", "3:"}));
}

// ---- what becomes of the files -------------------------------------------------------------------------------------

TEST_F(CompactionTest, GivesBackWhatItFreesAndSaysHowMuch) {
  const std::string value(1000, 'v');
  ASSERT_TRUE(ComesTrue([this] { return log_.SegmentIds().size() == 2; })) << "the spare is there";
  for (int i = 0; i < 58; ++i) Write("key " + std::to_string(i % 4), value);
  Rotate();
  log_.Append("active");
  ASSERT_TRUE(ComesTrue([this] { return log_->Stats().disk_bytes == 3 * TestLog::kSegmentSize; })) << "with a spare";
  const uint64_t before = FilesSize();
  const uint64_t disk_before = log_->Stats().disk_bytes;
  const CompactResult result = Compact();
  EXPECT_EQ(result.records_removed, 54u);
  EXPECT_EQ(before - FilesSize(), result.bytes_freed);
  EXPECT_EQ(disk_before - log_->Stats().disk_bytes, result.bytes_freed);
  EXPECT_EQ(FileSize(1), 3 * kPageSize) << "a header, and four records and a filler";
  const SegmentInfo info = log_->Segments()[0];
  EXPECT_EQ(info.capacity, FileSize(1));
  EXPECT_EQ(info.removed, 54u);
  EXPECT_EQ(info.last_sequence, 58u);
  log_.Close();
  log_.Open();
  EXPECT_EQ(log_->Segments()[0].capacity, FileSize(1));
  EXPECT_EQ(log_->recovery().records, 5u);
  Checkpoint made;
  ASSERT_OK(log_->CreateCheckpoint(59, std::nullopt, &made));
  CleanupResult cleaned;
  ASSERT_OK(log_->Cleanup(&cleaned));
  EXPECT_EQ(cleaned.bytes_freed, 3 * kPageSize);
}

TEST_F(CompactionTest, RemovedRecordsSideBySideTakeOneFrame) {
  for (int i = 1; i <= 100; ++i) Write("a", std::to_string(i));
  log_.Append("x");
  for (int i = 1; i <= 100; ++i) Write("a", std::to_string(i));
  Rotate();
  Compact();
  EXPECT_EQ(Seen(), (Texts{"101:x", "201:100"}));
  EXPECT_EQ(log_->Segments()[0].bytes, kSegmentHeaderSize + 32 + 32 + 32 + 32);
  Write("a", "the last");
  Rotate();
  Compact();
  EXPECT_EQ(log_->Segments()[0].bytes, kSegmentHeaderSize + 32 + 32 + 32) << "the old one and the new one are one";
  EXPECT_CODE(log_->TruncateAfter(50), kInsideBatch);
  ExpectToStay();
}

TEST_F(CompactionTest, KeepsWhatSaysThatRecordsWereLost) {
  log_.Append("one");
  Write("a", "a1");
  Write("a", "a2");
  log_.Append("four");
  log_.Sync();
  Rotate();
  log_.Close();
  log_.Edit(1, [](SegmentFile& segment) { segment.Flip(1); });
  LogOptions salvage = TestLog::Options();
  salvage.salvage = true;
  log_.Open(salvage);
  CompactResult result;
  ASSERT_OK(log_->Compact({}, &result));
  EXPECT_EQ(result.records_removed, 1u);
  EXPECT_EQ(Seen(), (Texts{"3:a2", "4:four"}));
  VerifyReport report;
  ASSERT_OK(log_->Verify({.concurrency = 1}, &report));
  EXPECT_TRUE(report.ok);
  ASSERT_EQ(report.findings.size(), 1u);
  EXPECT_EQ(report.findings[0].rule, "filler");
  EXPECT_EQ(report.findings[0].first_sequence, 1u);
  EXPECT_EQ(report.findings[0].last_sequence, 1u);
  EXPECT_EQ(report.records, 2u);
}

TEST_F(CompactionTest, TimesStay) {
  log_.platform().SetTime(1'000'000'000);
  log_.Append("in a segment that was made at another time");
  Rotate();
  Write("a", "a1");
  log_.platform().SetTime(2'000'000'000);
  Write("b", "b1");
  log_.platform().SetTime(3'000'000'000);
  Write("a", "a2");
  Rotate();
  const ReadFilter second{.from_time_us = 1'500'000'000, .to_time_us = 2'500'000'000};
  const std::vector<TestRecord> before = RecordsOf(log_.log(), second);
  Compact();
  EXPECT_EQ(RecordsOf(log_.log(), second), before);
  EXPECT_EQ(RecordsOf(log_.log(), {.to_time_us = 1'500'000'000}).size(), 0u) << "it was a1";
  EXPECT_EQ(log_->Segments()[1].first_time_us, 2'000'000'000u);
  EXPECT_EQ(log_->Segments()[1].last_time_us, 3'000'000'000u);
}

TEST_F(CompactionTest, DamageIsNotCopied) {
  Write("a", "a1");
  Write("a", "a2");
  Rotate();
  Write("a", "a3");
  Write("b", "damaged");
  Rotate();
  log_.Close();
  log_.Edit(2, [](SegmentFile& segment) { segment.Flip(2); });
  log_.Open();
  const std::vector<std::byte> first = ReadFile(log_.SegmentPath(1));
  CompactResult result;
  const Status status = log_->Compact({}, &result);
  EXPECT_CODE(status, kCorrupt);
  EXPECT_EQ(status.location().segment, 2u);
  EXPECT_EQ(status.location().first_sequence, 4u);
  EXPECT_EQ(ReadFile(log_.SegmentPath(1)), first);
  EXPECT_EQ(result.segments_rewritten, 0u);
}

TEST_F(CompactionTest, ALostPageIsNotTakenForZeros) {
  Write("a", "a1");
  Write("a", "a2");
  for (int i = 0; i < 20; ++i) log_.Append(std::string(2000, 'x'));
  Rotate();
  // While it is copied, another process cuts the file short.
  std::error_code refused;
  log_.platform().Watch([this, &refused](const Call& call) {
    if (call.operation == Operation::kOpen && call.path == log_.layout().CompactionPath()) {
      std::filesystem::resize_file(log_.SegmentPath(1), 2 * kPageSize, refused);
    }
  });
  CompactResult result;
  const Status status = log_->Compact({}, &result);
  log_.platform().Watch(nullptr);
  if (kOnWindows && refused) GTEST_SKIP() << "a mapped file cannot be cut short here: " << refused.message();
  ASSERT_FALSE(refused) << refused.message();
  EXPECT_CODE(status, kIo);
  EXPECT_EQ(result.segments_rewritten, 0u);
  EXPECT_FALSE(std::filesystem::exists(log_.layout().CompactionPath()));
}

// ---- beside others -------------------------------------------------------------------------------------------------

TEST_F(CompactionTest, AppendsAndRotationsGoOnBesideIt) {
  Write("a", "a1");
  Write("a", "a2");
  Rotate();
  for (const Operation held : {Operation::kWrite, Operation::kRename}) {
    log_.platform().Hold(held);
    std::thread other([this] {
      CompactResult result;
      EXPECT_OK(log_->Compact({}, &result));
    });
    log_.platform().WaitUntilHeld();  // in the middle of the new file; and then while it takes its place
    for (int i = 0; i < 12; ++i) Write("b", std::string(TestLog::kQuarter - 10, 'b'));
    log_.Sync();
    EXPECT_OK(log_->Rotate());
    EXPECT_GE(Seen().size(), 12u);
    log_.platform().Release();
    other.join();
    Write("a", "more");
    Rotate();
  }
}

TEST_F(CompactionTest, AReaderGoesOnWhereItIs) {
  for (int i = 1; i <= 200; ++i) Write("a", std::to_string(i));
  Rotate();
  for (int i = 201; i <= 210; ++i) Write("a", std::to_string(i));
  Rotate();
  std::unique_ptr<Reader> reader;
  ASSERT_OK(log_->NewReader({}, &reader));
  std::vector<std::byte> data(4096);
  std::vector<RecordDescriptor> records(10);
  ReadChunk chunk{.data = data, .records = records};
  ASSERT_OK(reader->Fill(&chunk));
  Compact();
  uint64_t last = 10;
  uint64_t read = 10;
  while (true) {
    ASSERT_OK(reader->Fill(&chunk));
    if (chunk.count == 0) break;
    for (size_t i = 0; i < chunk.count; ++i) {
      EXPECT_GT(static_cast<uint64_t>(records[i].sequence), last);
      last = static_cast<uint64_t>(records[i].sequence);
    }
    read += chunk.count;
  }
  EXPECT_EQ(last, 210u);
  EXPECT_EQ(read, 201u) << "the rest of the segment that it was in, and of the next one what is left";
}

TEST_F(CompactionTest, OtherProcessesFollow) {
  FaultPlatform platform;
  const auto open = [&](std::shared_ptr<Log>* log) {
    ASSERT_OK(Log::Open(platform, log_.path(), {.read_only = true}, log));
  };
  for (int i = 1; i <= 50; ++i) Write("a", "old " + std::to_string(i));
  Rotate();
  for (int i = 51; i <= 100; ++i) Write("b", "old " + std::to_string(i));
  std::shared_ptr<Log> growing;  // knows the second segment as the last one, and walks it
  std::shared_ptr<Log> reading;  // the same, and has read both
  std::shared_ptr<Log> sealed;   // knows both by their seals, and has mapped neither
  std::shared_ptr<Log> late;
  open(&growing);
  open(&reading);
  EXPECT_EQ(Seen(*reading).size(), 100u);
  Write("a", "a");
  Write("b", "b");
  Rotate();
  open(&sealed);
  CompactResult result = Compact();
  EXPECT_EQ(result.skipped.empty(), !kOnWindows);
  if (kOnWindows) {  // what somebody has mapped stays as it is until he lets go
    EXPECT_EQ(result.records_removed, 0u);
    for (auto* const log : {&growing, &reading}) {
      EXPECT_EQ(Seen(**log).size(), 102u);
      log->reset();
    }
    result = Compact();
  }
  EXPECT_EQ(result.records_removed, 100u);
  log_.Append("active");
  log_.Sync();
  open(&late);
  for (const auto& log : {growing, reading, sealed, late}) {
    if (!log) continue;
    EXPECT_EQ(log->last_sequence(), 103u);
    ExpectWhole(*log);
    EXPECT_EQ(log->Segments().size(), 3u);
    const Texts seen = Seen(*log);
    ASSERT_GE(seen.size(), 3u);
    EXPECT_EQ(Texts(seen.end() - 3, seen.end()), (Texts{"101:a", "102:b", "103:active"}));
    // What it had mapped it may keep.
    EXPECT_EQ(seen.size(), log == growing ? 53u : log == reading ? 103u : 3u);
  }
  EXPECT_EQ(late->recovery().records, 3u);
  EXPECT_EQ(late->Stats().disk_bytes, 4 * kPageSize + TestLog::kSegmentSize);
  EXPECT_EQ(sealed->Stats().disk_bytes, 4 * kPageSize + TestLog::kSegmentSize) << "known since it looked";
}

TEST_F(CompactionTest, AFollowerReadsWhileSegmentsAreSwapped) {
  FaultPlatform platform;
  std::shared_ptr<Log> follower;
  log_.Append("begin");
  ASSERT_OK(Log::Open(platform, log_.path(), {.read_only = true}, &follower));
  std::atomic<bool> stop{false};
  std::thread other([&] {
    while (!stop) {
      for (Log* log : {follower.get(), &log_.log()}) {
        std::vector<TestRecord> records;
        const Status status = ReadRecords(*log, {}, &records);
        ASSERT_OK(status);
        std::map<std::string, uint64_t> values;
        for (const TestRecord& record : records) {
          if (record.key) {
            ASSERT_EQ(record.data.substr(0, record.key->size()), *record.key);
          }
        }
      }
      ExpectWhole(*follower);
    }
  });
  for (int round = 0; round < 40; ++round) {
    for (int i = 0; i < 100; ++i) {
      const std::string key = "key " + std::to_string(i % 7);
      Write(key, key + std::string(static_cast<size_t>(round * 10), '.'));
    }
    Rotate();
    CompactResult result;
    ASSERT_OK(log_->Compact({}, &result));
  }
  stop = true;
  other.join();
  EXPECT_EQ(Seen(*follower).size(), 8u);
}

TEST_F(CompactionTest, EndsSoonWhenItIsCancelled) {
  Write("a", "a1");
  Write("a", "a2");
  Rotate();
  int asked = 0;
  CompactResult result;
  for (int allowed = 0; allowed < 3; ++allowed) {
    asked = 0;
    EXPECT_CODE(log_->Compact({.cancelled = [&] { return ++asked > allowed; }}, &result), kAborted);
    EXPECT_FALSE(std::filesystem::exists(log_.layout().CompactionPath()));
  }
  EXPECT_EQ(Compact().records_removed, 1u);
}

TEST_F(CompactionTest, OneAtATime) {
  Write("a", "a1");
  Write("a", "a2");
  Rotate();
  log_.platform().Hold(Operation::kWrite);
  std::thread first([this] { Compact(); });
  log_.platform().WaitUntilHeld();
  CompactResult result;
  EXPECT_CODE(log_->Compact({.cancelled = [] { return true; }}, &result), kAborted);
  std::thread second([this] { EXPECT_EQ(Compact().records_removed, 0u); });
  log_.platform().Release();
  first.join();
  second.join();
  EXPECT_EQ(Seen(), (Texts{"2:a2"}));
}

// Whichever of the two is first: TheEndIsTakenAwayAtAnyMoment has each of the moments.
TEST_F(CompactionTest, TheEndOfTheLogIsTakenAwayMeanwhile) {
  for (int i = 1; i <= 3; ++i) {
    Write("a", "a" + std::to_string(i));
    Write("b", "b" + std::to_string(i));
    Rotate();
  }
  log_.platform().Hold(Operation::kWrite);
  std::thread other([this] { Compact(); });
  log_.platform().WaitUntilHeld();
  Status truncated;
  std::thread truncation([&] { truncated = log_->TruncateAfter(3); });
  log_.platform().Release();
  truncation.join();
  other.join();
  const Texts seen = Seen();
  ASSERT_FALSE(seen.empty());
  if (truncated.code() == ErrorCode::kInsideBatch) {
    EXPECT_EQ(seen, (Texts{"5:a3", "6:b3"})) << "records 3 and 4 were gone";
    EXPECT_EQ(log_.Append("again"), 7u);
  } else {
    EXPECT_OK(truncated);
    EXPECT_EQ(seen.back(), "3:a2");
    EXPECT_EQ(log_.Append("again"), 4u);
  }
  log_.Sync();
  ExpectToStay();
}

TEST_F(CompactionTest, TheFrontIsTakenAwayMeanwhile) {
  for (int when = 1;; ++when) {
    TestLog log;
    log.Open();
    for (int i = 1; i <= 6; ++i) {
      log.Append(Put{"a", "a" + std::to_string(i)}.view());
      if (i % 2 == 0) {
        ASSERT_OK(RotateAndLetGo(log));
      }
    }
    int asked = 0;
    const auto meanwhile = [&] {
      if (++asked == when) {
        EXPECT_OK(log->TruncateBefore(3));
      }
      return false;
    };
    CompactResult result;
    ASSERT_OK(log->Compact({.cancelled = meanwhile}, &result));
    EXPECT_EQ(DataOf(log.log()), (Texts{"a6"}));
    ExpectWhole(log.log());
    if (asked < when) break;
    EXPECT_EQ(log->first_sequence(), 3u);
    log.Kill();
    log.Open();
    EXPECT_EQ(DataOf(log.log()), (Texts{"a6"}));
  }
}

// And appending goes on in the segment where it was cut, which is sealed again: it is another one, with the same salt.
TEST_F(CompactionTest, TheEndIsTakenAwayAtAnyMoment) {
  for (int when = 1;; ++when) {
    TestLog log;
    log.Open();
    for (int i = 1; i <= 6; ++i) {
      log.Append(Put{"a", "a" + std::to_string(i)}.view());
      log.Append(RecordOf("end " + std::to_string(i)));
      if (i % 2 == 0) {
        ASSERT_OK(RotateAndLetGo(log));
      }
    }
    int asked = 0;
    const auto meanwhile = [&] {
      if (++asked == when) {
        EXPECT_OK(log->TruncateAfter(6));
        EXPECT_EQ(log.Append("again"), 7u);
        EXPECT_EQ(log.Append(Put{"a", "the last a"}.view()), 8u);
        EXPECT_OK(RotateAndLetGo(log));
      }
      return false;
    };
    CompactResult result;
    ASSERT_OK(log->Compact({.cancelled = meanwhile}, &result));
    ExpectWhole(log.log());
    if (asked < when) break;
    const Texts expected{"end 1", "end 2", "end 3", "again", "the last a"};
    EXPECT_EQ(log->last_sequence(), 8u);
    EXPECT_EQ(DataOf(log.log()), expected) << when;
    log.Kill();
    log.Reboot();
    log.Open();
    EXPECT_EQ(DataOf(log.log()), expected) << when;
    ExpectWhole(log.log());
  }
}

// ---- appending goes on in a segment that was compacted -------------------------------------------------------------

TEST_F(CompactionTest, TheLogIsTruncatedInACompactedSegment) {
  for (const bool killed : {false, true}) {
    TestLog log;
    log.Open();
    const auto write = [&log](const std::string& key, const std::string& data) {
      return log.Append(Put{key, data}.view());
    };
    for (int i = 1; i <= 100; ++i) write("a", std::to_string(i));
    write("b", "b");
    write("c", "c");
    ASSERT_OK(log->Rotate());
    write("d", "d");
    CompactResult result;
    ASSERT_OK(log->Compact({}, &result));
    EXPECT_EQ(std::filesystem::file_size(log.SegmentPath(1)), 2 * kPageSize);
    if (killed) {
      // After the decision, before the file is whole again.
      log.platform().FailFrom(Operation::kAllocate, Status(ErrorCode::kDiskFull, "injected"));
      EXPECT_CODE(log->TruncateAfter(101), kPoisoned);
      log.platform().Heal();
      log.Kill();
      log.Open();
    } else {
      ASSERT_OK(log->TruncateAfter(101));
    }
    EXPECT_EQ(log->last_sequence(), 101u);
    EXPECT_EQ(log->Segments()[0].capacity, TestLog::kSegmentSize);
    EXPECT_GE(log->Stats().disk_bytes, TestLog::kSegmentSize);
    for (int i = 102; i <= 1000; ++i) EXPECT_EQ(write("e", std::string(100, 'e')), static_cast<uint64_t>(i));
    log.Sync();
    log.Kill();
    log.Open();
    EXPECT_EQ(log->last_sequence(), 1000u);
    EXPECT_EQ(RecordsOf(log.log()).size(), 2u + 899u);
    ExpectWhole(log.log());
    ASSERT_OK(log->Rotate());
    result = {};
    ASSERT_OK(log->Compact({}, &result));
    EXPECT_EQ(result.records_removed, 898u);
    ExpectWhole(log.log());
  }
}

// ---- damage --------------------------------------------------------------------------------------------------------

TEST_F(CompactionTest, ALostSealIsFoundAgain) {
  for (int i = 1; i <= 100; ++i) Write("a", std::to_string(i));
  log_.Append("x");
  Rotate();
  Compact();
  log_.Close();
  log_.Edit(1, [](SegmentFile& segment) { segment.EraseSeal(); });
  log_.Open();
  EXPECT_EQ(Seen(), (Texts{"100:100", "101:x"}));
  EXPECT_EQ(FileSize(1), 2 * kPageSize);
  EXPECT_EQ(log_->recovery().records, 2u);
  EXPECT_EQ(log_->Segments()[0].removed, 99u);
  ExpectToStay();
}

TEST_F(CompactionTest, AFillerThatIsGoneIsDamage) {
  for (int i = 1; i <= 10; ++i) Write("a", std::to_string(i));
  log_.Append("x");
  Rotate();
  Compact();
  log_.Close();
  log_.Edit(1, [](SegmentFile& segment) { segment.Zero(1); });
  log_.Open();
  std::vector<TestRecord> records;
  EXPECT_CODE(ReadRecords(log_.log(), {}, &records), kCorrupt);
  VerifyReport report;
  ASSERT_OK(log_->Verify({.concurrency = 1}, &report));
  EXPECT_FALSE(report.ok);
}

TEST_F(CompactionTest, ASalvageFindsTheRecordsBehindDamage) {
  for (int i = 1; i <= 1000; ++i) Write("a", "x");
  log_.Append("one");
  log_.Append("two");
  log_.Append("three");
  Rotate();
  Compact();
  log_.Close();
  log_.Edit(1, [](SegmentFile& segment) { segment.Flip(3); });  // a filler, the last of a, and then this
  VerifyReport report;
  log_.Open();
  ASSERT_OK(log_->Verify({.concurrency = 1}, &report));
  ASSERT_EQ(report.findings.size(), 1u);
  EXPECT_EQ(report.findings[0].first_sequence, 1001u);
  EXPECT_EQ(report.findings[0].last_sequence, 1001u);
  EXPECT_EQ(report.records, 3u);
  log_.Close();
  LogOptions salvage = TestLog::Options();
  salvage.salvage = true;
  log_.Open(salvage);
  EXPECT_EQ(Seen(), (Texts{"1000:x", "1002:two", "1003:three"}));
  log_.Close();
  log_.Open();
  EXPECT_EQ(Seen(), (Texts{"1000:x", "1002:two", "1003:three"}));
}

TEST_F(CompactionTest, AnIdentityThatLostABitIsPutRight) {
  for (int i = 1; i <= 10; ++i) Write("a", std::to_string(i));
  Rotate();
  Compact();
  log_.Close();
  for (const uint64_t at : {12, 13, 40}) {
    log_.Edit(1, [at](SegmentFile& segment) { segment.data()[at] ^= std::byte{1}; });
    EXPECT_CODE(log_.TryOpen(), kCorrupt);
    LogOptions salvage = TestLog::Options();
    salvage.salvage = true;
    log_.Open(salvage);
    EXPECT_EQ(Seen(), (Texts{"10:10"}));
    log_.Close();
  }
}

// ---- what fails ----------------------------------------------------------------------------------------------------

TEST_F(CompactionTest, WhatDiedBeforeItsTimeIsRemovedByTheNextOpen) {
  Write("a", "a1");
  Write("a", "a2");
  Rotate();
  log_.Close();
  WriteFile(log_.layout().CompactionPath(), std::vector<std::byte>(100));
  log_.Open();
  EXPECT_FALSE(std::filesystem::exists(log_.layout().CompactionPath()));
  EXPECT_TRUE(log_->recovery().clean);
}

TEST_F(CompactionTest, AFileThatCannotBeReplacedYetIsReplacedTheNextTime) {
  Write("a", "a1");
  Write("b", "b1");
  Write("b", "b2");
  Rotate();
  Delete("a");
  Delete("c");
  Rotate();
  log_.platform().FailOnce(Operation::kRename, Status(ErrorCode::kIo, "somebody has it mapped", 5));
  const CompactResult result = Compact();
  ASSERT_EQ(result.skipped.size(), 1u);
  EXPECT_EQ(result.skipped[0].segment, 1u);
  EXPECT_EQ(result.skipped[0].reason, "somebody has it mapped");
  EXPECT_EQ(result.records_removed, 1u) << "the Delete of c; that of a is needed";
  EXPECT_EQ(Seen(), (Texts{"1:a1", "2:b1", "3:b2", "4:"}));
  EXPECT_EQ(Compact().records_removed, 3u);
  EXPECT_EQ(Seen(), (Texts{"3:b2"}));
}

TEST_F(CompactionTest, NoCallThatFailsHurtsTheLog) {
  constexpr std::array kOperations{Operation::kSyncDirectory, Operation::kOpen,   Operation::kMap,
                                   Operation::kRandom,        Operation::kRead,   Operation::kWrite,
                                   Operation::kSyncFile,      Operation::kRename, Operation::kRemove};
  for (const Operation operation : kOperations) {
    for (int nth = 1, failed = 1; failed != 0; ++nth) {
      TestLog log;
      log.Open();
      const auto write = [&log](const std::string& key, const std::string& data, uint8_t kind = 0) {
        log.Append(Put{key, data, kind}.view());
      };
      for (int i = 1; i <= 3; ++i) {
        write("a", "a" + std::to_string(i), i == 3 ? kKindDelete : uint8_t{0});
        write("b", "b" + std::to_string(i));
        ASSERT_OK(log->Rotate());
      }
      ASSERT_TRUE(ComesTrue([&log] { return log->Stats().disk_bytes == 5 * TestLog::kSegmentSize; })) << "with a spare";
      const ErrorCode code = operation == Operation::kWrite ? ErrorCode::kDiskFull : ErrorCode::kIo;
      log.platform().FailOnce(operation, Status(code, "injected", 5), nth);
      const int before = log.platform().CallsOf(operation);
      CompactResult result;
      const Status status = log->Compact({}, &result);
      failed = log.platform().CallsOf(operation) - before >= nth ? 1 : 0;
      log.platform().Heal();
      const bool may_pass = failed == 0 || operation == Operation::kRename || operation == Operation::kRemove;
      if (!may_pass) {
        EXPECT_EQ(status.code(), code) << status.message();
      }
      for (int look = 0; look < 2; ++look) {
        // The state of every key is what it was, and what is there can all be read.
        std::map<std::string, std::string> state;
        for (const TestRecord& record : RecordsOf(log.log())) {
          state[*record.key] = record.data;
          if (record.kind == kKindDelete) state.erase(*record.key);
        }
        EXPECT_EQ(state, (std::map<std::string, std::string>{{"b", "b3"}}));
        ExpectWhole(log.log());
        EXPECT_EQ(log->last_sequence(), 6u);
        log.Kill();
        log.Open();
      }
      EXPECT_FALSE(std::filesystem::exists(log.layout().CompactionPath()));
      ASSERT_OK(log->Compact({}, &result));
      EXPECT_EQ(DataOf(log.log()), (Texts{"b3"}));
    }
  }
}

TEST_F(CompactionTest, ASwapIsDurableInItsTurn) {
  for (int i = 1; i <= 4; ++i) {
    Write("a", "a" + std::to_string(i));
    if (i != 1) Rotate();
  }
  ASSERT_TRUE(ComesTrue([this] { return log_->Stats().disk_bytes == 5 * TestLog::kSegmentSize; })) << "with a spare";
  // Nobody else has anything to do.
  std::vector<std::string> calls;
  const LogDirectory layout = log_.layout();
  log_.platform().Watch([&](const Call& call) {
    if (call.operation == Operation::kSyncFile && call.path == layout.CompactionPath()) calls.push_back("sync");
    if (call.operation == Operation::kRename) calls.push_back("rename " + call.path.substr(call.path.size() - 5));
    if (call.operation == Operation::kSyncDirectory && call.path == layout.SegmentsPath()) calls.push_back("directory");
  });
  Compact();
  log_.platform().Watch(nullptr);
  EXPECT_EQ(calls, (Texts{"directory", "sync", "rename 1.log", "directory", "sync", "rename 2.log", "directory"}));
}

TEST_F(CompactionTest, APoisonedLogIsNotTouched) {
  Write("a", "a1");
  Write("a", "a2");
  Rotate();
  log_.platform().FailFrom(Operation::kSyncMapping, Status(ErrorCode::kIo, "injected", 5));
  log_.Append("x");
  EXPECT_CODE(log_->WaitDurable(3), kPoisoned);
  log_.platform().Heal();
  CompactResult result;
  EXPECT_CODE(log_->Compact({}, &result), kPoisoned);
  EXPECT_EQ(FileSize(1), TestLog::kSegmentSize);
}

// ---- against a model -----------------------------------------------------------------------------------------------

// What replaying records into a map gives: all of them, or only what was committed (docs/LIFE.md).
using State = std::map<std::string, std::string>;

void Apply(const TestRecord& record, State* state) {
  if (!record.key) return;
  if (record.kind == kKindDelete) {
    state->erase(*record.key);
  } else {
    (*state)[*record.key] = record.data;
  }
}

State Replay(const std::vector<TestRecord>& records, uint64_t until) {
  State state;
  for (const TestRecord& record : records) {
    if (record.sequence <= until) Apply(record, &state);
  }
  return state;
}

State ReplayCommitted(const std::vector<TestRecord>& records, uint64_t until, std::vector<uint64_t>* delivered) {
  State state;
  std::map<std::string, std::vector<TestRecord>> open;
  for (const TestRecord& record : records) {
    if (record.sequence > until) break;
    if (!record.key) continue;
    const auto transaction = open.find(*record.key);
    if (record.kind == kKindBegin) {
      open[*record.key].clear();
    } else if (record.kind == kKindCommit || record.kind == kKindAbort) {
      if (transaction == open.end()) continue;
      for (const TestRecord& held : transaction->second) {
        if (record.kind == kKindAbort) break;
        Apply(held, &state);
        delivered->push_back(held.sequence);
      }
      open.erase(transaction);
    } else if (transaction != open.end()) {
      transaction->second.push_back(record);
    } else {
      Apply(record, &state);
    }
  }
  return state;
}

// What has to be left, going by the rules and not by how they are followed.
std::vector<TestRecord> Left(const std::vector<TestRecord>& records, uint64_t before, uint64_t first_delete_to_keep) {
  std::vector<bool> alone(records.size());  // not to be touched, and of no influence
  std::map<std::string, bool> open;
  const auto mark = [](const TestRecord& record) { return record.kind >= kKindBegin && record.kind <= kKindAbort; };
  for (size_t i = 0; i < records.size(); ++i) {
    const TestRecord& record = records[i];
    if (!record.key || record.sequence >= before) {
      alone[i] = true;
    } else if (mark(record)) {
      alone[i] = true;
      open[*record.key] = record.kind == kKindBegin;
    } else {
      alone[i] = open[*record.key];
    }
  }
  std::vector<TestRecord> left;
  for (size_t i = 0; i < records.size(); ++i) {
    bool later = false;
    bool stays_before = false;
    for (size_t j = 0; j < records.size(); ++j) {
      if (records[j].key != records[i].key) continue;
      if (j > i && !alone[j]) later = true;
      if (j < i && alone[j]) stays_before = true;
    }
    const bool ends = records[i].kind == kKindDelete && !stays_before && records[i].sequence < first_delete_to_keep;
    if (alone[i] || (!later && !ends)) left.push_back(records[i]);
  }
  return left;
}

class CompactionModelTest : public testing::Test {
 protected:
  void RunProgram(uint32_t seed) {
    SCOPED_TRACE("seed " + std::to_string(seed));
    random_.seed(seed);
    TestLog log;
    log.Open();
    uint64_t first_delete_to_keep = UINT64_MAX;
    std::vector<uint64_t> checkpoints;
    for (int step = 0; step < 60; ++step) {
      switch (Below(8)) {
        case 0: ASSERT_OK(RotateAndLetGo(log)); break;
        case 1: {
          if (log->last_sequence() == 0 || Below(4) != 0) break;
          Checkpoint made;
          ASSERT_OK(log->CreateCheckpoint(log->last_sequence(), std::nullopt, &made));
          if (checkpoints.empty() || checkpoints.back() != made.sequence) checkpoints.push_back(made.sequence);
          if (checkpoints.size() > 2) checkpoints.erase(checkpoints.begin());
          first_delete_to_keep = checkpoints.front() + 1;
          break;
        }
        case 2: {
          CheckCompaction(log, Below(2) == 0 ? UINT64_MAX : 1 + Below(log->last_sequence() + 2), first_delete_to_keep);
          break;
        }
        case 3: {
          log.Kill();
          log.Open();
          break;
        }
        default: AppendSome(log);
      }
      if (HasFailure()) return;
    }
    ASSERT_OK(RotateAndLetGo(log));
    CheckCompaction(log, UINT64_MAX, first_delete_to_keep);
  }

 private:
  uint64_t Below(uint64_t end) { return random_() % end; }

  Put RandomPut() {
    Put put{.data = std::to_string(++written_) + std::string(Below(20) == 0 ? 3000 : Below(30), 'x')};
    if (Below(8) != 0) put.key = std::string("k") + std::to_string(Below(6));
    constexpr std::array<uint8_t, 12> kKinds{0, 0, 1, 1, 2, 2, 7, 3, 3, 4, 5, 6};
    put.kind = kKinds[Below(kKinds.size())];
    if (put.kind == kKindBegin && Below(2) == 0) put.kind = kKindCommit;
    return put;
  }

  void AppendSome(TestLog& log) {
    for (uint64_t i = Below(20); i > 0; --i) {
      if (Below(3) != 0) {
        log.Append(RandomPut().view());
        continue;
      }
      std::vector<Put> puts(1 + Below(8));
      for (Put& put : puts) put = RandomPut();
      std::vector<RecordView> records;
      for (const Put& put : puts) records.push_back(put.view());
      ASSERT_NE(log.appender().AppendBatch(records), 0u);
    }
  }

  static void CheckCompaction(TestLog& log, uint64_t before, uint64_t first_delete_to_keep) {
    log.Sync();
    const std::vector<TestRecord> was = RecordsOf(log.log());
    uint64_t sealed = 0;
    for (const SegmentInfo& segment : log->Segments()) {
      if (segment.sealed) sealed = segment.last_sequence;
    }
    const uint64_t reach = std::min(before, sealed + 1);
    const std::vector<TestRecord> left = Left(was, reach, first_delete_to_keep);
    CompactResult result;
    ASSERT_OK(log->Compact({.before = before}, &result));
    const std::vector<TestRecord> is = RecordsOf(log.log());
    ASSERT_EQ(is, left);
    EXPECT_EQ(result.records_removed, was.size() - left.size());
    EXPECT_TRUE(result.skipped.empty());
    const uint64_t last = log->last_sequence();
    for (uint64_t until = std::max<uint64_t>(reach, 1) - 1; until <= last; until += 1 + (last - until) / 4) {
      ASSERT_EQ(Replay(is, until), Replay(was, until)) << until;
      std::vector<uint64_t> delivered_was;
      std::vector<uint64_t> delivered_is;
      ASSERT_EQ(ReplayCommitted(is, until, &delivered_is), ReplayCommitted(was, until, &delivered_was)) << until;
      ASSERT_EQ(delivered_is, delivered_was) << until;
    }
    VerifyReport report;
    ASSERT_OK(log->Verify({.concurrency = 1}, &report));
    ASSERT_TRUE(report.ok && report.findings.empty());
    EXPECT_EQ(report.records, is.size());
    CompactResult again;
    ASSERT_OK(log->Compact({.before = before}, &again));
    EXPECT_EQ(again.segments_rewritten, 0u) << "a second time there is nothing to do";
  }

  std::mt19937 random_;
  uint64_t written_ = 0;
};

TEST_F(CompactionModelTest, LeavesWhatTheRulesSay) {
  std::random_device device;
  const uint32_t first = device();
  for (uint32_t i = 0; i < 15 && !HasFailure(); ++i) RunProgram(first + i);
}

// ---- which key is where --------------------------------------------------------------------------------------------

TEST(KeyTableTest, HoldsAnyKeyOnce) {
  KeyTable table(7);
  std::map<std::string, uint64_t> model;
  std::mt19937 random(1);
  for (uint64_t i = 1; i <= 20'000; ++i) {
    std::string key(random() % 20, '\0');
    for (char& c : key) c = static_cast<char>(random() % 3);
    table.At(BytesOf(key)).latest = i;
    model[key] = i;
  }
  const std::string large(kMaxKeySize, 'k');
  for (uint64_t i = 0; i < 40; ++i) table.At(BytesOf(large + std::to_string(i).substr(0, 0))).latest = i;
  size_t used = 0;
  for (const KeyTable::State& state : table.places()) used += state.key != nullptr;
  EXPECT_EQ(used, model.size() + 1);
  for (const auto& [key, latest] : model) EXPECT_EQ(table.Find(BytesOf(key))->latest, latest);
  EXPECT_EQ(table.Find(BytesOf("not there")), nullptr);
}

}  // namespace
}  // namespace segwal
