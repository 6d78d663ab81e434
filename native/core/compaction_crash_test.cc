// The machine stops, or the process, at every call that a compaction makes: each segment is the old one or the new one
// then, and no key is in another state than before.
#include <gtest/gtest.h>

#include <algorithm>
#include <map>
#include <set>

#include "testing/assertions.h"
#include "testing/crash_platform.h"
#include "testing/stepped_log.h"
#include "testing/test_log.h"

namespace segwal {
namespace {

using State = std::map<std::string, std::string>;
using Numbers = std::set<uint64_t>;

class CompactionCrashTest : public testing::Test {
 protected:
  static constexpr const char* kRoot = "/log";
  static LogOptions Options() { return {.segment_size = kMinSegmentSize, .sync = SyncPolicy{.delay_us = 0}}; }

  struct Machine {
    explicit Machine(uint64_t seed) : platform(seed) {}
    CrashPlatform platform;
    SteppedLog log;

    void Write(const std::string& key, const std::string& data, uint8_t kind = 0) {
      ASSERT_NE(log.Append({{.data = BytesOf(data), .key = BytesOf(key), .kind = kind}}, false), 0u);
    }
    Status Compact(CompactResult* result) { return log.log().Compact({}, result); }
    void Restart() {
      log.Kill();
      platform.Restart();
    }
  };

  // Three sealed segments. Of "gone" all is to go: a record in the first, another in the second, the Delete in the
  // third.
  static void Fill(Machine* machine) {
    ASSERT_OK(machine->log.Open(machine->platform, kRoot, Options()));
    const auto end_segment = [machine] {
      ASSERT_OK(machine->log.Rotate());
      ASSERT_OK(machine->log.Sync());
    };
    machine->Write("gone", "old");
    machine->Write("stays", "1");
    machine->Write("first", "f");
    end_segment();
    machine->Write("gone", "newer");
    machine->Write("stays", "2");
    end_segment();
    machine->Write("gone", "", kKindDelete);
    machine->Write("stays", "3");
    machine->Write("back", "", kKindDelete);
    end_segment();
    machine->Write("active", "a");
    ASSERT_OK(machine->log.Sync());
  }

  static constexpr uint64_t kLast = 9;
  static const State& Expected() {
    static const State kState{{"stays", "3"}, {"first", "f"}, {"active", "a"}};
    return kState;
  }

  // By segment: it has what it had, or what it is to have.
  static void ExpectOldOrNew(Log& log) {
    // The third with the Delete that it keeps when one of the others could not be replaced.
    static const std::vector<std::vector<Numbers>> kSegments{{{1, 2, 3}, {3}}, {{4, 5}, {}}, {{6, 7, 8}, {7}, {6, 7}}};
    State state;
    Numbers numbers;
    for (const TestRecord& record : RecordsOf(log)) {
      numbers.insert(record.sequence);
      state[*record.key] = record.data;
      if (record.kind == kKindDelete) state.erase(*record.key);
    }
    EXPECT_EQ(state, Expected());
    uint64_t next = 1;
    for (const std::vector<Numbers>& allowed : kSegments) {
      const uint64_t end = *allowed[0].rbegin() + 1;
      const Numbers found(numbers.lower_bound(next), numbers.lower_bound(end));
      EXPECT_TRUE(std::ranges::count(allowed, found) == 1) << "records from " << next << " on";
      next = end;
    }
    EXPECT_EQ(log.last_sequence(), kLast);
    VerifyReport report;
    ASSERT_OK(log.Verify({.concurrency = 1}, &report));
    EXPECT_TRUE(report.ok);
  }

  static void ExpectNew(Log& log) {
    EXPECT_EQ(RecordsOf(log).size(), 3u);
    ExpectOldOrNew(log);
  }
};

TEST_F(CompactionCrashTest, AtAnyCallEachSegmentIsTheOldOneOrTheNewOne) {
  for (const Death death : {Death::kPowerLoss, Death::kProcess}) {
    for (uint64_t seed = 0; seed < 6; ++seed) {
      uint64_t nth = 1;
      for (bool died = true; died; ++nth) {
        SCOPED_TRACE("call " + std::to_string(nth) + ", seed " + std::to_string(seed));
        Machine machine(seed);
        Fill(&machine);
        machine.platform.CrashAt(death, seed, nth);
        CompactResult result;
        const Status status = machine.Compact(&result);
        died = machine.platform.crashed();
        ASSERT_TRUE(died || status.ok());
        if (!died) machine.platform.Crash(death, seed);
        machine.Restart();
        ASSERT_OK(machine.log.Open(machine.platform, kRoot, Options()));
        ExpectOldOrNew(machine.log.log());
        EXPECT_FALSE(machine.platform.Live(LogDirectory(machine.platform, kRoot).CompactionPath()));
        if (!died) ExpectNew(machine.log.log());
        ASSERT_OK(machine.Compact(&result));
        ExpectNew(machine.log.log());
        machine.platform.Crash(Death::kPowerLoss, seed);
        machine.Restart();
        ASSERT_OK(machine.log.Open(machine.platform, kRoot, Options()));
        ExpectNew(machine.log.log());
        if (HasFailure()) return;
      }
      ASSERT_GT(nth, 25u) << "there are more calls to die in";
    }
  }
}

// What a failed sync has left behind is not known: an old name may come back, or the old bytes under a new one.
TEST_F(CompactionCrashTest, AfterACallThatFailedTooAlsoWhenItIsTriedAgain) {
  constexpr std::array kOperations{Operation::kSyncDirectory, Operation::kSyncFile, Operation::kWrite,
                                   Operation::kRename,        Operation::kRemove,   Operation::kMap,
                                   Operation::kOpen,          Operation::kRead};
  for (const Operation operation : kOperations) {
    for (uint64_t seed = 0; seed < 8; ++seed) {
      for (uint64_t failing = 1; failing <= 5; ++failing) {
        for (uint64_t nth = 0; nth < 30; nth += 1 + seed % 3) {
          SCOPED_TRACE("operation " + std::to_string(static_cast<int>(operation)) + ", failing " +
                       std::to_string(failing) + ", seed " + std::to_string(seed) + ", then call " +
                       std::to_string(nth));
          Machine machine(seed);
          Fill(&machine);
          machine.platform.Fail(operation, Status(ErrorCode::kIo, "injected", 5), failing);
          CompactResult result;
          static_cast<void>(machine.Compact(&result));
          machine.platform.Heal();
          ExpectOldOrNew(machine.log.log());
          if (nth != 0) {
            machine.platform.CrashAt(Death::kPowerLoss, seed, nth);
            static_cast<void>(machine.Compact(&result));
          }
          if (!machine.platform.crashed()) machine.platform.Crash(Death::kPowerLoss, seed + 100);
          machine.Restart();
          ASSERT_OK(machine.log.Open(machine.platform, kRoot, Options()));
          ExpectOldOrNew(machine.log.log());
          if (HasFailure()) return;
        }
      }
    }
  }
}

// Killed between a rename and the sync of its directory; the next process compacts what follows; then the power goes.
TEST_F(CompactionCrashTest, ADeleteDoesNotGoBeforeWhatItEndedHasGoneFromTheMedium) {
  for (uint64_t seed = 0; seed < 20; ++seed) {
    for (uint64_t nth = 1; nth < 60; ++nth) {
      SCOPED_TRACE("call " + std::to_string(nth) + ", seed " + std::to_string(seed));
      Machine machine(seed);
      Fill(&machine);
      machine.platform.Fail(Operation::kSyncDirectory, Status(ErrorCode::kIo, "killed here"), 2);
      CompactResult result;
      EXPECT_CODE(machine.Compact(&result), kIo);
      machine.platform.Crash(Death::kProcess, seed);
      machine.Restart();
      ASSERT_OK(machine.log.Open(machine.platform, kRoot, Options()));
      machine.platform.CrashAt(Death::kPowerLoss, seed, nth);
      static_cast<void>(machine.Compact(&result));
      const bool died = machine.platform.crashed();
      if (!died) machine.platform.Crash(Death::kPowerLoss, seed);
      machine.Restart();
      ASSERT_OK(machine.log.Open(machine.platform, kRoot, Options()));
      ExpectOldOrNew(machine.log.log());
      if (HasFailure()) return;
      if (!died) break;
    }
  }
}

}  // namespace
}  // namespace segwal
