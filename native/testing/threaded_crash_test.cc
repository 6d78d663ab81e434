// What the simulation does in one order, with the real threads in whatever order they get: appenders, allocator and
// syncer run, and the machine stops. Slower, and not to be repeated, but nothing is driven by hand.
#include <gtest/gtest.h>

#include <atomic>
#include <map>
#include <random>
#include <thread>

#include "core/appender.h"
#include "core/log.h"
#include "testing/assertions.h"
#include "testing/crash_platform.h"
#include "testing/test_log.h"

namespace segwal {
namespace {

class ThreadedCrashTest : public testing::Test {
 protected:
  void Open(uint64_t sync_delay_us) {
    ASSERT_OK(Log::Open(platform_, root_,
                        {.segment_size = kMinSegmentSize, .sync = SyncPolicy{.delay_us = sync_delay_us}}, &log_));
  }

  // Appends from several threads until told to stop, or refused.
  void StartWriters(int count, uint64_t seed) {
    stop_ = false;
    written_.assign(static_cast<size_t>(count), {});
    for (int i = 0; i < count; ++i) {
      writers_.emplace_back([this, i, seed] {
        std::minstd_rand random(static_cast<uint32_t>(seed * 16 + static_cast<uint64_t>(i) + 1));
        const std::unique_ptr<Appender> appender = log_->NewAppender();
        std::map<uint64_t, std::string>& written = written_[static_cast<size_t>(i)];
        while (!stop_.load(std::memory_order_relaxed)) {
          const size_t records = random() % 8 == 0 ? 1 + random() % 5 : 1;
          std::vector<std::string> data;
          std::vector<RecordView> views;
          for (size_t r = 0; r < records; ++r) {
            data.push_back(std::to_string(seed) + "/" + std::to_string(i) + "/" + std::to_string(random()) +
                           std::string(random() % 16 == 0 ? random() % 3000 : random() % 100, 'x'));
          }
          for (const std::string& each : data) views.push_back(RecordOf(each));
          const uint64_t sequence = records == 1 ? appender->Append(views[0]) : appender->AppendBatch(views);
          if (sequence == 0) return;
          for (size_t r = 0; r < records; ++r) written[sequence + r] = data[r];
          if (random() % 4 == 0) std::this_thread::yield();
        }
      });
    }
  }

  void JoinWriters() {
    stop_ = true;
    for (std::thread& writer : writers_) writer.join();
    writers_.clear();
    for (auto& written : written_) {
      for (auto& [sequence, data] : written) {
        EXPECT_TRUE(appended_.emplace(sequence, std::move(data)).second) << "sequence " << sequence << " twice";
      }
    }
  }

  void Restart() {
    log_->Abandon();
    log_.reset();
    platform_.Restart();
  }

  // What came back is 1 … last of what was appended; the rest is forgotten.
  uint64_t CheckPrefix() {
    const uint64_t last = log_->last_sequence();
    const std::vector<TestRecord> records = RecordsOf(*log_);
    EXPECT_EQ(records.size(), last);
    for (size_t i = 0; i < records.size(); ++i) {
      EXPECT_EQ(records[i].sequence, i + 1);
      const auto appended = appended_.find(i + 1);
      if (appended == appended_.end() || appended->second != records[i].data) {
        ADD_FAILURE() << "record " << i + 1 << " is not what was appended";
        break;
      }
    }
    appended_.erase(appended_.upper_bound(last), appended_.end());
    return last;
  }

  // So that no round has to read what all those before it wrote.
  void NewLogWhenItIsLong() {
    if (appended_.size() < 3000) return;
    appended_.clear();
    root_ += "+";
  }

  CrashPlatform platform_;
  std::string root_ = "/log";
  std::shared_ptr<Log> log_;
  std::vector<std::thread> writers_;
  std::atomic<bool> stop_{false};
  std::vector<std::map<uint64_t, std::string>> written_;  // by thread, in this open
  std::map<uint64_t, std::string> appended_;
};

TEST_F(ThreadedCrashTest, APowerLossLeavesAPrefixWithAllThatWasDurable) {
  const uint64_t seed = std::random_device()();
  SCOPED_TRACE("seed " + std::to_string(seed));
  std::mt19937_64 random(seed);
  uint64_t lost = 0;
  uint64_t durable_in_all = 0;
  for (int round = 0; round < 60 && !HasFailure(); ++round) {
    Open(random() % 3 == 0 ? 0 : 100);
    const uint64_t before = CheckPrefix();
    StartWriters(1 + static_cast<int>(random() % 3), random());
    std::this_thread::sleep_for(std::chrono::microseconds(random() % 3000));
    if (random() % 2 == 0) {
      EXPECT_OK(log_->RequestDurable(log_->last_sequence()));
    }
    if (random() % 4 == 0) {
      EXPECT_OK(log_->WaitDurable(log_->last_sequence()));
    }
    if (random() % 4 == 0) {
      EXPECT_OK(log_->Rotate());
    }
    const uint64_t durable = log_->durable_sequence();
    platform_.Crash(Death::kPowerLoss, random());
    JoinWriters();
    lost += appended_.size();
    Restart();
    Open(0);
    const uint64_t last = CheckPrefix();
    EXPECT_GE(last, durable);
    EXPECT_GE(last, before);
    lost -= appended_.size();
    durable_in_all += last - before;
    EXPECT_OK(log_->Close());
    log_.reset();
    NewLogWhenItIsLong();
  }
  EXPECT_GT(lost, 0u) << "no power loss lost anything: nothing was tested";
  EXPECT_GT(durable_in_all, 0u);
}

TEST_F(ThreadedCrashTest, TheDeathOfTheProcessLosesNoAppendThatReturned) {
  const uint64_t seed = std::random_device()();
  SCOPED_TRACE("seed " + std::to_string(seed));
  std::mt19937_64 random(seed);
  size_t survived = 0;
  for (int round = 0; round < 40 && !HasFailure(); ++round) {
    Open(random() % 2 == 0 ? 0 : 100);
    CheckPrefix();
    StartWriters(1 + static_cast<int>(random() % 3), random());
    std::this_thread::sleep_for(std::chrono::microseconds(random() % 2000));
    JoinWriters();
    platform_.Crash(Death::kProcess, 0);
    Restart();
    Open(0);
    const size_t appended = appended_.size();
    EXPECT_EQ(CheckPrefix(), appended);
    survived += appended;
    Restart();
    NewLogWhenItIsLong();
  }
  EXPECT_GT(survived, 100u);
}

}  // namespace
}  // namespace segwal
