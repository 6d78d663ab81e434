#include "testing/damaged_log.h"

#include <gtest/gtest.h>

#include <filesystem>

#include "testing/assertions.h"
#include "testing/files.h"

namespace segwal {
namespace {

// SnapshotOf gives paths as it finds them.
DamagedLog::Files FilesOf(const std::string& root) {
  DamagedLog::Files files;
  for (auto& [path, bytes] : SnapshotOf(root)) {
    const std::string name =
        std::filesystem::path(path).is_absolute() ? std::filesystem::relative(path, root).generic_string() : path;
    if (!name.starts_with("quarantine/")) files[name] = bytes;
  }
  return files;
}

void AppendTwo(TestLog& log, const std::string& text) {
  log.Append("plain " + text);
  log.Append({.data = BytesOf("keyed " + text), .key = BytesOf("key"), .kind = 7});
}

// The fourth of these becomes a filler.
void AppendThree(TestLog& log, const std::string& text) {
  log.AppendBatch({"batch " + text, "of", "three"});
  log.Append("to be given up " + text);
  log.Append("behind it " + text);
}

void MakeFiller(TestLog& log, uint64_t segment) {
  log.Edit(segment, [](SegmentFile& file) { file.Flip(4); });
  LogOptions options = TestLog::Options();
  options.salvage = true;
  log.Open(options);
  log.Close();
}

// Segment 1 is truncated away, 2 and 3 are sealed, 4 is the last.
void Write(TestLog& log, const std::string& text, DamagedLog::Files* older, std::vector<TestRecord>* appended) {
  log.Open();
  log.Append("truncated away");
  ASSERT_OK(log->Rotate());
  AppendTwo(log, text);
  AppendThree(log, text);
  ASSERT_OK(log->Rotate());
  log.Append("middle " + text);
  log.Append("segment " + text);
  ASSERT_OK(log->Rotate());
  AppendTwo(log, text);
  log.Close();
  *older = FilesOf(log.path());
  log.Open();
  ASSERT_OK(log->TruncateBefore(2));
  AppendThree(log, text);
  *appended = RecordsOf(log.log());
  log.Close();
  MakeFiller(log, 2);
  MakeFiller(log, 4);
}

}  // namespace

DamagedLog::DamagedLog(State state) {
  Files unused;
  {
    TestLog other;
    Write(other, "of another log", &unused, &appended_);
    other_ = FilesOf(other.path());
  }
  TestLog log;
  Write(log, "record", &older_, &appended_);
  log.Open();
  log.Append("the last");
  log.Sync();
  records_ = RecordsOf(log.log());
  appended_.push_back(records_.back());
  appended_.push_back({.sequence = 1, .data = "truncated away"});
  last_sequence_ = log->last_sequence();
  state == State::kClosed ? log.Close() : log.Kill();
  for (const uint64_t id : log.SegmentIds()) {
    if (id > 4) std::filesystem::remove(log.SegmentPath(id));  // a spare
  }
  if (state == State::kPowerCut) log.Reboot();
  files_ = FilesOf(log.path());
  const char* const kinds[] = {"plain", "keyed", "batch", "filler"};
  for (const uint64_t id : {2, 4}) {
    SegmentFile segment(log.SegmentPath(id));
    for (size_t i = 0; i < std::size(kinds); ++i) {
      const uint64_t offset = segment.FrameAt(i + 1);
      frames_[id].push_back({kinds[i], offset, Load<uint32_t>(segment.data() + offset)});
    }
  }
}

DamagedLog::Place::Place(const DamagedLog&, const Files& files) : files_(files) {
  for (const char* folder : {"metadata", "segments", "checkpoints", "quarantine"}) {
    std::filesystem::create_directories(directory_.path() + "/" + folder);
  }
  for (const auto& [name, bytes] : files) WriteFile(directory_.path() + "/" + name, bytes);
}

Status DamagedLog::Place::Open(const LogOptions& options, std::shared_ptr<Log>* log) {
  return Log::Open(platform_, directory_.path(), options, log);
}

bool DamagedLog::Place::Unchanged() const { return FilesOf(directory_.path()) == files_; }

}  // namespace segwal
