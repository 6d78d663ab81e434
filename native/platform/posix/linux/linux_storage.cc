#include <fcntl.h>
#include <linux/falloc.h>
#include <linux/fs.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <vector>

#include "platform/posix/posix_error.h"
#include "platform/posix/posix_os.h"

// Linux 5.14; the headers of the C libraries that this is built against are older.
#ifndef MADV_POPULATE_READ
#define MADV_POPULATE_READ 22
#define MADV_POPULATE_WRITE 23
#endif

namespace segwal::posix {
namespace {

// One name for all the ways in which a kernel says that it does not have the call, or this file system does not.
int Unsupported(int error) { return error == EOPNOTSUPP || error == ENOSYS || error == EINVAL ? ENOTSUP : error; }

// btrfs writes a changed page to a new place, so on a full disk a store to a page that was written before has no room,
// allocated or not, and is a signal. Files with this attribute, which only an empty one can get, are written in place.
// Others do not have it, and need none.
void WriteInPlace(int descriptor) {
  struct stat info;
  if (::fstat(descriptor, &info) != 0 || info.st_size != 0) return;
  int attributes = 0;
  if (::ioctl(descriptor, FS_IOC_GETFLAGS, &attributes) != 0) return;
  attributes |= FS_NOCOW_FL;
  static_cast<void>(::ioctl(descriptor, FS_IOC_SETFLAGS, &attributes));
}

}  // namespace

// fallocate and not posix_fallocate: where the file system has none, the C libraries disagree about what to do.
int AllocateBlocks(int descriptor, uint64_t bytes) {
  WriteInPlace(descriptor);
  return Unsupported(ErrnoOf([&] { return ::fallocate(descriptor, 0, 0, static_cast<off_t>(bytes)); }));
}

int ZeroBlocks(int descriptor, uint64_t offset, uint64_t length) {
  return Unsupported(ErrnoOf([&] {
    return ::fallocate(descriptor, FALLOC_FL_ZERO_RANGE, static_cast<off_t>(offset), static_cast<off_t>(length));
  }));
}

int SyncDescriptor(int descriptor) {
  return ErrnoOf([&] { return ::fsync(descriptor); });
}

// Writing a page back first write-protects it in every page table, and on x86 that flushes it from the other
// processors' translation caches, one interrupt a page: it slows the sync and, worse, the thread that is appending
// meanwhile. Taking the pages of a long range out of the page table before costs one flush for all of them. Nothing is
// lost by it: what was stored is in the page cache, marked dirty. In a loop of two threads with a
// sync every 10 ms it gave half as much again (no committed benchmark repeats that). The first page (a segment's
// header) and the last (the tail) stay mapped: they are about to be stored to again.
int SyncPages(int, std::byte* pages, size_t length) {
  constexpr size_t kLongRange = size_t{64} << 10;
  if (length > kLongRange) {
    const size_t page = static_cast<size_t>(::sysconf(_SC_PAGESIZE));
    static_cast<void>(::madvise(pages + page, length - 2 * page, MADV_DONTNEED));  // a refusal only costs the speed
  }
  return ErrnoOf([&] { return ::msync(pages, length, MS_SYNC); });
}

bool TellsWhatIsInMemory() { return true; }

// mincore, which needs a mapping to speak of.
bool IsInMemory(int descriptor, uint64_t bytes) {
  if (bytes == 0) return true;
  void* const pages = ::mmap(nullptr, bytes, PROT_READ, MAP_SHARED, descriptor, 0);
  if (pages == MAP_FAILED) return false;
  const auto page = static_cast<size_t>(::sysconf(_SC_PAGESIZE));
  std::vector<unsigned char> present((bytes + page - 1) / page);
  const bool told = ::mincore(pages, bytes, present.data()) == 0;
  ::munmap(pages, bytes);
  return told && std::ranges::all_of(present, [](unsigned char each) { return (each & 1) != 0; });
}

// The page cache holds a file in folios of one page or many, and writes a folio whole. What it reads ahead it puts into
// larger and larger ones, of up to 2 MiB, and then each sync of a few bytes writes 2 MiB (ext4 since Linux 6.16, xfs
// long before). A mapping that is said to be used at random is not read ahead of.
void DoNotReadAhead(std::byte* pages, size_t length) {
  static_cast<void>(::madvise(pages, length, MADV_RANDOM));  // a refusal only costs the speed
}

void FetchPages(std::byte* pages, size_t length) { static_cast<void>(::madvise(pages, length, MADV_POPULATE_READ)); }

// What is written gets folios of the size of the write. Pieces of 16 KiB are made ready nearly three times as fast as
// single pages, and a sync of one takes no longer.
void LayZeroPages(int descriptor, uint64_t begin, uint64_t end) {
  constexpr uint64_t kPiece = Mapping::kPiece;
  // Whatever is there already is in folios of any size: somebody has read it, recovery or a backup. A folio lies at a
  // multiple of its size, and is dropped as a whole or not at all.
  constexpr uint64_t kLargestFolio = uint64_t{2} << 20;
  const uint64_t dropped_from = begin / kLargestFolio * kLargestFolio;
  const uint64_t dropped_to = (end + kLargestFolio - 1) / kLargestFolio * kLargestFolio;
  static_cast<void>(::posix_fadvise(descriptor, static_cast<off_t>(dropped_from),
                                    static_cast<off_t>(dropped_to - dropped_from), POSIX_FADV_DONTNEED));
  alignas(4096) static constexpr std::array<std::byte, kPiece> kZeros{};
  while (begin < end) {
    const uint64_t next = std::min(end, (begin / kPiece + 1) * kPiece);
    const auto length = static_cast<size_t>(next - begin);
    const ssize_t written = ::pwrite(descriptor, kZeros.data(), length, static_cast<off_t>(begin));
    if (written != static_cast<ssize_t>(length)) return;  // whoever populates it finds out why
    begin = next;
  }
}

// In pieces: the kernel holds the lock of the address space meanwhile, for reading. An unmapping wants it for itself,
// and behind that whoever comes next has to wait, be it the thread that syncs.
int PopulatePages(std::byte* pages, size_t length) {
  constexpr size_t kPiece = size_t{256} << 10;
  int error = 0;
  for (size_t at = 0; at < length && error == 0; at += kPiece) {
    error = ErrnoOf([&] { return ::madvise(pages + at, std::min(kPiece, length - at), MADV_POPULATE_WRITE); });
  }
  return error == EINVAL ? ENOTSUP : error;
}

}  // namespace segwal::posix
