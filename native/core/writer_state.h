// WriterState: what the appenders, the allocator and the syncer of one log share, and the rules by which they do.
//
// An append looks at exactly one shared word besides the write pointer: its segment's `limit`. Whatever needs an
// appender to stop and think - the touched window ends, the segment is full, too much is not durable yet, the syncer or
// a follower fell asleep, the log was closed or poisoned, memory of the segment had to be replaced - lowers that word;
// the appender then takes `mutex` and finds out which. All but the last is done under `mutex`.
//
// Why no wake-up of a sleeping syncer or follower is lost: to fall asleep it stores limit = 0, then loads the write
// pointer; an appender moves the write pointer, commits, then loads limit. Stores and loads are seq_cst, so one of the
// two sees the other: either the sleeper sees the claim and stays awake, or the appender sees 0 and wakes it. An
// appender that meets 0 before its claim leaves it there, and wakes whoever sleeps when there is something to see.
#pragma once

#include <algorithm>
#include <atomic>
#include <condition_variable>
#include <deque>
#include <memory>
#include <mutex>
#include <utility>
#include <vector>

#include "core/catalog.h"
#include "core/reclaimer.h"
#include "core/segment.h"
#include "core/time_keeper.h"

namespace segwal {

// Told, once, that a record was committed, or that none ever will be. It may be one that was known already: its writer
// found the follower asleep when it came to look. Called under WriterState::mutex; must not block,
// and must not call back into the log.
class AppendListener {
 public:
  virtual ~AppendListener() = default;
  virtual void OnAppended() = 0;
};

struct WriterState {
  WriterState(Platform& platform_in, LogDirectory directory_in, Catalog& catalog_in,
              std::shared_ptr<Reclaimer> reclaimer_in)
      : platform(platform_in),
        directory(std::move(directory_in)),
        catalog(catalog_in),
        reclaimer(std::move(reclaimer_in)),
        boot(platform_in.CurrentBoot()),
        pid(platform_in.ProcessId()),
        time_keeper(platform_in) {}

  Platform& platform;
  const LogDirectory directory;
  Catalog& catalog;
  const std::shared_ptr<Reclaimer> reclaimer;
  const BootId boot;
  const uint32_t pid;
  TimeKeeper time_keeper;
  // Constant once the log is open.
  uint64_t max_frame_size = 0;
  uint64_t max_dirty_bytes = UINT64_MAX;
  // So many removed segments wait to become spares, and as many of those that cannot to be deleted.
  uint64_t recycle_segments = 0;

  std::mutex mutex;
  std::condition_variable window_wake;  // the allocator's two threads
  std::condition_variable spare_wake;
  std::condition_variable syncer_wake;
  std::condition_variable writer_wake;   // more window, a spare, or no hope of either
  std::condition_variable durable_wake;  // the watermark moved, or never will again

  // Guarded by mutex.
  std::shared_ptr<Segment> current;
  std::shared_ptr<Segment> spare;  // created and touched, not yet activated
  // Segments that were removed, whose files become the next spares; the newest, which is in memory most likely, is
  // last.
  std::deque<uint64_t> recyclable;
  std::vector<uint64_t> unusable;  // what cannot be recycled; to delete a file takes long, and can wait
  Status spare_failure;            // why there is no spare; ok while one is there or on its way
  Status fatal;                    // set once: kPoisoned or kClosed. No append succeeds afterwards
  // Somebody waits for this sequence to be durable. Changed under the mutex, looked at without it too (relaxed: who
  // sees a request takes the mutex next).
  std::atomic<uint64_t> requested{0};
  uint64_t durable_bytes = 0;  // of the bytes of frames appended since the log was opened
  bool truncating = false;     // the end of the log is being taken away: nobody claims, rotates or prepares
  bool window_busy = false;    // the allocator is touching memory, or making a spare, right now
  bool spare_busy = false;
  uint64_t truncations = 0;    // in this open; whoever waits for a sequence looks whether it still means the same
  bool syncer_asleep = false;  // until the next append, or until it is asked
  std::vector<AppendListener*> followers;  // asleep until the next append

  // Everything up to here is durable. Stored by the syncer with release, so that who sees it may rely on it; appenders
  // load it relaxed, because an older value in a frame is still true.
  alignas(64) std::atomic<uint64_t> durable{0};

  // Counted here, read by Stats.
  std::atomic<uint64_t> rotations{0};
  std::atomic<uint64_t> recycled{0};  // spares made of old files
  std::atomic<uint64_t> writer_stalls{0};
  std::atomic<uint64_t> writer_stall_ns{0};

  // Requires mutex. Up to where claims may be made in `segment`.
  uint64_t ClaimLimit(const Segment& segment) const { return std::min(segment.window_end, DirtyLimit(segment)); }

  // Requires mutex. The offset in `segment` at which more than max_dirty_bytes would not be durable.
  uint64_t DirtyLimit(const Segment& segment) const {
    if (max_dirty_bytes == UINT64_MAX) return UINT64_MAX;
    const int64_t limit = static_cast<int64_t>(durable_bytes + max_dirty_bytes) - segment.byte_base;
    return limit < 0 ? 0 : static_cast<uint64_t>(limit);
  }

  // Requires mutex. What is appended before `offset` in `segment` and not durable, headers of frames included.
  uint64_t DirtyBytes(const Segment& segment, uint64_t offset) const {
    return static_cast<uint64_t>(segment.byte_base + static_cast<int64_t>(offset)) - durable_bytes;
  }

  // Requires mutex. Makes `segment.limit` say what the guarded fields say.
  void PublishLimit(Segment& segment) const {
    uint64_t limit = segment.window_end;
    if (!segment.low_water_passed && segment.window_end < segment.size()) limit -= std::min(limit, LowWater(segment));
    limit = std::min(limit, DirtyLimit(segment));
    if (syncer_asleep || !followers.empty() || !fatal.ok()) limit = Segment::kAttentionLimit;
    segment.SetLimit(limit);
  }

  // Requires mutex. Poisons the log when memory of the active segment had to be replaced.
  void CheckMemory() {
    if (!current) return;
    if (Status status = current->CheckMemory(); !status.ok()) Poison(status);
  }

  // Requires mutex. Ends all appending: what was appended since the last sync, or in it, may be lost.
  void Poison(const Status& cause) {
    Fail(Status(ErrorCode::kPoisoned,
                "what was appended last may be lost; close the log and open it again to see what is really there: " +
                    cause.message(),
                cause.os_error()));
  }

  // Requires mutex. Somebody waits for `sequence`, as far as it has been appended. To be followed by syncer_wake.
  void RequestDurable(uint64_t sequence) {
    sequence = std::min(sequence, AppendedSequenceLocked());
    if (sequence > requested.load(std::memory_order_relaxed)) requested.store(sequence, std::memory_order_relaxed);
  }

  // Requires mutex. Something was committed: wakes whoever waited for that.
  void WakeSleepers() {
    if (!syncer_asleep && followers.empty()) return;
    if (std::exchange(syncer_asleep, false)) syncer_wake.notify_one();
    for (AppendListener* follower : std::exchange(followers, {})) follower->OnAppended();
    if (current) PublishLimit(*current);
  }

  // Requires mutex. Ends all appending; the first cause stays.
  void Fail(Status cause) {
    if (!fatal.ok()) return;
    fatal = std::move(cause);
    WakeSleepers();
    if (current) PublishLimit(*current);
    window_wake.notify_all();
    spare_wake.notify_all();
    syncer_wake.notify_all();
    writer_wake.notify_all();
    durable_wake.notify_all();
  }

  // The last sequence number that was handed out. Its record may still be on its way into the mapping.
  uint64_t AppendedSequence() {
    const std::lock_guard lock(mutex);
    return AppendedSequenceLocked();
  }
  uint64_t AppendedSequenceLocked() const {
    const uint64_t count = PointerCount(current->pointer().load(std::memory_order_seq_cst));
    // The pointer itself may have been lost. Then nobody knows, and whoever wants to wait for all of it has to wait for
    // more than there will ever be, to learn why.
    if (current->failure()->Happened()) return kUnknownSequence;
    return current->base_sequence() + count - 1;
  }

  static constexpr uint64_t kUnknownSequence = (uint64_t{1} << 53) - 1;  // above all that can be

  // How far the allocator keeps ahead of the write pointer, and how much of that is left when it is woken.
  static constexpr uint64_t kWindow = uint64_t{16} << 20;
  // It grows to the next multiple of so much, so that a waiting writer soon gets the first of it; with so much a
  // segment may be used.
  static constexpr uint64_t kWindowStep = uint64_t{2} << 20;
  static uint64_t LowWater(const Segment& segment) { return std::min(kWindow / 2, segment.size() / 4); }
};

}  // namespace segwal
