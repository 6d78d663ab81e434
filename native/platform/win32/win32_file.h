#pragma once

#include <cstdint>
#include <string>

#include "platform/platform.h"
#include "platform/win32/win32_handle.h"

namespace segwal::win32 {

// Everybody may do everything at the same time: readers follow a file while it is written, and a name can be taken away
// from under them. What keeps a second writer out is the lock, not the sharing mode.
inline constexpr DWORD kShareAll = FILE_SHARE_READ | FILE_SHARE_WRITE | FILE_SHARE_DELETE;

// CreateFileW for a path of the core. Never inheritable: a child process must hold neither a log's lock nor its files.
Status OpenHandle(const std::string& path, DWORD access, DWORD share, DWORD disposition, DWORD flags, Handle* handle);

// Which file it is, by whatever name. Where a system hands out less than it should, two files may share one.
struct FileId {
  uint64_t volume = 0;
  uint64_t index = 0;
  auto operator<=>(const FileId&) const = default;
};
Status IdentifyFile(HANDLE handle, const std::string& path, FileId* id);

class Win32File final : public File {
 public:
  Win32File(Handle handle, std::string path) : handle_(std::move(handle)), path_(std::move(path)) {}

  Status Size(uint64_t* bytes) override;
  Status Read(uint64_t offset, std::span<std::byte> out, size_t* count) override;
  Status Write(uint64_t offset, ByteView data) override;
  Status Allocate(uint64_t bytes) override;
  Status Zero(uint64_t offset, uint64_t length) override;
  Status Sync() override;

  // REQUIRES: not mapped, by anyone; else ERROR_USER_MAPPED_FILE.
  Status Resize(uint64_t bytes);

  HANDLE handle() const { return handle_.get(); }
  const std::string& path() const { return path_; }

 private:
  Status AllocatedBytes(uint64_t* bytes);
  Status RewriteFrom(uint64_t offset, uint64_t bytes);

  const Handle handle_;
  const std::string path_;
};

}  // namespace segwal::win32
