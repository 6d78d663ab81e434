// What WatchedMemory needs of the operating system.
#pragma once

#include <cstddef>

namespace segwal {

// Address space for pages that are zero and cost nothing until they are touched. Neither readable nor writable yet, and
// never given back.
std::byte* ReservePages(size_t bytes);

// Readable in any case.
void ProtectPages(std::byte* at, size_t size, bool writable);

// From now on `absorb` is called with the address of every access that a page's protection refuses, on the thread and
// in the middle of the access. True: the access is tried again. False: it was somebody else's; whoever handled such
// faults before does it. Once per process.
void CatchRefusedAccesses(bool (*absorb)(void* address));

}  // namespace segwal
