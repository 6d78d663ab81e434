#include "core/segment.h"

#include <gtest/gtest.h>

#include "testing/assertions.h"
#include "testing/fault_platform.h"
#include "testing/files.h"
#include "testing/temporary_directory.h"

namespace segwal {
namespace {

class SegmentTest : public testing::Test {
 protected:
  void SetUp() override { ASSERT_OK(directory_.Create()); }

  Status Create(uint64_t window = kMinSegmentSize) {
    return Segment::Create(platform_, directory_, identity_, window, &segment_);
  }
  SectorState StateOnDisk() {
    const std::vector<std::byte> bytes = ReadFile(directory_.SegmentPath(3));
    return LoadIdentity(bytes.data(), &found_);
  }

  TemporaryDirectory temporary_;
  FaultPlatform platform_;
  LogDirectory directory_{platform_, temporary_.path()};
  SegmentIdentity identity_{.segment_id = 3, .salt = 99, .segment_size = kMinSegmentSize};
  SegmentIdentity found_;
  std::unique_ptr<Segment> segment_;
};

TEST_F(SegmentTest, CountsAsAbsentUntilItIsActivated) {
  ASSERT_OK(Create());
  EXPECT_EQ(StateOnDisk(), SectorState::kAbsent);
  segment_->Activate(500, 12345, platform_.CurrentBoot(), 77);
  ASSERT_EQ(StateOnDisk(), SectorState::kValid);
  EXPECT_EQ(found_.segment_id, 3u);
  EXPECT_EQ(found_.base_sequence, 500u);
  EXPECT_EQ(found_.created_us, 12345u);
  EXPECT_EQ(found_.salt, 99u);
  EXPECT_EQ(segment_->base_sequence(), 500u);
}

TEST_F(SegmentTest, BeginsEmptyWithTheBootAndPidOfItsWriter) {
  ASSERT_OK(Create());
  segment_->Activate(500, 12345, platform_.CurrentBoot(), 77);
  const LiveState live = LoadLive(segment_->data());
  EXPECT_EQ(PointerOffset(live.pointer), kSegmentHeaderSize);
  EXPECT_EQ(PointerCount(live.pointer), 0u);
  EXPECT_FALSE(PointerSealed(live.pointer));
  EXPECT_EQ(live.boot, platform_.CurrentBoot());
  EXPECT_EQ(live.pid, 77u);
}

TEST_F(SegmentTest, HasItsFullSizeAndIsDurableByNameBeforeItIsMapped) {
  std::vector<Operation> calls;
  platform_.Watch([&calls](const Call& call) { calls.push_back(call.operation); });
  ASSERT_OK(Create());
  EXPECT_EQ(calls, (std::vector{Operation::kOpen, Operation::kAllocate, Operation::kSyncFile, Operation::kSyncDirectory,
                                Operation::kMap, Operation::kLayZeros, Operation::kPopulate}));
  EXPECT_EQ(ReadFile(directory_.SegmentPath(3)).size(), kMinSegmentSize);
  EXPECT_EQ(segment_->size(), kMinSegmentSize);
}

TEST_F(SegmentTest, TouchesTheWindowAndNoMore) {
  std::vector<Call> populated;
  platform_.Watch([&populated](const Call& call) {
    if (call.operation == Operation::kPopulate) populated.push_back(call);
  });
  ASSERT_OK(Create(8192));
  ASSERT_EQ(populated.size(), 1u);
  EXPECT_EQ(populated[0].offset, 0u);
  EXPECT_EQ(populated[0].length, 8192u);
  EXPECT_EQ(segment_->window_end, 8192u);
}

TEST_F(SegmentTest, LeavesNoFileBehindWhenItCannotBeMade) {
  for (Operation operation : {Operation::kOpen, Operation::kAllocate, Operation::kSyncFile, Operation::kSyncDirectory,
                              Operation::kMap, Operation::kPopulate}) {
    platform_.FailOnce(operation, Status(ErrorCode::kDiskFull, "injected"));
    EXPECT_CODE(Create(), kDiskFull) << "operation " << int(operation);
    EXPECT_TRUE(NamesIn(directory_.SegmentsPath()).empty()) << "operation " << int(operation);
  }
  EXPECT_OK(Create());
}

TEST_F(SegmentTest, IsNotMadeOverAFileThatIsThere) {
  WriteFile(directory_.SegmentPath(3), std::vector<std::byte>(10, std::byte{7}));
  EXPECT_FALSE(Create().ok());
}

class ResumedSegmentTest : public SegmentTest {
 protected:
  void SetUp() override {
    SegmentTest::SetUp();
    ASSERT_OK(Create());
    segment_->Activate(500, 12345, BootId{}, 77);
    identity_ = segment_->identity();
    StoreMark(segment_->data(), identity_, 501);
    StoreOrderlyEnd(segment_->data(), identity_, kSegmentHeaderSize + 64);
    segment_.reset();
  }
  Status Resume() {
    return Segment::Resume(platform_, directory_, identity_, kSegmentHeaderSize + 64, 2, kMinSegmentSize, &segment_);
  }
};

TEST_F(ResumedSegmentTest, GoesOnWhereItsFramesEnd) {
  ASSERT_OK(Resume());
  const uint64_t word = segment_->pointer();
  EXPECT_EQ(PointerOffset(word), kSegmentHeaderSize + 64);
  EXPECT_EQ(PointerCount(word), 2u);
  EXPECT_FALSE(PointerSealed(word));
  EXPECT_EQ(LoadLive(segment_->data()).boot, platform_.CurrentBoot());
  EXPECT_EQ(LoadLive(segment_->data()).pid, platform_.ProcessId());
  EXPECT_EQ(LoadMark(segment_->data(), identity_), 501u);
}

// Or the pages there are in memory as recovery, or a backup, has read them.
TEST_F(ResumedSegmentTest, LaysZerosBehindItsEndBeforeItTouchesThem) {
  std::vector<Call> calls;
  platform_.Watch([&calls](const Call& call) {
    if (call.operation == Operation::kLayZeros || call.operation == Operation::kPopulate) calls.push_back(call);
  });
  ASSERT_OK(Resume());
  ASSERT_EQ(calls.size(), 2u);
  EXPECT_EQ(calls[0].operation, Operation::kLayZeros);
  EXPECT_EQ(calls[0].offset, kSegmentHeaderSize + 64);
  EXPECT_EQ(calls[0].length, calls[1].length);
}

TEST_F(ResumedSegmentTest, IsDurablyNoLongerClosedInOrder) {
  bool cleared_when_synced = false;
  platform_.Watch([&](const Call& call) {
    if (call.operation == Operation::kSyncMapping && call.offset == 0 && call.length >= kSegmentHeaderSize) {
      cleared_when_synced = LoadOrderlyEnd(call.data, identity_) == 0;
    }
  });
  ASSERT_OK(Resume());
  EXPECT_TRUE(cleared_when_synced);
}

TEST_F(ResumedSegmentTest, FailsWithWhateverTheDiskSays) {
  for (Operation operation : {Operation::kOpen, Operation::kMap, Operation::kPopulate, Operation::kSyncMapping}) {
    platform_.FailOnce(operation, Status(ErrorCode::kIo, "injected"));
    EXPECT_CODE(Resume(), kIo) << "operation " << int(operation);
  }
}

}  // namespace
}  // namespace segwal
