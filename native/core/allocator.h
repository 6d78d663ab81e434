// Allocator: keeps appenders supplied, by two threads. One creates the next segment before the active one is full; the
// other touches a window of the active one ahead of the write pointer. So an append never faults a page in and never
// waits for a file. They are two because making a file durable can take as long as the disk likes, and the window must
// not wait for that.
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
  // What the spare thread does whenever there is none: makes one, or notes why not. For who drives a log without its
  // threads, step by step.
  void SupplySpare();

  // A segment for id `id`, with a fresh salt, not yet activated; of a new file, or of that of the segment `recyclable`.
  // Also how a log gets its first one.
  static Status MakeSegment(WriterState& state, const LogId& log_id, uint64_t id, uint64_t size,
                            std::shared_ptr<Segment>* segment, std::optional<uint64_t> recyclable = std::nullopt);

 private:
  void KeepWindow();
  void KeepSpare();
  // Touches the next piece, with the mutex released; false when there is none to touch.
  bool ExtendWindow(std::unique_lock<std::mutex>& lock);
  void MakeSpare(std::unique_lock<std::mutex>& lock);
  void NoteRoom(const Status& status);

  WriterState& state_;
  const LogId log_id_;
  const TellRoom tell_room_;
  bool full_told_ = false;  // only the spare's thread
  std::thread window_thread_;
  std::thread spare_thread_;
  bool stop_ = false;  // guarded by state_.mutex
};

}  // namespace segwal
