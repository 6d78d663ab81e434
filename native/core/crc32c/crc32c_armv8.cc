// The crc32c instructions of ARMv8: eight bytes at a time, one can start every cycle, but each is ready after two or
// three. So long inputs go in three parts side by side, whose states are put together by tables: carry-less
// multiplication is an extension that processors with these instructions may lack (Cortex-A72 of the Raspberry Pi 4).
#if defined(__aarch64__)

#include <arm_acle.h>

#include <array>

#include "core/crc32c/crc32c_implementation.h"
#include "core/crc32c/crc32c_polynomial.h"
#include "core/crc32c/crc32c_take.h"
#include "platform/cpu.h"

// The instructions are asked for by function, not by a compiler flag, so that the rest of the program runs anywhere.
#if defined(__clang__)
#define SEGWAL_ARMV8 __attribute__((target("crc")))
#else
#define SEGWAL_ARMV8 __attribute__((target("+crc")))
#endif
#define SEGWAL_ARMV8_INLINE SEGWAL_ARMV8 __attribute__((always_inline)) inline

namespace segwal::crc32c {
namespace {

constexpr size_t kWord = 8;
constexpr size_t kStream = 512;
constexpr size_t kStreams = 3 * kStream;

using ShiftTables = std::array<std::array<uint32_t, 256>, 4>;

// tables[k][byte]: the state `byte << 8 * k` after kStream zero bytes. A state is the sum of its bits, and so is this.
constexpr ShiftTables MakeShiftTables() {
  ShiftTables tables{};
  const uint32_t shift = PowerOfX(8 * kStream);
  for (unsigned bit = 0; bit < 32; ++bit) {
    auto& table = tables[bit / 8];
    const uint32_t half = 1u << (bit % 8);
    const uint32_t shifted = Multiply(1u << bit, shift);
    for (uint32_t below = 0; below < half; ++below) table[half + below] = table[below] ^ shifted;
  }
  return tables;
}

constexpr ShiftTables kShiftTables = MakeShiftTables();

uint32_t ShiftByStream(uint32_t state) {
  return kShiftTables[0][state & 0xff] ^ kShiftTables[1][(state >> 8) & 0xff] ^ kShiftTables[2][(state >> 16) & 0xff] ^
         kShiftTables[3][state >> 24];
}

template <Mode mode>
SEGWAL_ARMV8_INLINE uint32_t AddStreams(uint32_t state, std::byte* to, const std::byte* from) {
  uint32_t second = 0;
  uint32_t third = 0;
  for (size_t at = 0; at < kStream; at += kWord) {
    state = __crc32cd(state, Take<uint64_t, mode>(to, from, at));
    second = __crc32cd(second, Take<uint64_t, mode>(to, from, kStream + at));
    third = __crc32cd(third, Take<uint64_t, mode>(to, from, 2 * kStream + at));
  }
  return ShiftByStream(ShiftByStream(state) ^ second) ^ third;
}

template <Mode mode>
SEGWAL_ARMV8_INLINE uint32_t Add(uint32_t state, std::byte* to, const std::byte* from, size_t size) {
  const auto advance = [&](size_t bytes) __attribute__((always_inline)) {
    if constexpr (mode == Mode::kCopy) to += bytes;
    from += bytes;
    size -= bytes;
  };
  for (; size >= kStreams; advance(kStreams)) state = AddStreams<mode>(state, to, from);
  const size_t whole = size / kWord * kWord;
  for (size_t at = 0; at < whole; at += kWord) state = __crc32cd(state, Take<uint64_t, mode>(to, from, at));
  advance(whole);
  if ((size & 4) != 0) {
    state = __crc32cw(state, Take<uint32_t, mode>(to, from, 0));
    advance(4);
  }
  if ((size & 2) != 0) {
    state = __crc32ch(state, Take<uint16_t, mode>(to, from, 0));
    advance(2);
  }
  if ((size & 1) != 0) state = __crc32cb(state, Take<uint8_t, mode>(to, from, 0));
  return state;
}

SEGWAL_ARMV8_INLINE uint32_t AddHeader(uint32_t state, uint32_t length, uint64_t word1, uint64_t word2) {
  return __crc32cd(__crc32cd(__crc32cw(state, length), word1), word2);
}

SEGWAL_ARMV8 uint32_t Extend(uint32_t crc, const void* data, size_t size) {
  return ~Add<Mode::kRead>(~crc, nullptr, static_cast<const std::byte*>(data), size);
}

SEGWAL_ARMV8 uint32_t Frame(uint32_t crc, uint32_t length, uint64_t word1, uint64_t word2, const void* data,
                            size_t size) {
  return ~Add<Mode::kRead>(AddHeader(~crc, length, word1, word2), nullptr, static_cast<const std::byte*>(data), size);
}

SEGWAL_ARMV8 uint32_t Copy(uint32_t crc, void* to, const void* from, size_t size) {
  return ~Add<Mode::kCopy>(~crc, static_cast<std::byte*>(to), static_cast<const std::byte*>(from), size);
}

SEGWAL_ARMV8 uint32_t CopyFrame(uint32_t crc, uint32_t length, uint64_t word1, uint64_t word2, void* to,
                                const void* from, size_t size) {
  return ~Add<Mode::kCopy>(AddHeader(~crc, length, word1, word2), static_cast<std::byte*>(to),
                           static_cast<const std::byte*>(from), size);
}

constexpr Implementation kImplementation = {"armv8", Extend, Frame, Copy, CopyFrame};

}  // namespace

const Implementation* Armv8() { return ProcessorHasCrc32c() ? &kImplementation : nullptr; }

}  // namespace segwal::crc32c

#endif
