#include "platform/win32/win32_fault_guard.h"

#include <cstdint>
#include <map>
#include <mutex>

#include "platform/win32/win32_api.h"

namespace segwal::win32 {
namespace {

struct GuardedRange {
  size_t length;
  MappingFailure* failure;
};

// A mutex is fine here, which it would not be in a signal handler: the exception comes from an access to a mapping, and
// nobody accesses one while he holds this.
struct Table {
  std::mutex mutex;
  std::map<uintptr_t, GuardedRange> ranges;  // by address of the first byte
};

// Never destroyed: threads may fault until the process has ended.
Table& GuardedRanges() {
  static auto* const kTable = new Table;
  return *kTable;
}

LONG CALLBACK OnException(EXCEPTION_POINTERS* exception) {
  const EXCEPTION_RECORD& record = *exception->ExceptionRecord;
  if (record.ExceptionCode == EXCEPTION_IN_PAGE_ERROR && record.NumberParameters >= 2) {
    const uintptr_t address = record.ExceptionInformation[1];
    Table& table = GuardedRanges();
    const std::lock_guard lock(table.mutex);
    auto next = table.ranges.upper_bound(address);
    if (next != table.ranges.begin()) {
      const auto& [begin, range] = *--next;
      if (address - begin < range.length) range.failure->Raise();
    }
  }
  return EXCEPTION_CONTINUE_SEARCH;
}

// First in the chain: one that comes later may go on with the thread, and then it has to be known. The handler stays
// when the last thread that loaded the library ends, so the library stays too.
void Install() {
  HMODULE library = nullptr;
  constexpr DWORD kStay = GET_MODULE_HANDLE_EX_FLAG_FROM_ADDRESS | GET_MODULE_HANDLE_EX_FLAG_PIN;
  static_cast<void>(::GetModuleHandleExW(kStay, reinterpret_cast<LPCWSTR>(&OnException), &library));
  ::AddVectoredExceptionHandler(1, OnException);
}

}  // namespace

void GuardRange(const std::byte* begin, size_t length, MappingFailure* failure) {
  static std::once_flag installed;
  std::call_once(installed, Install);
  Table& table = GuardedRanges();
  const std::lock_guard lock(table.mutex);
  table.ranges[reinterpret_cast<uintptr_t>(begin)] = {.length = length, .failure = failure};
}

void UnguardRange(const std::byte* begin) {
  Table& table = GuardedRanges();
  const std::lock_guard lock(table.mutex);
  table.ranges.erase(reinterpret_cast<uintptr_t>(begin));
}

}  // namespace segwal::win32
