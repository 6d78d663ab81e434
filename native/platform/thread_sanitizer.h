// SEGWAL_THREAD_SANITIZER is defined where the thread sanitizer watches.
#pragma once

#if defined(__has_feature)
#if __has_feature(thread_sanitizer)
#define SEGWAL_THREAD_SANITIZER  // Clang's way of saying so
#endif
#elif defined(__SANITIZE_THREAD__)
#define SEGWAL_THREAD_SANITIZER  // GCC's
#endif
