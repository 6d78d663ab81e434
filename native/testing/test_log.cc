#include "testing/test_log.h"

#include <gtest/gtest.h>

#include "testing/assertions.h"
#include "testing/waiting.h"

namespace segwal {
namespace {

std::string TextOf(ByteView bytes) { return {reinterpret_cast<const char*>(bytes.data()), bytes.size()}; }

TestRecord RecordFrom(const RecordDescriptor& descriptor, const std::vector<std::byte>& data) {
  const ByteView all(data);
  TestRecord record;
  record.sequence = static_cast<uint64_t>(descriptor.sequence);
  record.data = TextOf(all.subspan(descriptor.data_offset, descriptor.data_length));
  record.kind = static_cast<uint8_t>(descriptor.attributes);
  if ((descriptor.attributes & RecordDescriptor::kHasKey) != 0) {
    record.key = TextOf(all.subspan(descriptor.data_offset - descriptor.key_length, descriptor.key_length));
  }
  return record;
}

}  // namespace

std::ostream& operator<<(std::ostream& out, const TestRecord& record) {
  out << record.sequence << ": " << record.data.substr(0, 40);
  if (record.key) out << " [" << record.key->substr(0, 40) << "]";
  return out << " kind " << int{record.kind};
}

Status ReadRecords(Log& log, const ReadFilter& filter, std::vector<TestRecord>* records, size_t chunk_bytes,
                   size_t chunk_records) {
  std::unique_ptr<Reader> reader;
  SEGWAL_TRY(log.NewReader(filter, &reader));
  std::vector<std::byte> data(chunk_bytes);
  std::vector<RecordDescriptor> descriptors(chunk_records);
  while (true) {
    ReadChunk chunk{.data = data, .records = descriptors};
    SEGWAL_TRY(reader->Fill(&chunk));
    if (chunk.needed != 0) {
      EXPECT_EQ(chunk.count, 0u);
      EXPECT_GT(chunk.needed, data.size());
      data.resize(chunk.needed);
      continue;
    }
    if (chunk.count == 0) return Status::Ok();
    for (size_t i = 0; i < chunk.count; ++i) records->push_back(RecordFrom(descriptors[i], data));
  }
}

std::vector<TestRecord> RecordsOf(Log& log, const ReadFilter& filter) {
  std::vector<TestRecord> records;
  EXPECT_OK(ReadRecords(log, filter, &records));
  return records;
}

std::vector<std::string> DataOf(Log& log, const ReadFilter& filter) {
  std::vector<std::string> data;
  for (TestRecord& record : RecordsOf(log, filter)) data.push_back(std::move(record.data));
  return data;
}

// A test that failed may have left something behind that would hold up its end, or look at what is gone.
TestLog::~TestLog() {
  platform_.Watch(nullptr);
  platform_.WatchCoarseClock(nullptr);
  platform_.Release();
}

Status TestLog::TryOpen(const LogOptions& options) { return Log::Open(platform_, path(), options, &log_); }

void TestLog::Open(const LogOptions& options) { ASSERT_OK(TryOpen(options)); }

Appender& TestLog::appender() {
  if (!appender_) appender_ = log_->NewAppender();
  return *appender_;
}

uint64_t TestLog::Append(std::string_view data) { return Append(RecordOf(data)); }

uint64_t TestLog::Append(const RecordView& record) {
  const uint64_t sequence = appender().Append(record);
  EXPECT_NE(sequence, 0u) << appender().failure().message();
  return sequence;
}

uint64_t TestLog::AppendBatch(const std::vector<std::string>& data) {
  std::vector<RecordView> records;
  for (const std::string& text : data) records.push_back(RecordOf(text));
  const uint64_t sequence = appender().AppendBatch(records);
  EXPECT_NE(sequence, 0u) << appender().failure().message();
  return sequence;
}

Status TestLog::TryAppend(std::string_view data) {
  return appender().Append(RecordOf(data)) != 0 ? Status::Ok() : appender().failure();
}

std::string TestLog::QuarterRecord(uint64_t sequence) {
  std::string data = "record " + std::to_string(sequence) + " ";
  data.resize(kQuarter, static_cast<char>('a' + sequence % 26));
  return data;
}

void TestLog::AppendQuarters(uint64_t first, uint64_t last) {
  for (uint64_t sequence = first; sequence <= last; ++sequence) EXPECT_EQ(Append(QuarterRecord(sequence)), sequence);
}

void TestLog::AwaitUnmapped(uint64_t segment) {
  EXPECT_TRUE(ComesTrue([&] {
    std::unique_ptr<File> file;
    return Platform::Default().OpenForRecycling(SegmentPath(segment), &file).ok();
  })) << "segment "
      << segment;
}

void TestLog::Sync() { ASSERT_OK(log_->WaitDurable(log_->last_sequence())); }

void TestLog::Kill() {
  appender_.reset();
  log_->Abandon();
  log_.reset();
}

void TestLog::Close() {
  appender_.reset();
  EXPECT_OK(log_->Close());
  log_.reset();
}

void TestLog::Edit(uint64_t segment, const std::function<void(SegmentFile&)>& edit) {
  SegmentFile file(SegmentPath(segment));
  edit(file);
  file.Save();
}

void TestLog::Reboot() {
  for (const uint64_t id : SegmentIds()) Edit(id, [](SegmentFile& segment) { segment.WriteInAnotherBoot(); });
}

std::vector<uint64_t> TestLog::SegmentIds() {
  std::vector<LogDirectory::SegmentFile> files;
  std::vector<std::string> strays;
  EXPECT_OK(layout().List(&files, &strays));
  std::vector<uint64_t> ids;
  for (const auto& file : files) ids.push_back(file.id);
  return ids;
}

}  // namespace segwal
