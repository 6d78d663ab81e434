#include "testing/damaged_log.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <filesystem>
#include <set>

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

// Makes the clock stand later than at any append or creation before: no time of a frame is 0 or that of another one, so
// the same damages are possible in every run.
void Tick(TestLog& log) { log.platform().SetTime(log.platform().Now() + 1'000'000); }

void AppendTwo(TestLog& log, const std::string& text) {
  Tick(log);
  log.Append("plain " + text);
  Tick(log);
  log.Append({.data = BytesOf("keyed " + text), .key = BytesOf("key"), .kind = 7});
}

// The fourth of these becomes a filler.
void AppendThree(TestLog& log, const std::string& text) {
  Tick(log);
  log.AppendBatch({"batch " + text, "of", "three"});
  Tick(log);
  log.Append("to be given up " + text);
  Tick(log);
  log.Append("behind it " + text);
}

void MakeFiller(TestLog& log, uint64_t segment) {
  log.Edit(segment, [](SegmentFile& file) { file.Flip(4); });
  LogOptions options = TestLog::Options();
  options.salvage = true;
  log.Open(options);
  log.Close();
}

// Of a record in the segment before the last, so that it says nothing of the last.
void MakeCheckpoint(TestLog& log, const std::string& text) {
  Tick(log);
  Checkpoint made;
  ASSERT_OK(log->CreateCheckpoint(DamagedLog::kCheckpointSequence, BytesOf("snapshot " + text), &made));
}

// Segment 1 is truncated away, 2 and 3 are sealed, 4 is the last.
void Write(TestLog& log, const std::string& text, DamagedLog::Files* older, std::vector<TestRecord>* appended) {
  log.Open();
  Tick(log);
  log.Append("truncated away");
  ASSERT_OK(log->Rotate());
  AppendTwo(log, text);
  AppendThree(log, text);
  ASSERT_OK(log->Rotate());
  Tick(log);
  log.Append("middle " + text);
  Tick(log);
  log.Append("segment " + text);
  ASSERT_OK(log->Rotate());
  AppendTwo(log, text);
  MakeCheckpoint(log, "older");
  log.Close();
  *older = FilesOf(log.path());
  log.Open();
  ASSERT_OK(log->TruncateBefore(2));
  MakeCheckpoint(log, text);
  AppendThree(log, text);
  *appended = RecordsOf(log.log());
  log.Close();
  MakeFiller(log, 2);
  MakeFiller(log, 4);
}

}  // namespace

namespace {

// Segments 2, 4 and 5 lose records with a key, segment 4 part of a batch; 6 is the last.
void Compact(TestLog& log, std::vector<TestRecord>* appended) {
  const auto put = [](std::string_view text, std::string_view key) {
    return RecordView{.data = BytesOf(text), .key = BytesOf(key)};
  };
  Tick(log);
  const std::vector<RecordView> batch{put("old", "a"), put("older", "b"), RecordOf("no key"), put("old", "key")};
  EXPECT_NE(log.appender().AppendBatch(batch), 0u);
  ASSERT_OK(log->Rotate());
  Tick(log);
  for (const char* key : {"a", "key", "a", "key"}) log.Append(put("the newest", key));
  ASSERT_OK(log->Rotate());
  log.appender().LetGoOfSealed();  // on Windows what it holds cannot be replaced
  const std::vector<TestRecord> before = RecordsOf(log.log());
  appended->insert(appended->end(), before.begin(), before.end());
  CompactResult result;
  ASSERT_OK(log->Compact({}, &result));
  EXPECT_EQ(result.segments_rewritten, 3u);
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
  if (state == State::kCompacted) Compact(log, &appended_);
  Tick(log);
  log.Append("the last");
  log.Sync();
  records_ = RecordsOf(log.log());
  appended_.push_back(records_.back());
  appended_.push_back({.sequence = 1, .data = "truncated away"});
  last_sequence_ = log->last_sequence();
  const bool closed = state == State::kClosed || state == State::kCompacted;
  closed ? log.Close() : log.Kill();
  for (const uint64_t id : log.SegmentIds()) {
    if (id > (state == State::kCompacted ? 6 : 4)) std::filesystem::remove(log.SegmentPath(id));  // a spare
  }
  if (!closed) log.Reboot();
  if (state == State::kNeverClosed) {
    SectorState meta_state = SectorState::kAbsent;
    LogMeta meta;
    EXPECT_OK(log.layout().ReadMeta(&meta_state, &meta));
    meta.durable_sequence = 0;
    EXPECT_OK(log.layout().WriteMeta(meta));
  }
  files_ = FilesOf(log.path());
  if (state == State::kCompacted) return;
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

namespace {

// What a log that was opened shows of the records that there were.
class Judgement {
 public:
  Judgement(const DamagedLog& log, std::string where) : log_(log), where_(std::move(where)) {}

  std::string Of(Log& log, const std::vector<Finding>& findings) {
    std::vector<TestRecord> records;
    const Status status = ReadRecords(log, {}, &records);
    for (const TestRecord& record : records) {
      EXPECT_NE(std::ranges::count(log_.appended(), record), 0) << where_ << " invented " << record;
    }
    if (!status.ok()) return std::string("read: ") + ErrorCodeName(status.code()) + Rules(findings);
    std::set<uint64_t> lost;
    for (const TestRecord& record : log_.records()) {
      if (std::ranges::find(records, record) == records.end()) lost.insert(record.sequence);
    }
    if (lost.empty()) return "whole" + Rules(findings);
    const bool told = std::ranges::all_of(lost, [&](uint64_t sequence) {
      return std::ranges::any_of(findings, [sequence](const Finding& finding) {
        const uint64_t last = finding.last_sequence == 0 ? UINT64_MAX : finding.last_sequence;
        return finding.first_sequence != 0 && finding.first_sequence <= sequence && sequence <= last;
      });
    });
    return (told ? "lost " : "UNNOTICED ") + std::to_string(lost.size()) + Rules(findings);
  }

 private:
  static std::string Rules(const std::vector<Finding>& findings) {
    std::set<std::string> rules;
    for (const Finding& finding : findings) rules.insert(finding.rule);
    std::string text;
    for (const std::string& rule : rules) text += (text.empty() ? " (" : " ") + rule;
    return text.empty() ? "" : text + ")";
  }

  const DamagedLog& log_;
  const std::string where_;
};

std::string Refused(const Status& status) { return std::string("refused: ") + ErrorCodeName(status.code()); }

}  // namespace

std::string OutcomesOf(const DamagedLog& log, const DamagedLog::Files& files, const std::string& where) {
  Judgement judgement(log, where);
  const auto open = [&](const LogOptions& options, const std::function<std::string(Log&)>& look) {
    DamagedLog::Place place(log, files);
    std::shared_ptr<Log> opened;
    const Status status = place.Open(options, &opened);
    if (!status.ok()) {
      EXPECT_TRUE(place.Unchanged()) << where << ": refused, and changed something";
      return Refused(status);
    }
    std::string cell = look(*opened);
    EXPECT_OK(opened->Close());
    if (!options.salvage) return cell;
    // Whatever a salvage made of it is a sound log.
    const Status again = place.Open(TestLog::Options(), &opened);
    EXPECT_TRUE(again.ok()) << where << ": after a salvage: " << again.message();
    if (!again.ok()) return cell;
    VerifyReport report;
    EXPECT_OK(opened->Verify({.concurrency = 1}, &report));
    EXPECT_TRUE(report.ok) << where << ": after a salvage";
    EXPECT_TRUE(opened->recovery().clean) << where << ": after a salvage";
    EXPECT_GE(opened->last_sequence(), cell.starts_with("UNNOTICED") ? 0 : log.last_sequence())
        << where << ": numbers again";
    EXPECT_OK(opened->Close());
    return cell;
  };
  const auto look = [&](Log& opened) { return judgement.Of(opened, opened.recovery().findings); };
  LogOptions salvaging = TestLog::Options();
  salvaging.salvage = true;
  std::string verified = "-";
  const std::string strict = open(TestLog::Options(), look);
  const std::string read = open({.read_only = true}, [&](Log& opened) {
    VerifyReport report;
    const Status status = opened.Verify({.concurrency = 1}, &report);
    verified = !status.ok() ? Refused(status) : report.ok ? "ok" : "damaged";
    return judgement.Of(opened, opened.recovery().findings);
  });
  if (verified == "-") verified = read;
  return strict + "\t" + read + "\t" + verified + "\t" + open(salvaging, look);
}

}  // namespace segwal
