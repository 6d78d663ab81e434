// From the system's error codes to Status; the only place where one becomes the other.
#pragma once

#include <string>
#include <string_view>

#include "platform/status.h"
#include "platform/win32/win32_api.h"

namespace segwal::win32 {

// "<operation> <path>: <what the system calls it> (<its symbol>)", e.g. "open C:\log\LOCK: Access is denied
// (ERROR_ACCESS_DENIED)". What is not there is kNotFound, no room kDiskFull, everything else kIo. `error` must not be
// 0.
Status ErrorStatus(std::string_view operation, const std::string& path, DWORD error);

// The same for what a function returned that says no more than whether it succeeded.
inline Status ResultStatus(std::string_view operation, const std::string& path, BOOL succeeded) {
  return succeeded ? Status::Ok() : ErrorStatus(operation, path, ::GetLastError());
}

// The name, of this process or of another, is in the way for now: somebody has the file open or mapped.
bool IsInUse(DWORD error);

// The volume does not know the call. What it was for has to be done in another way, or is not to be had.
bool IsUnsupported(DWORD error);

}  // namespace segwal::win32
