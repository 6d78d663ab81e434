#include "core/time_keeper.h"

#include <algorithm>
#include <chrono>

namespace segwal {
namespace {

constexpr std::chrono::milliseconds kTick{2};
// The thread takes some µs of a processor for each tick, an append that asks the clock some ns.
constexpr uint64_t kWorthIt = 500;              // records in a ms
constexpr uint64_t kShortestLook = 10'000'000;  // ns

}  // namespace

void TimeKeeper::Start() {
  thread_ = std::thread([this] { Run(); });
}

void TimeKeeper::Stop() {
  Rest();
  {
    const std::lock_guard lock(mutex_);
    stop_ = true;
  }
  wake_.notify_all();
  if (thread_.joinable()) thread_.join();
}

void TimeKeeper::NoteAppended(uint64_t sequence, uint64_t now_ns) {
  const uint64_t elapsed = now_ns - noted_ns_;
  if (elapsed < kShortestLook) return;
  // The end of the log may have been taken away.
  const uint64_t records = sequence - std::min(noted_sequence_, sequence);
  noted_sequence_ = sequence;
  noted_ns_ = now_ns;
  Keep(records >= elapsed / 1'000'000 * kWorthIt);
}

void TimeKeeper::Keep(bool keep) {
  if (keep == keep_) return;
  {
    const std::lock_guard lock(mutex_);
    keep_ = keep;
    // Here and not by the thread: it may be a while until that runs.
    if (!keep) kept_us_.store(0, std::memory_order_relaxed);
  }
  wake_.notify_all();
}

void TimeKeeper::Run() {
  std::unique_lock lock(mutex_);
  while (!stop_) {
    if (keep_) {
      kept_us_.store(platform_.CoarseNow(), std::memory_order_relaxed);
      wake_.wait_for(lock, kTick);
    } else {
      wake_.wait(lock);
    }
  }
}

}  // namespace segwal
