// SteppedLog: the real writable log without its threads. Whoever drives it does the threads' work when it pleases, and
// can stop a writer at any step of an append, so that everything that happens is in one order and can be repeated.
#pragma once

#include <memory>
#include <vector>

#include "core/appender.h"
#include "core/writable_log.h"

namespace segwal {

// An append that has not returned: its place is claimed, and the frame is written as far as `step` says.
struct StoppedWriter {
  enum Step : uint8_t {
    kClaimed,      // the write pointer was moved, nothing was stored yet
    kClaimStored,  // the length with the claim bit
    kHalfCopied,   // and a part of the payload
    kCopied,       // and all of it
    kChecksum,     // and the CRC
    kHeader,       // and the other words of the header
    kCommitted,    // and the length without the claim bit: it is there
  };

  std::shared_ptr<Segment> segment;
  uint64_t offset = 0;
  std::vector<std::byte> frame;  // as it will be
  uint64_t sequence = 0;
  uint64_t count = 0;
  Step step = kClaimed;
};
const char* StepName(StoppedWriter::Step step);

class SteppedLog {
 public:
  ~SteppedLog() { Kill(); }

  Status Open(Platform& platform, const std::string& directory, const LogOptions& options);
  bool open() const { return log_ != nullptr; }
  WritableLog& log() { return *log_; }

  // A plain append for one record, a batch for several or when `batch` says so. The sequence of the first; 0 when it
  // was refused. Never waits: what the allocator's thread would have to do first is done here.
  uint64_t Append(const std::vector<RecordView>& records, bool batch);
  const Status& failure() const { return failure_; }
  // The same, stopped at `step`. `half` is how much of the payload is there at kHalfCopied.
  uint64_t AppendUntil(const std::vector<RecordView>& records, bool batch, StoppedWriter::Step step, uint64_t half,
                       StoppedWriter* writer);
  // Takes a stopped writer to a later step.
  static void Continue(StoppedWriter* writer, StoppedWriter::Step step, uint64_t half);

  // What is left in the active segment.
  uint64_t Room();
  bool Poisoned();
  void SupplySpare() { log_->parts().allocator.SupplySpare(); }
  void RemoveUnusable() { log_->parts().allocator.RemoveUnusable(); }
  Status Sync() { return log_->parts().syncer.Step(); }
  // Up to where the log waits for nobody: the seals and the watermark that Rotate of the log waits for come with Sync.
  Status Rotate();
  // Nothing may be on its way into the log. What the syncer's thread would do first is done here.
  Status Close();
  // As the death of the process leaves it.
  void Kill();

 private:
  std::unique_ptr<WritableLog> log_;
  std::unique_ptr<Appender> appender_;
  Status failure_;
};

}  // namespace segwal
