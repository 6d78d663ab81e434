// Status: the outcome of an operation that the world can refuse.
//
// Core and platform code throws nothing. A failed Status carries a stable code, a message a person can act on,
// the operating system's error where there was one, and, for damage, the place in the log.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <utility>

namespace segwal {

// The order is part of the binding's contract: it is handed to JavaScript once, at load (see ErrorCodeName).
enum class ErrorCode : uint8_t {
  kOk = 0,
  kLocked,
  kNotFound,
  kCorrupt,
  kUnsupportedVersion,
  kSegmentSizeMismatch,
  kOptionsMismatch,
  kRecordTooLarge,
  kDiskFull,
  kBackpressure,
  kPoisoned,
  kClosed,
  kReadOnly,
  kTruncated,
  kAborted,
  kIo,
  kInsideBatch,
};
inline constexpr int kErrorCodeCount = static_cast<int>(ErrorCode::kInsideBatch) + 1;

// The public name of a code, e.g. "WAL_LOCKED"; "OK" for kOk.
const char* ErrorCodeName(ErrorCode code);

// Where in the log a failure lies. Zero means "not known"; segment ids and sequence numbers start at 1.
struct LogLocation {
  uint64_t segment = 0;
  uint64_t offset = 0;
  uint64_t first_sequence = 0;
  uint64_t last_sequence = 0;
};

class [[nodiscard]] Status {
 public:
  Status() = default;  // success; costs a null pointer
  Status(ErrorCode code, std::string message, int os_error = 0)
      : detail_(std::make_unique<Detail>(Detail{code, std::move(message), os_error, {}})) {}
  Status(const Status& other) : detail_(other.detail_ ? std::make_unique<Detail>(*other.detail_) : nullptr) {}
  Status& operator=(const Status& other) {
    if (this != &other) detail_ = other.detail_ ? std::make_unique<Detail>(*other.detail_) : nullptr;
    return *this;
  }
  Status(Status&&) noexcept = default;
  Status& operator=(Status&&) noexcept = default;

  static Status Ok() { return {}; }
  static Status Corrupt(std::string message, LogLocation location) {
    Status status(ErrorCode::kCorrupt, std::move(message));
    status.detail_->location = location;
    return status;
  }

  // The same failure, at a place in the log.
  Status At(LogLocation location) &&;

  bool ok() const { return detail_ == nullptr; }
  ErrorCode code() const { return detail_ ? detail_->code : ErrorCode::kOk; }
  const std::string& message() const;
  int os_error() const { return detail_ ? detail_->os_error : 0; }
  LogLocation location() const { return detail_ ? detail_->location : LogLocation{}; }

  // The same failure seen from further out: "<context>: <message>".
  Status WithContext(const std::string& context) &&;

 private:
  struct Detail {
    ErrorCode code;
    std::string message;
    int os_error;
    LogLocation location;
  };
  std::unique_ptr<Detail> detail_;
};

}  // namespace segwal

// Returns a failed Status to the caller; the usual way from one fallible step to the next.
#define SEGWAL_TRY(expression)                                                                    \
  do {                                                                                            \
    if (::segwal::Status segwal_status = (expression); !segwal_status.ok()) return segwal_status; \
  } while (false)
