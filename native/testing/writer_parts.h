// WriterParts: what appenders, allocator and syncer share, with a first segment and without any of their threads, so
// that each of them can be tested by itself.
#pragma once

#include <memory>

#include "core/allocator.h"
#include "core/appender.h"
#include "core/committed_walk.h"
#include "core/writer_state.h"
#include "testing/fault_platform.h"
#include "testing/temporary_directory.h"

namespace segwal {

class WriterParts {
 public:
  explicit WriterParts(uint64_t segment_size = kMinSegmentSize, uint64_t base_sequence = 1);
  ~WriterParts();

  FaultPlatform& platform() { return platform_; }
  const LogDirectory& directory() const { return directory_; }
  Catalog& catalog() { return catalog_; }
  WriterState& state() { return state_; }
  const LogId& log_id() const { return log_id_; }
  std::shared_ptr<Segment> current();

  // The work of the allocator's thread, by hand.
  void ProvideSpare();
  void SetWindow(Segment& segment, uint64_t end);

  // Where a walk begins in the first segment.
  CommittedWalk::Position Begin();
  // What Rotate does.
  void Rotate();

 private:
  TemporaryDirectory temporary_;
  FaultPlatform platform_;
  const LogDirectory directory_;
  const std::shared_ptr<Reclaimer> reclaimer_;
  Catalog catalog_;
  WriterState state_;
  LogId log_id_{};
};

}  // namespace segwal
