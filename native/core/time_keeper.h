// TimeKeeper: what time it is, for appends. While very many come, a thread looks at the clock every few ms and an
// append at what the thread has seen: to ask the system, even for its coarse time, takes a tenth of an append of 100
// bytes.
#pragma once

#include <atomic>
#include <condition_variable>
#include <cstdint>
#include <mutex>
#include <thread>

#include "platform/platform.h"

namespace segwal {

class TimeKeeper {
 public:
  explicit TimeKeeper(const Platform& platform) : platform_(platform) {}
  ~TimeKeeper() { Stop(); }

  void Start();
  void Stop();

  // As Platform::CoarseNow, and at most another 2 ms behind (more where the thread gets no processor). From any thread.
  uint64_t Now() const {
    const uint64_t kept = kept_us_.load(std::memory_order_relaxed);
    return kept != 0 ? kept : platform_.CoarseNow();
  }

  // One thread calls these, between Start and Stop. Now and then while records come: up to which sequence they have, by
  // when (Monotonic).
  void NoteAppended(uint64_t sequence, uint64_t now_ns);
  // Before it looks no more.
  void Rest() { Keep(false); }

 private:
  void Keep(bool keep);
  void Run();

  const Platform& platform_;
  std::atomic<uint64_t> kept_us_{0};  // 0: nobody keeps the time

  // Of the thread that calls NoteAppended.
  uint64_t noted_sequence_ = 0;
  uint64_t noted_ns_ = 0;

  std::mutex mutex_;
  std::condition_variable wake_;
  bool keep_ = false;  // written by the thread that calls NoteAppended, under mutex_
  bool stop_ = false;  // guarded by mutex_
  std::thread thread_;
};

}  // namespace segwal
