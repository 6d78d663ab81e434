// Bytes in memory and in mapped files: little-endian loads and stores, and atomic access to mapped words.
#pragma once

#include <atomic>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>

namespace segwal {

// Every supported platform is little-endian, so the bytes on disk are the bytes in a register.
static_assert(std::endian::native == std::endian::little, "the on-disk format is little-endian");

template <typename T>
inline T Load(const std::byte* from) {
  T value;
  std::memcpy(&value, from, sizeof value);
  return value;
}

template <typename T>
inline void Store(std::byte* to, T value) {
  std::memcpy(to, &value, sizeof value);
}

// A word of a mapped file seen as an atomic. std::atomic_ref would say this better, but libc++ has it only since 19;
// the asserts state what the cast relies on: a lock-free atomic is the bare word.
template <typename T>
inline std::atomic<T>& AtomicAt(std::byte* at) {
  static_assert(std::atomic<T>::is_always_lock_free && sizeof(std::atomic<T>) == sizeof(T));
  return *reinterpret_cast<std::atomic<T>*>(at);
}

template <typename T>
inline const std::atomic<T>& AtomicAt(const std::byte* at) {
  static_assert(std::atomic<T>::is_always_lock_free && sizeof(std::atomic<T>) == sizeof(T));
  return *reinterpret_cast<const std::atomic<T>*>(at);
}

constexpr uint64_t AlignUp(uint64_t value, uint64_t alignment) { return (value + alignment - 1) & ~(alignment - 1); }
constexpr uint64_t AlignDown(uint64_t value, uint64_t alignment) { return value & ~(alignment - 1); }

// The offset of the first byte of [from, to) that is not zero; `to` when there is none.
uint64_t FindNonZero(const std::byte* data, uint64_t from, uint64_t to);
// One past the last byte of [from, to) that is not zero; `from` when there is none.
uint64_t FindNonZeroEnd(const std::byte* data, uint64_t from, uint64_t to);

}  // namespace segwal
