// WatchedMemory: memory that notices the first store to each of its pages, as the kernel does for a mapped file: a
// clean page is write-protected, the fault of the first store marks it dirty and lets the store through. So a page is
// dirty when something was stored to it, and not only when its bytes are different.
//
// Threads: several may store to a block while another one cleans pages of it.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>

namespace segwal {

class WatchedMemory {
 public:
  static constexpr size_t kPage = 4096;

  WatchedMemory() = default;
  explicit WatchedMemory(size_t bytes);  // zero, and clean
  ~WatchedMemory();
  WatchedMemory(WatchedMemory&& other) noexcept;
  WatchedMemory& operator=(WatchedMemory&& other) noexcept;

  std::byte* data() const { return data_; }
  size_t size() const { return size_; }
  size_t pages() const { return size_ / kPage; }

  bool Dirty(size_t page) const;
  // From now on the next store to the page is noticed again. Whoever copies the page afterwards has every store that
  // will not be noticed.
  void Clean(size_t page);

 private:
  std::byte* data_ = nullptr;
  size_t size_ = 0;  // a multiple of kPage
};

// memcpy from memory to which other threads store meanwhile, as the kernel copies pages: word by word, and none of a
// sanitizer's business.
void CopyWhileWritten(std::byte* to, const std::byte* from, size_t size);

}  // namespace segwal
