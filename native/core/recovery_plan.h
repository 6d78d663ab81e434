// What recovery has found and decided, before anything of it is done. Between the files of recovery only.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "core/recovery.h"

namespace segwal {

// One segment file, as found.
struct Candidate : SegmentHeader {
  uint64_t id = 0;

  // Only in a salvage. A new segment takes its place, which stands for the records that it had; `file_size` is 0 when
  // there is no file at all.
  bool stand_in = false;
  std::string trouble;    // why
  bool repaired = false;  // the identity was damaged in the file, and is whole here
  bool broken = false;    // it has a seal with which its frames do not agree

  uint64_t base() const { return identity.base_sequence; }
  // A power cut kept pages of later segments and not the first page of this one: as good as empty.
  bool lost() const { return state == SectorState::kAbsent && !traces && !stand_in; }
  // Where its frames end is known without walking them.
  bool settled() const { return stand_in || (seal && !broken); }
};

// The frames of a candidate that is not settled, mapped.
struct Scanned {
  std::unique_ptr<Mapping> mapping;
  SegmentScan scan;
  bool nothing_behind = false;  // no byte behind the first run was ever claimed
};

struct RecoveryPlan {
  struct Filler {
    size_t segment;  // of candidates
    uint64_t offset;
    uint32_t length;
    uint32_t index;
    uint32_t count;
  };
  // Bytes that a filler will stand in the place of.
  struct Piece {
    size_t segment;  // of candidates
    uint64_t offset;
    uint64_t end;
    std::string why;
  };
  // A file that holds something nobody can read.
  struct Unreadable {
    uint64_t id;
    std::string why;
  };
  // Where the log ends, when that is not the end of the last file.
  struct Cut {
    size_t segment = 0;
    uint64_t offset = 0;
    bool keep_what_follows = false;  // case C: into quarantine; otherwise there is nothing worth keeping
  };

  bool is_new = false;
  LogMeta meta;
  bool write_meta = false;
  std::vector<Checkpoint> checkpoints;
  std::vector<Candidate> candidates;  // by id; once checked: with an identity and without gaps
  std::vector<Scanned> scanned;       // beside candidates; empty for settled ones
  std::vector<uint64_t> ends;         // beside candidates: where the frames end
  std::vector<uint64_t> counts;       // and how many sequence numbers they hold
  std::vector<uint64_t> remove;       // ids of files that hold nothing of this log any more
  std::vector<Unreadable> quarantine;
  std::vector<Filler> fillers;
  std::vector<Piece> pieces;
  std::optional<Cut> cut;
  std::optional<uint64_t> truncate_to;  // a truncation behind this record is to be finished
  bool front_goes = false;              // segments before the first that the log keeps are among `remove`
  bool zero_tail = false;               // something that is not zero stands behind the end
  bool salvaged = false;                // something was given up that strict recovery would have refused
  uint64_t proof = 0;                   // the highest sequence that something proves durable
  uint64_t next_sequence = 1;
  RecoveryReport report;
};

// Looks at everything and writes nothing.
Status DecideRecovery(Platform& platform, const LogDirectory& directory, const LogOptions& options, RecoveryPlan* plan);
// Does what was decided; everything is durable when it returns.
Status ApplyRecovery(Platform& platform, const LogDirectory& directory, RecoveryPlan* plan, RecoveredLog* recovered);

}  // namespace segwal
