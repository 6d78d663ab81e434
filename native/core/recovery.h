// Recovery: from the files of a log that nobody has open to the log that they hold. Decides first, by the table in
// docs/FORMAT.md, and writes only afterwards; running it twice gives the same log.
#pragma once

#include <functional>
#include <optional>
#include <vector>

#include "core/directory.h"
#include "core/types.h"

namespace segwal {

struct RecoveredLog {
  LogMeta meta;
  struct SealedSegment {
    SegmentIdentity identity;
    Seal seal;
    uint64_t file_size;
  };
  std::vector<SealedSegment> sealed;
  std::vector<Checkpoint> checkpoints;  // by sequence
  // The segment that appending goes on in; none when the log is new or its last segment is sealed.
  struct Tail {
    SegmentIdentity identity;
    uint64_t end_offset = kSegmentHeaderSize;
    uint64_t count = 0;
    uint64_t earliest_us = 0;
    uint64_t latest_us = 0;
  };
  std::optional<Tail> tail;
  uint64_t next_segment = 1;  // id of the segment to create when there is no tail
  uint64_t next_sequence = 1;
  bool is_new = true;  // there was no log; meta is not written yet
  RecoveryReport report;
};

// Requires the directory's lock. Everything that is in `recovered` is durable when it returns.
Status Recover(Platform& platform, const LogDirectory& directory, const LogOptions& options, RecoveredLog* recovered);

// What a salvage of the log would find and do; changes nothing. kLocked when somebody writes the log.
Status PlanSalvage(Platform& platform, const LogDirectory& directory, RecoveryReport* report);

// A stretch of valid frames without a gap.
struct FrameRun {
  uint64_t offset = 0;
  uint64_t end = 0;
  uint32_t index = 0;      // of its first sequence number
  uint32_t end_index = 0;  // one past its last
};

// What the bytes of one segment say.
struct SegmentScan {
  std::vector<FrameRun> runs;  // ascending in offset and index
  uint64_t proof = 0;          // the highest sequence that a frame proves durable
  uint64_t earliest_us = 0;    // µs since the epoch
  uint64_t latest_us = 0;
  uint64_t removed = 0;  // records that compaction took
};

// Finds every valid frame between the header and `end`: by lengths where frames follow one another, in steps of 8 bytes
// where they do not. With `first_run_only`, stops at the first gap.
SegmentScan ScanSegment(const std::byte* data, uint64_t end, const SegmentIdentity& identity, bool first_run_only);

// How several threads look at one segment.
struct SideBySide {
  // Is told, from any of them, of a range that is about to be looked at.
  using Fetch = std::function<void(uint64_t offset, uint64_t length)>;

  unsigned threads = 1;
  uint64_t part_size = 0;  // what one thread takes at a time; a multiple of 8
  uint64_t written = 0;    // this far there are parts: the rest has most likely never been written
  Fetch fetch;
};
// ScanSegment with `first_run_only`, side by side: in each part the first frame is looked for, and followed; where one
// begins where those before it end, they are one run.
SegmentScan ScanFirstRun(const std::byte* data, uint64_t end, const SegmentIdentity& identity, const SideBySide& how);

}  // namespace segwal
