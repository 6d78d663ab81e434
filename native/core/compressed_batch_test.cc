// Batches that a codec has compressed: the core stores and hands out bytes that mean nothing to it.
#include <gtest/gtest.h>

#include <algorithm>
#include <random>

#include "testing/assertions.h"
#include "testing/test_log.h"

namespace segwal {
namespace {

class CompressedBatchTest : public testing::Test {
 protected:
  void SetUp() override { log_.Open(); }

  // "Compresses" to something shorter; what it was is remembered here, in the order of sequence numbers.
  uint64_t AppendSqueezed(const std::vector<RecordView>& records, size_t bytes) {
    std::vector<std::byte> plain;
    EXPECT_OK(PackBatch(records, log_->max_frame_size(), &plain));
    const std::string squeezed(bytes, static_cast<char>('a' + plains_.size() % 26));
    const uint64_t first = log_.appender().AppendCompressed(3, static_cast<uint32_t>(records.size()),
                                                            static_cast<uint32_t>(plain.size()), BytesOf(squeezed));
    EXPECT_NE(first, 0u);
    plains_.push_back({first, plain});
    return first;
  }

  const std::vector<std::byte>& PlainOf(uint64_t first) {
    return std::ranges::find(plains_, first, &std::pair<uint64_t, std::vector<std::byte>>::first)->second;
  }

  // What the filter leaves, going through Expand where a compressed batch comes.
  std::vector<std::string> Read(const ReadFilter& filter) {
    std::vector<std::string> read;
    std::unique_ptr<Reader> reader;
    EXPECT_OK(log_->NewReader(filter, &reader));
    std::vector<std::byte> data(TestLog::kSegmentSize);
    std::vector<RecordDescriptor> descriptors(10);
    ReadChunk chunk{.data = data, .records = descriptors};
    do {
      EXPECT_OK(reader->Fill(&chunk));
      std::span<const std::byte> bytes = data;
      std::vector<RecordDescriptor> records(descriptors.begin(), descriptors.begin() + static_cast<long>(chunk.count));
      if (chunk.count != 0 && records[0].attributes >> RecordDescriptor::kCodecShift != 0) {
        EXPECT_EQ(chunk.count, 1u);
        const std::vector<std::byte>& plain = PlainOf(static_cast<uint64_t>(records[0].sequence));
        EXPECT_EQ(records[0].key_length, plain.size());
        records.clear();
        EXPECT_OK(reader->Expand(plain, &records));
        bytes = plain;
      }
      for (const RecordDescriptor& record : records) {
        read.push_back(std::to_string(static_cast<uint64_t>(record.sequence)) + ":" +
                       std::string(reinterpret_cast<const char*>(bytes.data()) + record.data_offset - record.key_length,
                                   record.key_length + record.data_length));
      }
    } while (chunk.count != 0);
    return read;
  }

  using Texts = std::vector<std::string>;
  TestLog log_;
  std::vector<std::pair<uint64_t, std::vector<std::byte>>> plains_;
};

TEST_F(CompressedBatchTest, IsHandedOutAloneAndFiltersHoldForWhatIsInIt) {
  log_.Append("before");
  AppendSqueezed({{.data = BytesOf("a"), .kind = 1},
                  {.data = BytesOf("b"), .key = BytesOf("k="), .kind = 2},
                  {.data = BytesOf("c"), .kind = 1}},
                 10);
  log_.Append("after");
  EXPECT_EQ(Read({}), (Texts{"1:before", "2:a", "3:k=b", "4:c", "5:after"}));
  EXPECT_EQ(Read({.reverse = true}), (Texts{"5:after", "4:c", "3:k=b", "2:a", "1:before"}));
  EXPECT_EQ(Read({.from = 3, .to = 4}), (Texts{"3:k=b", "4:c"}));
  EXPECT_EQ(Read({.from = 5}), (Texts{"5:after"}));
  EXPECT_EQ(Read({.reverse = true, .limit = 2}), (Texts{"5:after", "4:c"}));
  EXPECT_EQ(Read({.limit = 3}), (Texts{"1:before", "2:a", "3:k=b"}));
  EXPECT_EQ(Read({.key = "k="}), (Texts{"3:k=b"}));
}

TEST_F(CompressedBatchTest, IsThereAfterAKillAndVerifiesWithoutACodec) {
  std::mt19937 random{std::random_device{}()};
  const std::vector<RecordView> tiny(40, RecordOf("tick"));
  for (int i = 0; i < 50; ++i) AppendSqueezed(tiny, 1 + random() % 800);
  log_.Kill();
  log_.Open();
  EXPECT_EQ(log_->last_sequence(), 2000u);
  EXPECT_EQ(Read({}).size(), 2000u);
  VerifyReport report;
  ASSERT_OK(log_->Verify({}, &report));
  EXPECT_TRUE(report.ok);
  EXPECT_EQ(report.records, 2000u);
}

TEST_F(CompressedBatchTest, WhatIsNotTheBatchIsRefused) {
  AppendSqueezed({RecordOf("one"), RecordOf("two")}, 5);
  const std::vector<std::byte> good = PlainOf(1);
  auto wrong = [&](auto&& change) {
    std::vector<std::byte> plain = good;
    change(plain);
    std::unique_ptr<Reader> reader;
    EXPECT_OK(log_->NewReader({}, &reader));
    std::vector<std::byte> data(100);
    std::vector<RecordDescriptor> records(1);
    ReadChunk chunk{.data = data, .records = records};
    EXPECT_OK(reader->Fill(&chunk));
    return reader->Expand(plain, &records);
  };
  EXPECT_OK(wrong([](auto&) {}));
  EXPECT_CODE(wrong([](auto& plain) { plain.pop_back(); }), kCorrupt);
  EXPECT_CODE(wrong([](auto& plain) { plain.clear(); }), kCorrupt);
  EXPECT_CODE(wrong([](auto& plain) { plain[0] = std::byte{1}; }), kCorrupt) << "one record fewer";
  EXPECT_CODE(wrong([](auto& plain) { plain[4] = std::byte{200}; }), kCorrupt) << "a record beyond the end";
  std::unique_ptr<Reader> reader;
  ASSERT_OK(log_->NewReader({}, &reader));
  std::vector<RecordDescriptor> records;
  EXPECT_CODE(reader->Expand(good, &records), kCorrupt) << "nothing was handed out";
}

TEST_F(CompressedBatchTest, ABatchThatClaimsToBeLargerThanAnyCanBeIsRefused) {
  const std::string squeezed(100, 's');
  ASSERT_NE(log_.appender().AppendCompressed(1, 2, TestLog::kSegmentSize, BytesOf(squeezed)), 0u);
  std::vector<TestRecord> records;
  const Status status = ReadRecords(log_.log(), {}, &records);
  EXPECT_CODE(status, kCorrupt);
  EXPECT_EQ(status.location().first_sequence, 1u);
  EXPECT_EQ(status.location().last_sequence, 2u);
}

TEST(CompressionPays, OnlyWhenASixteenthIsSaved) {
  EXPECT_FALSE(CompressionPays(1, 1600, 0));
  EXPECT_TRUE(CompressionPays(1, 1600, 1400));
  EXPECT_FALSE(CompressionPays(1, 1600, 1500));
  EXPECT_TRUE(CompressionPays(100, 1600, 10)) << "800 bytes for the numbers";
  EXPECT_FALSE(CompressionPays(190, 1600, 10));
}

}  // namespace
}  // namespace segwal
