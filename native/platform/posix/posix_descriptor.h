// An open file descriptor and its owner.
#pragma once

#include <fcntl.h>
#include <unistd.h>

#include <string>
#include <utility>

#include "platform/posix/posix_error.h"

namespace segwal::posix {

class Descriptor {
 public:
  Descriptor() = default;
  explicit Descriptor(int value) : value_(value) {}
  Descriptor(Descriptor&& other) noexcept : value_(std::exchange(other.value_, -1)) {}
  Descriptor& operator=(Descriptor&& other) noexcept {
    std::swap(value_, other.value_);
    return *this;
  }
  // Never repeated when interrupted: the descriptor is gone by then, and its number may be someone else's already.
  ~Descriptor() {
    if (value_ >= 0) ::close(value_);
  }

  int get() const { return value_; }
  int release() { return std::exchange(value_, -1); }

 private:
  int value_ = -1;
};

inline constexpr mode_t kFilePermissions = 0644;
inline constexpr mode_t kDirectoryPermissions = 0755;

// Always close-on-exec: a child process must hold neither a log's lock nor its files.
inline Status OpenDescriptor(const std::string& path, int flags, Descriptor* descriptor) {
  const int opened = RetryInterrupted([&] { return ::open(path.c_str(), flags | O_CLOEXEC, kFilePermissions); });
  if (opened == -1) return ErrorStatus("open", path, errno);
  *descriptor = Descriptor(opened);
  return {};
}

}  // namespace segwal::posix
