// No emulator fails to bring in a page, so the exception is raised by hand, as the system raises it.
#include "platform/win32/win32_fault_guard.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <cstring>
#include <thread>
#include <vector>

#include "platform/win32/win32_api.h"
#include "testing/assertions.h"
#include "testing/files.h"
#include "testing/temporary_directory.h"
#include "testing/test_log.h"

namespace segwal::win32 {
namespace {

constexpr size_t kSize = 65536;

int handed_on;

// Somebody who handles such exceptions and comes later in the chain: without him what is handed on ends the process.
LONG CALLBACK GoOn(EXCEPTION_POINTERS* exception) {
  const DWORD code = exception->ExceptionRecord->ExceptionCode;
  if (code != EXCEPTION_IN_PAGE_ERROR && code != EXCEPTION_ACCESS_VIOLATION) return EXCEPTION_CONTINUE_SEARCH;
  ++handed_on;
  return EXCEPTION_CONTINUE_EXECUTION;
}

void Raise(DWORD code, const std::byte* address) {
  constexpr ULONG_PTR kLoad = 0;
  constexpr ULONG_PTR kDeviceDataError = 0xC000009C;
  const std::array<ULONG_PTR, 3> arguments = {kLoad, reinterpret_cast<ULONG_PTR>(address), kDeviceDataError};
  ::RaiseException(code, 0, static_cast<DWORD>(arguments.size()), arguments.data());
}

class Win32FaultGuardTest : public testing::Test {
 protected:
  void SetUp() override {
    handed_on = 0;
    handler_ = ::AddVectoredExceptionHandler(0, GoOn);
  }
  void TearDown() override { ::RemoveVectoredExceptionHandler(handler_); }

  std::unique_ptr<Mapping> Map(const std::string& name) {
    std::unique_ptr<File> file;
    EXPECT_OK(platform_.Open(temporary_.path() + "/" + name, OpenMode::kCreate, &file));
    EXPECT_OK(file->Allocate(kSize));
    std::unique_ptr<Mapping> mapping;
    EXPECT_OK(platform_.Map(std::move(file), kSize, true, &mapping));
    return mapping;
  }

  Platform& platform_ = Platform::Default();
  TemporaryDirectory temporary_;
  void* handler_ = nullptr;
};

bool AllAre(const Mapping& mapping, int value) {
  return std::all_of(mapping.data(), mapping.data() + mapping.size(),
                     [value](std::byte byte) { return byte == static_cast<std::byte>(value); });
}

TEST_F(Win32FaultGuardTest, AnInPageErrorIsAbsorbedAndToldToItsMappingAlone) {
  const std::unique_ptr<Mapping> first = Map("a");
  const std::unique_ptr<Mapping> second = Map("b");
  const std::unique_ptr<Mapping> third = Map("c");
  for (const auto& mapping : {&first, &second, &third}) std::memset((*mapping)->data(), 1, kSize);
  std::atomic<uint64_t> word{5};
  second->failure()->SetAlarm(&word, 77);
  Raise(EXCEPTION_IN_PAGE_ERROR, second->data() + kSize - 1);
  EXPECT_EQ(handed_on, 0);
  EXPECT_TRUE(second->failure()->Happened());
  EXPECT_EQ(word.load(), 77u);
  EXPECT_TRUE(AllAre(*second, 0)) << "memory of nobody's";
  second->data()[kSize - 1] = std::byte{2};  // the access completes there
  EXPECT_EQ(second->data()[kSize - 1], std::byte{2});
  for (const auto& mapping : {&first, &third}) {
    EXPECT_FALSE((*mapping)->failure()->Happened());
    EXPECT_TRUE(AllAre(**mapping, 1));
  }
  Raise(EXCEPTION_IN_PAGE_ERROR, first->data());
  EXPECT_TRUE(first->failure()->Happened());
}

TEST_F(Win32FaultGuardTest, WhatWasStoredBeforeIsInTheFileAndWhatIsStoredAfterIsNot) {
  std::unique_ptr<Mapping> mapping = Map("a");
  std::memset(mapping->data(), 1, kSize);
  Raise(EXCEPTION_IN_PAGE_ERROR, mapping->data());
  std::memset(mapping->data(), 2, kSize);
  mapping.reset();
  const std::vector<std::byte> bytes = ReadFile(temporary_.path() + "/a");
  EXPECT_EQ(bytes, std::vector<std::byte>(kSize, std::byte{1}));
}

TEST_F(Win32FaultGuardTest, TheMemoryIsGivenBack) {
  std::unique_ptr<Mapping> mapping = Map("a");
  const std::byte* const address = mapping->data();
  Raise(EXCEPTION_IN_PAGE_ERROR, address);
  mapping.reset();
  MEMORY_BASIC_INFORMATION info{};
  ASSERT_EQ(::VirtualQuery(address, &info, sizeof info), sizeof info);
  EXPECT_EQ(info.State, static_cast<DWORD>(MEM_FREE));
  EXPECT_OK(platform_.Remove(temporary_.path() + "/a"));
  EXPECT_TRUE(NamesIn(temporary_.path()).empty());
}

// The others may come by while there is nothing at the address.
TEST_F(Win32FaultGuardTest, ThreadsThatStoreMeanwhileGoOnAndFindTheAlarm) {
  for (int round = 0; round < 50; ++round) {
    const std::unique_ptr<Mapping> mapping = Map(std::to_string(round));
    std::atomic<int> ready{0};
    std::atomic<bool> unnoticed{false};
    std::vector<std::thread> threads;
    for (size_t i = 0; i < 3; ++i) {
      threads.emplace_back([&, i] {
        auto* const word = reinterpret_cast<volatile uint64_t*>(mapping->data() + 4096 * (i + 1));
        uint64_t expected = 0;
        for (++ready; !mapping->failure()->Happened();) {
          if (*word != expected && !mapping->failure()->Happened()) unnoticed = true;
          *word = ++expected;
        }
      });
    }
    while (ready < 3) std::this_thread::yield();
    Raise(EXCEPTION_IN_PAGE_ERROR, mapping->data());
    for (std::thread& thread : threads) thread.join();
    EXPECT_FALSE(unnoticed) << "zeros in place of what was stored, and no alarm";
  }
  EXPECT_EQ(handed_on, 0);
}

TEST_F(Win32FaultGuardTest, AnotherExceptionTellsNothing) {
  const std::unique_ptr<Mapping> mapping = Map("a");
  Raise(EXCEPTION_ACCESS_VIOLATION, mapping->data());
  EXPECT_EQ(handed_on, 1);
  EXPECT_FALSE(mapping->failure()->Happened());
}

TEST_F(Win32FaultGuardTest, WhatIsNobodysGoesOn) {
  std::unique_ptr<Mapping> mapping = Map("a");
  const std::byte* const address = mapping->data();
  const std::shared_ptr<MappingFailure> failure = mapping->failure();
  Raise(EXCEPTION_IN_PAGE_ERROR, address + kSize);
  mapping.reset();
  Raise(EXCEPTION_IN_PAGE_ERROR, address);
  EXPECT_EQ(handed_on, 2);
  EXPECT_FALSE(failure->Happened());
}

// The whole way: what memory_failure_test.cc does elsewhere, where a file can be cut short.
class Win32LostMemoryTest : public testing::Test {
 protected:
  void SetUp() override {
    log_.platform().Watch([this](const Call& call) {
      if (call.operation == Operation::kSyncMapping && call.path.ends_with("wal-000001.log")) memory_ = call.data;
    });
    log_.Open();
    log_.Append("durable");
    log_.Sync();
    log_.Append("appended");
    ASSERT_NE(memory_, nullptr);
  }

  void LoseMemory() { Raise(EXCEPTION_IN_PAGE_ERROR, memory_); }

  TestLog log_;
  std::atomic<const std::byte*> memory_{nullptr};
};

TEST_F(Win32LostMemoryTest, AnAppendIsRefusedAndPoisonsTheLogAndTheNextOpenHasAllThatWasAppended) {
  LoseMemory();
  EXPECT_CODE(log_.TryAppend("nowhere"), kPoisoned);
  EXPECT_CODE(log_->WaitDurable(2), kPoisoned);
  EXPECT_EQ(log_->durable_sequence(), 1u);
  EXPECT_CODE(log_->Close(), kPoisoned);
  log_.Open();
  EXPECT_EQ(log_.Data(), (std::vector<std::string>{"durable", "appended"}));
}

TEST_F(Win32LostMemoryTest, AnAppendBetweenClaimAndCommitIsRefused) {
  log_.platform().WatchCoarseClock([this] {
    log_.platform().WatchCoarseClock(nullptr);
    LoseMemory();
  });
  EXPECT_CODE(log_.TryAppend("nowhere"), kPoisoned);
  EXPECT_CODE(log_->Close(), kPoisoned);
  log_.Open();
  EXPECT_EQ(log_.Data(), (std::vector<std::string>{"durable", "appended"}));
}

TEST_F(Win32LostMemoryTest, NothingIsDurableThatWasNotSyncedBefore) {
  LoseMemory();
  EXPECT_CODE(log_->WaitDurable(2), kPoisoned);
  EXPECT_EQ(log_->durable_sequence(), 1u);
}

TEST_F(Win32LostMemoryTest, AReaderGetsAnErrorAndNoRecords) {
  EXPECT_EQ(log_.Data().size(), 2u);
  LoseMemory();
  std::vector<TestRecord> records;
  EXPECT_CODE(ReadRecords(log_.log(), {}, &records), kIo);
  EXPECT_TRUE(records.empty());
}

}  // namespace
}  // namespace segwal::win32
