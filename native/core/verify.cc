#include "core/verify.h"

#include <algorithm>

namespace segwal {
namespace {

// Reads the frames of one segment that hold sequences up to `last`. Adds a finding at the first that cannot be read.
void VerifySegment(const SegmentView& view, const std::optional<Seal>& seal, uint64_t last, uint64_t durable,
                   VerifyReport* report) {
  const uint64_t base = view.identity.base_sequence;
  const auto complain = [&](uint64_t offset, uint64_t first, const std::string& what) {
    report->ok = false;
    report->findings.push_back(
        {"D", view.identity.segment_id, offset, view.end > offset ? view.end - offset : 0, first, std::max(first, last),
         what + (first <= durable ? "; it had been made durable" : "; it had not been made durable")});
  };
  uint64_t offset = kSegmentHeaderSize;
  uint32_t index = 0;
  while (base + index <= last) {
    Frame frame;
    if (CheckFrame(view.data, offset, view.end, index, view.salt_checksum, &frame) != FrameState::kValid) {
      complain(offset, base + index, "a frame is damaged, and nothing behind it in this segment can be relied on");
      return;
    }
    offset += frame.padded_length();
    index += frame.count;
    if (!frame.filler()) report->records += frame.count;
  }
  report->bytes += offset - kSegmentHeaderSize;
  if (seal && (seal->end_offset != offset || seal->record_count != index)) {
    complain(offset, base + index, "the seal does not agree with the frames");
  }
}

}  // namespace

Status VerifyCatalog(Platform& platform, Catalog& catalog, uint64_t last_sequence, uint64_t durable,
                     const std::function<bool()>& cancelled, VerifyReport* report) {
  const uint64_t started = platform.Monotonic();
  for (const Catalog::Entry& entry : catalog.Entries()) {
    if (cancelled()) return Status(ErrorCode::kAborted, "verification was cancelled");
    std::shared_ptr<const SegmentView> view;
    Status status = catalog.View(entry.id(), &view);
    if (status.code() == ErrorCode::kTruncated) continue;  // removed on purpose since we began
    ++report->segments;
    if (!status.ok()) {
      report->ok = false;
      report->findings.push_back({"D", entry.id(), status.location().offset, 0, entry.base_sequence(),
                                  catalog.LastSequenceOf(entry.id()), status.message()});
      continue;
    }
    const uint64_t last = std::min(last_sequence, catalog.LastSequenceOf(entry.id()));
    VerifySegment(*view, entry.seal, last, durable, report);
    if (view->failure->Happened()) {
      report->ok = false;
      report->findings.push_back(
          {"D", entry.id(), kSegmentHeaderSize, 0, entry.base_sequence(), last, MemoryFailed(entry.id()).message()});
    }
  }
  report->duration_ms = static_cast<double>(platform.Monotonic() - started) / 1e6;
  return Status::Ok();
}

}  // namespace segwal
