#include "platform/status.h"

namespace segwal {

const char* ErrorCodeName(ErrorCode code) {
  switch (code) {
    case ErrorCode::kOk: return "OK";
    case ErrorCode::kLocked: return "WAL_LOCKED";
    case ErrorCode::kNotFound: return "WAL_NOT_FOUND";
    case ErrorCode::kCorrupt: return "WAL_CORRUPT";
    case ErrorCode::kUnsupportedVersion: return "WAL_UNSUPPORTED_VERSION";
    case ErrorCode::kSegmentSizeMismatch: return "WAL_SEGMENT_SIZE_MISMATCH";
    case ErrorCode::kOptionsMismatch: return "WAL_OPTIONS_MISMATCH";
    case ErrorCode::kRecordTooLarge: return "WAL_RECORD_TOO_LARGE";
    case ErrorCode::kDiskFull: return "WAL_DISK_FULL";
    case ErrorCode::kBackpressure: return "WAL_BACKPRESSURE";
    case ErrorCode::kPoisoned: return "WAL_POISONED";
    case ErrorCode::kClosed: return "WAL_CLOSED";
    case ErrorCode::kReadOnly: return "WAL_READ_ONLY";
    case ErrorCode::kTruncated: return "WAL_TRUNCATED";
    case ErrorCode::kAborted: return "WAL_ABORTED";
    case ErrorCode::kIo: return "WAL_IO";
    case ErrorCode::kInsideBatch: return "WAL_INSIDE_BATCH";
  }
  return "WAL_IO";
}

const std::string& Status::message() const {
  static const std::string kNone;
  return detail_ ? detail_->message : kNone;
}

Status Status::At(LogLocation location) && {
  if (detail_) detail_->location = location;
  return std::move(*this);
}

Status Status::WithContext(const std::string& context) && {
  if (detail_) detail_->message = context + ": " + detail_->message;
  return std::move(*this);
}

}  // namespace segwal
