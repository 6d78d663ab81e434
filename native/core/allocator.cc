#include "core/allocator.h"

#include <algorithm>
#include <chrono>

namespace segwal {
namespace {

// How soon a disk that was full is asked again.
constexpr std::chrono::milliseconds kRetryDelay{200};

// So much of a spare is touched when there is time.
uint64_t WindowOfSpare(const Segment& spare) { return std::min(WriterState::kWindow, spare.size()); }

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

Status Allocator::MakeSegment(WriterState& state, const LogId& log_id, uint64_t id, uint64_t size, uint64_t window,
                              std::shared_ptr<Segment>* segment, std::optional<uint64_t> recyclable) {
  SegmentIdentity identity;
  identity.log_id = log_id;
  identity.segment_id = id;
  identity.segment_size = size;
  SEGWAL_TRY(state.platform.Random(std::as_writable_bytes(std::span(&identity.salt, 1))));
  std::unique_ptr<Segment> made;
  SEGWAL_TRY(recyclable ? Segment::Recycle(state.platform, state.directory, *recyclable, identity, window, &made)
                        : Segment::Create(state.platform, state.directory, identity, window, &made));
  *segment = state.reclaimer->Own(std::move(made));
  return Status::Ok();
}

void Allocator::SupplySpare() {
  std::unique_lock lock(state_.mutex);
  if (!state_.spare) MakeSpare(lock);
  while (state_.spare && !SpareIsWhole()) ExtendSpare(lock);
}

void Allocator::RemoveUnusable() {
  std::unique_lock lock(state_.mutex);
  while (RemoveUnusable(lock)) {
  }
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
    if (state_.truncating || (state_.spare && SpareIsWhole() && state_.unusable.empty())) {
      state_.spare_wake.wait(lock);
      continue;
    }
    state_.spare_busy = true;
    if (!state_.spare) {
      MakeSpare(lock);
    } else if (!SpareIsWhole()) {
      ExtendSpare(lock);
    } else {
      RemoveUnusable(lock);
    }
    state_.spare_busy = false;
    state_.writer_wake.notify_all();
    // A disk that was full is asked again after a while, until there is room. That there is no spare says nothing: who
    // waited for it may have taken it already.
    if (!state_.spare_failure.ok()) {
      state_.spare_wake.wait_for(lock, kRetryDelay, [this] { return stop_ || !state_.fatal.ok(); });
    }
  }
}

bool Allocator::ExtendWindow(std::unique_lock<std::mutex>& lock) {
  const std::shared_ptr<Segment> segment = state_.current;
  // It may be the spare's thread that is at it still.
  if (state_.truncating || segment->window_busy) return false;
  const uint64_t used = PointerOffset(segment->pointer().load(std::memory_order_relaxed));
  const uint64_t ahead = AlignUp(used + WriterState::kWindow, WriterState::kWindowStep);
  const uint64_t target = std::min(segment->size(), std::max(ahead, segment->wanted_end));
  // Not for every append: only once a good part of the window has been used, or somebody waits.
  const bool due = segment->low_water_passed || segment->wanted_end > segment->window_end;
  if (segment->window_end >= target || !due) return false;

  state_.window_busy = true;
  const Status status = Extend(lock, *segment, target);
  state_.window_busy = false;
  if (!status.ok()) Poison(*segment, status);
  if (segment->window_end >= target) segment->low_water_passed = false;
  if (segment == state_.current) state_.PublishLimit(*segment);
  state_.writer_wake.notify_all();
  return status.ok();
}

Status Allocator::Extend(std::unique_lock<std::mutex>& lock, Segment& segment, uint64_t target) {
  const uint64_t begin = segment.window_end;
  const uint64_t end = std::min(target, AlignDown(begin, WriterState::kWindowStep) + WriterState::kWindowStep);
  segment.window_busy = true;
  lock.unlock();
  Status status = segment.PrepareWindow(begin, end);
  lock.lock();
  segment.window_busy = false;
  if (status.ok()) segment.window_end = end;
  return status;
}

void Allocator::Poison(const Segment& segment, const Status& status) {
  state_.Fail(Status(ErrorCode::kPoisoned,
                     "segment " + std::to_string(segment.id()) + " cannot be written any more: " + status.message(),
                     status.os_error()));
}

void Allocator::NoteRoom(std::unique_lock<std::mutex>& lock, const Status& status) {
  const bool full = status.code() == ErrorCode::kDiskFull;
  // Another failure says nothing of room.
  if (full == full_told_ || (!full && !status.ok())) return;
  full_told_ = full;
  if (!tell_room_) return;
  lock.unlock();
  tell_room_(status);
  lock.lock();
}

void Allocator::MakeSpare(std::unique_lock<std::mutex>& lock) {
  const uint64_t id = state_.current->id() + 1;
  const uint64_t size = state_.current->size();
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
    status = MakeSegment(state_, log_id_, id, size, WriterState::kWindowStep, &spare, old);
    lock.lock();
    if (!status.ok() && old) {
      state_.unusable.push_back(*old);
      if (state_.unusable.size() > state_.recycle_segments) RemoveUnusable(lock);
    }
    // The next one does as well, or a new file; for that the room may be needed.
  } while (!status.ok() && (old || RemoveUnusable(lock)));
  if (old) state_.recycled.fetch_add(1, std::memory_order_relaxed);
  state_.spare = std::move(spare);
  state_.spare_failure = status;
  state_.writer_wake.notify_all();
  // Afterwards: who hears that there is room, and appends at once, finds the spare.
  NoteRoom(lock, status);
}

bool Allocator::SpareIsWhole() const { return state_.spare->window_end >= WindowOfSpare(*state_.spare); }

void Allocator::ExtendSpare(std::unique_lock<std::mutex>& lock) {
  const std::shared_ptr<Segment> segment = state_.spare;
  const Status status = Extend(lock, *segment, WindowOfSpare(*segment));
  if (segment == state_.spare) {
    if (status.ok()) return;
    state_.spare = nullptr;
    state_.spare_failure = status;
    lock.unlock();
    static_cast<void>(state_.platform.Remove(state_.directory.SegmentPath(segment->id())));
    lock.lock();
    return NoteRoom(lock, status);
  }
  // It was taken meanwhile, and the window's thread has waited for this.
  if (!status.ok()) return Poison(*segment, status);
  if (segment == state_.current) state_.PublishLimit(*segment);
  state_.window_wake.notify_one();
}

bool Allocator::RemoveUnusable(std::unique_lock<std::mutex>& lock) {
  if (state_.unusable.empty()) return false;
  const uint64_t id = state_.unusable.back();
  state_.unusable.pop_back();
  lock.unlock();
  static_cast<void>(state_.platform.Remove(state_.directory.RecyclablePath(id)));  // or the next open does it
  lock.lock();
  return true;
}

}  // namespace segwal
