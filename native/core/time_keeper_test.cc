// The thread that looks at the clock for appends: while very many come, and not otherwise.
#include "core/time_keeper.h"

#include <gtest/gtest.h>

#include <chrono>
#include <memory>
#include <thread>
#include <vector>

#include "core/syncer.h"
#include "testing/assertions.h"
#include "testing/fault_platform.h"
#include "testing/waiting.h"
#include "testing/writer_parts.h"

namespace segwal {
namespace {

constexpr uint64_t kMs = 1'000'000;  // ns

class TimeKeeperTest : public testing::Test {
 protected:
  TimeKeeperTest() {
    platform_.WatchCoarseClock([this] {
      if (std::this_thread::get_id() == appender_) ++asked_;
    });
    keeper_.Start();
  }

  // Whether an append, on this thread, would ask the system what time it is.
  bool Asks() {
    const int before = asked_;
    keeper_.Now();
    return asked_ != before;
  }
  // A thread that kept the time would have begun by then.
  bool GoesOnAsking() {
    for (int i = 0; i < 20; ++i) {
      if (!Asks()) return false;
      std::this_thread::sleep_for(std::chrono::milliseconds(1));
    }
    return true;
  }

  FaultPlatform platform_;
  const std::thread::id appender_ = std::this_thread::get_id();
  int asked_ = 0;
  TimeKeeper keeper_{platform_};
};

TEST_F(TimeKeeperTest, WhileFewRecordsComeEachAsksTheClock) {
  for (uint64_t i = 1; i <= 100; ++i) {
    keeper_.NoteAppended(i * 4'000, i * 10 * kMs);
    EXPECT_TRUE(Asks());
  }
  EXPECT_TRUE(GoesOnAsking());
}

TEST_F(TimeKeeperTest, WhileManyComeItsThreadDoes) {
  keeper_.NoteAppended(0, 100 * kMs);
  EXPECT_TRUE(Asks());
  keeper_.NoteAppended(10'000, 110 * kMs);
  EXPECT_TRUE(ComesTrue([this] { return !Asks(); }));
  for (uint64_t time = 1'000; time < 50'000; time += 1'000) {
    platform_.SetTime(time);
    ASSERT_TRUE(ComesTrue([&] { return keeper_.Now() == time; }));
  }
  keeper_.NoteAppended(20'000, 120 * kMs);
  EXPECT_FALSE(Asks());
}

TEST_F(TimeKeeperTest, WhenTheyHaveComeTheClockIsAskedAtOnce) {
  uint64_t sequence = 0;
  uint64_t now = 50 * kMs;
  for (int i = 0; i < 20; ++i) {
    keeper_.NoteAppended(sequence, now);
    keeper_.NoteAppended(sequence += 100'000, now += 10 * kMs);
    EXPECT_TRUE(ComesTrue([this] { return !Asks(); }));
    if (i % 2 == 0) {
      keeper_.NoteAppended(sequence += 10, now += 10 * kMs);
    } else {
      keeper_.Rest();
    }
    EXPECT_TRUE(Asks());
  }
}

TEST_F(TimeKeeperTest, TakesNoNoteOfMomentsThatAreTooShort) {
  keeper_.NoteAppended(0, 100 * kMs);
  keeper_.NoteAppended(9'000, 101 * kMs);
  EXPECT_TRUE(GoesOnAsking()) << "9,000 in one ms";
  keeper_.NoteAppended(9'001, 120 * kMs);
  EXPECT_TRUE(GoesOnAsking()) << "9,001 in 20";
}

TEST_F(TimeKeeperTest, ALogThatWasCutIsNoLogWithManyRecords) {
  keeper_.NoteAppended(1'000, 100'000 * kMs);
  keeper_.NoteAppended(10, 100'010 * kMs);
  EXPECT_TRUE(GoesOnAsking());
}

TEST_F(TimeKeeperTest, CanBeDestroyedWhileItKeepsTheTime) {
  for (int i = 0; i < 50; ++i) {
    TimeKeeper keeper(platform_);
    keeper.Start();
    keeper.NoteAppended(0, 10 * kMs);
    keeper.NoteAppended(100'000, 20 * kMs);
  }
}

// ---- of a log ------------------------------------------------------------------------------------------------------

class LogTimeTest : public testing::Test {
 protected:
  LogTimeTest() {
    parts_.platform().WatchCoarseClock([this] {
      if (std::this_thread::get_id() == appender_) ++asked_;
    });
  }
  ~LogTimeTest() override {
    allocator_.Stop();
    syncer_->Stop();
  }

  void Start(uint64_t delay_us) {
    allocator_.Start();
    syncer_ = std::make_unique<Syncer>(parts_.state(), walk_, parts_.Begin(), SyncPolicy{.delay_us = delay_us});
    syncer_->Start();
  }
  uint64_t AppendMany() {
    Appender appender(parts_.state());
    return appender.AppendBatch(many_);
  }
  bool Asks() {
    const int before = asked_;
    parts_.state().time_keeper.Now();
    return asked_ != before;
  }
  testing::AssertionResult ManyMakeItKept() {
    return ComesTrue([this] {
      EXPECT_NE(AppendMany(), 0u);
      return !Asks();
    });
  }

  const std::vector<RecordView> many_ = std::vector<RecordView>(2'000);
  const std::thread::id appender_ = std::this_thread::get_id();
  int asked_ = 0;
  WriterParts parts_{uint64_t{16} << 20};
  Allocator allocator_{parts_.state(), parts_.log_id()};  // there is always room
  CommittedWalk walk_{parts_.state(), parts_.Begin()};
  std::unique_ptr<Syncer> syncer_;
};

TEST_F(LogTimeTest, IsKeptWhileVeryManyRecordsComeAndNoLonger) {
  Start(10'000);
  EXPECT_TRUE(Asks());
  EXPECT_TRUE(ManyMakeItKept());
  EXPECT_TRUE(ComesTrue([this] {
    const int before = asked_;
    EXPECT_NE(AppendMany(), 0u);
    return asked_ == before;
  }));
  EXPECT_TRUE(ComesTrue([this] { return Asks(); }));
  EXPECT_NE(parts_.current()->limit().load(), Segment::kAttentionLimit) << "the syncer looks on for a second";
}

// Of which it may have looked only once, when many had come.
TEST_F(LogTimeTest, IsNotKeptForASyncerThatSleeps) {
  Start(20);
  for (int i = 0; i < 5; ++i) {
    EXPECT_TRUE(ManyMakeItKept());
    EXPECT_TRUE(ComesTrue([this] { return Asks(); }));
  }
}

TEST_F(LogTimeTest, IsNotKeptForALogThatIsPoisoned) {
  Start(1'000);
  EXPECT_TRUE(ManyMakeItKept());
  parts_.platform().FailFrom(Operation::kSyncMapping, Status(ErrorCode::kIo, "bad block", 5));
  EXPECT_TRUE(ComesTrue([this] { return AppendMany() == 0; }));
  EXPECT_TRUE(ComesTrue([this] { return Asks(); }));
}

}  // namespace
}  // namespace segwal
