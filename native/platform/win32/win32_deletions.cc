#include "platform/win32/win32_deletions.h"

#include <iterator>

#include "platform/win32/win32_error.h"

namespace segwal::win32 {
namespace {

// With POSIX semantics the name is gone at once, whoever still has the file open. Without (FAT, network drives) it
// stays until the last handle is closed.
bool MarkDeleted(HANDLE handle) {
  // FILE_DISPOSITION_INFO_EX and its class, for headers that are older: delete, POSIX semantics, even when read-only.
  struct {
    DWORD flags = 0x1 | 0x2 | 0x10;
  } extended;
  constexpr auto kDispositionInfoEx = static_cast<FILE_INFO_BY_HANDLE_CLASS>(21);
  if (::SetFileInformationByHandle(handle, kDispositionInfoEx, &extended, sizeof extended)) return true;
  if (!IsUnsupported(::GetLastError())) return false;
  FILE_DISPOSITION_INFO plain{};
  plain.DeleteFile = TRUE;
  return ::SetFileInformationByHandle(handle, FileDispositionInfo, &plain, sizeof plain) != 0;
}

}  // namespace

void Deletions::Mapped(const FileId& id) {
  const std::lock_guard lock(mutex_);
  ++mapped_[id];
}

void Deletions::Unmapped(const FileId& id) {
  const std::lock_guard lock(mutex_);
  const auto found = mapped_.find(id);
  if (--found->second == 0) mapped_.erase(found);
  RetryLocked();
}

bool Deletions::IsMapped(const std::string& path) const {
  Handle handle;
  FileId id;
  if (!OpenHandle(path, FILE_READ_ATTRIBUTES, kShareAll, OPEN_EXISTING, 0, &handle).ok()) return false;
  if (!IdentifyFile(handle.get(), path, &id).ok()) return false;
  const std::lock_guard lock(mutex_);
  return mapped_.contains(id);
}

Status Deletions::Delete(const std::string& path) {
  const std::lock_guard lock(mutex_);
  RetryLocked();
  bool in_use = false;
  FileId id;
  Status status = DeleteLocked(path, nullptr, &in_use, &id);
  if (!in_use) return status;
  waiting_[path] = id;
  return {};
}

void Deletions::Retry() {
  const std::lock_guard lock(mutex_);
  RetryLocked();
}

void Deletions::Forget(const std::string& path) {
  const std::lock_guard lock(mutex_);
  waiting_.erase(path);
}

void Deletions::ForgetBelow(const std::string& directory) {
  const std::lock_guard lock(mutex_);
  RetryLocked();
  std::erase_if(waiting_, [&](const auto& waiting) { return waiting.first.starts_with(directory); });
}

size_t Deletions::Waiting() const {
  const std::lock_guard lock(mutex_);
  return waiting_.size();
}

// Says `*in_use` when it is worth trying again; `expected`, if any, is the only file that may be deleted.
Status Deletions::DeleteLocked(const std::string& path, const FileId* expected, bool* in_use, FileId* id) {
  Handle handle;
  constexpr DWORD kAccess = DELETE | FILE_READ_ATTRIBUTES;
  if (Status status = OpenHandle(path, kAccess, kShareAll, OPEN_EXISTING, FILE_FLAG_OPEN_REPARSE_POINT, &handle);
      !status.ok()) {
    // Somebody opened it without letting others delete it: a virus scanner, a backup.
    if (status.os_error() != ERROR_SHARING_VIOLATION) return status;
    SEGWAL_TRY(OpenHandle(path, FILE_READ_ATTRIBUTES, kShareAll, OPEN_EXISTING, FILE_FLAG_OPEN_REPARSE_POINT, &handle));
    SEGWAL_TRY(IdentifyFile(handle.get(), path, id));
    *in_use = expected == nullptr || *id == *expected;
    return status;
  }
  SEGWAL_TRY(IdentifyFile(handle.get(), path, id));
  if (expected != nullptr && *id != *expected) return {ErrorCode::kNotFound, "remove " + path + ": it is another file"};
  if (mapped_.contains(*id)) {
    *in_use = true;
    return ErrorStatus("remove", path, ERROR_USER_MAPPED_FILE);
  }
  if (MarkDeleted(handle.get())) return {};
  const DWORD error = ::GetLastError();
  // Who was allowed to open it for deletion and is denied it now is told that it is mapped.
  *in_use = IsInUse(error);
  return ErrorStatus("remove", path, error);
}

void Deletions::RetryLocked() {
  for (auto waiting = waiting_.begin(); waiting != waiting_.end();) {
    bool in_use = false;
    FileId id;
    const bool tried = DeleteLocked(waiting->first, &waiting->second, &in_use, &id).ok() || !in_use;
    waiting = tried ? waiting_.erase(waiting) : std::next(waiting);
  }
}

}  // namespace segwal::win32
