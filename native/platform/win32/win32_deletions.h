// Files that were deleted while somebody has them open or mapped, and which files this process has mapped.
//
// The system does not delete a file that is mapped. (Some versions do, and so do emulators; here the rule is kept
// everywhere, so that a log behaves in one way.) It lets it be renamed, though. So what is refused gets a name that
// nothing looks for, in the same folder: the old name is free at once, as everybody who calls Delete relies on, also
// should the process end the next moment. It is deleted when nobody holds it any more: tried again whenever something
// is unmapped or removed, and by the next who locks the log.
//
// Threads: any.
#pragma once

#include <map>
#include <mutex>
#include <string>
#include <string_view>

#include "platform/status.h"
#include "platform/win32/win32_file.h"

namespace segwal::win32 {

class Deletions {
 public:
  void Mapped(const FileId& id);
  void Unmapped(const FileId& id);

  // Whether this process has a mapping of it; false when it cannot be asked.
  bool IsMapped(const std::string& path) const;

  // The name is gone when this returns kOk; the file goes with it, or later. kNotFound when there is none. Whoever has
  // it open without letting others delete it, which also forbids to rename it, is waited for, for a second.
  Status Delete(const std::string& path);

  // Tries again what was put aside.
  void Retry();

  // Deletes what others have put aside in the folder `directory` and those in it, now or with a later Retry.
  // REQUIRES: the lock of the log that is there.
  void Sweep(const std::string& directory);

  // Whether a name of a file is that of one that was put aside. No list shows it.
  static bool IsAside(std::string_view name);

  size_t Waiting() const;

 private:
  Status DeleteLocked(const std::string& path, const FileId* expected, bool* in_use, FileId* id) const;
  Status PutAside(const std::string& path, const FileId& id, bool* in_use);
  void SweepFolder(const std::string& directory);
  void RetryLocked();

  mutable std::mutex mutex_;
  std::map<FileId, int> mapped_;
  std::map<std::string, FileId> waiting_;  // by the name that it was given
};

}  // namespace segwal::win32
