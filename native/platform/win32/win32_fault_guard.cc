#include "platform/win32/win32_fault_guard.h"

#include <atomic>
#include <cstdint>
#include <map>
#include <mutex>

namespace segwal::win32 {
namespace {

struct GuardedView {
  size_t length;
  MappingFailure* failure;
  bool replaced = false;  // by memory of nobody's
};

// A mutex is fine here, which it would not be in a signal handler: the exception comes from an access to a view, and
// nobody accesses one while he holds this.
struct Table {
  std::mutex mutex;
  std::map<uintptr_t, GuardedView> views;  // by address of the first byte
  // Before the first view goes. An access violation that was met before then is no concern of ours, and takes no lock.
  std::atomic<bool> any_replaced{false};
};

// Never destroyed: threads may fault until the process has ended.
Table& GuardedViews() {
  static auto* const kTable = new Table;
  return *kTable;
}

// First the alarm, then the memory: unmapping orders the two for every thread. So whoever finds zeros there, or has
// stored what will never be in the file, finds the alarm raised.
// REQUIRES: the table's mutex is held, so that no view of a log is made in the gap.
bool Replace(uintptr_t begin, GuardedView* view) {
  void* const address = reinterpret_cast<void*>(begin);
  GuardedViews().any_replaced.store(true);
  view->failure->Raise();
  if (!::UnmapViewOfFile(address)) return false;
  view->replaced = true;
  // Writable in any case: the access must complete.
  if (::VirtualAlloc(address, view->length, MEM_RESERVE | MEM_COMMIT, PAGE_READWRITE) == nullptr) {
    // Writers of the log would store into whatever lies there now.
    ::TerminateProcess(::GetCurrentProcess(), static_cast<UINT>(EXCEPTION_IN_PAGE_ERROR));
  }
  return true;
}

// Whether the access that failed can be made once more.
bool Absorb(DWORD code, uintptr_t address) {
  Table& table = GuardedViews();
  const std::lock_guard lock(table.mutex);
  auto next = table.views.upper_bound(address);
  if (next == table.views.begin()) return false;
  auto& [begin, view] = *--next;
  if (address - begin >= view.length) return false;
  // Another thread was first. The memory may be read and written, so this cannot go round for ever.
  if (view.replaced) return true;
  return code == EXCEPTION_IN_PAGE_ERROR && Replace(begin, &view);
}

LONG CALLBACK OnException(EXCEPTION_POINTERS* exception) {
  constexpr ULONG_PTR kLoad = 0;
  constexpr ULONG_PTR kStore = 1;
  const EXCEPTION_RECORD& record = *exception->ExceptionRecord;
  const DWORD code = record.ExceptionCode;
  const bool ours =
      code == EXCEPTION_IN_PAGE_ERROR || (code == EXCEPTION_ACCESS_VIOLATION && GuardedViews().any_replaced.load());
  if (!ours || record.NumberParameters < 2) return EXCEPTION_CONTINUE_SEARCH;
  const ULONG_PTR access = record.ExceptionInformation[0];
  if (access != kLoad && access != kStore) return EXCEPTION_CONTINUE_SEARCH;
  return Absorb(code, record.ExceptionInformation[1]) ? EXCEPTION_CONTINUE_EXECUTION : EXCEPTION_CONTINUE_SEARCH;
}

// First in the chain: one that comes later may take the exception for the end. The handler stays when the last thread
// that loaded the library ends, so the library stays too.
void Install() {
  HMODULE library = nullptr;
  constexpr DWORD kStay = GET_MODULE_HANDLE_EX_FLAG_FROM_ADDRESS | GET_MODULE_HANDLE_EX_FLAG_PIN;
  static_cast<void>(::GetModuleHandleExW(kStay, reinterpret_cast<LPCWSTR>(&OnException), &library));
  ::AddVectoredExceptionHandler(1, OnException);
}

}  // namespace

std::byte* MapView(HANDLE section, DWORD access, size_t length) {
  const std::lock_guard lock(GuardedViews().mutex);
  return static_cast<std::byte*>(::MapViewOfFile(section, access, 0, 0, length));
}

void GuardView(std::byte* begin, size_t length, MappingFailure* failure) {
  static std::once_flag installed;
  std::call_once(installed, Install);
  Table& table = GuardedViews();
  const std::lock_guard lock(table.mutex);
  table.views[reinterpret_cast<uintptr_t>(begin)] = {.length = length, .failure = failure};
}

void UnmapView(std::byte* begin) {
  Table& table = GuardedViews();
  bool replaced = false;
  {
    const std::lock_guard lock(table.mutex);
    const auto found = table.views.find(reinterpret_cast<uintptr_t>(begin));
    replaced = found->second.replaced;
    table.views.erase(found);
  }
  if (replaced) {
    ::VirtualFree(begin, 0, MEM_RELEASE);
  } else {
    ::UnmapViewOfFile(begin);
  }
}

}  // namespace segwal::win32
