// TimeIndex: which times lie in which stretch of a segment, so that reading a range of time leaves out what cannot hold
// any of it. Times need not ascend: several threads append by a coarse clock, and clocks are set back. So a stretch is
// known by its earliest and its latest time, and nothing is searched by halves.
#pragma once

#include <cstdint>
#include <mutex>
#include <optional>
#include <vector>

#include "core/format.h"

namespace segwal {

struct SegmentView;

// Where a frame stands.
struct FramePosition {
  uint64_t offset = kSegmentHeaderSize;
  uint32_t index = 0;
};

// Bytes of a segment for which an index has one entry.
inline constexpr uint64_t kIndexStretch = uint64_t{64} << 10;

// Both ends belong to it. µs since the epoch.
struct TimeRange {
  uint64_t from_us = 0;
  uint64_t to_us = UINT64_MAX;

  bool Everything() const { return from_us == 0 && to_us == UINT64_MAX; }
  bool Meets(uint64_t earliest_us, uint64_t latest_us) const { return earliest_us <= to_us && latest_us >= from_us; }
  bool Covers(uint64_t earliest_us, uint64_t latest_us) const { return earliest_us >= from_us && latest_us <= to_us; }
};

// Built as far as somebody asks, once, and kept with the catalog: 32 bytes for each 64 KiB of a segment. It goes by
// frames whose checksum holds, for a damaged time must not make a reader pass over the damage in silence. Threads: any;
// it locks itself, and who asks first waits for the reading of the segment.
class TimeIndex {
 public:
  // Frames to read, from `begin` on; before one at or behind `end`, ask again.
  struct Stretch {
    FramePosition begin;
    uint64_t end;
  };
  // The next stretch at or behind `from` that may hold a time of `range`. Frames up to `last_index` are committed and
  // are looked at; when none of them will do, `begin` is behind it.
  Stretch Next(const SegmentView& view, FramePosition from, uint32_t last_index, TimeRange range);

  struct Before {
    bool known = false;             // false: damage is in the way, and nothing may be left out
    std::optional<uint32_t> index;  // at or before `last_index`; without it there is none
  };
  // The last frame, going by its index or one that its frame holds, of the last stretch that may hold a time of
  // `range`, and of those up to `last_index`.
  Before Last(const SegmentView& view, uint32_t last_index, TimeRange range);

 private:
  struct Entry {
    FramePosition begin;
    uint64_t earliest_us = UINT64_MAX;
    uint64_t latest_us = 0;
  };

  // Requires mutex_. Looks at more frames: until entry `entry` is complete, or `last_index` is reached. False at
  // damage.
  bool LookThrough(const SegmentView& view, size_t entry, uint32_t last_index);

  std::mutex mutex_;
  std::vector<Entry> entries_;  // the last of them ends at walked_
  FramePosition walked_;        // everything before it has been looked at
};

}  // namespace segwal
