// Asks for a cache line before it is needed, and for the right to store to it. A plain load of a line that another core
// has just changed gets a copy only, and the store behind it asks that core a second time.
#pragma once

namespace segwal {

inline void FetchForStore(const void* word) {
#if defined(__x86_64__)
  // Not __builtin_prefetch: without a flag for newer processors only, it makes a prefetch for reading of this. Old ones
  // take the instruction for none.
  asm volatile("prefetchw %0" ::"m"(*static_cast<const char*>(word)));
#elif defined(__GNUC__)
  __builtin_prefetch(word, 1);
#else
  static_cast<void>(word);
#endif
}

}  // namespace segwal
