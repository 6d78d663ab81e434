#include "core/bytes.h"

namespace segwal {
namespace {

constexpr uint64_t kStride = 64;

bool AllZero(const std::byte* block) {
  uint64_t any = 0;
  for (uint64_t i = 0; i < kStride; i += 8) any |= Load<uint64_t>(block + i);
  return any == 0;
}

}  // namespace

uint64_t FindNonZero(const std::byte* data, uint64_t from, uint64_t to) {
  uint64_t at = from;
  while (at + kStride <= to && AllZero(data + at)) at += kStride;
  while (at < to && data[at] == std::byte{0}) ++at;
  return at;
}

uint64_t FindNonZeroEnd(const std::byte* data, uint64_t from, uint64_t to) {
  uint64_t end = to;
  while (end >= from + kStride && AllZero(data + end - kStride)) end -= kStride;
  while (end > from && data[end - 1] == std::byte{0}) --end;
  return end;
}

}  // namespace segwal
