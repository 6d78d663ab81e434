// ReadAhead: a thread that keeps ahead of another one which walks a mapping from front to back. To have a page of a
// file in the page table takes half as long as to take the checksum of what is in it, even when it is in memory; and
// when it is not, the disk reads while the checksum is taken.
#pragma once

#include <atomic>
#include <thread>

#include "platform/platform.h"

namespace segwal {

class ReadAhead {
 public:
  // Of the first `length` bytes. When they are few, or there is no processor for it, it does nothing.
  ReadAhead(Mapping& mapping, uint64_t length);
  ~ReadAhead();  // gives up what is left

  ReadAhead(const ReadAhead&) = delete;
  ReadAhead& operator=(const ReadAhead&) = delete;

  static constexpr uint64_t kPiece = uint64_t{1} << 20;
  static constexpr uint64_t kFew = 4 * kPiece;

 private:
  std::atomic<bool> stopped_{false};
  std::thread thread_;
};

}  // namespace segwal
