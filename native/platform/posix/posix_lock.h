#pragma once

#include <memory>
#include <string>

#include "platform/platform.h"

namespace segwal::posix {

Status AcquireLock(const std::string& path, const std::string& note, std::unique_ptr<DirectoryLock>* lock);

}  // namespace segwal::posix
