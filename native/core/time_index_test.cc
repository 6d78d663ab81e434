// Reading by time: what is delivered, whatever the order of times, and what is not even looked at.
#include "core/time_index.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <fstream>
#include <random>

#include "testing/assertions.h"
#include "testing/test_log.h"

namespace segwal {
namespace {

class TimeTest : public testing::Test {
 protected:
  static constexpr uint64_t kSize = uint64_t{1} << 20;

  struct Appended {
    uint64_t sequence;
    uint64_t time_us;
  };

  void SetUp() override {
    LogOptions options = TestLog::Options();
    options.segment_size = kSize;
    time_ = log_.platform().Now();
    log_.platform().SetTime(time_);
    log_.Open(options);
  }

  uint64_t Below(uint64_t bound) { return std::uniform_int_distribution<uint64_t>(0, bound - 1)(random_); }

  // Appends a record, or a few as a batch, at `time_us`, or at the time that the segment began, if that is later.
  void AppendAt(uint64_t time_us, size_t bytes, size_t batch = 1) {
    log_.platform().SetTime(time_us);
    const std::string data(bytes, 'x');
    const uint64_t first = batch == 1 ? log_.Append(data) : log_.AppendBatch(std::vector<std::string>(batch, data));
    for (size_t i = 0; i < batch; ++i) appended_.push_back({first + i, time_us});
  }

  // What the log itself says of the times, read without a range.
  void TakeTimesFromTheLog() {
    appended_.clear();
    std::unique_ptr<Reader> reader;
    ASSERT_OK(log_->NewReader({}, &reader));
    std::vector<std::byte> data(1u << 20);
    std::vector<RecordDescriptor> records(1024);
    ReadChunk chunk{.data = data, .records = records};
    do {
      ASSERT_OK(reader->Fill(&chunk));
      for (size_t i = 0; i < chunk.count; ++i) {
        appended_.push_back({static_cast<uint64_t>(records[i].sequence),
                             static_cast<uint64_t>(std::llround(records[i].time_ms * 1000))});
      }
    } while (chunk.count != 0);
  }

  std::vector<uint64_t> Expected(const ReadFilter& filter) const {
    std::vector<uint64_t> sequences;
    for (const Appended& each : appended_) {
      if (each.sequence < filter.from || each.sequence > filter.to) continue;
      if (each.time_us >= filter.from_time_us && each.time_us <= filter.to_time_us) sequences.push_back(each.sequence);
    }
    if (filter.reverse) std::ranges::reverse(sequences);
    return sequences;
  }

  Status Read(const ReadFilter& filter, std::vector<uint64_t>* sequences) {
    std::vector<TestRecord> records;
    Status status = ReadRecords(log_.log(), filter, &records);
    for (const TestRecord& record : records) sequences->push_back(record.sequence);
    return status;
  }

  // Turns a bit in the file, while the log is open: readers see it at once.
  void TurnBit(uint64_t segment, uint64_t offset) {
    std::fstream file(log_.SegmentPath(segment), std::ios::in | std::ios::out | std::ios::binary);
    char byte = 0;
    file.seekg(static_cast<std::streamoff>(offset)).get(byte);
    file.seekp(static_cast<std::streamoff>(offset)).put(static_cast<char>(byte ^ 1));
  }

  const uint64_t seed_ = std::random_device{}();
  std::mt19937_64 random_{seed_};
  uint64_t time_ = 0;
  TestLog log_;
  std::vector<Appended> appended_;
};

// Clocks that run, stand, jump ahead and are set back.
TEST_F(TimeTest, EveryRecordWhoseOwnTimeIsInTheRangeIsDeliveredAndNoOther) {
  SCOPED_TRACE("seed " + std::to_string(seed_));
  size_t most_segments = 0;
  for (int round = 0; round < 8; ++round) {
    for (int i = 0; i < 600; ++i) {
      const uint64_t dice = Below(100);
      if (dice < 3) {
        time_ -= std::min<uint64_t>(time_, Below(3'000'000));
      } else if (dice < 5) {
        time_ += Below(20'000'000);
      } else if (dice < 60) {
        time_ += Below(2000);
      }
      AppendAt(time_, Below(10) == 0 ? Below(20'000) : Below(1500), Below(8) == 0 ? 1 + Below(20) : 1);
    }
    if (Below(3) == 0) {
      ASSERT_OK(log_->Rotate());
    }
    TakeTimesFromTheLog();
    const auto any_time = [this] {
      return appended_[Below(appended_.size())].time_us + (Below(3) == 0 ? Below(3000) : 0);
    };
    for (int i = 0; i < 60; ++i) {
      ReadFilter filter{.reverse = Below(2) == 0};
      if (Below(3) != 0) filter.from_time_us = any_time();
      if (Below(3) != 0) filter.to_time_us = any_time();
      if (Below(4) == 0) filter.from = 1 + Below(appended_.size());
      if (Below(4) == 0) filter.to = 1 + Below(appended_.size());
      std::vector<uint64_t> sequences;
      ASSERT_OK(Read(filter, &sequences));
      ASSERT_EQ(sequences, Expected(filter)) << filter.from << " … " << filter.to << ", times " << filter.from_time_us
                                             << " … " << filter.to_time_us << (filter.reverse ? ", reverse" : "");
    }
    most_segments = std::max(most_segments, log_->Segments().size());
    if (Below(2) == 0) {
      // What was known of the times behind the cut must not be taken for what comes there next.
      const Status status = log_->TruncateAfter(appended_.size() / 2 + Below(appended_.size() / 2));
      ASSERT_TRUE(status.ok() || status.code() == ErrorCode::kInsideBatch) << status.message();
    }
  }
  EXPECT_GT(most_segments, 4u);
}

TEST_F(TimeTest, TimesThatWereCutAwayAreForgotten) {
  for (uint64_t i = 0; i < 100; ++i) AppendAt(time_ + i * 1000, 4000);
  std::vector<uint64_t> before;
  ASSERT_OK(Read({.from_time_us = time_ + 99'000}, &before));
  EXPECT_EQ(before, std::vector<uint64_t>{100});
  ASSERT_OK(log_->TruncateAfter(50));
  for (uint64_t i = 0; i < 50; ++i) AppendAt(time_ + 200'000 + i * 1000, 4000);
  std::vector<uint64_t> after;
  ASSERT_OK(Read({.from_time_us = time_ + 230'000, .to_time_us = time_ + 231'000}, &after));
  EXPECT_EQ(after, (std::vector<uint64_t>{81, 82}));
}

TEST_F(TimeTest, AReaderThatGoesOnSeesWhatCameInItsRange) {
  AppendAt(time_ + 1000, 100);
  std::unique_ptr<Reader> reader;
  ASSERT_OK(log_->NewReader({.from_time_us = time_ + 2000, .to_time_us = time_ + 5000}, &reader));
  std::vector<std::byte> data(1u << 20);
  std::vector<RecordDescriptor> records(10);
  ReadChunk chunk{.data = data, .records = records};
  ASSERT_OK(reader->Fill(&chunk));
  EXPECT_EQ(chunk.count, 0u);
  AppendAt(time_ + 3000, 100);
  AppendAt(time_ + 9000, 100);
  ASSERT_OK(log_->Rotate());
  AppendAt(time_ + 4000, 100);  // the clock was set back
  reader->Extend(log_->last_sequence());
  std::vector<double> sequences;
  do {
    ASSERT_OK(reader->Fill(&chunk));
    for (size_t i = 0; i < chunk.count; ++i) sequences.push_back(records[i].sequence);
  } while (chunk.count != 0);
  // The time of the new segment is where it began: its first record cannot be earlier than that.
  EXPECT_EQ(sequences, std::vector<double>{2});
}

// Three segments of a second each, with a record of a KiB every ms.
class SkippingTest : public TimeTest {
 protected:
  void SetUp() override {
    TimeTest::SetUp();
    for (uint64_t i = 0; i < 2700; ++i) {
      if (i == 900 || i == 1800) {
        ASSERT_OK(log_->Rotate());
      }
      AppendAt(time_ + i * 1000, 1000);
    }
    log_.Sync();
  }
  ReadFilter Between(uint64_t first, uint64_t last, bool reverse = false) const {
    return {.from_time_us = time_ + first * 1000, .to_time_us = time_ + last * 1000, .reverse = reverse};
  }
};

TEST_F(SkippingTest, ASegmentWhoseSealIsOutsideOfTheRangeIsNotLookedAt) {
  TurnBit(1, kSegmentHeaderSize + 500);
  for (bool reverse : {false, true}) {
    std::vector<uint64_t> sequences;
    EXPECT_OK(Read(Between(1000, 1010, reverse), &sequences));
    EXPECT_EQ(sequences, Expected(Between(1000, 1010, reverse)));
    EXPECT_EQ(sequences.size(), 11u);
  }
  std::vector<uint64_t> sequences;
  EXPECT_CODE(Read(Between(0, 10), &sequences), kCorrupt);
}

TEST_F(SkippingTest, StretchesOutsideOfTheRangeAreNotLookedAtAgain) {
  for (uint64_t segment : {2, 3}) {  // one with a seal, and the active one
    const uint64_t first = (segment - 1) * 900;
    std::vector<uint64_t> before;
    ASSERT_OK(Read(Between(first + 895, first + 895), &before));
    // What stands before is damaged only now: who reads it, notices.
    TurnBit(segment, kSegmentHeaderSize + 500);
    for (bool reverse : {false, true}) {
      const ReadFilter filter = Between(first + 600, first + 605, reverse);
      std::vector<uint64_t> sequences;
      EXPECT_OK(Read(filter, &sequences));
      EXPECT_EQ(sequences, Expected(filter));
    }
    std::vector<uint64_t> damaged;
    EXPECT_CODE(Read(Between(first, first + 5), &damaged), kCorrupt);
  }
}

// Each record is larger than a stretch, so that nothing else is in it which the range would meet.
TEST_F(TimeTest, ADamagedTimeIsNotPassedOverInSilence) {
  constexpr size_t kBytes = 70'000;
  constexpr uint64_t kFrame = AlignUp(kFrameHeaderSize + kBytes, kFrameAlignment);
  for (uint64_t i = 0; i < 8; ++i) AppendAt(time_ + i * 1000, kBytes);
  TurnBit(1, kSegmentHeaderSize + 3 * kFrame + 18);  // the third byte of the time of record 4: 65 ms more
  for (bool reverse : {false, true}) {
    std::vector<uint64_t> sequences;
    const ReadFilter filter{.from_time_us = time_ + 3000, .to_time_us = time_ + 3000, .reverse = reverse};
    EXPECT_CODE(Read(filter, &sequences), kCorrupt) << reverse;
    EXPECT_TRUE(sequences.empty());
  }
}

TEST_F(SkippingTest, ARangeInWhichNothingLiesIsEmpty) {
  for (bool reverse : {false, true}) {
    std::vector<uint64_t> sequences;
    ReadFilter after = Between(5000, 6000, reverse);
    EXPECT_OK(Read(after, &sequences));
    ReadFilter between{.from_time_us = time_ + 899'001, .to_time_us = time_ + 899'900, .reverse = reverse};
    EXPECT_OK(Read(between, &sequences));
    ReadFilter before{.to_time_us = time_ - 1, .reverse = reverse};
    EXPECT_OK(Read(before, &sequences));
    ReadFilter backwards = Between(20, 10, reverse);
    EXPECT_OK(Read(backwards, &sequences));
    EXPECT_TRUE(sequences.empty());
  }
}

}  // namespace
}  // namespace segwal
