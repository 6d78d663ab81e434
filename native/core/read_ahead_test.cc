#include "core/read_ahead.h"

#include <gtest/gtest.h>

#include <atomic>
#include <chrono>
#include <thread>

#include "testing/assertions.h"
#include "testing/fault_platform.h"
#include "testing/temporary_directory.h"
#include "testing/test_log.h"
#include "testing/waiting.h"

namespace segwal {
namespace {

bool HasAProcessorForIt() { return std::thread::hardware_concurrency() != 1; }

class ReadAheadTest : public testing::Test {
 protected:
  static constexpr uint64_t kSize = 3 * ReadAhead::kFew;

  ReadAheadTest() {
    const std::string path = directory_.path() + "/f";
    std::unique_ptr<File> file;
    EXPECT_OK(platform_.Open(path, OpenMode::kCreate, &file));
    EXPECT_OK(file->Allocate(kSize));
    EXPECT_OK(platform_.Map(std::move(file), kSize, false, &mapping_));
    platform_.Watch([this](const Call& call) {
      if (call.operation != Operation::kFetch) return;
      EXPECT_EQ(call.offset, fetched_) << "without gaps";
      fetched_ = call.offset + call.length;
      std::this_thread::sleep_for(pause_);
    });
  }
  ~ReadAheadTest() override { platform_.Watch(nullptr); }

  TemporaryDirectory directory_;
  FaultPlatform platform_;
  std::unique_ptr<Mapping> mapping_;
  std::atomic<uint64_t> fetched_{0};
  std::chrono::milliseconds pause_{0};  // what a piece takes
};

TEST_F(ReadAheadTest, FetchesFromTheFrontToTheEndAndNoFarther) {
  if (!HasAProcessorForIt()) GTEST_SKIP() << "with one processor nothing is read ahead";
  constexpr uint64_t kLength = 2 * ReadAhead::kFew + 5000;
  const ReadAhead ahead(*mapping_, kLength);
  EXPECT_TRUE(ComesTrue([&] { return fetched_ == kLength; }));
}

TEST_F(ReadAheadTest, LeavesLittleToWhoReadsIt) {
  {
    const ReadAhead ahead(*mapping_, ReadAhead::kFew - 1);
  }
  EXPECT_EQ(fetched_, 0u);
}

TEST_F(ReadAheadTest, GivesUpWhatIsLeft) {
  if (!HasAProcessorForIt()) GTEST_SKIP() << "with one processor nothing is read ahead";
  pause_ = std::chrono::milliseconds(20);
  {
    const ReadAhead ahead(*mapping_, kSize);
  }
  EXPECT_LT(fetched_, kSize);
}

// What was never written would have to be made up of zeros, page by page, and stay in memory.
TEST(ReadAheadOfRecoveryTest, EndsWhereTheLogHasBeenWritten) {
  if (!HasAProcessorForIt()) GTEST_SKIP() << "with one processor nothing is read ahead";
  LogOptions options = TestLog::Options();
  options.segment_size = 4 * ReadAhead::kFew;
  TestLog log;
  log.Open(options);
  constexpr int kRecords = 80;
  for (int i = 0; i < kRecords; ++i) log.Append(std::string(100'000, 'x'));
  const uint64_t end = log->Segments().back().bytes;
  ASSERT_GT(end, ReadAhead::kFew);
  ASSERT_LT(end, options.segment_size - ReadAhead::kFew);
  log.Sync();
  log.Kill();

  std::atomic<uint64_t> fetched = 0;
  log.platform().Watch([&](const Call& call) {
    if (call.operation == Operation::kFetch) fetched = call.offset + call.length;
  });
  log.platform().Hold(Operation::kFetch);
  std::thread open([&] { log.Open(options); });
  log.platform().WaitUntilHeld();
  log.platform().Release();
  open.join();
  log.platform().Watch(nullptr);
  EXPECT_EQ(log.Data().size(), static_cast<size_t>(kRecords));
  EXPECT_GT(fetched, 0u);
  EXPECT_LE(fetched, end);
}

}  // namespace
}  // namespace segwal
