// A CRC is linear: with n bytes in B, Crc32c(AB) = Crc32c(A) * x^(8n) + Crc32c(B), where the inversions cancel out
// (M. Adler, crc32_combine of zlib; A. Kadatch and B. Jenkins, "Everything we know about CRC but afraid to forget",
// 2010). So the CRC of a range follows from those of what ends where it begins and where it ends.
#include "core/crc32c/range_crc32c.h"

#include <array>

#include "core/crc32c/crc32c.h"
#include "core/crc32c/crc32c_polynomial.h"

namespace segwal {
namespace {

// Memory, 4 bytes for each of these, against time: this many bytes at most are gone over at either end of a range.
constexpr size_t kSpacing = 64;

// Below this, going over the bytes is faster.
constexpr size_t kMinSize = 4 * kSpacing;

// [k][digit]: x^(8n) with n = digit * 256^k. A product for each digit of n, where zlib needs one for each bit.
using Powers = std::array<std::array<uint32_t, 256>, sizeof(size_t)>;

constexpr Powers MakePowers() {
  Powers powers{};
  for (size_t k = 0; k < powers.size(); ++k) {
    const uint32_t one_digit = crc32c::PowerOfX(uint64_t{8} << (8 * k));
    powers[k][0] = crc32c::kOne;
    for (size_t digit = 1; digit < 256; ++digit) powers[k][digit] = crc32c::Multiply(powers[k][digit - 1], one_digit);
  }
  return powers;
}

constexpr Powers kPowers = MakePowers();

uint32_t ShiftByBytes(uint32_t crc, size_t bytes) {
  for (size_t k = 0; bytes != 0; ++k, bytes >>= 8) {
    if ((bytes & 0xff) != 0) crc = crc32c::Multiply(crc, kPowers[k][bytes & 0xff]);
  }
  return crc;
}

}  // namespace

RangeCrc32c::RangeCrc32c(ByteView data) : data_(data) {
  checkpoints_.reserve(data.size() / kSpacing + 1);
  checkpoints_.push_back(0);
  for (size_t at = 0; data.size() - at >= kSpacing; at += kSpacing) {
    checkpoints_.push_back(ExtendCrc32c(checkpoints_.back(), &data[at], kSpacing));
  }
}

uint32_t RangeCrc32c::OfFirst(size_t size) const {
  const size_t covered = size / kSpacing * kSpacing;
  return ExtendCrc32c(checkpoints_[size / kSpacing], data_.data() + covered, size - covered);
}

uint32_t RangeCrc32c::Extend(uint32_t crc, size_t offset, size_t size) const {
  if (size < kMinSize) return ExtendCrc32c(crc, data_.data() + offset, size);
  return ShiftByBytes(crc ^ OfFirst(offset), size) ^ OfFirst(offset + size);
}

}  // namespace segwal
