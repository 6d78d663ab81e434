#include <dirent.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cstdio>
#include <cstdlib>

#include "platform/platform.h"
#include "platform/posix/posix_descriptor.h"
#include "platform/posix/posix_file.h"
#include "platform/posix/posix_lock.h"
#include "platform/posix/posix_mapping.h"
#include "platform/posix/posix_os.h"

namespace segwal {
namespace posix {
namespace {

timespec ReadClock(clockid_t clock) {
  timespec now{};
  ::clock_gettime(clock, &now);
  return now;
}

int FlagsOf(OpenMode mode) {
  switch (mode) {
    case OpenMode::kRead: return O_RDONLY;
    case OpenMode::kReadWrite: return O_RDWR;
    case OpenMode::kCreate: return O_RDWR | O_CREAT | O_EXCL;
  }
  return O_RDONLY;
}

Status RequireDirectory(std::string_view operation, const std::string& path) {
  struct stat info;
  if (::stat(path.c_str(), &info) != 0) return ErrorStatus(operation, path, errno);
  return S_ISDIR(info.st_mode) ? Status::Ok() : ErrorStatus(operation, path, ENOTDIR);
}

struct CloseDirectory {
  void operator()(DIR* directory) const { ::closedir(directory); }
};
using DirectoryStream = std::unique_ptr<DIR, CloseDirectory>;

Status OpenStream(const std::string& path, DirectoryStream* stream) {
  Descriptor descriptor;
  SEGWAL_TRY(OpenDescriptor(path, O_RDONLY | O_DIRECTORY, &descriptor));
  stream->reset(::fdopendir(descriptor.get()));
  if (*stream == nullptr) return ErrorStatus("list", path, errno);
  descriptor.release();
  return {};
}

// What it is, and how large; what a symbolic link leads to, if it leads anywhere. kNotFound when it is gone by now.
Status Inspect(DIR* directory, const std::string& directory_path, DirectoryEntry* entry) {
  struct stat info;
  const auto inspect = [&](int flags) { return ::fstatat(::dirfd(directory), entry->name.c_str(), &info, flags); };
  if (inspect(0) != 0 && inspect(AT_SYMLINK_NOFOLLOW) != 0) {
    return ErrorStatus("stat", directory_path + "/" + entry->name, errno);
  }
  entry->is_directory = S_ISDIR(info.st_mode);
  entry->size = entry->is_directory ? 0 : static_cast<uint64_t>(info.st_size);
  return {};
}

class PosixPlatform final : public Platform {
 public:
  Status CreateDirectory(const std::string& path) override {
    if (::mkdir(path.c_str(), kDirectoryPermissions) == 0) return {};
    if (errno != EEXIST) return ErrorStatus("create directory", path, errno);
    return RequireDirectory("create directory", path);
  }

  Status List(const std::string& path, std::vector<DirectoryEntry>* entries) override {
    DirectoryStream stream;
    SEGWAL_TRY(OpenStream(path, &stream));
    entries->clear();
    for (;;) {
      errno = 0;
      const dirent* next = ::readdir(stream.get());
      if (next == nullptr) break;
      DirectoryEntry entry{.name = next->d_name};
      if (entry.name == "." || entry.name == "..") continue;
      Status status = Inspect(stream.get(), path, &entry);
      if (status.code() == ErrorCode::kNotFound) continue;
      SEGWAL_TRY(std::move(status));
      entries->push_back(std::move(entry));
    }
    if (errno != 0) return ErrorStatus("list", path, errno);
    std::ranges::sort(*entries, {}, &DirectoryEntry::name);
    return {};
  }

  Status Rename(const std::string& from, const std::string& to) override {
    return ResultStatus("rename", from + " to " + to, ErrnoOf([&] { return ::rename(from.c_str(), to.c_str()); }));
  }

  Status Remove(const std::string& path) override {
    return ResultStatus("remove", path, ErrnoOf([&] { return ::unlink(path.c_str()); }));
  }

  Status SyncDirectory(const std::string& path) override {
    Descriptor descriptor;
    SEGWAL_TRY(OpenDescriptor(path, O_RDONLY | O_DIRECTORY, &descriptor));
    const int result = SyncDescriptor(descriptor.get());
    // Some file systems (of networks, in user space) have no such thing; their names are as durable as they get.
    return result == EINVAL ? Status::Ok() : ResultStatus("sync directory", path, result);
  }

  Status CanonicalPath(const std::string& path, std::string* canonical) override {
    const std::unique_ptr<char, decltype(&std::free)> resolved(::realpath(path.c_str(), nullptr), &std::free);
    if (resolved == nullptr) return ErrorStatus("resolve", path, errno);
    SEGWAL_TRY(RequireDirectory("resolve", resolved.get()));
    *canonical = resolved.get();
    return {};
  }

  Status Open(const std::string& path, OpenMode mode, std::unique_ptr<File>* file) override {
    Descriptor descriptor;
    SEGWAL_TRY(OpenDescriptor(path, FlagsOf(mode), &descriptor));
    *file = std::make_unique<PosixFile>(std::move(descriptor), path);
    return {};
  }

  bool RecyclesFiles() const override { return TellsWhatIsInMemory(); }
  Status OpenForRecycling(const std::string& path, std::unique_ptr<File>* file) override {
    Descriptor descriptor;
    SEGWAL_TRY(OpenDescriptor(path, O_RDWR, &descriptor));
    auto own = std::make_unique<PosixFile>(std::move(descriptor), path);
    SEGWAL_TRY(own->TakeForRecycling());
    *file = std::move(own);
    return {};
  }

  Status Map(std::unique_ptr<File> file, uint64_t length, bool writable, std::unique_ptr<Mapping>* mapping) override {
    std::unique_ptr<PosixFile> own(static_cast<PosixFile*>(file.release()));  // every File here came from Open
    return PosixMapping::Create(std::move(own), length, writable, mapping);
  }

  Status Lock(const std::string& path, const std::string& note, std::unique_ptr<DirectoryLock>* lock) override {
    return AcquireLock(path, note, lock);
  }

  uint64_t Now() const override {
    const timespec now = ReadClock(CLOCK_REALTIME);
    return static_cast<uint64_t>(now.tv_sec) * 1'000'000 + static_cast<uint64_t>(now.tv_nsec) / 1000;
  }
  uint64_t CoarseNow() const override { return CoarseRealtime(); }
  uint64_t Monotonic() const override {
    const timespec now = ReadClock(CLOCK_MONOTONIC);
    return static_cast<uint64_t>(now.tv_sec) * 1'000'000'000 + static_cast<uint64_t>(now.tv_nsec);
  }

  BootId CurrentBoot() const override { return ReadBootId(); }
  uint32_t ProcessId() const override { return static_cast<uint32_t>(::getpid()); }
  std::string HostName() const override {
    std::array<char, 256> name{};
    if (::gethostname(name.data(), name.size() - 1) != 0) return "unknown";
    return name.data();
  }
  Status Random(std::span<std::byte> out) override {
    return ResultStatus("read", "the system's random numbers", FillRandom(out));
  }
};

}  // namespace
}  // namespace posix

// Never destroyed: when the process exits, threads of a log that nobody closed may still be using it.
Platform& Platform::Default() {
  static auto* const kPlatform = new posix::PosixPlatform;
  return *kPlatform;
}

}  // namespace segwal
