#include "core/checkpoints.h"

#include <gtest/gtest.h>

#include <filesystem>

#include "testing/assertions.h"
#include "testing/files.h"
#include "testing/test_log.h"
#include "testing/waiting.h"

namespace segwal {
namespace {

const LogId kLog{std::byte{1}};
const LogId kOtherLog{std::byte{2}};

std::vector<std::byte> Bytes(const std::string& text) {
  const ByteView bytes = BytesOf(text);
  return {bytes.begin(), bytes.end()};
}

std::string PathOf(TestLog& log, uint64_t sequence) {
  return log.layout().CheckpointsPath() + "/" + CheckpointDirectory::NameOf(sequence);
}

std::vector<uint64_t> CheckpointsOf(Log& log) {
  std::vector<Checkpoint> checkpoints;
  EXPECT_OK(log.Checkpoints(&checkpoints));
  std::vector<uint64_t> sequences;
  for (const Checkpoint& checkpoint : checkpoints) sequences.push_back(checkpoint.sequence);
  return sequences;
}

std::vector<uint64_t> FilesOf(TestLog& log) {
  std::vector<uint64_t> sequences;
  for (const auto& entry : std::filesystem::directory_iterator(log.layout().CheckpointsPath())) {
    if (const auto sequence = CheckpointDirectory::ParseName(entry.path().filename().string())) {
      sequences.push_back(*sequence);
    }
  }
  std::ranges::sort(sequences);
  return sequences;
}

Status MakeCheckpoint(TestLog& log, uint64_t sequence) {
  Checkpoint made;
  return log->CreateCheckpoint(sequence, std::nullopt, &made);
}

void AppendMany(TestLog& log, int count) {
  for (int i = 0; i < count; ++i) log.Append("record");
}

TEST(CheckpointFormatTest, ComesBackAsItWas) {
  for (const Checkpoint& checkpoint : {Checkpoint{.sequence = 42, .created_us = 1234},
                                       Checkpoint{.sequence = 42, .created_us = 1234, .has_data = true},
                                       Checkpoint{.sequence = 0, .has_data = true, .data = Bytes("snapshot 7")}}) {
    Checkpoint back;
    ASSERT_EQ(DecodeCheckpoint(EncodeCheckpoint(kLog, checkpoint), kLog, &back), SectorState::kValid);
    EXPECT_EQ(back, checkpoint);
  }
}

TEST(CheckpointFormatTest, NoBitCanTurnUnnoticed) {
  const std::vector<std::byte> file =
      EncodeCheckpoint(kLog, {.sequence = 42, .created_us = 1234, .has_data = true, .data = Bytes("data")});
  for (size_t bit = 0; bit < file.size() * 8; ++bit) {
    std::vector<std::byte> turned = file;
    turned[bit / 8] ^= static_cast<std::byte>(1u << bit % 8);
    Checkpoint back;
    EXPECT_NE(DecodeCheckpoint(turned, kLog, &back), SectorState::kValid) << bit;
  }
}

TEST(CheckpointFormatTest, NoByteCanBeMissingOrTooMany) {
  std::vector<std::byte> file = EncodeCheckpoint(kLog, {.sequence = 42, .has_data = true, .data = Bytes("data")});
  Checkpoint back;
  for (size_t size = 0; size < file.size(); ++size) {
    EXPECT_EQ(DecodeCheckpoint(ByteView(file).first(size), kLog, &back), SectorState::kDamaged) << size;
  }
  file.push_back(std::byte{0});
  EXPECT_EQ(DecodeCheckpoint(file, kLog, &back), SectorState::kDamaged);
}

TEST(CheckpointFormatTest, OneOfAnotherLogIsNone) {
  Checkpoint back;
  EXPECT_EQ(DecodeCheckpoint(EncodeCheckpoint(kOtherLog, {.sequence = 1}), kLog, &back), SectorState::kForeign);
}

TEST(CheckpointFormatTest, ANewerOneIsNotDamaged) {
  std::vector<std::byte> file = EncodeCheckpoint(kLog, {.sequence = 1});
  Store(file.data() + 8, kFormatVersion + 1);
  Checkpoint back;
  EXPECT_EQ(DecodeCheckpoint(file, kLog, &back), SectorState::kUnsupportedVersion);
}

TEST(CheckpointFormatTest, ANameIsOneSpellingOfANumber) {
  EXPECT_EQ(CheckpointDirectory::NameOf(42), "checkpoint-42.meta");
  EXPECT_EQ(CheckpointDirectory::ParseName("checkpoint-42.meta"), 42u);
  EXPECT_EQ(CheckpointDirectory::ParseName("checkpoint-0.meta"), 0u);
  for (const char* name : {"checkpoint-.meta", "checkpoint-042.meta", "checkpoint-4x.meta", "checkpoint-42.meta.tmp",
                           "checkpoint--1.meta", "checkpoint.tmp", "checkpoint-99999999999999999999.meta"}) {
    EXPECT_FALSE(CheckpointDirectory::ParseName(name)) << name;
  }
}

TEST(CheckpointTest, MakesDurableWhatItSpeaksOfFirst) {
  TestLog log;
  log.Open();
  AppendMany(log, 3);
  EXPECT_EQ(log->durable_sequence(), 0u);
  Checkpoint made;
  ASSERT_OK(log->CreateCheckpoint(3, BytesOf("snapshot 7"), &made));
  EXPECT_GE(log->durable_sequence(), 3u);
  EXPECT_EQ(made.sequence, 3u);
  log.Close();
  log.Open();
  std::vector<Checkpoint> checkpoints;
  ASSERT_OK(log->Checkpoints(&checkpoints));
  EXPECT_EQ(checkpoints, std::vector{made});
  EXPECT_EQ(made.data, Bytes("snapshot 7"));
}

TEST(CheckpointTest, IsNotMadeWhenTheSyncFails) {
  TestLog log;
  log.Open();
  AppendMany(log, 3);
  log.platform().FailOnce(Operation::kSyncMapping, Status(ErrorCode::kIo, "injected", 5));
  EXPECT_CODE(MakeCheckpoint(log, 3), kPoisoned);
  EXPECT_TRUE(FilesOf(log).empty());
  log.Kill();
}

TEST(CheckpointTest, SpeaksOnlyOfWhatIsThere) {
  TestLog log;
  log.Open();
  ASSERT_OK(MakeCheckpoint(log, 0));
  log.AppendQuarters(1, 9);
  EXPECT_CODE(MakeCheckpoint(log, 10), kNotFound);
  ASSERT_OK(log->TruncateBefore(6));
  EXPECT_EQ(log->first_sequence(), 5u);
  EXPECT_CODE(MakeCheckpoint(log, 4), kTruncated);
  EXPECT_CODE(MakeCheckpoint(log, 0), kTruncated);
  EXPECT_OK(MakeCheckpoint(log, 5));
  EXPECT_OK(MakeCheckpoint(log, 9));
  log.Close();
}

TEST(CheckpointTest, OldOnesAreThinnedOut) {
  TestLog log;
  log.Open();
  AppendMany(log, 9);
  for (const uint64_t sequence : {2, 4, 6}) ASSERT_OK(MakeCheckpoint(log, sequence));
  EXPECT_EQ(CheckpointsOf(log.log()), (std::vector<uint64_t>{4, 6}));
  EXPECT_EQ(FilesOf(log), (std::vector<uint64_t>{4, 6}));
  ASSERT_OK(MakeCheckpoint(log, 3));  // the one that was just made stays in any case
  EXPECT_EQ(FilesOf(log), (std::vector<uint64_t>{3, 6}));
  ASSERT_OK(MakeCheckpoint(log, 6));
  EXPECT_EQ(FilesOf(log), (std::vector<uint64_t>{3, 6}));
  log.Close();
  log.Open();
  EXPECT_EQ(CheckpointsOf(log.log()), (std::vector<uint64_t>{3, 6}));
}

TEST(CheckpointTest, ADamagedOneIsPassedOverWithAFinding) {
  TestLog log;
  log.Open();
  AppendMany(log, 9);
  ASSERT_OK(MakeCheckpoint(log, 4));
  ASSERT_OK(MakeCheckpoint(log, 9));
  log.Close();
  std::string file = ReadText(PathOf(log, 9));
  file[40] ^= 1;
  WriteFile(PathOf(log, 9), Bytes(file));
  WriteFile(log.layout().CheckpointsPath() + "/checkpoint.tmp", Bytes("half"));
  for (const bool read_only : {true, false}) {
    LogOptions options = TestLog::Options();
    options.read_only = read_only;
    log.Open(options);
    EXPECT_EQ(CheckpointsOf(log.log()), std::vector<uint64_t>{4});
    const std::vector<Finding>& findings = log->recovery().findings;
    ASSERT_EQ(findings.size(), 2u);
    EXPECT_EQ(findings[0].rule, "checkpoint");
    EXPECT_NE(findings[0].action.find("checkpoint-9.meta, it is damaged"), std::string::npos) << findings[0].action;
    EXPECT_NE(findings[1].action.find("checkpoint.tmp, half-written"), std::string::npos) << findings[1].action;
    log.Close();
  }
  EXPECT_EQ(FilesOf(log), (std::vector<uint64_t>{4, 9})) << "what is damaged is left alone";
}

TEST(CheckpointTest, ARenamedOneIsNone) {
  TestLog log;
  log.Open();
  AppendMany(log, 9);
  ASSERT_OK(MakeCheckpoint(log, 4));
  log.Close();
  std::filesystem::rename(PathOf(log, 4), PathOf(log, 5));
  log.Open();
  EXPECT_TRUE(CheckpointsOf(log.log()).empty());
  EXPECT_EQ(log->recovery().findings.size(), 1u);
}

// Without it nothing outside the last segment of a log that was never closed says how far it went.
TEST(CheckpointTest, ProvesThatWhatItSpeaksOfWasDurable) {
  for (const bool read_only : {false, true}) {
    TestLog log;
    log.Open();
    log.AppendQuarters(1, 6);
    ASSERT_OK(MakeCheckpoint(log, 6));
    log.Kill();
    for (const uint64_t id : log.SegmentIds()) {
      if (id >= 2) std::filesystem::remove(log.SegmentPath(id));
    }
    log.Reboot();
    LogOptions options = TestLog::Options();
    options.read_only = read_only;
    const Status status = log.TryOpen(options);
    EXPECT_CODE(status, kCorrupt);
    EXPECT_EQ(status.location().first_sequence, 5u);
    EXPECT_EQ(status.location().last_sequence, 6u);
  }
}

TEST(CheckpointTest, NoFailureLeavesAHalfOne) {
  for (const Operation operation : {Operation::kOpen, Operation::kWrite, Operation::kSyncFile, Operation::kRename}) {
    TestLog log;
    log.Open();
    AppendMany(log, 2);
    ASSERT_OK(MakeCheckpoint(log, 1));
    log.Sync();
    // Who makes it would otherwise make the call that fails.
    ASSERT_TRUE(ComesTrue([&log] { return log->Stats().disk_bytes == 2 * TestLog::kSegmentSize; })) << "with a spare";
    log.platform().FailOnce(operation, Status(ErrorCode::kDiskFull, "injected", 28));
    EXPECT_CODE(MakeCheckpoint(log, 2), kDiskFull);
    EXPECT_EQ(CheckpointsOf(log.log()), std::vector<uint64_t>{1});
    EXPECT_EQ(FilesOf(log), std::vector<uint64_t>{1});
    ASSERT_OK(MakeCheckpoint(log, 2));
    log.Close();
  }
}

}  // namespace
}  // namespace segwal
