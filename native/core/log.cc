#include "core/log.h"

#include "core/read_only_log.h"
#include "core/writable_log.h"

namespace segwal {

Status Log::Open(Platform& platform, const std::string& directory, const LogOptions& options,
                 std::shared_ptr<Log>* log) {
  LogDirectory layout(platform, directory);
  if (options.read_only) {
    auto opened = std::make_shared<ReadOnlyLog>(platform, std::move(layout));
    SEGWAL_TRY(opened->OpenAndLook(options));
    *log = std::move(opened);
    return Status::Ok();
  }
  auto opened = std::make_shared<WritableLog>(platform, std::move(layout), options);
  SEGWAL_TRY(opened->OpenAndRecover());
  opened->Start();
  *log = std::move(opened);
  return Status::Ok();
}

}  // namespace segwal
