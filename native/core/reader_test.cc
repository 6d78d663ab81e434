// Reading: both directions, every filter, chunks of any size, damage, and segments that go away.
#include "core/reader.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <random>
#include <thread>

#include "testing/assertions.h"
#include "testing/test_log.h"

namespace segwal {
namespace {

class ReaderTest : public testing::Test {
 protected:
  void SetUp() override { log_.Open(); }

  std::vector<std::string> Read(const ReadFilter& filter) { return DataOf(log_.log(), filter); }
  // Records "1", "2", … of a length such that `per_segment` of them fill a segment.
  void AppendNumbers(uint64_t last, size_t pad = 0) {
    for (uint64_t i = 1; i <= last; ++i) log_.Append(std::to_string(i) + std::string(pad, ' '));
  }

  using Texts = std::vector<std::string>;
  TestLog log_;
};

TEST_F(ReaderTest, AnEmptyLogHasNothing) {
  EXPECT_TRUE(Read({}).empty());
  EXPECT_TRUE(Read({.reverse = true}).empty());
}

TEST_F(ReaderTest, ReadsForwardsAndBackwards) {
  AppendNumbers(4);
  EXPECT_EQ(Read({}), (Texts{"1", "2", "3", "4"}));
  EXPECT_EQ(Read({.reverse = true}), (Texts{"4", "3", "2", "1"}));
}

TEST_F(ReaderTest, RangesIncludeBothEnds) {
  AppendNumbers(5);
  EXPECT_EQ(Read({.from = 2, .to = 4}), (Texts{"2", "3", "4"}));
  EXPECT_EQ(Read({.from = 2, .to = 4, .reverse = true}), (Texts{"4", "3", "2"}));
  EXPECT_EQ(Read({.from = 3, .to = 3}), (Texts{"3"}));
  EXPECT_TRUE(Read({.from = 4, .to = 3}).empty());
  EXPECT_TRUE(Read({.from = 4, .to = 3, .reverse = true}).empty());
  EXPECT_TRUE(Read({.from = 6}).empty());
  EXPECT_EQ(Read({.from = 0, .to = 1}), (Texts{"1"}));
}

TEST_F(ReaderTest, LimitsCountFromWhereReadingBegins) {
  AppendNumbers(5);
  EXPECT_EQ(Read({.limit = 2}), (Texts{"1", "2"}));
  EXPECT_EQ(Read({.reverse = true, .limit = 2}), (Texts{"5", "4"}));
  EXPECT_TRUE(Read({.limit = 0}).empty());
}

TEST_F(ReaderTest, BatchesAreTheirRecordsAndRangesMayCutThem) {
  log_.Append("1");
  log_.AppendBatch({"2", "3", "4"});
  log_.Append("5");
  EXPECT_EQ(Read({}), (Texts{"1", "2", "3", "4", "5"}));
  EXPECT_EQ(Read({.from = 3, .to = 3}), (Texts{"3"}));
  EXPECT_EQ(Read({.from = 3}), (Texts{"3", "4", "5"}));
  EXPECT_EQ(Read({.to = 3, .reverse = true}), (Texts{"3", "2", "1"}));
}

TEST_F(ReaderTest, FiltersByKindKeyAndTime) {
  const uint64_t t = log_.platform().Now() + 1'000'000;
  const auto append = [&](const char* data, uint64_t time, uint8_t kind, std::optional<ByteView> key) {
    log_.platform().SetTime(time);
    log_.Append({.data = BytesOf(data), .key = key, .kind = kind});
  };
  append("1", t + 10, 1, BytesOf("a"));
  append("2", t + 20, 2, std::nullopt);
  append("3", t + 30, 1, BytesOf("ab"));
  append("4", t + 40, 3, BytesOf(""));
  ReadFilter kinds;
  kinds.kinds.emplace().fill(false);
  (*kinds.kinds)[1] = (*kinds.kinds)[3] = true;
  EXPECT_EQ(Read(kinds), (Texts{"1", "3", "4"}));
  EXPECT_EQ(Read({.key = "a"}), (Texts{"1"}));
  EXPECT_EQ(Read({.key = ""}), (Texts{"4"})) << "an empty key is not the same as none";
  EXPECT_TRUE(Read({.key = "b"}).empty());
  EXPECT_EQ(Read({.from_time_us = t + 20, .to_time_us = t + 30}), (Texts{"2", "3"}));
  EXPECT_EQ(Read({.from_time_us = t + 20, .reverse = true, .key = "ab"}), (Texts{"3"}));
}

TEST_F(ReaderTest, GivesTimeAndKindAndKey) {
  log_.platform().SetTime(log_.platform().Now() + 1'000'000);
  log_.Append({.data = BytesOf("data"), .key = BytesOf("key"), .kind = 9});
  std::unique_ptr<Reader> reader;
  ASSERT_OK(log_->NewReader({}, &reader));
  std::vector<std::byte> data(100);
  std::vector<RecordDescriptor> records(1);
  ReadChunk chunk{.data = data, .records = records};
  ASSERT_OK(reader->Fill(&chunk));
  ASSERT_EQ(chunk.count, 1u);
  EXPECT_EQ(records[0].sequence, 1);
  EXPECT_EQ(records[0].time_ms, static_cast<double>(log_.platform().Now()) / 1000);
  EXPECT_EQ(records[0].key_length, 3u);
  EXPECT_EQ(records[0].data_offset, 3u);
  EXPECT_EQ(records[0].data_length, 4u);
  EXPECT_EQ(records[0].attributes, 9 | RecordDescriptor::kHasKey);
}

TEST_F(ReaderTest, GoesThroughSegments) {
  log_.AppendQuarters(1, 10);
  for (bool reverse : {false, true}) {
    const std::vector<TestRecord> records = RecordsOf(log_.log(), {.reverse = reverse});
    ASSERT_EQ(records.size(), 10u);
    for (size_t i = 0; i < 10; ++i) {
      const uint64_t sequence = reverse ? 10 - i : i + 1;
      EXPECT_EQ(records[i].sequence, sequence);
      EXPECT_EQ(records[i].data, TestLog::QuarterRecord(sequence));
    }
  }
}

TEST_F(ReaderTest, ReadsOneSegmentWhenAskedTo) {
  log_.AppendQuarters(1, 10);
  EXPECT_EQ(Read({.segment = 2}).size(), 4u);
  EXPECT_EQ(Read({.segment = 2})[0], TestLog::QuarterRecord(5));
  EXPECT_EQ(Read({.reverse = true, .segment = 3}), (Texts{TestLog::QuarterRecord(10), TestLog::QuarterRecord(9)}));
  std::unique_ptr<Reader> reader;
  EXPECT_CODE(log_->NewReader({.segment = 9}, &reader), kNotFound);
}

TEST_F(ReaderTest, SeesWhatWasThereWhenItWasMade) {
  AppendNumbers(2);
  std::unique_ptr<Reader> reader;
  ASSERT_OK(log_->NewReader({}, &reader));
  log_.Append("3");
  std::vector<std::byte> data(100);
  std::vector<RecordDescriptor> records(10);
  ReadChunk chunk{.data = data, .records = records};
  ASSERT_OK(reader->Fill(&chunk));
  EXPECT_EQ(chunk.count, 2u);
}

TEST_F(ReaderTest, FillersHaveNoRecords) {
  AppendNumbers(5);
  log_.Kill();
  log_.Edit(1, [](SegmentFile& segment) {
    StoreFiller(segment.data(), segment.FrameAt(2), 64, 1, 2, segment.salt_checksum());
  });
  log_.Open();
  EXPECT_EQ(Read({}), (Texts{"1", "4", "5"}));
  EXPECT_EQ(Read({.reverse = true}), (Texts{"5", "4", "1"}));
  EXPECT_TRUE(Read({.from = 2, .to = 3}).empty());
}

// ---- chunks
// -----------------------------------------------------------------------------------------------------------

TEST_F(ReaderTest, ChunksAreFilledOneAfterTheOther) {
  AppendNumbers(500);
  Texts expected;
  for (int i = 1; i <= 500; ++i) expected.push_back(std::to_string(i));
  for (size_t bytes : {size_t{3}, size_t{10}, size_t{100000}}) {
    for (size_t count : {size_t{1}, size_t{7}, size_t{1000}}) {
      std::vector<TestRecord> records;
      ASSERT_OK(ReadRecords(log_.log(), {}, &records, bytes, count));
      Texts data;
      for (const TestRecord& record : records) data.push_back(record.data);
      EXPECT_EQ(data, expected) << "chunks of " << bytes << " bytes and " << count << " records";
    }
  }
}

TEST_F(ReaderTest, ARecordThatIsLargerThanTheChunkSaysWhatItNeeds) {
  log_.Append("small");
  log_.Append({.data = BytesOf(std::string(1000, 'x')), .key = BytesOf("key")});
  std::unique_ptr<Reader> reader;
  ASSERT_OK(log_->NewReader({}, &reader));
  std::vector<std::byte> data(10);
  std::vector<RecordDescriptor> records(10);
  ReadChunk chunk{.data = data, .records = records};
  ASSERT_OK(reader->Fill(&chunk));
  EXPECT_EQ(chunk.count, 1u);
  EXPECT_EQ(chunk.needed, 0u);
  ASSERT_OK(reader->Fill(&chunk));
  EXPECT_EQ(chunk.count, 0u);
  EXPECT_EQ(chunk.needed, 1003u);
  data.resize(1003);
  chunk.data = data;
  ASSERT_OK(reader->Fill(&chunk));
  EXPECT_EQ(chunk.count, 1u);
  EXPECT_EQ(records[0].data_length, 1000u);
  ASSERT_OK(reader->Fill(&chunk));
  EXPECT_EQ(chunk.count, 0u);
  EXPECT_EQ(chunk.needed, 0u);
}

TEST_F(ReaderTest, AClosedReaderReturnsNothing) {
  AppendNumbers(3);
  std::unique_ptr<Reader> reader;
  ASSERT_OK(log_->NewReader({}, &reader));
  reader->Close();
  std::vector<std::byte> data(100);
  std::vector<RecordDescriptor> records(10);
  ReadChunk chunk{.data = data, .records = records};
  ASSERT_OK(reader->Fill(&chunk));
  EXPECT_EQ(chunk.count, 0u);
}

// ---- against a model
// ----------------------------------------------------------------------------------------------------

class ReaderModelTest : public ReaderTest {
 protected:
  unsigned seed_ = std::random_device{}();
  std::mt19937 random_{seed_};
  uint64_t Below(uint64_t limit) { return random_() % limit; }

  std::string RandomData() {
    const uint64_t size = Below(20) == 0 ? Below(30000) : Below(200);
    return std::string(size, static_cast<char>(random_()));
  }
  std::optional<std::string> RandomKey() {
    static const std::vector<std::string> kKeys{"", "a", "b", "tenant"};
    return Below(2) == 0 ? std::nullopt : std::optional(kKeys[Below(kKeys.size())]);
  }

  void AppendSomething() {
    std::vector<TestRecord> added(Below(4) == 0 ? 1 + Below(6) : 1);
    std::vector<RecordView> views;
    for (TestRecord& record : added) {
      record = {.data = RandomData().substr(0, added.size() == 1 ? 30000 : 8000),
                .key = RandomKey(),
                .kind = static_cast<uint8_t>(Below(4))};
    }
    for (const TestRecord& record : added) {
      views.push_back({.data = BytesOf(record.data),
                       .key = record.key ? std::optional(BytesOf(*record.key)) : std::nullopt,
                       .kind = record.kind});
    }
    uint64_t sequence = added.size() == 1 ? log_.Append(views[0]) : log_.appender().AppendBatch(views);
    ASSERT_NE(sequence, 0u);
    for (TestRecord& record : added) {
      record.sequence = sequence++;
      model_.push_back(std::move(record));
    }
  }

  ReadFilter RandomFilter() {
    ReadFilter filter;
    if (Below(2) == 0) filter.from = Below(model_.size() + 5);
    if (Below(2) == 0) filter.to = Below(model_.size() + 5);
    if (Below(3) == 0) filter.limit = Below(50);
    if (Below(3) == 0) filter.key = RandomKey();
    if (Below(3) == 0) {
      filter.kinds.emplace().fill(false);
      (*filter.kinds)[Below(4)] = (*filter.kinds)[Below(4)] = true;
    }
    filter.reverse = Below(2) == 0;
    return filter;
  }

  std::vector<TestRecord> Expected(const ReadFilter& filter) {
    std::vector<TestRecord> expected;
    for (const TestRecord& record : model_) {
      const bool wanted = record.sequence >= filter.from && record.sequence <= filter.to &&
                          (!filter.kinds || (*filter.kinds)[record.kind]) && (!filter.key || record.key == filter.key);
      if (wanted) expected.push_back(record);
    }
    if (filter.reverse) std::ranges::reverse(expected);
    if (expected.size() > filter.limit) expected.resize(filter.limit);
    return expected;
  }

  std::vector<TestRecord> model_;
};

TEST_F(ReaderModelTest, AnyFilterGivesWhatTheModelGives) {
  SCOPED_TRACE("seed " + std::to_string(seed_));
  for (int round = 0; round < 5; ++round) {
    for (int i = 0; i < 200; ++i) AppendSomething();
    if (Below(2) == 0) log_.Sync();
    if (Below(3) == 0) {
      log_.Kill();
      log_.Open();
    }
    for (int i = 0; i < 40; ++i) {
      const ReadFilter filter = RandomFilter();
      std::vector<TestRecord> records;
      ASSERT_OK(ReadRecords(log_.log(), filter, &records, 1 + Below(50000), 1 + Below(100)));
      ASSERT_EQ(records, Expected(filter)) << "from " << filter.from << " to " << filter.to << " limit " << filter.limit
                                           << (filter.reverse ? " reverse" : "");
    }
  }
}

TEST_F(ReaderTest, ReadsWhileOthersAppend) {
  std::thread writer([&] { AppendNumbers(3000, 100); });
  size_t seen = 0;
  while (seen < 3000) {
    const std::vector<TestRecord> records = RecordsOf(log_.log(), {.from = seen + 1});
    for (const TestRecord& record : records) {
      ASSERT_EQ(record.sequence, ++seen);
      ASSERT_EQ(record.data.substr(0, record.data.find(' ')), std::to_string(seen));
    }
  }
  writer.join();
}

// ---- damage and truncation
// --------------------------------------------------------------------------------------------

class DamagedReaderTest : public ReaderTest {
 protected:
  // Thirty records in a sealed segment, the eleventh of them damaged, and one more behind it.
  void SetUp() override {
    ReaderTest::SetUp();
    AppendNumbers(30);
    ASSERT_OK(log_->Rotate());
    log_.Append("31");
    log_.Sync();
    log_.Kill();
    log_.Edit(1, [](SegmentFile& segment) { segment.Flip(11); });
    log_.Open();
    ASSERT_EQ(log_->last_sequence(), 31u) << "a seal is trusted; reading proves it";
  }
};

TEST_F(DamagedReaderTest, WhatStandsBeforeTheDamageIsHandedOutFirst) {
  std::vector<TestRecord> records;
  const Status status = ReadRecords(log_.log(), {}, &records);
  EXPECT_CODE(status, kCorrupt);
  EXPECT_EQ(status.location().segment, 1u);
  EXPECT_EQ(status.location().first_sequence, 11u);
  EXPECT_GT(status.location().offset, kSegmentHeaderSize);
  ASSERT_EQ(records.size(), 10u);
  EXPECT_EQ(records.back().data, "10");
}

TEST_F(DamagedReaderTest, TheDamageIsMetAgainAndNothingIsReadPastIt) {
  for (bool reverse : {false, true}) {
    std::unique_ptr<Reader> reader;
    ASSERT_OK(log_->NewReader({.reverse = reverse}, &reader));
    std::vector<std::byte> data(1000);
    std::vector<RecordDescriptor> descriptors(100);
    ReadChunk chunk{.data = data, .records = descriptors};
    Status status;
    while (status.ok()) {
      status = reader->Fill(&chunk);
      ASSERT_TRUE(!status.ok() || chunk.count != 0) << "the end was reached";
    }
    EXPECT_CODE(status, kCorrupt) << reverse;
    EXPECT_CODE(reader->Fill(&chunk), kCorrupt) << reverse;
    EXPECT_EQ(chunk.count, 0u) << reverse;
  }
}

TEST_F(DamagedReaderTest, BackwardsNothingIsReadPastTheDamageEither) {
  std::vector<TestRecord> records;
  EXPECT_CODE(ReadRecords(log_.log(), {.reverse = true}, &records), kCorrupt);
  ASSERT_FALSE(records.empty());
  EXPECT_EQ(records.front().data, "31");
  for (const TestRecord& record : records) EXPECT_GT(record.sequence, 11u);
}

TEST_F(DamagedReaderTest, RecordsBehindTheDamageCanStillBeReadFromTheNextSegmentOn) {
  EXPECT_EQ(Read({.from = 31}), (Texts{"31"}));
  EXPECT_EQ(Read({.to = 10}).size(), 10u);
}

TEST_F(ReaderTest, ARecordThatWasCompressedByANewerBuildIsNotHandedOutRaw) {
  AppendNumbers(1);
  log_.Kill();
  log_.Edit(1, [](SegmentFile& segment) {
    std::byte* at = segment.data() + segment.FrameAt(1);
    at[23] = std::byte{1 << kCodecShift};
    Frame frame;
    ASSERT_EQ(PeekFrame(segment.data(), segment.FrameAt(1), segment.size(), &frame), FrameState::kValid);
    Store(at + 4, Crc32cFrame(segment.salt_checksum(), frame.length, Load<uint64_t>(at + 8), Load<uint64_t>(at + 16),
                              frame.payload, frame.payload_size));
  });
  log_.Open();
  std::vector<TestRecord> records;
  EXPECT_CODE(ReadRecords(log_.log(), {}, &records), kUnsupportedVersion);
}

TEST_F(ReaderTest, KeepsTheSegmentThatItIsInAndIsToldWhenTheNextIsGone) {
  log_.AppendQuarters(1, 12);
  std::unique_ptr<Reader> reader;
  ASSERT_OK(log_->NewReader({}, &reader));
  std::vector<std::byte> data(TestLog::kQuarter);
  std::vector<RecordDescriptor> records(1);
  ReadChunk chunk{.data = data, .records = records};
  ASSERT_OK(reader->Fill(&chunk));
  ASSERT_OK(log_->TruncateBefore(9));
  for (int sequence = 2; sequence <= 4; ++sequence) {
    ASSERT_OK(reader->Fill(&chunk));
    ASSERT_EQ(chunk.count, 1u);
    EXPECT_EQ(records[0].sequence, sequence);
  }
  EXPECT_CODE(reader->Fill(&chunk), kTruncated);
  EXPECT_CODE(log_->NewReader({.segment = 1}, &reader), kTruncated);
  EXPECT_EQ(Read({}).size(), 4u) << "a new reader begins with what is there";
}

}  // namespace
}  // namespace segwal
