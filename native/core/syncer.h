// Syncer: the thread that makes the log durable. It walks to the committed end, syncs that range, moves the durable
// watermark and tells whoever listens, once per sync. While one sync runs, the next group gathers (group commit).
//
// Order: everything of a segment is durable, and then sealed, before anything of the next is synced. A failed sync is
// final: the pages that it should have written may be marked clean, and no later sync would write them.
#pragma once

#include <array>
#include <atomic>
#include <thread>
#include <vector>

#include "core/committed_walk.h"
#include "core/log.h"
#include "core/writer_state.h"

namespace segwal {

class Syncer {
 public:
  // `end`: what recovery kept, all of it durable.
  Syncer(WriterState& state, CommittedWalk& walk, const CommittedWalk::Position& end, const SyncPolicy& policy);
  ~Syncer() { Stop(); }

  void Start();
  // Ends the thread after the sync that it is in.
  void Stop();
  // What the thread does over and over: makes durable what is committed. A failure poisons the log. For who drives a
  // log without its threads, step by step.
  Status Step();

  // While it lives, the thread makes nothing durable. Taken before all locks of the log but life_mutex_.
  class Pause {
   public:
    explicit Pause(Syncer& syncer) : syncer_(syncer), lock_(syncer.step_mutex_) {}
    Status Step() { return syncer_.StepAlone(); }
    // Goes on from `end`, where the log was truncated to; all of it is durable. Requires WriterState::mutex.
    void MoveTo(const CommittedWalk::Position& end) {
      syncer_.synced_ = end;
      syncer_.header_synced_ = true;
      syncer_.written_end_ = 0;
    }

   private:
    Syncer& syncer_;
    std::unique_lock<std::mutex> lock_;
  };

  // Fails when the log can make nothing durable any more; listeners are not told then.
  Status Request(uint64_t sequence);
  Status Wait(uint64_t sequence);
  // Like Request, but in the policy's own time.
  Status Expect(uint64_t sequence);
  void AddListener(DurabilityListener* listener);
  void RemoveListener(DurabilityListener* listener);
  void TellRoom(const Status& status);  // Threads: any
  void TellTruncated(uint64_t durable_before);

  // After Stop: makes everything durable, and notes in the active segment that the log was closed in order.
  Status Finish();

  struct Latency {
    uint64_t syncs = 0;
    double p50_ms = 0;
    double p99_ms = 0;
    double max_ms = 0;
    uint64_t last_us = 0;  // when the last one ended
  };
  Latency latency() const;

 private:
  void Run();
  // Requires state_.mutex. So much is not durable that the policy wants a sync, however soon after the last one.
  bool EnoughBytes() const;
  // Requires state_.mutex, which is free meanwhile.
  void LookOut(std::unique_lock<std::mutex>& lock);
  // Requires state_.mutex. True when nothing is left to make durable and the next append will wake the thread.
  bool FallAsleep();
  Status StepAlone();
  Status SyncToCommittedEnd();
  void SetSynced(CommittedWalk::Position to);
  Status SyncSegment(const std::shared_ptr<Segment>& segment, uint64_t end);
  // Where a sync of the frames in [begin, end) should end, so that the next ones are cheaper.
  uint64_t WithZerosAhead(const Segment& segment, uint64_t begin, uint64_t end);
  Status SealSegment(const std::shared_ptr<Segment>& segment);
  // Everything up to `end` is durable.
  void MoveWatermark(const CommittedWalk::Position& end);
  void Poison(const Status& cause);  // requires state_.mutex
  void TellPoisoned(const Status& fatal);
  void NoteLatency(uint64_t ns);

  WriterState& state_;
  CommittedWalk& walk_;
  const SyncPolicy policy_;
  std::thread thread_;
  bool stop_ = false;  // guarded by state_.mutex
  // The thread's own: how often in a row LookOut has looked in vain, and how often it is not to look.
  uint32_t looked_in_vain_ = 0;
  uint32_t looks_to_leave_out_ = 0;

  std::mutex step_mutex_;  // held while something is made durable
  // Guarded by step_mutex_: what is durable, and whether the header page of that segment has ever been synced. Which
  // segment it is changes under state_.mutex too, because Run looks at that with no other lock.
  CommittedWalk::Position synced_;
  bool header_synced_ = true;
  // Guarded by step_mutex_. The blocks of that segment have been written up to here, if only with zeros.
  uint64_t written_end_ = 0;
  uint64_t protected_end_ = 0;  // guarded by step_mutex_: where the last sync ended

  std::mutex listeners_mutex_;  // taken last, and held while listeners are called
  std::vector<DurabilityListener*> listeners_;

  mutable std::mutex latency_mutex_;
  std::array<float, 4096> recent_ms_{};  // a ring of the latest syncs
  uint64_t syncs_ = 0;
  double max_ms_ = 0;
  uint64_t last_us_ = 0;
};

}  // namespace segwal
