// The loop that every durable append comes down to, without a log around it: store so many records, sync, again.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "platform/platform.h"

namespace segwal {

enum class SyncBy : uint8_t {
  kMapping,  // copied into a mapping, which is synced by the function that the log uses
  kWrite,    // one write and an fdatasync for a group
  // Like kMapping, by another thread, while this one sleeps as an event loop does. Linux only.
  kMappingElsewhere,
};

struct DurableLoop {
  std::string path;  // must not exist; is left behind
  SyncBy sync_by = SyncBy::kMapping;
  uint64_t record_bytes = 0;
  uint64_t frame_bytes = 0;  // from record to record: what a frame of the log takes
  uint64_t group = 1;        // records for each sync
  double seconds = 1;
  // 0: behind the end of the one file, of 256 MiB, the loop starts over, and writes to pages and blocks that are there.
  // Otherwise every file has so many bytes, allocated ahead, and the next one is a new one; a few stay, as they do
  // where a log deletes what nobody needs any more. `path` has their numbers appended. Only for kMapping.
  uint64_t new_file_bytes = 0;
};

// Runs for so long, on this thread alone but for kMappingElsewhere. `group_ns`: how long each group took, the first
// sync left out.
Status RunDurableLoop(const DurableLoop& loop, std::vector<double>* group_ns);

// The same for who comes back to it from an event loop: with SyncBy::kMapping, but each group is synced by another
// thread, which then calls `on_durable`. One thread stores, and asks for the next sync when it has heard of the one
// before.
class DurableGroups {
 public:
  virtual ~DurableGroups() = default;
  static Status Open(const DurableLoop& loop, std::function<void(const Status&)> on_durable,
                     std::unique_ptr<DurableGroups>* groups);
  virtual Status Store(ByteView record) = 0;
  virtual void Sync() = 0;  // what was stored since the last one
};

}  // namespace segwal
