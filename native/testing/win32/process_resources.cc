#include "testing/process_resources.h"

#include <algorithm>
#include <array>
#include <filesystem>
#include <string_view>

#include "platform/win32/win32_handle.h"
// After windows.h:
#include <psapi.h>
#include <tlhelp32.h>

namespace segwal {
namespace {

size_t Threads() {
  const win32::Handle snapshot(::CreateToolhelp32Snapshot(TH32CS_SNAPTHREAD, 0));
  THREADENTRY32 entry{};
  entry.dwSize = sizeof entry;
  size_t count = 0;
  for (BOOL more = ::Thread32First(snapshot.get(), &entry); more; more = ::Thread32Next(snapshot.get(), &entry)) {
    if (entry.th32OwnerProcessID == ::GetCurrentProcessId()) ++count;
  }
  return count;
}

// Handles are small multiples of four, given out from below. There is no list of them: one asks each.
size_t Handles(std::wstring_view tail) {
  constexpr uintptr_t kEnd = 0x8000;
  size_t count = 0;
  for (uintptr_t value = 4; value < kEnd; value += 4) {
    const auto handle = reinterpret_cast<HANDLE>(value);
    if (::GetFileType(handle) != FILE_TYPE_DISK) continue;
    std::array<wchar_t, 1024> name{};
    const DWORD length = ::GetFinalPathNameByHandleW(handle, name.data(), static_cast<DWORD>(name.size()), 0);
    if (std::wstring_view(name.data(), length).find(tail) != std::wstring_view::npos) ++count;
  }
  return count;
}

size_t Mappings(std::wstring_view tail) {
  size_t count = 0;
  MEMORY_BASIC_INFORMATION region{};
  for (const std::byte* at = nullptr; ::VirtualQuery(at, &region, sizeof region) != 0; at += region.RegionSize) {
    if (region.Type != MEM_MAPPED || region.AllocationBase != region.BaseAddress) continue;
    std::array<wchar_t, 1024> name{};
    void* const base = region.BaseAddress;
    const DWORD length =
        ::K32GetMappedFileNameW(::GetCurrentProcess(), base, name.data(), static_cast<DWORD>(name.size()));
    if (std::wstring_view(name.data(), length).find(tail) != std::wstring_view::npos) ++count;
  }
  return count;
}

}  // namespace

bool ProcessResources::CanBeCounted() { return true; }

// A mapped file is told under the name of its volume, an open one under that of its drive: what they share is what
// comes behind, and the name of a temporary directory is nobody else's.
ProcessResources ProcessResources::Of(const std::string& path) {
  const std::wstring tail = L"\\" + std::filesystem::path(path).filename().wstring();
  return {.threads = Threads(), .descriptors = Handles(tail), .mappings = Mappings(tail)};
}

ProcessResources ProcessResources::Baseline(const std::string& path) { return Of(path); }

}  // namespace segwal
