#include "platform/win32/win32_file.h"

#include <winioctl.h>

#include <algorithm>
#include <array>
#include <memory>

#include "platform/win32/win32_error.h"
#include "platform/win32/win32_path.h"

namespace segwal::win32 {
namespace {

constexpr size_t kMaxTransfer = size_t{1} << 30;  // a DWORD says how much

constexpr size_t kZeroBlock = size_t{64} << 10;
const std::array<std::byte, kZeroBlock> kZeros{};

// Reading and writing at a place goes by way of what is meant for asynchronous handles; on others it just waits.
OVERLAPPED At(uint64_t offset) {
  OVERLAPPED at{};
  at.Offset = static_cast<DWORD>(offset);
  at.OffsetHigh = static_cast<DWORD>(offset >> 32);
  return at;
}

LARGE_INTEGER Signed(uint64_t value) {
  LARGE_INTEGER large;
  large.QuadPart = static_cast<LONGLONG>(value);
  return large;
}

// A folder may pass compression on to what is made in it, and a compressed file allocates only what is stored: a store
// through a mapping could then find no room. A refusal means that there is no compression, or no way round it.
void TurnCompressionOff(HANDLE handle) {
  BY_HANDLE_FILE_INFORMATION info{};
  if (!::GetFileInformationByHandle(handle, &info) || (info.dwFileAttributes & FILE_ATTRIBUTE_COMPRESSED) == 0) return;
  USHORT format = COMPRESSION_FORMAT_NONE;
  DWORD returned = 0;
  ::DeviceIoControl(handle, FSCTL_SET_COMPRESSION, &format, sizeof format, nullptr, 0, &returned, nullptr);
}

}  // namespace

Status OpenHandle(const std::string& path, DWORD access, DWORD share, DWORD disposition, DWORD flags, Handle* handle) {
  Handle opened(::CreateFileW(SystemPath(path).c_str(), access, share, nullptr, disposition, flags, nullptr));
  if (!opened.valid()) return ErrorStatus("open", path, ::GetLastError());
  *handle = std::move(opened);
  return {};
}

Status IdentifyFile(HANDLE handle, const std::string& path, FileId* id) {
  BY_HANDLE_FILE_INFORMATION info{};
  SEGWAL_TRY(ResultStatus("stat", path, ::GetFileInformationByHandle(handle, &info)));
  *id = {info.dwVolumeSerialNumber, (uint64_t{info.nFileIndexHigh} << 32) | info.nFileIndexLow};
  return {};
}

Status Win32File::Size(uint64_t* bytes) {
  LARGE_INTEGER size{};
  SEGWAL_TRY(ResultStatus("stat", path_, ::GetFileSizeEx(handle_.get(), &size)));
  *bytes = static_cast<uint64_t>(size.QuadPart);
  return {};
}

Status Win32File::Read(uint64_t offset, std::span<std::byte> out, size_t* count) {
  *count = 0;
  while (*count < out.size()) {
    const auto wanted = static_cast<DWORD>(std::min(out.size() - *count, kMaxTransfer));
    OVERLAPPED at = At(offset + *count);
    DWORD got = 0;
    if (!::ReadFile(handle_.get(), out.data() + *count, wanted, &got, &at)) {
      const DWORD error = ::GetLastError();
      if (error == ERROR_HANDLE_EOF) break;
      return ErrorStatus("read", path_, error);
    }
    if (got == 0) break;
    *count += got;
  }
  return {};
}

Status Win32File::Write(uint64_t offset, ByteView data) {
  while (!data.empty()) {
    const auto wanted = static_cast<DWORD>(std::min(data.size(), kMaxTransfer));
    OVERLAPPED at = At(offset);
    DWORD written = 0;
    SEGWAL_TRY(ResultStatus("write", path_, ::WriteFile(handle_.get(), data.data(), wanted, &written, &at)));
    if (written == 0) return ErrorStatus("write", path_, ERROR_WRITE_FAULT);
    data = data.subspan(written);
    offset += written;
  }
  return {};
}

// NTFS and ReFS give a file that is neither sparse nor compressed its clusters when its end is set, and remember how
// far it was ever written, so that the rest reads as zero. No time is lost on zeros, no privilege is needed, and
// nobody's old bytes come to light, as SetFileValidData would have it. Whether the clusters are really there is asked
// afterwards; where they are not (network drives, sparse files, emulators), they are had by writing.
// REQUIRES: nobody writes to the file meanwhile.
Status Win32File::Allocate(uint64_t bytes) {
  TurnCompressionOff(handle_.get());
  uint64_t size = 0;
  SEGWAL_TRY(Size(&size));
  if (size < bytes) {
    FILE_ALLOCATION_INFO allocation{};
    allocation.AllocationSize = Signed(bytes);
    if (!::SetFileInformationByHandle(handle_.get(), FileAllocationInfo, &allocation, sizeof allocation)) {
      const DWORD error = ::GetLastError();
      if (!IsUnsupported(error)) return ErrorStatus("allocate", path_, error);
    }
    SEGWAL_TRY(Resize(bytes));
  }
  uint64_t allocated = 0;
  SEGWAL_TRY(AllocatedBytes(&allocated));
  return allocated >= bytes ? Status::Ok() : RewriteFrom(0, bytes);
}

// By writing: it is coherent with every mapping of the file, on every file system.
Status Win32File::Zero(uint64_t offset, uint64_t length) {
  while (length > 0) {
    const auto block = static_cast<size_t>(std::min<uint64_t>(length, kZeroBlock));
    SEGWAL_TRY(Write(offset, ByteView(kZeros).first(block)));
    offset += block;
    length -= block;
  }
  return {};
}

Status Win32File::Sync() { return ResultStatus("sync", path_, ::FlushFileBuffers(handle_.get())); }

Status Win32File::Resize(uint64_t bytes) {
  FILE_END_OF_FILE_INFO end{};
  end.EndOfFile = Signed(bytes);
  return ResultStatus("resize", path_,
                      ::SetFileInformationByHandle(handle_.get(), FileEndOfFileInfo, &end, sizeof end));
}

Status Win32File::AllocatedBytes(uint64_t* bytes) {
  FILE_STANDARD_INFO info{};
  SEGWAL_TRY(
      ResultStatus("stat", path_, ::GetFileInformationByHandleEx(handle_.get(), FileStandardInfo, &info, sizeof info)));
  *bytes = static_cast<uint64_t>(info.AllocationSize.QuadPart);
  return {};
}

// Allocation by hand: what is there is written over with itself, since it may be a hole.
Status Win32File::RewriteFrom(uint64_t offset, uint64_t bytes) {
  const auto block = std::make_unique<std::array<std::byte, kZeroBlock>>();
  while (offset < bytes) {
    const auto wanted = static_cast<size_t>(std::min<uint64_t>(bytes - offset, kZeroBlock));
    size_t count = 0;
    SEGWAL_TRY(Read(offset, std::span(*block).first(wanted), &count));
    if (count == 0) break;
    SEGWAL_TRY(Write(offset, ByteView(*block).first(count)));
    offset += count;
  }
  return {};
}

}  // namespace segwal::win32
