#include "platform/win32/win32_machine.h"

#include "platform/win32/win32_api.h"
// After windows.h:
#include <bcrypt.h>

#include <algorithm>
#include <array>
#include <cstring>

#include "platform/win32/win32_error.h"
#include "platform/win32/win32_path.h"

namespace segwal::win32 {
namespace {

constexpr uint64_t kUnixEpoch = 116'444'736'000'000'000;  // in units of 100 ns since 1601
constexpr uint64_t kNsPerSecond = 1'000'000'000;
constexpr size_t kMaxEntropy = size_t{1} << 30;  // a ULONG says how much

// What NtQuerySystemInformation(SystemTimeOfDayInformation) fills in. Whoever sets the clock moves the boot time with
// it and adds the same to the bias: their difference is the boot time as the kernel first saw it.
struct TimeOfDay {
  LARGE_INTEGER boot_time;
  LARGE_INTEGER current_time;
  LARGE_INTEGER time_zone_bias;
  ULONG time_zone_id;
  ULONG reserved;
  ULONGLONG boot_time_bias;
  ULONGLONG sleep_time_bias;
};
constexpr int kSystemTimeOfDayInformation = 3;
using QuerySystemInformation = LONG(WINAPI*)(int, void*, ULONG, ULONG*);

uint64_t FirstBootTime() {
  const HMODULE ntdll = ::GetModuleHandleW(L"ntdll.dll");
  if (ntdll == nullptr) return 0;
  const auto query = reinterpret_cast<QuerySystemInformation>(
      reinterpret_cast<void*>(::GetProcAddress(ntdll, "NtQuerySystemInformation")));
  TimeOfDay time{};
  if (query == nullptr || query(kSystemTimeOfDayInformation, &time, sizeof time, nullptr) != 0) return 0;
  return static_cast<uint64_t>(time.boot_time.QuadPart) - time.boot_time_bias;
}

// The loader counts the boots. Not there on every edition; then the time has to do.
uint32_t BootCount() {
  DWORD count = 0;
  DWORD size = sizeof count;
  constexpr auto kKey = L"SYSTEM\\CurrentControlSet\\Control\\Session Manager\\Memory Management\\PrefetchParameters";
  const LSTATUS result = ::RegGetValueW(HKEY_LOCAL_MACHINE, kKey, L"BootId", RRF_RT_REG_DWORD, nullptr, &count, &size);
  return result == ERROR_SUCCESS ? count : 0;
}

}  // namespace

uint64_t PreciseRealtime() {
  FILETIME now{};
  ::GetSystemTimePreciseAsFileTime(&now);
  return (((uint64_t{now.dwHighDateTime} << 32) | now.dwLowDateTime) - kUnixEpoch) / 10;
}

uint64_t MonotonicCounter() {
  static const auto kFrequency = [] {
    LARGE_INTEGER frequency{};
    ::QueryPerformanceFrequency(&frequency);
    return static_cast<uint64_t>(frequency.QuadPart);
  }();
  LARGE_INTEGER counter{};
  ::QueryPerformanceCounter(&counter);
  const auto ticks = static_cast<uint64_t>(counter.QuadPart);
  // In two parts: the product of all ticks and 10^9 does not fit after 15 minutes at 10 GHz.
  return ticks / kFrequency * kNsPerSecond + ticks % kFrequency * kNsPerSecond / kFrequency;
}

// There is no UUID of the boot. The moment of the boot, to 100 ns, and its number stand for it.
BootId ReadBootId() {
  const uint64_t boot_time = FirstBootTime();
  if (boot_time == 0) return {};
  const uint32_t count = BootCount();
  constexpr std::array<char, 4> kTag = {'w', 'i', 'n', '1'};  // how it is made: another way would be another tag
  BootId id{};
  std::memcpy(id.data(), &boot_time, sizeof boot_time);
  std::memcpy(id.data() + 8, &count, sizeof count);
  std::memcpy(id.data() + 12, kTag.data(), kTag.size());
  return id;
}

std::string ReadHostName() {
  std::array<wchar_t, 256> name{};
  auto size = static_cast<DWORD>(name.size());
  if (!::GetComputerNameExW(ComputerNameDnsHostname, name.data(), &size) || size == 0) return "unknown";
  return ToUtf8({name.data(), size});
}

Status FillRandom(std::span<std::byte> out) {
  while (!out.empty()) {
    const size_t count = std::min(out.size(), kMaxEntropy);
    const LONG status = ::BCryptGenRandom(nullptr, reinterpret_cast<UCHAR*>(out.data()), static_cast<ULONG>(count),
                                          BCRYPT_USE_SYSTEM_PREFERRED_RNG);
    if (status != 0) return ErrorStatus("read", "the system's random numbers", ERROR_GEN_FAILURE);
    out = out.subspan(count);
  }
  return {};
}

}  // namespace segwal::win32
