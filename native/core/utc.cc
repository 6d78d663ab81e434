#include "core/utc.h"

#include <chrono>
#include <cstdio>

namespace segwal {

std::string FormatUtc(uint64_t time_us) {
  using std::chrono::days;
  const std::chrono::sys_seconds time(std::chrono::seconds(time_us / 1'000'000));
  const auto day = std::chrono::floor<days>(time);
  const std::chrono::year_month_day date(day);
  const std::chrono::hh_mm_ss clock(time - day);
  char text[40];
  std::snprintf(text, sizeof text, "%04d-%02u-%02uT%02d:%02d:%02dZ", static_cast<int>(date.year()),
                static_cast<unsigned>(date.month()), static_cast<unsigned>(date.day()),
                static_cast<int>(clock.hours().count()), static_cast<int>(clock.minutes().count()),
                static_cast<int>(clock.seconds().count()));
  return text;
}

}  // namespace segwal
