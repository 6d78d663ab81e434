// Verify: reads every frame of a log and compares with what seals promise. Changes nothing.
#pragma once

#include "core/catalog.h"
#include "core/types.h"

namespace segwal {

// Looks at everything up to `last_sequence`, which is committed; segments side by side. `durable` tells how bad a
// finding is. kAborted when it was cancelled: the report then has what was found by then.
Status VerifyCatalog(Platform& platform, Catalog& catalog, uint64_t last_sequence, uint64_t durable,
                     const VerifyOptions& options, VerifyReport* report);

}  // namespace segwal
