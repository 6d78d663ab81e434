// Registry: the logs that this process has open for writing. Opening a directory a second time, in whichever thread,
// joins the log that is there; the last to close it closes it.
#pragma once

#include <memory>
#include <mutex>
#include <string>
#include <unordered_map>

#include "core/log.h"

namespace segwal {

// One user's share of an open log.
class LogShare {
 public:
  // Blocks for the disk.
  static Status Open(const std::string& directory, const LogOptions& options, std::unique_ptr<LogShare>* share);
  ~LogShare() { Abandon(); }

  Log& log() const { return *log_; }

  // Makes durable what was appended so far; the last share closes the log. Blocks for the disk.
  Status Close();
  // Lets go without making anything durable; the last share shuts the log down.
  void Abandon();

 private:
  struct Entry {
    std::mutex mutex;
    std::shared_ptr<Log> log;  // null: nobody has it open
    int shares = 0;
  };
  static std::shared_ptr<Entry> EntryOf(const std::string& canonical);

  std::shared_ptr<Entry> entry_;  // null: a reader, which shares with nobody
  std::shared_ptr<Log> log_;
};

}  // namespace segwal
