// An open handle and its owner.
#pragma once

#include <utility>

#include "platform/win32/win32_api.h"

namespace segwal::win32 {

class Handle {
 public:
  Handle() = default;
  explicit Handle(HANDLE value) : value_(value) {}
  Handle(Handle&& other) noexcept : value_(std::exchange(other.value_, INVALID_HANDLE_VALUE)) {}
  Handle& operator=(Handle&& other) noexcept {
    std::swap(value_, other.value_);
    return *this;
  }
  ~Handle() {
    if (valid()) ::CloseHandle(value_);
  }

  // Functions disagree about what they return when they fail; neither is ever a handle.
  bool valid() const { return value_ != INVALID_HANDLE_VALUE && value_ != nullptr; }
  HANDLE get() const { return value_; }

 private:
  HANDLE value_ = INVALID_HANDLE_VALUE;
};

}  // namespace segwal::win32
