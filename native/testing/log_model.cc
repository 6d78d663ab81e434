#include "testing/log_model.h"

#include <algorithm>

namespace segwal {
namespace {

std::string Number(uint64_t number) { return std::to_string(number); }

}  // namespace

void LogModel::Append(const std::vector<ModelRecord>& records, bool returned) {
  for (size_t i = 0; i < records.size(); ++i) {
    slots_.push_back({records[i], returned ? State::kCommitted : State::kPending});
    slots_.back().record.starts_frame = i == 0;
  }
}

void LogModel::Committed(uint64_t sequence, uint64_t count) {
  for (uint64_t i = 0; i < count; ++i) At(sequence + i).state = State::kCommitted;
}

uint64_t LogModel::CommittedEnd() const {
  const auto pending =
      std::find_if(slots_.begin(), slots_.end(), [](const Slot& slot) { return slot.state == State::kPending; });
  return static_cast<uint64_t>(pending - slots_.begin());
}

uint64_t LogModel::LastNotPending() const {
  const auto last =
      std::find_if(slots_.rbegin(), slots_.rend(), [](const Slot& slot) { return slot.state != State::kPending; });
  return static_cast<uint64_t>(slots_.rend() - last);
}

void LogModel::MayBeCompacted(uint64_t first, uint64_t before, uint64_t first_delete_to_keep) {
  struct Key {
    bool in_transaction = false;
    bool something_stays = false;
    std::vector<Slot*> earlier;  // the latest one last
    bool ends = false;
  };
  std::vector<Slot*> may_go;
  std::map<std::string, Key> keys;
  for (Slot& slot : slots_) slot.goes = false;
  for (uint64_t sequence = first; sequence < before && sequence <= last(); ++sequence) {
    Slot& slot = At(sequence);
    if (slot.state != State::kCommitted || !slot.record.key) continue;
    Key& key = keys[*slot.record.key];
    if (slot.record.kind >= kKindBegin && slot.record.kind <= kKindAbort) {
      key.in_transaction = slot.record.kind == kKindBegin;
      key.something_stays = true;
    } else if (!key.in_transaction) {
      if (!key.earlier.empty()) may_go.push_back(key.earlier.back());
      // One that an earlier compaction may have removed replaces nothing for sure any more.
      for (Slot* earlier : key.earlier) earlier->goes |= !slot.may_go;
      key.earlier.push_back(&slot);
      key.ends = slot.record.kind == kKindDelete && !key.something_stays && sequence < first_delete_to_keep;
    }
  }
  for (const auto& [name, key] : keys) {
    if (key.ends) key.earlier.back()->goes = true;
  }
  for (Slot* slot : may_go) slot->may_go = true;
  for (Slot& slot : slots_) slot.may_go |= slot.goes;
}

void LogModel::Compacted() {
  for (Slot& slot : slots_) {
    if (!slot.goes) continue;
    slot.state = State::kRemoved;
    slot.may_go = false;
  }
}

void LogModel::PutInto(uint64_t sequence, const ModelRecord& record, Map* map) {
  if (!record.key) return;
  if (record.kind == kKindDelete) {
    map->erase(*record.key);
  } else {
    (*map)[*record.key] = sequence;
  }
}

std::optional<LogModel::Map> LogModel::Replayed(uint64_t first, uint64_t last) const {
  if (!replayable_) return std::nullopt;
  Map map;
  for (uint64_t sequence = first; sequence <= last; ++sequence) {
    const Slot& slot = At(sequence);
    if (slot.state == State::kCommitted || slot.state == State::kRemoved) PutInto(sequence, slot.record, &map);
  }
  return map;
}

void LogModel::TruncatedAfter(uint64_t sequence) {
  for (const Slot& slot : slots_) replayable_ &= slot.state != State::kRemoved && !slot.may_go;
  slots_.resize(sequence);
  durable_ = sequence;
  stored_ = std::min(stored_, sequence);
  new_end_.reset();
}

bool LogModel::InsideBatch(uint64_t sequence) const {
  if (sequence + 1 < first_low_ || sequence >= last()) return false;
  const Slot& next = At(sequence + 1);
  return next.state != State::kGap && !next.record.starts_frame;
}

bool LogModel::InsideGap(uint64_t sequence) const {
  const auto in_gap = [](const Slot& slot) {
    return slot.state == State::kGap || slot.state == State::kRemoved || slot.may_go;
  };
  return sequence >= first_low_ && sequence < last() && in_gap(At(sequence)) && in_gap(At(sequence + 1));
}

void LogModel::ClosedInOrder() { durable_ = last(); }

void LogModel::Died(Death death, bool boot_known) {
  if (death == Death::kPowerLoss) {
    prefix_only_ = true;
    stored_ = 0;
  } else if (!boot_known && !prefix_only_) {
    // Taken for a power loss, but nothing stored is lost: all up to the first writer that was stopped.
    stored_ = CommittedEnd();
    prefix_only_ = true;
  }
}

std::string LogModel::Recovered(uint64_t first, uint64_t last) {
  if (first < first_low_ || first > first_high_) {
    return "the log begins with record " + Number(first) + "; it has to be one of " + Number(first_low_) + " … " +
           Number(first_high_);
  }
  if (new_end_ && last == *new_end_) {
    TruncatedAfter(last);
    prefix_only_ = recovery_tried_ = false;
    stored_ = 0;
    first_low_ = first_high_ = first;
    return {};
  }
  new_end_.reset();
  if (last < durable_) {
    return "records " + Number(last + 1) + " … " + Number(durable_) + " were durable and are not there";
  }
  if (last < stored_)
    return "all up to record " + Number(stored_) + " was stored, and the log ends with " + Number(last);
  const uint64_t most = prefix_only_ && !recovery_tried_ ? std::max(CommittedEnd(), durable_) : LastNotPending();
  if (last > most)
    return "the log ends with record " + Number(last) + ", and the last that can be there is " + Number(most);
  if (!prefix_only_ && last < most) {
    return "the log ends with record " + Number(last) + ", and all up to " + Number(most) + " had been appended";
  }
  if (last < slots_.size() && At(last + 1).state != State::kPending && At(last + 1).state != State::kGap &&
      !At(last + 1).record.starts_frame) {
    return "a batch was cut in two behind record " + Number(last);
  }
  slots_.resize(last);
  for (Slot& slot : slots_) {
    if (slot.state == State::kPending) slot.state = State::kGap;
  }
  first_low_ = first_high_ = first;
  durable_ = last;
  stored_ = 0;
  prefix_only_ = recovery_tried_ = false;
  return {};
}

std::string LogModel::Check(uint64_t sequence, const ModelRecord& record) const {
  if (sequence == 0 || sequence > last()) return "record " + Number(sequence) + " was never appended";
  const Slot& slot = At(sequence);
  if (slot.state == State::kRemoved) return "record " + Number(sequence) + " was removed by compaction";
  if (slot.state != State::kCommitted) return "record " + Number(sequence) + " was never committed";
  if (record.data == slot.record.data && record.key == slot.record.key && record.kind == slot.record.kind) return {};
  return "record " + Number(sequence) + " is not what was appended: " + Number(record.data.size()) + " bytes for " +
         Number(slot.record.data.size());
}

uint64_t LogModel::NextRecord(uint64_t sequence, uint64_t last) const {
  do {
    ++sequence;
  } while (sequence <= last && (At(sequence).state != State::kCommitted || At(sequence).may_go));
  return sequence;
}

}  // namespace segwal
