#include "core/verify.h"

#include <algorithm>
#include <thread>

#include "core/recovery.h"

namespace segwal {
namespace {

// One segment, read by one thread.
class SegmentVerifier {
 public:
  SegmentVerifier(const SegmentView& view, const Catalog::Entry& entry, uint64_t last, uint64_t durable,
                  const VerifyOptions& options, VerifyReport* report)
      : view_(view),
        // Compaction may have put another file in the place of the one that the entry speaks of.
        seal_(view.identity.salt == entry.identity.salt ? entry.seal : view.seal),
        last_(last),
        durable_(durable),
        options_(options),
        report_(*report) {}

  // False when it was cancelled.
  bool Run() {
    while (base() + index_ <= last_) {
      if (!StepOverFrames() && !StepOverDamage()) return true;
      if (Cancelled()) return false;
    }
    if (seal_ && (seal_->end_offset != offset_ || seal_->record_count != index_)) {
      Complain(offset_, view_.end > offset_ ? view_.end - offset_ : 0, base() + index_, base() + index_,
               "the seal does not agree with the frames");
    }
    return !Cancelled();
  }

 private:
  static constexpr uint64_t kStride = uint64_t{1} << 20;  // bytes between two looks at whether to go on

  uint64_t base() const { return view_.identity.base_sequence; }
  bool Cancelled() const { return options_.cancelled && options_.cancelled(); }

  // Over a stride of frames that are as they should be. False when it has met one that is not. In variables of its own:
  // what is stored through a pointer the compiler has to take for something that frames may lie in.
  bool StepOverFrames() {
    const std::byte* const data = view_.data;
    const uint64_t end = view_.end;
    const uint32_t salt_checksum = view_.salt_checksum;
    const bool compacted = view_.identity.compacted();
    const uint64_t first = base();
    const uint64_t last = last_;
    const uint64_t until = offset_ + kStride;
    uint64_t offset = offset_;
    uint32_t index = index_;
    uint64_t records = 0;
    bool valid = true;
    Frame frame;
    while (offset < until && first + index <= last) {
      valid = CheckFrame(data, offset, end, index, salt_checksum, &frame) == FrameState::kValid;
      if (!valid) break;
      FetchFramesAhead(frame.payload);
      if (frame.filler() && !frame.removed()) {
        Find("filler", offset, frame.padded_length(), first + index, first + index + frame.count - 1,
             "given up by a recovery: these sequence numbers have no record");
      } else {
        records += frame.count - (compacted ? RemovedRecords(frame) : 0);
      }
      offset += frame.padded_length();
      index += frame.count;
    }
    if (options_.progress != nullptr) {
      options_.progress->records.fetch_add(records, std::memory_order_relaxed);
      options_.progress->bytes.fetch_add(offset - offset_, std::memory_order_relaxed);
    }
    report_.records += records;
    report_.bytes += offset - offset_;
    offset_ = offset;
    index_ = index;
    return valid;
  }

  void Find(const char* rule, uint64_t offset, uint64_t bytes, uint64_t first, uint64_t last, const std::string& what) {
    report_.findings.push_back({.rule = rule,
                                .segment = view_.identity.segment_id,
                                .offset = offset,
                                .bytes = bytes,
                                .first_sequence = first,
                                .last_sequence = last,
                                .durable = first <= durable_,
                                .action = what});
  }

  void Complain(uint64_t offset, uint64_t bytes, uint64_t first, uint64_t last, const std::string& what) {
    report_.ok = false;
    Find("D", offset, bytes, first, last,
         what + (first <= durable_ ? "; it had been made durable" : "; it had not been made durable"));
  }

  // Complains, and goes on with the next frame that can be read. False when there is none.
  bool StepOverDamage() {
    const FrameRun* next = nullptr;
    // A segment that is still written has frames behind the damage that are not ours to look at.
    if (seal_) {
      if (!scan_) scan_ = ScanSegment(view_.data, view_.end, view_.identity, false);
      const auto behind = std::ranges::find_if(
          scan_->runs, [this](const FrameRun& run) { return run.offset > offset_ && run.index > index_; });
      if (behind != scan_->runs.end()) next = &*behind;
    }
    const uint64_t end = next != nullptr ? next->offset : view_.end;
    const uint64_t until = next != nullptr ? base() + next->index - 1 : std::max(base() + index_, last_);
    Complain(offset_, end > offset_ ? end - offset_ : 0, base() + index_, until,
             next != nullptr ? "a frame is damaged"
                             : "a frame is damaged, and no other can be read behind it in this segment");
    if (next == nullptr) return false;
    offset_ = next->offset;
    index_ = next->index;
    return true;
  }

  const SegmentView& view_;
  const std::optional<Seal> seal_;
  const uint64_t last_;
  const uint64_t durable_;
  const VerifyOptions& options_;
  VerifyReport& report_;
  std::optional<SegmentScan> scan_;
  uint64_t offset_ = kSegmentHeaderSize;
  uint32_t index_ = 0;
};

// Threads: any number take segments from it, each the next that nobody has taken.
class Verification {
 public:
  Verification(Catalog& catalog, uint64_t last_sequence, uint64_t durable, const VerifyOptions& options)
      : catalog_(catalog),
        entries_(catalog.Entries()),
        last_sequence_(last_sequence),
        durable_(durable),
        options_(options),
        reports_(entries_.size()) {}

  Status Run(VerifyReport* report) {
    if (options_.progress != nullptr) options_.progress->total_bytes.store(TotalBytes(), std::memory_order_relaxed);
    const size_t cores = std::max(1u, std::thread::hardware_concurrency());
    const size_t wanted = options_.concurrency == 0 ? cores : options_.concurrency;
    std::vector<std::thread> others;
    for (size_t i = 1; i < std::min(wanted, entries_.size()); ++i) others.emplace_back([this] { Work(); });
    Work();
    for (std::thread& thread : others) thread.join();
    for (VerifyReport& part : reports_) {
      report->ok = report->ok && part.ok;
      report->segments += part.segments;
      report->records += part.records;
      report->bytes += part.bytes;
      std::ranges::move(part.findings, std::back_inserter(report->findings));
    }
    return cancelled_ ? Status(ErrorCode::kAborted, "verification was cancelled") : Status::Ok();
  }

 private:
  uint64_t TotalBytes() const {
    uint64_t total = 0;
    for (const Catalog::Entry& entry : entries_) {
      // What a segment without a seal holds is not known before it has been read.
      if (entry.seal) total += entry.seal->end_offset - kSegmentHeaderSize;
    }
    return total;
  }

  void Work() {
    while (!cancelled_) {
      // Relaxed: the numbers tell the threads apart, and joining them orders everything else.
      const size_t at = next_.fetch_add(1, std::memory_order_relaxed);
      if (at >= entries_.size()) return;
      if ((options_.cancelled && options_.cancelled()) || !VerifyEntry(entries_[at], &reports_[at])) cancelled_ = true;
    }
  }

  bool VerifyEntry(const Catalog::Entry& entry, VerifyReport* report) {
    std::shared_ptr<const SegmentView> view;
    Status status = catalog_.View(entry.id(), &view);
    if (status.code() == ErrorCode::kTruncated) return true;  // removed on purpose since we began
    ++report->segments;
    const uint64_t last = std::min(last_sequence_, catalog_.LastSequenceOf(entry.id()));
    const auto complain = [&](uint64_t offset, const Status& what) {
      report->ok = false;
      report->findings.push_back({.rule = "D",
                                  .segment = entry.id(),
                                  .offset = offset,
                                  .first_sequence = entry.base_sequence(),
                                  .last_sequence = last,
                                  .durable = entry.base_sequence() <= durable_,
                                  .action = what.message()});
    };
    if (!status.ok()) {
      complain(status.location().offset, status);
      return true;
    }
    const bool went_on = SegmentVerifier(*view, entry, last, durable_, options_, report).Run();
    status = CheckMemory(*view->failure, entry.id());
    if (!status.ok()) complain(kSegmentHeaderSize, status);
    return went_on;
  }

  Catalog& catalog_;
  const std::vector<Catalog::Entry> entries_;
  const uint64_t last_sequence_;
  const uint64_t durable_;
  const VerifyOptions& options_;
  std::vector<VerifyReport> reports_;  // beside entries_; each is one thread's at a time
  std::atomic<size_t> next_{0};
  std::atomic<bool> cancelled_{false};
};

}  // namespace

Status VerifyCatalog(Platform& platform, Catalog& catalog, uint64_t last_sequence, uint64_t durable,
                     const VerifyOptions& options, VerifyReport* report) {
  const uint64_t started = platform.Monotonic();
  Status status = Verification(catalog, last_sequence, durable, options).Run(report);
  report->duration_ms = static_cast<double>(platform.Monotonic() - started) / 1e6;
  return status;
}

}  // namespace segwal
