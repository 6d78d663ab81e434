#include "core/recovery.h"

#include <algorithm>

#include "core/segment.h"

namespace segwal {
namespace {

// One segment file, as found.
struct Candidate : SegmentHeader {
  uint64_t id = 0;
  uint64_t file_size = 0;

  uint64_t base() const { return identity.base_sequence; }
  // A power cut kept pages of later segments and not the first page of this one: as good as empty.
  bool lost() const { return state == SectorState::kAbsent && !traces; }
};

// A candidate without a seal, mapped and scanned.
struct Scanned {
  std::unique_ptr<Mapping> mapping;
  SegmentScan scan;
  bool nothing_behind = false;  // no byte behind the first run was ever claimed
};

// Asked after memory was read, before anything is made of it: replaced pages read as zeros, and zeros mean something.
Status CheckMemory(const Mapping& mapping, uint64_t id) {
  return mapping.failure()->Happened() ? MemoryFailed(id) : Status::Ok();
}

class Recovery {
 public:
  Recovery(Platform& platform, const LogDirectory& directory, const LogOptions& options, RecoveredLog* out)
      : platform_(platform), directory_(directory), options_(options), out_(*out), boot_(platform.CurrentBoot()) {}

  Status Run() {
    SEGWAL_TRY(LoadFiles());
    if (candidates_.empty() && meta_state_ == SectorState::kAbsent) return PrepareNewLog();
    SEGWAL_TRY(CheckSegments());
    SEGWAL_TRY(ScanUnsealed());
    SEGWAL_TRY(Decide());
    for (size_t i = 0; i < scanned_.size(); ++i) {
      if (scanned_[i].mapping) SEGWAL_TRY(CheckMemory(*scanned_[i].mapping, candidates_[i].id));
    }
    return Apply();
  }

 private:
  // ---- what is there ----
  Status LoadFiles();
  Status SetAside(const Candidate& candidate);
  Status PrepareNewLog();
  Status CheckSegments();
  Status CheckIdentity(const Candidate& candidate) const;
  bool LastWriterIsOfThisBoot() const {
    const auto last = std::find_if(candidates_.rbegin(), candidates_.rend(),
                                   [](const Candidate& candidate) { return candidate.state == SectorState::kValid; });
    return last != candidates_.rend() && boot_ != BootId{} && last->live.boot == boot_;
  }
  Status CheckSize();
  Status ScanUnsealed();

  // ---- what it means ----
  Status Decide();
  Status DecideUnsealed(size_t at);
  Status Damage(const Candidate& segment, uint64_t offset, uint64_t first, uint64_t last,
                const std::string& what) const;
  bool AnyFrameAfter(size_t at) const;
  void CutAt(size_t at, uint64_t offset, uint64_t due, uint64_t dropped);
  void Note(const char* rule, uint64_t segment, uint64_t offset, uint64_t bytes, uint64_t first, uint64_t last,
            std::string action);

  // ---- what is done about it ----
  Status Apply();
  Status ApplyCut();
  Status Settle(size_t at);
  Status ZeroTail(const Candidate& segment, uint64_t offset);
  Status MoveFilesAway();

  struct Filler {
    size_t segment;
    uint64_t offset;
    uint32_t length;
    uint32_t index;
    uint32_t count;
  };
  // Where the log ends, when that is not the end of the last file.
  struct Cut {
    size_t segment = 0;
    uint64_t offset = 0;
    bool keep_what_follows = false;  // case C: into quarantine; otherwise there is nothing worth keeping
  };

  Platform& platform_;
  const LogDirectory& directory_;
  const LogOptions& options_;
  RecoveredLog& out_;
  const BootId boot_;

  SectorState meta_state_ = SectorState::kAbsent;
  std::vector<Candidate> candidates_;  // by id; after CheckSegments: with an identity and without gaps
  std::vector<Scanned> scanned_;       // beside candidates_; empty for sealed ones
  std::vector<uint64_t> remove_;       // ids of files that hold nothing of this log any more
  std::vector<uint64_t> quarantine_;   // ids of files that hold something nobody can read
  bool front_goes_ = false;            // segments before the first that the log keeps are among them
  uint64_t proof_ = 0;                 // the highest sequence that something proves durable

  std::vector<Filler> fillers_;
  std::vector<uint64_t> ends_;    // beside candidates_: where its frames end
  std::vector<uint64_t> counts_;  // and how many sequence numbers they hold
  std::optional<Cut> cut_;
  bool zero_tail_ = false;  // something that is not zero stands behind the end
};

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

std::string Range(uint64_t first, uint64_t last) {
  return first == last ? "record " + std::to_string(first)
                       : "records " + std::to_string(first) + " to " + std::to_string(last);
}

Status Recovery::LoadFiles() {
  std::vector<LogDirectory::SegmentFile> files;
  std::vector<std::string> strays;
  SEGWAL_TRY(directory_.List(&files, &strays));
  for (const std::string& stray : strays) Note("stray", 0, 0, 0, 0, 0, "left alone: " + stray);
  SEGWAL_TRY(directory_.ReadMeta(&meta_state_, &out_.meta));
  if (meta_state_ == SectorState::kValid) proof_ = out_.meta.durable_sequence;
  for (const LogDirectory::SegmentFile& file : files) {
    Candidate candidate;
    candidate.id = file.id;
    candidate.file_size = file.size;
    SEGWAL_TRY(directory_.ReadSegmentHeader(file.id, &candidate));
    candidates_.push_back(std::move(candidate));
  }
  // Spares, allocated ahead and never activated, stand at the end. The next open makes its own.
  while (!candidates_.empty() && candidates_.back().lost()) {
    SEGWAL_TRY(SetAside(candidates_.back()));
    candidates_.pop_back();
  }
  return Status::Ok();
}

// A spare goes. What is not zero was written by somebody, and its identity never reached the disk or was lost since: it
// cannot be read, but it is kept.
Status Recovery::SetAside(const Candidate& candidate) {
  std::unique_ptr<Mapping> mapping;
  uint64_t used = 0;
  if (candidate.file_size != 0) {
    std::unique_ptr<File> file;
    SEGWAL_TRY(platform_.Open(directory_.SegmentPath(candidate.id), OpenMode::kRead, &file));
    SEGWAL_TRY(platform_.Map(std::move(file), candidate.file_size, false, &mapping));
    // Within one boot nothing gets lost between pages, so whatever was written begins at the first frame.
    constexpr uint64_t kFirstFrames = uint64_t{64} << 10;
    const uint64_t end = LastWriterIsOfThisBoot() ? std::min(candidate.file_size, kFirstFrames) : candidate.file_size;
    used = FindNonZeroEnd(mapping->data(), std::min(end, kSegmentHeaderSize), end);
    SEGWAL_TRY(CheckMemory(*mapping, candidate.id));
  }
  if (used <= kSegmentHeaderSize) {
    remove_.push_back(candidate.id);
    return Status::Ok();
  }
  quarantine_.push_back(candidate.id);
  Note("C", candidate.id, kSegmentHeaderSize, used - kSegmentHeaderSize, 0, 0,
       "a segment whose header never reached the disk: it went to quarantine");
  return Status::Ok();
}

Status Recovery::PrepareNewLog() {
  out_.is_new = true;
  out_.meta = {};
  SEGWAL_TRY(platform_.Random(out_.meta.log_id));
  out_.meta.segment_size = options_.segment_size != 0 ? options_.segment_size : kDefaultSegmentSize;
  out_.meta.created_us = platform_.Now();
  SEGWAL_TRY(directory_.Create());
  return MoveFilesAway();
}

Status Recovery::CheckSegments() {
  out_.is_new = false;
  if (candidates_.empty()) {
    return Status::Corrupt(directory_.MetaPath() + " says that this is a log, but " + directory_.SegmentsPath() +
                               " holds no segment of it",
                           {.segment = meta_state_ == SectorState::kValid ? out_.meta.first_segment : 0,
                            .first_sequence = meta_state_ == SectorState::kValid ? out_.meta.first_sequence : 0});
  }
  for (const Candidate& candidate : candidates_) {
    if (meta_state_ == SectorState::kValid && candidate.id < out_.meta.first_segment) continue;
    SEGWAL_TRY(CheckIdentity(candidate));
    if (candidate.lost()) continue;
    if (meta_state_ != SectorState::kValid && out_.meta.segment_size == 0) {
      const SegmentIdentity& identity = candidate.identity;
      out_.meta = {.log_id = identity.log_id,
                   .segment_size = identity.segment_size,
                   .created_us = identity.created_us,
                   .first_segment = identity.segment_id,
                   .first_sequence = identity.base_sequence};
      Note("meta", 0, 0, 0, 0, 0, "wal.meta was missing or damaged: rebuilt from the segments");
    }
    if (candidate.identity.log_id != out_.meta.log_id) {
      return Damage(candidate, 0, candidate.base(), 0, "the file belongs to another log");
    }
    if (candidate.identity.segment_size != out_.meta.segment_size) {
      return Damage(candidate, 0, candidate.base(), 0, "its segment size is not that of the log");
    }
  }
  SEGWAL_TRY(CheckSize());
  // Deleted on purpose by truncateBefore, which did not come to its end.
  while (candidates_.front().id < out_.meta.first_segment) {
    front_goes_ = true;
    remove_.push_back(candidates_.front().id);
    candidates_.erase(candidates_.begin());
    if (candidates_.empty()) {
      return Status::Corrupt(
          "the first segment that the log keeps is missing: " + directory_.SegmentPath(out_.meta.first_segment),
          {.segment = out_.meta.first_segment, .first_sequence = out_.meta.first_sequence});
    }
  }
  uint64_t expected = out_.meta.first_segment;
  uint64_t due = out_.meta.first_sequence;  // 0: not known, the segment before has no seal
  for (const Candidate& candidate : candidates_) {
    if (candidate.id != expected) {
      return Status::Corrupt("segment " + std::to_string(expected) +
                                 " is missing: " + directory_.SegmentPath(expected) + ", though segment " +
                                 std::to_string(candidate.id) + " is there",
                             {.segment = expected, .first_sequence = due, .last_sequence = candidate.base() - 1});
    }
    due = candidate.seal ? candidate.seal->last_sequence + 1 : 0;
    ++expected;
  }
  return Status::Ok();
}

Status Recovery::CheckIdentity(const Candidate& candidate) const {
  if (candidate.state != SectorState::kAbsent) return directory_.JudgeIdentity(candidate.id, candidate);
  if (candidate.traces) return Damage(candidate, 0, 0, 0, "its identity was erased");
  // Memory outlives a process, so then only a power cut can have taken it; and never the first segment, which was
  // durable before the log was.
  if (&candidate == &candidates_.front() || LastWriterIsOfThisBoot()) {
    return Damage(candidate, 0, 0, 0, "it is empty, though a segment follows it");
  }
  return Status::Ok();
}

Status Recovery::CheckSize() {
  if (options_.segment_size == 0 || options_.segment_size == out_.meta.segment_size) return Status::Ok();
  return Status(ErrorCode::kSegmentSizeMismatch,
                "the log has segments of " + std::to_string(out_.meta.segment_size) +
                    " bytes, but segmentSize asks for " + std::to_string(options_.segment_size) +
                    "; it is fixed for the life of a log: leave it out or give the log's own");
}

Status Recovery::ScanUnsealed() {
  for (const Candidate& candidate : candidates_) {
    Scanned& scanned = scanned_.emplace_back();
    proof_ = std::max(proof_, candidate.mark);
    if (candidate.seal) proof_ = std::max(proof_, candidate.seal->last_sequence);
    if (candidate.seal || candidate.lost()) continue;
    std::unique_ptr<File> file;
    SEGWAL_TRY(platform_.Open(directory_.SegmentPath(candidate.id), OpenMode::kRead, &file));
    // A file that was cut short is scanned as if zeros followed.
    const uint64_t length = std::min(candidate.file_size, candidate.identity.segment_size);
    SEGWAL_TRY(platform_.Map(std::move(file), length, false, &scanned.mapping));
    const std::byte* data = scanned.mapping->data();
    scanned.scan = ScanSegment(data, length, candidate.identity, true);
    scanned.nothing_behind = NothingBehind(candidate, scanned.scan, boot_);
    if (!scanned.nothing_behind) scanned.scan = ScanSegment(data, length, candidate.identity, false);
    proof_ = std::max(proof_, scanned.scan.proof);
    SEGWAL_TRY(CheckMemory(*scanned.mapping, candidate.id));
  }
  return Status::Ok();
}

Status Recovery::Damage(const Candidate& segment, uint64_t offset, uint64_t first, uint64_t last,
                        const std::string& what) const {
  return directory_.SegmentDamage(
      {.segment = segment.id, .offset = offset, .first_sequence = first, .last_sequence = last}, what);
}

void Recovery::Note(const char* rule, uint64_t segment, uint64_t offset, uint64_t bytes, uint64_t first, uint64_t last,
                    std::string action) {
  out_.report.findings.push_back({rule, segment, offset, bytes, first, last, std::move(action)});
}

bool Recovery::AnyFrameAfter(size_t at) const {
  for (size_t i = at + 1; i < candidates_.size(); ++i) {
    if (candidates_[i].seal ? candidates_[i].seal->record_count != 0 : !scanned_[i].scan.runs.empty()) return true;
  }
  return false;
}

Status Recovery::Decide() {
  uint64_t expected = out_.meta.first_sequence;
  for (size_t i = 0; i < candidates_.size() && !cut_; ++i) {
    const Candidate& segment = candidates_[i];
    if (segment.lost()) {
      CutAt(i - 1, ends_.back(), expected, 0);
      break;
    }
    if (segment.base() != expected) {
      return Damage(segment, 0, std::min(expected, segment.base()), std::max(expected, segment.base()) - 1,
                    "it begins with record " + std::to_string(segment.base()) + ", but record " +
                        std::to_string(expected) + " is due");
    }
    if (segment.seal) {
      if (segment.file_size < segment.seal->end_offset) {
        return Damage(segment, segment.file_size, expected, segment.seal->last_sequence,
                      "the file was cut short: it has " + std::to_string(segment.file_size) +
                          " bytes, and its records need " + std::to_string(segment.seal->end_offset));
      }
      ends_.push_back(segment.seal->end_offset);
      counts_.push_back(segment.seal->record_count);
    } else {
      SEGWAL_TRY(DecideUnsealed(i));
    }
    expected += counts_.back();
  }
  const size_t last = ends_.size() - 1;
  if (expected <= proof_) {
    return Damage(candidates_[last], ends_[last], expected, proof_,
                  Range(expected, proof_) + " had been made durable and " + (expected == proof_ ? "is" : "are") +
                      " not there any more");
  }
  out_.next_sequence = expected;
  return Status::Ok();
}

// Walks the runs of an unsealed segment; at each place where no valid frame stands, the table of docs/FORMAT.md
// decides.
Status Recovery::DecideUnsealed(size_t at) {
  const Candidate& segment = candidates_[at];
  const std::vector<FrameRun>& runs = scanned_[at].scan.runs;
  const std::byte* data = scanned_[at].mapping->data();
  const uint64_t length = scanned_[at].mapping->size();
  const bool same_boot = boot_ != BootId{} && segment.live.boot == boot_;
  const bool has_next = at + 1 < candidates_.size() && !candidates_[at + 1].lost();
  uint64_t offset = kSegmentHeaderSize;
  uint32_t index = 0;
  for (size_t r = 0;; ++r) {
    if (r < runs.size() && runs[r].offset == offset && runs[r].index == index) {
      offset = runs[r].end;
      index = runs[r].end_index;
      continue;
    }
    const uint64_t due = segment.base() + index;
    const bool later_here = r < runs.size();
    // A segment without a seal ends where the next one begins.
    if (has_next && !later_here && candidates_[at + 1].base() == due) break;

    const uint64_t resumes = later_here ? segment.base() + runs[r].index : has_next ? candidates_[at + 1].base() : 0;
    const bool later = later_here || AnyFrameAfter(at);
    if (due <= proof_) {  // D
      const uint64_t until = resumes > due ? resumes - 1 : proof_;
      return Damage(segment, offset, due, until,
                    Range(due, until) + " had been made durable (proven up to " + std::to_string(proof_) +
                        ") and cannot be read");
    }
    const uint32_t word = offset + kFrameHeaderSize <= length ? Load<uint32_t>(data + offset) : 0;
    const bool committed = word != 0 && (word & kClaimBit) == 0 && offset < PointerOffset(segment.live.pointer);
    // A claim that was never filled in leaves the file whole. One that is too short for its own claims was cut.
    const bool cut_off = offset < PointerOffset(segment.live.pointer) && PointerOffset(segment.live.pointer) > length;
    if (same_boot && cut_off) {  // D
      return Damage(segment, offset, due, resumes > due ? resumes - 1 : due,
                    "the file was cut short: it has " + std::to_string(length) +
                        " bytes, and records were appended up to " +
                        std::to_string(PointerOffset(segment.live.pointer)));
    }
    if (same_boot && committed) {  // D
      return Damage(segment, offset, due, resumes > due ? resumes - 1 : due,
                    "a committed frame is damaged, and the machine has not been restarted since it was written");
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
      fillers_.push_back({at, offset, static_cast<uint32_t>(end - offset), index, count});
      Note("B", segment.id, offset, end - offset, due, resumes - 1,
           "a writer died before it committed: filled, what follows is kept");
      offset = end;
      index += count;
      if (!later_here) break;
      --r;  // the run that the gap ended at comes next
      continue;
    }
    uint64_t used = scanned_[at].nothing_behind ? offset : FindNonZeroEnd(data, std::min(offset, length), length);
    zero_tail_ = used > offset;
    // In the same boot the write pointer is exact: it tells of claims that left no trace in the file.
    if (same_boot) used = std::max(used, std::min(PointerOffset(segment.live.pointer), length));
    CutAt(at, offset, due, used > offset ? used - offset : 0);
    break;
  }
  ends_.push_back(offset);
  counts_.push_back(index);
  return Status::Ok();
}

// The log ends here: cases A and C.
void Recovery::CutAt(size_t at, uint64_t offset, uint64_t due, uint64_t dropped) {
  const bool later = AnyFrameAfter(at) || (!candidates_[at].seal && HasFrameFrom(scanned_[at].scan, offset));
  cut_ = {.segment = at, .offset = offset, .keep_what_follows = later};
  if (later) {
    Note("C", candidates_[at].id, offset, dropped, due, 0,
         "a power cut left a gap in what was not durable yet: what follows it went to quarantine");
  } else if (dropped != 0) {
    Note("A", candidates_[at].id, offset, dropped, 0, 0, "an unfinished append: dropped");
  }
}

Status Recovery::Apply() {
  const size_t last = ends_.size() - 1;
  SEGWAL_TRY(directory_.Create());  // a log that lost an empty folder, as some copying tools lose it, gets it back
  if (cut_) SEGWAL_TRY(ApplyCut());
  for (size_t i = 0; i <= last; ++i) {
    if (!candidates_[i].seal) SEGWAL_TRY(Settle(i));
  }
  if (zero_tail_) SEGWAL_TRY(ZeroTail(candidates_[last], ends_[last]));
  // The wal.meta that says that the front may go can be one whose name is not durable yet: whoever wrote it died
  // before.
  if (front_goes_) SEGWAL_TRY(platform_.SyncDirectory(directory_.MetadataPath()));
  SEGWAL_TRY(MoveFilesAway());
  if (meta_state_ != SectorState::kValid) SEGWAL_TRY(directory_.WriteMeta(out_.meta));

  RecoveryReport& report = out_.report;
  for (size_t i = 0; i <= last; ++i) {
    report.records += counts_[i];
    report.bytes += ends_[i] - kSegmentHeaderSize;
    if (candidates_[i].seal) out_.sealed.push_back({candidates_[i].identity, *candidates_[i].seal});
  }
  report.segments = last + 1;
  report.clean = candidates_[last].orderly_end == ends_[last] && !zero_tail_ && fillers_.empty() &&
                 quarantine_.empty() && !cut_.value_or(Cut{}).keep_what_follows;
  out_.next_segment = candidates_[last].id + 1;
  if (!candidates_[last].seal) {
    const SegmentScan& scan = scanned_[last].scan;
    out_.tail = {candidates_[last].identity, ends_[last], counts_[last], scan.earliest_us, scan.latest_us};
  }
  return Status::Ok();
}

// Takes out what lies behind the end: the following segments, the last first, so that a crash in between leaves a log
// of which the same is still true.
Status Recovery::ApplyCut() {
  const std::string why = "Recovery found that the log ends before this, at segment " +
                          std::to_string(candidates_[cut_->segment].id) + ", offset " + std::to_string(cut_->offset) +
                          ", record " + std::to_string(out_.next_sequence) +
                          ". It was never durable, and what should stand before it is missing.";
  for (size_t i = candidates_.size() - 1; i > cut_->segment; --i) {
    scanned_[i].mapping.reset();  // nothing mapped is renamed or deleted
    if (cut_->keep_what_follows && !candidates_[i].lost()) {
      SEGWAL_TRY(directory_.QuarantineSegment(candidates_[i].id, why));
    } else {
      remove_.push_back(candidates_[i].id);
    }
  }
  if (!cut_->keep_what_follows || !zero_tail_) return Status::Ok();
  const Mapping& mapping = *scanned_[cut_->segment].mapping;
  const uint64_t used =
      FindNonZeroEnd(mapping.data(), std::min<uint64_t>(cut_->offset, mapping.size()), mapping.size());
  return directory_.QuarantineBytes(candidates_[cut_->segment].id, cut_->offset,
                                    {mapping.data() + cut_->offset, used - cut_->offset}, why);
}

namespace {

// Where the first frame with a sequence above `sequence` begins.
uint64_t OffsetBehind(const std::byte* data, uint64_t end, uint64_t base, uint64_t sequence) {
  uint64_t offset = kSegmentHeaderSize;
  uint64_t next = base;
  Frame frame;
  while (next <= sequence && PeekFrame(data, offset, end, &frame) == FrameState::kValid) {
    next += frame.count;
    offset += frame.padded_length();
  }
  return offset;
}

// Stores to every page of the range what is there already, so that the next sync writes it.
void Dirty(std::byte* data, uint64_t begin, uint64_t end) {
  for (uint64_t at = AlignDown(begin, kPageSize); at < end; at += kPageSize) {
    volatile std::byte* const byte =
        data + at;  // volatile: or the compiler sees that nothing changes, and stores nothing
    *byte = *byte;
  }
}

}  // namespace

// Makes what is kept of an unsealed segment durable: writes the fillers, rewrites every page behind the last proof of
// durability - a page whose write-back failed once is clean in the page cache, and no sync would ever write it again -
// and seals the segment if another follows.
Status Recovery::Settle(size_t at) {
  const Candidate& segment = candidates_[at];
  const uint64_t end = ends_[at];
  const bool full = at + 1 < ends_.size();
  const bool filled = std::ranges::any_of(fillers_, [at](const Filler& filler) { return filler.segment == at; });
  const bool whole = segment.file_size >= segment.identity.segment_size;
  scanned_[at].mapping.reset();
  if (!full && !filled && whole && segment.base() + counts_[at] - 1 <= proof_) return Status::Ok();

  std::unique_ptr<File> file;
  SEGWAL_TRY(platform_.Open(directory_.SegmentPath(segment.id), OpenMode::kReadWrite, &file));
  if (!whole) {
    SEGWAL_TRY(file->Allocate(segment.identity.segment_size));
    SEGWAL_TRY(file->Sync());
  }
  std::unique_ptr<Mapping> mapping;
  SEGWAL_TRY(platform_.Map(std::move(file), segment.identity.segment_size, true, &mapping));
  std::byte* data = mapping->data();
  for (const Filler& filler : fillers_) {
    if (filler.segment != at) continue;
    StoreFiller(data, filler.offset, filler.length, filler.index, filler.count, SaltChecksum(segment.identity.salt));
  }
  Dirty(data, 0, kSegmentHeaderSize);
  Dirty(data, OffsetBehind(data, end, segment.base(), proof_), end);
  SEGWAL_TRY(mapping->Sync(0, end));
  SEGWAL_TRY(CheckMemory(*mapping, segment.id));
  if (!full) return Status::Ok();
  const SegmentScan& scan = scanned_[at].scan;
  const Seal seal{.end_offset = end,
                  .record_count = counts_[at],
                  .last_sequence = segment.base() + counts_[at] - 1,
                  .earliest_us = scan.earliest_us,
                  .latest_us = scan.latest_us};
  StoreSeal(data, segment.identity, seal);
  SEGWAL_TRY(mapping->Sync(0, kSegmentHeaderSize));
  SEGWAL_TRY(CheckMemory(*mapping, segment.id));
  candidates_[at].seal = seal;
  return Status::Ok();
}

// A dropped frame must never come back to life behind new ones.
Status Recovery::ZeroTail(const Candidate& segment, uint64_t offset) {
  std::unique_ptr<File> file;
  SEGWAL_TRY(platform_.Open(directory_.SegmentPath(segment.id), OpenMode::kReadWrite, &file));
  SEGWAL_TRY(file->Zero(offset, segment.identity.segment_size - offset));
  return file->Sync();
}

Status Recovery::MoveFilesAway() {
  for (uint64_t id : quarantine_) {
    SEGWAL_TRY(directory_.QuarantineSegment(id, "Recovery found a segment without an identity: it cannot be read."));
  }
  if (remove_.empty()) return Status::Ok();
  for (uint64_t id : remove_) {
    if (Status status = platform_.Remove(directory_.SegmentPath(id));
        !status.ok() && status.code() != ErrorCode::kNotFound) {
      return status;
    }
  }
  return platform_.SyncDirectory(directory_.SegmentsPath());
}

}  // namespace

Status Recover(Platform& platform, const LogDirectory& directory, const LogOptions& options, RecoveredLog* recovered) {
  const uint64_t started = platform.Monotonic();
  SEGWAL_TRY(Recovery(platform, directory, options, recovered).Run());
  recovered->report.duration_ms = static_cast<double>(platform.Monotonic() - started) / 1e6;
  return Status::Ok();
}

}  // namespace segwal
