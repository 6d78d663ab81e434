#include "testing/watched_pages.h"

#include <cstdlib>

#include "platform/win32/win32_api.h"

namespace segwal {
namespace {

bool (*absorb_fault)(void* address) = nullptr;

LONG CALLBACK OnException(EXCEPTION_POINTERS* exception) {
  const EXCEPTION_RECORD& record = *exception->ExceptionRecord;
  if (record.ExceptionCode != EXCEPTION_ACCESS_VIOLATION || record.NumberParameters < 2)
    return EXCEPTION_CONTINUE_SEARCH;
  // [0] says whether it was a load or a store, [1] where.
  void* const address = reinterpret_cast<void*>(record.ExceptionInformation[1]);
  return absorb_fault(address) ? EXCEPTION_CONTINUE_EXECUTION : EXCEPTION_CONTINUE_SEARCH;
}

}  // namespace

// Committed as a whole: it counts against what the system may promise, but takes no memory before it is touched.
std::byte* ReservePages(size_t bytes) {
  void* const reserved = ::VirtualAlloc(nullptr, bytes, MEM_RESERVE | MEM_COMMIT, PAGE_NOACCESS);
  if (reserved == nullptr) std::abort();
  return static_cast<std::byte*>(reserved);
}

void ProtectPages(std::byte* at, size_t size, bool writable) {
  DWORD before = 0;
  if (!::VirtualProtect(at, size, writable ? PAGE_READWRITE : PAGE_READONLY, &before)) std::abort();
}

void CatchRefusedAccesses(bool (*absorb)(void* address)) {
  absorb_fault = absorb;
  if (::AddVectoredExceptionHandler(1, OnException) == nullptr) std::abort();
}

}  // namespace segwal
