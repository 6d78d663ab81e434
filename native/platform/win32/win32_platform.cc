#include <algorithm>
#include <memory>
#include <vector>

#include "platform/platform.h"
#include "platform/win32/win32_deletions.h"
#include "platform/win32/win32_error.h"
#include "platform/win32/win32_file.h"
#include "platform/win32/win32_lock.h"
#include "platform/win32/win32_machine.h"
#include "platform/win32/win32_mapping.h"
#include "platform/win32/win32_path.h"

namespace segwal {
namespace win32 {
namespace {

// A virus scanner or an indexer looks at every new file for a moment, and until then nothing can take its place.
constexpr int kRenameAttempts = 100;
constexpr DWORD kBetweenRenamesMs = 10;

bool IsDirectory(DWORD attributes) {
  return attributes != INVALID_FILE_ATTRIBUTES && (attributes & FILE_ATTRIBUTE_DIRECTORY) != 0;
}

Status RequireDirectory(std::string_view operation, const std::string& path) {
  const DWORD attributes = ::GetFileAttributesW(SystemPath(path).c_str());
  if (attributes == INVALID_FILE_ATTRIBUTES) return ErrorStatus(operation, path, ::GetLastError());
  return IsDirectory(attributes) ? Status::Ok() : ErrorStatus(operation, path, ERROR_DIRECTORY);
}

struct CloseSearch {
  void operator()(HANDLE search) const { ::FindClose(search); }
};
using Search = std::unique_ptr<void, CloseSearch>;

// What it is and how large. Asked of the file: the directory's entry learns the size when the file is closed. What it
// was in the directory, when it cannot be opened.
void Inspect(const std::string& path, const WIN32_FIND_DATAW& found, DirectoryEntry* entry) {
  Handle handle;
  BY_HANDLE_FILE_INFORMATION info{};
  DWORD attributes = found.dwFileAttributes;
  uint64_t size = (uint64_t{found.nFileSizeHigh} << 32) | found.nFileSizeLow;
  if (OpenHandle(path, FILE_READ_ATTRIBUTES, kShareAll, OPEN_EXISTING, FILE_FLAG_BACKUP_SEMANTICS, &handle).ok() &&
      ::GetFileInformationByHandle(handle.get(), &info)) {
    attributes = info.dwFileAttributes;
    size = (uint64_t{info.nFileSizeHigh} << 32) | info.nFileSizeLow;
  }
  entry->is_directory = (attributes & FILE_ATTRIBUTE_DIRECTORY) != 0;
  entry->size = entry->is_directory ? 0 : size;
}

// With POSIX semantics the target may be open elsewhere: who has it keeps the old file. 0 or an error.
DWORD RenameByHandle(HANDLE handle, const std::wstring& target) {
  // FILE_RENAME_INFO of FileRenameInfoEx, whose first field is flags there, in memory that holds the name too.
  struct Header {
    DWORD flags;
    HANDLE root;
    DWORD name_bytes;
    wchar_t name[1];
  };
  const size_t name_bytes = target.size() * sizeof(wchar_t);
  std::vector<std::byte> memory(sizeof(Header) + name_bytes);
  auto* header = reinterpret_cast<Header*>(memory.data());
  header->flags = 0x1 | 0x2;  // replace, POSIX semantics
  header->name_bytes = static_cast<DWORD>(name_bytes);
  std::copy(target.begin(), target.end(), header->name);
  constexpr auto kRenameInfoEx = static_cast<FILE_INFO_BY_HANDLE_CLASS>(22);
  const auto size = static_cast<DWORD>(memory.size());
  return ::SetFileInformationByHandle(handle, kRenameInfoEx, header, size) ? 0 : ::GetLastError();
}

class Win32Platform final : public Platform {
 public:
  Status CreateDirectory(const std::string& path) override {
    if (::CreateDirectoryW(SystemPath(path).c_str(), nullptr)) return {};
    const DWORD error = ::GetLastError();
    // The root of a drive answers "access is denied".
    if (error != ERROR_ALREADY_EXISTS && error != ERROR_ACCESS_DENIED) {
      return ErrorStatus("create directory", path, error);
    }
    if (RequireDirectory("create directory", path).ok()) return {};
    return ErrorStatus("create directory", path, error == ERROR_ALREADY_EXISTS ? DWORD{ERROR_DIRECTORY} : error);
  }

  Status List(const std::string& path, std::vector<DirectoryEntry>* entries) override {
    SEGWAL_TRY(RequireDirectory("list", path));
    WIN32_FIND_DATAW found{};
    const std::wstring pattern = SystemPath(path + "/") + L"*";
    const HANDLE search =
        ::FindFirstFileExW(pattern.c_str(), FindExInfoBasic, &found, FindExSearchNameMatch, nullptr, 0);
    if (search == INVALID_HANDLE_VALUE) return ErrorStatus("list", path, ::GetLastError());
    const Search closes(search);
    entries->clear();
    do {
      DirectoryEntry entry{.name = ToUtf8(found.cFileName)};
      if (entry.name == "." || entry.name == ".." || Deletions::IsAside(entry.name)) continue;
      Inspect(path + "/" + entry.name, found, &entry);
      entries->push_back(std::move(entry));
    } while (::FindNextFileW(search, &found));
    const DWORD error = ::GetLastError();
    if (error != ERROR_NO_MORE_FILES) return ErrorStatus("list", path, error);
    std::ranges::sort(*entries, {}, &DirectoryEntry::name);
    return {};
  }

  Status Rename(const std::string& from, const std::string& to) override {
    const std::string both = from + " to " + to;
    for (int attempt = 1;; ++attempt) {
      const DWORD error = TryRename(from, to);
      if (error == 0) return {};
      if (!IsInUse(error) || attempt == kRenameAttempts) return ErrorStatus("rename", both, error);
      ::Sleep(kBetweenRenamesMs);
    }
  }

  Status Remove(const std::string& path) override { return deletions_.Delete(path); }

  // NTFS and ReFS keep names in a journal, and FlushFileBuffers on any file of the volume writes that. Flushing the
  // directory says so expressly, where it is allowed; where it is not, names are as durable as they get.
  Status SyncDirectory(const std::string& path) override {
    deletions_.Retry();
    Handle handle;
    const Status opened =
        OpenHandle(path, GENERIC_READ | GENERIC_WRITE, kShareAll, OPEN_EXISTING, FILE_FLAG_BACKUP_SEMANTICS, &handle);
    if (!opened.ok()) {
      return opened.os_error() == ERROR_ACCESS_DENIED ? RequireDirectory("sync directory", path) : opened;
    }
    SEGWAL_TRY(RequireDirectory("sync directory", path));
    if (::FlushFileBuffers(handle.get())) return {};
    const DWORD error = ::GetLastError();
    const bool impossible = error == ERROR_ACCESS_DENIED || error == ERROR_INVALID_HANDLE || IsUnsupported(error);
    return impossible ? Status::Ok() : ErrorStatus("sync directory", path, error);
  }

  Status CanonicalPath(const std::string& path, std::string* canonical) override {
    SEGWAL_TRY(RequireDirectory("resolve", path));
    Handle handle;
    SEGWAL_TRY(OpenHandle(path, FILE_READ_ATTRIBUTES, kShareAll, OPEN_EXISTING, FILE_FLAG_BACKUP_SEMANTICS, &handle));
    std::wstring name(MAX_PATH, L'\0');
    for (;;) {
      const DWORD length = ::GetFinalPathNameByHandleW(handle.get(), name.data(), static_cast<DWORD>(name.size()),
                                                       FILE_NAME_NORMALIZED | VOLUME_NAME_DOS);
      if (length == 0) return ErrorStatus("resolve", path, ::GetLastError());
      const bool whole = length < name.size();
      name.resize(length);
      if (whole) break;
    }
    *canonical = ToUtf8(WithoutPrefix(std::move(name)));
    return {};
  }

  Status Open(const std::string& path, OpenMode mode, std::unique_ptr<File>* file) override {
    const DWORD access = mode == OpenMode::kRead ? GENERIC_READ : GENERIC_READ | GENERIC_WRITE;
    Handle handle;
    SEGWAL_TRY(OpenHandle(path, access, kShareAll, mode == OpenMode::kCreate ? CREATE_NEW : OPEN_EXISTING,
                          FILE_ATTRIBUTE_NORMAL, &handle));
    *file = std::make_unique<Win32File>(std::move(handle), path);
    return {};
  }

  Status Map(std::unique_ptr<File> file, uint64_t length, bool writable, std::unique_ptr<Mapping>* mapping) override {
    std::unique_ptr<Win32File> own(static_cast<Win32File*>(file.release()));  // every File here came from Open
    return Win32Mapping::Create(std::move(own), length, writable, deletions_, mapping);
  }

  Status Lock(const std::string& path, const std::string& note, std::unique_ptr<DirectoryLock>* lock) override {
    return AcquireLock(path, note, deletions_, lock);
  }

  // The coarse clock of the system is up to 16 ms behind; the precise one reads a counter of the processor, which is
  // cheap enough.
  uint64_t Now() const override { return PreciseRealtime(); }
  uint64_t CoarseNow() const override { return PreciseRealtime(); }
  uint64_t Monotonic() const override { return MonotonicCounter(); }

  BootId CurrentBoot() const override { return ReadBootId(); }
  uint32_t ProcessId() const override { return ::GetCurrentProcessId(); }
  std::string HostName() const override { return ReadHostName(); }
  Status Random(std::span<std::byte> out) override { return FillRandom(out); }

 private:
  // 0 or an error. The file is flushed under its new name: that writes the journal of names.
  DWORD TryRename(const std::string& from, const std::string& to) {
    Handle handle;
    const Status opened = OpenHandle(from, GENERIC_WRITE | DELETE | SYNCHRONIZE, kShareAll, OPEN_EXISTING,
                                     FILE_ATTRIBUTE_NORMAL, &handle);
    if (!opened.ok()) return static_cast<DWORD>(opened.os_error());
    if (deletions_.IsMapped(to)) return ERROR_USER_MAPPED_FILE;
    const DWORD error = RenameByHandle(handle.get(), SystemPath(to));
    if (error == 0) {
      if (::FlushFileBuffers(handle.get())) return 0;
      return IsUnsupported(::GetLastError()) ? DWORD{0} : DWORD{ERROR_WRITE_FAULT};
    }
    if (!IsUnsupported(error)) return error;
    handle = Handle();
    constexpr DWORD kFlags = MOVEFILE_REPLACE_EXISTING | MOVEFILE_WRITE_THROUGH;
    return ::MoveFileExW(SystemPath(from).c_str(), SystemPath(to).c_str(), kFlags) ? 0 : ::GetLastError();
  }

  Deletions deletions_;
};

}  // namespace
}  // namespace win32

// Never destroyed: when the process exits, threads of a log that nobody closed may still be using it.
Platform& Platform::Default() {
  static auto* const kPlatform = new win32::Win32Platform;
  return *kPlatform;
}

}  // namespace segwal
