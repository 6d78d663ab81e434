// The thread that supplies appenders: a window that is touched ahead, a spare segment, and a disk that is full or slow.
#include "core/allocator.h"

#include <gtest/gtest.h>

#include <chrono>
#include <filesystem>
#include <thread>

#include "testing/assertions.h"
#include "testing/files.h"
#include "testing/test_log.h"
#include "testing/waiting.h"
#include "testing/writer_parts.h"

namespace segwal {
namespace {

// ---- the window
// -------------------------------------------------------------------------------------------------------

class WindowTest : public testing::Test {
 protected:
  static constexpr uint64_t kMiB = uint64_t{1} << 20;

  ~WindowTest() override { parts_.platform().Release(); }

  uint64_t WindowEnd() {
    const std::lock_guard lock(parts_.state().mutex);
    return parts_.state().current->window_end;
  }
  uint64_t Used() { return PointerOffset(parts_.current()->pointer().load()); }
  // Appends records of a MiB until the write pointer is at or behind `offset`.
  void AppendTo(uint64_t offset) {
    Appender appender(parts_.state());
    while (Used() < offset) {
      if (appender.Append(RecordOf(mebibyte_)) != 0) continue;
      ASSERT_EQ(appender.failure().code(), ErrorCode::kBackpressure) << appender.failure().message();  // a busy disk
    }
  }

  const std::string mebibyte_ = std::string(kMiB - kFrameHeaderSize, 'x');
  WriterParts parts_{64 * kMiB};
  Allocator allocator_{parts_.state(), parts_.log_id()};
};

TEST_F(WindowTest, MovesAheadOnceAGoodPartOfItIsUsed) {
  allocator_.Start();
  AppendTo(4 * kMiB);
  EXPECT_EQ(WindowEnd(), WriterState::kWindow) << "not for every append";
  AppendTo(WriterState::kWindow - WriterState::LowWater(*parts_.current()) + kMiB);
  EXPECT_TRUE(ComesTrue([&] { return WindowEnd() >= Used() + WriterState::kWindow - 2 * kMiB; }));
}

TEST_F(WindowTest, EndsWithTheSegment) {
  allocator_.Start();
  AppendTo(60 * kMiB);
  EXPECT_TRUE(ComesTrue([&] { return WindowEnd() == 64 * kMiB; }));
}

TEST_F(WindowTest, AWriterThatOutrunsItWaitsAndIsCounted) {
  parts_.ProvideSpare();
  parts_.platform().Hold(Operation::kPopulate);
  allocator_.Start();
  std::thread writer([&] { AppendTo(20 * kMiB); });
  EXPECT_TRUE(ComesTrue([&] { return parts_.state().writer_stalls == 1; }));
  EXPECT_LE(Used(), WriterState::kWindow) << "nothing is claimed outside the window";
  parts_.platform().Release();
  writer.join();
  EXPECT_GE(Used(), 20 * kMiB);
  EXPECT_GT(parts_.state().writer_stall_ns, 0u);
}

TEST_F(WindowTest, ThatCannotBeTouchedPoisonsTheLog) {
  parts_.ProvideSpare();
  parts_.platform().FailFrom(Operation::kPopulate, Status(ErrorCode::kIo, "bad block", 5));
  allocator_.Start();
  Appender appender(parts_.state());
  while (appender.Append(RecordOf(mebibyte_)) != 0) ASSERT_LT(Used(), 32 * kMiB);
  EXPECT_EQ(appender.failure().code(), ErrorCode::kPoisoned);
  EXPECT_EQ(appender.failure().os_error(), 5);
  EXPECT_TRUE(Mentions(appender.failure(), "bad block"));
}

// ---- the spare
// --------------------------------------------------------------------------------------------------------

class SpareTest : public testing::Test {
 protected:
  ~SpareTest() override { log_.platform().Release(); }

  void OpenAndWaitForSpare() {
    log_.Open();
    WaitForSpare();
  }
  void WaitForSpare() {
    EXPECT_TRUE(ComesTrue([&] {
      const LogStats stats = log_->Stats();
      return stats.disk_bytes == (stats.segments + 1) * TestLog::kSegmentSize;
    }));
  }
  // Opens a log for whose second segment, and any later one, there is no room.
  void OpenOnAFullDisk() {
    log_.platform().FailFrom(Operation::kAllocate, Status(ErrorCode::kDiskFull, "no space left", 28), 2);
    log_.Open();
  }

  TestLog log_;
};

TEST_F(SpareTest, IsThereBeforeTheActiveSegmentIsFull) {
  OpenAndWaitForSpare();
  EXPECT_EQ(log_.SegmentIds(), (std::vector<uint64_t>{1, 2}));
  EXPECT_EQ(log_->Segments().size(), 1u) << "it is no segment of the log yet";
  log_.AppendQuarters(1, 5);
  WaitForSpare();
  EXPECT_EQ(log_.SegmentIds(), (std::vector<uint64_t>{1, 2, 3}));
  EXPECT_EQ(log_->Stats().writer_stalls, 0u);
}

TEST_F(SpareTest, HasASaltOfItsOwn) {
  OpenAndWaitForSpare();
  log_.AppendQuarters(1, 9);
  log_.Kill();
  EXPECT_NE(SegmentFile(log_.SegmentPath(1)).identity().salt, SegmentFile(log_.SegmentPath(2)).identity().salt);
  EXPECT_NE(SegmentFile(log_.SegmentPath(2)).identity().salt, SegmentFile(log_.SegmentPath(3)).identity().salt);
}

TEST_F(SpareTest, IsGoneAfterAnOrderlyClose) {
  OpenAndWaitForSpare();
  log_.Append("x");
  log_.Close();
  EXPECT_EQ(log_.SegmentIds(), std::vector<uint64_t>{1});
}

TEST_F(SpareTest, NoRoomForItIsNoticedOnlyWhenItIsNeeded) {
  OpenOnAFullDisk();
  log_.AppendQuarters(1, 4);
  const Status status = log_.TryAppend("one too many");
  EXPECT_CODE(status, kDiskFull);
  EXPECT_EQ(status.os_error(), 28);
  EXPECT_TRUE(Mentions(status, "no space left"));
}

TEST_F(SpareTest, AFullDiskHurtsNothingThatWasWritten) {
  OpenOnAFullDisk();
  log_.AppendQuarters(1, 4);
  EXPECT_CODE(log_.TryAppend("one too many"), kDiskFull);
  EXPECT_EQ(log_.Data().size(), 4u);
  log_.Sync();
  EXPECT_EQ(log_->durable_sequence(), 4u);
  log_.platform().Heal();
  log_.Kill();
  log_.Open();
  EXPECT_EQ(log_.Data().size(), 4u);
}

TEST_F(SpareTest, TheSameLogGoesOnWhenThereIsRoomAgain) {
  OpenOnAFullDisk();
  log_.AppendQuarters(1, 4);
  EXPECT_CODE(log_.TryAppend("record 5"), kDiskFull);
  log_.platform().Heal();
  EXPECT_TRUE(ComesTrue([&] { return log_.TryAppend("record 5").ok(); }));
  EXPECT_EQ(log_->last_sequence(), 5u) << "what was refused took no number";
  EXPECT_EQ(log_.Data().back(), "record 5");
  log_.Close();
}

class RoomListener final : public DurabilityListener {
 public:
  void OnDurable(uint64_t) override {}
  void OnPoisoned(const Status&) override {}
  void OnRoom(const Status& status) override {
    const std::lock_guard lock(mutex_);
    told_.push_back(status.code());
  }
  std::vector<ErrorCode> told() {
    const std::lock_guard lock(mutex_);
    return told_;
  }

 private:
  std::mutex mutex_;
  std::vector<ErrorCode> told_;
};

TEST_F(SpareTest, ThatThereIsNoRoomIsToldOnceAndThatThereIsAgainOnceTheLogGoesOn) {
  OpenAndWaitForSpare();
  RoomListener listener;
  log_->AddListener(&listener);
  log_.platform().FailFrom(Operation::kAllocate, Status(ErrorCode::kDiskFull, "no space left", 28));
  log_.AppendQuarters(1, 8);
  EXPECT_TRUE(ComesTrue([&] { return log_.platform().CallsOf(Operation::kAllocate) >= 5; })) << "it is asked again";
  EXPECT_EQ(listener.told(), std::vector{ErrorCode::kDiskFull});
  EXPECT_CODE(log_.TryAppend("one too many"), kDiskFull);
  log_.platform().Heal();
  EXPECT_TRUE(ComesTrue([&] { return listener.told().size() == 2; }));
  EXPECT_EQ(listener.told().back(), ErrorCode::kOk);
  EXPECT_OK(log_.TryAppend("goes on at once"));
  log_->RemoveListener(&listener);
}

TEST_F(SpareTest, RotatingOnAFullDiskSaysSo) {
  OpenOnAFullDisk();
  log_.Append("x");
  EXPECT_CODE(log_->Rotate(), kDiskFull);
}

TEST_F(SpareTest, AWriterThatOutrunsTheDiskWaitsAndIsCounted) {
  OpenAndWaitForSpare();
  log_.platform().Hold(Operation::kAllocate);
  log_.AppendQuarters(1, 8);  // the second segment is the spare; there is none behind it
  std::thread writer([&] { log_.Append("record 9"); });
  EXPECT_TRUE(ComesTrue([&] { return log_->Stats().writer_stalls == 1; }));
  log_.platform().WaitUntilHeld();
  EXPECT_EQ(log_->last_sequence(), 8u);
  log_.platform().Release();
  writer.join();
  EXPECT_EQ(log_->last_sequence(), 9u);
  EXPECT_EQ(log_->Stats().writer_stalls, 1u);
  EXPECT_GT(log_->Stats().writer_stall_ms, 0);
}

// It was taken for one that could not be made, and the next one came 200 ms later.
TEST(SpareSupplyTest, ASpareThatIsTakenAtOnceIsFollowedByTheNextAtOnce) {
  constexpr int kSpares = 50;
  WriterParts parts;
  Allocator allocator(parts.state(), parts.log_id());
  allocator.Start();
  const auto began = std::chrono::steady_clock::now();
  for (int taken = 0; taken < kSpares; ++taken) {
    std::unique_lock lock(parts.state().mutex);
    parts.state().writer_wake.wait(lock, [&] { return parts.state().spare != nullptr; });
    RotateLocked(parts.state());
  }
  EXPECT_LT(std::chrono::steady_clock::now() - began, std::chrono::seconds(5));
}

// A writer that is faster than the spares are made leaves no time to delete what cannot become one.
TEST(SpareSupplyTest, NoMoreFilesWaitToBeDeletedThanMayWaitToBeUsed) {
  WriterParts parts;
  Allocator allocator(parts.state(), parts.log_id());
  WriterState& state = parts.state();
  state.recycle_segments = 2;
  for (uint64_t id = 101; id <= 110; ++id) {
    WriteFile(parts.directory().RecyclablePath(id), std::vector<std::byte>(100));  // too short to be a segment
    state.recyclable.push_back(id);
    allocator.SupplySpare();
    const std::lock_guard lock(state.mutex);
    ASSERT_TRUE(state.spare) << "a new file is";
    RotateLocked(state);
    EXPECT_EQ(state.unusable.size(), std::min<uint64_t>(id - 100, 2));
    EXPECT_EQ(parts.directory().Recyclable().size(), state.unusable.size());
  }
}

// Larger segments: their spare is there when a first piece of it has been touched, and grows while nobody needs it.
class GrowingSpareTest : public testing::Test {
 protected:
  static constexpr uint64_t kMiB = uint64_t{1} << 20;
  static constexpr uint64_t kSize = 8 * kMiB;
  static constexpr uint64_t kFirstPiece = 2 * kMiB;
  // Calls that touch the first piece of a new file; each further piece is one.
  static constexpr int kCallsOfFirstPiece = 1;

  ~GrowingSpareTest() override { parts_.platform().Release(); }

  template <typename Condition>
  testing::AssertionResult UnderTheMutex(const Condition& condition) {
    return ComesTrue([&] {
      const std::lock_guard lock(parts_.state().mutex);
      return condition(parts_.state());
    });
  }
  testing::AssertionResult SpareReaches(uint64_t window_end) {
    return UnderTheMutex([=](WriterState& state) { return state.spare && state.spare->window_end == window_end; });
  }
  // The spare has its first piece, and is being given the second.
  void StartAndHoldSecondPiece() {
    parts_.platform().Hold(Operation::kPopulate, kCallsOfFirstPiece + 1);
    allocator_.Start();
    parts_.platform().WaitUntilHeld();
    EXPECT_TRUE(SpareReaches(kFirstPiece));
  }
  void TakeSpare() {
    const std::lock_guard lock(parts_.state().mutex);
    RotateLocked(parts_.state());
  }
  void Append(uint64_t bytes) {
    Appender appender(parts_.state());
    EXPECT_NE(appender.Append(RecordOf(std::string(bytes, 'x'))), 0u) << appender.failure().message();
  }

  WriterParts parts_{kSize};
  Allocator allocator_{parts_.state(), parts_.log_id()};
};

TEST_F(GrowingSpareTest, IsTouchedAsAWholeWhenThereIsTime) {
  allocator_.Start();
  EXPECT_TRUE(SpareReaches(kSize));
}

TEST_F(GrowingSpareTest, IsThereOnceItsFirstPieceIs) {
  StartAndHoldSecondPiece();
  TakeSpare();
  Append(kMiB);
  EXPECT_EQ(parts_.state().writer_stalls, 0u);
}

// Both threads would touch the same piece, and what is not zero there is put to zero: frames.
TEST_F(GrowingSpareTest, ThatIsTakenIsGivenAPieceByOneThreadAtATime) {
  StartAndHoldSecondPiece();
  TakeSpare();
  const int touched = parts_.platform().CallsOf(Operation::kPopulate);
  std::thread writer([this] { Append(6 * kMiB); });
  EXPECT_TRUE(UnderTheMutex([](WriterState& state) { return state.current->wanted_end != 0; }));
  std::this_thread::sleep_for(std::chrono::milliseconds(20));
  EXPECT_EQ(parts_.platform().CallsOf(Operation::kPopulate), touched);
  parts_.platform().Release();
  writer.join();
  EXPECT_TRUE(UnderTheMutex([](WriterState& state) { return state.current->window_end == kSize; }));
}

TEST_F(GrowingSpareTest, ForWhoseNextPieceThereIsNoRoomIsGivenBackAndMadeAgain) {
  parts_.platform().FailOnce(Operation::kPopulate, Status(ErrorCode::kDiskFull, "no space left", 28),
                             kCallsOfFirstPiece + 1);
  allocator_.Start();
  EXPECT_TRUE(UnderTheMutex([](WriterState& state) { return !state.spare && !state.spare_failure.ok(); }));
  EXPECT_TRUE(ComesTrue([this] { return !std::filesystem::exists(parts_.directory().SegmentPath(2)); }));
  EXPECT_TRUE(SpareReaches(kSize));
  const std::lock_guard lock(parts_.state().mutex);
  EXPECT_OK(parts_.state().spare_failure);
  EXPECT_OK(parts_.state().fatal);
}

TEST_F(GrowingSpareTest, ThatWasTakenAndCannotBeTouchedFurtherPoisonsTheLog) {
  parts_.platform().FailOnce(Operation::kPopulate, Status(ErrorCode::kIo, "bad block", 5), kCallsOfFirstPiece + 1);
  StartAndHoldSecondPiece();
  TakeSpare();
  parts_.platform().Release();
  EXPECT_TRUE(UnderTheMutex([](WriterState& state) { return state.fatal.code() == ErrorCode::kPoisoned; }));
  EXPECT_TRUE(std::filesystem::exists(parts_.directory().SegmentPath(2)));
}

TEST_F(SpareTest, WithoutRandomNumbersThereIsNone) {
  log_.platform().FailFrom(Operation::kRandom, Status(ErrorCode::kIo, "no entropy"), 3);  // log id, first salt
  log_.Open();
  log_.AppendQuarters(1, 4);
  EXPECT_CODE(log_.TryAppend("x"), kIo);
}

}  // namespace
}  // namespace segwal
