#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "platform/posix/posix_error.h"
#include "platform/posix/posix_os.h"

namespace segwal::posix {
namespace {

// Where the volume does not have the call (SMB, FAT, some in user space).
bool IsUnsupported(int error) {
  return error == ENOTSUP || error == EOPNOTSUPP || error == ENOTTY || error == ENOSYS || error == EINVAL;
}

// Blocks for `bytes` more behind the physical end of the file; its size stays. In one piece if that can be had.
int Preallocate(int descriptor, uint64_t bytes) {
  fstore_t request{};
  request.fst_flags = F_ALLOCATECONTIG | F_ALLOCATEALL;
  request.fst_posmode = F_PEOFPOSMODE;
  request.fst_offset = 0;
  request.fst_length = static_cast<off_t>(bytes);
  if (ErrnoOf([&] { return ::fcntl(descriptor, F_PREALLOCATE, &request); }) == 0) return 0;
  request.fst_flags = F_ALLOCATEALL;
  const int error = ErrnoOf([&] { return ::fcntl(descriptor, F_PREALLOCATE, &request); });
  return IsUnsupported(error) ? ENOTSUP : error;
}

}  // namespace

// Only what is missing at the end is asked for: the log never makes a file with a hole in it.
int AllocateBlocks(int descriptor, uint64_t bytes) {
  struct stat info;
  if (::fstat(descriptor, &info) != 0) return errno;
  const auto size = static_cast<uint64_t>(info.st_size);
  if (size >= bytes) return 0;
  if (const int error = Preallocate(descriptor, bytes - size); error != 0) return error;
  return ErrnoOf([&] { return ::ftruncate(descriptor, static_cast<off_t>(bytes)); });
}

// F_PUNCHHOLE would give the blocks back.
int ZeroBlocks(int, uint64_t, uint64_t) { return ENOTSUP; }

int LookAt(int, uint64_t*, bool*) { return ENOTSUP; }

// fsync only hands the data to the drive, which may keep it in its cache; F_FULLFSYNC empties that. Where the volume
// does not have it, fsync is all that there is. Any other failure is final and must not be papered over.
int SyncDescriptor(int descriptor) {
  const int error = ErrnoOf([&] { return ::fcntl(descriptor, F_FULLFSYNC); });
  return IsUnsupported(error) ? ErrnoOf([&] { return ::fsync(descriptor); }) : error;
}

int SyncPages(int descriptor, std::byte* pages, size_t length) {
  const int error = ErrnoOf([&] { return ::msync(pages, length, MS_SYNC); });
  return error != 0 ? error : SyncDescriptor(descriptor);
}

bool TellsWhatIsInMemory() { return false; }
bool IsInMemory(int, uint64_t) { return false; }

// Its cache is one of pages.
void DoNotReadAhead(std::byte*, size_t) {}
void FetchPages(std::byte*, size_t) {}
void LayZeroPages(int, uint64_t, uint64_t) {}

int PopulatePages(std::byte*, size_t) { return ENOTSUP; }

}  // namespace segwal::posix
