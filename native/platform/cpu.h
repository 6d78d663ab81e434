// What only the operating system can tell about the processor.
#pragma once

namespace segwal {

// Whether the crc32c instructions of ARMv8 are there: on ARM a program cannot ask the processor itself. (On x86 it can,
// and nobody calls this.)
bool ProcessorHasCrc32c();

}  // namespace segwal
