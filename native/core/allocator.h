// Allocator: keeps appenders supplied, by two threads. One creates the next segment before the active one is full, and
// touches the first of it; the other touches a window of the active one ahead of the write pointer. So an append never
// faults a page in and never waits for a file. They are two because making a file durable can take as long as the disk
// likes, and the window must not wait for that.
#pragma once

#include <functional>
#include <optional>
#include <thread>

#include "core/writer_state.h"

namespace segwal {

class Allocator {
 public:
  // `tell_room` is called on the spare's thread, without the mutex: with kDiskFull when there is no room for a spare,
  // and with ok when there is again.
  using TellRoom = std::function<void(const Status&)>;
  Allocator(WriterState& state, const LogId& log_id, TellRoom tell_room = nullptr)
      : state_(state), log_id_(log_id), tell_room_(std::move(tell_room)) {}
  ~Allocator() { Stop(); }

  void Start();
  // Ends the threads. The spare, if any, stays in the state.
  void Stop();
  // For who drives a log without its threads, step by step: what the spare thread does when there is no spare - makes
  // one, whole, or notes why not - and when there is.
  void SupplySpare();
  void RemoveUnusable();

  // A segment for id `id`, with a fresh salt, not yet activated; its first `window` bytes touched; of a new file, or of
  // that of the segment `recyclable`. Also how a log gets its first one.
  static Status MakeSegment(WriterState& state, const LogId& log_id, uint64_t id, uint64_t size, uint64_t window,
                            std::shared_ptr<Segment>* segment, std::optional<uint64_t> recyclable = std::nullopt);

 private:
  void KeepWindow();
  void KeepSpare();
  // Of these, whatever takes long is done with the mutex released.
  bool ExtendWindow(std::unique_lock<std::mutex>& lock);  // by a piece; false when there is none to touch
  void MakeSpare(std::unique_lock<std::mutex>& lock);
  bool SpareIsWhole() const;
  void ExtendSpare(std::unique_lock<std::mutex>& lock);     // by a piece
  bool RemoveUnusable(std::unique_lock<std::mutex>& lock);  // one of them; false when there is none
  Status Extend(std::unique_lock<std::mutex>& lock, Segment& segment, uint64_t target);
  void Poison(const Segment& segment, const Status& status);
  void NoteRoom(std::unique_lock<std::mutex>& lock, const Status& status);

  WriterState& state_;
  const LogId log_id_;
  const TellRoom tell_room_;
  bool full_told_ = false;  // only the spare's thread
  std::thread window_thread_;
  std::thread spare_thread_;
  bool stop_ = false;  // guarded by state_.mutex
};

}  // namespace segwal
