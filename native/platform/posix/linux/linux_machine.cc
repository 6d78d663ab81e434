#include <signal.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include <array>

#include "platform/posix/posix_boot_id.h"
#include "platform/posix/posix_descriptor.h"
#include "platform/posix/posix_os.h"

namespace segwal::posix {

std::span<const int> FaultSignals() {
  static constexpr std::array kSignals{SIGBUS};
  return kSignals;
}

uint64_t CoarseRealtime() {
  timespec now{};
  ::clock_gettime(CLOCK_REALTIME_COARSE, &now);
  return static_cast<uint64_t>(now.tv_sec) * 1'000'000 + static_cast<uint64_t>(now.tv_nsec) / 1000;
}

BootId ReadBootId() {
  Descriptor descriptor;
  if (!OpenDescriptor("/proc/sys/kernel/random/boot_id", O_RDONLY, &descriptor).ok()) return {};
  std::array<char, 64> text;
  const ssize_t count = RetryInterrupted([&] { return ::read(descriptor.get(), text.data(), text.size()); });
  return count <= 0 ? BootId{} : ParseBootId({text.data(), static_cast<size_t>(count)});
}

// By number: the C libraries that this is built against are older than their function for it, the kernels are not.
int FillRandom(std::span<std::byte> out) {
  while (!out.empty()) {
    const long count = RetryInterrupted([&] { return ::syscall(SYS_getrandom, out.data(), out.size(), 0); });
    if (count == -1) return errno;
    out = out.subspan(static_cast<size_t>(count));
  }
  return 0;
}

}  // namespace segwal::posix
