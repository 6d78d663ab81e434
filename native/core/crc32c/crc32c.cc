#include "core/crc32c/crc32c.h"

#include <array>

namespace segwal {
namespace crc32c {
namespace {

struct Found {
  std::array<const Implementation*, 3> implementations{};
  size_t count = 0;
};

Found Find() {
  Found found;
  const auto add = [&found](const Implementation* implementation) {
    if (implementation != nullptr) found.implementations[found.count++] = implementation;
  };
#if defined(__x86_64__)
  add(Sse42());
#elif defined(__aarch64__)
  add(Armv8());
#endif
  add(Portable());
  return found;
}

const Implementation* Choose() {
  const Implementation* best = Available().front();
  active.store(best, std::memory_order_relaxed);
  return best;
}

constexpr Implementation kUndecided = {
    "undecided",
    [](uint32_t crc, const void* data, size_t size) { return Choose()->extend(crc, data, size); },
    [](uint32_t crc, uint32_t length, uint64_t word1, uint64_t word2, const void* data, size_t size) {
      return Choose()->frame(crc, length, word1, word2, data, size);
    },
    [](uint32_t crc, void* to, const void* from, size_t size) { return Choose()->copy(crc, to, from, size); },
    [](uint32_t crc, uint32_t length, uint64_t word1, uint64_t word2, void* to, const void* from, size_t size) {
      return Choose()->copy_frame(crc, length, word1, word2, to, from, size);
    },
};

}  // namespace

constinit std::atomic<const Implementation*> active{&kUndecided};

std::span<const Implementation* const> Available() {
  static const Found found = Find();
  return {found.implementations.data(), found.count};
}

}  // namespace crc32c

const char* Crc32cImplementation() { return crc32c::Available().front()->name; }

}  // namespace segwal
