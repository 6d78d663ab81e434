#include "platform/posix/posix_fault_guard.h"

#include <gtest/gtest.h>
#include <setjmp.h>
#include <signal.h>
#include <sys/mman.h>
#include <unistd.h>

#include <atomic>
#include <thread>
#include <vector>

#include "platform/posix/posix_descriptor.h"
#include "testing/assertions.h"
#include "testing/temporary_directory.h"

namespace segwal::posix {
namespace {

constexpr size_t kPage = 4096;

class FaultGuardTest : public testing::Test {
 protected:
  std::unique_ptr<Mapping> Map(const std::string& name, size_t size, bool writable = true) {
    const std::string path = temporary_.path() + "/" + name;
    std::unique_ptr<File> file;
    EXPECT_OK(platform_.Open(path, OpenMode::kCreate, &file));
    EXPECT_OK(file->Allocate(size));
    std::unique_ptr<Mapping> mapping;
    EXPECT_OK(platform_.Map(std::move(file), size, writable, &mapping));
    return mapping;
  }
  void Truncate(const std::string& name, off_t size) {
    ASSERT_EQ(::truncate((temporary_.path() + "/" + name).c_str(), size), 0);
  }

  Platform& platform_ = Platform::Default();
  TemporaryDirectory temporary_;
};

TEST_F(FaultGuardTest, AStoreBehindTheEndOfTheFileGoesNowhereAndIsTold) {
  const std::unique_ptr<Mapping> mapping = Map("f", 4 * kPage);
  mapping->data()[kPage] = std::byte{1};
  Truncate("f", kPage);
  EXPECT_FALSE(mapping->failure()->Happened());
  mapping->data()[3 * kPage + 5] = std::byte{7};
  EXPECT_TRUE(mapping->failure()->Happened());
  EXPECT_EQ(mapping->data()[3 * kPage + 5], std::byte{7});
  EXPECT_EQ(mapping->data()[kPage], std::byte{0}) << "a load takes the same way";
}

TEST_F(FaultGuardTest, ALoadBehindTheEndOfAReadOnlyMappingIsTold) {
  const std::unique_ptr<Mapping> mapping = Map("f", 2 * kPage, false);
  Truncate("f", 0);
  EXPECT_EQ(mapping->data()[0], std::byte{0});
  EXPECT_TRUE(mapping->failure()->Happened());
}

TEST_F(FaultGuardTest, TheAlarmStandsBeforeTheAccessGoesOn) {
  const std::unique_ptr<Mapping> mapping = Map("f", kPage);
  std::atomic<uint64_t> word{5};
  mapping->failure()->SetAlarm(&word, 77);
  Truncate("f", 0);
  mapping->data()[9] = std::byte{1};
  EXPECT_EQ(word.load(), 77u);
}

TEST_F(FaultGuardTest, OnlyTheMappingThatFailedIsTold) {
  std::vector<std::unique_ptr<Mapping>> mappings;
  // More than one block of the table holds.
  for (int i = 0; i < 150; ++i) mappings.push_back(Map("f" + std::to_string(i), kPage));
  mappings[20].reset();
  Truncate("f140", 0);
  mappings[140]->data()[0] = std::byte{1};
  for (size_t i = 0; i < mappings.size(); ++i) {
    if (!mappings[i]) continue;
    EXPECT_EQ(mappings[i]->failure()->Happened(), i == 140) << i;
  }
}

TEST_F(FaultGuardTest, ASyncOfAFileThatWasCutShortFails) {
  const std::unique_ptr<Mapping> mapping = Map("f", 2 * kPage);
  mapping->data()[kPage] = std::byte{1};
  EXPECT_OK(mapping->Sync(0, 2 * kPage));
  Truncate("f", kPage);
  EXPECT_EQ(mapping->Sync(0, 2 * kPage).code(), ErrorCode::kIo);
  EXPECT_FALSE(mapping->failure()->Happened()) << "nobody has touched the page";
}

TEST_F(FaultGuardTest, ASyncOfAFileThatWasRemovedFails) {
  const std::unique_ptr<Mapping> mapping = Map("f", 2 * kPage);
  mapping->data()[kPage] = std::byte{1};
  EXPECT_OK(mapping->Sync(0, 2 * kPage));
  ASSERT_EQ(::unlink((temporary_.path() + "/f").c_str()), 0);
  const Status status = mapping->Sync(0, 2 * kPage);
  EXPECT_EQ(status.code(), ErrorCode::kIo);
  EXPECT_EQ(status.os_error(), ENOENT);
}

TEST_F(FaultGuardTest, ThreadsThatFaultAtOnceAllGoOn) {
  const std::unique_ptr<Mapping> mapping = Map("f", 64 * kPage);
  Truncate("f", 0);
  std::vector<std::thread> threads;
  std::atomic<int> told{0};
  for (int t = 0; t < 4; ++t) {
    threads.emplace_back([&, t] {
      for (size_t page = 0; page < 64; ++page) {
        mapping->data()[page * kPage + static_cast<size_t>(t)] = std::byte{1};
        if (mapping->failure()->Happened()) ++told;
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(told.load(), 4 * 64);
}

// What follows changes the handlers of the process before the guard is installed, so each runs in a process that has
// not mapped anything yet: a "threadsafe" death test starts the program anew.
class FaultGuardChainTest : public FaultGuardTest {
 protected:
  FaultGuardChainTest() { GTEST_FLAG_SET(death_test_style, "threadsafe"); }
  std::string path_ = temporary_.path() + "/foreign";
};

// A page that is a fault to touch, and that the guard knows nothing of.
volatile char* ForeignPage(const std::string& path) {
  Descriptor descriptor;
  if (!OpenDescriptor(path, O_RDWR | O_CREAT, &descriptor).ok() || ::ftruncate(descriptor.get(), kPage) != 0)
    ::_exit(8);
  void* const page = ::mmap(nullptr, kPage, PROT_READ | PROT_WRITE, MAP_SHARED, descriptor.get(), 0);
  if (page == MAP_FAILED || ::ftruncate(descriptor.get(), 0) != 0) ::_exit(8);
  return static_cast<volatile char*>(page);
}

// Puts the guard in front of what is there.
void Install() {
  static std::byte somewhere[2 * kPage];
  static MappingFailure failure;
  UnguardRange(GuardRange(somewhere, kPage, &failure));
}

sigjmp_buf back;
void* fault_address;

void JumpBack(int, siginfo_t* info, void*) {
  fault_address = info->si_addr;
  ::siglongjmp(back, 1);
}

void JumpBackWithout(int) { ::siglongjmp(back, 1); }

TEST_F(FaultGuardChainTest, AForeignFaultGoesToTheHandlerThatWasThereBefore) {
  const auto scene = [this] {
    struct sigaction action{};
    action.sa_sigaction = JumpBack;
    action.sa_flags = SA_SIGINFO;
    ::sigaction(SIGBUS, &action, nullptr);
    Install();
    volatile char* const page = ForeignPage(path_);
    if (::sigsetjmp(back, 1) == 0) {
      *page = 1;
      ::_exit(1);
    }
    ::_exit(fault_address == page ? 0 : 2);
  };
  EXPECT_EXIT(scene(), testing::ExitedWithCode(0), "");
}

TEST_F(FaultGuardChainTest, AForeignFaultGoesToAnOldFashionedHandlerToo) {
  const auto scene = [this] {
    ::signal(SIGBUS, JumpBackWithout);
    Install();
    volatile char* const page = ForeignPage(path_);
    if (::sigsetjmp(back, 1) == 0) {
      *page = 1;
      ::_exit(1);
    }
    ::_exit(0);
  };
  EXPECT_EXIT(scene(), testing::ExitedWithCode(0), "");
}

TEST_F(FaultGuardChainTest, AForeignFaultKillsWhereNobodyHandledIt) {
  const auto scene = [this] {
    ::signal(SIGBUS, SIG_DFL);
    Install();
    *ForeignPage(path_) = 1;
    ::_exit(0);
  };
  EXPECT_EXIT(scene(), testing::KilledBySignal(SIGBUS), "");
}

TEST_F(FaultGuardChainTest, ASignalThatSomebodySentKillsToo) {
  const auto scene = [] {
    ::signal(SIGBUS, SIG_DFL);
    Install();
    ::raise(SIGBUS);
    ::_exit(0);
  };
  EXPECT_EXIT(scene(), testing::KilledBySignal(SIGBUS), "");
}

TEST_F(FaultGuardChainTest, ASignalThatIsIgnoredStaysIgnored) {
  const auto scene = [] {
    ::signal(SIGBUS, SIG_IGN);
    Install();
    ::raise(SIGBUS);
    ::_exit(0);
  };
  EXPECT_EXIT(scene(), testing::ExitedWithCode(0), "");
}

}  // namespace
}  // namespace segwal::posix
