#include "core/appender.h"

#include <algorithm>
#include <chrono>
#include <cstring>
#include <thread>
#include <utility>

#include "core/pause_cpu.h"

namespace segwal {
namespace {

// How long an append waits for the allocator before it gives up with kBackpressure. The event loop stands still
// meanwhile.
constexpr std::chrono::milliseconds kWaitLimit{2000};

// Moves the write pointer forward by the frame; false when it would pass the limit or the segment is sealed. The limit
// is the segment's, or `known_limit`, which was read under the mutex, unless that is 0.
//
// Memory order: the load of limit acquires what the allocator released with it, the zeroed and touched window, so that
// the length word at a claimed offset is 0 for everyone until its owner stores there. The compare-and-swap is seq_cst
// for the sake of the sleeping syncer (writer_state.h); its own atomicity is all that the claim needs, for nothing is
// published by it: readers go by the frames' length words.
inline bool TryClaim(Segment& segment, uint64_t padded, uint32_t count, uint64_t known_limit, Claim* claim) {
  std::atomic<uint64_t>& pointer = segment.pointer();
  uint64_t word = pointer.load(std::memory_order_relaxed);
  for (int pause = 1;; pause = std::min(pause * 2, 64)) {
    const uint64_t offset = PointerOffset(word);
    const uint64_t limit = known_limit != 0 ? known_limit : segment.limit().load(std::memory_order_acquire);
    if (PointerSealed(word) || offset + padded > limit) return false;
    const uint64_t moved = word + padded / kFrameAlignment + (uint64_t{count} << 32);
    if (pointer.compare_exchange_weak(word, moved, std::memory_order_seq_cst, std::memory_order_relaxed)) {
      claim->offset = offset;
      claim->index = static_cast<uint32_t>(PointerCount(word));
      return true;
    }
    // Losing means that another core has just taken the line; asking again at once only takes it away from the next.
    for (int i = 0; i < pause; ++i) PauseCpu();
  }
}

}  // namespace

Appender::Appender(WriterState& state) : state_(state) {
  const std::lock_guard lock(state.mutex);
  segment_ = state.current;
}

inline bool Appender::ClaimPlace(uint64_t frame_size, uint32_t count, Claim* claim) {
  if (TryClaim(*segment_, AlignUp(frame_size, kFrameAlignment), count, 0, claim)) [[likely]]
    return true;
  return ClaimSlowly(frame_size, count, claim);
}

inline uint64_t Appender::Time() const {
  const uint64_t now = state_.time_keeper.Now();
  const uint64_t created = segment_->identity().created_us;
  return now > created ? now - created : 0;  // a clock set back must not wrap
}

inline Appender::OpenFrame Appender::Begin(const Claim& claim, uint64_t length, uint8_t kind, uint8_t flags) const {
  const Segment& segment = *segment_;
  const uint64_t base = segment.base_sequence();
  std::byte* at = segment.data() + claim.offset;
  // The claim in the file, so that a scan can step over this frame whatever happens to its writer.
  AtomicAt<uint32_t>(at).store(static_cast<uint32_t>(length) | kClaimBit, std::memory_order_relaxed);
  return {.at = at,
          .length = length,
          .sequence = base + claim.index,
          .word1 = HeaderWord1(claim.index, EncodeSynced(state_.durable.load(std::memory_order_relaxed), base)),
          .word2 = HeaderWord2(Time(), kind, flags)};
}

inline uint64_t Appender::Finish(const OpenFrame& frame, uint32_t crc) {
  Store(frame.at + 4, crc);
  Store(frame.at + 8, frame.word1);
  Store(frame.at + 16, frame.word2);
  // The commit. Release: whoever loads this length with acquire sees the whole frame.
  AtomicAt<uint32_t>(frame.at).store(static_cast<uint32_t>(frame.length), std::memory_order_release);
  // seq_cst: the second half of the handshake with whoever is falling asleep (writer_state.h). And when memory of the
  // segment was replaced under this append, its alarm stands here: this thread has raised it itself, or a page that
  // another thread has replaced was stored to, and then the system's change of the page lies between alarm and store.
  if (segment_->limit().load(std::memory_order_seq_cst) <= Segment::kFailedLimit) [[unlikely]]
    return FinishSlowly(frame.sequence);
  return frame.sequence;
}

// The checksum is taken from registers and on the way from source to copy, not from the bytes just stored: reading
// those back would stall on store forwarding. Each source byte is read once, so a caller whose other threads change it
// meanwhile gets a mixture, but one whose checksum is right.
uint64_t Appender::AppendPlain(const void* data, size_t size) {
  const uint64_t length = kFrameHeaderSize + size;
  Claim claim;
  if (!ClaimPlace(length, 1, &claim)) return 0;
  const OpenFrame frame = Begin(claim, length, 0, 0);
  return Finish(frame, CopyAndCrc32cFrame(segment_->salt_checksum(), static_cast<uint32_t>(length), frame.word1,
                                          frame.word2, frame.at + kFrameHeaderSize, data, size));
}

uint64_t Appender::Append(const RecordView& record) {
  const uint64_t key_size = record.key ? kKeyLengthSize + record.key->size() : 0;
  const uint64_t length = kFrameHeaderSize + key_size + record.data.size();
  Claim claim;
  if (!ClaimPlace(length, 1, &claim)) return 0;
  const OpenFrame frame = Begin(claim, length, record.kind, record.key ? kFlagKey : 0);
  std::byte* at = frame.at + kFrameHeaderSize;
  uint32_t crc = 0;
  if (record.key) {
    const auto size = static_cast<uint16_t>(record.key->size());
    Store(at, size);
    crc = Crc32cFrame(segment_->salt_checksum(), static_cast<uint32_t>(length), frame.word1, frame.word2, &size,
                      sizeof size);
    crc = CopyAndCrc32c(crc, at + kKeyLengthSize, record.key->data(), size);
  } else {
    crc = Crc32cFrame(segment_->salt_checksum(), static_cast<uint32_t>(length), frame.word1, frame.word2, nullptr, 0);
  }
  return Finish(frame, CopyAndCrc32c(crc, at + key_size, record.data.data(), record.data.size()));
}

namespace {

// Writes the records of a batch behind one another and keeps the checksum going, a few KiB behind the writing: late
// enough to take long runs, early enough to find the bytes in the first-level cache.
class BatchWriter {
 public:
  BatchWriter(std::byte* at, uint32_t crc) : at_(at), checked_(at), crc_(crc) {}

  void Write(ByteView data, const std::optional<ByteView>& key, uint8_t kind) {
    at_ = StoreBatchRecord(at_, data, key, kind);
    if (static_cast<size_t>(at_ - checked_) >= kRun) Check();
  }

  uint32_t Finish() {
    Check();
    return crc_;
  }

 private:
  static constexpr size_t kRun = 8192;

  void Check() {
    crc_ = ExtendCrc32c(crc_, checked_, static_cast<size_t>(at_ - checked_));
    checked_ = at_;
  }

  std::byte* at_;
  std::byte* checked_;
  uint32_t crc_;
};

}  // namespace

template <typename WriteRecords>
uint64_t Appender::AppendBatchFrame(uint64_t payload_size, uint32_t count, const WriteRecords& write_records) {
  const uint64_t length = kFrameHeaderSize + payload_size;
  Claim claim;
  if (!ClaimPlace(length, count, &claim)) return 0;

  const OpenFrame frame = Begin(claim, length, 0, kFlagBatch);
  std::byte* at = frame.at + kFrameHeaderSize;
  Store(at, count);
  BatchWriter writer(at + kBatchHeaderSize, Crc32cFrame(segment_->salt_checksum(), static_cast<uint32_t>(length),
                                                        frame.word1, frame.word2, &count, sizeof count));
  write_records(writer);
  return Finish(frame, writer.Finish());
}

namespace {

uint64_t PayloadSize(std::span<const RecordView> records) {
  uint64_t size = kBatchHeaderSize;
  for (const RecordView& record : records) size += BatchRecordSize(record.data.size(), record.key);
  return size;
}

uint64_t PayloadSize(const PackedRecords& records) {
  return kBatchHeaderSize + (records.offsets.size() - 1) * BatchRecordSize(0, records.key) +
         (records.offsets.back() - records.offsets.front());
}

ByteView PackedData(const PackedRecords& records, size_t i) {
  const uint32_t begin = records.offsets[i];
  return records.buffer.subspan(begin, records.offsets[i + 1] - begin);
}

Status TooLarge(uint64_t frame_size, uint64_t max_frame_size) {
  return Status(ErrorCode::kRecordTooLarge,
                "a frame of " + std::to_string(frame_size) +
                    " bytes (headers included) does not fit into a segment; the limit of this log is " +
                    std::to_string(max_frame_size) + " bytes, its segmentSize less " +
                    std::to_string(kSegmentHeaderSize));
}

// Makes room for the payload and writes its count.
Status BeginPayload(uint64_t size, size_t count, uint64_t max_frame_size, std::vector<std::byte>* payload) {
  if (kFrameHeaderSize + size > max_frame_size) return TooLarge(kFrameHeaderSize + size, max_frame_size);
  payload->resize(size);
  Store(payload->data(), static_cast<uint32_t>(count));
  return Status::Ok();
}

}  // namespace

Status PackBatch(std::span<const RecordView> records, uint64_t max_frame_size, std::vector<std::byte>* payload) {
  SEGWAL_TRY(BeginPayload(PayloadSize(records), records.size(), max_frame_size, payload));
  std::byte* at = payload->data() + kBatchHeaderSize;
  for (const RecordView& record : records) at = StoreBatchRecord(at, record.data, record.key, record.kind);
  return Status::Ok();
}

Status PackBatch(const PackedRecords& records, uint64_t max_frame_size, std::vector<std::byte>* payload) {
  const size_t count = records.offsets.size() - 1;
  SEGWAL_TRY(BeginPayload(PayloadSize(records), count, max_frame_size, payload));
  std::byte* at = payload->data() + kBatchHeaderSize;
  for (size_t i = 0; i < count; ++i) at = StoreBatchRecord(at, PackedData(records, i), records.key, records.kind);
  return Status::Ok();
}

bool CompressionPays(uint32_t count, uint64_t plain_size, uint64_t compressed_size) {
  // By at least a sixteenth: whoever reads has to decompress.
  return compressed_size != 0 && CompressedPayloadSize(count, compressed_size) + plain_size / 16 < plain_size;
}

uint64_t Appender::AppendCompressed(uint8_t codec, uint32_t count, uint32_t plain_size, ByteView compressed) {
  const uint64_t payload_size = CompressedPayloadSize(count, compressed.size());
  const uint64_t length = kFrameHeaderSize + payload_size;
  Claim claim;
  if (!ClaimPlace(length, count, &claim)) return 0;
  const OpenFrame frame = Begin(claim, length, 0, static_cast<uint8_t>(kFlagBatch | codec << kCodecShift));
  std::byte* at = frame.at + kFrameHeaderSize;
  const std::byte* end = at + payload_size;
  const std::array<uint32_t, 3> sizes = {count, plain_size, static_cast<uint32_t>(compressed.size())};
  static_assert(sizeof sizes == kCompressedHeaderSize);
  std::memcpy(at, sizes.data(), sizeof sizes);
  uint32_t crc = Crc32cFrame(segment_->salt_checksum(), static_cast<uint32_t>(length), frame.word1, frame.word2,
                             sizes.data(), sizeof sizes);
  at += kCompressedHeaderSize;
  crc = CopyAndCrc32c(crc, at, compressed.data(), compressed.size());
  at += compressed.size();
  static constexpr std::array<std::byte, 4096> kZeros{};
  while (at != end) {
    const size_t size = std::min(kZeros.size(), static_cast<size_t>(end - at));
    crc = CopyAndCrc32c(crc, at, kZeros.data(), size);
    at += size;
  }
  return Finish(frame, crc);
}

uint64_t Appender::AppendBatch(std::span<const RecordView> records) {
  return AppendBatchFrame(PayloadSize(records), static_cast<uint32_t>(records.size()), [records](BatchWriter& writer) {
    for (const RecordView& record : records) writer.Write(record.data, record.key, record.kind);
  });
}

uint64_t Appender::AppendPacked(const PackedRecords& records) {
  const size_t count = records.offsets.size() - 1;
  return AppendBatchFrame(PayloadSize(records), static_cast<uint32_t>(count), [&records, count](BatchWriter& writer) {
    for (size_t i = 0; i < count; ++i) writer.Write(PackedData(records, i), records.key, records.kind);
  });
}

void Appender::LetGoOfSealed() {
  std::shared_ptr<Segment> sealed;  // destroyed outside the lock
  const std::lock_guard lock(state_.mutex);
  sealed = std::exchange(segment_, state_.current);
}

bool Appender::ClaimSlowly(uint64_t frame_size, uint32_t count, Claim* claim) {
  const uint64_t padded = AlignUp(frame_size, kFrameAlignment);
  if (frame_size > state_.max_frame_size) {
    failure_ = TooLarge(frame_size, state_.max_frame_size);
    return false;
  }
  uint64_t limit = 0;
  do {
    failure_ = Attend(padded, &limit);
    if (!failure_.ok()) return false;
  } while (!TryClaim(*segment_, padded, count, limit, claim));
  return true;
}

Status Appender::Attend(uint64_t padded, uint64_t* limit) {
  std::unique_lock lock(state_.mutex);
  state_.CheckMemory();
  if (!state_.fatal.ok()) return state_.fatal;
  uint64_t end = 0;
  while (true) {
    SEGWAL_TRY(WaitForTruncation(lock));
    segment_ = state_.current;
    end = PointerOffset(segment_->pointer().load(std::memory_order_relaxed)) + padded;
    if (end <= segment_->size()) break;
    const std::shared_ptr<Segment> full = segment_;
    SEGWAL_TRY(WaitForSpare(lock, full.get()));
    if (state_.current == full && !state_.truncating) RotateLocked(state_);
  }
  Segment& segment = *segment_;
  SEGWAL_TRY(CheckDirty(end, padded));
  if (end > segment.window_end) SEGWAL_TRY(WaitForWindow(lock, segment, end));
  if (!segment.low_water_passed && end + WriterState::LowWater(segment) > segment.window_end) {
    segment.low_water_passed = true;
    state_.PublishLimit(segment);
    state_.window_wake.notify_one();
  }
  // Not what the segment's own word says: that stays 0 while somebody sleeps, until this frame is committed.
  *limit = std::max(state_.ClaimLimit(segment), end);
  return Status::Ok();
}

// A frame that is alone in waiting for the disk is taken however large it is, or it could never be appended.
Status Appender::CheckDirty(uint64_t end, uint64_t padded) {
  if (end <= state_.DirtyLimit(*segment_)) return Status::Ok();
  const uint64_t dirty = state_.DirtyBytes(*segment_, end - padded);
  if (dirty == 0) return Status::Ok();
  state_.RequestDurable(WriterState::kUnknownSequence);
  state_.syncer_wake.notify_one();
  return Status(ErrorCode::kBackpressure,
                std::to_string(dirty) + " bytes are not durable yet, and maxDirtyBytes is " +
                    std::to_string(state_.max_dirty_bytes) +
                    "; nothing was written, try the append again when the disk has caught up");
}

namespace {

// Counts one wait of a writer, and how long it took.
class StallTimer {
 public:
  explicit StallTimer(WriterState& state) : state_(state), begin_(state.platform.Monotonic()) {
    state.writer_stalls.fetch_add(1, std::memory_order_relaxed);
  }
  ~StallTimer() { state_.writer_stall_ns.fetch_add(state_.platform.Monotonic() - begin_, std::memory_order_relaxed); }
  StallTimer(const StallTimer&) = delete;
  StallTimer& operator=(const StallTimer&) = delete;

 private:
  WriterState& state_;
  uint64_t begin_;
};

Status WaitedTooLong(const char* what, std::chrono::milliseconds limit) {
  return Status(ErrorCode::kBackpressure, std::string("the disk did not supply ") + what + " within " +
                                              std::to_string(limit.count()) +
                                              " ms; nothing was written, the append may be tried again");
}

}  // namespace

Status Appender::WaitForTruncation(std::unique_lock<std::mutex>& lock) {
  if (!state_.truncating) return Status::Ok();
  const auto wait_limit = patient_ ? kWaitLimit : std::chrono::milliseconds(0);
  const StallTimer timer(state_);
  const auto settled = [&] { return !state_.truncating || !state_.fatal.ok(); };
  if (!state_.writer_wake.wait_for(lock, wait_limit, settled))
    return WaitedTooLong("the new end of the log", wait_limit);
  return state_.fatal;
}

Status Appender::WaitForSpare(std::unique_lock<std::mutex>& lock, const Segment* full) {
  const auto settled = [&] {
    return state_.spare || !state_.spare_failure.ok() || !state_.fatal.ok() || state_.current.get() != full;
  };
  if (!settled()) {
    if (!patient_) return WaitedTooLong("a new segment", {});
    const StallTimer timer(state_);
    if (!state_.writer_wake.wait_for(lock, kWaitLimit, settled)) return WaitedTooLong("a new segment", kWaitLimit);
  }
  if (!state_.fatal.ok()) return state_.fatal;
  if (state_.current.get() != full || state_.spare) return Status::Ok();
  return Status(state_.spare_failure).WithContext("no new segment");
}

Status Appender::WaitForWindow(std::unique_lock<std::mutex>& lock, Segment& segment, uint64_t end) {
  segment.wanted_end = std::max(segment.wanted_end, end);
  state_.window_wake.notify_one();
  const auto settled = [&] {
    return segment.window_end >= end || !state_.fatal.ok() || state_.current.get() != &segment;
  };
  if (!patient_) return WaitedTooLong("memory of the active segment", {});
  const StallTimer timer(state_);
  if (!state_.writer_wake.wait_for(lock, kWaitLimit, settled)) {
    return WaitedTooLong("memory of the active segment", kWaitLimit);
  }
  return state_.fatal;
}

uint64_t Appender::FinishSlowly(uint64_t sequence) {
  const std::lock_guard lock(state_.mutex);
  if (Status lost = segment_->CheckMemory(); !lost.ok()) {
    state_.Poison(lost);
    failure_ = state_.fatal;
    return 0;
  }
  state_.WakeSleepers();
  return sequence;
}

void RotateLocked(WriterState& state) {
  const std::shared_ptr<Segment> full = state.current;
  // From here on no claim succeeds in it: TryClaim refuses a sealed word, and its compare-and-swap fails on a changed
  // one.
  const uint64_t word = full->pointer().fetch_or(kSealedBit, std::memory_order_seq_cst);
  // A count that was lost must not become the base of the next segment.
  if (Status lost = full->CheckMemory(); !lost.ok()) return state.Poison(lost);
  const std::shared_ptr<Segment> fresh = std::move(state.spare);
  state.spare = nullptr;
  const uint64_t base = full->base_sequence() + PointerCount(word);
  fresh->Activate(base, state.platform.Now(), state.boot, state.pid);
  fresh->byte_base = full->byte_base + static_cast<int64_t>(PointerOffset(word) - kSegmentHeaderSize);
  state.PublishLimit(*fresh);
  full->next = fresh;
  state.current = fresh;
  // For good. Should the log be truncated back to it, another object takes it up, and who still has this one looks.
  full->SetLimit(Segment::kAttentionLimit);
  state.catalog.AddLive(fresh);
  state.rotations.fetch_add(1, std::memory_order_relaxed);
  state.spare_wake.notify_one();   // for the next spare
  state.syncer_wake.notify_one();  // it seals the full one
}

}  // namespace segwal
