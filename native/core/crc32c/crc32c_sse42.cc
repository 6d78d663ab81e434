// The crc32 instruction of SSE 4.2: eight bytes at a time, one can start every cycle, but each is ready after three.
// So three parts of the input go side by side, and their states are put together by carry-less multiplication
// (V. Gopal et al., "Fast CRC Computation for iSCSI Polynomial Using CRC32 Instruction", Intel 2011).
//
// Copying word by word beside the instructions, against memcpy first and the CRC of the source then, measured in a loop
// that claims and commits frames (Zen 4, best of 15, gcc and clang): from 16 to 256 bytes within 1.2 ns of each other,
// up to 8 % faster when lengths vary, 12 % at 1 KiB, 25 to 30 % at 16 and 64 KiB. memcpy first and the CRC of the copy
// is slower than both, and twice as slow at 100 bytes, where loads straddle memcpy's overlapping stores. So there is
// only the one way.
#if defined(__x86_64__)

#include <cpuid.h>
#include <immintrin.h>

#include <array>
#include <cstring>

#include "core/crc32c/crc32c_implementation.h"
#include "core/crc32c/crc32c_polynomial.h"
#include "core/crc32c/crc32c_take.h"

// The instructions are asked for by function, not by a compiler flag, so that the rest of the program runs anywhere.
#if defined(__clang__)
#define SEGWAL_SSE42 __attribute__((target("sse4.2,crc32,pclmul")))
#else
#define SEGWAL_SSE42 __attribute__((target("sse4.2,pclmul")))
#endif
#define SEGWAL_SSE42_INLINE SEGWAL_SSE42 __attribute__((always_inline)) inline

namespace segwal::crc32c {
namespace {

constexpr size_t kWord = 8;
// The three parts lie close together, so that to the processor they are one run through memory, whose next lines it
// fetches by itself. With the usual 1,024 bytes between them it does not: with a copy, 4 KiB pieces of memory that is
// not in the cache went by 6 to 8 GB/s instead of 20 (Zen 5; docs/PERFORMANCE.md).
constexpr size_t kMaxStreamWords = 24;
constexpr size_t kMaxStreams = 3 * kMaxStreamWords * kWord;
// While more such blocks are left to copy, the memory that they go to is fetched so far ahead. From 16 KiB on that is
// worth a fifth; nearer to the end it disturbs, and behind the end may be what another thread writes.
constexpr size_t kFetchFrom = 16;
constexpr size_t kFetchAhead = 2048;
constexpr size_t kCacheLine = 64;
// Up to here, putting three states together costs more than waiting for one.
constexpr size_t kMinStreams = 192;

// What the states of the first and second of three streams are multiplied with, by words in a stream.
//
// The product of two reflected 32-bit polynomials a and b, taken as the 64-bit word that the crc32 instruction reads,
// stands for a * b * x; the instruction multiplies by x^32. To move a state over n bits it is hence multiplied with
// x^(n - 33) and given to the instruction as (part of) the last word.
struct Shift {
  uint32_t first;
  uint32_t second;
};

constexpr std::array<Shift, kMaxStreamWords + 1> MakeShifts() {
  std::array<Shift, kMaxStreamWords + 1> shifts{};
  const uint32_t word = PowerOfX(64);
  const uint32_t two_words = PowerOfX(128);
  shifts[1] = {PowerOfX(128 - 33), PowerOfX(64 - 33)};
  for (size_t words = 2; words < shifts.size(); ++words) {
    shifts[words] = {Multiply(shifts[words - 1].first, two_words), Multiply(shifts[words - 1].second, word)};
  }
  return shifts;
}

constexpr std::array<Shift, kMaxStreamWords + 1> kShifts = MakeShifts();

SEGWAL_SSE42_INLINE uint64_t MultiplyCarryless(uint64_t a, uint32_t b) {
  const __m128i product = _mm_clmulepi64_si128(_mm_cvtsi64_si128(static_cast<long long>(a)), _mm_cvtsi64_si128(b), 0);
  return static_cast<uint64_t>(_mm_cvtsi128_si64(product));
}

// Three times `words` words. `*last` is the last of them.
template <Mode mode>
SEGWAL_SSE42_INLINE uint64_t AddStreams(uint64_t state, std::byte* to, const std::byte* from, size_t words,
                                        uint64_t* last) {
  const size_t stride = words * kWord;
  uint64_t second = 0;
  uint64_t third = 0;
  for (size_t at = 0; at < stride - kWord; at += kWord) {
    state = _mm_crc32_u64(state, Take<uint64_t, mode>(to, from, at));
    second = _mm_crc32_u64(second, Take<uint64_t, mode>(to, from, stride + at));
    third = _mm_crc32_u64(third, Take<uint64_t, mode>(to, from, 2 * stride + at));
  }
  const size_t end = stride - kWord;
  state = _mm_crc32_u64(state, Take<uint64_t, mode>(to, from, end));
  second = _mm_crc32_u64(second, Take<uint64_t, mode>(to, from, stride + end));
  *last = Take<uint64_t, mode>(to, from, 2 * stride + end);
  const Shift shift = kShifts[words];
  return _mm_crc32_u64(third, *last ^ MultiplyCarryless(state, shift.first) ^ MultiplyCarryless(second, shift.second));
}

SEGWAL_SSE42_INLINE void FetchForWriting(std::byte* to) {
  for (size_t at = 0; at < kMaxStreams; at += kCacheLine) __builtin_prefetch(to + at, 1);
}

// Fewer than eight bytes.
template <Mode mode>
SEGWAL_SSE42_INLINE uint32_t AddFew(uint32_t state, std::byte* to, const std::byte* from, size_t size) {
  size_t at = 0;
  if ((size & 4) != 0) {
    state = _mm_crc32_u32(state, Take<uint32_t, mode>(to, from, 0));
    at = 4;
  }
  if ((size & 2) != 0) {
    state = _mm_crc32_u16(state, Take<uint16_t, mode>(to, from, at));
    at += 2;
  }
  if ((size & 1) != 0) state = _mm_crc32_u8(state, Take<uint8_t, mode>(to, from, at));
  return state;
}

// The last 1 to 8 bytes of an input of more than eight, of which `last` is the word before them: without a branch,
// since lengths are hard to predict. With a state of zero, zero bytes in front change nothing, so the bytes, with as
// much of the state as meets them added, are moved to the end of a word; the rest of the state meets no byte and only
// moves up.
template <Mode mode>
SEGWAL_SSE42_INLINE uint64_t AddTail(uint64_t state, std::byte* to, const std::byte* from, size_t size, uint64_t last) {
  const unsigned half_bits = static_cast<unsigned>(size) * 4;  // shifted by twice: a shift by 64 has no meaning
  const unsigned unused_bits = 64 - 2 * half_bits;
  uint64_t word;
  std::memcpy(&word, from + size - kWord, kWord);
  word >>= unused_bits;
  if constexpr (mode == Mode::kCopy) {
    const uint64_t whole = (last >> half_bits >> half_bits) | (word << unused_bits);
    std::memcpy(to + size - kWord, &whole, kWord);
  }
  return _mm_crc32_u64(0, (word ^ state) << unused_bits) ^ (state >> half_bits >> half_bits);
}

// Up to kMaxStreams bytes, more than eight or behind others: then `last` is the word before them.
template <Mode mode>
SEGWAL_SSE42_INLINE uint32_t AddSome(uint64_t state, std::byte* to, const std::byte* from, size_t size, uint64_t last) {
  const auto advance = [&](size_t bytes) __attribute__((always_inline)) {
    if constexpr (mode == Mode::kCopy) to += bytes;
    from += bytes;
    size -= bytes;
  };
  if (size > kMinStreams) {
    const size_t words = (size - 1) / (3 * kWord);
    state = AddStreams<mode>(state, to, from, words, &last);
    advance(3 * words * kWord);
  }
  // By index, not by moving pointers: at 100 bytes that is worth 3 ns of 14 with gcc.
  const size_t whole = (size - 1) / kWord * kWord;
  for (size_t at = 0; at < whole; at += kWord) {
    last = Take<uint64_t, mode>(to, from, at);
    state = _mm_crc32_u64(state, last);
  }
  advance(whole);
  return static_cast<uint32_t>(AddTail<mode>(state, to, from, size, last));
}

// More than kMaxStreams bytes.
template <Mode mode>
SEGWAL_SSE42_INLINE uint32_t AddMany(uint64_t state, std::byte* to, const std::byte* from, size_t size) {
  uint64_t last = 0;
  for (size_t blocks = (size - 1) / kMaxStreams; blocks > 0; --blocks) {
    if constexpr (mode == Mode::kCopy) {
      if (blocks > kFetchFrom) FetchForWriting(to + kFetchAhead);
    }
    state = AddStreams<mode>(state, to, from, kMaxStreamWords, &last);
    if constexpr (mode == Mode::kCopy) to += kMaxStreams;
    from += kMaxStreams;
    size -= kMaxStreams;
  }
  return AddSome<mode>(state, to, from, size, last);
}

// A function of its own, so that the sizes that most records have need not save the registers that the others take: at
// 100 bytes that is worth a twentieth with the copy, and a fifth without.
template <Mode mode>
SEGWAL_SSE42 __attribute__((noinline)) uint32_t AddFewOrMany(uint32_t state, std::byte* to, const std::byte* from,
                                                             size_t size) {
  if (size > kMaxStreams) return AddMany<mode>(state, to, from, size);
  if (size == kWord) return static_cast<uint32_t>(_mm_crc32_u64(state, Take<uint64_t, mode>(to, from, 0)));
  return AddFew<mode>(state, to, from, size);
}

template <Mode mode>
SEGWAL_SSE42_INLINE uint32_t Add(uint32_t state, std::byte* to, const std::byte* from, size_t size) {
  if (size > kWord && size <= kMaxStreams) [[likely]]
    return AddSome<mode>(state, to, from, size, 0);
  return AddFewOrMany<mode>(state, to, from, size);
}

SEGWAL_SSE42_INLINE uint32_t AddHeader(uint32_t state, uint32_t length, uint64_t word1, uint64_t word2) {
  return static_cast<uint32_t>(_mm_crc32_u64(_mm_crc32_u64(_mm_crc32_u32(state, length), word1), word2));
}

SEGWAL_SSE42 uint32_t Extend(uint32_t crc, const void* data, size_t size) {
  return ~Add<Mode::kRead>(~crc, nullptr, static_cast<const std::byte*>(data), size);
}

SEGWAL_SSE42 uint32_t Frame(uint32_t crc, uint32_t length, uint64_t word1, uint64_t word2, const void* data,
                            size_t size) {
  return ~Add<Mode::kRead>(AddHeader(~crc, length, word1, word2), nullptr, static_cast<const std::byte*>(data), size);
}

SEGWAL_SSE42 uint32_t Copy(uint32_t crc, void* to, const void* from, size_t size) {
  return ~Add<Mode::kCopy>(~crc, static_cast<std::byte*>(to), static_cast<const std::byte*>(from), size);
}

SEGWAL_SSE42 uint32_t CopyFrame(uint32_t crc, uint32_t length, uint64_t word1, uint64_t word2, void* to,
                                const void* from, size_t size) {
  return ~Add<Mode::kCopy>(AddHeader(~crc, length, word1, word2), static_cast<std::byte*>(to),
                           static_cast<const std::byte*>(from), size);
}

constexpr Implementation kImplementation = {"sse4.2", Extend, Frame, Copy, CopyFrame};

// cpuid itself and not __builtin_cpu_supports, which needs a part of the compiler's runtime that not every linker
// finds.
bool ProcessorHasInstructions() {
  unsigned eax = 0;
  unsigned ebx = 0;
  unsigned ecx = 0;
  unsigned edx = 0;
  if (__get_cpuid(1, &eax, &ebx, &ecx, &edx) == 0) return false;
  constexpr unsigned kNeeded = bit_SSE4_2 | bit_PCLMUL;
  return (ecx & kNeeded) == kNeeded;
}

}  // namespace

const Implementation* Sse42() { return ProcessorHasInstructions() ? &kImplementation : nullptr; }

}  // namespace segwal::crc32c

#endif
