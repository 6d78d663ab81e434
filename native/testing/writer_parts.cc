#include "testing/writer_parts.h"

#include "testing/assertions.h"

namespace segwal {

WriterParts::WriterParts(uint64_t segment_size, uint64_t base_sequence)
    : directory_(platform_, temporary_.path()),
      reclaimer_(Reclaimer::Start()),
      catalog_(platform_, directory_, reclaimer_),
      state_(platform_, directory_, catalog_, reclaimer_) {
  log_id_.fill(std::byte{0x11});
  EXPECT_OK(directory_.Create());
  state_.max_frame_size = segment_size - kSegmentHeaderSize;
  state_.durable = base_sequence - 1;
  EXPECT_OK(Allocator::MakeSegment(state_, log_id_, 1, segment_size, WriterState::kWindow, &state_.current));
  state_.current->Activate(base_sequence, platform_.Now(), state_.boot, state_.pid);
  state_.current->byte_base = -static_cast<int64_t>(kSegmentHeaderSize);
  catalog_.AddLive(state_.current);
  const std::lock_guard lock(state_.mutex);
  state_.PublishLimit(*state_.current);
}

WriterParts::~WriterParts() {
  {
    const std::lock_guard lock(state_.mutex);
    state_.current = nullptr;
    state_.spare = nullptr;
  }
  catalog_.Clear();
  reclaimer_->Stop();
}

std::shared_ptr<Segment> WriterParts::current() {
  const std::lock_guard lock(state_.mutex);
  return state_.current;
}

void WriterParts::ProvideSpare() {
  const std::shared_ptr<Segment> segment = current();
  std::shared_ptr<Segment> spare;
  EXPECT_OK(Allocator::MakeSegment(state_, log_id_, segment->id() + 1, segment->size(), WriterState::kWindow, &spare));
  const std::lock_guard lock(state_.mutex);
  state_.spare = std::move(spare);
  state_.writer_wake.notify_all();
}

void WriterParts::SetWindow(Segment& segment, uint64_t end) {
  const std::lock_guard lock(state_.mutex);
  segment.window_end = end;
  segment.low_water_passed = true;
  state_.PublishLimit(segment);
  state_.writer_wake.notify_all();
}

CommittedWalk::Position WriterParts::Begin() {
  const std::shared_ptr<Segment> segment = current();
  return {.segment = segment, .offset = kSegmentHeaderSize, .sequence = segment->base_sequence() - 1};
}

void WriterParts::Rotate() {
  ProvideSpare();
  const std::lock_guard lock(state_.mutex);
  RotateLocked(state_);
}

}  // namespace segwal
