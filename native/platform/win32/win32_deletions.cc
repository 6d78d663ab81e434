#include "platform/win32/win32_deletions.h"

#include <iterator>
#include <vector>

#include "platform/win32/win32_error.h"
#include "platform/win32/win32_machine.h"
#include "platform/win32/win32_path.h"

namespace segwal::win32 {
namespace {

constexpr const char* kAside = ".segwal-removed";

// A virus scanner or an indexer looks at every new file for a moment.
constexpr int kAttempts = 100;
constexpr DWORD kBetweenAttemptsMs = 10;

// With POSIX semantics the name is gone at once, whoever still has the file open. Without (FAT, network drives) it
// stays until the last handle is closed, which is good enough for a name that nobody looks for.
bool MarkDeleted(HANDLE handle, bool name_may_stay) {
  // FILE_DISPOSITION_INFO_EX and its class, for headers that are older: delete, POSIX semantics, even when read-only.
  struct {
    DWORD flags = 0x1 | 0x2 | 0x10;
  } extended;
  constexpr auto kDispositionInfoEx = static_cast<FILE_INFO_BY_HANDLE_CLASS>(21);
  if (::SetFileInformationByHandle(handle, kDispositionInfoEx, &extended, sizeof extended)) return true;
  if (!IsUnsupported(::GetLastError())) return false;
  if (!name_may_stay) {
    ::SetLastError(ERROR_SHARING_VIOLATION);
    return false;
  }
  FILE_DISPOSITION_INFO plain{};
  plain.DeleteFile = TRUE;
  return ::SetFileInformationByHandle(handle, FileDispositionInfo, &plain, sizeof plain) != 0;
}

// Calls `visit(name, is_directory)` for what is in a folder; for nothing when that cannot be read.
template <typename Visit>
void ForEachIn(const std::string& directory, const Visit& visit) {
  WIN32_FIND_DATAW found{};
  const std::wstring pattern = SystemPath(directory + "/") + L"*";
  const HANDLE search = ::FindFirstFileExW(pattern.c_str(), FindExInfoBasic, &found, FindExSearchNameMatch, nullptr, 0);
  if (search == INVALID_HANDLE_VALUE) return;
  do {
    visit(ToUtf8(found.cFileName), (found.dwFileAttributes & FILE_ATTRIBUTE_DIRECTORY) != 0);
  } while (::FindNextFileW(search, &found));
  ::FindClose(search);
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
  for (int attempt = 1;; ++attempt) {
    bool in_use = false;
    {
      const std::lock_guard lock(mutex_);
      RetryLocked();
      FileId id;
      Status status = DeleteLocked(path, nullptr, &in_use, &id);
      if (!in_use) return status;
      status = PutAside(path, id, &in_use);
      if (status.ok()) RetryLocked();
      if (!in_use || attempt == kAttempts) return status;
    }
    ::Sleep(kBetweenAttemptsMs);
  }
}

void Deletions::Retry() {
  const std::lock_guard lock(mutex_);
  RetryLocked();
}

void Deletions::Sweep(const std::string& directory) {
  std::vector<std::string> folders{directory};
  ForEachIn(directory, [&](const std::string& name, bool is_directory) {
    if (is_directory && name != "." && name != "..") folders.push_back(directory + "/" + name);
  });
  for (const std::string& folder : folders) SweepFolder(folder);
}

void Deletions::SweepFolder(const std::string& directory) {
  ForEachIn(directory, [&](const std::string& name, bool is_directory) {
    if (is_directory || !IsAside(name)) return;
    const std::lock_guard lock(mutex_);
    const std::string path = directory + "/" + name;
    bool in_use = false;
    FileId id;
    static_cast<void>(DeleteLocked(path, nullptr, &in_use, &id));
    if (in_use) waiting_[path] = id;
  });
}

bool Deletions::IsAside(std::string_view name) { return name.ends_with(kAside); }

size_t Deletions::Waiting() const {
  const std::lock_guard lock(mutex_);
  return waiting_.size();
}

// Without replacing: what has such a name was put aside too, by a process that is gone.
Status Deletions::PutAside(const std::string& path, const FileId& id, bool* in_use) {
  for (uint64_t number = MonotonicCounter();; ++number) {
    const std::string aside = path + "." + std::to_string(number) + kAside;
    if (::MoveFileExW(SystemPath(path).c_str(), SystemPath(aside).c_str(), MOVEFILE_WRITE_THROUGH)) {
      waiting_[aside] = id;
      *in_use = false;
      return {};
    }
    const DWORD error = ::GetLastError();
    if (error == ERROR_ALREADY_EXISTS || error == ERROR_FILE_EXISTS) continue;
    *in_use = IsInUse(error);
    return ErrorStatus("remove", path, error);
  }
}

// Says `*in_use` when it is worth trying again; `expected`, if any, is the only file that may be deleted.
Status Deletions::DeleteLocked(const std::string& path, const FileId* expected, bool* in_use, FileId* id) const {
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
  if (MarkDeleted(handle.get(), IsAside(path))) return {};
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
