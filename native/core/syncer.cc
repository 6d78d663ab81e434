#include "core/syncer.h"

#include <algorithm>
#include <chrono>
#include <utility>

#include "core/pause_cpu.h"

namespace segwal {
namespace {

// Frames of at most so many bytes are now and then synced together with so many bytes of zeros behind them.
constexpr uint64_t kShortSync = uint64_t{16} << 10;
constexpr uint64_t kZerosAhead = uint64_t{64} << 10;

// So many delays without anything to do the thread goes on looking before it sleeps. Waking it costs whoever appends
// next a system call, which takes long where the other processor has halted.
constexpr uint64_t kLinger = 100;

// Who has waited for a sync, and goes on at once, asks for the next one sooner than this. And after so many times in
// vain it is tried only now and then.
constexpr uint64_t kLookOutNs = 40'000;
constexpr uint32_t kMostInVain = 6;

}  // namespace

Syncer::Syncer(WriterState& state, CommittedWalk& walk, const CommittedWalk::Position& end, const SyncPolicy& policy)
    : state_(state), walk_(walk), policy_(policy), synced_(end) {}

void Syncer::Start() {
  state_.time_keeper.Start();
  thread_ = std::thread([this] { Run(); });
}

void Syncer::Stop() {
  {
    const std::lock_guard lock(state_.mutex);
    stop_ = true;
  }
  state_.syncer_wake.notify_all();
  if (thread_.joinable()) thread_.join();
  state_.time_keeper.Stop();
}

// The thread is woken when the mutex is free: it would only wait for that next.
Status Syncer::Request(uint64_t sequence) {
  std::unique_lock lock(state_.mutex);
  state_.CheckMemory();
  state_.RequestDurable(sequence);
  Status fatal = state_.fatal;
  lock.unlock();
  state_.syncer_wake.notify_one();
  return fatal;
}

Status Syncer::Expect(uint64_t sequence) {
  std::unique_lock lock(state_.mutex);
  const uint64_t records = state_.AppendedSequenceLocked() - state_.durable.load(std::memory_order_relaxed);
  const bool enough =
      EnoughBytes() || (policy_.max_records != 0 && records >= policy_.max_records) || policy_.delay_us == 0;
  if (enough) state_.RequestDurable(sequence);
  Status fatal = state_.fatal;
  lock.unlock();
  if (enough) state_.syncer_wake.notify_one();
  return fatal;
}

bool Syncer::EnoughBytes() const {
  const Segment& current = *state_.current;
  const uint64_t used = PointerOffset(current.pointer().load(std::memory_order_relaxed));
  return policy_.max_bytes != 0 && state_.DirtyBytes(current, used) >= policy_.max_bytes;
}

Status Syncer::Wait(uint64_t sequence) {
  uint64_t truncations = 0;
  {
    const std::lock_guard lock(state_.mutex);
    truncations = state_.truncations;
  }
  SEGWAL_TRY(Request(sequence));
  std::unique_lock lock(state_.mutex);
  // A truncation behind an earlier record makes everything durable first, and then takes it away.
  const auto done = [&] {
    return state_.durable.load(std::memory_order_acquire) >= sequence || state_.truncations != truncations;
  };
  state_.durable_wake.wait(lock, [&] { return done() || !state_.fatal.ok(); });
  return done() ? Status::Ok() : state_.fatal;
}

void Syncer::AddListener(DurabilityListener* listener) {
  const std::lock_guard lock(listeners_mutex_);
  listeners_.push_back(listener);
}

void Syncer::RemoveListener(DurabilityListener* listener) {
  const std::lock_guard lock(listeners_mutex_);
  std::erase(listeners_, listener);
}

void Syncer::Run() {
  const auto rotated = [this] { return synced_.segment != state_.current; };
  uint64_t last_sync_ns = state_.platform.Monotonic();
  std::unique_lock lock(state_.mutex);
  while (!stop_ && state_.fatal.ok()) {
    const uint64_t now = state_.platform.Monotonic();
    state_.time_keeper.NoteAppended(state_.AppendedSequenceLocked(), now);
    const uint64_t durable = state_.durable.load(std::memory_order_relaxed);
    if (state_.requested.load(std::memory_order_relaxed) <= durable && !rotated() && !EnoughBytes()) {
      const uint64_t elapsed = now - last_sync_ns;
      const uint64_t delay = policy_.delay_us * 1000;
      const bool nothing_new = state_.AppendedSequenceLocked() <= durable;
      if (elapsed < (nothing_new ? kLinger : 1) * delay) {
        state_.syncer_wake.wait_for(lock, std::chrono::nanoseconds(delay - elapsed % delay));
        continue;
      }
      if (FallAsleep()) {
        state_.time_keeper.Rest();
        state_.syncer_wake.wait(lock);
        state_.syncer_asleep = false;
        state_.PublishLimit(*state_.current);
        // The clock of the background sync starts with the record that woke us.
        last_sync_ns = state_.platform.Monotonic();
        continue;
      }
    }
    const bool asked = state_.requested.load(std::memory_order_relaxed) > durable;
    lock.unlock();
    last_sync_ns = state_.platform.Monotonic();
    const Status status = Step();
    lock.lock();
    if (!status.ok()) continue;
    if (state_.durable.load(std::memory_order_relaxed) == durable) {
      // A claim that its writer is still filling stands before what is wanted. It takes that writer microseconds.
      state_.syncer_wake.wait_for(lock, std::chrono::microseconds(20));
    } else if (asked) {
      LookOut(lock);
    }
  }
  state_.time_keeper.Rest();
  const Status fatal = state_.fatal;
  lock.unlock();
  if (fatal.code() == ErrorCode::kPoisoned) TellPoisoned(fatal);
}

// One durable write after the other: when one is told of, the next is on its way. To sleep in between, and be woken,
// takes as long as a sync of a fast disk. Where nobody comes in time (the event loop's processor has halted, or there
// is more to do than the next write) the thread soon gives up, and tries again now and then; with one processor it
// would only keep who asks from running.
void Syncer::LookOut(std::unique_lock<std::mutex>& lock) {
  static const bool kAlone = std::thread::hardware_concurrency() == 1;
  if (kAlone || stop_) return;
  if (looks_to_leave_out_ > 0) {
    --looks_to_leave_out_;
    return;
  }
  const uint64_t durable = state_.durable.load(std::memory_order_relaxed);
  const auto asked = [&] { return state_.requested.load(std::memory_order_relaxed) > durable; };
  lock.unlock();
  const uint64_t until = state_.platform.Monotonic() + kLookOutNs;
  while (!asked() && state_.platform.Monotonic() < until) {
    for (int i = 0; i < 8; ++i) PauseCpu();
  }
  lock.lock();
  looked_in_vain_ = asked() ? 0 : std::min(looked_in_vain_ + 1, kMostInVain);
  looks_to_leave_out_ = (uint32_t{1} << looked_in_vain_) - 1;
}

bool Syncer::FallAsleep() {
  if (policy_.delay_us == 0) return true;  // nobody asked, and nothing is synced unasked
  state_.syncer_asleep = true;
  state_.PublishLimit(*state_.current);
  if (state_.AppendedSequenceLocked() <= state_.durable.load(std::memory_order_relaxed)) return true;
  state_.syncer_asleep = false;
  state_.PublishLimit(*state_.current);
  return false;
}

Status Syncer::Step() {
  const std::lock_guard alone(step_mutex_);
  return StepAlone();
}

Status Syncer::StepAlone() {
  Status status = SyncToCommittedEnd();
  if (status.ok()) return status;
  const std::lock_guard lock(state_.mutex);
  Poison(status);
  return status;
}

Status Syncer::SyncToCommittedEnd() {
  const CommittedWalk::Position end = walk_.Advance();
  while (synced_.segment != end.segment) {
    const std::shared_ptr<Segment> full = synced_.segment;
    SEGWAL_TRY(SyncSegment(full, full->seal.end_offset));
    SEGWAL_TRY(SealSegment(full));
    std::shared_ptr<Segment> next;
    {
      const std::lock_guard lock(state_.mutex);
      // Nobody steps over it after this. Who has this segment still, an appender that has been idle since, must not
      // keep all that came behind it.
      next = std::move(full->next);
    }
    header_synced_ = false;
    written_end_ = next->identity().recycled() ? next->size() : 0;
    SetSynced({.segment = std::move(next), .offset = kSegmentHeaderSize, .sequence = full->seal.last_sequence});
  }
  SEGWAL_TRY(SyncSegment(end.segment, end.offset));
  SetSynced(end);
  if (end.sequence > state_.durable.load(std::memory_order_relaxed)) {
    MoveWatermark(end);
    // The sync has write-protected the pages where the next frames will stand, whole pieces of them. Their faults are
    // taken here, not by who appends next; should that fail, he finds out.
    const uint64_t protected_end = AlignUp(std::max(protected_end_, end.offset + 1), Mapping::kPiece);
    static_cast<void>(end.segment->Touch(end.offset, protected_end));
  }
  return Status::Ok();
}

// The segment that was left is let go of when the mutex is free again.
void Syncer::SetSynced(CommittedWalk::Position to) {
  const std::lock_guard lock(state_.mutex);
  std::swap(synced_, to);
}

Status Syncer::SyncSegment(const std::shared_ptr<Segment>& segment, uint64_t end) {
  if (synced_.offset >= end) return segment->CheckMemory();
  // The first sync of a segment takes the header page along: a record counts for nothing without the identity.
  const uint64_t begin = header_synced_ ? synced_.offset : 0;
  const uint64_t started = state_.platform.Monotonic();
  const uint64_t to = WithZerosAhead(*segment, begin, end);
  SEGWAL_TRY(segment->Sync(begin, to - begin));
  written_end_ = std::max(written_end_, to);
  protected_end_ = to;
  NoteLatency(state_.platform.Monotonic() - started);
  synced_.offset = end;
  header_synced_ = true;
  return Status::Ok();
}

// A block that is allocated and was never written costs the sync that writes it first more than the block: the file
// system notes in its journal that it holds data now, and the sync waits for that too (ext4, xfs). So now and then a
// short sync writes some of the window ahead, and the next ones only overwrite. Long syncs pay once for many records as
// it is, and writing everything twice would cost a busy disk half of its speed. What it gains: docs/DURABILITY.md.
uint64_t Syncer::WithZerosAhead(const Segment& segment, uint64_t begin, uint64_t end) {
  if (end <= written_end_ || end - begin > kShortSync) return end;
  const std::lock_guard lock(state_.mutex);
  return std::max(end, std::min(segment.window_end, end + kZerosAhead));
}

Status Syncer::SealSegment(const std::shared_ptr<Segment>& segment) {
  StoreSeal(segment->data(), segment->identity(), segment->seal);
  SEGWAL_TRY(segment->Sync(0, kSegmentHeaderSize));
  state_.catalog.MarkSealed(segment->id(), segment->seal);
  const std::lock_guard lock(state_.mutex);
  segment->sealed = true;
  state_.durable_wake.notify_all();
  return Status::Ok();
}

void Syncer::MoveWatermark(const CommittedWalk::Position& end) {
  const uint64_t sequence = end.sequence;
  state_.durable.store(sequence, std::memory_order_release);
  // Not synced on its own: whenever it reaches the disk, it is true.
  // Not before the identity is on the disk: a mark in a segment without one is the sign of damage.
  if (header_synced_) StoreMark(synced_.segment->data(), synced_.segment->identity(), sequence);
  {
    // Under the mutex, so that nobody misses it between looking at the watermark and going to sleep.
    const std::lock_guard lock(state_.mutex);
    state_.durable_bytes = end.bytes;
    state_.PublishLimit(*state_.current);
    state_.durable_wake.notify_all();
  }
  const std::lock_guard lock(listeners_mutex_);
  for (DurabilityListener* listener : listeners_) listener->OnDurable(sequence);
}

void Syncer::Poison(const Status& cause) {
  state_.Fail(
      Status(ErrorCode::kPoisoned,
             "a sync failed, and what it should have written may be lost; close the log and open it again to see "
             "what is really there: " +
                 cause.message(),
             cause.os_error()));
}

void Syncer::TellPoisoned(const Status& fatal) {
  const std::lock_guard lock(listeners_mutex_);
  for (DurabilityListener* listener : listeners_) listener->OnPoisoned(fatal);
}

void Syncer::TellTruncated(uint64_t durable_before) {
  const std::lock_guard lock(listeners_mutex_);
  for (DurabilityListener* listener : listeners_) listener->OnTruncated(durable_before);
}

void Syncer::TellRoom(const Status& status) {
  const std::lock_guard lock(listeners_mutex_);
  for (DurabilityListener* listener : listeners_) listener->OnRoom(status);
}

Status Syncer::Finish() {
  SEGWAL_TRY(SyncToCommittedEnd());
  Segment& segment = *synced_.segment;
  if (!header_synced_) SEGWAL_TRY(segment.Sync(0, kSegmentHeaderSize));
  StoreMark(segment.data(), segment.identity(), synced_.sequence);
  StoreOrderlyEnd(segment.data(), segment.identity(), synced_.offset);
  return segment.Sync(0, kSegmentHeaderSize);
}

void Syncer::NoteLatency(uint64_t ns) {
  const double ms = static_cast<double>(ns) / 1e6;
  const std::lock_guard lock(latency_mutex_);
  recent_ms_[syncs_ % recent_ms_.size()] = static_cast<float>(ms);
  ++syncs_;
  max_ms_ = std::max(max_ms_, ms);
  last_us_ = state_.platform.Now();
}

Syncer::Latency Syncer::latency() const {
  std::vector<float> sorted;
  Latency latency;
  {
    const std::lock_guard lock(latency_mutex_);
    sorted.assign(recent_ms_.begin(),
                  recent_ms_.begin() + static_cast<std::ptrdiff_t>(std::min<uint64_t>(syncs_, recent_ms_.size())));
    latency.syncs = syncs_;
    latency.max_ms = max_ms_;
    latency.last_us = last_us_;
  }
  if (sorted.empty()) return latency;
  const auto at = [&sorted](size_t rank) {
    std::ranges::nth_element(sorted, sorted.begin() + static_cast<std::ptrdiff_t>(rank));
    return sorted[rank];
  };
  latency.p50_ms = at(sorted.size() / 2);
  latency.p99_ms = at(sorted.size() * 99 / 100);
  return latency;
}

}  // namespace segwal
