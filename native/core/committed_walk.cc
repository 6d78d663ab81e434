#include "core/committed_walk.h"

#include <algorithm>

namespace segwal {

CommittedWalk::Position CommittedWalk::Advance() {
  const std::lock_guard lock(mutex_);
  if (held_) return at_;
  do {
    const Segment& segment = *at_.segment;
    const Position before = at_;
    Frame frame;
    while (PeekFrame(segment.data(), at_.offset, segment.size(), &frame) == FrameState::kValid) {
      const uint64_t time = segment.identity().created_us + frame.time_us;
      at_.earliest_us = at_.earliest_us == 0 ? time : std::min(at_.earliest_us, time);
      at_.latest_us = std::max(at_.latest_us, time);
      at_.offset += frame.padded_length();
      at_.bytes += frame.padded_length();
      at_.sequence += frame.count;
      ++at_.frames;
    }
    // Frames in memory that had to be replaced are in no file. A frame that was committed there was seen with acquire,
    // and its appender had stored it after the failure was told, so that is seen here.
    if (segment.failure()->Happened()) {
      at_ = before;
      break;
    }
  } while (StepToNextSegment());
  return at_;
}

void CommittedWalk::Hold(const Position& end) {
  const std::lock_guard lock(mutex_);
  at_ = end;
  held_ = true;
}

void CommittedWalk::Resume(Position begin) {
  const std::lock_guard lock(mutex_);
  at_ = std::move(begin);
  held_ = false;
}

bool CommittedWalk::StepToNextSegment() {
  Segment& segment = *at_.segment;
  // Acquire pairs with the fetch_or that seals; after it the pointer does not move, so reaching it is reaching the end.
  const uint64_t word = segment.pointer().load(std::memory_order_acquire);  // a lost one reads as 0
  if (!PointerSealed(word) || PointerOffset(word) != at_.offset) return false;
  std::shared_ptr<Segment> next;
  {
    const std::lock_guard lock(state_.mutex);
    next = segment.next;
    // While the log is truncated its active segment is sealed too, and then goes on: full, and followed by another, it
    // may be by now, and the word above that of before. Both change under this mutex.
    if (next && PointerOffset(segment.pointer().load(std::memory_order_acquire)) != at_.offset) return false;
  }
  if (!next) return false;  // sealed this very moment, under that mutex; the next walk finds it
  segment.seal = {.end_offset = at_.offset,
                  .record_count = at_.sequence + 1 - segment.base_sequence(),
                  .last_sequence = at_.sequence,
                  .earliest_us = at_.earliest_us,
                  .latest_us = at_.latest_us};
  at_.segment = std::move(next);
  at_.offset = kSegmentHeaderSize;
  at_.earliest_us = at_.latest_us = 0;
  return true;
}

}  // namespace segwal
