// Reclaimer: a thread that destroys what takes the operating system long to take back. Unmapping a segment costs
// milliseconds; whoever happens to be the last to let go of one - an appender on the event loop, a reader - only hands
// it over.
#pragma once

#include <condition_variable>
#include <functional>
#include <memory>
#include <mutex>
#include <thread>
#include <vector>

namespace segwal {

class Reclaimer : public std::enable_shared_from_this<Reclaimer> {
 public:
  static std::shared_ptr<Reclaimer> Start();
  ~Reclaimer();

  // A shared pointer whose last owner does not destroy the object but hands it to this thread.
  template <typename T>
  std::shared_ptr<T> Own(std::unique_ptr<T> object) {
    return std::shared_ptr<T>(object.release(),
                              [self = shared_from_this()](T* last) { self->Take([last] { delete last; }); });
  }

  // Destroys what was handed over so far and ends the thread. What comes later is destroyed by whoever brings it.
  void Stop();

 private:
  Reclaimer() = default;
  void Take(std::function<void()> destroy);
  void Run();

  std::mutex mutex_;
  std::condition_variable wake_;
  std::vector<std::function<void()>> queue_;
  bool stopped_ = false;
  std::thread thread_;
};

}  // namespace segwal
