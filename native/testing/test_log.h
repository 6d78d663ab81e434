// TestLog: a log in a directory of its own, to be opened, written, killed, damaged and opened again. Small segments,
// and nothing is synced that the test did not ask for.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "core/appender.h"
#include "core/directory.h"
#include "core/log.h"
#include "core/reader.h"
#include "testing/fault_platform.h"
#include "testing/segment_file.h"
#include "testing/temporary_directory.h"

namespace segwal {

// A record as it was read.
struct TestRecord {
  uint64_t sequence = 0;
  std::string data;
  std::optional<std::string> key;
  uint8_t kind = 0;

  bool operator==(const TestRecord&) const = default;
};
std::ostream& operator<<(std::ostream& out, const TestRecord& record);

inline ByteView BytesOf(std::string_view text) { return std::as_bytes(std::span(text.data(), text.size())); }
inline RecordView RecordOf(std::string_view text) { return {.data = BytesOf(text)}; }

// What is left of `log` under `filter`, in chunks of so many bytes and records.
Status ReadRecords(Log& log, const ReadFilter& filter, std::vector<TestRecord>* records, size_t chunk_bytes = 1u << 20,
                   size_t chunk_records = 64);
std::vector<TestRecord> RecordsOf(Log& log, const ReadFilter& filter = {});
std::vector<std::string> DataOf(Log& log, const ReadFilter& filter = {});

class TestLog {
 public:
  static constexpr uint64_t kSegmentSize = kMinSegmentSize;
  // Four records of this size, with nothing else, fill a segment to the last byte.
  static constexpr size_t kQuarter = (kSegmentSize - kSegmentHeaderSize) / 4 - kFrameHeaderSize;

  static LogOptions Options() { return {.segment_size = kSegmentSize, .sync = SyncPolicy{.delay_us = 0}}; }
  // Files of what is removed are deleted at once.
  static LogOptions WithoutRecycling() {
    LogOptions options = Options();
    options.recycle_segments = 0;
    return options;
  }

  TestLog() = default;
  ~TestLog();
  TestLog(const TestLog&) = delete;
  TestLog& operator=(const TestLog&) = delete;

  FaultPlatform& platform() { return platform_; }
  const std::string& path() const { return directory_.path(); }
  LogDirectory layout() { return LogDirectory(platform_, path()); }
  std::string SegmentPath(uint64_t id) { return layout().SegmentPath(id); }

  Status TryOpen(const LogOptions& options = Options());
  void Open(const LogOptions& options = Options());
  Log& log() { return *log_; }
  Log* operator->() { return log_.get(); }

  // By the one appender of this harness; fails the test when it is refused.
  uint64_t Append(std::string_view data);
  uint64_t Append(const RecordView& record);
  uint64_t AppendBatch(const std::vector<std::string>& data);
  // Why the append was refused.
  Status TryAppend(std::string_view data);
  Appender& appender();
  // Records first … last, each of them QuarterRecord(n), four to a segment.
  void AppendQuarters(uint64_t first, uint64_t last);
  static std::string QuarterRecord(uint64_t sequence);

  void Sync();  // everything
  // Until nobody has the file of a segment mapped: the log lets go of a full one in a thread of its own.
  void AwaitUnmapped(uint64_t segment);
  void Kill();  // as the death of the process leaves it
  void Close();

  std::vector<std::string> Data() { return DataOf(log()); }

  // Of a log that is not open.
  void Edit(uint64_t segment, const std::function<void(SegmentFile&)>& edit);
  // The machine was restarted since the log was written.
  void Reboot();
  // The ids of its segment files, spares included.
  std::vector<uint64_t> SegmentIds();

 private:
  TemporaryDirectory directory_;
  FaultPlatform platform_;
  std::shared_ptr<Log> log_;
  std::unique_ptr<Appender> appender_;
};

}  // namespace segwal
