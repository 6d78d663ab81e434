#include "core/reclaimer.h"

#include <utility>

namespace segwal {

std::shared_ptr<Reclaimer> Reclaimer::Start() {
  std::shared_ptr<Reclaimer> reclaimer(new Reclaimer());
  reclaimer->thread_ = std::thread([raw = reclaimer.get()] { raw->Run(); });
  return reclaimer;
}

Reclaimer::~Reclaimer() { Stop(); }

void Reclaimer::Stop() {
  {
    const std::lock_guard lock(mutex_);
    stopped_ = true;
  }
  wake_.notify_all();
  if (thread_.joinable()) thread_.join();
}

void Reclaimer::Take(std::function<void()> destroy) {
  {
    const std::lock_guard lock(mutex_);
    if (!stopped_) {
      queue_.push_back(std::move(destroy));
      wake_.notify_all();
      return;
    }
  }
  destroy();
}

void Reclaimer::Run() {
  std::unique_lock lock(mutex_);
  while (true) {
    wake_.wait(lock, [this] { return stopped_ || !queue_.empty(); });
    if (queue_.empty()) return;
    std::vector<std::function<void()>> batch = std::exchange(queue_, {});
    lock.unlock();
    for (const auto& destroy : batch) destroy();
    lock.lock();
  }
}

}  // namespace segwal
