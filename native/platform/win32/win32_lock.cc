// The lock is LockFileEx on one byte of a file. It belongs to the open file, so that a second open in the same process
// is refused too, and the system lets go of it with the last handle, however the process ends. Locks are mandatory
// here: the byte lies far behind everything that is ever in the file, so that others can read the note. The file is
// opened without FILE_SHARE_DELETE: nobody can take its name away while somebody has the lock.
#include "platform/win32/win32_lock.h"

#include <array>

#include "platform/win32/win32_error.h"
#include "platform/win32/win32_file.h"

namespace segwal::win32 {
namespace {

constexpr size_t kMaxNote = 1024;
// The locks of a process that was killed go when the system gets to it: it promises no more than that.
constexpr int kAttempts = 50;
constexpr DWORD kBetweenAttemptsMs = 2;
constexpr DWORD kLockedByteHigh = 0x4000'0000;

BOOL TryLock(HANDLE handle) {
  OVERLAPPED at{};
  at.OffsetHigh = kLockedByteHigh;
  return ::LockFileEx(handle, LOCKFILE_EXCLUSIVE_LOCK | LOCKFILE_FAIL_IMMEDIATELY, 0, 1, 0, &at);
}

void Unlock(HANDLE handle) {
  OVERLAPPED at{};
  at.OffsetHigh = kLockedByteHigh;
  ::UnlockFileEx(handle, 0, 1, 0, &at);
}

// Nothing can be done, or has to be, when it fails: a note is only read while someone has the lock, and whoever takes
// the lock writes a new one over it.
void Empty(Win32File& file) { static_cast<void>(file.Resize(0)); }

class Win32Lock final : public DirectoryLock {
 public:
  explicit Win32Lock(std::unique_ptr<Win32File> file) : file_(std::move(file)) {}

  // The note goes before the lock does, while nobody else can have written theirs. Unlocked by name: closing the handle
  // leaves it to the system when.
  ~Win32Lock() override {
    Empty(*file_);
    Unlock(file_->handle());
  }

 private:
  const std::unique_ptr<Win32File> file_;
};

// The first line of the file, or what can be had of it.
std::string ReadNote(Win32File& file) {
  std::array<std::byte, kMaxNote> buffer;
  size_t count = 0;
  if (!file.Read(0, buffer, &count).ok()) return {};
  const std::string_view text(reinterpret_cast<const char*>(buffer.data()), count);
  return std::string(text.substr(0, text.find('\n')));
}

// The note serves only the message that others get. A full disk must not keep a log from being opened for lack of it.
void WriteNote(Win32File& file, const std::string& note) {
  Empty(file);
  const std::string line = note.substr(0, kMaxNote - 1) + "\n";
  static_cast<void>(file.Write(0, std::as_bytes(std::span(line))));
}

}  // namespace

// Refused, it tries again for a moment. Until the note is there and stays the same, the owner may just be writing it,
// over that of one who died, or be about to let go.
Status AcquireLock(const std::string& path, const std::string& note, Deletions& deletions,
                   std::unique_ptr<DirectoryLock>* lock) {
  Handle handle;
  SEGWAL_TRY(OpenHandle(path, GENERIC_READ | GENERIC_WRITE, FILE_SHARE_READ | FILE_SHARE_WRITE, OPEN_ALWAYS,
                        FILE_ATTRIBUTE_NORMAL, &handle));
  auto file = std::make_unique<Win32File>(std::move(handle), path);
  std::string owner;
  int unchanged = 0;
  for (int attempt = 0; attempt < kAttempts; ++attempt) {
    if (TryLock(file->handle())) {
      WriteNote(*file, note);
      *lock = std::make_unique<Win32Lock>(std::move(file));
      deletions.Sweep(path.substr(0, path.find_last_of("/\\")));
      return {};
    }
    const DWORD error = ::GetLastError();
    if (error != ERROR_LOCK_VIOLATION && error != ERROR_IO_PENDING) return ErrorStatus("lock", path, error);
    std::string seen = ReadNote(*file);
    unchanged = !seen.empty() && seen == owner ? unchanged + 1 : 0;
    if (unchanged == kAttempts / 2) break;
    owner = std::move(seen);
    ::Sleep(kBetweenAttemptsMs);
  }
  if (owner.empty()) owner = "another open that left no note";
  return {ErrorCode::kLocked, path + " is held by " + owner, ERROR_LOCK_VIOLATION};
}

}  // namespace segwal::win32
