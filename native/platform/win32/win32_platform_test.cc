// The contract of platform.h, against real files in a temporary directory, and what a Windows port gets wrong first.
#include <gtest/gtest.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <string>
#include <thread>
#include <vector>

#include "platform/platform.h"
#include "platform/win32/win32_deletions.h"
#include "platform/win32/win32_error.h"
#include "platform/win32/win32_file.h"
#include "platform/win32/win32_path.h"
#include "testing/assertions.h"
#include "testing/files.h"
#include "testing/temporary_directory.h"

namespace segwal {
namespace {

constexpr size_t kPage = 65536;  // the granularity of views, a multiple of every page size
using Bytes = std::vector<std::byte>;

ByteView View(std::string_view text) { return std::as_bytes(std::span(text)); }

bool AllAre(ByteView bytes, int value) {
  return std::ranges::all_of(bytes, [value](std::byte byte) { return byte == static_cast<std::byte>(value); });
}

class Win32PlatformTest : public testing::Test {
 protected:
  void SetUp() override { ASSERT_OK(platform_.CanonicalPath(temporary_.path(), &directory_)); }

  std::string Path(const std::string& name) const { return directory_ + "\\" + name; }
  bool Exists(const std::string& name) const {
    return ::GetFileAttributesW(win32::SystemPath(Path(name)).c_str()) != INVALID_FILE_ATTRIBUTES;
  }

  std::unique_ptr<File> Open(const std::string& name, OpenMode mode) {
    std::unique_ptr<File> file;
    EXPECT_OK(platform_.Open(Path(name), mode, &file));
    return file;
  }
  std::unique_ptr<File> FileWith(const std::string& name, ByteView content) {
    auto file = Open(name, OpenMode::kCreate);
    EXPECT_OK(file->Write(0, content));
    return file;
  }
  std::unique_ptr<Mapping> Map(const std::string& name, uint64_t length, bool writable = true) {
    std::unique_ptr<Mapping> mapping;
    EXPECT_OK(platform_.Map(Open(name, writable ? OpenMode::kReadWrite : OpenMode::kRead), length, writable, &mapping));
    return mapping;
  }
  std::unique_ptr<Mapping> AllocateAndMap(const std::string& name, uint64_t length) {
    EXPECT_OK(Open(name, OpenMode::kCreate)->Allocate(length));
    return Map(name, length);
  }
  size_t FilesThatAreLeft() const { return NamesIn(directory_).size(); }
  uint64_t SizeOf(const std::string& name) {
    uint64_t size = 0;
    EXPECT_OK(Open(name, OpenMode::kRead)->Size(&size));
    return size;
  }
  uint64_t AllocatedOf(File& file) {
    FILE_STANDARD_INFO info{};
    const HANDLE handle = static_cast<win32::Win32File&>(file).handle();
    EXPECT_TRUE(::GetFileInformationByHandleEx(handle, FileStandardInfo, &info, sizeof info));
    return static_cast<uint64_t>(info.AllocationSize.QuadPart);
  }

  Platform& platform_ = Platform::Default();
  TemporaryDirectory temporary_;
  std::string directory_;
};

Bytes ReadAll(File& file) {
  uint64_t size = 0;
  EXPECT_OK(file.Size(&size));
  Bytes bytes(size);
  size_t count = 0;
  EXPECT_OK(file.Read(0, bytes, &count));
  EXPECT_EQ(count, size);
  return bytes;
}

void ExpectFailure(const Status& status, ErrorCode code, DWORD os_error, const std::string& part) {
  EXPECT_EQ(status.code(), code) << status.message();
  EXPECT_EQ(status.os_error(), static_cast<int>(os_error)) << status.message();
  EXPECT_NE(status.message().find(part), std::string::npos) << status.message();
}

// This program again, to run one of the disabled tests below in a process of its own.
class ChildProcess {
 public:
  ChildProcess(const std::string& test, const std::string& argument) {
    std::array<wchar_t, 1024> program{};
    ::GetModuleFileNameW(nullptr, program.data(), static_cast<DWORD>(program.size()));
    std::wstring command = L"\"" + std::wstring(program.data()) +
                           L"\" --gtest_also_run_disabled_tests --gtest_filter=" + win32::ToUtf16(test);
    ::SetEnvironmentVariableW(L"SEGWAL_TEST_CHILD", win32::ToUtf16(argument).c_str());
    STARTUPINFOW startup{};
    startup.cb = sizeof startup;
    PROCESS_INFORMATION started{};
    EXPECT_TRUE(
        ::CreateProcessW(nullptr, command.data(), nullptr, nullptr, FALSE, 0, nullptr, nullptr, &startup, &started));
    ::SetEnvironmentVariableW(L"SEGWAL_TEST_CHILD", nullptr);
    process_ = win32::Handle(started.hProcess);
    const win32::Handle unused(started.hThread);
  }
  ~ChildProcess() { Kill(); }

  void Kill() {
    ::TerminateProcess(process_.get(), 1);
    ::WaitForSingleObject(process_.get(), INFINITE);
  }

  // In the child: what it was started with.
  static std::string Argument() {
    std::array<wchar_t, 1024> text{};
    ::GetEnvironmentVariableW(L"SEGWAL_TEST_CHILD", text.data(), static_cast<DWORD>(text.size()));
    return win32::ToUtf8(text.data());
  }

 private:
  win32::Handle process_;
};

bool ComesToBe(const std::function<bool()>& condition) {
  for (int i = 0; i < 2000; ++i) {
    if (condition()) return true;
    std::this_thread::sleep_for(std::chrono::milliseconds(5));
  }
  return condition();
}

// --- Errors

TEST(Win32ErrorTest, SaysWhatFailedWhereAndWhy) {
  const Status status = win32::ErrorStatus("open", "C:\\some\\where", ERROR_ACCESS_DENIED);
  EXPECT_TRUE(status.message().starts_with("open C:\\some\\where: ")) << status.message();
  EXPECT_TRUE(status.message().ends_with(" (ERROR_ACCESS_DENIED)")) << status.message();
  EXPECT_EQ(status.message().find_first_of("\r\n"), std::string::npos);
  EXPECT_EQ(status.os_error(), ERROR_ACCESS_DENIED);
}

TEST(Win32ErrorTest, SortsErrorsByWhatCanBeDoneAboutThem) {
  const auto code = [](DWORD error) { return win32::ErrorStatus("write", "f", error).code(); };
  for (DWORD error : {2, 3}) EXPECT_EQ(code(error), ErrorCode::kNotFound) << error;
  for (DWORD error : {39, 112, 223, 314, 1295}) EXPECT_EQ(code(error), ErrorCode::kDiskFull) << error;
  for (DWORD error : {4, 5, 19, 21, 23, 29, 32, 33, 80, 87, 1117, 1224, 9999}) {
    EXPECT_EQ(code(error), ErrorCode::kIo) << error;
  }
}

// --- Paths

TEST(Win32PathTest, PathsAreAbsoluteAndNotHeldTo260Characters) {
  EXPECT_EQ(win32::SystemPath("C:/a/../b//c"), L"\\\\?\\C:\\b\\c");
  EXPECT_EQ(win32::SystemPath("\\\\?\\C:\\a/b"), L"\\\\?\\C:\\a\\b");
  EXPECT_EQ(win32::SystemPath("//server/share/log"), L"\\\\?\\UNC\\server\\share\\log");
  const std::string lengthy = "C:\\" + std::string(400, 'x');
  EXPECT_EQ(win32::SystemPath(lengthy), L"\\\\?\\" + win32::ToUtf16(lengthy));
  EXPECT_TRUE(win32::SystemPath("relative").ends_with(L"\\relative"));
}

TEST(Win32PathTest, PathsAreToldAsPeopleWriteThem) {
  EXPECT_EQ(win32::WithoutPrefix(L"\\\\?\\C:\\a"), L"C:\\a");
  EXPECT_EQ(win32::WithoutPrefix(L"\\\\?\\UNC\\server\\a"), L"\\\\server\\a");
  EXPECT_EQ(win32::WithoutPrefix(L"C:\\a"), L"C:\\a");
}

TEST_F(Win32PlatformTest, LongPathsInAnyScript) {
  std::string name = "w\u00e4l-\u65e5\u5fd7-\U0001f98a";
  std::vector<std::string> made = {name};
  ASSERT_OK(platform_.CreateDirectory(Path(name)));
  for (int i = 0; i < 8; ++i) {
    name += "/" + std::string(50, 'd');
    ASSERT_OK(platform_.CreateDirectory(Path(name)));
    made.push_back(name);
  }
  FileWith(name + "/f", View("x"));
  EXPECT_EQ(SizeOf(name + "\\f"), 1u);
  std::vector<DirectoryEntry> entries;
  ASSERT_OK(platform_.List(directory_, &entries));
  ASSERT_EQ(entries.size(), 1u);
  EXPECT_EQ(entries[0].name, "w\u00e4l-\u65e5\u5fd7-\U0001f98a");
  ASSERT_OK(platform_.Remove(Path(name + "/f")));
  // The C++ library does not get there.
  for (; !made.empty(); made.pop_back()) EXPECT_TRUE(::RemoveDirectoryW(win32::SystemPath(Path(made.back())).c_str()));
}

// --- Names

TEST_F(Win32PlatformTest, CreatesADirectoryOnceOrTwice) {
  EXPECT_OK(platform_.CreateDirectory(Path("d")));
  EXPECT_OK(platform_.CreateDirectory(Path("d")));
  EXPECT_OK(platform_.CreateDirectory("C:\\"));
  FileWith("file", View("x"));
  ExpectFailure(platform_.CreateDirectory(Path("no\\d")), ErrorCode::kNotFound, ERROR_PATH_NOT_FOUND, Path("no"));
  ExpectFailure(platform_.CreateDirectory(Path("file")), ErrorCode::kIo, ERROR_DIRECTORY, "(ERROR_DIRECTORY)");
}

TEST_F(Win32PlatformTest, ListsSortedByNameWithSizes) {
  const auto open = FileWith("b", View("12345"));  // the directory learns its size when it is closed
  FileWith("a", {});
  ASSERT_OK(platform_.CreateDirectory(Path("c")));
  std::vector<DirectoryEntry> entries(1);
  ASSERT_OK(platform_.List(directory_, &entries));
  ASSERT_EQ(entries.size(), 3u);
  EXPECT_EQ(entries[0].name, "a");
  EXPECT_EQ(entries[0].size, 0u);
  EXPECT_EQ(entries[1].name, "b");
  EXPECT_EQ(entries[1].size, 5u);
  EXPECT_FALSE(entries[1].is_directory);
  EXPECT_TRUE(entries[2].is_directory);
  ExpectFailure(platform_.List(Path("no"), &entries), ErrorCode::kNotFound, ERROR_FILE_NOT_FOUND, Path("no"));
  ExpectFailure(platform_.List(Path("a"), &entries), ErrorCode::kIo, ERROR_DIRECTORY, "(ERROR_DIRECTORY)");
}

// At once where the file system has POSIX semantics, otherwise when the reader is done.
TEST_F(Win32PlatformTest, RenameReplacesWhatSomebodyIsReading) {
  FileWith("new", View("new"));
  FileWith("old", View("older"));
  auto reader = Open("old", OpenMode::kRead);
  std::thread done([&] {
    std::this_thread::sleep_for(std::chrono::milliseconds(50));
    EXPECT_EQ(ReadAll(*reader).size(), 5u);
    reader.reset();
  });
  const Status status = platform_.Rename(Path("new"), Path("old"));
  done.join();
  ASSERT_OK(status);
  EXPECT_EQ(SizeOf("old"), 3u);
  EXPECT_FALSE(Exists("new"));
  ExpectFailure(platform_.Rename(Path("new"), Path("x")), ErrorCode::kNotFound, ERROR_FILE_NOT_FOUND, " to ");
}

TEST_F(Win32PlatformTest, AMappedFileIsNotRenamedOver) {
  const auto mapping = AllocateAndMap("old", kPage);
  FileWith("new", View("new"));
  ExpectFailure(platform_.Rename(Path("new"), Path("old")), ErrorCode::kIo, ERROR_USER_MAPPED_FILE, Path("old"));
  EXPECT_EQ(SizeOf("old"), kPage);
  EXPECT_TRUE(Exists("new"));
}

TEST_F(Win32PlatformTest, AMappedFileIsNotCutShort) {
  auto mapping = AllocateAndMap("f", kPage);
  auto file = Open("f", OpenMode::kReadWrite);
  auto& own = static_cast<win32::Win32File&>(*file);
  ExpectFailure(own.Resize(10), ErrorCode::kIo, ERROR_USER_MAPPED_FILE, Path("f"));
  mapping.reset();
  EXPECT_OK(own.Resize(10));
  EXPECT_EQ(SizeOf("f"), 10u);
}

TEST_F(Win32PlatformTest, RemovesWhatIsThere) {
  auto open = FileWith("f", View("x"));
  EXPECT_OK(platform_.Remove(Path("f")));
  EXPECT_FALSE(Exists("f")) << "whoever has it open";
  ExpectFailure(platform_.Remove(Path("f")), ErrorCode::kNotFound, ERROR_FILE_NOT_FOUND, Path("f"));
  open.reset();
  EXPECT_EQ(FilesThatAreLeft(), 0u);
}

TEST_F(Win32PlatformTest, TheDeletionOfAMappedFileFreesItsNameAndWaitsUntilItIsUnmapped) {
  auto mapping = AllocateAndMap("f", kPage);
  auto second = Map("f", kPage, false);
  EXPECT_OK(platform_.Remove(Path("f")));
  EXPECT_FALSE(Exists("f"));
  std::vector<DirectoryEntry> entries;
  EXPECT_OK(platform_.List(directory_, &entries));
  EXPECT_TRUE(entries.empty());
  auto next = AllocateAndMap("f", kPage);  // as a log does whose end was truncated
  mapping->data()[0] = std::byte{1};
  EXPECT_OK(mapping->Sync(0, kPage));
  mapping.reset();
  EXPECT_EQ(FilesThatAreLeft(), 2u);
  EXPECT_EQ(second->data()[0], std::byte{1});
  EXPECT_EQ(next->data()[0], std::byte{0});
  second.reset();
  EXPECT_EQ(FilesThatAreLeft(), 1u);
  EXPECT_TRUE(Exists("f"));
}

TEST_F(Win32PlatformTest, WhatSomebodyDoesNotLetUsDeleteIsWaitedForAndThenRefused) {
  FileWith("f", View("x"));
  win32::Handle scanner;  // such as one for viruses
  ASSERT_OK(win32::OpenHandle(Path("f"), GENERIC_READ, FILE_SHARE_READ, OPEN_EXISTING, 0, &scanner));
  ExpectFailure(platform_.Remove(Path("f")), ErrorCode::kIo, ERROR_SHARING_VIOLATION, Path("f"));
  EXPECT_TRUE(Exists("f"));
  std::thread closes([&] {
    ::Sleep(50);
    scanner = win32::Handle();
  });
  EXPECT_OK(platform_.Remove(Path("f")));
  closes.join();
  EXPECT_FALSE(Exists("f"));
}

TEST_F(Win32PlatformTest, AFileThatTookTheNameOfADeletedOneIsNotDeleted) {
  win32::Deletions deletions;
  FileWith("f", View("old"));
  win32::Handle open;
  ASSERT_OK(win32::OpenHandle(Path("f"), GENERIC_READ, FILE_SHARE_READ | FILE_SHARE_DELETE, OPEN_EXISTING, 0, &open));
  win32::FileId id;
  ASSERT_OK(win32::IdentifyFile(open.get(), Path("f"), &id));
  deletions.Mapped(id);
  EXPECT_OK(deletions.Delete(Path("f")));
  EXPECT_EQ(deletions.Waiting(), 1u);
  const std::string aside = std::filesystem::directory_iterator(directory_)->path().string();
  ASSERT_TRUE(::MoveFileW(win32::SystemPath(aside).c_str(), win32::SystemPath(Path("elsewhere")).c_str()));
  std::ofstream(aside) << "new";
  deletions.Unmapped(id);
  EXPECT_EQ(deletions.Waiting(), 0u);
  EXPECT_EQ(std::filesystem::file_size(aside), 3u);
}

TEST_F(Win32PlatformTest, WhatAProcessThatEndedHasPutAsideIsDeletedWithTheNextLock) {
  ASSERT_OK(platform_.CreateDirectory(Path("segments")));
  FileWith("segments/wal-000007.log.42.segwal-removed", View("x"));
  FileWith("wal.meta.43.segwal-removed", View("x"));
  FileWith("segments/wal-000007.log", View("x"));
  auto mapping = AllocateAndMap("44.segwal-removed", kPage);
  std::unique_ptr<DirectoryLock> lock;
  ASSERT_OK(platform_.Lock(Path("LOCK"), "me", &lock));
  EXPECT_FALSE(Exists("segments/wal-000007.log.42.segwal-removed"));
  EXPECT_FALSE(Exists("wal.meta.43.segwal-removed"));
  EXPECT_TRUE(Exists("segments/wal-000007.log"));
  EXPECT_TRUE(Exists("44.segwal-removed"));
  mapping.reset();
  EXPECT_FALSE(Exists("44.segwal-removed"));
}

TEST_F(Win32PlatformTest, SyncsDirectories) {
  EXPECT_OK(platform_.SyncDirectory(directory_));
  ExpectFailure(platform_.SyncDirectory(Path("no")), ErrorCode::kNotFound, ERROR_FILE_NOT_FOUND, Path("no"));
}

TEST_F(Win32PlatformTest, OneDirectoryHasOneCanonicalPath) {
  ASSERT_OK(platform_.CreateDirectory(Path("d")));
  for (const std::string& spelling : {Path("d"), Path("D"), Path(".\\d\\"), Path("d/../d//."), "\\\\?\\" + Path("d")}) {
    std::string canonical;
    ASSERT_OK(platform_.CanonicalPath(spelling, &canonical));
    EXPECT_EQ(canonical, Path("d")) << spelling;
  }
  FileWith("file", {});
  std::string canonical;
  ExpectFailure(platform_.CanonicalPath(Path("no"), &canonical), ErrorCode::kNotFound, ERROR_FILE_NOT_FOUND, "no");
  ExpectFailure(platform_.CanonicalPath(Path("file"), &canonical), ErrorCode::kIo, ERROR_DIRECTORY, Path("file"));
}

// --- Files

TEST_F(Win32PlatformTest, OpensByMode) {
  std::unique_ptr<File> file;
  ExpectFailure(platform_.Open(Path("f"), OpenMode::kRead, &file), ErrorCode::kNotFound, ERROR_FILE_NOT_FOUND, "open ");
  ExpectFailure(platform_.Open(Path("f"), OpenMode::kReadWrite, &file), ErrorCode::kNotFound, ERROR_FILE_NOT_FOUND,
                "f");
  ASSERT_OK(platform_.Open(Path("f"), OpenMode::kCreate, &file));
  ExpectFailure(platform_.Open(Path("f"), OpenMode::kCreate, &file), ErrorCode::kIo, ERROR_FILE_EXISTS, "EXISTS");
  ASSERT_OK(platform_.Open(Path("f"), OpenMode::kReadWrite, &file));
  EXPECT_OK(file->Write(0, View("x")));
  ASSERT_OK(platform_.Open(Path("f"), OpenMode::kRead, &file));
  EXPECT_EQ(file->Write(0, View("x")).code(), ErrorCode::kIo);
}

TEST_F(Win32PlatformTest, ReadsWhatWasWrittenUpToTheEnd) {
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

TEST_F(Win32PlatformTest, AddressesWith64Bits) {
  constexpr uint64_t kFar = (uint64_t{5} << 30) + 3;
  auto file = FileWith("f", {});
  ASSERT_OK(file->Write(kFar, View("x")));
  EXPECT_EQ(SizeOf("f"), kFar + 1);
}

TEST_F(Win32PlatformTest, AllocatesRealBlocksThatReadAsZero) {
  constexpr uint64_t kSize = uint64_t{3} << 20;
  auto file = FileWith("f", View("kept"));
  ASSERT_OK(file->Allocate(kSize));
  EXPECT_EQ(SizeOf("f"), kSize);
  EXPECT_GE(AllocatedOf(*file), kSize);
  const Bytes content = ReadAll(*file);
  EXPECT_TRUE(std::ranges::equal(std::span(content).first(4), View("kept")));
  EXPECT_TRUE(AllAre(std::span(content).subspan(4), 0));
  ASSERT_OK(file->Allocate(kSize / 2));
  EXPECT_EQ(SizeOf("f"), kSize);
}

TEST_F(Win32PlatformTest, ZeroesExactlyTheRange) {
  constexpr size_t kSize = 4 * kPage;
  struct Range {
    uint64_t offset;
    uint64_t length;
  };
  auto file = FileWith("f", Bytes(kSize));
  const auto mapping = Map("f", kSize);
  for (const Range range : {Range{0, kSize}, Range{1, 1}, Range{100, 3 * kPage}, Range{kPage, kPage},
                            Range{kPage - 1, kPage + 2}, Range{kSize - 5, 5}, Range{77, 0}}) {
    ASSERT_OK(file->Write(0, Bytes(kSize, std::byte{0xaa})));
    ASSERT_OK(file->Zero(range.offset, range.length));
    const Bytes content = ReadAll(*file);
    const auto all = std::span(content);
    EXPECT_TRUE(AllAre(all.first(range.offset), 0xaa)) << range.offset;
    EXPECT_TRUE(AllAre(all.subspan(range.offset, range.length), 0)) << range.offset;
    EXPECT_TRUE(AllAre(all.subspan(range.offset + range.length), 0xaa)) << range.offset;
    EXPECT_TRUE(std::ranges::equal(all, std::span(mapping->data(), kSize))) << range.offset;
  }
}

TEST_F(Win32PlatformTest, SyncsFiles) { EXPECT_OK(FileWith("f", View("x"))->Sync()); }

TEST_F(Win32PlatformTest, HandlesAreNotInherited) {
  auto file = FileWith("f", View("x"));
  DWORD flags = HANDLE_FLAG_INHERIT;
  ASSERT_TRUE(::GetHandleInformation(static_cast<win32::Win32File&>(*file).handle(), &flags));
  EXPECT_EQ(flags & HANDLE_FLAG_INHERIT, 0u);
}

// --- Mappings

TEST_F(Win32PlatformTest, MappingAndFileAreOne) {
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

TEST_F(Win32PlatformTest, MapsOnlyWhatTheFileHas) {
  FileWith("f", Bytes(kPage));
  std::unique_ptr<Mapping> mapping;
  const Status status = platform_.Map(Open("f", OpenMode::kReadWrite), 2 * kPage, true, &mapping);
  ExpectFailure(status, ErrorCode::kIo, 0, "has 65536 bytes, 131072 are needed");
  EXPECT_EQ(SizeOf("f"), kPage);
}

TEST_F(Win32PlatformTest, AReadOnlyFileHasNoWritableMapping) {
  FileWith("f", Bytes(kPage));
  std::unique_ptr<Mapping> mapping;
  ExpectFailure(platform_.Map(Open("f", OpenMode::kRead), kPage, true, &mapping), ErrorCode::kIo, ERROR_ACCESS_DENIED,
                "map ");
  EXPECT_EQ(Map("f", kPage, false)->data()[0], std::byte{0});
}

TEST_F(Win32PlatformTest, SyncsAnyRangeOfAMapping) {
  constexpr uint64_t kOdd = 2 * kPage + 123;
  auto mapping = AllocateAndMap("f", kOdd);
  mapping->data()[kOdd - 1] = std::byte{1};
  EXPECT_OK(mapping->Sync(0, kOdd));
  EXPECT_OK(mapping->Sync(kOdd - 1, 1));
  EXPECT_OK(mapping->Sync(kPage - 1, 2));
  EXPECT_OK(mapping->Sync(kOdd, 0));
}

// scripts/test-windows.mjs runs this one under strace: both calls have to reach the system below.
TEST_F(Win32PlatformTest, ASyncFlushesTheViewAndThenTheFile) {
  auto mapping = AllocateAndMap("f", 4 * kPage);
  for (size_t i = 0; i < 8; ++i) {
    std::memset(mapping->data() + kPage, static_cast<int>(i + 1), kPage);
    ASSERT_OK(mapping->Sync(kPage, kPage));
  }
}

TEST_F(Win32PlatformTest, PopulatesWithoutChangingAnything) {
  auto mapping = AllocateAndMap("f", 4 * kPage);
  std::memset(mapping->data(), 0x5a, 4 * kPage);
  ASSERT_OK(mapping->Populate(1, 4 * kPage - 2));
  EXPECT_TRUE(AllAre({mapping->data(), 4 * kPage}, 0x5a));
}

TEST_F(Win32PlatformTest, PopulatingKeepsWhatIsStoredMeanwhile) {
  auto mapping = AllocateAndMap("f", kPage);
  std::atomic<bool> done{false};
  std::atomic<uint32_t> wrong{0};
  auto& word = *reinterpret_cast<std::atomic<uint32_t>*>(mapping->data());
  std::thread writer([&] {
    for (uint32_t i = 1; !done; ++i) {
      word.store(i);
      if (word.load() != i) ++wrong;
    }
  });
  for (int i = 0; i < 2000; ++i) ASSERT_OK(mapping->Populate(0, kPage));
  done = true;
  writer.join();
  EXPECT_EQ(wrong, 0u);
}

TEST(Win32ChildTest, DISABLED_StoresAndWaits) {
  const std::string path = ChildProcess::Argument();
  std::unique_ptr<File> file;
  std::unique_ptr<Mapping> mapping;
  ASSERT_OK(Platform::Default().Open(path, OpenMode::kReadWrite, &file));
  ASSERT_OK(Platform::Default().Map(std::move(file), kPage, true, &mapping));
  std::memcpy(mapping->data() + 100, "stored", 6);
  ::Sleep(INFINITE);
}

TEST_F(Win32PlatformTest, WhatWasStoredOutlivesTheProcessAndIsInTheFileNotOnlyInTheMapping) {
  ASSERT_OK(Open("f", OpenMode::kCreate)->Allocate(kPage));
  ChildProcess child("Win32ChildTest.DISABLED_StoresAndWaits", Path("f"));
  const auto stored = [&] {
    const Bytes content = ReadAll(*Open("f", OpenMode::kRead));
    return std::memcmp(content.data() + 100, "stored", 6) == 0;
  };
  ASSERT_TRUE(ComesToBe(stored));
  child.Kill();
  EXPECT_TRUE(stored());
}

// --- The lock

TEST_F(Win32PlatformTest, ASecondLockInTheSameProcessIsRefusedWithTheNoteOfTheFirst) {
  std::unique_ptr<DirectoryLock> first;
  std::unique_ptr<DirectoryLock> second;
  ASSERT_OK(platform_.Lock(Path("LOCK"), "pid 42 on here", &first));
  const Status status = platform_.Lock(Path("LOCK"), "me", &second);
  EXPECT_EQ(status.code(), ErrorCode::kLocked);
  EXPECT_EQ(status.message(), Path("LOCK") + " is held by pid 42 on here");
  EXPECT_EQ(second, nullptr);
}

TEST_F(Win32PlatformTest, AReleasedLockIsFreeAndItsNoteGone) {
  std::unique_ptr<DirectoryLock> lock;
  ASSERT_OK(platform_.Lock(Path("LOCK"), "a rather long note", &lock));
  EXPECT_EQ(SizeOf("LOCK"), 19u);
  lock.reset();
  EXPECT_EQ(SizeOf("LOCK"), 0u);
  ASSERT_OK(platform_.Lock(Path("LOCK"), "short", &lock));
  EXPECT_EQ(SizeOf("LOCK"), 6u);
}

TEST_F(Win32PlatformTest, NoLockWithoutADirectory) {
  std::unique_ptr<DirectoryLock> lock;
  ExpectFailure(platform_.Lock(Path("no\\LOCK"), "me", &lock), ErrorCode::kNotFound, ERROR_PATH_NOT_FOUND, "no");
}

TEST(Win32ChildTest, DISABLED_LocksAndWaits) {
  std::unique_ptr<DirectoryLock> lock;
  ASSERT_OK(Platform::Default().Lock(ChildProcess::Argument(), "the child", &lock));
  ::Sleep(INFINITE);
}

TEST_F(Win32PlatformTest, TheLockOfAKilledProcessIsFreeAtOnce) {
  ChildProcess child("Win32ChildTest.DISABLED_LocksAndWaits", Path("LOCK"));
  ASSERT_TRUE(ComesToBe([&] { return Exists("LOCK") && SizeOf("LOCK") == 10; }));
  std::unique_ptr<DirectoryLock> lock;
  const Status status = platform_.Lock(Path("LOCK"), "me", &lock);
  EXPECT_EQ(status.code(), ErrorCode::kLocked);
  EXPECT_TRUE(status.message().ends_with("is held by the child")) << status.message();
  child.Kill();
  EXPECT_OK(platform_.Lock(Path("LOCK"), "me", &lock));
}

TEST_F(Win32PlatformTest, NobodyTakesAwayALockThatIsHeld) {
  std::unique_ptr<DirectoryLock> lock;
  ASSERT_OK(platform_.Lock(Path("LOCK"), "me", &lock));
  EXPECT_FALSE(::DeleteFileW(win32::SystemPath(Path("LOCK")).c_str()));
}

// --- The machine

TEST(Win32MachineTest, TheBootHasAnIdThatStays) {
  const BootId id = Platform::Default().CurrentBoot();
  EXPECT_NE(id, BootId{});
  EXPECT_EQ(id, Platform::Default().CurrentBoot());
}

TEST(Win32MachineTest, TheClocksAgree) {
  Platform& platform = Platform::Default();
  FILETIME system{};
  ::GetSystemTimeAsFileTime(&system);
  const uint64_t ticks = (uint64_t{system.dwHighDateTime} << 32) | system.dwLowDateTime;
  const uint64_t before = platform.Now();
  const uint64_t coarse = platform.CoarseNow();
  const uint64_t after = platform.Now();
  EXPECT_GT(before, 1'600'000'000'000'000u);  // September 2020, in µs
  EXPECT_LE(before, coarse);
  EXPECT_LE(coarse, after);
  EXPECT_LT(before - (ticks / 10 - 11'644'473'600'000'000u), 100'000u);
}

TEST(Win32MachineTest, TheClockIsFinerThanATick) {
  const uint64_t start = Platform::Default().Now();
  uint64_t next = start;
  while (next == start) next = Platform::Default().Now();
  EXPECT_LT(next - start, 1000u);
}

TEST(Win32MachineTest, TheMonotonicClockNeverGoesBack) {
  uint64_t last = 0;
  for (int i = 0; i < 100'000; ++i) {
    const uint64_t now = Platform::Default().Monotonic();
    ASSERT_GE(now, last);
    last = now;
  }
  const uint64_t start = Platform::Default().Monotonic();
  std::this_thread::sleep_for(std::chrono::milliseconds(30));
  EXPECT_GE(Platform::Default().Monotonic() - start, 10'000'000u);
}

TEST(Win32MachineTest, KnowsItsProcessAndHost) {
  EXPECT_EQ(Platform::Default().ProcessId(), ::GetCurrentProcessId());
  EXPECT_FALSE(Platform::Default().HostName().empty());
}

TEST(Win32MachineTest, RandomBytesDifferAndFillEverything) {
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
