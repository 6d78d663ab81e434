// Included in front of every source that is to run under the scheduler. Inside namespace segwal, `std::mutex`,
// `std::condition_variable`, `std::thread` and `std::atomic` are then those below, everything else is that of the
// standard library: so the real sources of the core run, unchanged, and pay nothing for it elsewhere.
#pragma once

#include <atomic>
#include <chrono>
#include <condition_variable>
#include <cstring>
#include <functional>
#include <memory>
#include <mutex>
#include <thread>
#include <type_traits>
#include <utility>

#include "testing/interleaved/scheduler.h"

namespace segwal::std {  // NOLINT: that is the point

using namespace ::std;

class mutex {
 public:
  void lock() {
    schedule::Yield();
    while (held_) schedule::Block(this);
    held_ = true;
  }
  void unlock() {
    schedule::Flush();
    held_ = false;
    schedule::Wake(this, true);
  }

 private:
  bool held_ = false;
};

class condition_variable {
 public:
  void notify_one() noexcept { schedule::Wake(this, false); }
  void notify_all() noexcept { schedule::Wake(this, true); }

  template <typename Lock>
  void wait(Lock& lock) {
    lock.unlock();
    schedule::Block(this);
    lock.lock();
  }
  template <typename Lock, typename Condition>
  void wait(Lock& lock, Condition condition) {
    while (!condition()) wait(lock);
  }
  template <typename Lock, typename Duration>
  cv_status wait_for(Lock& lock, const Duration& duration) {
    const uint64_t deadline = schedule::Now() + Nanoseconds(duration);
    lock.unlock();
    const bool woken = schedule::BlockUntil(this, deadline);
    lock.lock();
    return woken ? cv_status::no_timeout : cv_status::timeout;
  }
  template <typename Lock, typename Duration, typename Condition>
  bool wait_for(Lock& lock, const Duration& duration, Condition condition) {
    const uint64_t deadline = schedule::Now() + Nanoseconds(duration);
    while (!condition()) {
      lock.unlock();
      const bool woken = schedule::BlockUntil(this, deadline);
      lock.lock();
      if (!woken) return condition();
    }
    return true;
  }

 private:
  template <typename Duration>
  static uint64_t Nanoseconds(const Duration& duration) {
    return static_cast<uint64_t>(chrono::duration_cast<chrono::nanoseconds>(duration).count());
  }
};

class thread {
 public:
  thread() = default;
  template <typename Body>
  explicit thread(Body body) : fiber_(schedule::Start(::std::function<void()>(body))) {}
  thread(thread&& other) noexcept : fiber_(::std::exchange(other.fiber_, nullptr)) {}
  thread& operator=(thread&& other) noexcept {
    fiber_ = ::std::exchange(other.fiber_, nullptr);
    return *this;
  }
  bool joinable() const { return fiber_ != nullptr; }
  void join() { schedule::Join(::std::exchange(fiber_, nullptr)); }
  static unsigned hardware_concurrency() { return 2; }

 private:
  void* fiber_ = nullptr;
};

template <typename T>
class atomic {
  static_assert(::std::is_trivially_copyable_v<T> && sizeof(T) <= sizeof(uint64_t));

 public:
  static constexpr bool is_always_lock_free = true;

  atomic() = default;
  constexpr atomic(T value) : value_(value) {}  // NOLINT(google-explicit-constructor): as the real one
  atomic(const atomic&) = delete;
  atomic& operator=(const atomic&) = delete;

  T load(memory_order = memory_order_seq_cst) const {
    schedule::Yield();
    return Get();
  }
  operator T() const { return load(); }  // NOLINT(google-explicit-constructor): as the real one
  T operator=(T value) {
    store(value);
    return value;
  }

  void store(T value, memory_order order = memory_order_seq_cst) {
    schedule::Yield();
    if (order != memory_order_seq_cst && schedule::Delay()) {
      uint64_t bits = 0;
      ::std::memcpy(&bits, &value, sizeof value);
      schedule::Keep(&value_, sizeof value_, bits);
      return;
    }
    schedule::Flush();
    value_ = value;
  }

  T exchange(T value, memory_order = memory_order_seq_cst) {
    return Change([value](T) { return value; });
  }
  T fetch_add(T by, memory_order = memory_order_seq_cst) {
    return Change([by](T old) { return static_cast<T>(old + by); });
  }
  T fetch_or(T bits, memory_order = memory_order_seq_cst) {
    return Change([bits](T old) { return static_cast<T>(old | bits); });
  }
  bool compare_exchange_weak(T& expected, T desired, memory_order = memory_order_seq_cst,
                             memory_order = memory_order_seq_cst) {
    schedule::Yield();
    schedule::Flush();
    if (value_ == expected) {
      value_ = desired;
      return true;
    }
    expected = value_;
    return false;
  }

 private:
  T Get() const {
    uint64_t bits = 0;
    if (!schedule::Kept(&value_, &bits)) return value_;
    T value;
    ::std::memcpy(&value, &bits, sizeof value);
    return value;
  }
  template <typename Function>
  T Change(const Function& function) {
    schedule::Yield();
    schedule::Flush();
    const T old = value_;
    value_ = function(old);
    return old;
  }

  T value_{};
};

}  // namespace segwal::std
