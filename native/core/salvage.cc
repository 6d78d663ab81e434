// What a salvage decides beyond the table: where strict recovery refuses (case D), it gives up what cannot be read,
// puts a filler in its place so that its sequence numbers are never used again, and goes on behind it.
#include <algorithm>
#include <map>

#include "core/recovery_decision.h"

namespace segwal {
namespace {

// A gap in the ids larger than this is not a lost segment, but a file that does not belong here.
constexpr uint64_t kMostMissing = 1000;

constexpr uint64_t kFillerSize = AlignUp(kFrameHeaderSize + kBatchHeaderSize, kFrameAlignment);

}  // namespace

Status RecoveryDecision::PrepareSalvage() {
  LogId log_id{};
  uint64_t segment_size = 0;
  SEGWAL_TRY(FindLogId(&log_id, &segment_size));
  for (Candidate& candidate : plan_.candidates) {
    std::string why;
    if (candidate.stand_in || Belongs(candidate, log_id, segment_size, &why)) continue;
    SEGWAL_TRY(RepairIdentity(log_id, segment_size, &candidate));
    plan_.salvaged = true;
    if (candidate.repaired) {
      Note("D", candidate.id, 0, kSectorSize, 0, 0, why + "; its checksum tells what it was: put right");
      continue;
    }
    candidate.stand_in = true;
    candidate.trouble = why;
    candidate.seal.reset();
  }
  SEGWAL_TRY(MoveFront());
  return FillGapsBetween();
}

// Which log this is: what wal.meta says, or else the segments.
Status RecoveryDecision::FindLogId(LogId* id, uint64_t* segment_size) const {
  std::map<LogId, std::pair<uint64_t, uint64_t>> logs;  // how many segments each has, and their size
  for (const Candidate& candidate : plan_.candidates) {
    if (candidate.state != SectorState::kValid || !directory_.JudgeIdentity(candidate.id, candidate).ok()) continue;
    auto& [count, size] = logs[candidate.identity.log_id];
    ++count;
    size = candidate.identity.segment_size;
  }
  if (meta_state_ == SectorState::kValid) {
    if (!logs.empty() && !logs.contains(plan_.meta.log_id)) {
      return Status::Corrupt(
          directory_.MetaPath() +
              " and the segments are of different logs. Put the right one in its place; without any, "
              "it is rebuilt from the segments",
          {});
    }
    *id = plan_.meta.log_id;
    *segment_size = plan_.meta.segment_size;
    return Status::Ok();
  }
  const auto fewer = [](const auto& one, const auto& other) { return one.second.first < other.second.first; };
  const auto most = std::ranges::max_element(logs, fewer);
  const auto as_many = [&](const auto& log) { return log.second.first == most->second.first; };
  if (logs.empty() || std::ranges::count_if(logs, as_many) != 1) {
    return Status::Corrupt(directory_.root() + ": " + directory_.MetaPath() +
                               " cannot be read, and the segments do not tell either which log this is",
                           {});
  }
  *id = most->first;
  *segment_size = most->second.second;
  return Status::Ok();
}

bool RecoveryDecision::Belongs(const Candidate& candidate, const LogId& log_id, uint64_t segment_size,
                               std::string* why) const {
  if (const Status status = CheckIdentity(candidate); !status.ok()) {
    *why = status.message();
    return false;
  }
  if (candidate.lost()) return true;
  const bool ours = candidate.identity.log_id == log_id && candidate.identity.segment_size == segment_size;
  if (!ours) *why = Damage(candidate, 0, 0, 0, "the file belongs to another log").message();
  return ours;
}

Status RecoveryDecision::RepairIdentity(const LogId& log_id, uint64_t segment_size, Candidate* candidate) const {
  alignas(8) std::array<std::byte, kSegmentHeaderSize> page{};
  SEGWAL_TRY(directory_.ReadFirstPage(candidate->id, &page));
  if (!segwal::RepairIdentity(page.data(), log_id, candidate->id, segment_size)) return Status::Ok();
  SegmentHeader header;
  if (LoadSegmentHeader(page.data(), &header) != SectorState::kValid) return Status::Ok();
  header.file_size = candidate->file_size;
  static_cast<SegmentHeader&>(*candidate) = header;
  candidate->repaired = true;
  return Status::Ok();
}

// The log begins with the first segment that can be read: what stood before it needs no filler, for numbers before the
// first are never used again either.
Status RecoveryDecision::MoveFront() {
  const bool known = meta_state_ == SectorState::kValid;
  std::vector<Candidate>& all = plan_.candidates;
  const auto kept = std::ranges::find_if(
      all, [&](const Candidate& candidate) { return !known || candidate.id >= plan_.meta.first_segment; });
  const auto first = std::find_if(kept, all.end(),
                                  [](const Candidate& candidate) { return !candidate.stand_in && !candidate.lost(); });
  if (first == all.end()) {
    return Status::Corrupt(
        directory_.SegmentsPath() +
            " holds no segment of the log that can be read: there is nothing "
            "that a salvage could go on from. Move the directory away, and begin a new log",
        {.segment = known ? plan_.meta.first_segment : 0, .first_sequence = known ? plan_.meta.first_sequence : 0});
  }
  const uint64_t due = known ? plan_.meta.first_sequence : 0;
  if (first == kept && (!known || first->id == plan_.meta.first_segment)) return Status::Ok();
  if (known && first->base() < due) {
    return Damage(
        *first, 0, first->base(), due - 1,
        "it begins with record " + std::to_string(first->base()) + ", but the log with " + std::to_string(due));
  }
  for (auto each = kept; each != first; ++each) {
    if (each->file_size != 0) plan_.quarantine.push_back({each->id, "Salvage could not read it: " + each->trouble});
  }
  const bool some = known && first->base() > due;
  Note("D", first->id, 0, 0, some ? due : 0, some ? first->base() - 1 : 0,
       "the segments before this one are missing or cannot be read: the log begins here now");
  plan_.report.findings.back().durable = true;  // a segment is followed by another one only when it is durable
  plan_.meta.first_segment = first->id;
  plan_.meta.first_sequence = first->base();
  plan_.write_meta = true;
  plan_.salvaged = true;
  all.erase(kept, first);
  return Status::Ok();
}

Status RecoveryDecision::FillGapsBetween() {
  std::vector<Candidate> all;
  for (Candidate& candidate : plan_.candidates) {
    const bool counts = meta_state_ != SectorState::kValid || candidate.id >= plan_.meta.first_segment;
    if (counts && !all.empty() && all.back().id >= plan_.meta.first_segment) {
      if (candidate.id - all.back().id > kMostMissing) {
        return Damage(candidate, 0, 0, 0,
                      "more than " + std::to_string(kMostMissing) + " segments are missing before it");
      }
      while (all.back().id + 1 < candidate.id) {
        Candidate missing;
        missing.id = all.back().id + 1;
        missing.stand_in = true;
        missing.trouble = "segment " + std::to_string(missing.id) + " is missing";
        all.push_back(std::move(missing));
      }
    }
    all.push_back(std::move(candidate));
  }
  plan_.candidates = std::move(all);
  return Status::Ok();
}

bool RecoveryDecision::SealHolds(const Candidate& candidate, const SegmentScan& scan) const {
  const Seal& seal = *candidate.seal;
  if (candidate.file_size < seal.end_offset) return false;
  if (seal.record_count == 0) return scan.runs.empty() && seal.end_offset == kSegmentHeaderSize;
  return scan.runs.size() == 1 && scan.runs[0].offset == kSegmentHeaderSize && scan.runs[0].index == 0 &&
         scan.runs[0].end == seal.end_offset && scan.runs[0].end_index == seal.record_count;
}

Status RecoveryDecision::EstimateCount(const Candidate& candidate, uint64_t offset, uint64_t* count) const {
  const uint64_t whole = plan_.meta.segment_size;
  const bool foreign = candidate.state == SectorState::kValid && candidate.stand_in;
  // What the file that should be here had, nobody knows.
  if (foreign || candidate.file_size < whole) {
    const uint64_t from = foreign ? offset : std::clamp(candidate.file_size, offset, whole);
    *count += (whole - std::min(from, whole)) / kBatchRecordHeaderSize;
  }
  if (foreign || candidate.file_size <= offset) return Status::Ok();
  std::unique_ptr<File> file;
  SEGWAL_TRY(platform_.Open(directory_.SegmentPath(candidate.id), OpenMode::kRead, &file));
  std::unique_ptr<Mapping> mapping;
  SEGWAL_TRY(platform_.Map(std::move(file), candidate.file_size, false, &mapping));
  const std::byte* data = mapping->data();
  Frame frame;
  while (PeekFrame(data, offset, mapping->size(), &frame) == FrameState::kValid && frame.count != 0) {
    const bool dense = !frame.filler() && !candidate.identity.compacted();
    if (dense && frame.count > frame.length / kBatchRecordHeaderSize) break;
    offset += frame.padded_length();
    *count += frame.count;
  }
  // Not even lengths to go by: a record takes at least as much as its header in a batch.
  const uint64_t used = FindNonZeroEnd(data, std::min<uint64_t>(offset, mapping->size()), mapping->size());
  if (used > offset) *count += (used - offset) / kBatchRecordHeaderSize + 1;
  *count = std::min(*count, kMaxSequenceCount);
  return Status::Ok();
}

Status RecoveryDecision::DecideStandIn(size_t at, uint64_t expected) {
  Candidate& segment = plan_.candidates[at];
  const auto next = std::find_if(plan_.candidates.begin() + static_cast<std::ptrdiff_t>(at), plan_.candidates.end(),
                                 [](const Candidate& candidate) { return !candidate.stand_in && !candidate.lost(); });
  uint64_t count = 0;
  if (next != plan_.candidates.end()) {
    if (next->base() < expected) {
      return Damage(*next, 0, next->base(), expected - 1,
                    "it begins with record " + std::to_string(next->base()) + ", but record " +
                        std::to_string(expected) + " is due");
    }
    count = next->base() - expected;
  } else if (at == 0 || !plan_.candidates[at - 1].stand_in) {  // or that one stands for all of them
    const Candidate& before = plan_.candidates[at - 1];
    if (!before.settled()) SEGWAL_TRY(EstimateCount(before, plan_.ends.back(), &count));
    for (size_t i = at; i < plan_.candidates.size(); ++i) {
      SEGWAL_TRY(EstimateCount(plan_.candidates[i], kSegmentHeaderSize, &count));
    }
    if (plan_.proof >= expected) count = std::max(count, plan_.proof + 1 - expected);
  }
  if (count > kMaxSequenceCount) {
    return Damage(segment, 0, expected, expected + count - 1, "more records are missing than a segment can stand for");
  }
  segment.identity = {.log_id = plan_.meta.log_id,
                      .segment_id = segment.id,
                      .base_sequence = expected,
                      .segment_size = plan_.meta.segment_size,
                      .created_us = platform_.Now()};
  plan_.ends.push_back(kSegmentHeaderSize + (count == 0 ? 0 : kFillerSize));
  plan_.counts.push_back(count);
  plan_.salvaged = true;
  Note("D", segment.id, 0, segment.file_size, count == 0 ? 0 : expected, count == 0 ? 0 : expected + count - 1,
       segment.trouble + ": given up, a segment without records takes its place");
  plan_.report.findings.back().durable = count != 0 && expected <= plan_.proof;
  return Status::Ok();
}

void RecoveryDecision::AppendStandIn(uint64_t first) {
  Candidate candidate;
  candidate.id = plan_.candidates.back().id + 1;
  candidate.stand_in = true;
  candidate.trouble = Range(first, plan_.proof) + " had been made durable and cannot be found";
  plan_.candidates.push_back(std::move(candidate));
  plan_.scanned.emplace_back();
}

// How many sequence numbers the frames had that are lost at the end of the log: exactly, when something tells, and
// otherwise rather too many than one that is then used a second time.
Status RecoveryDecision::CountLostAtEnd(const Candidate& segment, const Gap& gap, uint64_t* count) const {
  const uint64_t proven = plan_.proof >= gap.due ? plan_.proof + 1 - gap.due : 1;
  if (segment.orderly_end != 0 && segment.mark == plan_.proof) {
    *count = proven;
    return Status::Ok();
  }
  // In the same boot the pointer is exact, unless it is what was damaged.
  const uint64_t end = PointerOffset(segment.live.pointer);
  const uint64_t claimed = PointerCount(segment.live.pointer);
  const bool sane = end <= segment.identity.segment_size && end > gap.offset && claimed >= gap.index + proven &&
                    claimed - gap.index <= (end - gap.offset) / kBatchRecordHeaderSize;
  if (boot_ != BootId{} && segment.live.boot == boot_ && sane) {
    *count = claimed - gap.index;
    return Status::Ok();
  }
  SEGWAL_TRY(EstimateCount(segment, gap.offset, count));
  // Less than is proven: bytes of frames are gone without a trace.
  const uint64_t room = (segment.identity.segment_size - std::min(gap.offset, segment.identity.segment_size));
  if (*count < proven) *count = std::max(proven, room / kBatchRecordHeaderSize);
  return Status::Ok();
}

Status RecoveryDecision::GiveUp(Gap* gap, const std::string& what, bool* room) {
  const Candidate& segment = plan_.candidates[gap->segment];
  const Mapping& mapping = *plan_.scanned[gap->segment].mapping;
  const uint64_t limit = gap->until != 0 ? gap->until : mapping.size();
  const uint64_t used = FindNonZeroEnd(mapping.data(), std::min(gap->offset, limit), limit);
  uint64_t resumes = gap->resumes;
  if (resumes == 0) {
    uint64_t count = 0;
    SEGWAL_TRY(CountLostAtEnd(segment, *gap, &count));
    resumes = gap->due + count;
  }
  if (resumes <= gap->due) {
    return Damage(segment, gap->offset, gap->due, gap->due,
                  "the records behind a gap do not follow from those before it");
  }
  const uint64_t count = resumes - gap->due;
  const uint64_t least = count == 1 ? kFrameHeaderSize : kFillerSize;
  uint64_t end = gap->until;
  if (end == 0) end = std::max(AlignUp(used, kFrameAlignment), gap->offset + least);
  *room = end >= gap->offset + least && end <= segment.identity.segment_size && gap->index + count <= kMaxSequenceCount;
  if (!*room) {
    if (gap->resumes == 0) return Status::Ok();
    return Damage(segment, gap->offset, gap->due, resumes - 1,
                  what + ", and there is no room for what would stand for it");
  }
  if (used > gap->offset) plan_.pieces.push_back({gap->segment, gap->offset, used, what});
  plan_.fillers.push_back(
      {gap->segment, gap->offset, static_cast<uint32_t>(end - gap->offset), gap->index, static_cast<uint32_t>(count)});
  Note("D", segment.id, gap->offset, end - gap->offset, gap->due, resumes - 1,
       what + ": given up, a filler takes its place");
  plan_.report.findings.back().durable = gap->due <= plan_.proof;
  plan_.salvaged = true;
  gap->offset = end;
  gap->index += static_cast<uint32_t>(count);
  return Status::Ok();
}

}  // namespace segwal
