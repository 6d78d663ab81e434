// Recovery, row by row of the table in docs/FORMAT.md: a log is written, killed, damaged byte by byte, and opened
// again.
#include "core/recovery.h"

#include <gtest/gtest.h>

#include <cstring>
#include <filesystem>
#include <functional>

#include "testing/assertions.h"
#include "testing/files.h"
#include "testing/test_log.h"

namespace segwal {
namespace {

using Step = std::function<void(TestLog&)>;

// ---- what a log is made of
// ----------------------------------------------------------------------------------------------

// All of one size, so that one may stand exactly where another stood.
std::string Small(uint64_t sequence) {
  std::string data = "record " + std::to_string(sequence) + " ";
  data.resize(40, '.');
  return data;
}

Step Nothing() {
  return [](TestLog&) {};
}
Step Records(uint64_t first, uint64_t last) {
  return [=](TestLog& log) {
    for (uint64_t sequence = first; sequence <= last; ++sequence) EXPECT_EQ(log.Append(Small(sequence)), sequence);
  };
}
// Four of them fill a segment to the last byte.
Step Quarters(uint64_t first, uint64_t last) {
  return [=](TestLog& log) { log.AppendQuarters(first, last); };
}
Step Batch(uint64_t first, uint64_t last) {
  return [=](TestLog& log) {
    std::vector<std::string> data;
    for (uint64_t sequence = first; sequence <= last; ++sequence) data.push_back(Small(sequence));
    EXPECT_EQ(log.AppendBatch(data), first);
  };
}
Step RecordOfSize(size_t size) {
  return [=](TestLog& log) { log.Append(std::string(size, 'x')); };
}
Step Rotate() {
  return [](TestLog& log) { static_cast<void>(log->Rotate()); };
}
Step operator+(const Step& first, const Step& then) {
  return [=](TestLog& log) {
    first(log);
    then(log);
  };
}

// Appends `durable` and syncs it, appends `rest` while every sync waits, and dies.
void Write(TestLog& log, const Step& durable, const Step& rest) {
  log.Open();
  durable(log);
  log.Sync();
  log.platform().Hold(Operation::kSyncMapping);
  rest(log);
  log.platform().FailFrom(Operation::kSyncMapping, Status(ErrorCode::kIo, "the process is dying"));
  log.platform().Release();
  log.Kill();
  log.platform().Heal();
}

// ---- how it is damaged
// --------------------------------------------------------------------------------------------------

Step Edit(uint64_t segment, const std::function<void(SegmentFile&)>& edit) {
  return [=](TestLog& log) { log.Edit(segment, edit); };
}
Step Zero(size_t frame, uint64_t segment = 1) {
  return Edit(segment, [=](SegmentFile& file) { file.Zero(frame); });
}
Step Claim(size_t frame, uint64_t segment = 1) {
  return Edit(segment, [=](SegmentFile& file) { file.Claim(frame); });
}
Step Flip(size_t frame, uint64_t segment = 1) {
  return Edit(segment, [=](SegmentFile& file) { file.Flip(frame); });
}
// Both frames of one edit, where the first would hide the second from the next reading of the file.
Step Frames(std::vector<size_t> zero, std::vector<size_t> claim, uint64_t segment = 1) {
  return Edit(segment, [=](SegmentFile& file) {
    for (size_t frame : zero) file.Zero(frame);
    for (size_t frame : claim) file.Claim(frame);
  });
}
Step BadLength(size_t frame, uint32_t length) {
  return Edit(1, [=](SegmentFile& file) { Store(file.data() + file.FrameAt(frame), length); });
}
Step GarbageBehindTheEnd() {
  return Edit(1, [](SegmentFile& file) {
    const uint64_t end = file.FrameAt(file.frame_count() + 1);
    file.Fill(end, end + 1000, std::byte{0x5a});
  });
}
Step EraseMark(uint64_t segment) {
  return Edit(segment, [](SegmentFile& file) { file.EraseMark(); });
}
Step EraseSeal(uint64_t segment) {
  return Edit(segment, [](SegmentFile& file) { file.EraseSeal(); });
}
Step EraseIdentity(uint64_t segment) {
  return Edit(segment, [](SegmentFile& file) { file.EraseIdentity(); });
}
Step CutShort(uint64_t segment, uint64_t size) {
  return Edit(segment, [=](SegmentFile& file) { file.Resize(size); });
}
Step RemoveSegment(uint64_t segment) {
  return [=](TestLog& log) { std::filesystem::remove(log.SegmentPath(segment)); };
}
Step CopySegment(uint64_t from, uint64_t to) {
  return [=](TestLog& log) { WriteFile(log.SegmentPath(to), ReadFile(log.SegmentPath(from))); };
}
Step RewriteIdentity(uint64_t segment, const std::function<void(SegmentIdentity&)>& change) {
  return Edit(segment, [=](SegmentFile& file) {
    SegmentIdentity identity = file.identity();
    change(identity);
    StoreIdentity(file.data(), identity);
  });
}
// Stands where a segment of this log should.
Step SegmentOfAnotherLog(uint64_t segment) {
  return [=](TestLog& log) {
    TestLog other;
    Write(other, Nothing(), Quarters(1, 10));
    WriteFile(log.SegmentPath(segment), ReadFile(other.SegmentPath(segment)));
  };
}
Step SomethingElse(uint64_t segment) {
  return [=](TestLog& log) {
    WriteFile(log.SegmentPath(segment), std::vector<std::byte>(TestLog::kSegmentSize, std::byte{'x'}));
  };
}
// The machine was restarted between the death of the writer and this open.
Step Reboot() {
  return [](TestLog& log) { log.Reboot(); };
}
Step NoBootId() {
  return [](TestLog& log) { log.platform().SetBoot(BootId{}); };
}

// ---- what is there afterwards
// -------------------------------------------------------------------------------------------

// E.g. "1-3 5": the sequences of all records, each of which holds what was appended under it.
std::string Kept(TestLog& log) {
  std::string text;
  uint64_t last = 0;
  const auto close_range = [&] {
    if (text.empty() || text.substr(text.rfind(' ') + 1) == std::to_string(last)) return;
    text += "-" + std::to_string(last);
  };
  for (const TestRecord& record : RecordsOf(log.log())) {
    const bool ours = record.data.rfind("record " + std::to_string(record.sequence) + " ", 0) == 0;
    EXPECT_TRUE(ours || record.data.find_first_not_of('x') == std::string::npos) << record;
    if (record.sequence != last + 1 || text.empty()) {
      close_range();
      text += (text.empty() ? "" : " ") + std::to_string(record.sequence);
    }
    last = record.sequence;
  }
  close_range();
  return text;
}

std::string Rules(const RecoveryReport& report) {
  std::string rules;
  for (const Finding& finding : report.findings) rules += (rules.empty() ? "" : " ") + finding.rule;
  return rules;
}

// What went to quarantine, notes aside: "2 segments, bytes".
struct Quarantined {
  size_t segments = 0;
  size_t stretches = 0;
  bool operator==(const Quarantined&) const = default;
};
std::ostream& operator<<(std::ostream& out, const Quarantined& quarantined) {
  return out << quarantined.segments << " segments, " << quarantined.stretches << " stretches of bytes";
}
Quarantined QuarantineOf(TestLog& log) {
  Quarantined found;
  for (const std::string& name : NamesIn(log.layout().QuarantinePath())) {
    if (name.ends_with(".log")) ++found.segments;
    if (name.ends_with(".bytes")) ++found.stretches;
    EXPECT_TRUE(name.ends_with(".txt") || !ReadText(log.layout().QuarantinePath() + "/" + name + ".txt").empty());
  }
  return found;
}

// Nothing stands behind the frames of the last segment that has an identity.
void ExpectZeroTail(TestLog& log) {
  std::vector<uint64_t> ids = log.SegmentIds();
  while (!ids.empty()) {
    SegmentFile segment(log.SegmentPath(ids.back()));
    ids.pop_back();
    if (segment.identity().segment_id == 0) continue;  // a spare
    const uint64_t end = segment.FrameAt(segment.frame_count() + 1);
    EXPECT_EQ(FindNonZero(segment.data(), end, segment.size()), segment.size()) << "something is left behind the end";
    return;
  }
}

// ---- the log is opened and something comes back
// ---------------------------------------------------------------------------

struct RecoveryCase {
  const char* name;
  Step durable;
  Step rest;
  Step damage;
  const char* kept;
  const char* rules;
  uint64_t last;  // the last sequence number that is taken, by a record or by a filler
  Quarantined quarantined = {};
};

void PrintTo(const RecoveryCase& given, std::ostream* out) { *out << given.name; }

class RecoveryTest : public testing::TestWithParam<RecoveryCase> {
 protected:
  TestLog log_;
};

TEST_P(RecoveryTest, KeepsWhatTheTableSays) {
  const RecoveryCase& given = GetParam();
  Write(log_, given.durable, given.rest);
  given.damage(log_);

  ASSERT_OK(log_.TryOpen());
  EXPECT_EQ(Kept(log_), given.kept);
  EXPECT_EQ(Rules(log_->recovery()), given.rules);
  EXPECT_EQ(log_->last_sequence(), given.last);
  EXPECT_EQ(log_->durable_sequence(), given.last) << "what is kept is durable before the log is open";
  EXPECT_EQ(QuarantineOf(log_), given.quarantined);
  log_.Kill();
  ExpectZeroTail(log_);

  ASSERT_OK(log_.TryOpen());
  EXPECT_EQ(Kept(log_), given.kept) << "the second time";
  EXPECT_EQ(Rules(log_->recovery()), "") << "the second time";
  EXPECT_EQ(log_->last_sequence(), given.last) << "the second time";
  EXPECT_EQ(QuarantineOf(log_), given.quarantined) << "the second time";

  EXPECT_EQ(log_.Append("record " + std::to_string(given.last + 1) + " "), given.last + 1);
  const std::string with_more = Kept(log_);
  log_.Close();
  ASSERT_OK(log_.TryOpen());
  EXPECT_EQ(Kept(log_), with_more) << "after an append and an orderly close";
  EXPECT_TRUE(log_->recovery().clean);
  EXPECT_EQ(Rules(log_->recovery()), "");
}

// clang-format off
const RecoveryCase kCases[] = {
  // name                                durable         written behind it             damage                                    kept         rules  last  quarantined
  // Nothing is wrong.
  {"AnEmptyLog",                         Nothing(),      Nothing(),                    Nothing(),                                "",          "",    0},
  {"AnEmptyLogAfterAReboot",             Nothing(),      Nothing(),                    Reboot(),                                 "",          "",    0},
  {"AllWasCommitted",                    Records(1, 2),  Records(3, 5),                Nothing(),                                "1-5",       "",    5},
  {"AllReachedTheDisk",                  Records(1, 2),  Records(3, 5),                Reboot(),                                 "1-5",       "",    5},
  {"AllSegmentsReachedTheDisk",          Nothing(),      Quarters(1, 10),              Reboot(),                                 "1-10",      "",    10},
  {"AFullSegmentAndAnEmptyOne",          Quarters(1, 4), Nothing(),                    Nothing(),                                "1-4",       "",    4},
  {"ARotatedLogWithAnEmptyTail",         Records(1, 3) + Rotate(), Nothing(),          Reboot(),                                 "1-3",       "",    3},

  // A: no later valid frame, no proof.
  {"TheLastIsClaimed",                   Nothing(),      Records(1, 5),                Claim(5),                                 "1-4",       "A",   4},
  {"TheLastIsClaimedAfterAReboot",       Nothing(),      Records(1, 5),                Claim(5) + Reboot(),                      "1-4",       "A",   4},
  {"TheLastLeftNoTrace",                 Nothing(),      Records(1, 5),                Zero(5),                                  "1-4",       "A",   4},
  {"TheLastNeverReachedTheDisk",         Nothing(),      Records(1, 5),                Zero(5) + Reboot(),                       "1-4",       "",    4},
  {"TheLastIsTorn",                      Nothing(),      Records(1, 5),                Flip(5) + Reboot(),                       "1-4",       "A",   4},
  {"TheLastIsTornBehindWhatIsProven",    Records(1, 4),  Records(5, 5),                Flip(5) + Reboot(),                       "1-4",       "A",   4},
  {"TheOnlyOneIsTorn",                   Nothing(),      Records(1, 1),                Flip(1) + Reboot(),                       "",          "A",   0},
  {"TheLastTwoAreClaimed",               Nothing(),      Records(1, 5),                Frames({}, {4, 5}),                       "1-3",       "A",   3},
  {"ABatchIsTorn",                       Nothing(),      Records(1, 2) + Batch(3, 6),  Flip(3) + Reboot(),                       "1-2",       "A",   2},
  {"ABatchIsClaimed",                    Nothing(),      Records(1, 2) + Batch(3, 6),  Claim(3),                                 "1-2",       "A",   2},
  {"GarbageBehindTheEnd",                Nothing(),      Records(1, 5),                GarbageBehindTheEnd(),                    "1-5",       "",    5},
  {"GarbageBehindTheEndAfterAReboot",    Nothing(),      Records(1, 5),                GarbageBehindTheEnd() + Reboot(),         "1-5",       "A",   5},
  {"AWildLengthAfterAReboot",            Nothing(),      Records(1, 5),                BadLength(5, 0x7fffffff) + Reboot(),      "1-4",       "A",   4},
  {"ATinyLengthAfterAReboot",            Nothing(),      Records(1, 5),                BadLength(5, 23) + Reboot(),              "1-4",       "A",   4},
  {"TheFirstOfTheNextSegmentIsTorn",     Nothing(),      Quarters(1, 5),               Flip(1, 2) + Reboot(),                    "1-4",       "A",   4},
  {"TheLastOfAFullSegmentIsClaimed",     Nothing(),      Quarters(1, 4) + Quarters(5, 5), Claim(4) + Claim(1, 2),                "1-3",       "A",   3},

  // B: the same boot, later valid frames, the length word 0 or claimed.
  {"OneInTheMiddleIsClaimed",            Nothing(),      Records(1, 5),                Claim(3),                                 "1-2 4-5",   "B",   5},
  {"OneInTheMiddleLeftNoTrace",          Nothing(),      Records(1, 5),                Zero(3),                                  "1-2 4-5",   "B",   5},
  {"TheFirstIsClaimed",                  Nothing(),      Records(1, 5),                Claim(1),                                 "2-5",       "B",   5},
  {"OneBehindWhatIsProvenIsClaimed",     Records(1, 2),  Records(3, 5),                Claim(3),                                 "1-2 4-5",   "B",   5},
  {"TwoNeighboursAreClaimed",            Nothing(),      Records(1, 5),                Frames({3}, {2}),                         "1 4-5",     "B",   5},
  {"TwoGaps",                            Nothing(),      Records(1, 5),                Frames({4}, {2}),                         "1 3 5",     "B B", 5},
  {"AGapAndAnUnfinishedEnd",             Nothing(),      Records(1, 5),                Frames({}, {2, 5}),                       "1 3-4",     "B A", 4},
  {"AGapOf24Bytes",                      Nothing(),      Records(1, 2) + RecordOfSize(0) + Records(4, 5), Claim(3),              "1-2 4-5",   "B",   5},
  {"AGapOf32Bytes",                      Nothing(),      Records(1, 2) + RecordOfSize(8) + Records(4, 5), Zero(3),               "1-2 4-5",   "B",   5},
  {"TwoGapsOf24BytesSideBySide",         Nothing(),      Records(1, 2) + RecordOfSize(0) + RecordOfSize(0) + Records(5, 5), Frames({}, {3, 4}), "1-2 5", "B", 5},
  {"AClaimedBatch",                      Nothing(),      Records(1, 2) + Batch(3, 5) + Records(6, 6),     Claim(3),              "1-2 6",     "B",   6},
  {"TheEndOfAFullSegmentIsClaimed",      Nothing(),      Quarters(1, 6),               Claim(4),                                 "1-3 5-6",   "B",   6},
  {"TheEndOfAFullSegmentLeftNoTrace",    Nothing(),      Quarters(1, 6),               Zero(4),                                  "1-3 5-6",   "B",   6},
  {"AGapOf24BytesAtTheEndOfTheSegment",  Nothing(),      Quarters(1, 3) + RecordOfSize(TestLog::kQuarter - 24) + RecordOfSize(0) + Quarters(6, 7), Claim(5), "1-4 6-7", "B", 7},
  {"ASegmentThatEndsBeforeItsLastByte",  Nothing(),      Quarters(1, 3) + Records(4, 4) + Quarters(5, 6), Claim(4),              "1-3 5-6",   "B",   6},
  {"TheFirstOfTheNextSegmentIsClaimed",  Nothing(),      Quarters(1, 6),               Claim(1, 2),                              "1-4 6",     "B",   6},
  {"AWholeSegmentOfClaims",              Nothing(),      Quarters(1, 9),               Frames({}, {1, 2, 3, 4}, 2),              "1-4 9",     "B",   9},
  {"GapsInTwoSegments",                  Nothing(),      Quarters(1, 9),               Claim(2) + Claim(3, 2),                   "1 3-6 8-9", "B B", 9},

  // C: not known to be the same boot, later valid frames, no proof.
  {"OneInTheMiddleNeverReachedTheDisk",  Nothing(),      Records(1, 5),                Zero(3) + Reboot(),                       "1-2",       "C",   2, {0, 1}},
  {"OneInTheMiddleIsTorn",               Nothing(),      Records(1, 5),                Flip(3) + Reboot(),                       "1-2",       "C",   2, {0, 1}},
  {"AClaimAfterAReboot",                 Nothing(),      Records(1, 5),                Claim(3) + Reboot(),                      "1-2",       "C",   2, {0, 1}},
  {"AClaimWhereNoBootIsKnown",           Nothing(),      Records(1, 5),                Claim(3) + NoBootId(),                    "1-2",       "C",   2, {0, 1}},
  {"TheFirstNeverReachedTheDisk",        Nothing(),      Records(1, 5),                Zero(1) + Reboot(),                       "",          "C",   0, {0, 1}},
  {"OneRightBehindWhatIsProven",         Records(1, 2),  Records(3, 5),                Zero(3) + Reboot(),                       "1-2",       "C",   2, {0, 1}},
  {"ABatchNeverReachedTheDisk",          Nothing(),      Records(1, 2) + Batch(3, 5) + Records(6, 6), Flip(3) + Reboot(),        "1-2",       "C",   2, {0, 1}},
  {"SegmentsFollowTheGap",               Nothing(),      Quarters(1, 10),              Zero(2) + Reboot(),                       "1",         "C",   1, {2, 1}},
  {"OnlySegmentsFollowTheGap",           Nothing(),      Quarters(1, 10),              Zero(4) + Reboot(),                       "1-3",       "C",   3, {2, 0}},
  {"AGapInTheSecondSegment",             Nothing(),      Quarters(1, 10),              Zero(2, 2) + Reboot(),                    "1-5",       "C",   5, {1, 1}},
  {"TheSecondSegmentIsEmpty",            Nothing(),      Quarters(1, 10),              Frames({1, 2, 3, 4}, {}, 2) + Reboot(),   "1-4",       "C",   4, {1, 0}},
  {"AnIdentityNeverReachedTheDisk",      Nothing(),      Quarters(1, 10),              EraseIdentity(2) + Reboot(),              "1-4",       "C",   4, {1, 0}},
  {"AnIdentityBehindASealedSegment",     Quarters(1, 5), Quarters(6, 14),              EraseIdentity(3) + Reboot(),              "1-8",       "C",   8, {1, 0}},
  {"TheTailSegmentNeverReachedTheDisk",  Nothing(),      Quarters(1, 6),               EraseIdentity(2) + Reboot(),              "1-4",       "C",   4, {1, 0}},
};
// clang-format on

std::string NameOf(const testing::TestParamInfo<RecoveryCase>& info) { return info.param.name; }
INSTANTIATE_TEST_SUITE_P(Table, RecoveryTest, testing::ValuesIn(kCases), NameOf);

// ---- the log is not opened
// ------------------------------------------------------------------------------------------------

struct DamageCase {
  const char* name;
  Step durable;
  Step rest;
  Step damage;
  // What the error names; 0: no such thing is known.
  uint64_t segment;
  uint64_t first;
  uint64_t last;
  const char* mentions;
};

void PrintTo(const DamageCase& given, std::ostream* out) { *out << given.name; }

class DamageTest : public testing::TestWithParam<DamageCase> {
 protected:
  TestLog log_;
};

TEST_P(DamageTest, IsToldAndNothingIsChanged) {
  const DamageCase& given = GetParam();
  Write(log_, given.durable, given.rest);
  given.damage(log_);
  const auto before = SnapshotOf(log_.path());
  for (const char* time : {"the first time", "the second time"}) {
    const Status status = log_.TryOpen();
    ASSERT_EQ(status.code(), ErrorCode::kCorrupt) << time << status.message();
    EXPECT_EQ(status.location().segment, given.segment) << time;
    EXPECT_EQ(status.location().first_sequence, given.first) << time;
    EXPECT_EQ(status.location().last_sequence, given.last) << time;
    EXPECT_TRUE(Mentions(status, given.mentions)) << time;
    EXPECT_TRUE(SnapshotOf(log_.path()) == before) << time << ": recovery writes nothing before it has decided";
  }
}

// clang-format off
const DamageCase kDamages[] = {
  // name                              durable          written behind it  damage                                             seg first last
  // D: proven durable.
  {"TheMarkProvesIt",                  Records(1, 5),   Nothing(),         Zero(3) + Reboot(),                                  1, 3, 3, "durable"},
  {"TheMarkProvesWhatIsGone",          Records(1, 5),   Nothing(),         Frames({4, 5}, {}) + Reboot(),                       1, 4, 5, "durable"},
  {"TheMarkProvesItInTheSameBoot",     Records(1, 5),   Nothing(),         Claim(3),                                            1, 3, 3, "durable"},
  {"ALaterFrameProvesIt",              Records(1, 3),   Records(4, 5),     EraseMark(1) + Zero(2) + Reboot(),                   1, 2, 2, "durable"},
  {"TheLastFrameProvesAllBeforeIt",    Records(1, 4),   Records(5, 5),     EraseMark(1) + Frames({2, 3, 4}, {}) + Reboot(),     1, 2, 4, "durable"},
  {"AFrameOfTheNextSegmentProvesIt",   Quarters(1, 4),  Quarters(5, 6),    EraseSeal(1) + EraseMark(1) + Zero(2) + Reboot(),    1, 2, 2, "durable"},
  {"AFrameOfTheNextProvesTheLast",     Quarters(1, 4),  Quarters(5, 6),    EraseSeal(1) + EraseMark(1) + Zero(4) + Reboot(),    1, 4, 4, "durable"},
  {"TheMarkOfTheNextSegmentProvesIt",  Quarters(1, 5),  Nothing(),         EraseSeal(1) + EraseMark(1) + Zero(2) + Reboot(),    1, 2, 2, "durable"},
  {"TheSealOfTheNextSegmentProvesIt",  Quarters(1, 9),  Nothing(),         EraseSeal(1) + EraseMark(1) + EraseMark(2) + EraseMark(3) + Frames({1}, {}, 3) + Zero(2) + Reboot(), 1, 2, 2, "durable"},
  {"ATornBatchThatWasDurable",         Batch(1, 3),     Nothing(),         Flip(1) + Reboot(),                                  1, 1, 3, "durable"},
  {"ASealedFileWasCutShort",           Quarters(1, 5),  Nothing(),         CutShort(1, 20480),                                  1, 1, 4, "cut short"},
  {"AnUnsealedFileWasCutShort",        Records(1, 200), Nothing(),         CutShort(1, 8192) + Reboot(),                        1, 65, 200, "durable"},

  // D: a committed frame is damaged in the boot that wrote it.
  {"ACommittedFrameIsDamaged",         Nothing(),       Records(1, 5),     Flip(3),                                             1, 3, 3, "committed"},
  {"TheLastCommittedFrameIsDamaged",   Nothing(),       Records(1, 5),     Flip(5),                                             1, 5, 5, "committed"},
  {"ACommittedLengthIsDamaged",        Nothing(),       Records(1, 5),     BadLength(3, 8),                                     1, 3, 3, "committed"},
  {"TheEndOfAFullSegmentIsDamaged",    Nothing(),       Quarters(1, 6),    Flip(4),                                             1, 4, 4, "committed"},
  {"AnIdentityWasLostInTheSameBoot",   Nothing(),       Quarters(1, 10),   EraseIdentity(2),                                    2, 0, 0, "empty"},

  // D: a file is not what its name says.
  {"TheFirstSegmentIsMissing",         Nothing(),       Quarters(1, 10),   RemoveSegment(1),                                    1, 1, 4, "missing"},
  {"ASegmentInTheMiddleIsMissing",     Nothing(),       Quarters(1, 10),   RemoveSegment(2) + Reboot(),                         2, 0, 8, "missing"},
  {"ASegmentBehindASealIsMissing",     Quarters(1, 10), Nothing(),         RemoveSegment(2),                                    2, 5, 8, "missing"},
  {"AnErasedIdentityLeftAMark",        Quarters(1, 5),  Nothing(),         EraseIdentity(2) + Reboot(),                         2, 0, 0, "erased"},
  {"AnErasedIdentityLeftASeal",        Quarters(1, 9),  Nothing(),         EraseMark(2) + EraseIdentity(2) + Reboot(),          2, 0, 0, "erased"},
  {"TheFirstIdentityIsGone",           Nothing(),       Quarters(1, 10),   EraseIdentity(1) + Reboot(),                         1, 0, 0, "empty"},
  {"ADamagedIdentity",                 Nothing(),       Quarters(1, 10),   Edit(2, [](SegmentFile& file) { file.data()[45] ^= std::byte{1}; }), 2, 0, 0, "damaged"},
  {"SomethingElseInTheMiddle",         Nothing(),       Quarters(1, 10),   SomethingElse(2),                                    2, 0, 0, "not a segment"},
  {"SomethingElseAtTheEnd",            Nothing(),       Quarters(1, 10),   SomethingElse(3),                                    3, 0, 0, "not a segment"},
  {"ACopyUnderAnotherName",            Nothing(),       Quarters(1, 10),   CopySegment(1, 2),                                   2, 1, 0, "segment 1"},
  {"ASegmentOfAnotherLog",             Nothing(),       Quarters(1, 10),   SegmentOfAnotherLog(2),                              2, 5, 0, "another log"},
  {"ASegmentOfAnotherSize",            Nothing(),       Quarters(1, 10),   RewriteIdentity(2, [](SegmentIdentity& identity) { identity.segment_size *= 2; }), 2, 5, 0, "size"},
  {"AnIdentityThatMakesNoSense",       Nothing(),       Quarters(1, 10),   RewriteIdentity(2, [](SegmentIdentity& identity) { identity.base_sequence = 0; }), 2, 0, 0, "sense"},
  {"ASegmentThatBeginsElsewhere",      Quarters(1, 5),  Nothing(),         RewriteIdentity(2, [](SegmentIdentity& identity) { identity.base_sequence = 6; }), 2, 5, 5, "is due"},
  {"AllSegmentsAreMissing",            Nothing(),       Records(1, 3),     RemoveSegment(1) + RemoveSegment(2),                 1, 1, 0, "holds no segment"},
  // A gap of 24 bytes has room for one record; what follows it claims that there were three.
  {"AGapWithoutRoomForWhatIsMissing",  Nothing(),       RecordOfSize(0) + RecordOfSize(0) + RecordOfSize(0) + Records(4, 4), Edit(1, [](SegmentFile& file) {
     std::memmove(file.data() + file.FrameAt(2), file.data() + file.FrameAt(4), 64);
     file.Claim(1);
   }), 1, 1, 3, "gap"},
};
// clang-format on

std::string NameOfDamage(const testing::TestParamInfo<DamageCase>& info) { return info.param.name; }
INSTANTIATE_TEST_SUITE_P(Table, DamageTest, testing::ValuesIn(kDamages), NameOfDamage);

// ---- one by one
// -------------------------------------------------------------------------------------------------------------

class RecoveryStoryTest : public testing::Test {
 protected:
  void Write(const Step& durable, const Step& rest) { segwal::Write(log_, durable, rest); }

  TestLog log_;
};

TEST_F(RecoveryStoryTest, ADroppedFrameNeverComesBackBehindNewOnes) {
  Write(Nothing(), Records(1, 5));
  (Zero(3) + Reboot())(log_);
  ASSERT_OK(log_.TryOpen());
  EXPECT_EQ(log_.Append(Small(3)), 3u);  // exactly where the old one stood, right before the old record 4
  log_.Kill();
  ASSERT_OK(log_.TryOpen());
  EXPECT_EQ(Kept(log_), "1-3");
}

TEST_F(RecoveryStoryTest, TheTailIsZeroedAndSyncedBeforeTheLogIsOpen) {
  Write(Nothing(), Records(1, 5));
  (Flip(4) + Reboot())(log_);
  std::vector<Operation> calls;
  log_.platform().Watch([&](const Call& call) {
    const bool zeroed = !calls.empty();
    if (call.operation == Operation::kZero || (zeroed && call.operation == Operation::kSyncFile)) {
      calls.push_back(call.operation);
    }
  });
  ASSERT_OK(log_.TryOpen());
  log_.platform().Watch(nullptr);
  ASSERT_GE(calls.size(), 2u);
  EXPECT_EQ(calls[0], Operation::kZero);
  EXPECT_EQ(calls[1], Operation::kSyncFile);
}

TEST_F(RecoveryStoryTest, WhatGoesToQuarantineIsWhatWasDropped) {
  Write(Nothing(), Quarters(1, 10));
  (Zero(2) + Reboot())(log_);
  SegmentFile first(log_.SegmentPath(1));
  const std::vector<std::byte> dropped(first.data() + first.FrameAt(2), first.data() + first.size());
  const std::vector<std::byte> second = ReadFile(log_.SegmentPath(2));
  ASSERT_OK(log_.TryOpen());
  for (const std::string& name : NamesIn(log_.layout().QuarantinePath())) {
    const std::string path = log_.layout().QuarantinePath() + "/" + name;
    if (name.ends_with(".txt")) {
      EXPECT_NE(ReadText(path).find("segment 1"), std::string::npos) << ReadText(path);
    } else if (name.ends_with(".bytes")) {
      EXPECT_TRUE(ReadFile(path) == dropped);
    } else if (name.ends_with("wal-000002.log")) {
      EXPECT_TRUE(ReadFile(path) == second);
    }
  }
}

TEST_F(RecoveryStoryTest, TheReportNamesPlaceBytesAndSequences) {
  Write(Nothing(), Records(1, 5));
  const uint64_t third = SegmentFile(log_.SegmentPath(1)).FrameAt(3);
  Claim(3)(log_);
  ASSERT_OK(log_.TryOpen());
  const RecoveryReport& report = log_->recovery();
  ASSERT_EQ(report.findings.size(), 1u);
  EXPECT_EQ(report.findings[0].segment, 1u);
  EXPECT_EQ(report.findings[0].offset, third);
  EXPECT_EQ(report.findings[0].bytes, 64u);
  EXPECT_EQ(report.findings[0].first_sequence, 3u);
  EXPECT_EQ(report.findings[0].last_sequence, 3u);
  EXPECT_FALSE(report.clean);
  EXPECT_EQ(report.segments, 1u);
  EXPECT_EQ(report.bytes, 5 * 64u);
}

TEST_F(RecoveryStoryTest, AFillerStandsForEverythingInItsGap) {
  Write(Nothing(), Records(1, 2) + RecordOfSize(0) + Batch(4, 6) + Records(7, 7));
  Frames({}, {3, 4})(log_);
  ASSERT_OK(log_.TryOpen());
  log_.Kill();
  SegmentFile segment(log_.SegmentPath(1));
  Frame frame;
  ASSERT_EQ(CheckFrame(segment.data(), segment.FrameAt(3), segment.size(), 2, segment.salt_checksum(), &frame),
            FrameState::kValid);
  EXPECT_TRUE(frame.filler());
  EXPECT_EQ(frame.count, 4u);
}

TEST_F(RecoveryStoryTest, WhatWasNotProvenIsWrittenOutAnew) {
  Write(Records(1, 200), Records(201, 400));
  const uint64_t end = SegmentFile(log_.SegmentPath(1)).FrameAt(401);
  bool all_synced = false;
  log_.platform().Watch([&](const Call& call) {
    if (call.operation == Operation::kSyncMapping && call.offset == 0 && call.length == end) all_synced = true;
  });
  ASSERT_OK(log_.TryOpen());
  log_.platform().Watch(nullptr);
  EXPECT_TRUE(all_synced);
  EXPECT_EQ(Kept(log_), "1-400");
}

TEST_F(RecoveryStoryTest, AFullSegmentWithoutASealIsSealed) {
  Write(Nothing(), Quarters(1, 10));
  ASSERT_OK(log_.TryOpen());
  log_.Kill();
  for (uint64_t id : {1, 2}) {
    SegmentFile segment(log_.SegmentPath(id));
    Seal seal;
    ASSERT_EQ(LoadSeal(segment.data(), segment.identity(), &seal), SectorState::kValid) << id;
    EXPECT_EQ(seal.last_sequence, id * 4);
  }
}

// Recovery is interrupted, anywhere; the next one brings the same.
TEST_F(RecoveryStoryTest, ARecoveryThatFailedCanBeRepeated) {
  for (Operation operation : {Operation::kOpen, Operation::kMap, Operation::kRead, Operation::kWrite,
                              Operation::kRename, Operation::kRemove, Operation::kSyncFile, Operation::kSyncDirectory,
                              Operation::kZero, Operation::kSyncMapping, Operation::kAllocate, Operation::kPopulate}) {
    for (int nth = 1; nth <= 6; ++nth) {
      TestLog log;
      segwal::Write(log, Nothing(), Quarters(1, 10));
      (Zero(2) + Reboot())(log);
      log.platform().FailOnce(operation, Status(ErrorCode::kIo, "injected"), nth);
      if (log.TryOpen().ok()) log.Kill();
      log.platform().Heal();
      ASSERT_OK(log.TryOpen()) << "operation " << int(operation) << ", call " << nth;
      EXPECT_EQ(Kept(log), "1") << "operation " << int(operation) << ", call " << nth;
      EXPECT_GE(QuarantineOf(log).stretches, 1u) << "operation " << int(operation) << ", call " << nth;
      EXPECT_EQ(QuarantineOf(log).segments, 2u) << "operation " << int(operation) << ", call " << nth;
    }
  }
}

TEST_F(RecoveryStoryTest, ASegmentFileThatWasCutShortGetsItsSizeBack) {
  Write(Nothing(), Records(1, 5));
  (CutShort(1, 5000) + Reboot())(log_);
  ASSERT_OK(log_.TryOpen());
  EXPECT_EQ(Kept(log_), "1-5");
  EXPECT_EQ(log_.Append(Small(6)), 6u);
  log_.Close();
  EXPECT_EQ(ReadFile(log_.SegmentPath(1)).size(), TestLog::kSegmentSize);
}

TEST_F(RecoveryStoryTest, SparesAreRemoved) {
  Write(Nothing(), Records(1, 5));
  WriteFile(log_.SegmentPath(2), std::vector<std::byte>(TestLog::kSegmentSize));
  WriteFile(log_.SegmentPath(3), std::vector<std::byte>(100));
  log_.platform().FailFrom(Operation::kRandom, Status(ErrorCode::kIo, "no salt for a new one"));
  ASSERT_OK(log_.TryOpen());
  EXPECT_EQ(log_.SegmentIds(), std::vector<uint64_t>{1});
  EXPECT_EQ(Rules(log_->recovery()), "");
}

TEST_F(RecoveryStoryTest, StrayFilesAreNamedAndLeftAlone) {
  Write(Nothing(), Records(1, 5));
  WriteFile(log_.path() + "/notes.txt", std::vector<std::byte>(3));
  WriteFile(log_.layout().SegmentsPath() + "/wal-1.log", std::vector<std::byte>(3));
  ASSERT_OK(log_.TryOpen());
  EXPECT_EQ(Rules(log_->recovery()), "stray stray");
  EXPECT_TRUE(std::filesystem::exists(log_.path() + "/notes.txt"));
  EXPECT_TRUE(std::filesystem::exists(log_.layout().SegmentsPath() + "/wal-1.log"));
}

TEST_F(RecoveryStoryTest, ASegmentOfANewerVersionIsNotCorrupt) {
  Write(Nothing(), Quarters(1, 10));
  Edit(2, [](SegmentFile& file) { Store(file.data() + 8, kFormatVersion + 1); })(log_);
  const auto before = SnapshotOf(log_.path());
  const Status status = log_.TryOpen();
  EXPECT_CODE(status, kUnsupportedVersion);
  EXPECT_TRUE(Mentions(status, "version " + std::to_string(kFormatVersion + 1)));
  EXPECT_TRUE(SnapshotOf(log_.path()) == before);
}

TEST_F(RecoveryStoryTest, AnotherSegmentSizeIsAMistakeOfTheCaller) {
  Write(Nothing(), Records(1, 5));
  EXPECT_CODE(log_.TryOpen({.segment_size = 2 * TestLog::kSegmentSize}), kSegmentSizeMismatch);
  ASSERT_OK(log_.TryOpen({.segment_size = 0}));
  EXPECT_EQ(log_->segment_size(), TestLog::kSegmentSize);
}

TEST_F(RecoveryStoryTest, AnOrderlyCloseLeavesNothingToDo) {
  Write(Nothing(), Records(1, 5));
  ASSERT_OK(log_.TryOpen());
  EXPECT_FALSE(log_->recovery().clean);
  log_.Close();
  ASSERT_OK(log_.TryOpen());
  EXPECT_TRUE(log_->recovery().clean);
  EXPECT_EQ(log_->recovery().records, 5u);
}

TEST_F(RecoveryStoryTest, DamageAfterAnOrderlyCloseIsFound) {
  ASSERT_OK(log_.TryOpen());
  Records(1, 5)(log_);
  log_.Close();
  (Zero(3) + Reboot())(log_);
  const Status status = log_.TryOpen();
  EXPECT_CODE(status, kCorrupt);
  EXPECT_EQ(status.location().first_sequence, 3u);
}

// ---- wal.meta
// -----------------------------------------------------------------------------------------------------------------

class MetaRecoveryTest : public RecoveryStoryTest {
 protected:
  void ExpectRebuilt(const std::string& kept) {
    ASSERT_OK(log_.TryOpen());
    EXPECT_EQ(Kept(log_), kept);
    EXPECT_EQ(Rules(log_->recovery()), "meta");
    log_.Kill();
    ASSERT_OK(log_.TryOpen());
    EXPECT_EQ(Kept(log_), kept);
    EXPECT_EQ(Rules(log_->recovery()), "");
    EXPECT_EQ(log_->segment_size(), TestLog::kSegmentSize);
  }
  void EditMeta(const std::function<void(std::vector<std::byte>&)>& edit) {
    std::vector<std::byte> bytes = ReadFile(log_.layout().MetaPath());
    edit(bytes);
    WriteFile(log_.layout().MetaPath(), bytes);
  }
};

TEST_F(MetaRecoveryTest, IsRebuiltWhenItIsMissing) {
  Write(Nothing(), Quarters(1, 6));
  std::filesystem::remove(log_.layout().MetaPath());
  ExpectRebuilt("1-6");
}

TEST_F(MetaRecoveryTest, IsRebuiltWhenItIsDamaged) {
  Write(Nothing(), Quarters(1, 6));
  EditMeta([](auto& bytes) { bytes[20] ^= std::byte{1}; });
  ExpectRebuilt("1-6");
}

TEST_F(MetaRecoveryTest, IsRebuiltWhenItIsSomethingElse) {
  Write(Nothing(), Quarters(1, 6));
  EditMeta([](auto& bytes) { bytes.assign(512, std::byte{'x'}); });
  ExpectRebuilt("1-6");
}

TEST_F(MetaRecoveryTest, IsRebuiltWhenItWasCutShort) {
  Write(Nothing(), Quarters(1, 6));
  EditMeta([](auto& bytes) { bytes.resize(100); });
  ExpectRebuilt("1-6");
}

TEST_F(MetaRecoveryTest, IsRebuiltFromALogWhoseFrontWasTruncated) {
  ASSERT_OK(log_.TryOpen());
  log_.AppendQuarters(1, 10);
  ASSERT_OK(log_->TruncateBefore(5));
  log_.Kill();
  std::filesystem::remove(log_.layout().MetaPath());
  ExpectRebuilt("5-10");
  EXPECT_EQ(log_->first_sequence(), 5u);
}

TEST_F(MetaRecoveryTest, OfANewerVersionIsRefused) {
  Write(Nothing(), Records(1, 5));
  EditMeta([](auto& bytes) { Store(bytes.data() + 8, kFormatVersion + 1); });
  EXPECT_CODE(log_.TryOpen(), kUnsupportedVersion);
}

TEST_F(MetaRecoveryTest, WithoutSegmentsAndWithoutMetaThereIsNoLog) {
  Write(Nothing(), Records(1, 5));
  std::filesystem::remove(log_.layout().MetaPath());
  (RemoveSegment(1) + RemoveSegment(2))(log_);
  EXPECT_CODE(log_.TryOpen({.segment_size = TestLog::kSegmentSize, .create = false}), kNotFound);
  ASSERT_OK(log_.TryOpen());
  EXPECT_EQ(Kept(log_), "");
}

TEST_F(MetaRecoveryTest, ALogThatDiedWhileItWasMadeIsMadeAnew) {
  for (Operation operation :
       {Operation::kOpen, Operation::kAllocate, Operation::kSyncFile, Operation::kSyncDirectory, Operation::kMap,
        Operation::kPopulate, Operation::kSyncMapping, Operation::kWrite, Operation::kRename, Operation::kRandom}) {
    for (int nth = 1; nth <= 4; ++nth) {
      TestLog log;
      log.platform().FailOnce(operation, Status(ErrorCode::kIo, "injected"), nth);
      if (log.TryOpen().ok()) log.Kill();
      log.platform().Heal();
      ASSERT_OK(log.TryOpen()) << "operation " << int(operation) << ", call " << nth;
      EXPECT_EQ(log.Append(Small(1)), 1u);
      EXPECT_EQ(Kept(log), "1");
    }
  }
}

}  // namespace
}  // namespace segwal
