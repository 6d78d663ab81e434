// Where POSIX systems differ: one function each, implemented in linux/ and darwin/. The build picks the files.
//
// What can fail returns 0 or an errno value; ENOTSUP says that this kernel or file system does not have it, and that
// the caller has to do it by hand.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

#include "platform/platform.h"

namespace segwal::posix {

// Makes the file `bytes` long if it is shorter, and allocates all blocks up to there.
int AllocateBlocks(int descriptor, uint64_t bytes);

// Makes an allocated range read as zero, and stay allocated, without writing it.
int ZeroBlocks(int descriptor, uint64_t offset, uint64_t length);

// The size of an open file, and whether it still has a name, at less than fstat costs the next sync.
int LookAt(int descriptor, uint64_t* bytes, bool* has_name);

// Data and metadata of the file or directory are on the medium.
int SyncDescriptor(int descriptor);

// Whole pages of a shared mapping of `descriptor` are on the medium.
int SyncPages(int descriptor, std::byte* pages, size_t length);

// Whether all of the first `bytes` of a file are in the page cache; false where nobody has tried to find out.
bool TellsWhatIsInMemory();
bool IsInMemory(int descriptor, uint64_t bytes);

// Of a shared mapping that will be stored to: its file is not read ahead of.
void DoNotReadAhead(std::byte* pages, size_t length);

// Faults in whole pages for reading. Those that cannot be read are left to whoever loads from them.
void FetchPages(std::byte* pages, size_t length);

// Makes [begin, end) of a file zero, and has it in the page cache in small pieces; or leaves some of it as it was.
void LayZeroPages(int descriptor, uint64_t begin, uint64_t end);

// Faults in whole pages for writing. EFAULT where a store would have been a signal.
int PopulatePages(std::byte* pages, size_t length);

// The signals for a load or store that meets a page of a mapped file which is not there.
std::span<const int> FaultSignals();
inline constexpr size_t kMostFaultSignals = 2;

uint64_t CoarseRealtime();  // µs since the epoch
BootId ReadBootId();
int FillRandom(std::span<std::byte> out);

}  // namespace segwal::posix
