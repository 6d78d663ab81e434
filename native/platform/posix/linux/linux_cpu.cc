#include "platform/cpu.h"

#if defined(__aarch64__)

#include <asm/hwcap.h>
#include <sys/auxv.h>

namespace segwal {

bool ProcessorHasCrc32c() { return (getauxval(AT_HWCAP) & HWCAP_CRC32) != 0; }

}  // namespace segwal

#endif
