#include <gtest/gtest.h>

#include <filesystem>

#include "core/log.h"
#include "testing/assertions.h"
#include "testing/test_log.h"
#include "testing/waiting.h"

namespace segwal {
namespace {

constexpr uint64_t kHour = 3'600'000'000;

class CleanupTest : public testing::Test {
 protected:
  // Twenty records, four to a segment; the last segment is full and not sealed.
  void Fill(const std::optional<Retention>& retention = std::nullopt) {
    LogOptions options = TestLog::WithoutRecycling();
    options.retention = retention;
    log_.Open(options);
    log_.AppendQuarters(1, 20);
    log_.Sync();
  }

  void MakeCheckpoint(uint64_t sequence) {
    Checkpoint made;
    ASSERT_OK(log_->CreateCheckpoint(sequence, std::nullopt, &made));
  }

  uint64_t CleanUp() {
    CleanupResult result;
    EXPECT_OK(log_->Cleanup(&result));
    EXPECT_EQ(result.bytes_freed, result.segments_removed * TestLog::kSegmentSize);
    return result.segments_removed;
  }

  bool HasFile(uint64_t segment) { return std::filesystem::exists(log_.SegmentPath(segment)); }

  TestLog log_;
};

TEST_F(CleanupTest, RemovesNothingThatNobodyHasSpokenOf) {
  Fill();
  EXPECT_EQ(CleanUp(), 0u);
  EXPECT_EQ(log_->first_sequence(), 1u);
}

TEST_F(CleanupTest, RemovesWhatTheNewestCheckpointDoesNotNeed) {
  Fill();
  MakeCheckpoint(3);
  EXPECT_EQ(CleanUp(), 0u);
  MakeCheckpoint(11);
  EXPECT_EQ(CleanUp(), 2u);
  EXPECT_EQ(log_->first_sequence(), 9u);
  EXPECT_FALSE(HasFile(1));
  EXPECT_FALSE(HasFile(2));
  EXPECT_TRUE(HasFile(3));
  MakeCheckpoint(12);
  EXPECT_EQ(CleanUp(), 1u);
  EXPECT_EQ(log_->first_sequence(), 13u);
  log_.Close();
  log_.Open();
  EXPECT_EQ(log_->first_sequence(), 13u);
}

TEST_F(CleanupTest, NeverRemovesTheActiveSegment) {
  Fill();
  MakeCheckpoint(20);
  EXPECT_EQ(CleanUp(), 4u);
  EXPECT_EQ(log_->first_sequence(), 17u);
  EXPECT_EQ(log_.Append("21"), 21u);
}

TEST_F(CleanupTest, KeepsAsManyBytesAsTheRetentionSays) {
  Fill(Retention{.max_bytes = 3 * TestLog::kSegmentSize});
  CleanUp();  // or the log by itself
  EXPECT_EQ(log_->first_sequence(), 9u);
}

TEST_F(CleanupTest, KeepsWhatIsYoungEnough) {
  log_.platform().SetTime(1'800'000'000'000'000);
  Fill(Retention{.max_age_us = 24 * kHour});
  EXPECT_EQ(CleanUp(), 0u);
  log_.platform().SetTime(1'800'000'000'000'000 + 23 * kHour);
  EXPECT_EQ(CleanUp(), 0u);
  log_.AppendQuarters(21, 24);
  log_.Sync();
  log_.platform().SetTime(1'800'000'000'000'000 + 25 * kHour);
  CleanUp();  // or the log by itself
  EXPECT_EQ(log_->first_sequence(), 21u);
}

TEST_F(CleanupTest, WhatTheCheckpointNeedsStaysHoweverOldItIs) {
  Fill(Retention{.max_bytes = 1});
  // Before the log does it by itself this may be late; what counts is what never goes.
  MakeCheckpoint(20);
  CleanUp();
  EXPECT_EQ(log_->first_sequence(), 17u);
  log_.AppendQuarters(21, 32);
  log_.Sync();
  CleanUp();
  EXPECT_EQ(log_->first_sequence(), 21u) << "records behind the checkpoint";
}

TEST_F(CleanupTest, WhatTheRetentionKeepsStaysThoughACheckpointDoesNotNeedIt) {
  Fill(Retention{.max_bytes = 4 * TestLog::kSegmentSize});
  MakeCheckpoint(20);
  CleanUp();
  EXPECT_EQ(log_->first_sequence(), 5u);
}

TEST_F(CleanupTest, AHoldKeepsWhatFollows) {
  Fill();
  MakeCheckpoint(20);
  std::unique_ptr<Holds::Hold> hold = log_->HoldFrom(7);
  EXPECT_EQ(CleanUp(), 1u);
  EXPECT_EQ(log_->first_sequence(), 5u);
  hold->MoveTo(10);
  EXPECT_EQ(CleanUp(), 1u);
  EXPECT_EQ(log_->first_sequence(), 9u);
  EXPECT_EQ(log_->HoldFrom(1)->sequence(), 9u) << "what is gone cannot be held";
  hold.reset();
  EXPECT_EQ(CleanUp(), 2u);
}

TEST_F(CleanupTest, AReaderKeepsWhatItHasNotReadYet) {
  Fill();
  MakeCheckpoint(20);
  std::unique_ptr<Reader> reader;
  ASSERT_OK(log_->NewReader({}, &reader));
  EXPECT_EQ(CleanUp(), 0u);
  std::vector<std::byte> data(TestLog::kSegmentSize);
  std::array<RecordDescriptor, 1> descriptors;
  ReadChunk chunk{.data = data, .records = descriptors};
  for (uint64_t sequence = 1; sequence <= 20; ++sequence) {
    ASSERT_OK(reader->Fill(&chunk));
    ASSERT_EQ(chunk.count, 1u);
    EXPECT_EQ(descriptors[0].sequence, static_cast<double>(sequence));
    CleanUp();
  }
  EXPECT_EQ(log_->first_sequence(), 17u);
  ASSERT_OK(log_->NewReader({}, &reader));
  reader->Close();
  log_.AppendQuarters(21, 24);
  MakeCheckpoint(24);
  EXPECT_EQ(CleanUp(), 1u) << "a reader that was closed holds nothing";
}

// As a system does that will not delete what is mapped somewhere.
TEST_F(CleanupTest, ADeletionThatIsRefusedIsTriedAgain) {
  Fill();
  MakeCheckpoint(12);
  log_.platform().Watch(nullptr);
  const auto refuse = [this](int nth) {
    log_.platform().FailFrom(Operation::kRemove, Status(ErrorCode::kIo, "it is in use", 26), nth);
  };
  refuse(2);  // the first that is removed is the temporary file of wal.meta
  CleanupResult result;
  EXPECT_CODE(log_->Cleanup(&result), kIo);
  EXPECT_EQ(result.segments_removed, 3u);
  EXPECT_EQ(result.bytes_freed, 0u);
  EXPECT_EQ(log_->first_sequence(), 13u) << "they do not belong to the log any more";
  EXPECT_TRUE(HasFile(1) && HasFile(2) && HasFile(3));
  log_.platform().Heal();
  result = {};
  ASSERT_OK(log_->Cleanup(&result));
  EXPECT_EQ(result.segments_removed, 0u);
  EXPECT_EQ(result.bytes_freed, 3 * TestLog::kSegmentSize);
  EXPECT_FALSE(HasFile(1) || HasFile(2) || HasFile(3));
}

TEST_F(CleanupTest, WhatWasRefusedGoesWithCloseOrTheNextOpen) {
  for (const bool kill : {false, true}) {
    TestLog log;
    log.Open(TestLog::WithoutRecycling());
    log.AppendQuarters(1, 20);
    log.platform().FailFrom(Operation::kRemove, Status(ErrorCode::kIo, "it is in use", 26), 2);
    EXPECT_CODE(log->TruncateBefore(9), kIo);
    log.platform().Heal();
    kill ? log.Kill() : log.Close();
    EXPECT_EQ(std::filesystem::exists(log.SegmentPath(1)), kill);
    log.Open();
    EXPECT_FALSE(std::filesystem::exists(log.SegmentPath(1)));
    EXPECT_EQ(log->first_sequence(), 9u);
  }
}

TEST_F(CleanupTest, HappensByItselfWithARetention) {
  Fill(Retention{.max_bytes = 2 * TestLog::kSegmentSize});
  EXPECT_TRUE(ComesTrue([this] { return log_->first_sequence() == 13u && !HasFile(3); }));
  log_.Close();
}

}  // namespace
}  // namespace segwal
