#include "platform/win32/win32_error.h"

#include <array>

#include "platform/win32/win32_path.h"

namespace segwal::win32 {
namespace {

// Not in the headers of every compiler.
constexpr DWORD kDiskResourcesExhausted = 314;
constexpr DWORD kDiskQuotaExceeded = 1295;

ErrorCode CodeOf(DWORD error) {
  switch (error) {
    case ERROR_FILE_NOT_FOUND:
    case ERROR_PATH_NOT_FOUND: return ErrorCode::kNotFound;
    case ERROR_HANDLE_DISK_FULL:
    case ERROR_DISK_FULL:
    case kDiskResourcesExhausted:
    case ERROR_FILE_TOO_LARGE:
    case kDiskQuotaExceeded: return ErrorCode::kDiskFull;
    default: return ErrorCode::kIo;
  }
}

// Of what file operations are likely to meet. The number alone sends people to a search engine.
std::string SymbolOf(DWORD error) {
  switch (error) {
    case ERROR_FILE_NOT_FOUND: return "ERROR_FILE_NOT_FOUND";
    case ERROR_PATH_NOT_FOUND: return "ERROR_PATH_NOT_FOUND";
    case ERROR_TOO_MANY_OPEN_FILES: return "ERROR_TOO_MANY_OPEN_FILES";
    case ERROR_ACCESS_DENIED: return "ERROR_ACCESS_DENIED";
    case ERROR_INVALID_HANDLE: return "ERROR_INVALID_HANDLE";
    case ERROR_NOT_ENOUGH_MEMORY: return "ERROR_NOT_ENOUGH_MEMORY";
    case ERROR_WRITE_PROTECT: return "ERROR_WRITE_PROTECT";
    case ERROR_NOT_READY: return "ERROR_NOT_READY";
    case ERROR_CRC: return "ERROR_CRC";
    case ERROR_WRITE_FAULT: return "ERROR_WRITE_FAULT";
    case ERROR_READ_FAULT: return "ERROR_READ_FAULT";
    case ERROR_GEN_FAILURE: return "ERROR_GEN_FAILURE";
    case ERROR_SHARING_VIOLATION: return "ERROR_SHARING_VIOLATION";
    case ERROR_LOCK_VIOLATION: return "ERROR_LOCK_VIOLATION";
    case ERROR_HANDLE_EOF: return "ERROR_HANDLE_EOF";
    case ERROR_HANDLE_DISK_FULL: return "ERROR_HANDLE_DISK_FULL";
    case ERROR_NOT_SUPPORTED: return "ERROR_NOT_SUPPORTED";
    case ERROR_BAD_NETPATH: return "ERROR_BAD_NETPATH";
    case ERROR_FILE_EXISTS: return "ERROR_FILE_EXISTS";
    case ERROR_INVALID_PARAMETER: return "ERROR_INVALID_PARAMETER";
    case ERROR_DISK_FULL: return "ERROR_DISK_FULL";
    case ERROR_INVALID_NAME: return "ERROR_INVALID_NAME";
    case ERROR_DIR_NOT_EMPTY: return "ERROR_DIR_NOT_EMPTY";
    case ERROR_ALREADY_EXISTS: return "ERROR_ALREADY_EXISTS";
    case ERROR_FILENAME_EXCED_RANGE: return "ERROR_FILENAME_EXCED_RANGE";
    case ERROR_FILE_TOO_LARGE: return "ERROR_FILE_TOO_LARGE";
    case ERROR_DIRECTORY: return "ERROR_DIRECTORY";
    case ERROR_NOACCESS: return "ERROR_NOACCESS";
    case ERROR_FILE_INVALID: return "ERROR_FILE_INVALID";
    case ERROR_IO_DEVICE: return "ERROR_IO_DEVICE";
    case ERROR_USER_MAPPED_FILE: return "ERROR_USER_MAPPED_FILE";
    case kDiskQuotaExceeded: return "ERROR_DISK_QUOTA_EXCEEDED";
    case ERROR_NO_SYSTEM_RESOURCES: return "ERROR_NO_SYSTEM_RESOURCES";
    case ERROR_COMMITMENT_LIMIT: return "ERROR_COMMITMENT_LIMIT";
    default: return "Windows error " + std::to_string(error);
  }
}

// What the system says to it, in one line, in whatever language it speaks.
std::string TextOf(DWORD error) {
  std::array<wchar_t, 512> text{};
  constexpr DWORD kFlags = FORMAT_MESSAGE_FROM_SYSTEM | FORMAT_MESSAGE_IGNORE_INSERTS | FORMAT_MESSAGE_MAX_WIDTH_MASK;
  DWORD length = ::FormatMessageW(kFlags, nullptr, error, 0, text.data(), static_cast<DWORD>(text.size() - 1), nullptr);
  while (length > 0 && (text[length - 1] == L' ' || text[length - 1] == L'.')) --length;
  return length == 0 ? "unknown error" : ToUtf8({text.data(), length});
}

}  // namespace

Status ErrorStatus(std::string_view operation, const std::string& path, DWORD error) {
  std::string message(operation);
  message += " " + path + ": " + TextOf(error) + " (" + SymbolOf(error) + ")";
  return {CodeOf(error), std::move(message), static_cast<int>(error)};
}

bool IsInUse(DWORD error) {
  return error == ERROR_SHARING_VIOLATION || error == ERROR_LOCK_VIOLATION || error == ERROR_USER_MAPPED_FILE ||
         error == ERROR_ACCESS_DENIED;
}

bool IsUnsupported(DWORD error) {
  return error == ERROR_NOT_SUPPORTED || error == ERROR_INVALID_FUNCTION || error == ERROR_INVALID_PARAMETER ||
         error == ERROR_CALL_NOT_IMPLEMENTED || error == ERROR_INVALID_LEVEL;
}

}  // namespace segwal::win32
