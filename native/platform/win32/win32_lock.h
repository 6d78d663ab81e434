#pragma once

#include <memory>
#include <string>

#include "platform/platform.h"
#include "platform/win32/win32_deletions.h"

namespace segwal::win32 {

Status AcquireLock(const std::string& path, const std::string& note, Deletions& deletions,
                   std::unique_ptr<DirectoryLock>* lock);

}  // namespace segwal::win32
