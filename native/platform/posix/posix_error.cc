#include "platform/posix/posix_error.h"

#include <system_error>

namespace segwal::posix {
namespace {

ErrorCode CodeOf(int error) {
  switch (error) {
    case ENOENT: return ErrorCode::kNotFound;
    // A limit on the size of files is one more way to have no room: it can be lifted, and the log goes on.
    case EFBIG:
    case EDQUOT:
    case ENOSPC: return ErrorCode::kDiskFull;
    default: return ErrorCode::kIo;
  }
}

// The symbols of what file operations are likely to meet; strerrorname_np is not there on every libc.
std::string SymbolOf(int error) {
  switch (error) {
    case EACCES: return "EACCES";
    case EAGAIN: return "EAGAIN";
    case EBADF: return "EBADF";
    case EBUSY: return "EBUSY";
    case EDQUOT: return "EDQUOT";
    case EEXIST: return "EEXIST";
    case EFAULT: return "EFAULT";
    case EFBIG: return "EFBIG";
    case EINVAL: return "EINVAL";
    case EIO: return "EIO";
    case EISDIR: return "EISDIR";
    case ELOOP: return "ELOOP";
    case EMFILE: return "EMFILE";
    case ENAMETOOLONG: return "ENAMETOOLONG";
    case ENFILE: return "ENFILE";
    case ENODEV: return "ENODEV";
    case ENOENT: return "ENOENT";
    case ENOLCK: return "ENOLCK";
    case ENOMEM: return "ENOMEM";
    case ENOSPC: return "ENOSPC";
    case ENOSYS: return "ENOSYS";
    case ENOTDIR: return "ENOTDIR";
    case ENOTEMPTY: return "ENOTEMPTY";
    case ENOTSUP: return "ENOTSUP";
    case ENXIO: return "ENXIO";
    case EPERM: return "EPERM";
    case EROFS: return "EROFS";
    case ESTALE: return "ESTALE";
    case ETXTBSY: return "ETXTBSY";
    case EXDEV: return "EXDEV";
    default: return "errno " + std::to_string(error);
  }
}

}  // namespace

Status ErrorStatus(std::string_view operation, const std::string& path, int error) {
  std::string message(operation);
  message += " " + path + ": " + std::generic_category().message(error) + " (" + SymbolOf(error) + ")";
  return {CodeOf(error), std::move(message), error};
}

}  // namespace segwal::posix
