// CRC32C (Castagnoli; RFC 3720, appendix B.4), the checksum of everything in the log.
//
// A CRC is always finished (inverted), so that one can be carried on from: ExtendCrc32c(Crc32c(a), b) = Crc32c(a + b).
// Chosen once for this processor, before the first CRC is taken; the cost per call is that of one indirect call.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>

#include "core/crc32c/crc32c_implementation.h"
#include "platform/platform.h"

namespace segwal {

namespace crc32c {
// Constant-initialised to a set of functions that choose the real one and go on there, so that a CRC may be taken at
// any time, from any thread, static initialisers included. Relaxed order is enough: it only ever points to constants
// of the program's image, there before any thread is, and every value gives the same results.
extern std::atomic<const Implementation*> active;
}  // namespace crc32c

// The CRC of what `crc` covers followed by `size` bytes of `data`. `crc` is 0 to start with.
inline uint32_t ExtendCrc32c(uint32_t crc, const void* data, size_t size) {
  return crc32c::active.load(std::memory_order_relaxed)->extend(crc, data, size);
}

inline uint32_t Crc32c(ByteView data) { return ExtendCrc32c(0, data.data(), data.size()); }

// Of what `crc` covers, then `length` (4 bytes), `word1` and `word2` (8 each), little-endian, then `data`: a frame
// whose header never was in memory. `size` may be 0 and `data` null.
inline uint32_t Crc32cFrame(uint32_t crc, uint32_t length, uint64_t word1, uint64_t word2, const void* data,
                            size_t size) {
  return crc32c::active.load(std::memory_order_relaxed)->frame(crc, length, word1, word2, data, size);
}

// ExtendCrc32c(crc, from, size), copying the bytes on the way; the ranges must not overlap. The CRC is that of the
// bytes which ended up in `to`, even when another thread changes `from` meanwhile (a SharedArrayBuffer): every byte is
// read from `from` once.
inline uint32_t CopyAndCrc32c(uint32_t crc, void* to, const void* from, size_t size) {
  return crc32c::active.load(std::memory_order_relaxed)->copy(crc, to, from, size);
}

// Crc32cFrame and CopyAndCrc32c in one: the data of the frame goes to `to`.
inline uint32_t CopyAndCrc32cFrame(uint32_t crc, uint32_t length, uint64_t word1, uint64_t word2, void* to,
                                   const void* from, size_t size) {
  return crc32c::active.load(std::memory_order_relaxed)->copy_frame(crc, length, word1, word2, to, from, size);
}

// The name of what was chosen: "sse4.2", "armv8" or "portable".
const char* Crc32cImplementation();

}  // namespace segwal
