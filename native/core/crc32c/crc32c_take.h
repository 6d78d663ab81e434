// Taking words out of the input, on the way to a copy of it or not.
#pragma once

#include <cstddef>
#include <cstring>

namespace segwal::crc32c {

enum class Mode { kRead, kCopy };

// The word at `from + at`; in Mode::kCopy it is stored at `to + at`. Read once: what is stored is what the CRC is taken
// of. In Mode::kRead `to` is null and not touched.
template <typename Word, Mode mode>
[[gnu::always_inline]] inline Word Take([[maybe_unused]] std::byte* to, const std::byte* from, size_t at) {
  Word word;
  std::memcpy(&word, from + at, sizeof word);
  if constexpr (mode == Mode::kCopy) std::memcpy(to + at, &word, sizeof word);
  return word;
}

}  // namespace segwal::crc32c
