// Appender: one thread's way into the log. Claim a place by one compare-and-swap, copy, checksum, commit by one store.
// No lock, no system call, no allocation, except when the segment's limit says that something needs attention.
#pragma once

#include <memory>
#include <vector>

#include "core/fetch_for_store.h"
#include "core/types.h"
#include "core/writer_state.h"

namespace segwal {

// Many records of one kind and key, packed: record i is bytes offsets[i] … offsets[i + 1] of `buffer`.
struct PackedRecords {
  ByteView buffer;
  std::span<const uint32_t> offsets;  // one more than there are records, ascending, within the buffer
  std::optional<ByteView> key;
  uint8_t kind = 0;
};

// The payload of a batch, for a codec to compress. Fails with kRecordTooLarge when its frame would be larger than
// `max_frame_size` without compression: whether a batch can be appended must not depend on what is in it.
Status PackBatch(std::span<const RecordView> records, uint64_t max_frame_size, std::vector<std::byte>* payload);
Status PackBatch(const PackedRecords& records, uint64_t max_frame_size, std::vector<std::byte>* payload);
// Whether the compressed form takes less room.
bool CompressionPays(uint32_t count, uint64_t plain_size, uint64_t compressed_size);

// Threads: one Appender belongs to one thread. It holds on to the segment that it last wrote, which keeps that mapped:
// no other thread can pull the memory away under an append.
class Appender {
 public:
  explicit Appender(WriterState& state);

  // With false, an append that would have to wait for the disk fails at once, with kBackpressure.
  void set_patient(bool patient) { patient_ = patient; }

  // An append comes next: has the write pointer brought here meanwhile, should another core have it.
  void Expect() const { FetchForStore(&segment_->pointer()); }

  // The sequence of the record; 0 on failure, and then `failure()` says why. A record that was given a sequence
  // survives the death of the process. `record.key` is at most kMaxKeySize bytes.
  uint64_t Append(const RecordView& record);
  // The same for a record of kind 0 without a key; what most appends are, and the shortest way.
  uint64_t AppendPlain(const void* data, size_t size);
  // One frame, there whole or not at all. The sequence of the first record. Not empty.
  uint64_t AppendBatch(std::span<const RecordView> records);
  uint64_t AppendPacked(const PackedRecords& records);
  // The same of a payload that a codec has compressed: `compressed` is all of what PackBatch made, `count` records in
  // `plain_size` bytes. CompressionPays must hold.
  uint64_t AppendCompressed(uint8_t codec, uint32_t count, uint32_t plain_size, ByteView compressed);

  const Status& failure() const { return failure_; }

  // Lets go of a segment that was rotated away since the last append: on Windows nothing that is mapped can be
  // replaced.
  void LetGoOfSealed();

 private:
  // Claims `padded` bytes and `count` sequence numbers in segment_; false when failure_ says why not.
  bool ClaimPlace(uint64_t frame_size, uint32_t count, Claim* claim);
  bool ClaimSlowly(uint64_t frame_size, uint32_t count, Claim* claim);
  // One round of whatever the limit asked for; afterwards the claim is worth another try, up to `limit`.
  Status Attend(uint64_t padded, uint64_t* limit);
  Status CheckDirty(uint64_t end, uint64_t padded);
  Status WaitForTruncation(std::unique_lock<std::mutex>& lock);
  Status WaitForSpare(std::unique_lock<std::mutex>& lock, const Segment* full);
  Status WaitForWindow(std::unique_lock<std::mutex>& lock, Segment& segment, uint64_t end);
  // What is left to do when the limit called for attention during the append; `sequence`, or 0 when it went nowhere.
  uint64_t FinishSlowly(uint64_t sequence);
  uint64_t Time() const;

  // Everything of a frame but its payload: the claim stored, the header words made.
  struct OpenFrame {
    std::byte* at;
    uint64_t length;
    uint64_t sequence;
    uint64_t word1;
    uint64_t word2;
  };
  OpenFrame Begin(const Claim& claim, uint64_t length, uint8_t kind, uint8_t flags) const;
  // Stores the header and commits.
  uint64_t Finish(const OpenFrame& frame, uint32_t crc);

  template <typename WriteRecords>
  uint64_t AppendBatchFrame(uint64_t payload_size, uint32_t count, const WriteRecords& write_records);

  WriterState& state_;
  std::shared_ptr<Segment> segment_;
  bool patient_ = true;
  Status failure_;
};

// Seals the active segment and activates the spare in its place, or poisons the log when the write pointer turns out to
// be lost. Requires state.mutex and a spare.
void RotateLocked(WriterState& state);

}  // namespace segwal
