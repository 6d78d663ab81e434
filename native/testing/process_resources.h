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
  // Before the thing under test. A sanitizer's runtime adds a thread of its own to the first that is started, so one
  // is.
  static ProcessResources Baseline(const std::string& path);
  // Once they are as `expected`, or after a while as they are: a thread that was joined stays in /proc for a moment.
  static ProcessResources Settled(const std::string& path, const ProcessResources& expected);

  bool operator==(const ProcessResources&) const = default;
};
std::ostream& operator<<(std::ostream& out, const ProcessResources& resources);

}  // namespace segwal
