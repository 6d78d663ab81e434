// CRC32C of any range of the same bytes at a cost that does not grow with its length, for whoever asks for many that
// overlap.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "platform/platform.h"

namespace segwal {

class RangeCrc32c {
 public:
  // Goes over `data` once, and refers to it from then on: it must stay where it is and as it is.
  explicit RangeCrc32c(ByteView data);

  // ExtendCrc32c(crc, &data[offset], size).
  uint32_t Extend(uint32_t crc, size_t offset, size_t size) const;

 private:
  uint32_t OfFirst(size_t size) const;

  const ByteView data_;
  std::vector<uint32_t> checkpoints_;  // n: the CRC of the first n * kSpacing bytes
};

}  // namespace segwal
