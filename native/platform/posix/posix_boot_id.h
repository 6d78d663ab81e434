// Systems tell the identity of a boot as a UUID in text.
#pragma once

#include <string_view>

#include "platform/platform.h"

namespace segwal::posix {

// All zero unless `text` has exactly the 32 hexadecimal digits of one; hyphens and white space do not count.
BootId ParseBootId(std::string_view text);

}  // namespace segwal::posix
