#include "core/directory.h"

#include <gtest/gtest.h>

#include <filesystem>
#include <functional>

#include "testing/assertions.h"
#include "testing/fault_platform.h"
#include "testing/files.h"
#include "testing/temporary_directory.h"

namespace segwal {
namespace {

class DirectoryTest : public testing::Test {
 protected:
  void SetUp() override { ASSERT_OK(directory_.Create()); }

  void WriteText(const std::string& name, const std::string& text) {
    const ByteView bytes = std::as_bytes(std::span(text));
    WriteFile(directory_.root() + "/" + name, {bytes.begin(), bytes.end()});
  }
  SectorState MetaState() {
    SectorState state = SectorState::kAbsent;
    LogMeta meta;
    EXPECT_OK(directory_.ReadMeta(&state, &meta));
    return state;
  }
  void EditMeta(const std::function<void(std::vector<std::byte>&)>& edit) {
    std::vector<std::byte> bytes = ReadFile(directory_.MetaPath());
    edit(bytes);
    WriteFile(directory_.MetaPath(), bytes);
  }

  static LogMeta SomeMeta() {
    LogMeta meta{.segment_size = 131072, .created_us = 1234567, .first_segment = 8, .first_sequence = 900};
    for (size_t i = 0; i < meta.log_id.size(); ++i) meta.log_id[i] = std::byte(i * 3 + 1);
    return meta;
  }

  TemporaryDirectory temporary_;
  FaultPlatform platform_;
  LogDirectory directory_{platform_, temporary_.path() + "/deep/log"};
};

TEST(SegmentNameTest, HasSixDigitsOrMore) {
  EXPECT_EQ(LogDirectory::SegmentName(1), "wal-000001.log");
  EXPECT_EQ(LogDirectory::SegmentName(999999), "wal-999999.log");
  EXPECT_EQ(LogDirectory::SegmentName(1000000), "wal-1000000.log");
}

TEST(SegmentNameTest, IsReadBack) {
  for (uint64_t id : {uint64_t{1}, uint64_t{42}, uint64_t{999999}, uint64_t{1000000}, uint64_t{123456789012}}) {
    EXPECT_EQ(LogDirectory::ParseSegmentName(LogDirectory::SegmentName(id)), id);
  }
}

TEST(SegmentNameTest, OtherNamesAreNone) {
  for (const char* name :
       {"", "wal-.log", "wal-1.log", "wal-00001.log", "wal-000000.log", "wal-0000001.log", "wal-000001.log.tmp",
        "wal-000001.lo", "wal-000001xlog", "Wal-000001.log", "wal-00000a.log", "wal--00001.log", "wal-+00001.log",
        "wal-99999999999999999999999999.log", "xwal-000001.log", "wal-000001.logx"}) {
    EXPECT_EQ(LogDirectory::ParseSegmentName(name), std::nullopt) << name;
  }
}

TEST_F(DirectoryTest, IsCreatedWithItsParentsAndFolders) {
  EXPECT_EQ(NamesIn(directory_.root()),
            (std::vector<std::string>{"checkpoints", "metadata", "quarantine", "segments"}));
  EXPECT_OK(directory_.Create());
  EXPECT_OK(directory_.Exists());
}

TEST_F(DirectoryTest, SaysWhenItIsNotThereOrSomethingElse) {
  EXPECT_CODE(LogDirectory(platform_, temporary_.path() + "/missing").Exists(), kNotFound);
  WriteText("file", "x");
  const Status status = LogDirectory(platform_, directory_.root() + "/file").Exists();
  EXPECT_FALSE(status.ok());
  EXPECT_NE(status.message().find("file"), std::string::npos) << status.message();
}

TEST_F(DirectoryTest, ListsSegmentsByNumberAndEverythingElseAsStray) {
  for (const char* name : {"segments/wal-1000000.log", "segments/wal-000002.log", "segments/wal-000001.log"}) {
    WriteText(name, "12345");
  }
  WriteText("LOCK", "");
  WriteText("notes.txt", "");
  WriteText("segments/wal-000003.log.bak", "");
  std::filesystem::create_directory(directory_.SegmentPath(4));
  std::vector<LogDirectory::SegmentFile> segments;
  std::vector<std::string> strays;
  ASSERT_OK(directory_.List(&segments, &strays));
  ASSERT_EQ(segments.size(), 3u);
  EXPECT_EQ(segments[0].id, 1u);
  EXPECT_EQ(segments[1].id, 2u);
  EXPECT_EQ(segments[2].id, 1000000u);
  EXPECT_EQ(segments[0].size, 5u);
  EXPECT_EQ(strays, (std::vector<std::string>{"notes.txt", "segments/wal-000003.log.bak", "segments/wal-000004.log"}));
}

TEST_F(DirectoryTest, WithoutSegmentsFolderHasNoSegments) {
  std::filesystem::remove(directory_.SegmentsPath());
  std::vector<LogDirectory::SegmentFile> segments;
  std::vector<std::string> strays;
  EXPECT_OK(directory_.List(&segments, &strays));
  EXPECT_TRUE(segments.empty());
}

// ---- wal.meta -------------------------------------------------------------------------------------------------------

TEST_F(DirectoryTest, EveryFieldOfMetaComesBack) {
  ASSERT_OK(directory_.WriteMeta(SomeMeta()));
  SectorState state = SectorState::kAbsent;
  LogMeta meta;
  ASSERT_OK(directory_.ReadMeta(&state, &meta));
  EXPECT_EQ(state, SectorState::kValid);
  EXPECT_EQ(meta.log_id, SomeMeta().log_id);
  EXPECT_EQ(meta.segment_size, 131072u);
  EXPECT_EQ(meta.created_us, 1234567u);
  EXPECT_EQ(meta.first_segment, 8u);
  EXPECT_EQ(meta.first_sequence, 900u);
}

TEST_F(DirectoryTest, MetaIsRewrittenAndLeavesNoTemporaryFile) {
  ASSERT_OK(directory_.WriteMeta({}));
  WriteText("metadata/wal.meta.tmp", "left by a crash");
  ASSERT_OK(directory_.WriteMeta(SomeMeta()));
  EXPECT_EQ(NamesIn(directory_.MetadataPath()), std::vector<std::string>{"wal.meta"});
  EXPECT_EQ(MetaState(), SectorState::kValid);
}

TEST_F(DirectoryTest, MetaIsSyncedBeforeItIsRenamedAndItsNameAfterwards) {
  std::vector<Operation> calls;
  platform_.Watch([&calls](const Call& call) { calls.push_back(call.operation); });
  ASSERT_OK(directory_.WriteMeta(SomeMeta()));
  EXPECT_EQ(calls, (std::vector{Operation::kRemove, Operation::kOpen, Operation::kWrite, Operation::kSyncFile,
                                Operation::kRename, Operation::kSyncDirectory}));
}

TEST_F(DirectoryTest, MetaThatCannotBeRewrittenIsTheOldOne) {
  ASSERT_OK(directory_.WriteMeta(SomeMeta()));
  for (Operation operation : {Operation::kOpen, Operation::kWrite, Operation::kSyncFile, Operation::kRename}) {
    platform_.FailOnce(operation, Status(ErrorCode::kIo, "injected"));
    EXPECT_CODE(directory_.WriteMeta({}), kIo);
    SectorState state = SectorState::kAbsent;
    LogMeta meta;
    ASSERT_OK(directory_.ReadMeta(&state, &meta));
    EXPECT_EQ(state, SectorState::kValid);
    EXPECT_EQ(meta.first_sequence, 900u);
  }
}

TEST_F(DirectoryTest, MetaMayBeAbsentForeignDamagedOrCutShort) {
  EXPECT_EQ(MetaState(), SectorState::kAbsent);
  ASSERT_OK(directory_.WriteMeta(SomeMeta()));
  EditMeta([](auto& bytes) { bytes[0] ^= std::byte{1}; });
  EXPECT_EQ(MetaState(), SectorState::kForeign);
  ASSERT_OK(directory_.WriteMeta(SomeMeta()));
  EditMeta([](auto& bytes) { bytes[48] ^= std::byte{1}; });
  EXPECT_EQ(MetaState(), SectorState::kDamaged);
  ASSERT_OK(directory_.WriteMeta(SomeMeta()));
  EditMeta([](auto& bytes) { bytes.resize(511); });
  EXPECT_EQ(MetaState(), SectorState::kDamaged);
  EditMeta([](auto& bytes) { bytes.clear(); });
  EXPECT_EQ(MetaState(), SectorState::kDamaged);
}

TEST_F(DirectoryTest, MetaOfANewerVersionIsNotReadAsDamage) {
  ASSERT_OK(directory_.WriteMeta(SomeMeta()));
  EditMeta([](auto& bytes) { Store(bytes.data() + 8, kFormatVersion + 6); });
  SectorState state = SectorState::kAbsent;
  LogMeta meta;
  const Status status = directory_.ReadMeta(&state, &meta);
  EXPECT_EQ(status.code(), ErrorCode::kUnsupportedVersion);
  EXPECT_NE(status.message().find(std::to_string(kFormatVersion + 6)), std::string::npos) << status.message();
}

// ---- quarantine -----------------------------------------------------------------------------------------------------

TEST_F(DirectoryTest, ASegmentGoesToQuarantineWithANoteWhy) {
  WriteText("segments/wal-000003.log", "content");
  platform_.SetTime(1700);
  ASSERT_OK(directory_.QuarantineSegment(3, "because"));
  EXPECT_TRUE(NamesIn(directory_.SegmentsPath()).empty());
  EXPECT_EQ(NamesIn(directory_.QuarantinePath()),
            (std::vector<std::string>{"1700-wal-000003.log", "1700-wal-000003.log.txt"}));
  EXPECT_EQ(ReadText(directory_.QuarantinePath() + "/1700-wal-000003.log"), "content");
  EXPECT_EQ(ReadText(directory_.QuarantinePath() + "/1700-wal-000003.log.txt"), "because\n");
}

TEST_F(DirectoryTest, BytesGoToQuarantineAsACopyWithANoteWhy) {
  platform_.SetTime(1700);
  const std::string dropped = "dropped bytes";
  ASSERT_OK(directory_.QuarantineBytes(3, 8192, std::as_bytes(std::span(dropped)), "because"));
  EXPECT_EQ(ReadText(directory_.QuarantinePath() + "/1700-wal-000003-at-8192.bytes"), dropped);
  EXPECT_EQ(ReadText(directory_.QuarantinePath() + "/1700-wal-000003-at-8192.bytes.txt"), "because\n");
}

}  // namespace
}  // namespace segwal
