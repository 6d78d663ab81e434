#include <algorithm>
#include <atomic>
#include <deque>
#include <optional>
#include <thread>
#include <utility>

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

bool LooksLikeFrame(const std::byte* data, uint64_t offset, uint64_t end, uint32_t least_index, bool compacted,
                    Frame* frame) {
  return PeekFrame(data, offset, end, frame) == FrameState::kValid && Plausible(*frame, least_index, offset, compacted);
}

// Carries `run` on from its end, frame by frame, for as long as they are valid, to the first that ends at `stop` or
// behind it. In variables of its own: what is stored through a pointer the compiler has to take for something that
// frames may lie in.
void FollowRun(FrameChecker* checker, const SegmentIdentity& identity, uint64_t stop, FrameRun* run,
               SegmentScan* scan) {
  const bool compacted = identity.compacted();
  FrameRun at = *run;
  uint64_t earliest = UINT64_MAX;
  uint64_t latest = 0;
  uint32_t synced = 0;
  Frame frame;
  while (at.end < stop && checker->Holds(at.end, at.end_index, &frame)) {
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

// A part of a segment, of which one thread follows the frames.
class Part {
 public:
  Part(const std::byte* data, uint64_t end, const SegmentIdentity& identity, uint64_t from, uint64_t to)
      : data_(data), end_(end), identity_(identity), from_(from), to_(to), checker_(data, end, identity.salt) {}

  // From the first frame that begins in the part to the first that ends behind it. In front of all there is no search:
  // the first run begins behind the header, or there is none.
  void Scan(const SideBySide::Fetch& fetch) {
    fetch(from_, to_ - from_);
    Frame frame;
    if (from_ != kSegmentHeaderSize) {
      Search();
    } else if (LooksLikeOne(from_, &frame)) {
      FollowFrom(from_, frame);
    }
  }

  // What `before` has found of the parts in front of this one, carried on to the end of this one. What this one has
  // found counts when it begins where they end. It need not: what looked like its first frame may be somebody's
  // payload, or the frame in front be damaged, or too long.
  void Join(SegmentScan* before) {
    FrameRun& run = before->runs.back();
    if (run.end < from_) return;  // it has ended already: what ended it is not looked at again
    const bool continues =
        !scan_.runs.empty() && scan_.runs[0].offset == run.end && scan_.runs[0].index == run.end_index;
    if (!continues) {
      Follow(before);
      return;
    }
    run.end = scan_.runs[0].end;
    run.end_index = scan_.runs[0].end_index;
    before->proof = std::max(before->proof, scan_.proof);
    if (before->earliest_us == 0 || (scan_.earliest_us != 0 && scan_.earliest_us < before->earliest_us)) {
      before->earliest_us = scan_.earliest_us;
    }
    before->latest_us = std::max(before->latest_us, scan_.latest_us);
    before->removed += scan_.removed;
  }

  SegmentScan& scan() { return scan_; }

 private:
  // Gives up where it takes long: at frames much larger than the part, or at what looks like frames again and again.
  void Search() {
    uint64_t patience = 2 * (to_ - from_);
    uint64_t at = from_;
    while (at < to_ && at + kFrameHeaderSize <= end_) {
      Frame frame;
      if (LooksLikeOne(at, &frame)) {
        if (frame.length > patience || FollowFrom(at, frame)) return;
        patience -= frame.length;
      }
      at = AlignDown(FindNonZero(data_, at + kFrameAlignment, end_), kFrameAlignment);
    }
  }

  bool LooksLikeOne(uint64_t offset, Frame* frame) const {
    return LooksLikeFrame(data_, offset, end_, 0, identity_.compacted(), frame);
  }

  // Whether it is one.
  bool FollowFrom(uint64_t offset, const Frame& frame) {
    scan_.runs.assign(1, {.offset = offset, .end = offset, .index = frame.index, .end_index = frame.index});
    Follow(&scan_);
    if (scan_.runs[0].end == offset) scan_.runs.clear();
    return !scan_.runs.empty();
  }

  void Follow(SegmentScan* scan) { FollowRun(&checker_, identity_, to_, &scan->runs.back(), scan); }

  const std::byte* const data_;
  const uint64_t end_;
  const SegmentIdentity& identity_;
  const uint64_t from_;
  const uint64_t to_;
  FrameChecker checker_;
  SegmentScan scan_;
};

}  // namespace

SegmentScan ScanSegment(const std::byte* data, uint64_t end, const SegmentIdentity& identity, bool first_run_only) {
  FrameChecker checker(data, end, identity.salt);
  SegmentScan scan;
  uint64_t offset = kSegmentHeaderSize;
  uint32_t least_index = 0;
  while (offset + kFrameHeaderSize <= end) {
    Frame frame;
    if (LooksLikeFrame(data, offset, end, least_index, identity.compacted(), &frame)) {
      FrameRun run{.offset = offset, .end = offset, .index = frame.index, .end_index = frame.index};
      FollowRun(&checker, identity, end, &run, &scan);
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

SegmentScan ScanFirstRun(const std::byte* data, uint64_t end, const SegmentIdentity& identity, const SideBySide& how) {
  std::deque<Part> parts;
  for (uint64_t from = kSegmentHeaderSize; from < how.written; from += how.part_size) {
    parts.emplace_back(data, end, identity, from, std::min(from + how.part_size, how.written));
  }
  if (parts.empty()) return ScanSegment(data, end, identity, true);

  std::atomic<size_t> next{0};
  const auto scan_parts = [&] {
    for (size_t i = next.fetch_add(1); i < parts.size(); i = next.fetch_add(1)) parts[i].Scan(how.fetch);
  };
  std::vector<std::thread> others;
  for (size_t i = 1; i < std::min<size_t>(how.threads, parts.size()); ++i) others.emplace_back(scan_parts);
  scan_parts();
  for (std::thread& thread : others) thread.join();

  SegmentScan scan = std::move(parts[0].scan());
  if (scan.runs.empty()) return scan;
  for (size_t i = 1; i < parts.size(); ++i) parts[i].Join(&scan);
  Part(data, end, identity, how.written, end).Join(&scan);
  return scan;
}

}  // namespace segwal
