// Waiting for what another thread is about to do, when it offers nothing to wait on.
#pragma once

#include <gtest/gtest.h>

#include <chrono>
#include <condition_variable>
#include <mutex>
#include <thread>
#include <vector>

#include "core/log.h"

namespace segwal {

// Long enough for a machine that is busy with something else; no test waits for it unless it fails.
inline constexpr std::chrono::seconds kPatience{30};

template <typename Condition>
testing::AssertionResult ComesTrue(const Condition& condition) {
  const auto deadline = std::chrono::steady_clock::now() + kPatience;
  while (!condition()) {
    if (std::chrono::steady_clock::now() > deadline) return testing::AssertionFailure() << "it did not come true";
    std::this_thread::sleep_for(std::chrono::microseconds(100));
  }
  return testing::AssertionSuccess();
}

// Remembers what it is told, and lets a test wait for it.
class RecordingListener final : public DurabilityListener {
 public:
  void OnDurable(uint64_t watermark) override {
    const std::lock_guard lock(mutex_);
    watermarks_.push_back(watermark);
    changed_.notify_all();
  }
  void OnPoisoned(const Status& cause) override {
    const std::lock_guard lock(mutex_);
    poisoned_.push_back(cause);
    changed_.notify_all();
  }

  bool WaitFor(uint64_t watermark) {
    std::unique_lock lock(mutex_);
    return changed_.wait_for(lock, kPatience, [&] { return !watermarks_.empty() && watermarks_.back() >= watermark; });
  }
  bool WaitForPoison() {
    std::unique_lock lock(mutex_);
    return changed_.wait_for(lock, kPatience, [&] { return !poisoned_.empty(); });
  }
  std::vector<uint64_t> watermarks() const {
    const std::lock_guard lock(mutex_);
    return watermarks_;
  }
  std::vector<Status> poisoned() const {
    const std::lock_guard lock(mutex_);
    return poisoned_;
  }

 private:
  mutable std::mutex mutex_;
  std::condition_variable changed_;
  std::vector<uint64_t> watermarks_;
  std::vector<Status> poisoned_;
};

}  // namespace segwal
