// Durability: the watermark, who is told of it, the order of what reaches the disk, and what a failed sync means.
#include "core/syncer.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <random>
#include <thread>

#include "testing/assertions.h"
#include "testing/test_log.h"
#include "testing/waiting.h"
#include "testing/writer_parts.h"

namespace segwal {
namespace {

class SyncerTest : public testing::Test {
 protected:
  ~SyncerTest() override {
    log_.platform().Release();
    log_.platform().Watch(nullptr);
  }

  void OpenWithListener(const LogOptions& options = TestLog::Options()) {
    log_.Open(options);
    log_->AddListener(&listener_);
  }
  static LogOptions InTheBackground(uint64_t delay_us) {
    return {.segment_size = TestLog::kSegmentSize, .sync = SyncPolicy{.delay_us = delay_us}};
  }

  RecordingListener listener_;
  TestLog log_;
};

// ---- the watermark
// ----------------------------------------------------------------------------------------------------

TEST_F(SyncerTest, NothingIsDurableThatNobodyAskedFor) {
  OpenWithListener();
  log_.Append("a");
  EXPECT_EQ(log_->durable_sequence(), 0u);
  EXPECT_EQ(log_->Stats().dirty_bytes, 32u);
}

TEST_F(SyncerTest, WaitingMakesDurable) {
  OpenWithListener();
  log_.Append("a");
  log_.Append("b");
  EXPECT_OK(log_->WaitDurable(1));
  EXPECT_EQ(log_->durable_sequence(), 2u) << "what is there goes along";
  EXPECT_EQ(log_->Stats().dirty_bytes, 0u);
  EXPECT_EQ(log_->Stats().syncs, 1u);
}

TEST_F(SyncerTest, WaitingForWhatIsDurableSyncsNothing) {
  OpenWithListener();
  log_.Append("a");
  log_.Sync();
  EXPECT_OK(log_->WaitDurable(1));
  EXPECT_OK(log_->WaitDurable(0));
  EXPECT_EQ(log_->Stats().syncs, 1u);
}

// Who writes one durable record after the other would wake it twice for each: by the append, and by asking.
TEST(SyncerAloneTest, AfterASyncItStaysAwakeForTheDelayAndNoAppendHasToWakeIt) {
  WriterParts parts;
  CommittedWalk walk(parts.state(), parts.Begin());
  Syncer syncer(parts.state(), walk, parts.Begin(), SyncPolicy{.delay_us = uint64_t{60} * 1000 * 1000});
  syncer.Start();
  Appender appender(parts.state());
  EXPECT_EQ(appender.AppendPlain("a", 1), 1u);
  EXPECT_OK(syncer.Wait(1));
  for (int i = 0; i < 100; ++i) {
    EXPECT_NE(parts.current()->limit().load(), Segment::kAttentionLimit);
    std::this_thread::sleep_for(std::chrono::microseconds(100));
  }
  syncer.Stop();
}

// With nothing to do it goes on looking for a hundred delays. Then it sleeps: an idle log costs nothing.
TEST(SyncerAloneTest, ItSleepsOnlyWhenTheLogHasBeenIdleForLong) {
  WriterParts parts;
  CommittedWalk walk(parts.state(), parts.Begin());
  Syncer syncer(parts.state(), walk, parts.Begin(), SyncPolicy{.delay_us = 5000});
  syncer.Start();
  Appender appender(parts.state());
  EXPECT_EQ(appender.AppendPlain("a", 1), 1u);
  EXPECT_OK(syncer.Wait(1));
  for (int i = 0; i < 10; ++i) {
    EXPECT_NE(parts.current()->limit().load(), Segment::kAttentionLimit) << "after " << i * 10 << " ms";
    std::this_thread::sleep_for(std::chrono::milliseconds(10));
  }
  EXPECT_TRUE(ComesTrue([&] { return parts.current()->limit().load() == Segment::kAttentionLimit; }));
  syncer.Stop();
}

// Or the next append would take the faults of what the sync has write-protected, whole pieces of the file.
TEST_F(SyncerTest, WhatASyncHasProtectedAheadOfTheLogIsMadeWritableAgain) {
  log_.Open();
  std::atomic<uint64_t> synced_to = 0;
  std::atomic<uint64_t> touched_from = 0;
  std::atomic<uint64_t> touched_to = 0;
  const std::string active = log_.SegmentPath(1);  // the spare is being made meanwhile, and has its pages touched too
  log_.platform().Watch([&](const Call& call) {
    if (call.path != active) return;
    if (call.operation == Operation::kSyncMapping) synced_to = call.offset + call.length;
    if (call.operation != Operation::kPopulate) return;
    touched_from = call.offset;
    touched_to = call.offset + call.length;
  });
  for (int i = 0; i < 5; ++i) {
    log_.Append("a");
    log_.Sync();
    // The watermark is told first, so that nobody waits for this.
    const uint64_t end = log_->Segments().back().bytes;
    const auto to = [&] { return AlignUp(std::max(synced_to.load(), end + 1), Mapping::kPiece); };
    EXPECT_TRUE(ComesTrue([&] { return touched_from == end && touched_to == to(); }));
  }
  log_.platform().Watch(nullptr);
}

TEST_F(SyncerTest, WhatIsAppendedWhileItStaysAwakeIsSyncedInTime) {
  OpenWithListener(InTheBackground(2000));
  for (uint64_t sequence = 1; sequence < 20; sequence += 2) {
    log_.Append("a");
    log_.Sync();
    log_.Append("b");
    EXPECT_TRUE(listener_.WaitFor(sequence + 1));
  }
}

// The disk need not rest while as much as the policy says waits for it. Less is left to the delay, or to who asks.
TEST_F(SyncerTest, EnoughBytesThatCameDuringASyncAreSyncedNextUnasked) {
  constexpr uint64_t kOneMinute = uint64_t{60} * 1000 * 1000;
  constexpr int kHalf = 500;
  constexpr int kMore = 1100;
  for (const uint64_t max_bytes : {uint64_t{0}, uint64_t{1} << 20}) {
    OpenWithListener(
        {.segment_size = uint64_t{4} << 20, .sync = SyncPolicy{.delay_us = kOneMinute, .max_bytes = max_bytes}});
    for (const int kilobytes : {kHalf, kMore}) {
      log_.platform().Hold(Operation::kSyncMapping);
      const uint64_t asked = log_.Append("asked for");
      EXPECT_OK(log_->RequestDurable(asked));
      log_.platform().WaitUntilHeld();
      uint64_t last = 0;
      for (int i = 0; i < kilobytes; ++i) last = log_.Append(std::string(1024, 'k'));
      log_.platform().Release();
      EXPECT_TRUE(listener_.WaitFor(asked));
      if (max_bytes != 0 && kilobytes == kMore) {
        EXPECT_TRUE(listener_.WaitFor(last));
      } else {
        std::this_thread::sleep_for(std::chrono::milliseconds(20));
        EXPECT_EQ(log_->durable_sequence(), asked);
      }
    }
    log_.Close();
  }
}

TEST_F(SyncerTest, TheMarkInTheFileFollows) {
  OpenWithListener();
  log_.Append("a");
  log_.Append("b");
  log_.Sync();
  log_.Append("c");
  log_.Kill();
  SegmentFile segment(log_.SegmentPath(1));
  EXPECT_EQ(LoadMark(segment.data(), segment.identity()), 2u);
}

TEST_F(SyncerTest, FramesProveWhatWasDurableBeforeThem) {
  OpenWithListener();
  log_.Append("a");
  log_.Sync();
  log_.Append("b");
  log_.Kill();
  SegmentFile segment(log_.SegmentPath(1));
  EXPECT_EQ(Load<uint32_t>(segment.data() + segment.FrameAt(1) + 12), EncodeSynced(0, 1));
  EXPECT_EQ(Load<uint32_t>(segment.data() + segment.FrameAt(2) + 12), EncodeSynced(1, 1));
}

TEST_F(SyncerTest, AWatermarkWaitsForAClaimThatIsBeingFilled) {
  OpenWithListener();
  std::atomic<bool> asked{false};
  log_.platform().WatchCoarseClock([&] {
    if (asked.exchange(true)) return;
    EXPECT_OK(log_->RequestDurable(log_->appended_sequence()));
    EXPECT_EQ(log_->durable_sequence(), 0u);
  });
  EXPECT_EQ(log_.Append("a"), 1u);
  EXPECT_TRUE(listener_.WaitFor(1));
}

// ---- listeners
// --------------------------------------------------------------------------------------------------------

TEST_F(SyncerTest, ListenersAreToldOncePerSyncAndNotOncePerRecord) {
  OpenWithListener();
  log_.platform().Hold(Operation::kSyncMapping);
  log_.Append("first");
  EXPECT_OK(log_->RequestDurable(1));
  log_.platform().WaitUntilHeld();
  for (int i = 0; i < 100; ++i) EXPECT_OK(log_->RequestDurable(log_.Append("gathers meanwhile")));
  log_.platform().Release();
  EXPECT_TRUE(listener_.WaitFor(101));
  EXPECT_EQ(listener_.watermarks(), (std::vector<uint64_t>{1, 101}));
  EXPECT_EQ(log_->Stats().syncs, 2u);
}

TEST_F(SyncerTest, ARemovedListenerHearsNothing) {
  OpenWithListener();
  RecordingListener other;
  log_->AddListener(&other);
  log_->RemoveListener(&other);
  log_.Append("a");
  log_.Sync();
  EXPECT_TRUE(listener_.WaitFor(1));
  EXPECT_TRUE(other.watermarks().empty());
}

TEST_F(SyncerTest, WatermarksOnlyGrow) {
  OpenWithListener(InTheBackground(100));
  for (int i = 0; i < 2000; ++i) log_.Append("record");
  log_.Sync();
  EXPECT_TRUE(listener_.WaitFor(2000));
  const std::vector<uint64_t> watermarks = listener_.watermarks();
  EXPECT_TRUE(std::ranges::is_sorted(watermarks, std::less_equal<>()));
  EXPECT_LE(watermarks.size(), log_->Stats().syncs);
}

// ---- in the background
// ------------------------------------------------------------------------------------------------

TEST_F(SyncerTest, SyncsUnaskedWithinTheDelay) {
  OpenWithListener(InTheBackground(1000));
  log_.Append("a");
  EXPECT_TRUE(listener_.WaitFor(1));
  log_.Append("b");
  EXPECT_TRUE(listener_.WaitFor(2));
}

TEST_F(SyncerTest, ARequestDoesNotWaitForTheDelay) {
  OpenWithListener(InTheBackground(uint64_t{3600} * 1'000'000));
  log_.Append("a");
  EXPECT_OK(log_->WaitDurable(1));
  log_.Append("b");
  EXPECT_OK(log_->RequestDurable(2));
  EXPECT_TRUE(listener_.WaitFor(2));
}

TEST_F(SyncerTest, NoAppendIsForgottenThatRacesWithFallingAsleep) {
  const unsigned seed = std::random_device{}();
  SCOPED_TRACE("seed " + std::to_string(seed));
  std::mt19937 random(seed);
  OpenWithListener(InTheBackground(20));
  for (uint64_t i = 1; i <= 1500; ++i) {
    ASSERT_EQ(log_.Append("x"), i);
    // Nobody asks. Sometimes the next append comes as the syncer is about to fall asleep, sometimes long after.
    if (random() % 2 == 0) {
      ASSERT_TRUE(listener_.WaitFor(i)) << "the syncer slept through record " << i;
    }
    // Not by yielding: beside a busy process each of that takes milliseconds. It falls asleep after 2 ms.
    const auto pause = std::chrono::microseconds(random() % 4 == 0 ? 1900 + random() % 300 : random() % 100);
    const auto end = std::chrono::steady_clock::now() + pause;
    while (std::chrono::steady_clock::now() < end) {
    }
  }
  EXPECT_TRUE(listener_.WaitFor(1500));
}

// ---- order
// ------------------------------------------------------------------------------------------------------------

TEST_F(SyncerTest, TheFirstSyncOfASegmentTakesItsHeaderAlong) {
  OpenWithListener();
  std::vector<Call> syncs;
  log_.platform().Watch([&](const Call& call) {
    if (call.operation == Operation::kSyncMapping && call.path == log_.SegmentPath(2)) syncs.push_back(call);
  });
  log_.AppendQuarters(1, 5);
  log_.Sync();
  log_.AppendQuarters(6, 6);
  log_.Sync();
  log_.platform().Watch(nullptr);
  ASSERT_EQ(syncs.size(), 2u);
  EXPECT_EQ(syncs[0].offset, 0u);
  EXPECT_GE(syncs[1].offset, kSegmentHeaderSize);
}

TEST_F(SyncerTest, NowAndThenAShortSyncTakesZerosAlong) {
  constexpr uint64_t kZeros = uint64_t{64} << 10;
  OpenWithListener({.segment_size = uint64_t{1} << 20, .sync = SyncPolicy{.delay_us = 0}});
  std::vector<uint64_t> behind;  // of each sync, how far it reached behind the frames
  uint64_t end = kSegmentHeaderSize;
  log_.platform().Watch([&](const Call& call) {
    if (call.operation == Operation::kSyncMapping) behind.push_back(call.offset + call.length - end);
  });
  const auto append_and_sync = [&](size_t frame_size) {
    end += frame_size;
    log_.Append(std::string(frame_size - kFrameHeaderSize, 'x'));
    log_.Sync();
  };
  append_and_sync(1024);
  append_and_sync(kZeros - 1024);
  append_and_sync(1024);  // still within what was written
  append_and_sync(1024);  // behind it
  append_and_sync(kZeros);
  append_and_sync(uint64_t{17} << 10);
  log_.platform().Watch(nullptr);
  EXPECT_EQ(behind, (std::vector<uint64_t>{kZeros, 0, 0, kZeros, 0, 0})) << "and a long sync never does";
}

TEST_F(SyncerTest, ZerosAheadEndWithTheWindow) {
  OpenWithListener();  // a segment of 64 KiB
  std::vector<uint64_t> ends;
  log_.platform().Watch([&](const Call& call) {
    if (call.operation == Operation::kSyncMapping) ends.push_back(call.offset + call.length);
  });
  log_.Append("a");
  log_.Sync();
  log_.platform().Watch(nullptr);
  EXPECT_EQ(ends, (std::vector<uint64_t>{TestLog::kSegmentSize}));
}

TEST_F(SyncerTest, ASegmentIsDurableThenSealedThenTheNextIsSynced) {
  OpenWithListener();
  std::vector<std::string> order;
  log_.platform().Watch([&](const Call& call) {
    if (call.operation != Operation::kSyncMapping) return;
    const bool sealed = FindNonZero(call.data, kSealOffset, kSealOffset + kSectorSize) != kSealOffset + kSectorSize;
    const bool frames = call.offset + call.length > kSegmentHeaderSize;
    std::string sync = call.path.substr(call.path.size() - 5, 1) + (frames ? " frames" : " header");
    if (sealed) sync += ", sealed";
    if (order.empty() || order.back() != sync) order.push_back(std::move(sync));
  });
  log_.AppendQuarters(1, 9);
  log_.Sync();
  log_.platform().Watch(nullptr);
  EXPECT_EQ(order,
            (std::vector<std::string>{"1 frames", "1 header, sealed", "2 frames", "2 header, sealed", "3 frames"}));
}

TEST_F(SyncerTest, ASegmentWhoseFramesCouldNotBeSyncedHasNoSeal) {
  OpenWithListener();
  log_.platform().FailFrom(Operation::kSyncMapping, Status(ErrorCode::kIo, "injected"));
  log_.AppendQuarters(1, 4);
  EXPECT_CODE(log_->Rotate(), kPoisoned);
  log_.Kill();
  SegmentFile segment(log_.SegmentPath(1));
  Seal seal;
  EXPECT_EQ(LoadSeal(segment.data(), segment.identity(), &seal), SectorState::kAbsent);
}

TEST_F(SyncerTest, TheSealSaysWhatIsInTheSegment) {
  OpenWithListener();
  log_.AppendQuarters(1, 5);
  log_.Sync();
  log_.Kill();
  SegmentFile segment(log_.SegmentPath(1));
  Seal seal;
  ASSERT_EQ(LoadSeal(segment.data(), segment.identity(), &seal), SectorState::kValid);
  EXPECT_EQ(seal.end_offset, TestLog::kSegmentSize);
  EXPECT_EQ(seal.record_count, 4u);
  EXPECT_EQ(seal.last_sequence, 4u);
  EXPECT_GT(seal.earliest_us, 0u);
  EXPECT_GE(seal.latest_us, seal.earliest_us);
}

// A crash that tears the header page must not leave a mark without the identity that it belongs to.
TEST_F(SyncerTest, ASegmentWhoseHeaderWasNeverSyncedGetsNoMark) {
  OpenWithListener();
  log_.AppendQuarters(1, 2);
  ASSERT_OK(log_->Rotate());
  log_.Sync();
  log_.Kill();
  SegmentFile empty(log_.SegmentPath(2));
  EXPECT_EQ(LoadMark(empty.data(), empty.identity()), 0u);
}

TEST_F(SyncerTest, AnOrderlyCloseSyncsTheIdentityOfAnEmptySegmentBeforeItsMark) {
  OpenWithListener();
  log_.AppendQuarters(1, 2);
  ASSERT_OK(log_->Rotate());
  log_.Sync();
  bool first = true;
  log_.platform().Watch([&](const Call& call) {
    if (call.operation != Operation::kSyncMapping || call.path != log_.SegmentPath(2) || !first) return;
    first = false;
    EXPECT_EQ(Load<uint32_t>(call.data + kMarkOffset), 0u);
  });
  log_.Close();
  EXPECT_FALSE(first);
}

// ---- poison
// -----------------------------------------------------------------------------------------------------------

class PoisonedTest : public SyncerTest {
 protected:
  void Poison() {
    OpenWithListener();
    log_.Append("durable");
    log_.Sync();
    log_.Append("not durable");
    log_.platform().FailOnce(Operation::kSyncMapping, Status(ErrorCode::kIo, "the disk is gone", 5));
    waited_ = log_->WaitDurable(2);
  }
  Status waited_;
};

TEST_F(PoisonedTest, WaitersFailWithTheCause) {
  Poison();
  EXPECT_CODE(waited_, kPoisoned);
  EXPECT_TRUE(Mentions(waited_, "the disk is gone"));
  EXPECT_EQ(waited_.os_error(), 5);
  EXPECT_EQ(log_->durable_sequence(), 1u);
}

TEST_F(PoisonedTest, WhatIsDurableStaysDurable) {
  Poison();
  EXPECT_CODE(log_->WaitDurable(2), kPoisoned);
  EXPECT_EQ(log_.Data(), (std::vector<std::string>{"durable", "not durable"}));
}

TEST_F(PoisonedTest, ListenersAreToldOnce) {
  Poison();
  EXPECT_TRUE(listener_.WaitForPoison());
  EXPECT_CODE(log_->WaitDurable(2), kPoisoned);
  log_.Kill();
  ASSERT_EQ(listener_.poisoned().size(), 1u);
  EXPECT_CODE(listener_.poisoned()[0], kPoisoned);
  EXPECT_EQ(listener_.watermarks(), std::vector<uint64_t>{1});
}

TEST_F(PoisonedTest, NothingIsAppendedRequestedOrRotatedAnyMore) {
  Poison();
  EXPECT_CODE(log_.TryAppend("later"), kPoisoned);
  EXPECT_CODE(log_->RequestDurable(2), kPoisoned);
  EXPECT_CODE(log_->Rotate(), kPoisoned);
}

TEST_F(PoisonedTest, ALaterSyncThatWouldSucceedIsNotTried) {
  Poison();
  EXPECT_TRUE(listener_.WaitForPoison());
  const int syncs = log_.platform().CallsOf(Operation::kSyncMapping);
  EXPECT_CODE(log_->WaitDurable(2), kPoisoned);
  EXPECT_CODE(log_->Close(), kPoisoned);
  EXPECT_EQ(log_.platform().CallsOf(Operation::kSyncMapping), syncs);
  log_.Kill();
}

TEST_F(PoisonedTest, ANewOpenSeesWhatIsReallyThereAndGoesOn) {
  Poison();
  EXPECT_CODE(log_->Close(), kPoisoned);
  log_.Kill();
  log_.Open();
  EXPECT_EQ(log_.Data(), (std::vector<std::string>{"durable", "not durable"}));
  EXPECT_EQ(log_->durable_sequence(), 2u) << "recovery made durable what it kept";
  EXPECT_EQ(log_.Append("later"), 3u);
  log_.Close();
}

TEST_F(PoisonedTest, EveryWaiterFails) {
  OpenWithListener();
  log_.platform().Hold(Operation::kSyncMapping);
  log_.platform().FailFrom(Operation::kSyncMapping, Status(ErrorCode::kIo, "the disk is gone", 5));
  for (int i = 0; i < 4; ++i) log_.Append("x");
  std::vector<std::thread> waiters;
  std::atomic<int> failed{0};
  for (uint64_t sequence = 1; sequence <= 4; ++sequence) {
    waiters.emplace_back([&, sequence] {
      if (log_->WaitDurable(sequence).code() == ErrorCode::kPoisoned) ++failed;
    });
  }
  log_.platform().WaitUntilHeld();
  log_.platform().Release();
  for (std::thread& waiter : waiters) waiter.join();
  EXPECT_EQ(failed, 4);
}

}  // namespace
}  // namespace segwal
