// What a log does when another process cuts its files short under the mapping: no signal kills the process, no append
// that went nowhere is acknowledged, nothing of it is called durable, and readers get an error instead of records.
#include <gtest/gtest.h>

#include <atomic>
#include <cerrno>
#include <filesystem>
#include <thread>

#include "core/verify.h"
#include "testing/assertions.h"
#include "testing/temporary_directory.h"
#include "testing/test_log.h"

namespace segwal {
namespace {

class MemoryFailureTest : public testing::Test {
 protected:
  static constexpr uint64_t kPage = 4096;

  // Windows lets nobody cut off what is mapped: none of this can happen there, and none of it can be tried.
  void SetUp() override {
    const TemporaryDirectory temporary;
    const std::string path = temporary.path() + "/mapped";
    Platform& platform = Platform::Default();
    std::unique_ptr<File> file;
    std::unique_ptr<Mapping> mapping;
    ASSERT_OK(platform.Open(path, OpenMode::kCreate, &file));
    ASSERT_OK(file->Allocate(kPage));
    ASSERT_OK(platform.Map(std::move(file), kPage, true, &mapping));
    std::error_code refused;
    std::filesystem::resize_file(path, 0, refused);
    if (refused) GTEST_SKIP() << "a mapped file cannot be cut short here: " << refused.message();
  }

  void CutShort(uint64_t segment, uint64_t size) { std::filesystem::resize_file(log_.SegmentPath(segment), size); }

  TestLog log_;
};

TEST_F(MemoryFailureTest, AnAppendThatWentNowhereIsRefusedAndPoisonsTheLog) {
  log_.Open();
  log_.Append("before");
  CutShort(1, kSegmentHeaderSize);
  const Status status = log_.TryAppend("nowhere");
  EXPECT_CODE(status, kPoisoned);
  EXPECT_TRUE(Mentions(status, "has another process truncated it"));
  EXPECT_EQ(status.os_error(), EIO);
  EXPECT_CODE(log_.TryAppend("later"), kPoisoned);
  EXPECT_CODE(log_->WaitDurable(1), kPoisoned);
  EXPECT_CODE(log_->Rotate(), kPoisoned);
  EXPECT_EQ(log_->durable_sequence(), 0u);
  EXPECT_CODE(log_->Close(), kPoisoned);
}

TEST_F(MemoryFailureTest, AnAppendWhoseFrameGoesNowhereBetweenClaimAndCommitIsRefused) {
  log_.Open();
  log_.Append("before");
  log_.platform().WatchCoarseClock([this] {
    log_.platform().WatchCoarseClock(nullptr);
    CutShort(1, kSegmentHeaderSize);
  });
  EXPECT_CODE(log_.TryAppend("nowhere"), kPoisoned);
  EXPECT_LE(log_->last_sequence(), 1u) << "what was committed into replaced memory is not shown";
}

TEST_F(MemoryFailureTest, ABatchThatCrossesTheNewEndOfTheFileIsRefused) {
  log_.Open();
  log_.Append("before");
  EXPECT_EQ(log_->last_sequence(), 1u);
  CutShort(1, 4 * kPage);
  const Status status = log_.TryAppend(std::string(6 * kPage, 'x'));
  EXPECT_CODE(status, kPoisoned);
  EXPECT_EQ(log_->last_sequence(), 1u);
}

TEST_F(MemoryFailureTest, ALostWritePointerIsNeitherABarrierThatIsReachedNorABase) {
  log_.Open();
  log_.Append("before");
  CutShort(1, 0);
  EXPECT_CODE(log_->WaitDurable(log_->appended_sequence()), kPoisoned);
  EXPECT_CODE(log_.TryAppend("nowhere"), kPoisoned);
  EXPECT_CODE(log_->Rotate(), kPoisoned);
  EXPECT_CODE(log_->Close(), kPoisoned);
}

TEST_F(MemoryFailureTest, ALostWritePointerDoesNotBecomeTheBaseOfTheNextSegment) {
  log_.Open();
  log_.AppendQuarters(1, 4);
  CutShort(1, 0);
  EXPECT_CODE(log_.TryAppend(TestLog::QuarterRecord(5)), kPoisoned);
  EXPECT_EQ(log_->Segments().size(), 1u);
}

TEST_F(MemoryFailureTest, NothingIsDurableThatWasCutOffBeforeItsSync) {
  log_.Open();
  log_.AppendQuarters(1, 3);
  CutShort(1, 2 * kPage);
  EXPECT_CODE(log_->WaitDurable(3), kPoisoned);
  EXPECT_EQ(log_->durable_sequence(), 0u);
}

TEST_F(MemoryFailureTest, ASpareThatWasCutShortIsNoPlaceForRecords) {
  log_.Open();
  log_.AppendQuarters(1, 4);
  while (log_.SegmentIds().size() < 2 || std::filesystem::file_size(log_.SegmentPath(2)) < TestLog::kSegmentSize) {
    std::this_thread::yield();
  }
  // Its thread may still be touching it; once it is spare, nobody is.
  std::this_thread::sleep_for(std::chrono::milliseconds(50));
  CutShort(2, 0);
  EXPECT_CODE(log_.TryAppend("into the spare"), kPoisoned);
  EXPECT_EQ(DataOf(log_.log(), {.to = 4}).size(), 4u) << "what stands in the whole segment can be read";
}

TEST_F(MemoryFailureTest, AReaderGetsAnErrorInsteadOfRecordsFromReplacedMemory) {
  log_.Open();
  log_.AppendQuarters(1, 4);
  EXPECT_EQ(log_.Data().size(), 4u);
  CutShort(1, kSegmentHeaderSize);
  std::vector<TestRecord> records;
  EXPECT_CODE(ReadRecords(log_.log(), {}, &records), kIo);
  EXPECT_TRUE(records.empty());
  EXPECT_CODE(ReadRecords(log_.log(), {.reverse = true}, &records), kIo);
  EXPECT_TRUE(records.empty());
}

TEST_F(MemoryFailureTest, AFileThatIsCutShortBetweenTheChecksumAndTheCopyIsAnError) {
  log_.Open();
  log_.AppendQuarters(1, 4);
  std::unique_ptr<Reader> reader;
  ASSERT_OK(log_->NewReader({}, &reader));
  std::vector<std::byte> data(TestLog::kSegmentSize);
  std::vector<RecordDescriptor> descriptors(1);
  ReadChunk chunk{.data = data, .records = descriptors};
  ASSERT_OK(reader->Fill(&chunk));  // takes up all four, hands out one
  CutShort(1, kSegmentHeaderSize);
  EXPECT_CODE(reader->Fill(&chunk), kIo);
  EXPECT_EQ(chunk.count, 0u);
}

TEST_F(MemoryFailureTest, ASealedSegmentThatIsCutShortHurtsItsReadersOnly) {
  log_.Open();
  log_.AppendQuarters(1, 6);
  log_.Sync();
  std::unique_ptr<Reader> reader;
  ASSERT_OK(log_->NewReader({}, &reader));
  std::vector<std::byte> data(TestLog::kSegmentSize);
  std::vector<RecordDescriptor> descriptors(1);
  ReadChunk chunk{.data = data, .records = descriptors};
  ASSERT_OK(reader->Fill(&chunk));
  CutShort(1, kSegmentHeaderSize);
  EXPECT_CODE(reader->Fill(&chunk), kIo);
  EXPECT_EQ(log_.Append("the log goes on"), 7u);
  log_.Sync();
  std::vector<TestRecord> records;
  EXPECT_CODE(ReadRecords(log_.log(), {}, &records), kCorrupt) << "a new reader finds out what is the matter";
  VerifyReport report;
  ASSERT_OK(log_->Verify({}, &report));
  EXPECT_FALSE(report.ok);
  log_.Close();
}

TEST_F(MemoryFailureTest, AReadOnlyLogThatFollowsGetsAnError) {
  log_.Open();
  log_.AppendQuarters(1, 2);
  std::shared_ptr<Log> follower;
  ASSERT_OK(Log::Open(log_.platform(), log_.path(), {.read_only = true}, &follower));
  EXPECT_EQ(follower->last_sequence(), 2u);
  log_.AppendQuarters(3, 3);
  CutShort(1, kSegmentHeaderSize);
  std::vector<TestRecord> records;
  EXPECT_CODE(ReadRecords(*follower, {}, &records), kIo);
  EXPECT_CODE(ReadRecords(*follower, {}, &records), kCorrupt);
  EXPECT_TRUE(records.empty());
}

TEST_F(MemoryFailureTest, RecordsThatWereDurableAreMissedByTheNextOpen) {
  log_.Open();
  log_.AppendQuarters(1, 4);
  log_.Sync();
  CutShort(1, 2 * kPage);
  log_.Kill();
  EXPECT_CODE(log_.TryOpen(), kCorrupt);
}

TEST_F(MemoryFailureTest, RecordsThatWereAppendedInThisBootAreMissedByTheNextOpen) {
  log_.Open();
  log_.AppendQuarters(1, 3);
  CutShort(1, 2 * kPage);
  log_.Kill();
  EXPECT_CODE(log_.TryOpen(), kCorrupt) << "only a restart of the machine can excuse what is missing";
  log_.Reboot();
  EXPECT_OK(log_.TryOpen());
}

TEST_F(MemoryFailureTest, RecordsAreMissedAlsoWhenTheFileWasCutBetweenTwoOfThem) {
  log_.Open();
  log_.AppendQuarters(1, 3);
  log_.Kill();
  CutShort(1, kSegmentHeaderSize);
  EXPECT_CODE(log_.TryOpen(), kCorrupt);
}

TEST_F(MemoryFailureTest, NoLimitIsPublishedOverTheAlarm) {
  ASSERT_OK(log_.layout().Create());
  std::unique_ptr<Segment> segment;
  const SegmentIdentity identity{.segment_id = 1, .salt = 9, .segment_size = kMinSegmentSize};
  ASSERT_OK(Segment::Create(log_.platform(), log_.layout(), identity, kMinSegmentSize, &segment));
  segment->SetLimit(kMinSegmentSize);
  EXPECT_EQ(segment->limit().load(), kMinSegmentSize);
  CutShort(1, 0);
  segment->data()[0] = std::byte{1};
  segment->SetLimit(kMinSegmentSize);
  EXPECT_EQ(segment->limit().load(), Segment::kFailedLimit);
  EXPECT_CODE(segment->CheckMemory(), kIo);
}

// A log that is cut short at any moment, by threads that append as fast as they can.
TEST_F(MemoryFailureTest, AppendersThatRaceWithTheCutAllStop) {
  log_.Open();
  log_.Append("before");
  std::atomic<bool> go{false};
  std::vector<std::thread> threads;
  std::atomic<int> stopped{0};
  for (int t = 0; t < 3; ++t) {
    threads.emplace_back([&] {
      const std::unique_ptr<Appender> appender = log_->NewAppender();
      const std::string data(100, 'x');
      uint64_t last = 0;
      while (const uint64_t sequence = appender->Append(RecordOf(data))) {
        EXPECT_GT(sequence, last);
        last = sequence;
        go = true;
      }
      EXPECT_CODE(appender->failure(), kPoisoned);
      ++stopped;
    });
  }
  while (!go) std::this_thread::yield();
  while (stopped < 3) {
    std::error_code gone;
    std::filesystem::resize_file(log_.SegmentPath(log_->Segments().back().id), 0, gone);
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_CODE(log_->Close(), kPoisoned);
}

}  // namespace
}  // namespace segwal
