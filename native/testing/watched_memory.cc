#include "testing/watched_memory.h"

#include <algorithm>
#include <array>
#include <cassert>
#include <cstdlib>
#include <cstring>
#include <map>
#include <mutex>
#include <utility>
#include <vector>

#include "testing/watched_pages.h"

namespace segwal {
namespace {

// All blocks come from one reservation, so that the fault handler finds the flag of a page by its address alone. Pages
// that nobody touches cost nothing.
constexpr size_t kArenaBytes = size_t{1} << 30;
constexpr size_t kArenaPages = kArenaBytes / WatchedMemory::kPage;

enum PageState : uint8_t {
  kUntouched = 0,  // zero since the block was handed out
  kClean = 1,
  kDirtied = 2,
};

std::byte* arena = nullptr;
std::array<std::atomic<uint8_t>, kArenaPages> page_states;

// First writable, then dirty; Clean goes the other way round: first not dirty, then protected. Whichever way the two
// interleave, a page that ends up writable ends up dirty, or its next store faults again.
bool LetStoreThrough(void* address) {
  auto* const at = static_cast<std::byte*>(address);
  if (at < arena || at >= arena + kArenaBytes) return false;
  const size_t page = static_cast<size_t>(at - arena) / WatchedMemory::kPage;
  ProtectPages(arena + page * WatchedMemory::kPage, WatchedMemory::kPage, true);
  page_states[page].store(kDirtied, std::memory_order_seq_cst);
  return true;
}

// Hands out stretches of the arena and takes them back. Never destroyed: blocks may outlive it.
class Arena {
 public:
  static Arena& Get() {
    static auto* const the = new Arena();
    return *the;
  }

  std::byte* Take(size_t size) {
    const std::lock_guard lock(mutex_);
    std::vector<std::byte*>& free = free_[size];
    if (free.empty()) {
      std::byte* const block = arena + used_;
      used_ += size;
      if (used_ > kArenaBytes) std::abort();
      ProtectPages(block, size, false);
      return block;
    }
    std::byte* const block = free.back();
    free.pop_back();
    return block;
  }

  // Pages that were written become zero again.
  void GiveBack(std::byte* block, size_t size) {
    const auto first = static_cast<size_t>(block - arena) / WatchedMemory::kPage;
    ProtectPages(block, size, true);
    for (size_t page = 0; page < size / WatchedMemory::kPage; ++page) {
      if (page_states[first + page].exchange(kUntouched) != kUntouched) {
        std::memset(block + page * WatchedMemory::kPage, 0, WatchedMemory::kPage);
      }
    }
    ProtectPages(block, size, false);
    const std::lock_guard lock(mutex_);
    free_[size].push_back(block);
  }

 private:
  Arena() {
    arena = ReservePages(kArenaBytes);
    CatchRefusedAccesses(LetStoreThrough);
  }

  std::mutex mutex_;
  size_t used_ = 0;
  std::map<size_t, std::vector<std::byte*>> free_;  // by size
};

size_t PageOf(const std::byte* data, size_t page) {
  return static_cast<size_t>(data - arena) / WatchedMemory::kPage + page;
}

}  // namespace

WatchedMemory::WatchedMemory(size_t bytes) : size_((bytes + kPage - 1) / kPage * kPage) {
  if (size_ != 0) data_ = Arena::Get().Take(size_);
}

WatchedMemory::~WatchedMemory() {
  if (data_ != nullptr) Arena::Get().GiveBack(data_, size_);
}

WatchedMemory::WatchedMemory(WatchedMemory&& other) noexcept
    : data_(std::exchange(other.data_, nullptr)), size_(std::exchange(other.size_, 0)) {}

WatchedMemory& WatchedMemory::operator=(WatchedMemory&& other) noexcept {
  std::swap(data_, other.data_);
  std::swap(size_, other.size_);
  return *this;
}

bool WatchedMemory::Dirty(size_t page) const { return page_states[PageOf(data_, page)] == kDirtied; }

void WatchedMemory::Clean(size_t page) {
  page_states[PageOf(data_, page)].store(kClean, std::memory_order_seq_cst);
  ProtectPages(data_ + page * kPage, kPage, false);
}

#if defined(__clang__) || defined(__GNUC__)
__attribute__((no_sanitize("thread"), noinline))
#endif
void CopyWhileWritten(std::byte* to, const std::byte* from, size_t size) {
  // Volatile: or the compiler makes a call of memcpy out of it, which sanitizers watch.
  size_t at = 0;
  for (; at + sizeof(uint64_t) <= size; at += sizeof(uint64_t)) {
    const uint64_t word = *reinterpret_cast<const volatile uint64_t*>(from + at);
    std::memcpy(to + at, &word, sizeof word);
  }
  for (; at < size; ++at) to[at] = *reinterpret_cast<const volatile std::byte*>(from + at);
}

}  // namespace segwal
