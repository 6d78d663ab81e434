#include "platform/posix/posix_file.h"

#include <sys/file.h>
#include <sys/stat.h>
#include <sys/types.h>

#include <algorithm>
#include <array>

#include "platform/posix/posix_os.h"

namespace segwal::posix {
namespace {

static_assert(sizeof(off_t) == 8, "segments are addressed with 64 bits");

// Some systems refuse more than INT_MAX bytes in one call, others do less than they are asked.
constexpr size_t kMaxTransfer = size_t{1} << 30;

// Small on purpose: a page cache filled with large writes holds large folios, and every later sync of a few bytes
// writes a whole one.
constexpr size_t kZeroBlock = 4096;
const std::array<std::byte, kZeroBlock> kZeros{};

}  // namespace

Status PosixFile::Size(uint64_t* bytes) {
  bool has_name = false;
  return Look(bytes, &has_name);
}

Status PosixFile::Look(uint64_t* bytes, bool* has_name) {
  if (LookAt(descriptor_.get(), bytes, has_name) == 0) return {};
  struct stat info;
  SEGWAL_TRY(ResultStatus("stat", path_, ErrnoOf([&] { return ::fstat(descriptor_.get(), &info); })));
  *bytes = static_cast<uint64_t>(info.st_size);
  *has_name = info.st_nlink != 0;
  return {};
}

Status PosixFile::Read(uint64_t offset, std::span<std::byte> out, size_t* count) {
  *count = 0;
  while (*count < out.size()) {
    const size_t wanted = std::min(out.size() - *count, kMaxTransfer);
    const ssize_t got = RetryInterrupted(
        [&] { return ::pread(descriptor_.get(), out.data() + *count, wanted, static_cast<off_t>(offset + *count)); });
    if (got == -1) return ErrorStatus("read", path_, errno);
    if (got == 0) break;
    *count += static_cast<size_t>(got);
  }
  return {};
}

Status PosixFile::Write(uint64_t offset, ByteView data) {
  while (!data.empty()) {
    const size_t wanted = std::min(data.size(), kMaxTransfer);
    const ssize_t written =
        RetryInterrupted([&] { return ::pwrite(descriptor_.get(), data.data(), wanted, static_cast<off_t>(offset)); });
    if (written == -1) return ErrorStatus("write", path_, errno);
    if (written == 0) return ErrorStatus("write", path_, EIO);
    data = data.subspan(static_cast<size_t>(written));
    offset += static_cast<uint64_t>(written);
  }
  return {};
}

Status PosixFile::Allocate(uint64_t bytes) {
  const int result = AllocateBlocks(descriptor_.get(), bytes);
  return result == ENOTSUP ? RewriteAll(bytes) : ResultStatus("allocate", path_, result);
}

Status PosixFile::Zero(uint64_t offset, uint64_t length) {
  if (length == 0) return {};
  const int result = ZeroBlocks(descriptor_.get(), offset, length);
  return result == ENOTSUP ? WriteZeros(offset, length) : ResultStatus("zero", path_, result);
}

Status PosixFile::Sync() { return ResultStatus("sync", path_, SyncDescriptor(descriptor_.get())); }

Status PosixFile::TakeForRecycling() {
  struct stat info;
  SEGWAL_TRY(ResultStatus("stat", path_, ErrnoOf([&] { return ::fstat(descriptor_.get(), &info); })));
  const auto refuse = [this](const char* why, int error = 0) {
    return Status(ErrorCode::kLocked, path_ + " cannot be used again: " + why, error);
  };
  if (info.st_nlink != 1) return refuse("it has another name");
  const int locked = ErrnoOf([&] { return ::flock(descriptor_.get(), LOCK_EX | LOCK_NB); });
  if (locked != 0) return refuse(locked == EWOULDBLOCK ? "somebody reads it" : "it cannot be locked", locked);
  return IsInMemory(descriptor_.get(), static_cast<uint64_t>(info.st_size))
             ? Status::Ok()
             : refuse("some of it would have to be read first");
}

// A file system without such locks refuses both kinds, so that there nothing is recycled either.
Status PosixFile::LockForMapping() {
  const int locked = ErrnoOf([&] { return ::flock(descriptor_.get(), LOCK_SH | LOCK_NB); });
  if (locked != EWOULDBLOCK) return {};
  return {ErrorCode::kNotFound, path_ + " is being put to another use", ENOENT};
}

Status PosixFile::WriteZeros(uint64_t offset, uint64_t length) {
  while (length > 0) {
    const size_t block = static_cast<size_t>(std::min<uint64_t>(length, kZeroBlock));
    SEGWAL_TRY(Write(offset, ByteView(kZeros).first(block)));
    offset += block;
    length -= block;
  }
  return {};
}

// Allocation by hand: what is there is written over with itself, since it may be a hole, and zeros behind it.
// REQUIRES: nobody writes to the file meanwhile.
Status PosixFile::RewriteAll(uint64_t bytes) {
  uint64_t size = 0;
  SEGWAL_TRY(Size(&size));
  std::array<std::byte, kZeroBlock> block;
  for (uint64_t at = 0; at < std::min(size, bytes);) {
    size_t count = 0;
    SEGWAL_TRY(Read(at, block, &count));
    if (count == 0) break;
    SEGWAL_TRY(Write(at, ByteView(block).first(count)));
    at += count;
  }
  return size < bytes ? WriteZeros(size, bytes - size) : Status::Ok();
}

}  // namespace segwal::posix
