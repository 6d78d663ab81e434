// What the simulation found once, told step by step: recoveries after which the machine stops, or which a call's
// failure cuts short.
#include <gtest/gtest.h>

#include "testing/assertions.h"
#include "testing/crash_platform.h"
#include "testing/stepped_log.h"

namespace segwal {
namespace {

class RecoveryCrashTest : public testing::Test {
 protected:
  static constexpr const char* kRoot = "/log";
  static LogOptions Options() { return {.segment_size = kMinSegmentSize, .sync = SyncPolicy{.delay_us = 0}}; }

  void Open() { ASSERT_OK(log_.Open(platform_, kRoot, Options())); }
  uint64_t Append(size_t size) {
    const std::vector<std::byte> data(size, std::byte{'x'});
    const uint64_t sequence = log_.Append({{.data = data}}, false);
    EXPECT_NE(sequence, 0u) << log_.failure().message();
    return sequence;
  }
  void Die(Death death) {
    platform_.Crash(death, 0);  // a power loss with this seed leaves nothing that was not synced
    log_.Kill();
    platform_.Restart();
  }

  CrashPlatform platform_;
  SteppedLog log_;
};

TEST_F(RecoveryCrashTest, DeletesTheFrontOnlyWhenTheMetaThatSaysSoIsDurable) {
  Open();
  Append(100);
  ASSERT_OK(log_.Rotate());
  Append(100);
  ASSERT_OK(log_.Sync());
  // Killed between the renaming of wal.meta and the sync of its folder: the page cache has the new one, the disk not.
  platform_.Fail(Operation::kSyncDirectory, Status(ErrorCode::kIo, "killed here"));
  EXPECT_CODE(log_.log().TruncateBefore(2), kIo);
  Die(Death::kProcess);
  // This one goes on with the deletion.
  Open();
  EXPECT_EQ(log_.log().first_sequence(), 2u);
  Die(Death::kPowerLoss);
  Open();
  EXPECT_EQ(log_.log().first_sequence(), 2u);
  EXPECT_EQ(log_.log().last_sequence(), 2u);
}

TEST_F(RecoveryCrashTest, AReadOnlyOpenThatCannotReadAHeaderDoesNotCallTheLogCorrupt) {
  Open();
  Append(100);
  ASSERT_OK(log_.Rotate());
  Append(100);
  ASSERT_OK(log_.Sync());
  for (uint64_t nth = 1; nth < 20; ++nth) {
    platform_.Fail(Operation::kRead, Status(ErrorCode::kIo, "injected", 5), nth);
    std::shared_ptr<Log> other;
    const Status status = Log::Open(platform_, kRoot, {.read_only = true}, &other);
    EXPECT_TRUE(status.ok() || status.code() == ErrorCode::kIo) << nth << ": " << status.message();
    platform_.Heal();
  }
}

}  // namespace
}  // namespace segwal
