// Times for people.
#pragma once

#include <cstdint>
#include <string>

namespace segwal {

// "2026-01-31T23:59:59Z" from µs since the epoch.
std::string FormatUtc(uint64_t time_us);

}  // namespace segwal
