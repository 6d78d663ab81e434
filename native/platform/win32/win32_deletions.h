// Files whose deletion was refused because somebody has them open or mapped, and which files this process has mapped.
//
// The system does not delete a file that is mapped. (Some versions do, and so do emulators; here the rule is kept
// everywhere, so that a log behaves in one way.) What was refused is put aside and tried again whenever something is
// unmapped or removed, as long as the log is locked: it belongs to the log, and once the lock is gone the same name may
// be somebody else's file. What is left by then is deleted by the recovery of the next open, which finds it by its
// name.
//
// Threads: any.
#pragma once

#include <map>
#include <mutex>
#include <string>

#include "platform/status.h"
#include "platform/win32/win32_file.h"

namespace segwal::win32 {

class Deletions {
 public:
  void Mapped(const FileId& id);
  void Unmapped(const FileId& id);

  // Whether this process has a mapping of it; false when it cannot be asked.
  bool IsMapped(const std::string& path) const;

  // Deletes the file, or sees to it later. kNotFound when there is none, or it is already being seen to.
  Status Delete(const std::string& path);

  // Tries again what was put aside.
  void Retry();

  // A file that was just created has the name of one that was put aside: that one is gone, by whatever hand.
  void Forget(const std::string& path);

  // The lock of `directory` is about to go: the last attempt for what is in it.
  void ForgetBelow(const std::string& directory);

  size_t Waiting() const;

 private:
  Status DeleteLocked(const std::string& path, const FileId* expected, bool* in_use, FileId* id);
  void RetryLocked();

  mutable std::mutex mutex_;
  std::map<FileId, int> mapped_;
  std::map<std::string, FileId> waiting_;
};

}  // namespace segwal::win32
