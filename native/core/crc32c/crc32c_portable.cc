// Slicing by 8: eight tables, one per byte of a word, looked up side by side (M. Kounavis and F. Berry, "A Systematic
// Approach to Building High Performance Software-Based CRC Generators", ISCC 2005).
#include <algorithm>
#include <array>
#include <cstring>

#include "core/crc32c/crc32c_implementation.h"
#include "core/crc32c/crc32c_polynomial.h"

namespace segwal::crc32c {
namespace {

using Tables = std::array<std::array<uint32_t, 256>, 8>;

// tables[k][byte]: the state that `byte` followed by k zero bytes leaves behind.
constexpr Tables MakeTables() {
  Tables tables{};
  for (uint32_t byte = 0; byte < 256; ++byte) {
    uint32_t state = byte;
    for (int bit = 0; bit < 8; ++bit) state = MultiplyByX(state);
    tables[0][byte] = state;
  }
  for (size_t k = 1; k < tables.size(); ++k) {
    for (size_t byte = 0; byte < 256; ++byte) {
      const uint32_t state = tables[k - 1][byte];
      tables[k][byte] = (state >> 8) ^ tables[0][state & 0xff];
    }
  }
  return tables;
}

constexpr Tables kTables = MakeTables();
static_assert(kTables[0][0x80] == kPolynomial);

// Copies of this size stay in the first level cache between the copy and the CRC of it.
constexpr size_t kCopyBlock = 4096;

uint32_t AddByte(uint32_t state, uint8_t byte) { return (state >> 8) ^ kTables[0][(state ^ byte) & 0xff]; }

uint32_t AddWord32(uint32_t state, uint32_t word) {
  word ^= state;
  return kTables[3][word & 0xff] ^ kTables[2][(word >> 8) & 0xff] ^ kTables[1][(word >> 16) & 0xff] ^
         kTables[0][word >> 24];
}

uint32_t AddWord64(uint32_t state, uint64_t word) {
  word ^= state;
  return kTables[7][word & 0xff] ^ kTables[6][(word >> 8) & 0xff] ^ kTables[5][(word >> 16) & 0xff] ^
         kTables[4][(word >> 24) & 0xff] ^ kTables[3][(word >> 32) & 0xff] ^ kTables[2][(word >> 40) & 0xff] ^
         kTables[1][(word >> 48) & 0xff] ^ kTables[0][word >> 56];
}

uint32_t Extend(uint32_t crc, const void* data, size_t size) {
  const auto* at = static_cast<const uint8_t*>(data);
  uint32_t state = ~crc;
  for (; size >= 8; at += 8, size -= 8) {
    uint64_t word;
    std::memcpy(&word, at, 8);
    state = AddWord64(state, word);
  }
  for (; size > 0; ++at, --size) state = AddByte(state, *at);
  return ~state;
}

uint32_t Copy(uint32_t crc, void* to, const void* from, size_t size) {
  auto* out = static_cast<uint8_t*>(to);
  const auto* in = static_cast<const uint8_t*>(from);
  while (size > 0) {
    const size_t block = std::min(size, kCopyBlock);
    std::memcpy(out, in, block);
    crc = Extend(crc, out, block);
    out += block;
    in += block;
    size -= block;
  }
  return crc;
}

uint32_t Header(uint32_t crc, uint32_t length, uint64_t word1, uint64_t word2) {
  return ~AddWord64(AddWord64(AddWord32(~crc, length), word1), word2);
}

uint32_t Frame(uint32_t crc, uint32_t length, uint64_t word1, uint64_t word2, const void* data, size_t size) {
  return Extend(Header(crc, length, word1, word2), data, size);
}

uint32_t CopyFrame(uint32_t crc, uint32_t length, uint64_t word1, uint64_t word2, void* to, const void* from,
                   size_t size) {
  return Copy(Header(crc, length, word1, word2), to, from, size);
}

constexpr Implementation kImplementation = {"portable", Extend, Frame, Copy, CopyFrame};

}  // namespace

const Implementation* Portable() { return &kImplementation; }

}  // namespace segwal::crc32c
