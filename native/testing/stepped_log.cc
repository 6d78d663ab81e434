#include "testing/stepped_log.h"

#include <algorithm>
#include <array>

namespace segwal {
namespace {

uint64_t FrameSize(const std::vector<RecordView>& records, bool batch) {
  uint64_t size = kFrameHeaderSize + (batch ? kBatchHeaderSize : 0);
  for (const RecordView& record : records) {
    size += record.data.size() + (batch ? kBatchRecordHeaderSize : 0);
    if (record.key) size += record.key->size() + (batch ? 0 : kKeyLengthSize);
  }
  return size;
}

std::shared_ptr<Reclaimer> Stopped() {
  static const std::shared_ptr<Reclaimer> kReclaimer = [] {
    std::shared_ptr<Reclaimer> reclaimer = Reclaimer::Start();
    reclaimer->Stop();
    return reclaimer;
  }();
  return kReclaimer;
}

}  // namespace

const char* StepName(StoppedWriter::Step step) {
  constexpr std::array kNames{"claimed", "claim stored", "half copied", "copied", "checksum", "header", "committed"};
  return kNames[step];
}

Status SteppedLog::Open(Platform& platform, const std::string& directory, const LogOptions& options) {
  auto log = std::make_unique<WritableLog>(platform, LogDirectory(platform, directory), options, Stopped());
  SEGWAL_TRY(log->OpenAndRecover());
  log_ = std::move(log);
  appender_ = log_->NewAppender();
  return Status::Ok();
}

uint64_t SteppedLog::Room() {
  WriterState& state = log_->parts().state;
  const std::lock_guard lock(state.mutex);
  return state.current->size() - PointerOffset(state.current->pointer().load());
}

bool SteppedLog::Poisoned() {
  WriterState& state = log_->parts().state;
  const std::lock_guard lock(state.mutex);
  return !state.fatal.ok();
}

uint64_t SteppedLog::Append(const std::vector<RecordView>& records, bool batch) {
  batch |= records.size() > 1;
  const uint64_t size = FrameSize(records, batch);
  const bool fits = AlignUp(size, kFrameAlignment) <= Room();
  if (!fits && !Poisoned() && size <= log_->max_frame_size()) SupplySpare();
  const uint64_t sequence = batch ? appender_->AppendBatch(records)
                            : !records[0].key && records[0].kind == 0
                                ? appender_->AppendPlain(records[0].data.data(), records[0].data.size())
                                : appender_->Append(records[0]);
  failure_ = sequence == 0 ? appender_->failure() : Status::Ok();
  return sequence;
}

uint64_t SteppedLog::AppendUntil(const std::vector<RecordView>& records, bool batch, StoppedWriter::Step step,
                                 uint64_t half, StoppedWriter* writer) {
  const uint64_t sequence = Append(records, batch);
  if (sequence == 0) return 0;
  WriterState& state = log_->parts().state;
  const std::lock_guard lock(state.mutex);
  // Nothing else has happened meanwhile: what the append stored is taken back as far as it must be.
  writer->segment = state.current;
  const uint64_t end = PointerOffset(state.current->pointer().load());
  const uint64_t length = FrameSize(records, batch || records.size() > 1);
  writer->offset = end - AlignUp(length, kFrameAlignment);
  std::byte* const at = writer->segment->data() + writer->offset;
  writer->frame.assign(at, at + length);
  writer->sequence = sequence;
  writer->count = records.size();
  writer->step = StoppedWriter::kClaimed;
  std::memset(at, 0, length);
  Continue(writer, step, half);
  return sequence;
}

void SteppedLog::Continue(StoppedWriter* writer, StoppedWriter::Step step, uint64_t half) {
  const std::vector<std::byte>& frame = writer->frame;
  std::byte* const at = writer->segment->data() + writer->offset;
  const auto length = static_cast<uint32_t>(frame.size());
  const uint64_t payload = frame.size() - kFrameHeaderSize;
  writer->step = std::max(writer->step, step);
  if (step >= StoppedWriter::kClaimStored && step < StoppedWriter::kCommitted) Store(at, length | kClaimBit);
  if (step >= StoppedWriter::kHalfCopied && payload != 0) {
    const uint64_t copied = step == StoppedWriter::kHalfCopied ? half % payload : payload;
    std::memcpy(at + kFrameHeaderSize, frame.data() + kFrameHeaderSize, copied);
  }
  if (step >= StoppedWriter::kChecksum) std::memcpy(at + 4, frame.data() + 4, 4);
  if (step >= StoppedWriter::kHeader) std::memcpy(at + 8, frame.data() + 8, 16);
  if (step >= StoppedWriter::kCommitted) AtomicAt<uint32_t>(at).store(length, std::memory_order_release);
}

Status SteppedLog::Rotate() {
  WriterState& state = log_->parts().state;
  if (!Poisoned()) SupplySpare();
  const std::lock_guard lock(state.mutex);
  if (!state.fatal.ok()) return state.fatal;
  if (PointerCount(state.current->pointer().load()) == 0) return Status::Ok();
  if (!state.spare) return state.spare_failure;
  RotateLocked(state);
  return Status::Ok();
}

Status SteppedLog::Close() {
  Status status = Poisoned() ? Status::Ok() : Sync();
  appender_.reset();
  const Status closed = log_->Close();
  log_.reset();
  return status.ok() ? closed : status;
}

void SteppedLog::Kill() {
  appender_.reset();
  if (log_) log_->Abandon();
  log_.reset();
}

}  // namespace segwal
