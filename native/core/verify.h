// Verify: reads every frame of a log and compares with what seals promise. Changes nothing.
#pragma once

#include <functional>

#include "core/catalog.h"
#include "core/types.h"

namespace segwal {

// Looks at everything up to `last_sequence`, which is committed. `durable` tells how bad a finding is.
Status VerifyCatalog(Platform& platform, Catalog& catalog, uint64_t last_sequence, uint64_t durable,
                     const std::function<bool()>& cancelled, VerifyReport* report);

}  // namespace segwal
