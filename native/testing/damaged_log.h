// DamagedLog: the files of a log that has every kind of frame in sealed segments and in one that is not, to be damaged
// in memory, put on the disk, and opened.
#pragma once

#include <map>
#include <memory>
#include <string>
#include <vector>

#include "core/checkpoints.h"
#include "testing/temporary_directory.h"
#include "testing/test_log.h"

namespace segwal {

class DamagedLog {
 public:
  using Files = std::map<std::string, std::vector<std::byte>>;  // by their path in the log
  enum class State : uint8_t {
    kClosed,       // in order; the machine has not been restarted since
    kPowerCut,     // never closed since its last record, which was made durable; the machine has been restarted
    kNeverClosed,  // the same, and never before either: nothing outside the last segment tells of it
    kCompacted,    // closed in order, after a compaction that left something of a batch, and something between
  };
  struct FramePlace {
    std::string kind;
    uint64_t offset;
    uint64_t length;  // without padding
  };
  static constexpr const char* kMeta = "metadata/wal.meta";
  static constexpr uint64_t kCheckpointSequence = 9;
  static std::string CheckpointFile() { return "checkpoints/" + CheckpointDirectory::NameOf(kCheckpointSequence); }
  static std::string Segment(uint64_t id) { return "segments/" + LogDirectory::SegmentName(id); }

  explicit DamagedLog(State state);

  const Files& files() const { return files_; }
  const Files& older() const { return older_; }  // the same log, closed when it had less
  const Files& other() const { return other_; }  // another log with files of the same names
  const std::vector<TestRecord>& records() const { return records_; }
  // Everything that was ever appended, with what was given up.
  const std::vector<TestRecord>& appended() const { return appended_; }
  uint64_t last_sequence() const { return last_sequence_; }
  const std::vector<FramePlace>& frames(uint64_t segment) const { return frames_.at(segment); }

  // A directory with such files.
  class Place {
   public:
    Place(const DamagedLog& log, const Files& files);
    Status Open(const LogOptions& options, std::shared_ptr<Log>* log);
    bool Unchanged() const;  // LOCK aside

   private:
    TemporaryDirectory directory_;
    FaultPlatform platform_;
    const Files& files_;
  };

 private:
  Files files_;
  Files older_;
  Files other_;
  std::vector<TestRecord> records_;
  std::vector<TestRecord> appended_;
  uint64_t last_sequence_ = 0;
  std::map<uint64_t, std::vector<FramePlace>> frames_;
};

// What the four ways in make of such files: "open \t read-only \t verify \t salvage", in the words of
// test/damage-matrix.tsv. Fails the test, naming `where`, for what none of them may ever do: invent a record, change
// something and then refuse, leave a log behind that is not sound, or use a number again.
std::string OutcomesOf(const DamagedLog& log, const DamagedLog::Files& files, const std::string& where);

}  // namespace segwal
