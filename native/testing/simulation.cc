#include "testing/simulation.h"

#include <algorithm>
#include <array>
#include <chrono>
#include <map>
#include <random>
#include <set>
#include <sstream>

#include "core/log.h"
#include "core/reader.h"
#include "core/recovery.h"
#include "testing/crash_platform.h"
#include "testing/log_model.h"
#include "testing/stepped_log.h"

namespace segwal {
namespace {

using Generator = std::mt19937_64;

constexpr const char* kRoot = "/log";

// A short way to choose.
class Dice {
 public:
  explicit Dice(uint64_t seed) : random_(seed) {}
  uint64_t Next() { return random_(); }
  uint64_t Below(uint64_t end) { return random_() % end; }
  uint64_t Between(uint64_t low, uint64_t high) { return low + Below(high - low + 1); }
  bool Percent(uint64_t percent) { return Below(100) < percent; }

 private:
  std::minstd_rand random_;
};

std::string TextOf(ByteView bytes) { return {reinterpret_cast<const char*>(bytes.data()), bytes.size()}; }
ByteView BytesOf(const std::string& text) { return std::as_bytes(std::span(text.data(), text.size())); }

class Run {
 public:
  Run(const SimulationProgram& program, bool trace)
      : program_(program), tracing_(trace), platform_(program.seed), boot_known_(program.seed % 8 != 0) {
    if (!boot_known_) platform_.HideBoot();
  }

  SimulationResult Go();

  // ---- the actions ----
  void Append(Dice dice);
  void Batch(Dice dice);
  void BeginAppend(Dice dice);
  void ContinueAppend(Dice dice);
  void Sync(Dice dice);
  void BusySync(Dice dice);
  void Rotate(Dice dice);
  void Spare(Dice dice);
  void TruncateBefore(Dice dice);
  void TruncateAfter(Dice dice);
  void MakeCheckpoint(Dice dice);
  void Cleanup(Dice dice);
  void Read(Dice dice);
  void Look(Dice dice);
  void Verify(Dice dice);
  void WriteBack(Dice dice);
  void LoseWriteBack(Dice dice);
  void Fault(Dice dice);
  void Reopen(Dice dice);
  void Kill(Dice dice);
  void PowerLoss(Dice dice);
  void DieLater(Dice dice);
  void DieInRecovery(Dice dice);
  void RecoverTwice(Dice dice);
  void Damage(Dice dice);
  void MoveClock(Dice dice);
  void AppendKeyed(Dice dice);
  void Compact(Dice dice);
  void TurnOver(Dice dice);

 private:
  static constexpr uint64_t kSegmentSize = kMinSegmentSize;
  static constexpr size_t kMaxWriters = 4;
  LogOptions Options() const {
    LogOptions options{.segment_size = kSegmentSize, .sync = SyncPolicy{.delay_us = 0}};
    if (program_.seed % 3 == 0) options.retention = {.max_bytes = 3 * kSegmentSize};
    return options;
  }

  template <typename MakeText>
  void Say(const MakeText& make_text) {
    if (tracing_) result_.trace.push_back(make_text());
  }
  void FailWith(std::string what) {
    if (result_.failure.empty()) result_.failure = std::move(what);
  }
  bool failed() const { return !result_.failure.empty(); }
  bool Excused() const { return platform_.crashed() || platform_.failures() != failures_before_; }
  // A failure that nothing on purpose explains is a failure of the log.
  bool Expect(const Status& status, const char* what);

  std::string RandomData(Dice& dice);
  std::vector<ModelRecord> RandomRecords(Dice& dice, size_t count);
  bool DoAppend(const std::vector<ModelRecord>& records, bool batch);
  void AdvanceWriter(size_t which, StoppedWriter::Step step, uint64_t half);
  void FinishWriters();
  void DoSync();
  void TakeFront(uint64_t sequence);

  void HandleDeath();
  void Leave(Death death);
  void Open();
  bool RecoverAlone(uint64_t* last);
  // A durable frame as it lies on the medium, and what it proves.
  struct Found {
    std::string path;
    uint64_t segment;
    uint64_t offset;
    uint64_t first;
    uint64_t last;
    std::vector<std::byte> bytes;
    bool filler;
  };
  std::vector<Found> DurableFrames(uint64_t* proof);
  void OpenDamaged(const Found& frame);
  size_t Quarantined();
  void CheckRecovered();
  void CheckCheckpoints();
  void ForgetCheckpointsAfter(uint64_t sequence);
  void CheckReads(Log& log, const ReadFilter& filter, uint64_t last, const char* who);

  const SimulationProgram& program_;
  const bool tracing_;
  SimulationResult result_;
  CrashPlatform platform_;
  const bool boot_known_;
  SteppedLog log_;
  LogModel model_;
  std::vector<StoppedWriter> writers_;
  std::map<uint64_t, std::set<std::string>> checkpoints_tried_;  // with what, by record
  uint64_t newest_checkpoint_ = 0;                               // that has to be there; 0: none
  uint64_t failures_before_ = 0;                                 // of the platform, when the log was opened
  uint64_t written_ = 0;                                         // numbers records, so that no two are alike
  // What the next death, and the open that follows it, do.
  Death armed_ = Death::kProcess;
  uint64_t crash_seed_ = 0;
  uint64_t second_death_ = 0;
  uint64_t recover_twice_ = 0;
  std::vector<std::byte> chunk_ = std::vector<std::byte>(size_t{1} << 16);
};

struct Action {
  const char* name;
  int weight;
  void (Run::*run)(Dice);
};

// How often each is tried, in a program that has all of them.
constexpr std::array kActions{
    Action{"append", 40, &Run::Append},
    Action{"batch", 15, &Run::Batch},
    Action{"begin", 18, &Run::BeginAppend},
    Action{"continue", 14, &Run::ContinueAppend},
    Action{"sync", 14, &Run::Sync},
    Action{"busy-sync", 5, &Run::BusySync},
    Action{"rotate", 9, &Run::Rotate},
    Action{"spare", 4, &Run::Spare},
    Action{"truncate-before", 4, &Run::TruncateBefore},
    Action{"truncate-after", 5, &Run::TruncateAfter},
    Action{"checkpoint", 5, &Run::MakeCheckpoint},
    Action{"cleanup", 4, &Run::Cleanup},
    Action{"read", 2, &Run::Read},
    Action{"look", 1, &Run::Look},
    Action{"verify", 1, &Run::Verify},
    Action{"write-back", 6, &Run::WriteBack},
    Action{"lose-write-back", 2, &Run::LoseWriteBack},
    Action{"fault", 3, &Run::Fault},
    Action{"reopen", 2, &Run::Reopen},
    Action{"kill", 5, &Run::Kill},
    Action{"power-loss", 6, &Run::PowerLoss},
    Action{"die-later", 6, &Run::DieLater},
    Action{"die-in-recovery", 5, &Run::DieInRecovery},
    Action{"recover-twice", 4, &Run::RecoverTwice},
    Action{"damage", 3, &Run::Damage},
    Action{"clock", 1, &Run::MoveClock},
    Action{"keyed", 20, &Run::AppendKeyed},
    Action{"compact", 8, &Run::Compact},
    Action{"turn-over", 6, &Run::TurnOver},
};

SimulationResult Run::Go() {
  Say([&] {
    return boot_known_ ? std::string("a machine with a boot id") : std::string("a machine without a boot id");
  });
  // Even making a log can be cut short: steps may come before it is open, and then act on the machine alone.
  bool opened = false;
  for (const SimulationStep& step : program_.steps) {
    ++result_.steps;
    const Action& action = kActions[step.action];
    const bool before_open = action.run == &Run::DieLater || action.run == &Run::Fault;
    if (!opened && !before_open) {
      Open();
      opened = true;
    }
    if (failed()) break;
    Say([&] { return std::string(action.name); });
    (this->*action.run)(Dice(step.seed));
    if (!failed() && opened && platform_.crashed()) HandleDeath();
    if (failed()) break;
    if (log_.open()) model_.Durable(log_.log().durable_sequence());
  }
  if (!failed()) {
    if (!opened) Open();
    if (!failed()) PowerLoss(Dice(program_.seed));
  }
  log_.Kill();
  writers_.clear();
  result_.faults = platform_.failures();
  return std::move(result_);
}

bool Run::Expect(const Status& status, const char* what) {
  if (status.ok()) return true;
  Say([&] { return std::string("  ") + what + " failed: " + status.message(); });
  if (status.code() == ErrorCode::kCorrupt || (!Excused() && !(log_.open() && log_.Poisoned()))) {
    FailWith(std::string(what) + ": " + ErrorCodeName(status.code()) + " " + status.message());
  }
  return false;
}

// ---- appending ----------------------------------------------------------------------------------------------------

std::string Run::RandomData(Dice& dice) {
  size_t size = dice.Below(60);
  if (dice.Percent(15)) size = dice.Between(300, 1200);
  if (dice.Percent(6)) size = dice.Between(3000, 14'000);
  if (dice.Percent(4) && log_.Room() > 200) {  // to the end of the segment, or just short of it
    const uint64_t left = dice.Below(6) * kFrameAlignment;
    size = log_.Room() - kFrameHeaderSize - left;
  }
  std::string data(size, '\0');
  if (dice.Percent(5)) return data;
  if (dice.Percent(3)) {  // what looks like frames, because it was, in another segment
    const WriterState& state = log_.log().parts().state;
    const uint64_t id = dice.Between(1, state.current->id());
    if (const auto bytes = platform_.Live(LogDirectory(platform_, kRoot).SegmentPath(id))) {
      size = std::min<size_t>(std::max<size_t>(size, 400), bytes->size() - kSegmentHeaderSize);
      return {reinterpret_cast<const char*>(bytes->data() + kSegmentHeaderSize), size};
    }
  }
  if (dice.Percent(4)) {  // and in this one
    WriterState& state = log_.log().parts().state;
    const std::shared_ptr<Segment> segment = state.current;
    const uint64_t used = PointerOffset(segment->pointer().load());
    const uint64_t from = AlignDown(dice.Between(kSegmentHeaderSize, used), kFrameAlignment);
    size = std::min<size_t>(size, used - from);
    return {reinterpret_cast<const char*>(segment->data() + from), size};
  }
  uint64_t word = dice.Next() * 0x9e37'79b9'7f4a'7c15 + ++written_;
  for (size_t at = 0; at < size; ++at) {
    if (at % 8 == 0) word = word * 6364136223846793005 + 1442695040888963407;
    data[at] = static_cast<char>(word >> (at % 8 * 8));
  }
  return data;
}

std::vector<ModelRecord> Run::RandomRecords(Dice& dice, size_t count) {
  std::vector<ModelRecord> records(count);
  for (ModelRecord& record : records) {
    record.data = RandomData(dice);
    if (count > 1) record.data.resize(std::min<size_t>(record.data.size(), 4000));
    if (dice.Percent(20)) record.key = std::string(dice.Below(20), 'k');
    if (dice.Percent(20)) record.kind = static_cast<uint8_t>(dice.Below(256));
  }
  return records;
}

namespace {

std::vector<RecordView> ViewsOf(const std::vector<ModelRecord>& records) {
  std::vector<RecordView> views;
  for (const ModelRecord& record : records) {
    views.push_back({.data = BytesOf(record.data), .kind = record.kind});
    if (record.key) views.back().key = BytesOf(*record.key);
  }
  return views;
}

}  // namespace

bool Run::DoAppend(const std::vector<ModelRecord>& records, bool batch) {
  if (platform_.crashed()) return false;  // in the middle of a sync: there is nobody to append any more
  const bool poisoned = log_.Poisoned();
  const uint64_t sequence = log_.Append(ViewsOf(records), batch);
  if (sequence == 0) {
    if (log_.failure().code() == ErrorCode::kRecordTooLarge) return false;
    return Expect(log_.failure(), "append");
  }
  Say([&] {
    return "  records " + std::to_string(sequence) + " … " + std::to_string(sequence + records.size() - 1) + ", " +
           std::to_string(records[0].data.size()) + " bytes first";
  });
  if (poisoned) FailWith("an append to a poisoned log succeeded");
  if (sequence != model_.last() + 1) {
    FailWith("record " + std::to_string(sequence) + " was handed out, and " + std::to_string(model_.last() + 1) +
             " was due");
  }
  model_.Append(records, true);
  result_.records += records.size();
  return true;
}

void Run::Append(Dice dice) {
  const uint64_t times = dice.Percent(30) ? dice.Between(2, 12) : 1;
  for (uint64_t i = 0; i < times && !failed(); ++i) {
    if (!DoAppend(RandomRecords(dice, 1), false)) return;
  }
}

void Run::Batch(Dice dice) { DoAppend(RandomRecords(dice, dice.Between(1, 9)), true); }

void Run::BeginAppend(Dice dice) {
  if (writers_.size() == kMaxWriters || platform_.crashed()) return;
  const std::vector<ModelRecord> records = RandomRecords(dice, dice.Percent(30) ? dice.Between(2, 5) : 1);
  const auto step = static_cast<StoppedWriter::Step>(dice.Below(StoppedWriter::kCommitted));
  StoppedWriter writer;
  const uint64_t sequence = log_.AppendUntil(ViewsOf(records), false, step, dice.Next(), &writer);
  if (sequence == 0) {
    if (log_.failure().code() != ErrorCode::kRecordTooLarge) Expect(log_.failure(), "append");
    return;
  }
  Say([&] {
    return "  record " + std::to_string(sequence) + " (" + std::to_string(records.size()) +
           ") stopped: " + StepName(step) + ", segment " + std::to_string(writer.segment->id()) + " offset " +
           std::to_string(writer.offset) + " length " + std::to_string(writer.frame.size());
  });
  if (sequence != model_.last() + 1) FailWith("a claim was given the wrong sequence");
  model_.Append(records, false);
  writers_.push_back(std::move(writer));
}

void Run::AdvanceWriter(size_t which, StoppedWriter::Step step, uint64_t half) {
  StoppedWriter& writer = writers_[which];
  SteppedLog::Continue(&writer, step, half);
  Say([&] { return "  record " + std::to_string(writer.sequence) + " goes on: " + StepName(step); });
  if (step != StoppedWriter::kCommitted) return;
  model_.Committed(writer.sequence, writer.count);
  result_.records += writer.count;
  writers_.erase(writers_.begin() + static_cast<std::ptrdiff_t>(which));
}

void Run::ContinueAppend(Dice dice) {
  if (writers_.empty()) return;
  const size_t which = dice.Below(writers_.size());
  const auto step = static_cast<StoppedWriter::Step>(dice.Between(writers_[which].step, StoppedWriter::kCommitted));
  AdvanceWriter(which, dice.Percent(60) ? StoppedWriter::kCommitted : step, dice.Next());
}

void Run::FinishWriters() {
  while (!writers_.empty()) AdvanceWriter(writers_.size() - 1, StoppedWriter::kCommitted, 0);
}

// ---- the work of the threads, and what users ask for ---------------------------------------------------------------

void Run::DoSync() {
  if (log_.Poisoned()) return;
  const uint64_t committed = model_.CommittedEnd();
  const uint64_t before = log_.log().durable_sequence();
  const Status status = log_.Sync();
  const uint64_t durable = log_.log().durable_sequence();
  Say([&] { return "  durable: " + std::to_string(durable); });
  if (durable < before) FailWith("the watermark went back");
  if (durable > model_.CommittedEnd()) FailWith("the watermark passed what is committed");
  model_.Durable(durable);
  if (!Expect(status, "sync")) {
    if (!log_.Poisoned()) FailWith("a sync failed and the log was not poisoned");
    return;
  }
  if (durable < committed) FailWith("a sync did not reach what was committed before it");
}

void Run::Sync(Dice) { DoSync(); }

// Appends while a sync is under way: they are late for it.
void Run::BusySync(Dice dice) {
  int budget = 3;
  platform_.DuringSync([this, &dice, &budget] {
    if (budget-- <= 0 || failed()) return;
    if (dice.Percent(20)) ContinueAppend(Dice(dice.Next()));
    if (dice.Percent(20)) BeginAppend(Dice(dice.Next()));
    if (dice.Percent(80)) Append(Dice(dice.Next()));
    if (dice.Percent(10)) static_cast<void>(log_.Rotate());
  });
  DoSync();
  platform_.DuringSync(nullptr);
}

void Run::Rotate(Dice dice) {
  if (!Expect(log_.Rotate(), "rotate")) return;
  if (dice.Percent(50)) DoSync();
}

void Run::Spare(Dice) {
  if (!log_.Poisoned()) log_.SupplySpare();
  if (!platform_.crashed()) log_.RemoveUnusable();
}

void Run::TruncateBefore(Dice dice) {
  DoSync();
  if (failed() || platform_.crashed() || model_.last() == 0) return;
  TakeFront(dice.Between(model_.first(), model_.last() + 1));
}

// As a log with a retention does all the time: the front goes, and its files come back as the next segments.
void Run::TurnOver(Dice dice) {
  for (uint64_t turns = dice.Between(2, 5); turns > 0; --turns) {
    for (uint64_t appends = dice.Between(1, 4); appends > 0; --appends) Append(Dice(dice.Next()));
    if (failed() || platform_.crashed() || !Expect(log_.Rotate(), "rotate")) return;
    DoSync();
    if (failed() || platform_.crashed() || model_.last() == 0) return;
    TakeFront(model_.last() + 1);
    if (!failed() && !platform_.crashed()) Spare(dice);
  }
}

void Run::TakeFront(uint64_t sequence) {
  // It waits for durability, and a writer that stopped would keep it waiting.
  if (!log_.Poisoned() && log_.log().durable_sequence() < model_.last()) return;
  model_.MayBeTruncatedBefore(sequence);
  const uint64_t before = log_.log().first_sequence();
  const Status status = log_.log().TruncateBefore(sequence);
  Say([&] {
    return "  before " + std::to_string(sequence) + ": first is " + std::to_string(log_.log().first_sequence());
  });
  const bool moved = log_.log().first_sequence() != before;
  if (Expect(status, "truncateBefore") && moved) model_.TruncatedTo(log_.log().first_sequence());
}

void Run::TruncateAfter(Dice dice) {
  if (!writers_.empty() || log_.Poisoned() || model_.EndUnknown()) return;
  DoSync();
  if (failed() || platform_.crashed() || log_.Poisoned() || model_.last() == 0) return;
  const uint64_t first = model_.first() - 1;
  const uint64_t sequence =
      dice.Percent(50)
          ? dice.Between(std::max(first, model_.last() - std::min<uint64_t>(model_.last(), 6)), model_.last())
          : dice.Between(first, model_.last());
  const bool nothing = sequence == model_.last();
  const bool inside = model_.InsideBatch(sequence);
  if (!nothing && !inside) model_.MayBeTruncatedAfter(sequence);
  const Status status = log_.log().TruncateAfter(sequence);
  Say([&] { return "  behind " + std::to_string(sequence) + ": " + (status.ok() ? "done" : status.message()); });
  if (platform_.crashed()) return;
  if (inside && status.ok()) return FailWith("the log was truncated in the middle of a batch");
  if (status.code() == ErrorCode::kInsideBatch) {
    if (!inside && !model_.InsideGap(sequence)) {
      FailWith("the end of a batch was taken for its middle: " + status.message());
    }
    return model_.NotTruncated();
  }
  if (status.ok()) {
    if (nothing) return;
    model_.TruncatedAfter(sequence);
    ForgetCheckpointsAfter(sequence);
    if (log_.log().last_sequence() != sequence) FailWith("the log does not end where it was truncated");
    if (log_.log().durable_sequence() != sequence) FailWith("not all that a truncation left is durable");
    CheckReads(log_.log(), {}, sequence, "read after a truncation");
  } else {
    Expect(status, "truncateAfter");
    if (!log_.Poisoned()) model_.NotTruncated();
  }
}

void Run::MakeCheckpoint(Dice dice) {
  if (log_.Poisoned() || model_.EndUnknown()) return;
  DoSync();
  const uint64_t durable = log_.open() ? log_.log().durable_sequence() : 0;
  // It waits for durability, and nobody would wake it.
  if (failed() || platform_.crashed() || log_.Poisoned() || durable < model_.first()) return;
  const uint64_t sequence = dice.Percent(60) ? durable : dice.Between(model_.first(), durable);
  const std::string data = "snapshot " + std::to_string(dice.Below(1000));
  checkpoints_tried_[sequence].insert(data);
  Checkpoint made;
  const Status status = log_.log().CreateCheckpoint(sequence, BytesOf(data), &made);
  Say([&] { return "  of record " + std::to_string(sequence) + ": " + (status.ok() ? "done" : status.message()); });
  if (platform_.crashed() || !Expect(status, "createCheckpoint")) return;
  newest_checkpoint_ = std::max(newest_checkpoint_, sequence);
  checkpoints_tried_[sequence] = {data};
}

// What goes is not needed by the newest checkpoint, and nobody holds it.
void Run::Cleanup(Dice dice) {
  if (model_.EndUnknown()) return;
  DoSync();
  if (failed() || platform_.crashed() || log_.Poisoned() || model_.last() == 0) return;
  if (log_.log().durable_sequence() < model_.last()) return;
  std::vector<Checkpoint> checkpoints;
  if (!Expect(log_.log().Checkpoints(&checkpoints), "checkpoints")) return;
  std::unique_ptr<Holds::Hold> hold;
  uint64_t needed = checkpoints.empty() ? model_.last() + 1 : checkpoints.back().sequence + 1;
  if (dice.Percent(30) && model_.first() <= model_.last()) {
    hold = log_.log().HoldFrom(dice.Between(model_.first(), model_.last()));
    needed = std::min(needed, hold->sequence());
  }
  needed = std::max(needed, log_.log().first_sequence());  // a truncation may have gone further
  model_.MayBeTruncatedBefore(needed);
  CleanupResult cleaned;
  const Status status = log_.log().Cleanup(&cleaned);
  const uint64_t first = log_.log().first_sequence();
  Say([&] { return "  up to " + std::to_string(needed) + ": first is " + std::to_string(first); });
  if (first > needed) return FailWith("a cleanup took away what is needed");
  if (checkpoints.empty() && program_.seed % 3 != 0 && cleaned.segments_removed != 0) {
    return FailWith("a cleanup took away what nobody had said is not needed");
  }
  // One that had failed before may still come about, unless this one has said something else.
  if (Expect(status, "cleanup") && cleaned.segments_removed != 0) model_.TruncatedTo(first);
}

// Of few keys, so that many replace an older one, end their key, or belong to a transaction.
void Run::AppendKeyed(Dice dice) {
  constexpr std::array<uint8_t, 12> kKinds{0, 0, 0, 0, 1, 2, 3, 3, 3, 4, 5, 6};
  for (uint64_t times = dice.Between(1, 6); times > 0 && !failed(); --times) {
    std::vector<ModelRecord> records = RandomRecords(dice, dice.Percent(70) ? 1 : dice.Between(2, 6));
    for (ModelRecord& record : records) {
      record.key = std::string(1, static_cast<char>('a' + dice.Below(4)));
      record.kind = kKinds[dice.Below(kKinds.size())];
      if (dice.Percent(80)) record.data.resize(std::min<size_t>(record.data.size(), 20));
    }
    if (!DoAppend(records, records.size() > 1)) return;
  }
  if (dice.Percent(40)) static_cast<void>(log_.Rotate());
}

void Run::Compact(Dice dice) {
  if (model_.EndUnknown()) return;
  DoSync();
  if (failed() || platform_.crashed() || log_.Poisoned()) return;
  std::vector<Checkpoint> checkpoints;
  if (!Expect(log_.log().Checkpoints(&checkpoints), "checkpoints")) return;
  uint64_t first_delete = checkpoints.empty() ? UINT64_MAX : checkpoints.front().sequence + 1;
  std::unique_ptr<Holds::Hold> hold;
  if (dice.Percent(10)) hold = log_.log().HoldFrom(dice.Between(1, model_.last() + 1));
  if (hold) first_delete = std::min(first_delete, hold->sequence());
  uint64_t reach = 0;
  for (const SegmentInfo& segment : log_.log().Segments()) {
    if (!segment.sealed) break;
    reach = segment.last_sequence + 1;
  }
  CompactOptions options;
  if (dice.Percent(30)) options.before = dice.Between(1, model_.last() + 1);
  // Not the model's first one: a truncation may have come to it, and failed then.
  model_.MayBeCompacted(log_.log().first_sequence(), std::min(reach, options.before), first_delete);
  CompactResult compacted;
  const Status status = log_.log().Compact(options, &compacted);
  Say([&] {
    return "  before " + std::to_string(std::min(reach, options.before)) + ": " +
           std::to_string(compacted.records_removed) + " removed, " + std::to_string(compacted.segments_rewritten) +
           " segments rewritten" + (status.ok() ? "" : ", " + status.message());
  });
  if (platform_.crashed() || !Expect(status, "compact")) return;
  if (!compacted.skipped.empty() && !Excused()) FailWith("a segment was skipped: " + compacted.skipped[0].reason);
  if (compacted.skipped.empty()) model_.Compacted();
  CheckReads(log_.log(), {}, model_.CommittedEnd(), "read after a compaction");
}

void Run::ForgetCheckpointsAfter(uint64_t sequence) {
  std::erase_if(checkpoints_tried_, [sequence](const auto& each) { return each.first > sequence; });
  if (newest_checkpoint_ <= sequence) return;
  // Which of the older ones had been thinned out is not known here.
  newest_checkpoint_ = 0;
}

void Run::CheckCheckpoints() {
  std::vector<Checkpoint> checkpoints;
  if (!Expect(log_.log().Checkpoints(&checkpoints), "checkpoints")) return;
  ForgetCheckpointsAfter(log_.log().last_sequence());
  bool newest = newest_checkpoint_ == 0;
  for (const Checkpoint& checkpoint : checkpoints) {
    const auto tried = checkpoints_tried_.find(checkpoint.sequence);
    if (tried == checkpoints_tried_.end() || !tried->second.contains(TextOf(checkpoint.data))) {
      return FailWith("there is a checkpoint of record " + std::to_string(checkpoint.sequence) + " that nobody made");
    }
    newest |= checkpoint.sequence >= newest_checkpoint_;
  }
  if (newest && !checkpoints.empty()) newest_checkpoint_ = checkpoints.back().sequence;
  if (!newest) FailWith("the checkpoint of record " + std::to_string(newest_checkpoint_) + " is not there");
}

void Run::CheckReads(Log& log, const ReadFilter& filter, uint64_t last, const char* who) {
  std::unique_ptr<Reader> reader;
  if (!Expect(log.NewReader(filter, &reader), who)) return;
  std::array<RecordDescriptor, 64> descriptors;
  const uint64_t from = std::max(filter.from, log.first_sequence());
  const uint64_t to = std::min(filter.to, last);
  uint64_t due = model_.NextRecord(from - 1, to);
  std::vector<uint64_t> backward;
  LogModel::Map map;
  while (true) {
    ReadChunk chunk{.data = chunk_, .records = descriptors};
    if (!Expect(reader->Fill(&chunk), who)) return;
    if (chunk.needed != 0) {
      chunk_.resize(chunk.needed);
      continue;
    }
    if (chunk.count == 0) break;
    for (size_t i = 0; i < chunk.count; ++i) {
      const RecordDescriptor& found = descriptors[i];
      const ByteView bytes(chunk_);
      ModelRecord record{.data = TextOf(bytes.subspan(found.data_offset, found.data_length)),
                         .kind = static_cast<uint8_t>(found.attributes)};
      if ((found.attributes & RecordDescriptor::kHasKey) != 0) {
        record.key = TextOf(bytes.subspan(found.data_offset - found.key_length, found.key_length));
      }
      const auto sequence = static_cast<uint64_t>(found.sequence);
      if (std::string wrong = model_.Check(sequence, record); !wrong.empty()) {
        return FailWith(std::string(who) + ": " + wrong);
      }
      LogModel::PutInto(sequence, record, &map);
      if (model_.MayBeMissing(sequence)) continue;
      if (filter.reverse) {
        backward.push_back(sequence);
        continue;
      }
      if (sequence != due) {
        return FailWith(std::string(who) + ": record " + std::to_string(sequence) + " came, and " +
                        std::to_string(due) + " was due");
      }
      due = model_.NextRecord(due, to);
    }
  }
  for (; !backward.empty(); backward.pop_back()) {
    if (backward.back() != due)
      return FailWith(std::string(who) + ": backwards, record " + std::to_string(due) + " is missing");
    due = model_.NextRecord(due, to);
  }
  if (due <= to) FailWith(std::string(who) + ": record " + std::to_string(due) + " is missing");
  if (filter.reverse || filter.from != 1 || filter.to != UINT64_MAX) return;
  const std::optional<LogModel::Map> expected = model_.Replayed(from, to);
  if (expected && map != *expected) FailWith(std::string(who) + ": replayed by key, the log says something else");
}

void Run::Read(Dice dice) {
  ReadFilter filter;
  if (dice.Percent(50)) filter.from = dice.Between(1, model_.last() + 1);
  if (dice.Percent(50)) filter.to = dice.Between(1, model_.last() + 1);
  filter.reverse = dice.Percent(30);
  if (model_.EndUnknown()) return;
  if (log_.log().last_sequence() != model_.CommittedEnd()) FailWith("the log does not end where all is committed");
  CheckReads(log_.log(), filter, model_.CommittedEnd(), "read");
}

// Another process looks, without a lock.
void Run::Look(Dice) {
  if (model_.EndUnknown()) return;
  std::shared_ptr<Log> other;
  if (!Expect(Log::Open(platform_, kRoot, {.read_only = true}, &other), "open read-only")) return;
  const uint64_t last = other->last_sequence();
  if (last != model_.CommittedEnd() && !Excused()) FailWith("a reading process does not see what is committed");
  // It may know more than the watermark says: a segment's seal comes before. What it says has to be true.
  if (other->durable_sequence() > model_.CommittedEnd()) FailWith("a reading process takes for durable what is not");
  model_.Durable(other->durable_sequence());
  CheckReads(*other, {}, last, "read-only");
}

void Run::Verify(Dice) {
  VerifyReport report;
  if (!Expect(log_.log().Verify({.concurrency = 1}, &report), "verify")) return;
  if (!report.ok && !Excused()) {
    FailWith("verify complains of a log that is well: " + (report.findings.empty() ? "" : report.findings[0].action));
  }
}

// ---- what the world does -------------------------------------------------------------------------------------------

void Run::WriteBack(Dice dice) { platform_.WriteBack(dice.Next()); }

void Run::LoseWriteBack(Dice dice) {
  // The kernel lost pages and told nobody who is still there: a process that would hear of it at its next sync dies.
  platform_.WriteBack(dice.Next(), true);
  Kill(dice);
}

void Run::Fault(Dice dice) {
  struct Kind {
    Operation operation;
    ErrorCode code;
    const char* what;
  };
  constexpr std::array kKinds{
      Kind{Operation::kSyncMapping, ErrorCode::kIo, "EIO from a sync of a mapping"},
      Kind{Operation::kSyncMapping, ErrorCode::kIo, "EIO from a sync of a mapping"},
      Kind{Operation::kSyncFile, ErrorCode::kIo, "EIO from a sync of a file"},
      Kind{Operation::kSyncDirectory, ErrorCode::kIo, "EIO from a sync of a directory"},
      Kind{Operation::kAllocate, ErrorCode::kDiskFull, "ENOSPC from an allocation"},
      Kind{Operation::kWrite, ErrorCode::kDiskFull, "ENOSPC from a write"},
      Kind{Operation::kZero, ErrorCode::kDiskFull, "ENOSPC from zeroing"},
      Kind{Operation::kMap, ErrorCode::kIo, "ENOMEM from a mapping"},
      Kind{Operation::kOpen, ErrorCode::kIo, "EMFILE from an open"},
      Kind{Operation::kRename, ErrorCode::kIo, "EIO from a rename"},
      Kind{Operation::kRemove, ErrorCode::kIo, "EIO from a removal"},
      Kind{Operation::kCreateDirectory, ErrorCode::kDiskFull, "ENOSPC from a new directory"},
      Kind{Operation::kList, ErrorCode::kIo, "EIO from a listing"},
      Kind{Operation::kRead, ErrorCode::kIo, "EIO from a read"},
      Kind{Operation::kPopulate, ErrorCode::kIo, "EIO from touching pages"},
      Kind{Operation::kRandom, ErrorCode::kIo, "no random bytes"},
      Kind{Operation::kLock, ErrorCode::kIo, "ENOLCK from a lock"},
  };
  const Kind& kind = kKinds[dice.Below(kKinds.size())];
  const uint64_t nth = dice.Between(1, 5);
  const uint64_t times = dice.Percent(70) ? 1 : dice.Between(2, 20);
  Say([&] { return "  call " + std::to_string(nth) + ", " + std::to_string(times) + " times: " + kind.what; });
  platform_.Fail(kind.operation, Status(kind.code, std::string("injected: ") + kind.what, 5), nth, times);
}

void Run::MoveClock(Dice dice) {
  constexpr std::array<int64_t, 4> kSteps{-3'600'000'000, 3'600'000'000, -1000, 1'000'000};
  platform_.MoveClock(kSteps[dice.Below(kSteps.size())]);
}

void Run::Reopen(Dice dice) {
  FinishWriters();
  const Status status = log_.Close();
  Say([&] { return status.ok() ? std::string("  closed in order") : "  close failed: " + status.message(); });
  if (platform_.crashed()) return;
  if (status.ok()) {
    model_.ClosedInOrder();
    if (dice.Percent(40)) return Leave(Death::kPowerLoss);
  } else if (status.code() == ErrorCode::kCorrupt) {
    return FailWith("close: " + status.message());
  } else {
    model_.Died(Death::kProcess, boot_known_);
  }
  platform_.Restart();
  Open();
}

void Run::Kill(Dice) { Leave(Death::kProcess); }

void Run::PowerLoss(Dice dice) {
  if (!failed() && log_.open()) model_.Durable(log_.log().durable_sequence());
  crash_seed_ = dice.Next();
  Leave(Death::kPowerLoss);
}

// Dies in the middle of one of the next calls, whatever that will be.
void Run::DieLater(Dice dice) {
  const Death death = dice.Percent(60) ? Death::kPowerLoss : Death::kProcess;
  const uint64_t nth = dice.Percent(70) ? dice.Between(1, 12) : dice.Between(1, 60);
  Say([&] {
    return std::string(death == Death::kPowerLoss ? "  power loss" : "  kill") + " at call " + std::to_string(nth);
  });
  armed_ = death;
  platform_.CrashAt(death, dice.Next(), nth);
}

// Dies now, and again in the middle of the recovery from that.
void Run::DieInRecovery(Dice dice) {
  second_death_ = dice.Next();
  crash_seed_ = dice.Next();
  Leave(dice.Percent(50) ? Death::kPowerLoss : Death::kProcess);
}

void Run::RecoverTwice(Dice dice) {
  recover_twice_ = dice.Next();
  crash_seed_ = dice.Next();
  Leave(dice.Percent(50) ? Death::kPowerLoss : Death::kProcess);
}

// ---- damage --------------------------------------------------------------------------------------------------------

std::vector<Run::Found> Run::DurableFrames(uint64_t* proof) {
  const LogDirectory directory(platform_, kRoot);
  std::vector<LogDirectory::SegmentFile> files;
  std::vector<std::string> strays;
  std::vector<Found> found;
  *proof = 0;
  if (!directory.List(&files, &strays).ok()) return found;
  for (const LogDirectory::SegmentFile& file : files) {
    const std::string path = directory.SegmentPath(file.id);
    const std::vector<std::byte> bytes = platform_.Live(path).value_or(std::vector<std::byte>());
    SegmentIdentity identity;
    if (bytes.size() < kSegmentHeaderSize || LoadIdentity(bytes.data(), &identity) != SectorState::kValid) continue;
    uint64_t offset = kSegmentHeaderSize;
    uint32_t index = 0;
    Frame frame;
    while (CheckFrame(bytes.data(), offset, bytes.size(), index, SaltChecksum(identity.salt), &frame) ==
           FrameState::kValid) {
      const uint64_t first = identity.base_sequence + index;
      const uint64_t last = first + frame.count - 1;
      if (last > model_.durable()) break;
      *proof = std::max(*proof, DecodeSynced(frame.synced, identity.base_sequence));
      const auto at = bytes.begin() + static_cast<std::ptrdiff_t>(offset);
      found.push_back({path, file.id, offset, first, last, {at, at + frame.length}, frame.filler()});
      offset += frame.padded_length();
      index += frame.count;
    }
  }
  return found;
}

// The medium goes bad where a record lies that is durable, and a later frame that is durable too says so. That must
// never pass in silence.
void Run::Damage(Dice dice) {
  if (model_.EndUnknown()) return;
  model_.Durable(log_.log().durable_sequence());
  armed_ = dice.Percent(50) ? Death::kPowerLoss : Death::kProcess;
  platform_.Crash(armed_, dice.Next());
  ++result_.crashes;
  writers_.clear();
  log_.Kill();
  platform_.Restart();
  platform_.Heal();
  model_.Died(armed_, boot_known_);
  uint64_t proof = 0;
  std::vector<Found> frames = DurableFrames(&proof);
  std::erase_if(frames, [&](const Found& frame) {
    return frame.filler || frame.last > proof || frame.first < model_.first_high();
  });
  if (!frames.empty()) {
    const Found& frame = frames[dice.Below(frames.size())];
    std::vector<std::byte> bytes = frame.bytes;
    if (dice.Percent(70)) {
      bytes[dice.Below(bytes.size())] ^= static_cast<std::byte>(1u << dice.Below(8));
    } else {
      std::fill(bytes.begin(), bytes.end(), std::byte{0});
    }
    Say([&] { return "  record " + std::to_string(frame.first) + " is damaged, proof is " + std::to_string(proof); });
    platform_.Damage(frame.path, frame.offset, bytes);
    OpenDamaged(frame);
    platform_.Damage(frame.path, frame.offset, frame.bytes);
  }
  if (!failed()) Open();
}

void Run::OpenDamaged(const Found& frame) {
  const uint64_t fingerprint = platform_.Fingerprint();
  const Status status = log_.Open(platform_, kRoot, Options());
  Say([&] { return "  " + (status.ok() ? std::string("opened") : status.message()); });
  if (!status.ok()) {
    if (status.code() != ErrorCode::kCorrupt) FailWith("damage was called something else: " + status.message());
    const LogLocation at = status.location();
    if (at.segment != frame.segment || at.first_sequence > frame.first || at.last_sequence < frame.first) {
      FailWith("the damage of record " + std::to_string(frame.first) + " was found elsewhere: " + status.message());
    }
    if (platform_.Fingerprint() != fingerprint) FailWith("an open that said WAL_CORRUPT changed something");
    return;
  }
  // Its segment is sealed, and nobody has looked. A reader has to notice.
  if (std::string wrong = model_.Recovered(log_.log().first_sequence(), log_.log().last_sequence()); !wrong.empty()) {
    return FailWith("with a damaged record " + wrong);
  }
  std::unique_ptr<Reader> reader;
  std::array<RecordDescriptor, 1> descriptors;
  ReadChunk chunk{.data = chunk_, .records = descriptors};
  Status read = log_.log().NewReader({.from = frame.first, .to = frame.last}, &reader);
  if (read.ok()) read = reader->Fill(&chunk);
  if (read.code() != ErrorCode::kCorrupt) {
    FailWith("record " + std::to_string(frame.first) + " is damaged, and neither open nor read says so");
  }
  reader.reset();
  log_.Kill();
  platform_.Restart();
  model_.Died(Death::kProcess, boot_known_);
}

size_t Run::Quarantined() {
  std::vector<DirectoryEntry> entries;
  return platform_.List(LogDirectory(platform_, kRoot).QuarantinePath(), &entries).ok() ? entries.size() : 0;
}

// ---- dying and coming back -----------------------------------------------------------------------------------------

void Run::Leave(Death death) {
  platform_.Crash(death, crash_seed_);
  armed_ = death;
  HandleDeath();
}

// The machine or the process has died, now or in the middle of the last action.
void Run::HandleDeath() {
  ++result_.crashes;
  Say([&] { return armed_ == Death::kPowerLoss ? std::string("  -- power loss") : std::string("  -- killed"); });
  if (log_.open()) model_.Durable(log_.log().durable_sequence());
  writers_.clear();
  log_.Kill();
  platform_.Restart();
  model_.Died(armed_, boot_known_);
  Open();
}

void Run::Open() {
  if (second_death_ != 0) {
    Dice dice(second_death_);
    second_death_ = 0;
    DieLater(dice);
  }
  if (recover_twice_ != 0) {
    Dice dice(recover_twice_);
    recover_twice_ = 0;
    uint64_t once = 0;
    uint64_t twice = 0;
    platform_.Heal();
    if (!RecoverAlone(&once)) return;
    const uint64_t fingerprint = platform_.Fingerprint();
    const bool power_loss = dice.Percent(50);
    if (power_loss) {  // every record that it kept is durable
      Say([] { return std::string("  -- power loss right behind the recovery"); });
      platform_.Crash(Death::kPowerLoss, dice.Next());
      platform_.Restart();
    }
    const bool is_new = once == UINT64_MAX;
    if (!RecoverAlone(&twice)) return;
    if (once != twice) {
      return FailWith("a second recovery ends with record " + std::to_string(twice) + ", the first with " +
                      std::to_string(once));
    }
    if (!is_new && !power_loss && platform_.Fingerprint() != fingerprint) {
      return FailWith("a second recovery changed something");
    }
  }
  for (int attempt = 0;; ++attempt) {
    failures_before_ = platform_.failures();
    const size_t quarantined = Quarantined();
    const Status status = log_.Open(platform_, kRoot, Options());
    if (status.ok()) {
      const bool dropped = std::ranges::any_of(log_.log().recovery().findings,
                                               [](const Finding& finding) { return finding.rule == "C"; });
      if (dropped && Quarantined() == quarantined && !Excused()) {
        FailWith("recovery took records out and put nothing into quarantine");
      }
      break;
    }
    model_.RecoveryTried();
    Say([&] { return "  open failed: " + status.message(); });
    if (status.code() == ErrorCode::kCorrupt || (!Excused())) {
      return FailWith(std::string("open: ") + ErrorCodeName(status.code()) + " " + status.message());
    }
    ++result_.cut_short;
    if (platform_.crashed()) {
      ++result_.crashes;
      model_.Died(armed_, boot_known_);
    }
    platform_.Restart();
    if (attempt > 3) platform_.Heal();
  }
  ++result_.recoveries;
  CheckRecovered();
}

// The last record that it found; UINT64_MAX when there was no log yet.
bool Run::RecoverAlone(uint64_t* last) {
  const LogDirectory directory(platform_, kRoot);
  Status status = directory.Create();
  RecoveredLog recovered;
  if (status.ok()) status = Recover(platform_, directory, Options(), &recovered);
  model_.RecoveryTried();
  if (!status.ok()) {
    FailWith(std::string("recovery: ") + ErrorCodeName(status.code()) + " " + status.message());
    return false;
  }
  *last = recovered.is_new ? UINT64_MAX : recovered.next_sequence - 1;
  return true;
}

void Run::CheckRecovered() {
  WritableLog& log = log_.log();
  Say([&] {
    std::string text =
        "  open: records " + std::to_string(log.first_sequence()) + " … " + std::to_string(log.last_sequence());
    for (const Finding& finding : log.recovery().findings) {
      text += "\n    " + finding.rule + ": segment " + std::to_string(finding.segment) + " offset " +
              std::to_string(finding.offset) + ", " + std::to_string(finding.bytes) + " bytes, records " +
              std::to_string(finding.first_sequence) + " … " + std::to_string(finding.last_sequence) + ": " +
              finding.action;
    }
    return text;
  });
  if (std::string wrong = model_.Recovered(log.first_sequence(), log.last_sequence()); !wrong.empty()) {
    return FailWith("after recovery " + wrong);
  }
  if (log.durable_sequence() != log.last_sequence()) FailWith("not all that recovery kept is durable");
  CheckReads(log, {}, log.last_sequence(), "read after recovery");
  CheckCheckpoints();
}

}  // namespace

// ---- programs ------------------------------------------------------------------------------------------------------

void SimulationResult::Count(const SimulationResult& other) {
  steps += other.steps;
  crashes += other.crashes;
  recoveries += other.recoveries;
  cut_short += other.cut_short;
  records += other.records;
  faults += other.faults;
}

SimulationResult RunSimulation(const SimulationProgram& program, bool trace) { return Run(program, trace).Go(); }

uint64_t SimulationSeed(uint64_t seed, uint64_t round) {
  uint64_t mixed = seed + (round + 1) * 0x9e37'79b9'7f4a'7c15;  // splitmix64
  mixed = (mixed ^ (mixed >> 30)) * 0xbf58'476d'1ce4'e5b9;
  mixed = (mixed ^ (mixed >> 27)) * 0x94d0'49bb'1331'11eb;
  return mixed ^ (mixed >> 31);
}

// Each program has its own taste: some actions often, some never. What only shows when few things happen in turn is
// found that way, and what needs many of a kind.
SimulationProgram SimulationProgram::Random(uint64_t seed) {
  Generator random(seed);
  std::vector<int> weights;
  for (const Action& action : kActions) {
    constexpr std::array<int, 6> kTaste{0, 1, 1, 1, 3, 6};
    weights.push_back(action.weight * kTaste[random() % kTaste.size()]);
  }
  weights[0] += 1;
  std::discrete_distribution<size_t> choose(weights.begin(), weights.end());
  SimulationProgram program{.seed = random() >> 1};
  const uint64_t length = random() % 8 == 0 ? 20 + random() % 100 : 3 + random() % 20;
  for (uint64_t i = 0; i < length; ++i) program.steps.push_back({choose(random), random() % 1'000'000'000});
  return program;
}

std::string SimulationProgram::ToText() const {
  std::ostringstream text;
  text << "machine " << seed;
  for (const SimulationStep& step : steps) text << " | " << kActions[step.action].name << ' ' << step.seed;
  return text.str();
}

std::optional<SimulationProgram> SimulationProgram::FromText(const std::string& text) {
  std::istringstream in(text);
  SimulationProgram program;
  std::string word;
  if (!(in >> word >> program.seed) || word != "machine") return std::nullopt;
  SimulationStep step;
  std::string name;
  while (in >> word) {
    if (word != "|" || !(in >> name >> step.seed)) return std::nullopt;
    const auto action =
        std::find_if(kActions.begin(), kActions.end(), [&name](const Action& each) { return each.name == name; });
    if (action == kActions.end()) return std::nullopt;
    step.action = static_cast<size_t>(action - kActions.begin());
    program.steps.push_back(step);
  }
  return program;
}

SimulationProgram ShrinkSimulation(const SimulationProgram& program, double seconds) {
  const auto deadline = std::chrono::steady_clock::now() + std::chrono::duration<double>(seconds);
  SimulationProgram best = program;
  for (size_t piece = std::max<size_t>(best.steps.size() / 2, 1);;) {
    bool shorter = false;
    for (size_t at = 0; at < best.steps.size() && std::chrono::steady_clock::now() < deadline;) {
      SimulationProgram tried = best;
      const auto begin = tried.steps.begin() + static_cast<std::ptrdiff_t>(at);
      tried.steps.erase(begin, begin + static_cast<std::ptrdiff_t>(std::min(piece, best.steps.size() - at)));
      if (RunSimulation(tried).ok()) {
        at += piece;
      } else {
        best = std::move(tried);
        shorter = true;
      }
    }
    if (std::chrono::steady_clock::now() >= deadline || (piece == 1 && !shorter)) return best;
    piece = std::max<size_t>(piece / 2, 1);
  }
}

std::string DescribeFailure(const SimulationProgram& program) {
  const SimulationProgram shrunk = ShrinkSimulation(program);
  const SimulationResult result = RunSimulation(shrunk, true);
  std::ostringstream text;
  text << "failure: " << result.failure << "\nshrunk from " << program.steps.size() << " to " << shrunk.steps.size()
       << " steps; to run it again: segwal_simulate --program '" << shrunk.ToText() << "'\n";
  for (const std::string& line : result.trace) text << line << '\n';
  return text.str();
}

}  // namespace segwal
