#include "platform/cpu.h"

namespace segwal {

// Every ARM processor that macOS runs on has them.
bool ProcessorHasCrc32c() { return true; }

}  // namespace segwal
