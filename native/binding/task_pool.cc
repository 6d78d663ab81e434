#include "binding/task_pool.h"

#include <chrono>
#include <utility>

namespace segwal {
namespace {

// Long enough to serve one asynchronous read after the other, short enough that nothing is left after close.
constexpr std::chrono::milliseconds kLinger{50};

}  // namespace

void TaskPool::Submit(std::function<void()> task) {
  std::unique_lock lock(mutex_);
  JoinFinished(lock);
  queue_.push_back(std::move(task));
  if (idle_ < queue_.size() && threads_.size() < kMaxThreads) {
    const uint64_t id = next_id_++;
    threads_.emplace(id, std::thread([this, id] { Run(id); }));
  }
  wake_.notify_one();
}

void TaskPool::Stop() {
  std::unique_lock lock(mutex_);
  stopped_ = true;
  wake_.notify_all();
  wake_.wait(lock, [this] { return threads_.empty(); });
  JoinFinished(lock);
}

void TaskPool::Run(uint64_t id) {
  std::unique_lock lock(mutex_);
  while (true) {
    if (!queue_.empty()) {
      const std::function<void()> task = std::move(queue_.front());
      queue_.pop_front();
      lock.unlock();
      task();
      lock.lock();
      continue;
    }
    if (stopped_) break;
    ++idle_;
    const bool woken = wake_.wait_for(lock, kLinger, [this] { return stopped_ || !queue_.empty(); });
    --idle_;
    if (!woken) break;
  }
  // A thread cannot join itself: the next to come by does.
  finished_.push_back(std::move(threads_.at(id)));
  threads_.erase(id);
  wake_.notify_all();
}

void TaskPool::JoinFinished(std::unique_lock<std::mutex>& lock) {
  std::deque<std::thread> finished = std::exchange(finished_, {});
  lock.unlock();
  for (std::thread& thread : finished) thread.join();
  lock.lock();
}

}  // namespace segwal
