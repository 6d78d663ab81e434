// What every implementation of CRC32C provides, and which there are. For crc32c.h and the tests; use crc32c.h.
#pragma once

#include <bit>
#include <cstddef>
#include <cstdint>
#include <span>

namespace segwal::crc32c {

static_assert(std::endian::native == std::endian::little, "words are taken from memory as they are");

// The functions of crc32c.h, where they are documented.
struct Implementation {
  const char* name;
  uint32_t (*extend)(uint32_t crc, const void* data, size_t size);
  uint32_t (*frame)(uint32_t crc, uint32_t length, uint64_t word1, uint64_t word2, const void* data, size_t size);
  uint32_t (*copy)(uint32_t crc, void* to, const void* from, size_t size);
  uint32_t (*copy_frame)(uint32_t crc, uint32_t length, uint64_t word1, uint64_t word2, void* to, const void* from,
                         size_t size);
};

// Each is there on the architecture it is for, and returns nullptr where the processor lacks the instructions.
const Implementation* Portable();
const Implementation* Sse42();
const Implementation* Armv8();

// All that work here, the best first; the last one is the portable one.
std::span<const Implementation* const> Available();

}  // namespace segwal::crc32c
