#include "platform/posix/posix_mapping.h"

#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <cassert>

#include "platform/posix/posix_os.h"

namespace segwal::posix {
namespace {

size_t PageSize() {
  static const auto kPageSize = static_cast<size_t>(::sysconf(_SC_PAGESIZE));
  return kPageSize;
}

// The whole pages that a range of a mapping lies in. The last page may reach behind the end of the mapping, as it does
// in memory.
struct PageRange {
  uint64_t offset;
  size_t length;
};

PageRange PagesOf(uint64_t offset, uint64_t length) {
  const uint64_t begin = offset - offset % PageSize();
  const uint64_t end = (offset + length + PageSize() - 1) / PageSize() * PageSize();
  return {begin, static_cast<size_t>(end - begin)};
}

Status ShorterThanMapped(const char* operation, const PosixFile& file, uint64_t size, uint64_t needed) {
  return {ErrorCode::kIo,
          operation + (" " + file.path()) + ": the file has " + std::to_string(size) + " bytes, " +
              std::to_string(needed) + " are needed; has something truncated it?",
          EIO};
}

}  // namespace

Status PosixMapping::Create(std::unique_ptr<PosixFile> file, uint64_t length, bool writable,
                            std::unique_ptr<Mapping>* mapping) {
  uint64_t size = 0;
  SEGWAL_TRY(file->LockForMapping());
  SEGWAL_TRY(file->Size(&size));
  if (size < length) return ShorterThanMapped("map", *file, size, length);
  const int protection = writable ? PROT_READ | PROT_WRITE : PROT_READ;
  void* const data = ::mmap(nullptr, static_cast<size_t>(length), protection, MAP_SHARED, file->descriptor(), 0);
  if (data == MAP_FAILED) return ErrorStatus("map", file->path(), errno);
  if (writable) DoNotReadAhead(static_cast<std::byte*>(data), static_cast<size_t>(length));
  mapping->reset(
      new PosixMapping(std::move(file), static_cast<std::byte*>(data), static_cast<size_t>(length), writable));
  return {};
}

PosixMapping::PosixMapping(std::unique_ptr<PosixFile> file, std::byte* data, size_t size, bool writable)
    : Mapping(data, size),
      file_(std::move(file)),
      guarded_(GuardRange(data, size, failure().get())),
      writable_(writable) {}

PosixMapping::~PosixMapping() {
  UnguardRange(guarded_);
  ::munmap(data(), size());
}

Status PosixMapping::Sync(uint64_t offset, uint64_t length) {
  assert(offset <= size() && length <= size() - offset);
  if (length == 0) return {};
  const PageRange pages = PagesOf(offset, length);
  SEGWAL_TRY(ResultStatus("sync", file_->path(), SyncPages(file_->descriptor(), data() + pages.offset, pages.length)));
  // Of pages behind the end of the file the system writes nothing, and says that all is well. Asked afterwards, so that
  // no moment is left in which the file can have been cut short unnoticed before its pages were written.
  // The same of a file that has been removed: it is written, and gone as soon as it is closed.
  uint64_t file_size = 0;
  bool has_name = false;
  SEGWAL_TRY(file_->Look(&file_size, &has_name));
  if (!has_name) return {ErrorCode::kIo, "sync " + file_->path() + ": something has removed the file", ENOENT};
  return file_size < size() ? ShorterThanMapped("sync", *file_, file_size, size()) : Status::Ok();
}

// A write would make a file longer that somebody has cut short, and what was lost would read as zero. Such a file is
// not written here, and never so that it is as long again as it was: then the next sync, or Populate, finds out.
void PosixMapping::LayZeros(uint64_t offset, uint64_t length) {
  assert(offset <= size() && length <= size() - offset);
  uint64_t file_size = 0;
  bool has_name = false;
  if (!file_->Look(&file_size, &has_name).ok() || file_size < size()) return;
  LayZeroPages(file_->descriptor(), offset, std::min<uint64_t>(offset + length, size() - 1));
}

void PosixMapping::Fetch(uint64_t offset, uint64_t length) {
  assert(offset <= size() && length <= size() - offset);
  const PageRange pages = PagesOf(offset, length);
  if (length != 0) FetchPages(data() + pages.offset, pages.length);
}

Status PosixMapping::Populate(uint64_t offset, uint64_t length) {
  assert(writable_);
  assert(offset <= size() && length <= size() - offset);
  if (length == 0) return {};
  const PageRange pages = PagesOf(offset, length);
  const int result = PopulatePages(data() + pages.offset, pages.length);
  if (result == ENOTSUP) return TouchPages(*file_, pages.offset, data() + pages.offset, pages.length);
  if (result != EFAULT) return ResultStatus("populate", file_->path(), result);

  // A store would have been a signal: the file has been cut short, or has blocks that cannot be read or, never having
  // been allocated, had no room. Asking for the blocks tells which.
  const uint64_t end = std::min<uint64_t>(pages.offset + pages.length, size());
  uint64_t file_size = 0;
  SEGWAL_TRY(file_->Size(&file_size));
  if (file_size < end) return ShorterThanMapped("populate", *file_, file_size, end);
  const int allocated = AllocateBlocks(file_->descriptor(), end);
  if (allocated != 0 && allocated != ENOTSUP) return ErrorStatus("populate", file_->path(), allocated);
  const int again = PopulatePages(data() + pages.offset, pages.length);
  return ResultStatus("populate", file_->path(), again == EFAULT ? EIO : again);
}

// One byte of each page is read with a system call first: what a load or store would answer with a signal, behind the
// end of the file or on a bad block, is an error there. (A hole for which there is no room still is a signal, but no
// file of the log has holes: Allocate sees to that.)
//
// Other threads may store to the same page, even to the same byte, meanwhile. An atomic OR with zero loses none of
// that: it puts back what it read with nothing in between. A load and a store would. Relaxed order is enough, nothing
// is told by it. The zero is hidden from the compiler, which may turn an OR with a known zero into something that does
// not write (LLVM does), and then the page would not be faulted in for writing.
Status TouchPages(PosixFile& file, uint64_t offset, std::byte* pages, size_t length) {
  static volatile uint8_t hidden_zero = 0;
  for (size_t at = 0; at < length; at += PageSize()) {
    std::byte probe;
    size_t count = 0;
    SEGWAL_TRY(file.Read(offset + at, std::span(&probe, 1), &count));
    if (count == 0) return ShorterThanMapped("populate", file, offset + at, offset + at + 1);
    __atomic_fetch_or(reinterpret_cast<uint8_t*>(pages + at), hidden_zero, __ATOMIC_RELAXED);
  }
  return {};
}

}  // namespace segwal::posix
