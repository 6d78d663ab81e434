// The lock is flock(2) on a file. It belongs to the open file and not to the process, so that a second open in the same
// process is refused too, and the kernel lets go of it with the last descriptor, however the process ends. The file is
// never unlinked: whoever had opened it just before would lock a file that nobody else can find.
#include "platform/posix/posix_lock.h"

#include <sys/file.h>
#include <unistd.h>

#include <array>
#include <chrono>
#include <thread>

#include "platform/posix/posix_file.h"

namespace segwal::posix {
namespace {

constexpr size_t kMaxNote = 1024;
constexpr int kAttempts = 20;
constexpr std::chrono::milliseconds kBetweenAttempts{2};

// Nothing can be done, or has to be, when it fails: a note is only read while someone has the lock, and whoever takes
// the lock writes a new one over it.
void Empty(const PosixFile& file) { [[maybe_unused]] const int ignored = ::ftruncate(file.descriptor(), 0); }

class PosixLock final : public DirectoryLock {
 public:
  explicit PosixLock(std::unique_ptr<PosixFile> file) : file_(std::move(file)) {}

  // The note goes before the lock does, while nobody else can have written theirs.
  ~PosixLock() override { Empty(*file_); }

 private:
  const std::unique_ptr<PosixFile> file_;
};

// The first line of the file, or what can be had of it.
std::string ReadNote(PosixFile& file) {
  std::array<std::byte, kMaxNote> buffer;
  size_t count = 0;
  if (!file.Read(0, buffer, &count).ok()) return {};
  const std::string_view text(reinterpret_cast<const char*>(buffer.data()), count);
  return std::string(text.substr(0, text.find('\n')));
}

// The note serves only the message that others get. A full disk must not keep a log from being opened for lack of it.
void WriteNote(PosixFile& file, const std::string& note) {
  Empty(file);
  const std::string line = note.substr(0, kMaxNote - 1) + "\n";
  [[maybe_unused]] const Status ignored = file.Write(0, std::as_bytes(std::span(line)));
}

}  // namespace

// Refused, it tries again for a moment. Until the note is there and stays the same, the owner may just be writing it,
// over that of one who died, or be about to let go.
Status AcquireLock(const std::string& path, const std::string& note, std::unique_ptr<DirectoryLock>* lock) {
  Descriptor descriptor;
  SEGWAL_TRY(OpenDescriptor(path, O_RDWR | O_CREAT, &descriptor));
  auto file = std::make_unique<PosixFile>(std::move(descriptor), path);
  std::string owner;
  for (int attempt = 0; attempt < kAttempts; ++attempt) {
    const int result = ErrnoOf([&] { return ::flock(file->descriptor(), LOCK_EX | LOCK_NB); });
    if (result == 0) {
      WriteNote(*file, note);
      *lock = std::make_unique<PosixLock>(std::move(file));
      return {};
    }
    if (result != EWOULDBLOCK) return ErrorStatus("lock", path, result);
    std::string seen = ReadNote(*file);
    if (!seen.empty() && seen == owner) break;
    owner = std::move(seen);
    std::this_thread::sleep_for(kBetweenAttempts);
  }
  if (owner.empty()) owner = "another open that left no note";
  return {ErrorCode::kLocked, path + " is held by " + owner, EWOULDBLOCK};
}

}  // namespace segwal::posix
