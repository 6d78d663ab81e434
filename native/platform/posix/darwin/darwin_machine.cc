#include <signal.h>
#include <sys/random.h>
#include <sys/sysctl.h>
#include <time.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>

#include "platform/posix/posix_boot_id.h"
#include "platform/posix/posix_os.h"

namespace segwal::posix {
namespace {

constexpr size_t kMaxEntropy = 256;  // what getentropy gives at most in one call

}  // namespace

// Which of the two it is depends on what backs the page.
std::span<const int> FaultSignals() {
  static constexpr std::array kSignals{SIGBUS, SIGSEGV};
  return kSignals;
}

// There is no coarse clock, and no need for one: the time is read from a page that the kernel shares with every
// process.
uint64_t CoarseRealtime() {
  timespec now{};
  ::clock_gettime(CLOCK_REALTIME, &now);
  return static_cast<uint64_t>(now.tv_sec) * 1'000'000 + static_cast<uint64_t>(now.tv_nsec) / 1000;
}

BootId ReadBootId() {
  std::array<char, 64> text{};
  size_t size = text.size();
  if (::sysctlbyname("kern.bootsessionuuid", text.data(), &size, nullptr, 0) != 0) return {};
  return ParseBootId({text.data(), size});
}

int FillRandom(std::span<std::byte> out) {
  while (!out.empty()) {
    const size_t count = std::min(out.size(), kMaxEntropy);
    if (::getentropy(out.data(), count) != 0) return errno;
    out = out.subspan(count);
  }
  return 0;
}

}  // namespace segwal::posix
