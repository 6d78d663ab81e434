#include "platform/win32/win32_mapping.h"

#include <algorithm>
#include <array>
#include <atomic>
#include <cassert>

#include "platform/win32/win32_error.h"
#include "platform/win32/win32_fault_guard.h"

namespace segwal::win32 {
namespace {

// The granularity of stores and flushes; that of views (64 KiB) is of no concern, all begin at 0.
size_t PageSize() {
  static const size_t kPageSize = [] {
    SYSTEM_INFO info{};
    ::GetSystemInfo(&info);
    return static_cast<size_t>(info.dwPageSize);
  }();
  return kPageSize;
}

// The memory manager's own writer has pages of the range in hand. It is done with them in milliseconds, as a rule.
constexpr int kFlushAttempts = 1000;
constexpr DWORD kBetweenFlushesMs = 5;

constexpr size_t kProbe = size_t{64} << 10;  // a multiple of every page size

Status ShorterThanMapped(const Win32File& file, uint64_t size, uint64_t needed) {
  return {ErrorCode::kIo, "map " + file.path() + ": the file has " + std::to_string(size) + " bytes, " +
                              std::to_string(needed) + " are needed; has something truncated it?"};
}

}  // namespace

// The section's handle is not kept: the view keeps the section.
Status Win32Mapping::Create(std::unique_ptr<Win32File> file, uint64_t length, bool writable, Deletions& deletions,
                            std::unique_ptr<Mapping>* mapping) {
  uint64_t size = 0;
  SEGWAL_TRY(file->Size(&size));
  if (size < length) return ShorterThanMapped(*file, size, length);
  FileId id;
  SEGWAL_TRY(IdentifyFile(file->handle(), file->path(), &id));
  const Handle section(::CreateFileMappingW(file->handle(), nullptr, writable ? PAGE_READWRITE : PAGE_READONLY,
                                            static_cast<DWORD>(length >> 32), static_cast<DWORD>(length), nullptr));
  if (!section.valid()) return ErrorStatus("map", file->path(), ::GetLastError());
  const DWORD access = writable ? FILE_MAP_READ | FILE_MAP_WRITE : FILE_MAP_READ;
  std::byte* const data = MapView(section.get(), access, static_cast<size_t>(length));
  if (data == nullptr) return ErrorStatus("map", file->path(), ::GetLastError());
  mapping->reset(new Win32Mapping(std::move(file), data, static_cast<size_t>(length), writable, deletions, id));
  return {};
}

Win32Mapping::Win32Mapping(std::unique_ptr<Win32File> file, std::byte* data, size_t size, bool writable,
                           Deletions& deletions, const FileId& id)
    : Mapping(data, size), file_(std::move(file)), writable_(writable), deletions_(deletions), id_(id) {
  deletions_.Mapped(id_);
  GuardView(this->data(), this->size(), failure().get());
}

Win32Mapping::~Win32Mapping() {
  UnmapView(data());
  file_.reset();
  deletions_.Unmapped(id_);
}

// FlushViewOfFile only hands dirty pages to the file system, and does not wait for the medium. FlushFileBuffers then
// writes what the file system still has, its metadata (how far the file is valid) and the drive's cache. Either alone
// is no sync.
Status Win32Mapping::Sync(uint64_t offset, uint64_t length) {
  assert(writable_);
  assert(offset <= size() && length <= size() - offset);
  if (length == 0) return {};
  SEGWAL_TRY(FlushView(offset, length));
  return file_->Sync();
}

Status Win32Mapping::FlushView(uint64_t offset, uint64_t length) {
  for (int attempt = 1; !::FlushViewOfFile(data() + offset, static_cast<size_t>(length)); ++attempt) {
    const DWORD error = ::GetLastError();
    // Not a failed write, which would be final: nothing was written yet, and the pages are still dirty.
    if (error != ERROR_LOCK_VIOLATION || attempt == kFlushAttempts) return ErrorStatus("sync", file_->path(), error);
    ::Sleep(kBetweenFlushesMs);
  }
  return {};
}

// The pages are read with a system call first: a block that cannot be read is an error there, and an exception to who
// loads or stores. (The file cannot get shorter: the system does not let anybody cut off what is mapped.)
//
// Other threads may store to the same page, even to the same byte, meanwhile. An atomic OR with zero loses none of
// that: it puts back what it read with nothing in between. Relaxed order is enough, nothing is told by it. The zero is
// hidden from the compiler, which may turn an OR with a known zero into something that does not write.
Status Win32Mapping::Populate(uint64_t offset, uint64_t length) {
  assert(writable_);
  assert(offset <= size() && length <= size() - offset);
  static volatile uint8_t hidden_zero = 0;
  static thread_local std::array<std::byte, kProbe> probe;
  const uint64_t end = offset + length;
  for (uint64_t at = offset - offset % PageSize(); at < end;) {
    const auto wanted = static_cast<size_t>(std::min<uint64_t>(size() - at, kProbe));
    size_t count = 0;
    SEGWAL_TRY(file_->Read(at, std::span(probe).first(wanted), &count));
    if (count < wanted) return ShorterThanMapped(*file_, at + count, at + wanted);
    for (uint64_t page = at; page < std::min(at + wanted, end); page += PageSize()) {
      __atomic_fetch_or(reinterpret_cast<uint8_t*>(data() + page), hidden_zero, __ATOMIC_RELAXED);
    }
    at += wanted;
  }
  return {};
}

}  // namespace segwal::win32
