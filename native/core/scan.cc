#include <algorithm>
#include <optional>

#include "core/crc32c/range_crc32c.h"
#include "core/recovery.h"

namespace segwal {
namespace {

// What CheckFrame does, in bounded time however often it is asked: a payload may look like a frame header at every step
// of the search, each time with megabytes behind it to take the CRC of.
class FrameChecker {
 public:
  FrameChecker(const std::byte* data, uint64_t end, uint64_t salt)
      : data_(data), end_(end), salt_checksum_(SaltChecksum(salt)) {}

  bool Holds(uint64_t offset, uint32_t expected_index, Frame* frame) {
    return PeekFrame(data_, offset, end_, frame) == FrameState::kValid && frame->index == expected_index &&
           ChecksumHolds(offset, *frame) && FrameShapeHolds(*frame);
  }

 private:
  // Damaged frames, each checked at the end of a run and again by the search, cost no more than two passes over the
  // segment; only with what merely looks like frames does it become worth another pass to make the rest cheap.
  static constexpr uint64_t kPasses = 2;

  bool ChecksumHolds(uint64_t offset, const Frame& frame) {
    if (ranges_) {
      const uint32_t start = ExtendCrc32c(salt_checksum_, &frame.length, sizeof frame.length);
      return Load<uint32_t>(data_ + offset + 4) == ranges_->Extend(start, offset + 8, frame.length - 8);
    }
    if (FrameChecksumHolds(data_, offset, salt_checksum_, frame)) return true;
    wasted_ += frame.length;
    if (wasted_ > kPasses * end_) ranges_.emplace(ByteView(data_, end_));
    return false;
  }

  const std::byte* const data_;
  const uint64_t end_;
  const uint32_t salt_checksum_;
  uint64_t wasted_ = 0;  // bytes that went into CRCs that were not right
  std::optional<RangeCrc32c> ranges_;
};

// Cheap tests that every frame of this segment passes and that arbitrary payload bytes seldom do. The CRC decides;
// these only keep a search over megabytes of somebody's integers from computing one for each of them.
bool Plausible(const Frame& frame, uint32_t least_index, uint64_t offset, bool compacted) {
  // What compaction has removed took room once.
  const uint64_t most_index = compacted ? kMaxSequenceCount : (offset - kSegmentHeaderSize) / kBatchRecordHeaderSize;
  constexpr uint8_t kKnownFlags = kFlagBatch | kFlagKey | kFlagFiller | kCodecMask;
  return frame.index >= least_index && frame.index <= most_index && frame.synced <= uint64_t{frame.index} + 1 &&
         (frame.flags & ~kKnownFlags) == 0 && frame.count != 0;
}

// Carries `run` on from its end, frame by frame, for as long as they are valid. In variables of its own: what is stored
// through a pointer the compiler has to take for something that frames may lie in.
void FollowRun(FrameChecker* checker, const SegmentIdentity& identity, FrameRun* run, SegmentScan* scan) {
  const bool compacted = identity.compacted();
  FrameRun at = *run;
  uint64_t earliest = UINT64_MAX;
  uint64_t latest = 0;
  uint32_t synced = 0;
  Frame frame;
  while (checker->Holds(at.end, at.end_index, &frame)) {
    FetchFramesAhead(frame.payload);
    if (!frame.filler()) {
      earliest = std::min(earliest, frame.time_us);
      latest = std::max(latest, frame.time_us);
    }
    if (compacted) scan->removed += RemovedRecords(frame);
    synced = std::max(synced, frame.synced);
    at.end += frame.padded_length();
    at.end_index += frame.count;
  }
  *run = at;
  scan->proof = std::max(scan->proof, DecodeSynced(synced, identity.base_sequence));
  if (earliest == UINT64_MAX) return;  // nothing but fillers
  const uint64_t first = identity.created_us + earliest;
  scan->earliest_us = scan->earliest_us == 0 ? first : std::min(scan->earliest_us, first);
  scan->latest_us = std::max(scan->latest_us, identity.created_us + latest);
}

}  // namespace

SegmentScan ScanSegment(const std::byte* data, uint64_t end, const SegmentIdentity& identity, bool first_run_only) {
  FrameChecker checker(data, end, identity.salt);
  SegmentScan scan;
  uint64_t offset = kSegmentHeaderSize;
  uint32_t least_index = 0;
  while (offset + kFrameHeaderSize <= end) {
    Frame frame;
    if (PeekFrame(data, offset, end, &frame) == FrameState::kValid &&
        Plausible(frame, least_index, offset, identity.compacted())) {
      FrameRun run{.offset = offset, .end = offset, .index = frame.index, .end_index = frame.index};
      FollowRun(&checker, identity, &run, &scan);
      if (run.end > run.offset) {
        scan.runs.push_back(run);
        offset = run.end;
        least_index = run.end_index;
        if (first_run_only) break;
        continue;
      }
    }
    if (first_run_only) break;
    // No frame begins here. Zeros are skipped fast; at anything else every step is tried.
    offset = AlignDown(FindNonZero(data, offset + kFrameAlignment, end), kFrameAlignment);
  }
  return scan;
}

}  // namespace segwal
