#include "core/recovery.h"

#include <algorithm>
#include <thread>

#include "core/checkpoints.h"
#include "core/recovery_decision.h"
#include "core/segment.h"

namespace segwal {
namespace {

// Whether the first run of valid frames is all that was ever written to the segment: the log was closed in order just
// there, or the write pointer, which is exact as long as the machine has not been restarted, stands just there. Then
// neither frames nor leavings of any can be behind it, and the rest of the file need not be read.
bool NothingBehind(const Candidate& candidate, const SegmentScan& scan, const BootId& boot) {
  const uint64_t end = scan.runs.empty() ? kSegmentHeaderSize : scan.runs[0].end;
  const uint64_t count = scan.runs.empty() ? 0 : scan.runs[0].end_index;
  if (!scan.runs.empty() && (scan.runs[0].offset != kSegmentHeaderSize || scan.runs[0].index != 0)) return false;
  if (candidate.orderly_end == end) return true;
  return boot != BootId{} && candidate.live.boot == boot && PointerOffset(candidate.live.pointer) == end &&
         PointerCount(candidate.live.pointer) == count;
}

bool HasFrameFrom(const SegmentScan& scan, uint64_t offset) {
  return !scan.runs.empty() && scan.runs.back().offset >= offset;
}

}  // namespace

Status RecoveryDecision::Run() {
  SEGWAL_TRY(LoadFiles());
  if (plan_.candidates.empty() && meta_state_ == SectorState::kAbsent) return PrepareNewLog();
  if (options_.salvage) SEGWAL_TRY(PrepareSalvage());
  SEGWAL_TRY(CheckSegments());
  SEGWAL_TRY(LoadCheckpoints());
  SEGWAL_TRY(ScanUnsealed());
  SEGWAL_TRY(Decide());
  for (size_t i = 0; i < plan_.scanned.size(); ++i) {
    if (plan_.scanned[i].mapping) SEGWAL_TRY(CheckMemory(*plan_.scanned[i].mapping->failure(), plan_.candidates[i].id));
  }
  return Status::Ok();
}

Status RecoveryDecision::LoadFiles() {
  std::vector<LogDirectory::SegmentFile> files;
  std::vector<std::string> strays;
  SEGWAL_TRY(directory_.List(&files, &strays));
  for (const std::string& stray : strays) Note("stray", 0, 0, 0, 0, 0, "left alone: " + stray);
  SEGWAL_TRY(directory_.ReadMeta(&meta_state_, &plan_.meta));
  if (meta_state_ == SectorState::kValid) plan_.proof = plan_.meta.durable_sequence;
  for (const LogDirectory::SegmentFile& file : files) {
    Candidate candidate;
    candidate.id = file.id;
    SEGWAL_TRY(directory_.ReadSegmentHeader(file.id, &candidate));
    plan_.candidates.push_back(std::move(candidate));
  }
  if (meta_state_ == SectorState::kValid && plan_.meta.truncating) FinishTruncation();
  // Spares, allocated ahead and never activated, stand at the end. The next open makes its own.
  while (!plan_.candidates.empty() && plan_.candidates.back().lost()) {
    SEGWAL_TRY(SetAside(plan_.candidates.back()));
    if (plan_.candidates.back().stand_in) break;
    plan_.candidates.pop_back();
  }
  return Status::Ok();
}

// wal.meta says that the log ends behind a record, and whoever wrote that did not come to remove what follows.
void RecoveryDecision::FinishTruncation() {
  const uint64_t last = plan_.meta.truncated_to;
  // The same choice as that of who began it: the last segment that begins at or before the record, or the first.
  auto end = plan_.candidates.end();
  for (auto each = plan_.candidates.begin(); each != plan_.candidates.end(); ++each) {
    if (each->state != SectorState::kValid || each->id < plan_.meta.first_segment) continue;
    if (end == plan_.candidates.end() || each->base() <= last) end = each;
  }
  if (end == plan_.candidates.end()) return;  // and that is damage
  end->seal.reset();
  end->mark = std::min(end->mark, last);
  end->orderly_end = 0;
  for (auto each = plan_.candidates.end() - 1; each != end; --each) plan_.remove.push_back(each->id);
  plan_.candidates.erase(end + 1, plan_.candidates.end());
  plan_.truncate_to = last;
  plan_.meta.truncating = false;
  plan_.write_meta = true;
  // All of it was durable before the truncation was decided.
  plan_.proof = last;
  Note("truncate", 0, 0, 0, 0, 0,
       "truncating the log behind record " + std::to_string(last) + " had not come to its end: done now");
}

// A spare goes. What is not zero was written by somebody, and its identity never reached the disk or was lost since: it
// cannot be read, but it is kept.
Status RecoveryDecision::SetAside(Candidate& candidate) {
  std::unique_ptr<Mapping> mapping;
  uint64_t used = 0;
  if (candidate.file_size != 0 && !candidate.spare) {
    std::unique_ptr<File> file;
    SEGWAL_TRY(platform_.Open(directory_.SegmentPath(candidate.id), OpenMode::kRead, &file));
    SEGWAL_TRY(platform_.Map(std::move(file), candidate.file_size, false, &mapping));
    // Within one boot nothing gets lost between pages, so whatever was written begins at the first frame.
    constexpr uint64_t kFirstFrames = uint64_t{64} << 10;
    const uint64_t end = LastWriterIsOfThisBoot() ? std::min(candidate.file_size, kFirstFrames) : candidate.file_size;
    used = FindNonZeroEnd(mapping->data(), std::min(end, kSegmentHeaderSize), end);
    SEGWAL_TRY(CheckMemory(*mapping->failure(), candidate.id));
  }
  if (used <= kSegmentHeaderSize) {
    plan_.remove.push_back(candidate.id);
    return Status::Ok();
  }
  if (LastWriterIsOfThisBoot()) {
    // Memory outlives a process, so no crash takes an identity from under the frames.
    candidate.trouble = "its identity was erased, and the machine has not been restarted since it was written";
    candidate.stand_in = options_.salvage;
    if (options_.salvage) return Status::Ok();
    erased_ = candidate;
  }
  plan_.quarantine.push_back({candidate.id, "Recovery found a segment without an identity: it cannot be read."});
  Note("C", candidate.id, kSegmentHeaderSize, used - kSegmentHeaderSize, 0, 0,
       "a segment whose header never reached the disk: it went to quarantine");
  return Status::Ok();
}

Status RecoveryDecision::PrepareNewLog() {
  plan_.is_new = true;
  plan_.meta = {};
  SEGWAL_TRY(platform_.Random(plan_.meta.log_id));
  plan_.meta.segment_size = options_.segment_size != 0 ? options_.segment_size : kDefaultSegmentSize;
  plan_.meta.created_us = platform_.Now();
  return Status::Ok();
}

Status RecoveryDecision::CheckSegments() {
  plan_.is_new = false;
  if (plan_.candidates.empty()) {
    return Status::Corrupt(directory_.MetaPath() + " says that this is a log, but " + directory_.SegmentsPath() +
                               " holds no segment of it",
                           {.segment = meta_state_ == SectorState::kValid ? plan_.meta.first_segment : 0,
                            .first_sequence = meta_state_ == SectorState::kValid ? plan_.meta.first_sequence : 0});
  }
  for (const Candidate& candidate : plan_.candidates) {
    if (meta_state_ == SectorState::kValid && candidate.id < plan_.meta.first_segment) continue;
    if (candidate.stand_in) continue;
    SEGWAL_TRY(CheckIdentity(candidate));
    if (candidate.lost()) continue;
    if (meta_state_ != SectorState::kValid && plan_.meta.segment_size == 0) {
      const SegmentIdentity& identity = candidate.identity;
      plan_.meta = {.log_id = identity.log_id,
                    .segment_size = identity.segment_size,
                    .created_us = identity.created_us,
                    .first_segment = identity.segment_id,
                    .first_sequence = identity.base_sequence};
      plan_.write_meta = true;
      Note("meta", 0, 0, 0, 0, 0, "wal.meta was missing or damaged: rebuilt from the segments");
    }
    if (candidate.identity.log_id != plan_.meta.log_id) {
      return Damage(candidate, 0, candidate.base(), 0, "the file belongs to another log");
    }
    if (candidate.identity.segment_size != plan_.meta.segment_size) {
      return Damage(candidate, 0, candidate.base(), 0, "its segment size is not that of the log");
    }
  }
  SEGWAL_TRY(CheckSize());
  // Deleted on purpose by truncateBefore, which did not come to its end.
  const auto kept = std::ranges::lower_bound(plan_.candidates, plan_.meta.first_segment, {}, &Candidate::id);
  plan_.front_goes = kept != plan_.candidates.begin();
  for (auto gone = plan_.candidates.begin(); gone != kept; ++gone) plan_.remove.push_back(gone->id);
  plan_.candidates.erase(plan_.candidates.begin(), kept);
  if (plan_.candidates.empty()) {
    return Status::Corrupt(
        "the first segment that the log keeps is missing: " + directory_.SegmentPath(plan_.meta.first_segment),
        {.segment = plan_.meta.first_segment, .first_sequence = plan_.meta.first_sequence});
  }
  uint64_t expected = plan_.meta.first_segment;
  uint64_t due = plan_.meta.first_sequence;  // 0: not known, the segment before has no seal
  for (const Candidate& candidate : plan_.candidates) {
    if (candidate.id != expected) {
      return Status::Corrupt("segment " + std::to_string(expected) +
                                 " is missing: " + directory_.SegmentPath(expected) + ", though segment " +
                                 std::to_string(candidate.id) + " is there",
                             {.segment = expected, .first_sequence = due, .last_sequence = candidate.base() - 1});
    }
    due = candidate.seal && !candidate.stand_in ? candidate.seal->last_sequence + 1 : 0;
    ++expected;
  }
  return Status::Ok();
}

Status RecoveryDecision::CheckIdentity(const Candidate& candidate) const {
  if (candidate.state != SectorState::kAbsent) return directory_.JudgeIdentity(candidate.id, candidate);
  if (candidate.traces) return Damage(candidate, 0, 0, 0, "its identity was erased");
  // Memory outlives a process, so then only a power cut can have taken it; and never the first segment, which was
  // durable before the log was.
  if (&candidate == &plan_.candidates.front() || LastWriterIsOfThisBoot()) {
    return Damage(candidate, 0, 0, 0, "it is empty, though a segment follows it");
  }
  return Status::Ok();
}

Status RecoveryDecision::CheckSize() {
  if (options_.segment_size == 0 || options_.segment_size == plan_.meta.segment_size) return Status::Ok();
  return Status(ErrorCode::kSegmentSizeMismatch,
                "the log has segments of " + std::to_string(plan_.meta.segment_size) +
                    " bytes, but segmentSize asks for " + std::to_string(options_.segment_size) +
                    "; it is fixed for the life of a log: leave it out or give the log's own");
}

// A checkpoint was made durable after everything that it speaks of.
Status RecoveryDecision::LoadCheckpoints() {
  SEGWAL_TRY(
      CheckpointDirectory(platform_, directory_).Load(plan_.meta.log_id, &plan_.checkpoints, &plan_.report.findings));
  if (plan_.truncate_to) {
    std::erase_if(plan_.checkpoints, [&](const Checkpoint& each) { return each.sequence > *plan_.truncate_to; });
  }
  if (!plan_.checkpoints.empty()) plan_.proof = std::max(plan_.proof, plan_.checkpoints.back().sequence);
  return Status::Ok();
}

Status RecoveryDecision::ScanUnsealed() {
  for (Candidate& candidate : plan_.candidates) {
    Scanned& scanned = plan_.scanned.emplace_back();
    if (candidate.stand_in) continue;
    plan_.proof = std::max(plan_.proof, candidate.mark);
    if (candidate.seal) plan_.proof = std::max(plan_.proof, candidate.seal->last_sequence);
    if ((candidate.seal && !options_.salvage) || candidate.lost()) continue;
    SEGWAL_TRY(Scan(candidate, &scanned));
    plan_.proof = std::max(plan_.proof, scanned.scan.proof);
    if (!candidate.seal) continue;
    candidate.broken = !SealHolds(candidate, scanned.scan);
    if (!candidate.broken) scanned = {};
  }
  if (plan_.truncate_to) plan_.proof = *plan_.truncate_to;
  return Status::Ok();
}

Status RecoveryDecision::Scan(const Candidate& candidate, Scanned* scanned) {
  std::unique_ptr<File> file;
  SEGWAL_TRY(platform_.Open(directory_.SegmentPath(candidate.id), OpenMode::kRead, &file));
  // A file that was cut short is scanned as if zeros followed.
  const uint64_t end = candidate.seal ? candidate.seal->end_offset : candidate.identity.segment_size;
  const uint64_t length = std::min(candidate.file_size, end);
  SEGWAL_TRY(platform_.Map(std::move(file), length, false, &scanned->mapping));
  const std::byte* data = scanned->mapping->data();
  constexpr unsigned kMostThreads = 8;
  const SideBySide how{
      .threads = std::clamp(std::thread::hardware_concurrency(), 1u, kMostThreads),
      .part_size = uint64_t{2} << 20,
      // What never was would have to be made up of zeros, to be looked at.
      .written = candidate.seal ? length : std::min(length, PointerOffset(candidate.live.pointer)),
      .fetch = [&](uint64_t offset, uint64_t size) { scanned->mapping->Fetch(offset, size); },
  };
  scanned->scan = ScanFirstRun(data, length, candidate.identity, how);
  scanned->nothing_behind = NothingBehind(candidate, scanned->scan, boot_);
  if (!scanned->nothing_behind) scanned->scan = ScanSegment(data, length, candidate.identity, false);
  return CheckMemory(*scanned->mapping->failure(), candidate.id);
}

Status RecoveryDecision::Damage(const Candidate& segment, uint64_t offset, uint64_t first, uint64_t last,
                                const std::string& what) const {
  return directory_.SegmentDamage(
      {.segment = segment.id, .offset = offset, .first_sequence = first, .last_sequence = last}, what);
}

void RecoveryDecision::Note(const char* rule, uint64_t segment, uint64_t offset, uint64_t bytes, uint64_t first,
                            uint64_t last, std::string action) {
  plan_.report.findings.push_back({.rule = rule,
                                   .segment = segment,
                                   .offset = offset,
                                   .bytes = bytes,
                                   .first_sequence = first,
                                   .last_sequence = last,
                                   .action = std::move(action)});
}

bool RecoveryDecision::AnyFrameAfter(size_t at) const {
  for (size_t i = at + 1; i < plan_.candidates.size(); ++i) {
    const Candidate& candidate = plan_.candidates[i];
    if (candidate.stand_in) return true;  // who knows
    if (candidate.seal ? candidate.seal->record_count != 0 : !plan_.scanned[i].scan.runs.empty()) return true;
  }
  return false;
}

Status RecoveryDecision::Decide() {
  uint64_t expected = plan_.meta.first_sequence;
  for (size_t i = 0; i < plan_.candidates.size() && !plan_.cut; ++i) {
    Candidate& segment = plan_.candidates[i];
    if (segment.lost() && options_.salvage && expected <= plan_.proof) {
      segment.stand_in = true;
      segment.trouble = "its header was lost";
    }
    if (segment.stand_in) {
      SEGWAL_TRY(DecideStandIn(i, expected));
      expected += plan_.counts.back();
      continue;
    }
    if (segment.lost()) {
      CutAt(i - 1, plan_.ends.back(), expected, 0);
      break;
    }
    if (segment.base() != expected) {
      return Damage(segment, 0, std::min(expected, segment.base()), std::max(expected, segment.base()) - 1,
                    "it begins with record " + std::to_string(segment.base()) + ", but record " +
                        std::to_string(expected) + " is due");
    }
    if (segment.settled()) {
      if (segment.file_size < segment.seal->end_offset) {
        return Damage(segment, segment.file_size, expected, segment.seal->last_sequence,
                      "the file was cut short: it has " + std::to_string(segment.file_size) +
                          " bytes, and its records need " + std::to_string(segment.seal->end_offset));
      }
      plan_.ends.push_back(segment.seal->end_offset);
      plan_.counts.push_back(segment.seal->record_count);
    } else if (plan_.truncate_to && i + 1 == plan_.candidates.size()) {
      SEGWAL_TRY(DecideTruncated(i));
    } else {
      SEGWAL_TRY(DecideUnsealed(i));
    }
    expected += plan_.counts.back();
  }
  const size_t last = plan_.ends.size() - 1;
  if (expected <= plan_.proof && options_.salvage) {
    AppendStandIn(expected);
    SEGWAL_TRY(DecideStandIn(last + 1, expected));
    expected += plan_.counts.back();
  }
  if (expected <= plan_.proof) {
    return Damage(plan_.candidates[last], plan_.ends[last], expected, plan_.proof,
                  Range(expected, plan_.proof) + " had been made durable and " +
                      (expected == plan_.proof ? "is" : "are") + " not there any more");
  }
  if (erased_) return Damage(*erased_, 0, expected, 0, erased_->trouble);
  plan_.next_sequence = expected;
  RecoveryReport& report = plan_.report;
  const size_t segments = plan_.ends.size();
  for (size_t i = 0; i < segments; ++i) {
    const Candidate& segment = plan_.candidates[i];
    const uint64_t removed = segment.seal && !segment.broken ? segment.seal->removed
                             : segment.stand_in              ? 0
                                                             : plan_.scanned[i].scan.removed;
    report.records += plan_.counts[i] - std::min(plan_.counts[i], removed);
    report.bytes += plan_.ends[i] - kSegmentHeaderSize;
  }
  report.segments = segments;
  report.clean = !plan_.truncate_to && plan_.candidates[segments - 1].orderly_end == plan_.ends[segments - 1] &&
                 !plan_.zero_tail && plan_.fillers.empty() && plan_.quarantine.empty() && !plan_.salvaged &&
                 !plan_.cut.value_or(RecoveryPlan::Cut{}).keep_what_follows;
  return Status::Ok();
}

// The segment in which the log was truncated. Its frames are there up to the record; what follows goes. Should they not
// be, what is missing is found to be missing as in any other log.
Status RecoveryDecision::DecideTruncated(size_t at) {
  const Candidate& segment = plan_.candidates[at];
  Scanned& scanned = plan_.scanned[at];
  const std::byte* data = scanned.mapping->data();
  const uint64_t length = scanned.mapping->size();
  uint64_t offset = kSegmentHeaderSize;
  uint32_t index = 0;
  scanned.scan.earliest_us = scanned.scan.latest_us = 0;
  Frame frame;
  while (segment.base() + index <= *plan_.truncate_to &&
         CheckFrame(data, offset, length, index, SaltChecksum(segment.identity.salt), &frame) == FrameState::kValid) {
    if (!frame.filler()) {
      const uint64_t time = segment.identity.created_us + frame.time_us;
      scanned.scan.earliest_us = scanned.scan.earliest_us == 0 ? time : std::min(scanned.scan.earliest_us, time);
      scanned.scan.latest_us = std::max(scanned.scan.latest_us, time);
    }
    offset += frame.padded_length();
    index += frame.count;
  }
  if (segment.base() + index > *plan_.truncate_to + 1) {
    return Damage(segment, offset, segment.base() + index - frame.count, segment.base() + index - 1,
                  "the log was truncated in the middle of this frame, which nothing does");
  }
  plan_.zero_tail = FindNonZeroEnd(data, std::min(offset, length), length) > offset;
  scanned.nothing_behind = false;
  plan_.ends.push_back(offset);
  plan_.counts.push_back(index);
  return Status::Ok();
}

// Walks the runs of an unsealed segment; at each place where no valid frame stands, the table of docs/FORMAT.md
// decides.
Status RecoveryDecision::DecideUnsealed(size_t at) {
  const Candidate& segment = plan_.candidates[at];
  const std::vector<FrameRun>& runs = plan_.scanned[at].scan.runs;
  const std::byte* data = plan_.scanned[at].mapping->data();
  const uint64_t length = plan_.scanned[at].mapping->size();
  const bool same_boot = boot_ != BootId{} && segment.live.boot == boot_;
  const bool has_next = at + 1 < plan_.candidates.size() && !plan_.candidates[at + 1].lost() && !StandInFollows(at);
  // The record that the next segment begins with; 0: not known.
  const uint64_t next_base = segment.seal ? segment.seal->last_sequence + 1
                             : has_next   ? plan_.candidates[at + 1].base()
                                          : 0;
  uint64_t offset = kSegmentHeaderSize;
  uint32_t index = 0;
  for (size_t r = 0;; ++r) {
    if (r < runs.size() && runs[r].offset == offset && runs[r].index == index) {
      offset = runs[r].end;
      index = runs[r].end_index;
      continue;
    }
    // Frames with numbers that were there already stand in a wrong place: of no use behind a gap.
    while (options_.salvage && r < runs.size() && runs[r].index <= index) ++r;
    const uint64_t due = segment.base() + index;
    const bool later_here = r < runs.size();
    // A segment without a seal ends where the next one begins.
    if (!later_here && next_base == due) break;
    if (!later_here && StandInFollows(at)) break;  // which takes what is missing here too

    Gap gap{.segment = at,
            .offset = offset,
            .index = index,
            .due = due,
            .resumes = later_here ? segment.base() + runs[r].index : next_base,
            .until = later_here ? runs[r].offset : 0};
    const uint64_t resumes = gap.resumes;
    // Goes on behind the gap in a salvage.
    const auto give_up = [&](const std::string& what, bool* goes_on) {
      SEGWAL_TRY(GiveUp(&gap, what, goes_on));
      offset = gap.offset;
      index = gap.index;
      *goes_on = *goes_on && later_here;
      --r;  // the run that the gap ended at comes next
      return Status::Ok();
    };
    bool goes_on = false;
    const bool later = later_here || AnyFrameAfter(at);
    if (due <= plan_.proof) {  // D
      const uint64_t until = resumes > due ? resumes - 1 : plan_.proof;
      const std::string what = Range(due, until) + " had been made durable (proven up to " +
                               std::to_string(plan_.proof) + ") and cannot be read";
      if (!options_.salvage) return Damage(segment, offset, due, until, what);
      SEGWAL_TRY(give_up(what, &goes_on));
      if (goes_on) continue;
      break;
    }
    const uint32_t word = offset + kFrameHeaderSize <= length ? Load<uint32_t>(data + offset) : 0;
    const bool committed = word != 0 && (word & kClaimBit) == 0 && offset < PointerOffset(segment.live.pointer);
    // A claim that was never filled in leaves the file whole. One that is too short for its own claims was cut.
    const bool cut_off = segment.file_size < segment.identity.segment_size &&
                         offset < PointerOffset(segment.live.pointer) && PointerOffset(segment.live.pointer) > length;
    if (same_boot && (committed || cut_off)) {  // D
      const std::string what =
          cut_off ? "the file was cut short: it has " + std::to_string(length) +
                        " bytes, and records were appended up to " + std::to_string(PointerOffset(segment.live.pointer))
                  : "a committed frame is damaged, and the machine has not been restarted since it was written";
      if (!options_.salvage) return Damage(segment, offset, due, resumes > due ? resumes - 1 : due, what);
      SEGWAL_TRY(give_up(what, &goes_on));
      if (goes_on) continue;
      break;
    }
    if (later && same_boot) {  // B
      const uint64_t end = later_here ? runs[r].offset : PointerOffset(segment.live.pointer);
      // A gap of 24 bytes was one record: a filler of more needs room for their number.
      const uint64_t least = kFrameHeaderSize + (resumes - due > 1 ? kBatchHeaderSize : 0);
      if (resumes <= due || end < offset + least || end > length) {
        return Damage(segment, offset, due, resumes > due ? resumes - 1 : due,
                      "the records behind a gap do not follow from those before it");
      }
      const auto count = static_cast<uint32_t>(resumes - due);
      plan_.fillers.push_back({at, offset, static_cast<uint32_t>(end - offset), index, count});
      Note("B", segment.id, offset, end - offset, due, resumes - 1,
           "a writer died before it committed: filled, what follows is kept");
      offset = end;
      index += count;
      if (!later_here) break;
      --r;  // the run that the gap ended at comes next
      continue;
    }
    uint64_t used = plan_.scanned[at].nothing_behind ? offset : FindNonZeroEnd(data, std::min(offset, length), length);
    plan_.zero_tail = used > offset;
    // In the same boot the write pointer is exact: it tells of claims that left no trace in the file, and what stands
    // behind it in a recycled one is of an earlier life.
    if (same_boot) {
      const uint64_t claimed = std::min(PointerOffset(segment.live.pointer), length);
      used = segment.identity.recycled() ? claimed : std::max(used, claimed);
    }
    CutAt(at, offset, due, used > offset ? used - offset : 0);
    break;
  }
  plan_.ends.push_back(offset);
  plan_.counts.push_back(index);
  return Status::Ok();
}

// The log ends here: cases A and C.
void RecoveryDecision::CutAt(size_t at, uint64_t offset, uint64_t due, uint64_t dropped) {
  const bool later =
      AnyFrameAfter(at) || (!plan_.candidates[at].settled() && HasFrameFrom(plan_.scanned[at].scan, offset));
  plan_.cut = {.segment = at, .offset = offset, .keep_what_follows = later};
  if (later) {
    Note("C", plan_.candidates[at].id, offset, dropped, due, 0,
         "a power cut left a gap in what was not durable yet: what follows it went to quarantine");
  } else if (dropped != 0) {
    Note("A", plan_.candidates[at].id, offset, dropped, 0, 0,
         plan_.candidates[at].identity.recycled() && !LastWriterIsOfThisBoot()
             ? "an unfinished append, or what the file had held before it was recycled: dropped"
             : "an unfinished append: dropped");
  }
}

Status DecideRecovery(Platform& platform, const LogDirectory& directory, const LogOptions& options,
                      RecoveryPlan* plan) {
  return RecoveryDecision(platform, directory, options, plan).Run();
}

Status Recover(Platform& platform, const LogDirectory& directory, const LogOptions& options, RecoveredLog* recovered) {
  const uint64_t started = platform.Monotonic();
  RecoveryPlan plan;
  SEGWAL_TRY(DecideRecovery(platform, directory, options, &plan));
  SEGWAL_TRY(ApplyRecovery(platform, directory, &plan, recovered));
  recovered->report.duration_ms = static_cast<double>(platform.Monotonic() - started) / 1e6;
  return Status::Ok();
}

Status PlanSalvage(Platform& platform, const LogDirectory& directory, RecoveryReport* report) {
  const uint64_t started = platform.Monotonic();
  SEGWAL_TRY(directory.Exists());
  // A log without a LOCK gets none: nothing is written.
  std::vector<DirectoryEntry> entries;
  SEGWAL_TRY(platform.List(directory.root(), &entries));
  std::unique_ptr<DirectoryLock> lock;
  if (std::ranges::any_of(entries, [](const DirectoryEntry& entry) { return entry.name == "LOCK"; })) {
    SEGWAL_TRY(platform.Lock(directory.LockPath(),
                             "pid " + std::to_string(platform.ProcessId()) + ", which looks at what a salvage would do",
                             &lock));
  }
  LogOptions options;
  options.salvage = true;
  RecoveryPlan plan;
  SEGWAL_TRY(DecideRecovery(platform, directory, options, &plan));
  if (plan.is_new) return Status(ErrorCode::kNotFound, directory.root() + " holds no log");
  *report = std::move(plan.report);
  report->duration_ms = static_cast<double>(platform.Monotonic() - started) / 1e6;
  return Status::Ok();
}

}  // namespace segwal
