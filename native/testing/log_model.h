// LogModel: what a log has to remember, as an array. It is told what was done to the log, and says of what came back
// whether it may be so. The promises are those of docs/DURABILITY.md and of the README: nothing durable is lost,
// nothing is invented, a prefix survives power loss, all appends that returned survive the death of the process,
// batches are whole.
#pragma once

#include <algorithm>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "core/types.h"
#include "testing/crash_platform.h"

namespace segwal {

struct ModelRecord {
  std::string data;
  std::optional<std::string> key;
  uint8_t kind = 0;
  bool starts_frame = true;

  bool operator==(const ModelRecord&) const = default;
};

class LogModel {
 public:
  // ---- what was done ----
  // `returned`: its append has returned. Otherwise its writer is still at it. The sequence has to be the next one.
  void Append(const std::vector<ModelRecord>& records, bool returned);
  void Committed(uint64_t sequence, uint64_t count);
  void Durable(uint64_t watermark) { durable_ = std::max(durable_, watermark); }
  // A truncation before `sequence` began; it may or may not have come to its end.
  void MayBeTruncatedBefore(uint64_t sequence) { first_high_ = std::max(first_high_, sequence); }
  void TruncatedTo(uint64_t first) { first_low_ = first_high_ = std::max(first_low_, first); }
  // A truncation behind `sequence`, which is not the last one, began: from some moment on the log ends there.
  void MayBeTruncatedAfter(uint64_t sequence) { new_end_ = sequence; }
  void TruncatedAfter(uint64_t sequence);
  void NotTruncated() { new_end_.reset(); }
  // A compaction of the records from `first` up to, and without, `before` began, which keeps Deletes from
  // `first_delete_to_keep` on: what may be missing from now on. And it came to its end: then it is.
  void MayBeCompacted(uint64_t first, uint64_t before, uint64_t first_delete_to_keep);
  void Compacted();
  // Nobody knows which of its two ends the log has.
  bool EndUnknown() const { return new_end_.has_value(); }
  // Whether a batch goes on behind `sequence`.
  bool InsideBatch(uint64_t sequence) const;
  // Whether records were given up at `sequence` and behind it: one filler may stand for both, or two.
  bool InsideGap(uint64_t sequence) const;
  // The log was left: everything in it was made durable first, or its process died, or its machine.
  void ClosedInOrder();
  void Died(Death death, bool boot_known);
  // A recovery has begun, and nobody knows how far it came.
  void RecoveryTried() { recovery_tried_ = true; }

  // ---- what may come back ----
  // Why a log that was recovered with these bounds is wrong; empty when it is not. The model goes on with what came
  // back, all of which is durable then.
  std::string Recovered(uint64_t first, uint64_t last);
  // Why the record that was read is wrong; empty when it is not.
  std::string Check(uint64_t sequence, const ModelRecord& record) const;
  // Whether compaction may have removed the record.
  bool MayBeMissing(uint64_t sequence) const { return At(sequence).may_go; }
  // The next sequence behind `sequence` that has to have a record, up to `last`; last + 1 when none has.
  uint64_t NextRecord(uint64_t sequence, uint64_t last) const;

  // What putting the records from `first` to `last` into a map, by key, and taking out what a Delete ends, has to give,
  // whatever was removed. Nothing when it cannot be known any more: what replaced a record was itself dropped.
  using Map = std::map<std::string, uint64_t>;  // to the sequence
  static void PutInto(uint64_t sequence, const ModelRecord& record, Map* map);
  std::optional<Map> Replayed(uint64_t first, uint64_t last) const;

  uint64_t first() const { return first_low_; }
  uint64_t first_high() const { return first_high_; }  // should the last truncation have come to its end
  uint64_t last() const { return slots_.size(); }
  uint64_t durable() const { return durable_; }
  // Up to where every append has returned.
  uint64_t CommittedEnd() const;

 private:
  enum class State : uint8_t {
    kPending,    // claimed, not committed
    kCommitted,  // a record
    kGap,        // recovery put a filler here
    kRemoved,    // by compaction
  };
  struct Slot {
    ModelRecord record;
    State state;
    bool may_go = false;  // a compaction may have removed it
    bool goes = false;    // the one that is under way is to
  };
  Slot& At(uint64_t sequence) { return slots_[sequence - 1]; }
  const Slot& At(uint64_t sequence) const { return slots_[sequence - 1]; }
  uint64_t LastNotPending() const;

  std::vector<Slot> slots_;  // slot i has sequence i + 1; those before first() are kept and not looked at
  uint64_t first_low_ = 1;
  uint64_t first_high_ = 1;
  uint64_t durable_ = 0;
  std::optional<uint64_t> new_end_;
  bool replayable_ = true;

  // Since the last recovery that came to its end.
  uint64_t stored_ = 0;       // nothing up to here was lost yet
  bool prefix_only_ = false;  // what is not durable may be lost from some place on
  bool recovery_tried_ = false;
};

}  // namespace segwal
