// The contract of platform.h, against real files in a temporary directory.
#include <fcntl.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <chrono>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <optional>
#include <string>
#include <thread>
#include <vector>

#include "platform/platform.h"
#include "platform/posix/posix_boot_id.h"
#include "platform/posix/posix_error.h"
#include "platform/posix/posix_file.h"
#include "platform/posix/posix_mapping.h"
#include "platform/posix/posix_os.h"

namespace segwal {
namespace {

constexpr size_t kPage = 65536;  // a multiple of every page size there is
using Bytes = std::vector<std::byte>;

ByteView View(std::string_view text) { return std::as_bytes(std::span(text)); }

bool AllAre(ByteView bytes, int value) {
  return std::ranges::all_of(bytes, [value](std::byte byte) { return byte == static_cast<std::byte>(value); });
}

#define ASSERT_OK(expression)                                                 \
  do {                                                                        \
    const Status status_of_expression = (expression);                         \
    ASSERT_TRUE(status_of_expression.ok()) << status_of_expression.message(); \
  } while (false)

class PosixPlatformTest : public testing::Test {
 protected:
  void SetUp() override {
    std::string pattern = testing::TempDir() + "segwal_platform_XXXXXX";
    ASSERT_NE(::mkdtemp(pattern.data()), nullptr);
    ASSERT_OK(platform_.CanonicalPath(pattern, &directory_));
  }
  void TearDown() override { std::filesystem::remove_all(directory_); }

  std::string Path(const std::string& name) const { return directory_ + "/" + name; }

  std::unique_ptr<File> Open(const std::string& name, OpenMode mode) {
    std::unique_ptr<File> file;
    const Status status = platform_.Open(Path(name), mode, &file);
    EXPECT_TRUE(status.ok()) << status.message();
    return file;
  }

  std::unique_ptr<File> FileWith(const std::string& name, ByteView content) {
    auto file = Open(name, OpenMode::kCreate);
    const Status status = file->Write(0, content);
    EXPECT_TRUE(status.ok()) << status.message();
    return file;
  }

  std::unique_ptr<Mapping> Map(const std::string& name, uint64_t length, bool writable = true) {
    std::unique_ptr<Mapping> mapping;
    const Status status =
        platform_.Map(Open(name, writable ? OpenMode::kReadWrite : OpenMode::kRead), length, writable, &mapping);
    EXPECT_TRUE(status.ok()) << status.message();
    return mapping;
  }

  std::unique_ptr<Mapping> AllocateAndMap(const std::string& name, uint64_t length) {
    const Status status = Open(name, OpenMode::kCreate)->Allocate(length);
    EXPECT_TRUE(status.ok()) << status.message();
    return Map(name, length);
  }

  struct stat StatOf(const std::string& name) const {
    struct stat info{};
    EXPECT_EQ(::stat(Path(name).c_str(), &info), 0);
    return info;
  }

  Platform& platform_ = Platform::Default();
  std::string directory_;
};

Bytes ReadAll(File& file) {
  uint64_t size = 0;
  EXPECT_TRUE(file.Size(&size).ok());
  Bytes bytes(size);
  size_t count = 0;
  EXPECT_TRUE(file.Read(0, bytes, &count).ok());
  EXPECT_EQ(count, size);
  return bytes;
}

void ExpectFailure(const Status& status, ErrorCode code, int os_error, const std::string& part) {
  EXPECT_EQ(status.code(), code) << status.message();
  EXPECT_EQ(status.os_error(), os_error) << status.message();
  EXPECT_NE(status.message().find(part), std::string::npos) << status.message();
}

// Runs `body` in a child process, which exits with what it returns; gives its id.
template <typename Body>
pid_t Fork(Body body) {
  const pid_t child = ::fork();
  if (child == 0) ::_exit(body());
  EXPECT_GT(child, 0);
  return child;
}

int WaitFor(pid_t child) {
  int status = 0;
  EXPECT_EQ(::waitpid(child, &status, 0), child);
  return status;
}

bool ExitedWith(int status, int code) { return WIFEXITED(status) && WEXITSTATUS(status) == code; }

// --- Errors

TEST(PosixErrorTest, SaysWhatFailedWhereAndWhy) {
  const Status status = posix::ErrorStatus("open", "/some/where", EACCES);
  EXPECT_EQ(status.message(), "open /some/where: Permission denied (EACCES)");
  EXPECT_EQ(status.os_error(), EACCES);
}

TEST(PosixErrorTest, SortsErrorsByWhatCanBeDoneAboutThem) {
  const auto code = [](int error) { return posix::ErrorStatus("write", "/f", error).code(); };
  EXPECT_EQ(code(ENOENT), ErrorCode::kNotFound);
  EXPECT_EQ(code(ENOSPC), ErrorCode::kDiskFull);
  EXPECT_EQ(code(EDQUOT), ErrorCode::kDiskFull);
  EXPECT_EQ(code(EFBIG), ErrorCode::kDiskFull);
  for (int error : {EACCES, EPERM, EROFS, ENOTDIR, EMFILE, ENFILE, EIO, EEXIST, 9999}) {
    EXPECT_EQ(code(error), ErrorCode::kIo) << error;
  }
}

// --- Names

TEST_F(PosixPlatformTest, CreatesADirectoryOnceOrTwice) {
  EXPECT_TRUE(platform_.CreateDirectory(Path("d")).ok());
  EXPECT_TRUE(platform_.CreateDirectory(Path("d")).ok());
  EXPECT_TRUE(S_ISDIR(StatOf("d").st_mode));
}

TEST_F(PosixPlatformTest, CreatesNoDirectoryWithoutItsParentOrOverAFile) {
  FileWith("file", View("x"));
  ExpectFailure(platform_.CreateDirectory(Path("no/d")), ErrorCode::kNotFound, ENOENT, Path("no/d"));
  ExpectFailure(platform_.CreateDirectory(Path("file")), ErrorCode::kIo, ENOTDIR, "(ENOTDIR)");
  ExpectFailure(platform_.CreateDirectory(Path("file/d")), ErrorCode::kIo, ENOTDIR, "(ENOTDIR)");
}

TEST_F(PosixPlatformTest, ListsSortedByNameWithSizes) {
  FileWith("b", View("12345"));
  FileWith("a", {});
  ASSERT_OK(platform_.CreateDirectory(Path("c")));
  ASSERT_EQ(::symlink("nowhere", Path("dangling").c_str()), 0);
  std::vector<DirectoryEntry> entries(1);
  ASSERT_OK(platform_.List(directory_, &entries));
  ASSERT_EQ(entries.size(), 4u);
  EXPECT_EQ(entries[0].name, "a");
  EXPECT_EQ(entries[0].size, 0u);
  EXPECT_FALSE(entries[0].is_directory);
  EXPECT_EQ(entries[1].name, "b");
  EXPECT_EQ(entries[1].size, 5u);
  EXPECT_EQ(entries[2].name, "c");
  EXPECT_TRUE(entries[2].is_directory);
  EXPECT_EQ(entries[3].name, "dangling");
  EXPECT_FALSE(entries[3].is_directory);
}

TEST_F(PosixPlatformTest, ListsOnlyDirectoriesThatExist) {
  FileWith("file", View("x"));
  std::vector<DirectoryEntry> entries;
  ExpectFailure(platform_.List(Path("no"), &entries), ErrorCode::kNotFound, ENOENT, Path("no"));
  ExpectFailure(platform_.List(Path("file"), &entries), ErrorCode::kIo, ENOTDIR, "(ENOTDIR)");
}

TEST_F(PosixPlatformTest, RenameReplaces) {
  FileWith("new", View("new"));
  FileWith("old", View("older"));
  ASSERT_OK(platform_.Rename(Path("new"), Path("old")));
  EXPECT_EQ(StatOf("old").st_size, 3);
  EXPECT_FALSE(std::filesystem::exists(Path("new")));
  ExpectFailure(platform_.Rename(Path("new"), Path("x")), ErrorCode::kNotFound, ENOENT, Path("new") + " to ");
}

TEST_F(PosixPlatformTest, RemovesWhatIsThere) {
  FileWith("f", View("x"));
  EXPECT_TRUE(platform_.Remove(Path("f")).ok());
  ExpectFailure(platform_.Remove(Path("f")), ErrorCode::kNotFound, ENOENT, Path("f"));
}

TEST_F(PosixPlatformTest, RemovingAMappedFileLeavesTheMapping) {
  auto mapping = AllocateAndMap("f", kPage);
  ASSERT_OK(platform_.Remove(Path("f")));
  mapping->data()[0] = std::byte{1};
  EXPECT_EQ(mapping->data()[0], std::byte{1});
  EXPECT_FALSE(mapping->failure()->Happened());
}

TEST_F(PosixPlatformTest, SyncsDirectories) {
  EXPECT_TRUE(platform_.SyncDirectory(directory_).ok());
  ExpectFailure(platform_.SyncDirectory(Path("no")), ErrorCode::kNotFound, ENOENT, Path("no"));
}

TEST_F(PosixPlatformTest, OneDirectoryHasOneCanonicalPath) {
  ASSERT_OK(platform_.CreateDirectory(Path("d")));
  ASSERT_EQ(::symlink("d", Path("link").c_str()), 0);
  for (const std::string& spelling : {Path("d"), Path("link"), Path("./d/"), Path("d/../link//.")}) {
    std::string canonical;
    ASSERT_OK(platform_.CanonicalPath(spelling, &canonical));
    EXPECT_EQ(canonical, Path("d"));
  }
}

TEST_F(PosixPlatformTest, OnlyDirectoriesHaveACanonicalPath) {
  FileWith("file", {});
  std::string canonical;
  ExpectFailure(platform_.CanonicalPath(Path("no"), &canonical), ErrorCode::kNotFound, ENOENT, Path("no"));
  ExpectFailure(platform_.CanonicalPath(Path("file"), &canonical), ErrorCode::kIo, ENOTDIR, Path("file"));
}

// --- Files

TEST_F(PosixPlatformTest, OpensByMode) {
  std::unique_ptr<File> file;
  ExpectFailure(platform_.Open(Path("f"), OpenMode::kRead, &file), ErrorCode::kNotFound, ENOENT, Path("f"));
  ExpectFailure(platform_.Open(Path("f"), OpenMode::kReadWrite, &file), ErrorCode::kNotFound, ENOENT, Path("f"));
  ASSERT_OK(platform_.Open(Path("f"), OpenMode::kCreate, &file));
  ExpectFailure(platform_.Open(Path("f"), OpenMode::kCreate, &file), ErrorCode::kIo, EEXIST, "(EEXIST)");
  ASSERT_OK(platform_.Open(Path("f"), OpenMode::kReadWrite, &file));
  EXPECT_TRUE(file->Write(0, View("x")).ok());
  ASSERT_OK(platform_.Open(Path("f"), OpenMode::kRead, &file));
  EXPECT_EQ(file->Write(0, View("x")).code(), ErrorCode::kIo);
}

TEST_F(PosixPlatformTest, TooManyOpenFilesIsAnErrorThatSaysSo) {
  FileWith("f", {});
  const int status = WaitFor(Fork([&] {
    const rlimit none{3, 3};
    if (::setrlimit(RLIMIT_NOFILE, &none) != 0) return 1;
    std::unique_ptr<File> file;
    const Status failed = platform_.Open(Path("f"), OpenMode::kRead, &file);
    return failed.code() == ErrorCode::kIo && failed.message().ends_with("(EMFILE)") ? 0 : 2;
  }));
  EXPECT_TRUE(ExitedWith(status, 0)) << status;
}

TEST_F(PosixPlatformTest, ReadsWhatWasWrittenUpToTheEnd) {
  auto file = FileWith("f", View("0123456789"));
  ASSERT_OK(file->Write(12, View("cd")));
  Bytes out(8, std::byte{0xff});
  size_t count = 0;
  ASSERT_OK(file->Read(8, out, &count));
  EXPECT_EQ(count, 6u);
  EXPECT_TRUE(std::ranges::equal(std::span(out).first(6), View(std::string_view("89\0\0cd", 6))));
  ASSERT_OK(file->Read(100, out, &count));
  EXPECT_EQ(count, 0u);
}

TEST_F(PosixPlatformTest, AddressesWith64Bits) {
  constexpr uint64_t kFar = (uint64_t{5} << 30) + 3;
  auto file = FileWith("f", {});
  ASSERT_OK(file->Write(kFar, View("x")));
  uint64_t size = 0;
  ASSERT_OK(file->Size(&size));
  EXPECT_EQ(size, kFar + 1);
}

TEST_F(PosixPlatformTest, AllocatesRealBlocksThatReadAsZero) {
  constexpr uint64_t kSize = uint64_t{3} << 20;
  auto file = FileWith("f", View("kept"));
  ASSERT_OK(file->Allocate(kSize));
  EXPECT_EQ(StatOf("f").st_size, static_cast<off_t>(kSize));
  EXPECT_GE(static_cast<uint64_t>(StatOf("f").st_blocks), kSize / 512);
  const Bytes content = ReadAll(*file);
  EXPECT_TRUE(std::ranges::equal(std::span(content).first(4), View("kept")));
  EXPECT_TRUE(AllAre(std::span(content).subspan(4), 0));
}

TEST_F(PosixPlatformTest, AllocateFillsHolesAndNeverShrinks) {
  constexpr uint64_t kSize = uint64_t{2} << 20;
  auto file = FileWith("f", {});
  ASSERT_OK(file->Write(kSize - 1, View("x")));
  ASSERT_LT(static_cast<uint64_t>(StatOf("f").st_blocks), kSize / 512);
  ASSERT_OK(file->Allocate(kSize));
  EXPECT_GE(static_cast<uint64_t>(StatOf("f").st_blocks), kSize / 512);
  ASSERT_OK(file->Allocate(kSize / 2));
  EXPECT_EQ(StatOf("f").st_size, static_cast<off_t>(kSize));
  EXPECT_EQ(ReadAll(*file).back(), std::byte{'x'});
}

TEST_F(PosixPlatformTest, NoRoomIsDiskFullAndNoSignal) {
  FileWith("f", {});
  const int status = WaitFor(Fork([&] {
    ::signal(SIGXFSZ, SIG_IGN);  // as Node does
    const rlimit small{kPage, kPage};
    if (::setrlimit(RLIMIT_FSIZE, &small) != 0) return 1;
    auto file = Open("f", OpenMode::kReadWrite);
    if (file->Allocate(4 * kPage).code() != ErrorCode::kDiskFull) return 2;
    if (file->Write(0, Bytes(2 * kPage)).code() != ErrorCode::kDiskFull) return 3;
    return file->Write(0, Bytes(kPage)).ok() ? 0 : 4;
  }));
  EXPECT_TRUE(ExitedWith(status, 0)) << status;
}

TEST_F(PosixPlatformTest, ZeroesExactlyTheRange) {
  constexpr size_t kSize = 4 * kPage;
  struct Range {
    uint64_t offset;
    uint64_t length;
  };
  for (const Range range : {Range{0, kSize}, Range{1, 1}, Range{100, 3 * kPage}, Range{kPage, kPage},
                            Range{kPage - 1, kPage + 2}, Range{kSize - 5, 5}, Range{77, 0}}) {
    auto file = FileWith("f", Bytes(kSize, std::byte{0xaa}));
    auto mapping = Map("f", kSize);
    ASSERT_OK(mapping->Populate(0, kSize));
    ASSERT_OK(file->Zero(range.offset, range.length));
    const Bytes content = ReadAll(*file);
    const auto all = std::span(content);
    EXPECT_EQ(content.size(), kSize);
    EXPECT_TRUE(AllAre(all.first(range.offset), 0xaa)) << range.offset;
    EXPECT_TRUE(AllAre(all.subspan(range.offset, range.length), 0)) << range.offset;
    EXPECT_TRUE(AllAre(all.subspan(range.offset + range.length), 0xaa)) << range.offset;
    EXPECT_TRUE(std::ranges::equal(all, std::span(mapping->data(), kSize))) << range.offset;
    EXPECT_GE(static_cast<uint64_t>(StatOf("f").st_blocks), kSize / 512);
    ASSERT_OK(platform_.Remove(Path("f")));
  }
}

TEST_F(PosixPlatformTest, SyncsFiles) { EXPECT_TRUE(FileWith("f", View("x"))->Sync().ok()); }

TEST_F(PosixPlatformTest, DescriptorsAreNotInheritedAcrossExec) {
  auto file = FileWith("f", View("x"));
  std::unique_ptr<DirectoryLock> lock;
  ASSERT_OK(platform_.Lock(Path("LOCK"), "me", &lock));
  const int status = WaitFor(Fork([&] {
    const std::string script = "for d in /proc/self/fd/* /dev/fd/*; do case $(readlink $d) in " + directory_ +
                               "/*) exit 1;; esac; done; exit 0";
    return ::execl("/bin/sh", "sh", "-c", script.c_str(), nullptr);
  }));
  EXPECT_TRUE(ExitedWith(status, 0)) << status;
}

// --- Mappings

TEST_F(PosixPlatformTest, MappingAndFileAreOne) {
  auto mapping = AllocateAndMap("f", 2 * kPage);
  auto file = Open("f", OpenMode::kReadWrite);
  ASSERT_OK(file->Write(kPage - 2, View("file")));
  EXPECT_EQ(std::memcmp(mapping->data() + kPage - 2, "file", 4), 0);
  std::memcpy(mapping->data() + kPage - 1, "mapped", 6);
  Bytes out(6);
  size_t count = 0;
  ASSERT_OK(file->Read(kPage - 1, out, &count));
  EXPECT_TRUE(std::ranges::equal(out, View("mapped")));
}

TEST_F(PosixPlatformTest, MapsOnlyWhatTheFileHas) {
  FileWith("f", Bytes(kPage));
  std::unique_ptr<Mapping> mapping;
  const Status status = platform_.Map(Open("f", OpenMode::kReadWrite), 2 * kPage, true, &mapping);
  ExpectFailure(status, ErrorCode::kIo, EIO, "has 65536 bytes, 131072 are needed");
  EXPECT_EQ(mapping, nullptr);
}

TEST_F(PosixPlatformTest, AReadOnlyFileHasNoWritableMapping) {
  FileWith("f", Bytes(kPage));
  std::unique_ptr<Mapping> mapping;
  ExpectFailure(platform_.Map(Open("f", OpenMode::kRead), kPage, true, &mapping), ErrorCode::kIo, EACCES, "map ");
  EXPECT_EQ(Map("f", kPage, false)->data()[0], std::byte{0});
}

TEST_F(PosixPlatformTest, SyncsAnyRangeOfAMapping) {
  constexpr uint64_t kOdd = 2 * kPage + 123;
  auto mapping = AllocateAndMap("f", kOdd);
  mapping->data()[kOdd - 1] = std::byte{1};
  EXPECT_TRUE(mapping->Sync(0, kOdd).ok());
  EXPECT_TRUE(mapping->Sync(kOdd - 1, 1).ok());
  EXPECT_TRUE(mapping->Sync(kPage - 1, 2).ok());
  EXPECT_TRUE(mapping->Sync(kOdd, 0).ok());
}

TEST_F(PosixPlatformTest, AMappingOutlivesTheProcessThatStoredIntoIt) {
  auto mapping = AllocateAndMap("f", kPage);
  const int status = WaitFor(Fork([&] {
    std::memcpy(mapping->data() + 100, "stored", 6);
    return ::raise(SIGKILL);
  }));
  EXPECT_TRUE(WIFSIGNALED(status));
  const Bytes content = ReadAll(*Open("f", OpenMode::kRead));
  EXPECT_TRUE(std::ranges::equal(std::span(content).subspan(100, 6), View("stored")));
}

// ---- recycling ----

class PosixRecyclingTest : public PosixPlatformTest {
 protected:
  void SetUp() override {
    PosixPlatformTest::SetUp();
    if (!platform_.RecyclesFiles()) GTEST_SKIP() << "this system recycles nothing";
    FileWith("f", View(std::string(kPage, 'x')));
  }

  Status TryTake(std::unique_ptr<File>* file) { return platform_.OpenForRecycling(Path("f"), file); }
  ErrorCode Take() {
    std::unique_ptr<File> file;
    return TryTake(&file).code();
  }
  std::unique_ptr<Mapping> MapOf(std::unique_ptr<File> file) {
    std::unique_ptr<Mapping> mapping;
    const Status status = platform_.Map(std::move(file), kPage, false, &mapping);
    EXPECT_TRUE(status.ok()) << status.message();
    return mapping;
  }
};

TEST_F(PosixRecyclingTest, TakesAFileThatNobodyHasMapped) {
  std::unique_ptr<File> file;
  ASSERT_OK(TryTake(&file));
  ASSERT_OK(file->Write(0, View("again")));
  const std::unique_ptr<Mapping> mapping = MapOf(std::move(file));
  EXPECT_EQ(std::memcmp(mapping->data(), "again", 5), 0);
}

TEST_F(PosixRecyclingTest, LeavesAFileAloneThatIsMapped) {
  std::unique_ptr<Mapping> mapping = MapOf(Open("f", OpenMode::kRead));
  EXPECT_EQ(Take(), ErrorCode::kLocked);
  mapping.reset();
  EXPECT_EQ(Take(), ErrorCode::kOk);
}

TEST_F(PosixRecyclingTest, LeavesAFileAloneThatAnotherProcessHasMapped) {
  std::array<int, 2> ready{};
  ASSERT_EQ(::pipe(ready.data()), 0);
  const pid_t reader = Fork([&] {
    const std::unique_ptr<Mapping> mapping = MapOf(Open("f", OpenMode::kRead));
    EXPECT_EQ(::write(ready[1], "x", 1), 1);
    return ::pause();
  });
  char byte = 0;
  ASSERT_EQ(::read(ready[0], &byte, 1), 1);
  EXPECT_EQ(Take(), ErrorCode::kLocked);
  ::kill(reader, SIGKILL);
  WaitFor(reader);
  EXPECT_EQ(Take(), ErrorCode::kOk) << "the dead hold nothing";
  ::close(ready[0]);
  ::close(ready[1]);
}

TEST_F(PosixRecyclingTest, NobodyMapsWhatIsBeingTaken) {
  std::unique_ptr<File> early = Open("f", OpenMode::kRead);
  std::unique_ptr<File> late = Open("f", OpenMode::kRead);
  std::unique_ptr<File> taken;
  ASSERT_OK(TryTake(&taken));
  std::unique_ptr<Mapping> mapping;
  EXPECT_EQ(platform_.Map(std::move(early), kPage, false, &mapping).code(), ErrorCode::kNotFound);
  const std::unique_ptr<Mapping> own = MapOf(std::move(taken));
  MapOf(std::move(late));
}

TEST_F(PosixRecyclingTest, LeavesAFileAloneThatHasAnotherName) {
  ASSERT_EQ(::link(Path("f").c_str(), Path("backup").c_str()), 0);
  EXPECT_EQ(Take(), ErrorCode::kLocked);
  ASSERT_OK(platform_.Remove(Path("backup")));
  EXPECT_EQ(Take(), ErrorCode::kOk);
}

#if defined(__linux__)  // where there is a call that empties the page cache
TEST_F(PosixRecyclingTest, LeavesAFileAloneThatWouldHaveToBeReadFirst) {
  const std::unique_ptr<File> file = Open("f", OpenMode::kReadWrite);
  ASSERT_OK(file->Sync());
  posix::Descriptor descriptor;
  ASSERT_OK(posix::OpenDescriptor(Path("f"), O_RDONLY, &descriptor));
  // On a file system in memory there is nothing to drop it to.
  if (::posix_fadvise(descriptor.get(), 0, 0, POSIX_FADV_DONTNEED) != 0 || posix::IsInMemory(descriptor.get(), kPage)) {
    GTEST_SKIP() << "the page cache of this file system cannot be emptied";
  }
  EXPECT_EQ(Take(), ErrorCode::kLocked);
}
#endif

long MinorFaults() {
  rusage usage{};
  ::getrusage(RUSAGE_SELF, &usage);
  return usage.ru_minflt + usage.ru_majflt;
}

// Stores to every page; returns how many faults that took. Sanitizers would add those of their shadow memory.
[[gnu::no_sanitize_address, gnu::no_sanitize_thread]] long FaultsOfStores(std::byte* data, size_t size) {
  const long before = MinorFaults();
  for (size_t at = 0; at < size; at += 4096) *reinterpret_cast<volatile std::byte*>(data + at) = std::byte{1};
  return MinorFaults() - before;
}

// The same of loads.
[[gnu::no_sanitize_address, gnu::no_sanitize_thread]] long FaultsOfLoads(const std::byte* data, size_t size) {
  const long before = MinorFaults();
  for (size_t at = 0; at < size; at += 4096) static_cast<void>(*reinterpret_cast<const volatile std::byte*>(data + at));
  return MinorFaults() - before;
}

constexpr size_t kWindow = size_t{4} << 20;

TEST_F(PosixPlatformTest, LaysZerosWhereItIsToldTo) {
  constexpr size_t kSize = 40 * kPage;
  const Bytes full(kSize, std::byte{0xee});
  FileWith("f", full);
  auto mapping = Map("f", kSize);
  mapping->LayZeros(kPage + 8, 30 * kPage);
  ASSERT_OK(mapping->Populate(kPage + 8, 30 * kPage));
  const std::span<const std::byte> data(mapping->data(), kSize);
  EXPECT_TRUE(AllAre(data.first(kPage + 8), 0xee));
  EXPECT_TRUE(AllAre(data.subspan(31 * kPage + 8), 0xee));
#if defined(__linux__)  // elsewhere it does nothing
  EXPECT_TRUE(AllAre(data.subspan(kPage + 8, 30 * kPage), 0));
#endif
}

// Or nobody would find out what was lost.
TEST_F(PosixPlatformTest, LayingZerosMakesNoFileWholeAgain) {
  auto mapping = AllocateAndMap("f", 4 * kPage);
  ASSERT_EQ(::truncate(Path("f").c_str(), kPage), 0);
  mapping->LayZeros(0, 4 * kPage);
  EXPECT_EQ(StatOf("f").st_size, static_cast<off_t>(kPage));

  FileWith("g", Bytes(4 * kPage, std::byte{0xee}));
  auto whole = Map("g", 4 * kPage);
  whole->LayZeros(0, 4 * kPage);
  EXPECT_EQ(whole->data()[4 * kPage - 1], std::byte{0xee}) << "to write it would make any file whole";
  posix::Descriptor cut_short;
  ASSERT_OK(posix::OpenDescriptor(Path("g"), O_RDWR, &cut_short));
  ASSERT_EQ(::ftruncate(cut_short.get(), kPage), 0);
  posix::LayZeroPages(cut_short.get(), 0, 4 * kPage - 1);  // between the look at the size and the writing
  EXPECT_LT(StatOf("g").st_size, static_cast<off_t>(4 * kPage));
  EXPECT_EQ(whole->Sync(0, kPage).code(), ErrorCode::kIo);
}

#if defined(__linux__)
// Of the pages of a mapping that are in memory: how many lie in a folio of more than 16 KiB; none where that cannot be
// found out.
std::optional<int> PagesInLargeFolios(const Mapping& mapping) {
  constexpr uint64_t kCompoundHead = uint64_t{1} << 15;
  constexpr uint64_t kCompoundTail = uint64_t{1} << 16;
  posix::Descriptor frames;
  posix::Descriptor flags;
  if (!posix::OpenDescriptor("/proc/self/pagemap", O_RDONLY, &frames).ok()) return std::nullopt;
  if (!posix::OpenDescriptor("/proc/kpageflags", O_RDONLY, &flags).ok()) return std::nullopt;
  const auto first = reinterpret_cast<uintptr_t>(mapping.data()) / 4096;
  int large = 0;
  int in_folio = 0;
  for (size_t page = 0; page < mapping.size() / 4096; ++page) {
    uint64_t entry = 0;
    uint64_t flag = 0;
    if (::pread(frames.get(), &entry, 8, static_cast<off_t>((first + page) * 8)) != 8) return std::nullopt;
    const uint64_t frame = entry & ((uint64_t{1} << 55) - 1);
    if (entry >> 63 == 0) continue;
    if (frame == 0 || ::pread(flags.get(), &flag, 8, static_cast<off_t>(frame * 8)) != 8) return std::nullopt;
    in_folio = (flag & kCompoundTail) != 0 ? in_folio + 1 : ((flag & kCompoundHead) != 0 ? 1 : 0);
    if (in_folio > 4) ++large;
  }
  return large;
}

// A sync of a few bytes writes a folio.
TEST_F(PosixPlatformTest, WhatIsPreparedLiesInSmallFolios) {
  constexpr size_t kSize = size_t{32} << 20;
  for (const std::string what : {"new", "read by somebody", "not prepared"}) {
    SCOPED_TRACE(what);
    ASSERT_OK(Open(what, OpenMode::kCreate)->Allocate(kSize));
    if (what == "read by somebody") {
      Bytes all(kSize);
      size_t count = 0;
      ASSERT_OK(Open(what, OpenMode::kRead)->Read(0, all, &count));
    }
    auto mapping = Map(what, kSize);
    for (size_t at = 0; at < kSize; at += kWindow) {
      if (what != "not prepared") mapping->LayZeros(at, kWindow);
      ASSERT_OK(mapping->Populate(at, kWindow));
    }
    const std::optional<int> large = PagesInLargeFolios(*mapping);
    if (!large) GTEST_SKIP() << "who may not read /proc/kpageflags cannot tell";
    EXPECT_EQ(*large, 0);
  }
}
#endif

TEST_F(PosixPlatformTest, FetchedPagesTakeNoFault) {
  AllocateAndMap("f", 2 * kWindow)->LayZeros(0, kWindow);  // small folios, as the files of a log have them
  auto mapping = Map("f", 2 * kWindow, false);
  mapping->Fetch(100, kWindow - 100);
#if defined(__linux__)  // elsewhere it does nothing
  EXPECT_LT(FaultsOfLoads(mapping->data(), kWindow), 20);
#endif
  EXPECT_TRUE(AllAre(std::span(mapping->data(), kWindow), 0));
}

// Whoever loads from there finds out.
TEST_F(PosixPlatformTest, FetchingWhatIsNotThereIsNoSignal) {
  FileWith("f", Bytes(4 * kPage, std::byte{0xee}));
  auto mapping = Map("f", 4 * kPage, false);
  ASSERT_EQ(::truncate(Path("f").c_str(), kPage), 0);
  mapping->Fetch(0, 4 * kPage);
  EXPECT_FALSE(mapping->failure()->Happened());
}

TEST_F(PosixPlatformTest, PopulatedPagesTakeNoFault) {
  auto mapping = AllocateAndMap("f", 2 * kWindow);
  ASSERT_OK(mapping->Populate(100, kWindow - 100));
  EXPECT_LT(FaultsOfStores(mapping->data(), kWindow), 20);
}

TEST_F(PosixPlatformTest, TouchedPagesTakeNoFault) {
  auto mapping = AllocateAndMap("f", kWindow);
  posix::Descriptor descriptor;
  ASSERT_OK(posix::OpenDescriptor(Path("f"), O_RDWR, &descriptor));
  posix::PosixFile file(std::move(descriptor), Path("f"));
  ASSERT_OK(posix::TouchPages(file, 0, mapping->data(), kWindow));
  EXPECT_TRUE(AllAre(std::span(mapping->data(), kWindow), 0));
  EXPECT_LT(FaultsOfStores(mapping->data(), kWindow), 20);
}

// Stores `value` to a byte of every page, and looks whether it stays.
bool StoresStay(Mapping& mapping, uint8_t value) {
  const auto byte_of = [&](size_t page) { return reinterpret_cast<uint8_t*>(mapping.data() + page * 4096); };
  const size_t pages = mapping.size() / 4096;
  for (size_t page = 0; page < pages; ++page) __atomic_store_n(byte_of(page), value, __ATOMIC_RELAXED);
  for (size_t page = 0; page < pages; ++page) {
    if (__atomic_load_n(byte_of(page), __ATOMIC_RELAXED) != value) return false;
  }
  return true;
}

// One thread populates the pages again and again, while another stores to the very bytes that may be touched.
template <typename Populate>
void ExpectStoresKept(Mapping& mapping, Populate populate) {
  std::atomic<bool> done{false};
  std::thread populator([&] {
    while (!done.load()) populate();
  });
  int lost = 0;
  for (int round = 1; round <= 400; ++round) {
    if (!StoresStay(mapping, static_cast<uint8_t>(round))) ++lost;
    if (round % 50 == 0) {
      EXPECT_TRUE(mapping.Sync(0, mapping.size()).ok());
    }
  }
  done.store(true);
  populator.join();
  EXPECT_EQ(lost, 0);
}

TEST_F(PosixPlatformTest, PopulateKeepsWhatIsStoredMeanwhile) {
  auto mapping = AllocateAndMap("f", 4 * kPage);
  ExpectStoresKept(*mapping, [&] { EXPECT_TRUE(mapping->Populate(0, mapping->size()).ok()); });
}

TEST_F(PosixPlatformTest, TouchingKeepsWhatIsStoredMeanwhile) {
  auto mapping = AllocateAndMap("f", 4 * kPage);
  posix::Descriptor descriptor;
  ASSERT_OK(posix::OpenDescriptor(Path("f"), O_RDWR, &descriptor));
  posix::PosixFile file(std::move(descriptor), Path("f"));
  ExpectStoresKept(*mapping, [&] { EXPECT_TRUE(posix::TouchPages(file, 0, mapping->data(), mapping->size()).ok()); });
}

TEST_F(PosixPlatformTest, PopulatingATruncatedFileIsAnErrorAndNoSignal) {
  auto mapping = AllocateAndMap("f", 4 * kPage);
  ASSERT_EQ(::truncate(Path("f").c_str(), kPage), 0);
  ExpectFailure(mapping->Populate(0, 4 * kPage), ErrorCode::kIo, EIO, "has something truncated it?");
  posix::Descriptor descriptor;
  ASSERT_OK(posix::OpenDescriptor(Path("f"), O_RDWR, &descriptor));
  posix::PosixFile file(std::move(descriptor), Path("f"));
  ExpectFailure(posix::TouchPages(file, 0, mapping->data(), 4 * kPage), ErrorCode::kIo, EIO, "truncated");
}

// --- The lock

TEST_F(PosixPlatformTest, ASecondLockInTheSameProcessIsRefusedWithTheNoteOfTheFirst) {
  std::unique_ptr<DirectoryLock> first;
  std::unique_ptr<DirectoryLock> second;
  ASSERT_OK(platform_.Lock(Path("LOCK"), "pid 42 on here", &first));
  const Status status = platform_.Lock(Path("LOCK"), "me", &second);
  EXPECT_EQ(status.code(), ErrorCode::kLocked);
  EXPECT_EQ(status.message(), Path("LOCK") + " is held by pid 42 on here");
  EXPECT_EQ(second, nullptr);
}

TEST_F(PosixPlatformTest, AReleasedLockIsFreeAndItsNoteGone) {
  std::unique_ptr<DirectoryLock> lock;
  ASSERT_OK(platform_.Lock(Path("LOCK"), "a rather long note", &lock));
  EXPECT_EQ(StatOf("LOCK").st_size, 19);
  const ino_t file = StatOf("LOCK").st_ino;
  lock.reset();
  EXPECT_EQ(StatOf("LOCK").st_size, 0);
  ASSERT_OK(platform_.Lock(Path("LOCK"), "short", &lock));
  EXPECT_EQ(StatOf("LOCK").st_size, 6);
  EXPECT_EQ(StatOf("LOCK").st_ino, file);
}

TEST_F(PosixPlatformTest, NoLockWithoutADirectory) {
  std::unique_ptr<DirectoryLock> lock;
  ExpectFailure(platform_.Lock(Path("no/LOCK"), "me", &lock), ErrorCode::kNotFound, ENOENT, Path("no/LOCK"));
}

// A child process that has taken the lock, and keeps it until it is killed.
class LockingChild {
 public:
  LockingChild(Platform& platform, const std::string& path) {
    int ready[2];
    EXPECT_EQ(::pipe(ready), 0);
    child_ = Fork([&] {
      std::unique_ptr<DirectoryLock> lock;
      const char locked = platform.Lock(path, "the child", &lock).ok() ? 'y' : 'n';
      if (::write(ready[1], &locked, 1) != 1) return 1;
      for (;;) ::pause();
    });
    ::close(ready[1]);
    char locked = 'n';
    EXPECT_EQ(::read(ready[0], &locked, 1), 1);
    EXPECT_EQ(locked, 'y');
    ::close(ready[0]);
  }
  void Kill() {
    ASSERT_EQ(::kill(child_, SIGKILL), 0);
    WaitFor(child_);
  }

 private:
  pid_t child_ = 0;
};

TEST_F(PosixPlatformTest, TheLockOfAKilledProcessIsFreeAtOnce) {
  LockingChild child(platform_, Path("LOCK"));
  std::unique_ptr<DirectoryLock> lock;
  const Status status = platform_.Lock(Path("LOCK"), "me", &lock);
  EXPECT_EQ(status.code(), ErrorCode::kLocked);
  EXPECT_TRUE(status.message().ends_with("is held by the child")) << status.message();
  ASSERT_NO_FATAL_FAILURE(child.Kill());
  const Status after = platform_.Lock(Path("LOCK"), "me", &lock);
  EXPECT_TRUE(after.ok()) << after.message();
}

TEST_F(PosixPlatformTest, AProgramThatWasStartedDoesNotKeepTheLock) {
  std::unique_ptr<DirectoryLock> lock;
  ASSERT_OK(platform_.Lock(Path("LOCK"), "me", &lock));
  int started[2];
  ASSERT_EQ(::pipe(started), 0);
  for (const int end : started) ASSERT_EQ(::fcntl(end, F_SETFD, FD_CLOEXEC), 0);
  const pid_t child = Fork([] { return ::execl("/bin/sleep", "sleep", "60", nullptr); });
  ::close(started[1]);
  char nothing;
  ASSERT_EQ(::read(started[0], &nothing, 1), 0);  // the other end was closed by exec
  ::close(started[0]);
  lock.reset();
  const Status status = platform_.Lock(Path("LOCK"), "me again", &lock);
  EXPECT_TRUE(status.ok()) << status.message();
  ::kill(child, SIGKILL);
  WaitFor(child);
}

TEST_F(PosixPlatformTest, ANoteThatIsJustBeingWrittenIsWaitedFor) {
  posix::Descriptor owner;
  ASSERT_OK(posix::OpenDescriptor(Path("LOCK"), O_RDWR | O_CREAT, &owner));
  ASSERT_EQ(::flock(owner.get(), LOCK_EX), 0);
  std::thread writer([&] {
    std::this_thread::sleep_for(std::chrono::milliseconds(5));
    EXPECT_EQ(::write(owner.get(), "late\n", 5), 5);
  });
  std::unique_ptr<DirectoryLock> lock;
  const Status status = platform_.Lock(Path("LOCK"), "me", &lock);
  EXPECT_EQ(status.message(), Path("LOCK") + " is held by late");
  writer.join();
}

TEST_F(PosixPlatformTest, ALockWithoutANoteIsStillALock) {
  posix::Descriptor owner;
  ASSERT_OK(posix::OpenDescriptor(Path("LOCK"), O_RDWR | O_CREAT, &owner));
  ASSERT_EQ(::flock(owner.get(), LOCK_EX), 0);
  std::unique_ptr<DirectoryLock> lock;
  EXPECT_EQ(platform_.Lock(Path("LOCK"), "me", &lock).code(), ErrorCode::kLocked);
}

// --- The machine

TEST(PosixMachineTest, TheBootHasAnIdThatStays) {
  const BootId id = Platform::Default().CurrentBoot();
  EXPECT_NE(id, BootId{});
  EXPECT_EQ(id, Platform::Default().CurrentBoot());
}

TEST(PosixMachineTest, OnlyAWholeUuidIsABootId) {
  const BootId id = posix::ParseBootId("00010203-0405-0607-0809-0a0b0C0D0E0F\n");
  for (size_t i = 0; i < id.size(); ++i) EXPECT_EQ(id[i], static_cast<std::byte>(i));
  EXPECT_EQ(posix::ParseBootId(""), BootId{});
  EXPECT_EQ(posix::ParseBootId("00010203-0405-0607-0809-0a0b0c0d0e0"), BootId{});
  EXPECT_EQ(posix::ParseBootId("00010203-0405-0607-0809-0a0b0c0d0e0f0"), BootId{});
  EXPECT_EQ(posix::ParseBootId("00010203-0405-0607-0809-0a0b0c0d0e0g"), BootId{});
}

TEST(PosixMachineTest, TheClocksAgree) {
  Platform& platform = Platform::Default();
  const uint64_t before = platform.Now();
  const uint64_t coarse = platform.CoarseNow();
  const uint64_t after = platform.Now();
  EXPECT_GT(before, 1'600'000'000'000'000u);  // September 2020, in µs
  EXPECT_LE(coarse, after);
  EXPECT_GE(coarse + 50'000, before);
}

TEST(PosixMachineTest, TheMonotonicClockNeverGoesBack) {
  uint64_t last = 0;
  for (int i = 0; i < 100'000; ++i) {
    const uint64_t now = Platform::Default().Monotonic();
    ASSERT_GE(now, last);
    last = now;
  }
  const uint64_t start = Platform::Default().Monotonic();
  std::this_thread::sleep_for(std::chrono::milliseconds(10));
  EXPECT_GE(Platform::Default().Monotonic() - start, 10'000'000u);
}

TEST(PosixMachineTest, KnowsItsProcessAndHost) {
  EXPECT_EQ(Platform::Default().ProcessId(), static_cast<uint32_t>(::getpid()));
  EXPECT_FALSE(Platform::Default().HostName().empty());
}

TEST(PosixMachineTest, RandomBytesDifferAndFillEverything) {
  Bytes first(1000);
  Bytes second(1000);
  ASSERT_OK(Platform::Default().Random(first));
  ASSERT_OK(Platform::Default().Random(second));
  EXPECT_NE(first, second);
  for (size_t at = 0; at + 20 <= first.size(); at += 20) {
    EXPECT_FALSE(AllAre(std::span(first).subspan(at, 20), 0)) << at;
  }
}

}  // namespace
}  // namespace segwal
