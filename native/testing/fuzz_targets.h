// What a fuzzer calls with bytes that it made up. Each returns whatever the bytes are; what must not be is a crash, a
// hang, a read outside of what is there, or a broken promise, at which it aborts. `npm run fuzz` runs them under
// libFuzzer, and fuzz_targets_test.cc with the seeds, and with what was found once.
#pragma once

#include <span>
#include <string>
#include <utility>
#include <vector>

#include "platform/platform.h"

namespace segwal {

// A segment: its frames are searched and walked, and each byte of each record is read.
void FuzzFrames(ByteView input);
// The payload of a frame, with flags in front.
void FuzzPayload(ByteView input);
// wal.meta, and the header page of a segment.
void FuzzHeaders(ByteView input);
// Changes to the files of a whole log, which is then recovered, read, verified and salvaged.
void FuzzRecovery(ByteView input);

struct FuzzTarget {
  const char* name;
  void (*run)(ByteView input);
};
std::span<const FuzzTarget> FuzzTargets();

// Inputs to begin with, made from the golden log.
std::vector<std::vector<std::byte>> FuzzSeeds(const std::string& target);

}  // namespace segwal
