#include "platform/posix/posix_boot_id.h"

namespace segwal::posix {
namespace {

int DigitValue(char digit) {
  if (digit >= '0' && digit <= '9') return digit - '0';
  if (digit >= 'a' && digit <= 'f') return digit - 'a' + 10;
  if (digit >= 'A' && digit <= 'F') return digit - 'A' + 10;
  return -1;
}

}  // namespace

BootId ParseBootId(std::string_view text) {
  BootId id{};
  size_t digits = 0;
  for (const char character : text) {
    if (character == '-' || character == ' ' || character == '\n' || character == '\0') continue;
    const int value = DigitValue(character);
    if (value < 0 || digits == 2 * id.size()) return {};
    id[digits / 2] = (id[digits / 2] << 4) | static_cast<std::byte>(value);
    ++digits;
  }
  return digits == 2 * id.size() ? id : BootId{};
}

}  // namespace segwal::posix
