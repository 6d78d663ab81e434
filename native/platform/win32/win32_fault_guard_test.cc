// No emulator fails to bring in a page, so the exception is raised by hand, as the system raises it.
#include "platform/win32/win32_fault_guard.h"

#include <gtest/gtest.h>

#include <array>

#include "platform/win32/win32_api.h"
#include "testing/assertions.h"
#include "testing/temporary_directory.h"

namespace segwal::win32 {
namespace {

constexpr size_t kSize = 65536;

int handed_on;

// Somebody who handles such exceptions, and came later: without him the process would end.
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

TEST_F(Win32FaultGuardTest, AnInPageErrorIsToldToItsMappingAloneAndGoesOn) {
  const std::unique_ptr<Mapping> first = Map("a");
  const std::unique_ptr<Mapping> second = Map("b");
  const std::unique_ptr<Mapping> third = Map("c");
  std::atomic<uint64_t> word{5};
  second->failure()->SetAlarm(&word, 77);
  Raise(EXCEPTION_IN_PAGE_ERROR, second->data() + kSize - 1);
  EXPECT_EQ(handed_on, 1);
  EXPECT_TRUE(second->failure()->Happened());
  EXPECT_EQ(word.load(), 77u);
  EXPECT_FALSE(first->failure()->Happened());
  EXPECT_FALSE(third->failure()->Happened());
  Raise(EXCEPTION_IN_PAGE_ERROR, first->data());
  EXPECT_TRUE(first->failure()->Happened());
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

}  // namespace
}  // namespace segwal::win32
