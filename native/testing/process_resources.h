// What this process holds on to, as /proc tells it.
#pragma once

#include <cstddef>
#include <ostream>
#include <string>

namespace segwal {

struct ProcessResources {
  size_t threads = 0;
  // Of files whose path begins with the one that was asked for.
  size_t descriptors = 0;
  size_t mappings = 0;

  static bool CanBeCounted();
  static ProcessResources Of(const std::string& path);

  bool operator==(const ProcessResources&) const = default;
};
std::ostream& operator<<(std::ostream& out, const ProcessResources& resources);

}  // namespace segwal
