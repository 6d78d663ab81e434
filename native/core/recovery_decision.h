// RecoveryDecision: from what is there to what it means, by the table of docs/FORMAT.md. Writes nothing. What is there
// and the strict table are in recovery.cc; what a salvage adds, in salvage.cc.
#pragma once

#include <algorithm>
#include <string>

#include "core/recovery_plan.h"

namespace segwal {

class RecoveryDecision {
 public:
  RecoveryDecision(Platform& platform, const LogDirectory& directory, const LogOptions& options, RecoveryPlan* plan)
      : platform_(platform), directory_(directory), options_(options), plan_(*plan), boot_(platform.CurrentBoot()) {}

  Status Run();

 private:
  // ---- what is there ----
  Status LoadFiles();
  void FinishTruncation();
  Status SetAside(Candidate& candidate);
  Status PrepareNewLog();
  Status CheckSegments();
  Status CheckIdentity(const Candidate& candidate) const;
  Status CheckSize();
  Status LoadCheckpoints();
  Status ScanUnsealed();
  Status Scan(const Candidate& candidate, Scanned* scanned);

  // ---- what it means ----
  Status Decide();
  Status DecideUnsealed(size_t at);
  Status DecideTruncated(size_t at);
  void CutAt(size_t at, uint64_t offset, uint64_t due, uint64_t dropped);

  // A place in an unsealed segment where no valid frame stands, and what is known of what follows.
  struct Gap {
    size_t segment;
    uint64_t offset;
    uint32_t index;
    uint64_t due;      // the record that is missing
    uint64_t resumes;  // the first one that is there again; 0: not known
    uint64_t until;    // where its frame stands; 0: not in this segment
  };

  // ---- salvage ----
  // Makes of the candidates what CheckSegments accepts: repairs identities, puts stand-ins into gaps, moves the front.
  Status PrepareSalvage();
  Status FindLogId(LogId* id, uint64_t* segment_size) const;
  bool Belongs(const Candidate& candidate, const LogId& log_id, uint64_t segment_size, std::string* why) const;
  Status RepairIdentity(const LogId& log_id, uint64_t segment_size, Candidate* candidate) const;
  Status MoveFront();
  Status FillGapsBetween();
  // Whether a sealed segment has the frames that its seal speaks of.
  bool SealHolds(const Candidate& candidate, const SegmentScan& scan) const;
  Status DecideStandIn(size_t at, uint64_t expected);
  // At most so many sequence numbers were used by what stands from `offset` on in the file, which cannot be checked.
  Status EstimateCount(const Candidate& candidate, uint64_t offset, uint64_t* count) const;
  Status CountLostAtEnd(const Candidate& segment, const Gap& gap, uint64_t* count) const;
  // Gives up what is missing at `gap`; moves offset and index of it behind the filler. `*room` is false when there is
  // none for a filler here, and a stand-in has to follow.
  Status GiveUp(Gap* gap, const std::string& what, bool* room);
  void AppendStandIn(uint64_t first);
  bool StandInFollows(size_t at) const { return at + 1 < plan_.candidates.size() && plan_.candidates[at + 1].stand_in; }

  // ---- words ----
  Status Damage(const Candidate& segment, uint64_t offset, uint64_t first, uint64_t last,
                const std::string& what) const;
  void Note(const char* rule, uint64_t segment, uint64_t offset, uint64_t bytes, uint64_t first, uint64_t last,
            std::string action);

  bool AnyFrameAfter(size_t at) const;
  bool LastWriterIsOfThisBoot() const {
    const auto last = std::find_if(plan_.candidates.rbegin(), plan_.candidates.rend(),
                                   [](const Candidate& candidate) { return candidate.state == SectorState::kValid; });
    return last != plan_.candidates.rend() && boot_ != BootId{} && last->live.boot == boot_;
  }

  Platform& platform_;
  const LogDirectory& directory_;
  const LogOptions& options_;
  RecoveryPlan& plan_;
  const BootId boot_;

  SectorState meta_state_ = SectorState::kAbsent;
  std::optional<Candidate> erased_;  // the last segment, when damage took its identity
};

// "record 5", "records 5 to 7".
inline std::string Range(uint64_t first, uint64_t last) {
  return first == last ? "record " + std::to_string(first)
                       : "records " + std::to_string(first) + " to " + std::to_string(last);
}

}  // namespace segwal
