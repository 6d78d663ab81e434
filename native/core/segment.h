// Segment: one fixed-size mapped file while it takes appends, and until everything in it is durable and sealed.
//
// Who touches what:
//   write pointer (mapped)   every appender, by compare-and-swap; the syncer and readers load it
//   frames                   the appender that claimed them, until it commits; then nobody writes them again
//   header page              whoever activates the segment, before it is published; the syncer (seal, mark) afterwards
//   limit                    stored under WriterState::mutex, and when memory fails; loaded by every appender on every
//                            append
#pragma once

#include <atomic>
#include <memory>

#include "core/directory.h"
#include "core/format.h"
#include "platform/platform.h"

namespace segwal {

// Asked after memory of segment `id` was used, before anything is made of it: kIo when some of it had to be replaced
// (platform.h). Replaced pages read as zeros, and zeros mean something.
Status CheckMemory(const MappingFailure& failure, uint64_t id);

// What an appender owns after winning its place: these bytes and these sequence numbers are its alone.
struct Claim {
  uint64_t offset = 0;
  uint32_t index = 0;
};

class Segment {
 public:
  // Creates the file of segment `identity.segment_id`, allocates and maps it, touches the first `window` bytes. It
  // counts as absent until Activate. Name and size are durable when it returns. Leaves no file behind when it fails.
  static Status Create(Platform& platform, const LogDirectory& directory, const SegmentIdentity& identity,
                       uint64_t window, std::unique_ptr<Segment>* segment);
  // The same out of RecyclablePath(old_id), of which a sealed segment was made once: that has no page to find and no
  // block to note as written. kLocked when somebody reads it still (platform.h). When it fails the file is good for
  // nothing, and is under the old name, if anywhere.
  static Status Recycle(Platform& platform, const LogDirectory& directory, uint64_t old_id,
                        const SegmentIdentity& identity, uint64_t window, std::unique_ptr<Segment>* segment);
  // Makes [begin, end) present, writable and zero, for claims to be made there, and the first word behind it zero, for
  // whoever looks where the next frame will stand. A fresh segment is zero already; what was taken up again is looked
  // at, for nobody has read it since it was written.
  Status PrepareWindow(uint64_t begin, uint64_t end);

  // Takes up a recovered segment: its frames end at `end_offset` and hold `count` sequence numbers. No frame stands
  // behind that; the `window` bytes there are prepared.
  static Status Resume(Platform& platform, const LogDirectory& directory, const SegmentIdentity& identity,
                       uint64_t end_offset, uint64_t count, uint64_t window, std::unique_ptr<Segment>* segment);

  // Gives a created segment an empty write pointer and, last, its identity: plain stores, no system call.
  void Activate(uint64_t base_sequence, uint64_t created_us, const BootId& boot, uint32_t pid);

  uint64_t id() const { return identity_.segment_id; }
  const SegmentIdentity& identity() const { return identity_; }
  uint64_t base_sequence() const { return identity_.base_sequence; }
  uint32_t salt_checksum() const { return salt_checksum_; }
  uint64_t size() const { return mapping_->size(); }
  std::byte* data() const { return mapping_->data(); }
  const std::shared_ptr<MappingFailure>& failure() const { return mapping_->failure(); }

  // Makes the pages of [begin, end), which a sync has write-protected, writable again. Where the segment ends, nothing.
  Status Touch(uint64_t begin, uint64_t end);
  // The bytes of the range are on the medium when this returns ok, and were what the appenders stored.
  Status Sync(uint64_t offset, uint64_t length);
  // kIo when memory of the segment had to be replaced (platform.h): frames that were stored since are nowhere.
  Status CheckMemory() const;

  std::atomic<uint64_t>& pointer() const { return *pointer_; }
  // Claims that end at or below this offset need no help. The end of the touched window or before it; kAttentionLimit
  // while somebody waits for the next append, and kFailedLimit, call for attention (see writer_state.h).
  std::atomic<uint64_t>& limit() { return limit_; }
  static constexpr uint64_t kAttentionLimit = 0;
  // The memory has failed. Stored by the thread that has just met it, in the middle of whatever it does, and never
  // overwritten: others store by compare-and-swap only. So no append that stored something into replaced memory finds
  // any other value here afterwards.
  static constexpr uint64_t kFailedLimit = 1;
  void SetLimit(uint64_t limit);

  // Guarded by WriterState::mutex.
  uint64_t window_end = kSegmentHeaderSize;  // touched and zero up to here
  uint64_t wanted_end = 0;                   // an appender waits for the window to reach this
  bool window_busy = false;                  // a thread is touching the next piece
  bool low_water_passed = false;
  int64_t byte_base = 0;  // byte_base + offset: bytes of frames appended before that offset since the log was opened
  bool sealed = false;    // and durable to its end
  std::shared_ptr<Segment> next;  // until the syncer has stepped over to it

  // Guarded by CommittedWalk's mutex until the walk has passed the end, constant afterwards.
  Seal seal;

 private:
  Segment(const SegmentIdentity& identity, std::unique_ptr<Mapping> mapping);

  std::unique_ptr<Mapping> mapping_;
  std::atomic<uint64_t>* pointer_;
  SegmentIdentity identity_;
  uint32_t salt_checksum_;
  bool fresh_ = true;    // created by this process, of a new file
  bool cached_ = false;  // the file was a segment until now, and is in memory in small pieces
  // A cache line of its own: read on every append, written a few times per segment.
  alignas(64) std::atomic<uint64_t> limit_{0};
};

}  // namespace segwal
