// TaskPool: native threads for what blocks on the disk and that somebody awaits - opening, closing, reading ahead,
// verifying. libuv's pool is left to the application. Threads come when there is work and go soon after there is none.
#pragma once

#include <condition_variable>
#include <deque>
#include <functional>
#include <mutex>
#include <thread>
#include <unordered_map>

namespace segwal {

class TaskPool {
 public:
  ~TaskPool() { Stop(); }

  // Any thread. Tasks may run side by side.
  void Submit(std::function<void()> task);
  // Runs what was submitted, and ends all threads.
  void Stop();

 private:
  static constexpr size_t kMaxThreads = 8;

  void Run(uint64_t id);
  void JoinFinished(std::unique_lock<std::mutex>& lock);

  std::mutex mutex_;
  std::condition_variable wake_;
  std::deque<std::function<void()>> queue_;
  std::unordered_map<uint64_t, std::thread> threads_;
  std::deque<std::thread> finished_;
  uint64_t next_id_ = 0;
  size_t idle_ = 0;
  bool stopped_ = false;
};

}  // namespace segwal
