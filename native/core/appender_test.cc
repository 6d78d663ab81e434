// Appending: claims, frames, rotation, and many threads at once.
#include "core/appender.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <map>
#include <random>
#include <thread>

#include "testing/assertions.h"
#include "testing/test_log.h"
#include "testing/waiting.h"
#include "testing/writer_parts.h"

namespace segwal {
namespace {

std::string Text(ByteView bytes) { return {reinterpret_cast<const char*>(bytes.data()), bytes.size()}; }

class AppenderTest : public testing::Test {
 protected:
  // The n-th frame of a segment, n from 1, which must be valid; `index` is that of its first record.
  Frame FrameOf(const Segment& segment, size_t n) {
    uint64_t offset = kSegmentHeaderSize;
    uint32_t index = 0;
    Frame frame;
    for (size_t i = 1; i <= n; ++i) {
      EXPECT_EQ(CheckFrame(segment.data(), offset, segment.size(), index, segment.salt_checksum(), &frame),
                FrameState::kValid)
          << "frame " << i;
      offset += frame.padded_length();
      index += frame.count;
    }
    return frame;
  }
  std::vector<TestRecord> RecordsIn(const Frame& frame) {
    std::vector<TestRecord> found;
    FrameRecords records(frame);
    RecordView record;
    while (records.Next(&record)) {
      found.push_back({.sequence = frame.index + records.index(),
                       .data = Text(record.data),
                       .key = record.key ? std::optional(Text(*record.key)) : std::nullopt,
                       .kind = record.kind});
    }
    return found;
  }
  uint64_t OffsetOf(const Segment& segment) { return PointerOffset(segment.pointer().load()); }
  uint64_t CountOf(const Segment& segment) { return PointerCount(segment.pointer().load()); }

  WriterParts parts_{kMinSegmentSize, 100};
  Appender appender_{parts_.state()};
};

TEST_F(AppenderTest, NumbersRecordsFromTheBaseOfTheSegment) {
  EXPECT_EQ(appender_.Append(RecordOf("a")), 100u);
  EXPECT_EQ(appender_.Append(RecordOf("b")), 101u);
  EXPECT_EQ(appender_.AppendBatch(std::vector{RecordOf("c"), RecordOf("d")}), 102u);
  EXPECT_EQ(appender_.Append(RecordOf("e")), 104u);
  EXPECT_EQ(parts_.state().AppendedSequence(), 104u);
}

TEST_F(AppenderTest, WritesAFrameForEachRecord) {
  appender_.Append({.data = BytesOf("plain"), .kind = 7});
  appender_.Append({.data = BytesOf("keyed"), .key = BytesOf("tenant"), .kind = 255});
  appender_.Append({.data = BytesOf(""), .key = BytesOf("")});
  appender_.Append(RecordOf(""));
  const Segment& segment = *parts_.current();
  EXPECT_EQ(RecordsIn(FrameOf(segment, 1)), (std::vector<TestRecord>{{0, "plain", std::nullopt, 7}}));
  EXPECT_EQ(RecordsIn(FrameOf(segment, 2)), (std::vector<TestRecord>{{1, "keyed", "tenant", 255}}));
  EXPECT_EQ(RecordsIn(FrameOf(segment, 3)), (std::vector<TestRecord>{{2, "", "", 0}}));
  EXPECT_EQ(RecordsIn(FrameOf(segment, 4)), (std::vector<TestRecord>{{3, "", std::nullopt, 0}}));
}

TEST_F(AppenderTest, WritesOneFrameForABatch) {
  const std::vector<RecordView> records{{.data = BytesOf("one"), .kind = 1},
                                        {.data = BytesOf("two"), .key = BytesOf("k"), .kind = 2},
                                        {.data = BytesOf(""), .key = BytesOf(""), .kind = 3}};
  EXPECT_EQ(appender_.AppendBatch(records), 100u);
  EXPECT_EQ(RecordsIn(FrameOf(*parts_.current(), 1)),
            (std::vector<TestRecord>{{0, "one", std::nullopt, 1}, {1, "two", "k", 2}, {2, "", "", 3}}));
}

TEST_F(AppenderTest, AppendsPackedRecordsAsTheSameBatch) {
  const std::vector<uint32_t> offsets{2, 5, 5, 9};
  EXPECT_EQ(appender_.AppendPacked({.buffer = BytesOf("..onetwo!.."), .offsets = offsets, .kind = 9}), 100u);
  EXPECT_EQ(appender_.AppendPacked({.buffer = BytesOf("..onetwo!.."), .offsets = offsets, .key = BytesOf("k")}), 103u);
  EXPECT_EQ(
      RecordsIn(FrameOf(*parts_.current(), 1)),
      (std::vector<TestRecord>{{0, "one", std::nullopt, 9}, {1, "", std::nullopt, 9}, {2, "two!", std::nullopt, 9}}));
  EXPECT_EQ(RecordsIn(FrameOf(*parts_.current(), 2)),
            (std::vector<TestRecord>{{3, "one", "k", 0}, {4, "", "k", 0}, {5, "two!", "k", 0}}));
}

TEST_F(AppenderTest, ABatchOfManyKibibytesHasARightChecksum) {
  std::vector<std::string> data;
  for (size_t i = 0; i < 300; ++i) data.push_back(std::string(i, static_cast<char>(i)));
  std::vector<RecordView> records;
  for (const std::string& text : data) records.push_back(RecordOf(text));
  EXPECT_EQ(appender_.AppendBatch(records), 100u);
  const std::vector<TestRecord> found = RecordsIn(FrameOf(*parts_.current(), 1));
  ASSERT_EQ(found.size(), 300u);
  for (size_t i = 0; i < 300; ++i) EXPECT_EQ(found[i].data, data[i]);
}

TEST_F(AppenderTest, AKeyMayHave65535Bytes) {
  WriterParts parts(2 * kMinSegmentSize);
  Appender appender(parts.state());
  const std::string key(kMaxKeySize, 'k');
  EXPECT_EQ(appender.Append({.data = BytesOf("data"), .key = BytesOf(key)}), 1u);
  const std::vector<TestRecord> found = RecordsIn(FrameOf(*parts.current(), 1));
  EXPECT_EQ(found, (std::vector<TestRecord>{{0, "data", key, 0}}));
}

TEST_F(AppenderTest, AFrameSaysWhatWasDurableWhenItWasWritten) {
  appender_.Append(RecordOf("a"));
  parts_.state().durable = 100;
  appender_.Append(RecordOf("b"));
  appender_.AppendBatch(std::vector{RecordOf("c")});
  EXPECT_EQ(FrameOf(*parts_.current(), 1).synced, EncodeSynced(99, 100));
  EXPECT_EQ(FrameOf(*parts_.current(), 2).synced, EncodeSynced(100, 100));
  EXPECT_EQ(FrameOf(*parts_.current(), 3).synced, EncodeSynced(100, 100));
}

TEST_F(AppenderTest, AFrameHasItsTimeAndAClockSetBackDoesNotWrap) {
  const uint64_t created = parts_.current()->identity().created_us;
  parts_.platform().SetTime(created + 5000);
  appender_.Append(RecordOf("a"));
  parts_.platform().SetTime(created - 5000);
  appender_.Append(RecordOf("b"));
  EXPECT_EQ(FrameOf(*parts_.current(), 1).time_us, 5000u);
  EXPECT_EQ(FrameOf(*parts_.current(), 2).time_us, 0u);
}

// ---- claims
// -----------------------------------------------------------------------------------------------------------

TEST_F(AppenderTest, TheClaimStandsInTheFileUntilTheFrameIsCommitted) {
  const Segment& segment = *parts_.current();
  uint32_t word = 0;
  parts_.platform().WatchCoarseClock([&] {
    word = Load<uint32_t>(segment.data() + OffsetOf(segment) - 32);  // each of the frames below takes 32 bytes
  });
  appender_.Append(RecordOf("12345"));
  EXPECT_EQ(word, kClaimBit | 29u) << "a record";
  appender_.Append({.data = BytesOf("12"), .key = BytesOf("k")});
  EXPECT_EQ(word, kClaimBit | 29u) << "a record with a key";
  appender_.Append(RecordOf("12345678"));
  EXPECT_EQ(word, kClaimBit | 32u);
  EXPECT_EQ(FrameOf(segment, 3).length, 32u);
  parts_.platform().WatchCoarseClock([&] { word = Load<uint32_t>(segment.data() + OffsetOf(segment) - 40); });
  appender_.AppendBatch(std::vector{RecordOf("1")});
  EXPECT_EQ(word, kClaimBit | 37u) << "a batch";
}

TEST_F(AppenderTest, AFrameMayEndExactlyWhereTheSegmentEnds) {
  const std::string rest(parts_.state().max_frame_size - 32 - kFrameHeaderSize, 'x');
  EXPECT_EQ(appender_.Append(RecordOf("12345678")), 100u);
  EXPECT_EQ(appender_.Append(RecordOf(rest)), 101u);
  EXPECT_EQ(parts_.current()->id(), 1u);
  EXPECT_EQ(OffsetOf(*parts_.current()), kMinSegmentSize);
  EXPECT_EQ(RecordsIn(FrameOf(*parts_.current(), 2))[0].data, rest);
}

TEST_F(AppenderTest, AFrameThatDoesNotFitGoesIntoTheNextSegment) {
  parts_.ProvideSpare();
  const std::shared_ptr<Segment> full = parts_.current();
  const std::string rest(parts_.state().max_frame_size - 32 - kFrameHeaderSize + 1, 'x');
  EXPECT_EQ(appender_.Append(RecordOf("12345678")), 100u);
  EXPECT_EQ(appender_.Append(RecordOf(rest)), 101u);
  EXPECT_TRUE(PointerSealed(full->pointer()));
  EXPECT_EQ(OffsetOf(*full), kSegmentHeaderSize + 32);
  EXPECT_EQ(CountOf(*full), 1u);
  EXPECT_EQ(parts_.current()->id(), 2u);
  EXPECT_EQ(parts_.current()->base_sequence(), 101u);
  EXPECT_EQ(RecordsIn(FrameOf(*parts_.current(), 1))[0].data, rest);
}

TEST_F(AppenderTest, TheLargestRecordFitsAndOneByteMoreIsRefusedWithTheLimit) {
  const std::string largest(parts_.state().max_frame_size - kFrameHeaderSize, 'x');
  EXPECT_EQ(appender_.Append(RecordOf(largest + "y")), 0u);
  EXPECT_EQ(appender_.failure().code(), ErrorCode::kRecordTooLarge);
  EXPECT_TRUE(Mentions(appender_.failure(), std::to_string(parts_.state().max_frame_size)));
  EXPECT_EQ(CountOf(*parts_.current()), 0u) << "nothing was claimed for it";
  EXPECT_EQ(appender_.Append(RecordOf(largest)), 100u);
}

TEST_F(AppenderTest, ABatchThatIsTooLargeIsRefusedWhole) {
  const std::string half(parts_.state().max_frame_size / 2, 'x');
  EXPECT_EQ(appender_.AppendBatch(std::vector{RecordOf(half), RecordOf(half)}), 0u);
  EXPECT_EQ(appender_.failure().code(), ErrorCode::kRecordTooLarge);
  EXPECT_EQ(CountOf(*parts_.current()), 0u);
}

TEST_F(AppenderTest, NoPlaceIsClaimedOutsideTheWindow) {
  Segment& segment = *parts_.current();
  parts_.SetWindow(segment, kSegmentHeaderSize + 64);
  EXPECT_EQ(appender_.Append(RecordOf("12345678")), 100u);
  EXPECT_EQ(appender_.Append(RecordOf("12345678")), 101u);
  uint64_t sequence = 0;
  std::thread writer([&] {
    Appender appender(parts_.state());
    sequence = appender.Append(RecordOf("12345678"));
  });
  // It waits for the window to reach the end of its frame; meanwhile nothing is claimed.
  EXPECT_TRUE(ComesTrue([&] {
    const std::lock_guard lock(parts_.state().mutex);
    return segment.wanted_end == kSegmentHeaderSize + 96;
  }));
  EXPECT_EQ(CountOf(segment), 2u);
  EXPECT_EQ(OffsetOf(segment), kSegmentHeaderSize + 64);
  parts_.SetWindow(segment, kSegmentHeaderSize + 96);
  writer.join();
  EXPECT_EQ(sequence, 102u);
}

TEST_F(AppenderTest, GivesUpAfterABoundedTimeAndNothingIsWritten) {
  parts_.SetWindow(*parts_.current(), kSegmentHeaderSize);
  EXPECT_EQ(appender_.Append(RecordOf("x")), 0u);
  EXPECT_EQ(appender_.failure().code(), ErrorCode::kBackpressure);
  EXPECT_EQ(CountOf(*parts_.current()), 0u);
  EXPECT_EQ(parts_.state().writer_stalls, 1u);
  EXPECT_GT(parts_.state().writer_stall_ns, 0u);
  parts_.SetWindow(*parts_.current(), kMinSegmentSize);
  EXPECT_EQ(appender_.Append(RecordOf("x")), 100u);
}

TEST_F(AppenderTest, OnceTheLogHasFailedEveryAppendSaysWhy) {
  EXPECT_EQ(appender_.Append(RecordOf("x")), 100u);
  {
    const std::lock_guard lock(parts_.state().mutex);
    parts_.state().Fail(Status(ErrorCode::kPoisoned, "the cause"));
    parts_.state().Fail(Status(ErrorCode::kClosed, "something later"));
  }
  EXPECT_EQ(appender_.Append(RecordOf("x")), 0u);
  EXPECT_EQ(appender_.failure().code(), ErrorCode::kPoisoned);
  EXPECT_EQ(appender_.failure().message(), "the cause");
  EXPECT_EQ(Appender(parts_.state()).AppendBatch(std::vector{RecordOf("x")}), 0u);
}

// ---- waking the syncer
// -------------------------------------------------------------------------------------------------

class SleepingSyncerTest : public AppenderTest {
 protected:
  // What the syncer does to be woken by the next append.
  void FallAsleep() {
    const std::lock_guard lock(parts_.state().mutex);
    parts_.state().syncer_asleep = true;
    parts_.state().PublishLimit(*parts_.state().current);
  }
  bool Asleep() {
    const std::lock_guard lock(parts_.state().mutex);
    return parts_.state().syncer_asleep;
  }
};

TEST_F(SleepingSyncerTest, IsWokenByAnAppend) {
  FallAsleep();
  EXPECT_EQ(appender_.Append(RecordOf("x")), 100u);
  EXPECT_FALSE(Asleep());
}

TEST_F(SleepingSyncerTest, IsWokenWhenItFellAsleepBetweenClaimAndCommit) {
  parts_.platform().WatchCoarseClock([this] { FallAsleep(); });
  EXPECT_EQ(appender_.Append(RecordOf("x")), 100u);
  EXPECT_FALSE(Asleep());
  EXPECT_EQ(appender_.Append({.data = BytesOf("x"), .key = BytesOf("k")}), 101u);
  EXPECT_FALSE(Asleep());
  EXPECT_EQ(appender_.AppendBatch(std::vector{RecordOf("x")}), 102u);
  EXPECT_FALSE(Asleep());
}

// ---- many threads
// -------------------------------------------------------------------------------------------------------

// What thread `thread` appends as its n-th record: its size and content tell both.
std::string RecordOfThread(int thread, int n) {
  std::string data = std::to_string(thread) + ":" + std::to_string(n) + ":";
  return data + std::string(static_cast<size_t>((thread * 31 + n * 17) % 300), static_cast<char>('a' + n % 26));
}

struct Appended {
  uint64_t sequence;
  std::string data;
};

// Appends `count` records as thread `thread`, some by themselves and some in batches.
void AppendAsThread(Log& log, int thread, int count, std::vector<Appended>* appended) {
  const std::unique_ptr<Appender> appender = log.NewAppender();
  for (int n = 0; n < count;) {
    const int batch = n % 5 == 0 ? std::min(4, count - n) : 1;
    std::vector<std::string> data;
    for (int i = 0; i < batch; ++i) data.push_back(RecordOfThread(thread, n + i));
    std::vector<RecordView> records;
    for (const std::string& text : data) records.push_back(RecordOf(text));
    const uint64_t first = batch == 1 ? appender->Append(records[0]) : appender->AppendBatch(records);
    if (first == 0) {
      ASSERT_EQ(appender->failure().code(), ErrorCode::kBackpressure) << appender->failure().message();
      continue;  // a disk that is busy with something else
    }
    for (int i = 0; i < batch; ++i) appended->push_back({first + static_cast<uint64_t>(i), std::move(data[i])});
    n += batch;
  }
}

TEST(ManyAppendersTest, GetSequencesOfTheirOwnWithoutGapsAndInTheirOrder) {
  constexpr int kThreads = 4;
  constexpr int kRecords = 2000;
  TestLog log;
  log.Open({.segment_size = TestLog::kSegmentSize, .sync = SyncPolicy{.delay_us = 500}});
  std::vector<std::vector<Appended>> appended(kThreads);
  std::vector<std::thread> threads;
  for (int t = 0; t < kThreads; ++t) {
    threads.emplace_back([&, t] { AppendAsThread(log.log(), t, kRecords, &appended[static_cast<size_t>(t)]); });
  }
  for (std::thread& thread : threads) thread.join();

  std::map<uint64_t, std::string> by_sequence;
  for (const auto& of_thread : appended) {
    EXPECT_TRUE(std::ranges::is_sorted(of_thread, std::less_equal<>(), &Appended::sequence)) << "order of one thread";
    for (const Appended& one : of_thread) {
      EXPECT_TRUE(by_sequence.emplace(one.sequence, one.data).second) << one.sequence << " was handed out twice";
    }
  }
  EXPECT_EQ(by_sequence.size(), size_t{kThreads * kRecords});
  EXPECT_EQ(by_sequence.rbegin()->first, uint64_t{kThreads * kRecords}) << "a gap";
  EXPECT_EQ(log->last_sequence(), uint64_t{kThreads * kRecords});

  const std::vector<TestRecord> read = RecordsOf(log.log());
  ASSERT_EQ(read.size(), by_sequence.size());
  for (const TestRecord& record : read) EXPECT_EQ(record.data, by_sequence[record.sequence]) << record.sequence;
  EXPECT_GT(log->Stats().rotations, 10u);
  log.Close();
}

TEST(ManyAppendersTest, WhatTheyAppendedIsThereAfterTheProcessDied) {
  TestLog log;
  log.Open();
  std::vector<std::vector<Appended>> appended(3);
  std::vector<std::thread> threads;
  for (int t = 0; t < 3; ++t) {
    threads.emplace_back([&, t] { AppendAsThread(log.log(), t, 500, &appended[static_cast<size_t>(t)]); });
  }
  for (std::thread& thread : threads) thread.join();
  log.Kill();
  log.Open();
  const std::vector<TestRecord> read = RecordsOf(log.log());
  ASSERT_EQ(read.size(), 1500u);
  for (const auto& of_thread : appended) {
    for (const Appended& one : of_thread) EXPECT_EQ(read[one.sequence - 1].data, one.data);
  }
}

}  // namespace
}  // namespace segwal
