// From errno to Status; the only place where one becomes the other.
#pragma once

#include <cerrno>
#include <string>
#include <string_view>

#include "platform/status.h"

namespace segwal::posix {

// "<operation> <path>: <what the system calls it> (<its symbol>)", e.g. "open /log/LOCK: Permission denied (EACCES)".
// ENOENT is kNotFound, no room kDiskFull, everything else kIo. `error` must not be 0.
Status ErrorStatus(std::string_view operation, const std::string& path, int error);

// The same for a result that is 0 or an errno value.
inline Status ResultStatus(std::string_view operation, const std::string& path, int result) {
  return result == 0 ? Status::Ok() : ErrorStatus(operation, path, result);
}

// Calls again whatever a signal interrupted. `call` returns -1 and sets errno when it fails.
template <typename Call>
auto RetryInterrupted(Call call) {
  auto result = call();
  while (result == -1 && errno == EINTR) result = call();
  return result;
}

// The same, returning 0 or errno.
template <typename Call>
int ErrnoOf(Call call) {
  return RetryInterrupted(call) == -1 ? errno : 0;
}

}  // namespace segwal::posix
