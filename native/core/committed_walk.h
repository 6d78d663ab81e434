// CommittedWalk: how far every frame is committed. Writers share nothing but the write pointer; whoever wants to know
// where the contiguous committed log ends walks forward over the lengths, from where the last walk stopped.
#pragma once

#include <memory>
#include <mutex>

#include "core/writer_state.h"

namespace segwal {

class CommittedWalk {
 public:
  struct Position {
    std::shared_ptr<Segment> segment;
    uint64_t offset = 0;
    uint64_t sequence = 0;  // of the last committed record
    // Of the records in `segment` so far, µs since the epoch; 0 when there are none.
    uint64_t earliest_us = 0;
    uint64_t latest_us = 0;
    // Walked over since the log was opened.
    uint64_t frames = 0;
    uint64_t bytes = 0;
  };

  // Begins at the end of what recovery found.
  CommittedWalk(WriterState& state, Position begin) : state_(state), at_(std::move(begin)) {}

  // Walks as far as it can. Threads: any. Whoever sees a position sees the frames before it. The seal of every segment
  // that the walk has left behind is filled in.
  Position Advance();

  // The log ends at `end` from now on, which lies before where the walk was. It stays there until Resume, from where it
  // goes on.
  void Hold(const Position& end);
  void Resume(Position begin);

 private:
  bool StepToNextSegment();

  WriterState& state_;
  std::mutex mutex_;
  Position at_;
  bool held_ = false;
};

}  // namespace segwal
