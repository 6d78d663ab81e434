// What the simulation found once, told step by step: recoveries after which the machine stops, or which a call's
// failure cuts short.
#include <gtest/gtest.h>

#include "testing/assertions.h"
#include "testing/crash_platform.h"
#include "testing/stepped_log.h"

namespace segwal {
namespace {

constexpr const char* kRoot = "/log";
// What a call that fails has done by then, and what a power loss keeps, is up to a seed: so many are tried. Without
// its mending each of the bugs shows in several.
constexpr uint64_t kSeeds = 40;

Status Injected() { return Status(ErrorCode::kIo, "injected", 5); }

// A machine with a log.
class RecoveryCrashTest : public testing::Test {
 protected:
  static LogOptions Options() { return {.segment_size = kMinSegmentSize, .sync = SyncPolicy{.delay_us = 0}}; }

  void NewMachine(uint64_t seed) {
    log_.Kill();
    machine_ = std::make_unique<CrashPlatform>(seed);
    seed_ = seed;
  }
  CrashPlatform& platform() { return *machine_; }
  Log& log() { return log_.log(); }

  void Open() { ASSERT_OK(log_.Open(platform(), kRoot, Options())); }
  uint64_t Append(size_t size) {
    const std::vector<std::byte> data(size, std::byte{'x'});
    const uint64_t sequence = log_.Append({{.data = data}}, false);
    EXPECT_NE(sequence, 0u) << log_.failure().message();
    return sequence;
  }
  void OpenWithTwoDurableRecords() {
    Open();
    Append(100);
    Append(100);
    ASSERT_OK(log_.Sync());
  }
  void Die(Death death) {
    platform().Crash(death, seed_);
    log_.Kill();
    platform().Restart();
  }

  std::unique_ptr<CrashPlatform> machine_ = std::make_unique<CrashPlatform>();
  SteppedLog log_;     // goes before its machine
  uint64_t seed_ = 0;  // a power loss with this one leaves nothing that was not synced
};

TEST_F(RecoveryCrashTest, DeletesTheFrontOnlyWhenTheMetaThatSaysSoIsDurable) {
  Open();
  Append(100);
  ASSERT_OK(log_.Rotate());
  Append(100);
  ASSERT_OK(log_.Sync());
  // Killed between the renaming of wal.meta and the sync of its folder: the page cache has the new one, the disk not.
  platform().Fail(Operation::kSyncDirectory, Status(ErrorCode::kIo, "killed here"));
  EXPECT_CODE(log().TruncateBefore(2), kIo);
  Die(Death::kProcess);
  // This one goes on with the deletion.
  Open();
  EXPECT_EQ(log().first_sequence(), 2u);
  Die(Death::kPowerLoss);
  Open();
  EXPECT_EQ(log().first_sequence(), 2u);
  EXPECT_EQ(log().last_sequence(), 2u);
}

TEST_F(RecoveryCrashTest, AReadOnlyOpenThatCannotReadAHeaderDoesNotCallTheLogCorrupt) {
  Open();
  Append(100);
  ASSERT_OK(log_.Rotate());
  Append(100);
  ASSERT_OK(log_.Sync());
  for (uint64_t nth = 1; nth < 20; ++nth) {
    platform().Fail(Operation::kRead, Injected(), nth);
    std::shared_ptr<Log> other;
    const Status status = Log::Open(platform(), kRoot, {.read_only = true}, &other);
    EXPECT_TRUE(status.ok() || status.code() == ErrorCode::kIo) << nth << ": " << status.message();
    platform().Heal();
  }
}

// What the failed sync has lost is zero in the page cache, and clean: no sync writes it, unless it is stored again.
TEST_F(RecoveryCrashTest, ZerosThatAFailedSyncHasLostAreWrittenAgain) {
  for (uint64_t seed = 0; seed < kSeeds; ++seed) {
    NewMachine(seed);
    OpenWithTwoDurableRecords();
    platform().Fail(Operation::kSyncFile, Injected(), 2);  // the first is that of wal.meta
    EXPECT_CODE(log().TruncateAfter(1), kPoisoned);
    Die(Death::kProcess);
    Open();
    EXPECT_EQ(log().last_sequence(), 1u);
    Die(Death::kPowerLoss);
    Open();
    EXPECT_EQ(log().last_sequence(), 1u) << "a record that was dropped is back, seed " << seed;
  }
}

// Whoever wrote them died before the sync.
TEST_F(RecoveryCrashTest, ZerosThatAreOnlyFoundBehindATruncationAreSynced) {
  for (uint64_t seed = 0; seed < kSeeds; ++seed) {
    bool came_to_its_end = false;
    for (uint64_t nth = 1; !came_to_its_end; ++nth) {
      NewMachine(seed);
      OpenWithTwoDurableRecords();
      platform().CrashAt(Death::kProcess, seed, nth);
      came_to_its_end = log().TruncateAfter(1).ok();
      Die(Death::kProcess);
      Open();
      const uint64_t last = log().last_sequence();
      Die(Death::kPowerLoss);
      Open();
      EXPECT_EQ(log().last_sequence(), last) << "killed at call " << nth << ", seed " << seed;
    }
  }
}

// Truncating ends with a wal.meta that says so. Without the sync of its folder the one before can be back.
TEST_F(RecoveryCrashTest, ATruncationThatIsOverIsNotDoneAgainToNewRecords) {
  for (uint64_t seed = 0; seed < kSeeds; ++seed) {
    NewMachine(seed);
    OpenWithTwoDurableRecords();
    // The folder of the wal.meta that begins it is synced, that of the checkpoints, and that of the one that ends it.
    platform().Fail(Operation::kSyncDirectory, Injected(), 3);
    EXPECT_CODE(log().TruncateAfter(1), kPoisoned);
    Die(Death::kProcess);
    Open();
    EXPECT_TRUE(log().recovery().findings.empty()) << "it had come to its end";
    EXPECT_EQ(Append(100), 2u);
    ASSERT_OK(log_.Sync());
    Die(Death::kPowerLoss);
    Open();
    EXPECT_EQ(log().last_sequence(), 2u) << "a durable record is gone, seed " << seed;
  }
}

// Both renamings of wal.meta wait in its folder. A power loss can keep the first and not the second.
TEST_F(RecoveryCrashTest, ATruncationThatWasTakenBackIsNotDoneAfterAll) {
  for (uint64_t seed = 0; seed < kSeeds; ++seed) {
    NewMachine(seed);
    OpenWithTwoDurableRecords();
    platform().Fail(Operation::kSyncDirectory, Injected(), 1, 2);
    EXPECT_CODE(log().TruncateAfter(1), kPoisoned);
    for (const Death death : {Death::kProcess, Death::kPowerLoss}) {
      Die(death);
      Open();
      EXPECT_EQ(log().last_sequence(), 2u) << "a durable record is gone, seed " << seed;
    }
  }
}

}  // namespace
}  // namespace segwal
