#include "core/allocator.h"

#include <algorithm>
#include <chrono>

namespace segwal {
namespace {

// Touched in one go; small enough that a waiting writer soon gets the first of it.
constexpr uint64_t kWindowStep = uint64_t{2} << 20;
// How soon a disk that was full is asked again.
constexpr std::chrono::milliseconds kRetryDelay{200};

}  // namespace

void Allocator::Start() {
  window_thread_ = std::thread([this] { KeepWindow(); });
  spare_thread_ = std::thread([this] { KeepSpare(); });
}

void Allocator::Stop() {
  {
    const std::lock_guard lock(state_.mutex);
    stop_ = true;
  }
  state_.window_wake.notify_all();
  state_.spare_wake.notify_all();
  if (window_thread_.joinable()) window_thread_.join();
  if (spare_thread_.joinable()) spare_thread_.join();
}

Status Allocator::MakeSegment(WriterState& state, const LogId& log_id, uint64_t id, uint64_t size,
                              std::shared_ptr<Segment>* segment, std::optional<uint64_t> recyclable) {
  SegmentIdentity identity;
  identity.log_id = log_id;
  identity.segment_id = id;
  identity.segment_size = size;
  SEGWAL_TRY(state.platform.Random(std::as_writable_bytes(std::span(&identity.salt, 1))));
  std::unique_ptr<Segment> made;
  SEGWAL_TRY(recyclable
                 ? Segment::Recycle(state.platform, state.directory, *recyclable, identity, WriterState::kWindow, &made)
                 : Segment::Create(state.platform, state.directory, identity, WriterState::kWindow, &made));
  *segment = state.reclaimer->Own(std::move(made));
  return Status::Ok();
}

void Allocator::SupplySpare() {
  std::unique_lock lock(state_.mutex);
  if (!state_.spare) MakeSpare(lock);
}

void Allocator::KeepWindow() {
  std::unique_lock lock(state_.mutex);
  while (!stop_ && state_.fatal.ok()) {
    if (!ExtendWindow(lock)) state_.window_wake.wait(lock);
  }
}

void Allocator::KeepSpare() {
  std::unique_lock lock(state_.mutex);
  while (!stop_ && state_.fatal.ok()) {
    if (state_.spare || state_.truncating) {
      state_.spare_wake.wait(lock);
      continue;
    }
    MakeSpare(lock);
    // A disk that was full is asked again after a while, until there is room. That there is no spare says nothing: who
    // waited for it may have taken it already.
    if (!state_.spare_failure.ok()) {
      state_.spare_wake.wait_for(lock, kRetryDelay, [this] { return stop_ || !state_.fatal.ok(); });
    }
  }
}

bool Allocator::ExtendWindow(std::unique_lock<std::mutex>& lock) {
  if (state_.truncating) return false;
  const std::shared_ptr<Segment> segment = state_.current;
  const uint64_t used = PointerOffset(segment->pointer().load(std::memory_order_relaxed));
  const uint64_t target = std::min(segment->size(), std::max(used + WriterState::kWindow, segment->wanted_end));
  const uint64_t begin = segment->window_end;
  // Not for every append: only once a good part of the window has been used, or somebody waits.
  const bool due = segment->low_water_passed || segment->wanted_end > begin;
  if (begin >= target || !due) return false;

  const uint64_t end = std::min(target, begin + kWindowStep);
  state_.window_busy = true;
  lock.unlock();
  Status status = segment->PrepareWindow(begin, end);
  lock.lock();
  state_.window_busy = false;
  state_.writer_wake.notify_all();
  if (!status.ok()) {
    state_.Fail(Status(ErrorCode::kPoisoned,
                       "segment " + std::to_string(segment->id()) + " cannot be written any more: " + status.message(),
                       status.os_error()));
    return false;
  }
  segment->window_end = end;
  if (end >= target) segment->low_water_passed = false;
  if (segment == state_.current) state_.PublishLimit(*segment);
  state_.writer_wake.notify_all();
  return true;
}

void Allocator::NoteRoom(const Status& status) {
  const bool full = status.code() == ErrorCode::kDiskFull;
  // Another failure says nothing of room.
  if (full == full_told_ || (!full && !status.ok())) return;
  full_told_ = full;
  if (tell_room_) tell_room_(status);
}

void Allocator::MakeSpare(std::unique_lock<std::mutex>& lock) {
  const uint64_t id = state_.current->id() + 1;
  const uint64_t size = state_.current->size();
  state_.spare_busy = true;
  std::shared_ptr<Segment> spare;
  Status status;
  std::optional<uint64_t> old;
  do {
    old.reset();
    if (!state_.recyclable.empty()) {
      old = state_.recyclable.back();
      state_.recyclable.pop_back();
    }
    lock.unlock();
    status = MakeSegment(state_, log_id_, id, size, &spare, old);
    lock.lock();
  } while (!status.ok() && old);  // it is gone then, and the next one, or a new file, does as well
  if (old) state_.recycled.fetch_add(1, std::memory_order_relaxed);
  state_.spare_busy = false;
  state_.spare = std::move(spare);
  state_.spare_failure = status;
  state_.writer_wake.notify_all();
  // Afterwards: who hears that there is room, and appends at once, finds the spare.
  lock.unlock();
  NoteRoom(status);
  lock.lock();
}

}  // namespace segwal
