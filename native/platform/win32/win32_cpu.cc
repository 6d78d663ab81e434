#include "platform/cpu.h"
#include "platform/win32/win32_api.h"

#ifndef PF_ARM_V8_CRC32_INSTRUCTIONS_AVAILABLE
#define PF_ARM_V8_CRC32_INSTRUCTIONS_AVAILABLE 31
#endif

namespace segwal {

bool ProcessorHasCrc32c() { return ::IsProcessorFeaturePresent(PF_ARM_V8_CRC32_INSTRUCTIONS_AVAILABLE) != 0; }

}  // namespace segwal
