// What the log wants to know of the machine.
#pragma once

#include <cstdint>
#include <span>
#include <string>

#include "platform/platform.h"

namespace segwal::win32 {

uint64_t PreciseRealtime();   // µs since the Unix epoch
uint64_t MonotonicCounter();  // ns
BootId ReadBootId();
std::string ReadHostName();
Status FillRandom(std::span<std::byte> out);

}  // namespace segwal::win32
