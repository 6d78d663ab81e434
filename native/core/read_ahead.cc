#include "core/read_ahead.h"

#include <algorithm>

namespace segwal {

ReadAhead::ReadAhead(Mapping& mapping, uint64_t length) {
  if (length < kFew || std::thread::hardware_concurrency() == 1) return;
  thread_ = std::thread([this, &mapping, length] {
    uint64_t at = 0;
    do {
      mapping.Fetch(at, std::min(kPiece, length - at));
      at += kPiece;
    } while (at < length && !stopped_.load(std::memory_order_relaxed));  // whoever sets it waits for the thread too
  });
}

ReadAhead::~ReadAhead() {
  stopped_.store(true, std::memory_order_relaxed);
  if (thread_.joinable()) thread_.join();
}

}  // namespace segwal
