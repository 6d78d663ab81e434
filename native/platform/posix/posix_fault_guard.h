// The last line against a signal that kills the process: SIGBUS, which the system sends when a load or a store meets a
// page of a mapped file that is not there any more. Another process has cut the file short; a block cannot be read; the
// memory is broken. Windows of a segment are touched ahead by calls that return errors (PosixMapping::Populate); what
// is left comes here.
//
// One handler for the process, put in front of whoever was there before. A fault in a mapping that was announced here
// is absorbed: its failure is raised, the page is replaced by anonymous memory, and the access completes there. Any
// other is handed on, so that the handlers of Node.js and of other addons go on working. What this cannot help:
// somebody who installs a handler later and does not call the one that was there before.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>

#include "platform/platform.h"

namespace segwal::posix {

// One mapping that the handler knows of.
struct GuardedRange {
  // Address of the first byte; 0: nobody's. Stored last when a range is announced and first when it is withdrawn.
  std::atomic<uintptr_t> begin{0};
  std::atomic<uintptr_t> end{0};
  std::atomic<MappingFailure*> failure{nullptr};
};

// Announces a mapping, installing the handler the first time. `failure` and the memory outlive the range.
GuardedRange* GuardRange(std::byte* begin, size_t length, MappingFailure* failure);
// REQUIRES: nobody uses the memory any more, and it has not been unmapped yet.
void UnguardRange(GuardedRange* range);

}  // namespace segwal::posix
