// Files of segments that were removed from the front become the next segments. What must not happen: that anything of
// an earlier life comes back, that somebody's bytes change while he reads them, or that a failure costs more than the
// file.
#include <gtest/gtest.h>

#include <atomic>
#include <chrono>
#include <filesystem>
#include <thread>

#include "core/catalog.h"
#include "core/writer_state.h"
#include "testing/assertions.h"
#include "testing/crash_platform.h"
#include "testing/files.h"
#include "testing/test_log.h"
#include "testing/waiting.h"

namespace segwal {
namespace {

class RecyclingTest : public testing::Test {
 protected:
  void SetUp() override {
    if (!log_.platform().RecyclesFiles()) GTEST_SKIP() << "this system recycles nothing";
  }

  static LogOptions Keeping(uint64_t segments) {
    LogOptions options = TestLog::Options();
    options.recycle_segments = segments;
    return options;
  }

  uint64_t Recycled(TestLog& log) { return log->Stats().segments_recycled; }
  uint64_t Recycled() { return Recycled(log_); }

  // Four records fill a segment; the front goes until `recycled` segments were made of old files.
  void TurnOverUntil(TestLog& log, uint64_t recycled) {
    const uint64_t most = log->last_sequence() + 400;
    while (Recycled(log) < recycled && log->last_sequence() < most) {
      const uint64_t last = log->last_sequence();
      log.AppendQuarters(last + 1, last + 4);
      ASSERT_OK(log->TruncateBefore(last + 1));
      // The unmapping of what was removed has a thread of its own.
      std::this_thread::sleep_for(std::chrono::milliseconds(1));
    }
    ASSERT_GE(Recycled(log), recycled) << "nothing was recycled";
  }
  void TurnOverUntil(uint64_t recycled) { TurnOverUntil(log_, recycled); }

  // The process dies with files that are kept, and a spare.
  void CrashWithKeptFiles() {
    log_.Open(Keeping(3));
    log_.AppendQuarters(1, 40);
    ASSERT_OK(log_->TruncateBefore(37));
    EXPECT_TRUE(ComesTrue([this] { return KeptFiles(log_) >= 2 && log_.SegmentIds().back() == 11; }));
    log_.Kill();
    EXPECT_GE(KeptFiles(log_), 2u);
  }

  std::unique_ptr<Mapping> MapAsReader(uint64_t segment) {
    std::unique_ptr<File> file;
    EXPECT_OK(Platform::Default().Open(log_.SegmentPath(segment), OpenMode::kRead, &file));
    std::unique_ptr<Mapping> reader;
    EXPECT_OK(Platform::Default().Map(std::move(file), TestLog::kSegmentSize, false, &reader));
    return reader;
  }

  size_t KeptFiles(TestLog& log) {
    size_t count = 0;
    for (const auto& entry : std::filesystem::directory_iterator(log.layout().MetadataPath())) {
      count += entry.path().filename().string().starts_with("recyclable-") ? 1 : 0;
    }
    return count;
  }

  static void ExpectQuarters(TestLog& log) {
    uint64_t sequence = log->first_sequence();
    for (const std::string& data : log.Data()) EXPECT_EQ(data, TestLog::QuarterRecord(sequence++));
    EXPECT_EQ(sequence, log->last_sequence() + 1);
  }

  TestLog log_;
};

TEST_F(RecyclingTest, ARemovedSegmentBecomesTheNextOne) {
  log_.Open();
  TurnOverUntil(10);
  ExpectQuarters(log_);
  log_.Close();
  log_.Open();
  ExpectQuarters(log_);
  EXPECT_TRUE(log_->recovery().clean);
}

TEST_F(RecyclingTest, NoMoreFilesAreKeptThanTheOptionSays) {
  for (const uint64_t most : {0, 1, 3}) {
    TestLog log;
    log.Open(Keeping(most));
    log.AppendQuarters(1, 40);
    ASSERT_OK(log->TruncateBefore(17));
    EXPECT_LE(KeptFiles(log), most);
    ASSERT_OK(log->TruncateBefore(37));
    EXPECT_TRUE(ComesTrue([&] { return KeptFiles(log) <= most; })) << "but for what is to be deleted";
    log.AppendQuarters(41, 80);
    ASSERT_OK(log->TruncateBefore(77));
    EXPECT_TRUE(ComesTrue([&] { return KeptFiles(log) <= most; })) << "but for what is to be deleted";
    const uint64_t kept = KeptFiles(log);
    EXPECT_GE(kept + 1, most) << "one may be in use already";
    EXPECT_GE(log->Stats().disk_bytes, (log->Segments().size() + kept) * TestLog::kSegmentSize);
    EXPECT_TRUE(most != 0 || Recycled(log) == 0);
    log.Close();
    EXPECT_EQ(KeptFiles(log), 0u);
  }
}

TEST_F(RecyclingTest, WhatACrashLeavesOfKeptFilesGoesWithTheNextOpen) {
  CrashWithKeptFiles();
  log_.Open();
  EXPECT_TRUE(ComesTrue([this] { return KeptFiles(log_) == 0; }));
  ExpectQuarters(log_);
  EXPECT_TRUE(log_->recovery().findings.empty());
}

// To delete a file takes as long as to look through a hundred thousand records.
TEST_F(RecyclingTest, WhatACrashLeavesIsNotDeletedWhileTheLogIsOpened) {
  CrashWithKeptFiles();
  const std::thread::id opener = std::this_thread::get_id();
  std::atomic<int> deleted = 0;
  log_.platform().Watch([&](const Call& call) {
    if (call.operation != Operation::kRemove || call.path.find("recyclable-") == std::string::npos) return;
    EXPECT_NE(std::this_thread::get_id(), opener);
    ++deleted;
  });
  log_.Open();
  EXPECT_TRUE(ComesTrue([this] { return KeptFiles(log_) == 0; }));
  log_.platform().Watch(nullptr);
  EXPECT_GE(deleted, 3) << "the spare too";
  ExpectQuarters(log_);
}

TEST_F(RecyclingTest, WhatACrashLeavesMakesRoomForARecoveryThatWrites) {
  CrashWithKeptFiles();
  std::filesystem::remove(log_.layout().MetaPath());
  bool written = false;
  log_.platform().Watch([&](const Call& call) {
    if (call.operation != Operation::kWrite || call.path.find("wal.meta") == std::string::npos) return;
    EXPECT_EQ(KeptFiles(log_), 0u);
    written = true;
  });
  log_.Open();
  log_.platform().Watch(nullptr);
  EXPECT_TRUE(written);
  EXPECT_EQ(log_.SegmentIds().front(), 10u);
  ExpectQuarters(log_);
}

TEST_F(RecyclingTest, ASegmentThatSomebodyReadsIsLeftToHim) {
  log_.Open(Keeping(8));
  log_.AppendQuarters(1, 8);
  log_.Sync();
  const std::unique_ptr<Mapping> reader = MapAsReader(1);
  const std::vector<std::byte> before(reader->data(), reader->data() + reader->size());
  ASSERT_OK(log_->TruncateBefore(5));
  TurnOverUntil(5);
  EXPECT_TRUE(std::equal(before.begin(), before.end(), reader->data())) << "it was written over";
  EXPECT_TRUE(ComesTrue([this] { return !std::filesystem::exists(log_.layout().RecyclablePath(1)); }));
}

// What cannot be used again is deleted when there is time, and at once when there is no room for a new file.
TEST_F(RecyclingTest, WhatCannotBeRecycledMakesRoom) {
  log_.Open(Keeping(1));
  log_.AppendQuarters(1, 5);
  log_.Sync();
  EXPECT_TRUE(ComesTrue([&] { return log_->Stats().disk_bytes == 3 * TestLog::kSegmentSize; }));  // 2 and the spare
  const std::unique_ptr<Mapping> reader = MapAsReader(1);
  ASSERT_OK(log_->TruncateBefore(5));
  const std::string old = log_.layout().RecyclablePath(1);
  bool there = false;
  log_.platform().Watch([&](const Call& call) { there |= call.operation == Operation::kRemove && call.path == old; });
  log_.platform().FailOnce(Operation::kAllocate, Status(ErrorCode::kDiskFull, "no space left", 28));
  log_.AppendQuarters(6, 13);
  log_.platform().Watch(nullptr);
  EXPECT_TRUE(there);
  EXPECT_FALSE(std::filesystem::exists(old));
}

// Between opening a file by its name and mapping it a reader holds nothing.
TEST_F(RecyclingTest, WhoOpenedAFileBeforeItWasRecycledIsTold) {
  log_.Open(Keeping(1));
  log_.AppendQuarters(1, 4);
  log_.Sync();
  SegmentHeader header;
  ASSERT_OK(log_.layout().ReadSegmentHeader(1, &header));
  std::unique_ptr<File> early;
  std::unique_ptr<File> late;
  ASSERT_OK(log_.platform().Open(log_.SegmentPath(1), OpenMode::kRead, &early));
  ASSERT_OK(log_.platform().Open(log_.SegmentPath(1), OpenMode::kRead, &late));
  log_.AppendQuarters(5, 8);
  log_.AwaitUnmapped(1);
  ASSERT_OK(log_->TruncateBefore(5));
  log_.AppendQuarters(9, 12);
  ASSERT_TRUE(ComesTrue([this] {
    log_.AppendQuarters(log_->last_sequence() + 1, log_->last_sequence() + 4);
    return Recycled() > 0;
  }));
  std::unique_ptr<Mapping> mapping;
  const auto map = [&](std::unique_ptr<File> file) {
    return MapSegmentForReading(log_.platform(), log_.layout(), header.identity, TestLog::kSegmentSize, std::move(file),
                                &mapping);
  };
  EXPECT_CODE(map(std::move(early)), kNotFound);  // as a spare, or already in use
  log_.AppendQuarters(log_->last_sequence() + 1, log_->last_sequence() + 4);
  log_.AppendQuarters(log_->last_sequence() + 1, log_->last_sequence() + 4);
  EXPECT_CODE(map(std::move(late)), kNotFound);
}

// Its blocks have been written already, so there is nothing that zeros ahead of the log could make cheaper.
TEST_F(RecyclingTest, AShortSyncTakesNoZerosAlong) {
  log_.Open();
  TurnOverUntil(3);
  log_.Append("the first of a recycled segment");
  log_.Sync();
  uint64_t behind = 0;
  log_.platform().Watch([&](const Call& call) {
    if (call.operation == Operation::kSyncMapping) behind = call.offset + call.length;
  });
  log_.Append("another");
  log_.Sync();
  log_.platform().Watch(nullptr);
  EXPECT_EQ(behind, log_->Segments().back().bytes);
}

// Each of them costs the file, and no more: a new one takes its place.
TEST_F(RecyclingTest, AFailureCostsTheFileAndNoMore) {
  for (const Operation operation :
       {Operation::kOpen, Operation::kRead, Operation::kZero, Operation::kWrite, Operation::kSyncFile,
        Operation::kRename, Operation::kSyncDirectory, Operation::kMap, Operation::kPopulate}) {
    TestLog log;
    log.Open(Keeping(1));
    log.AppendQuarters(1, 5);
    log.Sync();
    // Or the spare that is being made takes the file before the call can fail.
    ASSERT_TRUE(ComesTrue([&] { return log->Stats().disk_bytes == 3 * TestLog::kSegmentSize; }));
    log.AwaitUnmapped(1);
    ASSERT_OK(log->TruncateBefore(5));
    ASSERT_EQ(KeptFiles(log), 1u);
    // Of calls with another path there is nobody else's in between.
    const bool of_directory = operation == Operation::kRename || operation == Operation::kSyncDirectory;
    log.platform().FailOnce(operation, Status(ErrorCode::kIo, "injected", 5), 1,
                            of_directory ? "" : log.layout().RecyclablePath(1));
    log.AppendQuarters(6, 16);
    log.Sync();
    ExpectQuarters(log);
    log.platform().Heal();
    log.Kill();
    log.Open();
    ExpectQuarters(log);
    EXPECT_EQ(log->last_sequence(), 16u) << "operation " << static_cast<int>(operation);
    EXPECT_TRUE(ComesTrue([&] { return KeptFiles(log) == 0; }));
    EXPECT_TRUE(log->recovery().findings.empty());
  }
}

// The spare is there when the process dies, and is full of what it held.
TEST_F(RecyclingTest, ASpareThatWasRecycledIsNoDamage) {
  for (const bool reboot : {false, true}) {
    TestLog log;
    log.Open(Keeping(4));
    TurnOverUntil(log, 2);
    ASSERT_TRUE(ComesTrue([&] { return log.SegmentIds().back() > log->Segments().back().id; }));
    const uint64_t spare = log.SegmentIds().back();
    log.Kill();
    const std::vector<std::byte> bytes = ReadFile(log.SegmentPath(spare));
    SegmentHeader header;
    ASSERT_EQ(LoadSegmentHeader(bytes.data(), &header), SectorState::kAbsent);
    EXPECT_TRUE(header.spare);
    EXPECT_FALSE(header.traces);
    if (reboot) log.Reboot();
    log.Open();
    ExpectQuarters(log);
    EXPECT_TRUE(log->recovery().findings.empty()) << log->recovery().findings.front().action;
    EXPECT_TRUE(std::filesystem::is_empty(log.layout().QuarantinePath()));
  }
}

// Behind the end stands what the file held. After a power cut that may also be where zeros were put, and were lost.
TEST_F(RecyclingTest, NothingOfAnEarlierLifeComesBack) {
  for (const bool reboot : {false, true}) {
    for (const bool zeros_lost : {false, true}) {
      TestLog log;
      log.Open();
      log.AppendQuarters(1, 8);
      log.Sync();
      const std::vector<std::byte> old = ReadFile(log.SegmentPath(1));
      TurnOverUntil(log, 3);
      const uint64_t last = log->last_sequence();
      ASSERT_EQ(log.Append("the only one"), last + 1);
      log.Sync();
      const SegmentInfo active = log->Segments().back();
      log.Kill();
      if (zeros_lost) {
        log.Edit(active.id, [&](SegmentFile& file) {
          std::copy(old.begin() + static_cast<std::ptrdiff_t>(active.bytes), old.end(),
                    file.data() + static_cast<std::ptrdiff_t>(active.bytes));
        });
      }
      if (reboot) log.Reboot();
      log.Open();
      EXPECT_EQ(log->last_sequence(), last + 1);
      EXPECT_EQ(log.Data().back(), "the only one");
      EXPECT_TRUE(reboot || log->recovery().findings.empty());
      EXPECT_TRUE(std::filesystem::is_empty(log.layout().QuarantinePath()));
      log.AppendQuarters(last + 2, last + 20);
      log.Sync();
      EXPECT_EQ(log->last_sequence(), last + 20);
      EXPECT_EQ(log.Data().back(), TestLog::QuarterRecord(last + 20));
    }
  }
}

// One sector of the header reached the disk before another.
TEST_F(RecyclingTest, AnIdentityCountsWhateverStandsInTheSectorOfTheSpare) {
  log_.Open();
  TurnOverUntil(2);
  const uint64_t first = log_->last_sequence() + 1;
  log_.AppendQuarters(first, first + 8);
  log_.Sync();
  const std::vector<SegmentInfo> segments = log_->Segments();
  log_.Kill();
  for (const SegmentInfo& segment : segments) {
    log_.Edit(segment.id, [&segment](SegmentFile& file) { StoreSpare(file.data(), segment.id); });
  }
  log_.Reboot();
  log_.Open();
  EXPECT_EQ(log_->last_sequence(), first + 8);
  ExpectQuarters(log_);
  EXPECT_FALSE(LoadSpare(ReadFile(segments.back().path).data())) << "it is put right where appending goes on";
}

// Segments that are larger than the window that is zeroed ahead: behind it stands what the file held.
class RecycledBehindTheWindowTest : public RecyclingTest {
 protected:
  static constexpr uint64_t kSize = WriterState::kWindow + (uint64_t{8} << 20);
  static constexpr size_t kRecord = (size_t{1} << 20) - kFrameHeaderSize;

  static LogOptions Options() {
    LogOptions options{.segment_size = kSize, .sync = SyncPolicy{.delay_us = 0}};
    options.recycle_segments = 2;
    return options;
  }

  static std::string RecordFor(uint64_t sequence) {
    std::string data = "record " + std::to_string(sequence) + std::string(20, ' ');
    data.resize(kRecord, static_cast<char>('a' + sequence % 26));
    return data;
  }

  void Append(TestLog& log, uint64_t count) {
    for (; count > 0; --count) ASSERT_NE(log.Append(RecordFor(log->appended_sequence() + 1)), 0u);
  }

  // Until the active segment is a recycled one with a single record, and behind its window stands something.
  void TurnOver(TestLog& log) {
    log.Open(Options());
    const auto recycled = [&] {
      SegmentHeader header;
      return log.layout().ReadSegmentHeader(log->Segments().back().id, &header).ok() && header.identity.recycled();
    };
    while (!recycled() && log->appended_sequence() < 1000) {
      const uint64_t active = log->Segments().back().id;
      while (log->Segments().back().id == active) Append(log, 1);
      log.Sync();
      ASSERT_OK(log->TruncateBefore(log->last_sequence()));
      std::this_thread::sleep_for(std::chrono::milliseconds(5));
    }
    ASSERT_TRUE(recycled());
    const std::vector<std::byte> bytes = ReadFile(log.SegmentPath(log->Segments().back().id));
    ASSERT_NE(FindNonZero(bytes.data(), WriterState::kWindow + kPageSize, kSize), kSize) << "there is nothing to see";
  }

  void ExpectAll(Log& log) {
    uint64_t sequence = log.first_sequence();
    for (const std::string& data : DataOf(log)) EXPECT_EQ(data.substr(0, 20), RecordFor(sequence++).substr(0, 20));
    EXPECT_EQ(sequence, log.last_sequence() + 1);
  }
};

TEST_F(RecycledBehindTheWindowTest, WhoReadsAlongSeesEveryRecordAndNothingElse) {
  TurnOver(log_);
  std::shared_ptr<Log> reader;
  LogOptions read_only;
  read_only.read_only = true;
  ASSERT_OK(Log::Open(log_.platform(), log_.path(), read_only, &reader));
  for (int i = 0; i < 40; ++i) {
    Append(log_, 1);
    EXPECT_EQ(reader->last_sequence(), log_->last_sequence());
    EXPECT_EQ(log_->last_sequence(), log_->appended_sequence());
  }
  log_.Sync();
  ExpectAll(*reader);
  ExpectAll(log_.log());
}

TEST_F(RecycledBehindTheWindowTest, TheDeathOfTheProcessTakesNothingAndBringsNothingBack) {
  TurnOver(log_);
  Append(log_, 3);
  const uint64_t last = log_->last_sequence();
  log_.Kill();
  log_.Open(Options());
  EXPECT_EQ(log_->last_sequence(), last);
  EXPECT_TRUE(log_->recovery().findings.empty());
  Append(log_, 40);
  ExpectAll(log_.log());
}

// The pointer is exact, so what is dropped is the claim, not what stands behind it.
TEST_F(RecycledBehindTheWindowTest, AClaimThatWasNeverFilledIsAllThatIsDropped) {
  TurnOver(log_);
  Append(log_, 2);
  const uint64_t last = log_->last_sequence();
  const uint64_t active = log_->Segments().back().id;
  log_.Kill();
  log_.Edit(active, [](SegmentFile& file) { file.Claim(file.frame_count()); });
  log_.Open(Options());
  EXPECT_EQ(log_->last_sequence(), last - 1);
  ASSERT_EQ(log_->recovery().findings.size(), 1u);
  EXPECT_EQ(log_->recovery().findings[0].rule, "A");
  EXPECT_EQ(log_->recovery().findings[0].bytes, uint64_t{1} << 20);
  Append(log_, 40);
  ExpectAll(log_.log());
}

TEST_F(RecycledBehindTheWindowTest, APowerCutKeepsWhatWasDurable) {
  TurnOver(log_);
  Append(log_, 2);
  log_.Sync();
  const uint64_t last = log_->last_sequence();
  const uint64_t active = log_->Segments().back().id;
  log_.Kill();
  log_.Reboot();
  log_.Open(Options());
  EXPECT_EQ(log_->last_sequence(), last);
  for (const Finding& finding : log_->recovery().findings) EXPECT_EQ(finding.rule, "A");
  EXPECT_TRUE(std::filesystem::is_empty(log_.layout().QuarantinePath()));
  const std::vector<std::byte> bytes = ReadFile(log_.SegmentPath(active));
  EXPECT_EQ(FindNonZero(bytes.data(), log_->Segments().back().bytes, kSize), kSize) << "the rest is zero now";
  Append(log_, 40);
  ExpectAll(log_.log());
}

TEST_F(RecycledBehindTheWindowTest, TheEndCanBeTakenAwayThere) {
  TurnOver(log_);
  Append(log_, 4);
  const uint64_t last = log_->last_sequence() - 2;
  ASSERT_OK(log_->TruncateAfter(last));
  EXPECT_EQ(log_->last_sequence(), last);
  Append(log_, 40);
  log_.Kill();
  log_.Open(Options());
  EXPECT_EQ(log_->last_sequence(), last + 40);
  ExpectAll(log_.log());
}

// ---- one segment ---------------------------------------------------------------------------------------------------

constexpr uint64_t kOldSize = 4 * kMinSegmentSize;
constexpr uint64_t kOldEnd = 3 * kMinSegmentSize + 8;
constexpr uint64_t kOldSalt = 99;

// Segment 3, which was full, and has been put aside.
void PutOldSegmentAside(Platform& platform, const LogDirectory& directory) {
  ASSERT_OK(directory.Create());
  std::unique_ptr<Segment> old;
  SegmentIdentity identity{.segment_id = 3, .salt = kOldSalt, .segment_size = kOldSize};
  ASSERT_OK(Segment::Create(platform, directory, identity, kOldSize, &old));
  old->Activate(1, 1, platform.CurrentBoot(), 1);
  std::memset(old->data() + kSegmentHeaderSize, 0xaa, kOldSize - kSegmentHeaderSize);
  StoreSeal(old->data(), old->identity(), {.end_offset = kOldEnd, .record_count = 1, .last_sequence = 1});
  old.reset();
  ASSERT_OK(platform.Rename(directory.SegmentPath(3), directory.RecyclablePath(3)));
}

// They would have to be found again; they are zeroed as they are used.
TEST(RecycledPagesTest, AreNotLaidAnew) {
  FaultPlatform platform;
  if (!platform.RecyclesFiles()) GTEST_SKIP() << "no files are recycled here";
  const TemporaryDirectory temporary;
  const LogDirectory directory(platform, temporary.path());
  ASSERT_NO_FATAL_FAILURE(PutOldSegmentAside(platform, directory));
  bool laid = false;
  platform.Watch([&laid](const Call& call) { laid = laid || call.operation == Operation::kLayZeros; });
  std::unique_ptr<Segment> segment;
  ASSERT_OK(Segment::Recycle(platform, directory, 3, {.segment_id = 7, .salt = kOldSalt + 1, .segment_size = kOldSize},
                             kMinSegmentSize, &segment));
  ASSERT_OK(segment->PrepareWindow(kMinSegmentSize, 2 * kMinSegmentSize));
  EXPECT_FALSE(laid);
}

class RecycledSegmentTest : public testing::Test {
 protected:
  static constexpr uint64_t kSize = kOldSize;
  static constexpr uint64_t kEnd = kOldEnd;
  static constexpr uint64_t kSalt = kOldSalt;

  void SetUp() override { PutOldSegmentAside(platform_, directory_); }

  Status Recycle(uint64_t window, uint64_t salt = kSalt + 1) {
    return Segment::Recycle(platform_, directory_, 3, {.segment_id = 7, .salt = salt, .segment_size = kSize}, window,
                            &segment_);
  }

  CrashPlatform platform_;
  LogDirectory directory_{platform_, "/log"};
  std::unique_ptr<Segment> segment_;
};

TEST_F(RecycledSegmentTest, ReadsAsZeroUpToTheWindowAndWhereTheNextFrameWillStand) {
  ASSERT_OK(Recycle(kMinSegmentSize));
  EXPECT_EQ(segment_->window_end, kMinSegmentSize);
  const std::byte* data = segment_->data();
  EXPECT_GE(FindNonZero(data, kSegmentHeaderSize, kSize), kMinSegmentSize + kFrameHeaderSize);
  EXPECT_NE(data[2 * kMinSegmentSize], std::byte{0}) << "this test has nothing to see";
  ASSERT_OK(segment_->PrepareWindow(kMinSegmentSize, 2 * kMinSegmentSize));
  EXPECT_GE(FindNonZero(data, kSegmentHeaderSize, kSize), 2 * kMinSegmentSize + kFrameHeaderSize);
}

// It may be of the life before, and nothing is known of that one's salt.
TEST_F(RecycledSegmentTest, WhatTheEarlierLifeLeftUnusedIsZero) {
  ASSERT_OK(Recycle(kMinSegmentSize));
  EXPECT_EQ(FindNonZeroEnd(segment_->data(), kSegmentHeaderSize, kSize), kEnd);
}

TEST_F(RecycledSegmentTest, IsASpareUntilItIsActivated) {
  ASSERT_OK(Recycle(kMinSegmentSize));
  SegmentHeader header;
  ASSERT_OK(directory_.ReadSegmentHeader(7, &header));
  EXPECT_TRUE(header.spare);
  segment_->Activate(50, 1, platform_.CurrentBoot(), 1);
  ASSERT_OK(directory_.ReadSegmentHeader(7, &header));
  EXPECT_EQ(header.state, SectorState::kValid);
  EXPECT_TRUE(header.identity.recycled());
  EXPECT_FALSE(header.seal) << "that is the earlier life's";
  EXPECT_FALSE(LoadSpare(segment_->data()));
}

// Of a frame under the old salt the checksum would be right.
TEST_F(RecycledSegmentTest, ASaltThatIsAsGoodAsTheOldOneIsRefused) {
  EXPECT_CODE(Recycle(kMinSegmentSize, kSalt), kLocked);
  EXPECT_EQ(segment_, nullptr);
  EXPECT_FALSE(platform_.Live(directory_.SegmentPath(7)));
}

// Whatever is durable of the names, what stands under the new one says that it is a spare.
TEST_F(RecycledSegmentTest, HasNoNameBeforeItsHeaderIsDurable) {
  for (uint64_t calls = 1; calls < 20; ++calls) {
    for (uint64_t seed = 1; seed <= 20; ++seed) {
      CrashPlatform platform(seed);
      LogDirectory directory(platform, "/log");
      ASSERT_OK(directory.Create());
      std::unique_ptr<Segment> segment;
      ASSERT_OK(Segment::Create(platform, directory, {.segment_id = 3, .salt = kSalt, .segment_size = kSize}, kSize,
                                &segment));
      segment->Activate(1, 1, platform.CurrentBoot(), 1);
      StoreSeal(segment->data(), segment->identity(), {.end_offset = kEnd, .record_count = 1, .last_sequence = 1});
      ASSERT_OK(segment->Sync(0, kSize));
      segment.reset();
      ASSERT_OK(platform.Rename(directory.SegmentPath(3), directory.RecyclablePath(3)));
      platform.CrashAt(Death::kPowerLoss, seed * 100 + calls, calls);
      const Status status =
          Segment::Recycle(platform, directory, 3, {.segment_id = 7, .salt = kSalt + 1, .segment_size = kSize},
                           kMinSegmentSize, &segment);
      segment.reset();
      if (!platform.crashed()) platform.Crash(Death::kPowerLoss, seed);
      platform.Restart();
      SegmentHeader header;
      const Status found = directory.ReadSegmentHeader(7, &header);
      if (found.ok()) {
        EXPECT_TRUE(header.spare) << "died at call " << calls << ", seed " << seed;
      }
      EXPECT_TRUE(!status.ok() || found.ok());
    }
  }
}

}  // namespace
}  // namespace segwal
