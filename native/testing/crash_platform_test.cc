#include "testing/crash_platform.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <set>

#include "testing/assertions.h"

namespace segwal {
namespace {

constexpr uint64_t kPage = 4096;
constexpr uint64_t kSector = 512;

class CrashPlatformTest : public testing::Test {
 protected:
  // A file of `pages` zero pages, durable by content and name, mapped.
  std::unique_ptr<Mapping> Mapped(const std::string& path, uint64_t pages) {
    std::unique_ptr<File> file;
    std::unique_ptr<Mapping> mapping;
    EXPECT_OK(platform_.Open(path, OpenMode::kCreate, &file));
    EXPECT_OK(file->Allocate(pages * kPage));
    EXPECT_OK(file->Sync());
    EXPECT_OK(platform_.SyncDirectory("/"));
    EXPECT_OK(platform_.Map(std::move(file), pages * kPage, true, &mapping));
    return mapping;
  }

  void Create(const std::string& path) {
    std::unique_ptr<File> file;
    EXPECT_OK(platform_.Open(path, OpenMode::kCreate, &file));
  }

  std::set<std::string> Names(const std::string& path = "/") {
    std::vector<DirectoryEntry> entries;
    EXPECT_OK(platform_.List(path, &entries));
    std::set<std::string> names;
    for (const DirectoryEntry& entry : entries) names.insert(entry.name);
    return names;
  }

  void Die(Death death, uint64_t seed = 1) {
    platform_.Crash(death, seed);
    platform_.Restart();
  }

  CrashPlatform platform_;
};

TEST_F(CrashPlatformTest, WhatWasSyncedSurvivesAPowerLossAndTheRestBySectors) {
  std::set<uint64_t> kept_counts;
  for (uint64_t seed = 0; seed < 50; ++seed) {
    const std::string path = "/file" + std::to_string(seed);
    auto mapping = Mapped(path, 2);
    std::fill_n(mapping->data(), kPage, std::byte{1});
    EXPECT_OK(mapping->Sync(0, 1));  // whole pages
    std::fill_n(mapping->data(), 2 * kPage, std::byte{2});
    mapping.reset();
    Die(Death::kPowerLoss, seed);
    const std::vector<std::byte> bytes = platform_.Live(path).value();
    ASSERT_EQ(bytes.size(), 2 * kPage);
    uint64_t kept = 0;
    for (uint64_t at = 0; at < bytes.size(); at += kSector) {
      const std::byte old = at < kPage ? std::byte{1} : std::byte{0};
      const std::set<std::byte> found(bytes.begin() + static_cast<std::ptrdiff_t>(at),
                                      bytes.begin() + static_cast<std::ptrdiff_t>(at + kSector));
      ASSERT_EQ(found.size(), 1u) << "a torn sector";
      ASSERT_TRUE(*found.begin() == old || *found.begin() == std::byte{2});
      if (*found.begin() == std::byte{2}) ++kept;
    }
    kept_counts.insert(kept);
  }
  EXPECT_TRUE(kept_counts.contains(0));
  EXPECT_TRUE(kept_counts.contains(16));
  EXPECT_GT(kept_counts.size(), 5u);
}

TEST_F(CrashPlatformTest, TheDeathOfTheProcessTakesNothingButTheLocks) {
  const BootId boot = platform_.CurrentBoot();
  auto mapping = Mapped("/file", 1);
  mapping->data()[7] = std::byte{9};
  std::unique_ptr<DirectoryLock> lock;
  std::unique_ptr<DirectoryLock> other;
  EXPECT_OK(platform_.Lock("/LOCK", "me", &lock));
  EXPECT_CODE(platform_.Lock("/LOCK", "you", &other), kLocked);
  platform_.Crash(Death::kProcess, 1);
  EXPECT_CODE(mapping->Sync(0, 1), kIo);
  mapping->data()[8] = std::byte{9};  // nobody is there to store this
  mapping.reset();
  platform_.Restart();
  EXPECT_EQ(platform_.Live("/file").value()[7], std::byte{9});
  EXPECT_EQ(platform_.Live("/file").value()[8], std::byte{0});
  EXPECT_OK(platform_.Lock("/LOCK", "you", &other));
  lock.reset();  // a lock of the dead process; it must not free that of the new one
  EXPECT_CODE(platform_.Lock("/LOCK", "me", &lock), kLocked);
  EXPECT_EQ(platform_.CurrentBoot(), boot);
  Die(Death::kPowerLoss);
  EXPECT_NE(platform_.CurrentBoot(), boot);
}

TEST_F(CrashPlatformTest, NamesAreDurableOnlyAfterASyncOfTheirDirectory) {
  std::set<std::set<std::string>> outcomes;
  for (uint64_t seed = 0; seed < 100; ++seed) {
    const std::string folder = "/folder" + std::to_string(seed);
    EXPECT_OK(platform_.CreateDirectory(folder));
    EXPECT_OK(platform_.SyncDirectory("/"));
    Create(folder + "/a");
    EXPECT_OK(platform_.SyncDirectory(folder));
    Create(folder + "/b");
    EXPECT_OK(platform_.Remove(folder + "/a"));
    EXPECT_EQ(Names(folder), std::set<std::string>{"b"});
    Die(Death::kPowerLoss, seed);
    outcomes.insert(Names(folder));
  }
  EXPECT_EQ(outcomes, (std::set<std::set<std::string>>{{}, {"a"}, {"b"}, {"a", "b"}}));
}

TEST_F(CrashPlatformTest, ARenameIsAtomicAndASyncOfEitherDirectoryMakesItDurable) {
  EXPECT_OK(platform_.CreateDirectory("/from"));
  EXPECT_OK(platform_.CreateDirectory("/to"));
  EXPECT_OK(platform_.SyncDirectory("/"));
  for (uint64_t seed = 0; seed < 50; ++seed) {
    const std::string name = std::to_string(seed);
    Create("/from/" + name);
    EXPECT_OK(platform_.SyncDirectory("/from"));
    EXPECT_OK(platform_.Rename("/from/" + name, "/to/" + name));
    if (seed % 2 == 0) {
      EXPECT_OK(platform_.SyncDirectory("/to"));
    }
    Die(Death::kPowerLoss, seed);
    EXPECT_NE(Names("/from").contains(name), Names("/to").contains(name));
    if (seed % 2 == 0) {
      EXPECT_TRUE(Names("/to").contains(name));
    }
  }
}

TEST_F(CrashPlatformTest, ASyncedDirectoryDoesNotComeBackToAnOlderName) {
  Create("/a");
  EXPECT_OK(platform_.Rename("/a", "/b"));
  EXPECT_OK(platform_.SyncDirectory("/"));
  Die(Death::kPowerLoss, 7);
  EXPECT_EQ(Names(), std::set<std::string>{"b"});
}

TEST_F(CrashPlatformTest, AFailedSyncLosesPagesAndTheNextOneDoesNotWriteThem) {
  auto mapping = Mapped("/file", 16);
  for (uint64_t page = 0; page < 16; ++page) mapping->data()[page * kPage] = std::byte{1};
  platform_.Fail(Operation::kSyncMapping, Status(ErrorCode::kIo, "injected", 5));
  EXPECT_CODE(mapping->Sync(0, 16 * kPage), kIo);
  EXPECT_OK(mapping->Sync(0, 16 * kPage));
  const std::vector<std::byte> medium = platform_.OnMedium("/file").value();
  uint64_t lost = 0;
  for (uint64_t page = 0; page < 16; ++page) {
    EXPECT_EQ(mapping->data()[page * kPage], std::byte{1}) << "the page cache has it";
    if (medium[page * kPage] == std::byte{0}) ++lost;
  }
  EXPECT_GT(lost, 0u);
  EXPECT_LT(lost, 16u);

  for (uint64_t page = 0; page < 16; ++page) {  // the same bytes again make the page dirty
    volatile std::byte* const byte = mapping->data() + page * kPage;
    *byte = *byte;
  }
  EXPECT_OK(mapping->Sync(0, 16 * kPage));
  const std::vector<std::byte> rewritten = platform_.OnMedium("/file").value();
  for (uint64_t page = 0; page < 16; ++page) EXPECT_EQ(rewritten[page * kPage], std::byte{1});
}

TEST_F(CrashPlatformTest, ASyncCoversItsRangeOnly) {
  auto mapping = Mapped("/file", 3);
  for (uint64_t page = 0; page < 3; ++page) mapping->data()[page * kPage + 5] = std::byte{1};
  EXPECT_OK(mapping->Sync(kPage, kPage));
  const std::vector<std::byte> medium = platform_.OnMedium("/file").value();
  EXPECT_EQ(medium[5], std::byte{0});
  EXPECT_EQ(medium[kPage + 5], std::byte{1});
  EXPECT_EQ(medium[2 * kPage + 5], std::byte{0});
}

TEST_F(CrashPlatformTest, WriteBackPutsSomeSectorsOnTheMediumWithoutMakingThemClean) {
  auto mapping = Mapped("/file", 4);
  std::fill_n(mapping->data(), 4 * kPage, std::byte{1});
  platform_.WriteBack(3);
  const std::vector<std::byte> medium = platform_.OnMedium("/file").value();
  EXPECT_NE(std::ranges::count(medium, std::byte{1}), 0);
  EXPECT_NE(std::ranges::count(medium, std::byte{0}), 0);
  EXPECT_OK(mapping->Sync(0, 4 * kPage));
  EXPECT_EQ(std::ranges::count(platform_.OnMedium("/file").value(), std::byte{0}), 0);
}

TEST_F(CrashPlatformTest, TheNthCallFailsAndThoseAroundItDoNot) {
  platform_.Fail(Operation::kOpen, Status(ErrorCode::kIo, "too many open files", 24), 2);
  std::unique_ptr<File> file;
  EXPECT_OK(platform_.Open("/a", OpenMode::kCreate, &file));
  EXPECT_CODE(platform_.Open("/b", OpenMode::kCreate, &file), kIo);
  EXPECT_OK(platform_.Open("/b", OpenMode::kCreate, &file));
  EXPECT_EQ(platform_.failures(), 1u);
  platform_.Fail(Operation::kAllocate, Status(ErrorCode::kDiskFull, "no space", 28), 1, 2);
  EXPECT_CODE(file->Allocate(kPage), kDiskFull);
  EXPECT_CODE(file->Allocate(kPage), kDiskFull);
  EXPECT_OK(file->Allocate(kPage));
}

TEST_F(CrashPlatformTest, TheMachineCanStopInTheMiddleOfTheNthCall) {
  auto mapping = Mapped("/file", 1);
  mapping->data()[0] = std::byte{1};
  platform_.CrashAt(Death::kPowerLoss, 0, 2);
  EXPECT_OK(mapping->Sync(0, 1));
  mapping->data()[0] = std::byte{2};
  EXPECT_FALSE(platform_.crashed());
  EXPECT_CODE(mapping->Sync(0, 1), kIo);
  EXPECT_TRUE(platform_.crashed());
  mapping.reset();
  platform_.Restart();
  EXPECT_NE(platform_.Live("/file").value()[0], std::byte{0});
}

TEST_F(CrashPlatformTest, TheSameSeedLeavesTheSame) {
  const auto image = [](uint64_t seed) {
    CrashPlatform platform(9);
    std::unique_ptr<File> file;
    EXPECT_OK(platform.Open("/file", OpenMode::kCreate, &file));
    EXPECT_OK(platform.SyncDirectory("/"));
    EXPECT_OK(file->Write(0, std::vector<std::byte>(20 * kPage, std::byte{7})));
    file.reset();
    platform.Crash(Death::kPowerLoss, seed);
    platform.Restart();
    return platform.Fingerprint();
  };
  EXPECT_EQ(image(5), image(5));
  std::set<uint64_t> images;
  for (uint64_t seed = 0; seed < 20; ++seed) images.insert(image(seed));
  EXPECT_GT(images.size(), 5u);
}

TEST_F(CrashPlatformTest, OthersGetAheadDuringASync) {
  auto mapping = Mapped("/file", 8);
  int calls = 0;
  platform_.DuringSync([&] {
    ++calls;
    mapping->data()[0] = std::byte{1};  // the platform is not locked meanwhile, and the store is noticed
  });
  EXPECT_OK(mapping->Sync(0, 8 * kPage));
  EXPECT_EQ(calls, 1);
  platform_.DuringSync(nullptr);
  EXPECT_OK(mapping->Sync(0, 8 * kPage));
  EXPECT_EQ(platform_.OnMedium("/file").value()[0], std::byte{1});
}

}  // namespace
}  // namespace segwal
