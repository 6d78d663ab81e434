// A library to preload (LD_PRELOAD) into a real process that uses a log. Whenever the process syncs something, or
// changes a name, it writes down what every file under a directory looks like in the page cache by now:
// test/helpers/recording.ts makes of it what could be on the disk if the power had gone at any of these moments.
//
// SEGWAL_RECORD_ROOT: the directory that is watched. SEGWAL_RECORD_FILE: where to write.
//
// The recording is a sequence of events, little-endian, each:
//   u8  what: 'b' a sync begins, 'e' it ended without an error, 'n' names or sizes may have changed
//   u32 number of the sync, to find the 'b' of an 'e'; 0 for 'n'
//   u32 file that is synced (0: none of ours), u64 offset, u64 length (~0: all of it, names and size too)
//   u32 number of entries in the tree, each: u32 directory, u32 file, u8 is a directory, u64 size, u16 length, name
//   u32 number of sectors that are not what they were at the event before, each: u32 file, u32 sector, 512 bytes
// A file's number is its own for ever; the root is 1. Linux only.
#include <dirent.h>
#include <dlfcn.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstdarg>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <map>
#include <mutex>
#include <string>
#include <utility>
#include <vector>

namespace {

constexpr size_t kSector = 512;
constexpr uint64_t kAll = ~uint64_t{0};

template <typename Function>
Function* Real(const char* name) {
  return reinterpret_cast<Function*>(::dlsym(RTLD_NEXT, name));
}

int RealOpen(const char* path, int flags, mode_t mode) {
  static auto* const real = Real<int(const char*, int, ...)>("open");
  return real(path, flags, mode);
}

class Recorder {
 public:
  static Recorder& Get() {
    static auto* const recorder = new Recorder;  // outlives every thread
    return *recorder;
  }

  std::mutex mutex;  // what changes names is done under it, so that no look at the tree comes in between

  // All require the mutex.
  uint32_t Begin(uint64_t inode, uint64_t offset, uint64_t length) {
    Write('b', ++syncs_, inode, offset, length);
    return syncs_;
  }
  void End(uint32_t sync, uint64_t inode, uint64_t offset, uint64_t length) { Write('e', sync, inode, offset, length); }
  void NamesChanged() { Write('n', 0, 0, 0, 0); }

  void NoteMapping(void* at, size_t length, int file) {
    struct stat info;
    if (::fstat(file, &info) == 0) mappings_[reinterpret_cast<uintptr_t>(at)] = {length, info.st_ino};
  }
  void ForgetMapping(void* at) { mappings_.erase(reinterpret_cast<uintptr_t>(at)); }
  // The inode that is mapped at `at`, and where in it that is; 0: none.
  uint64_t InodeAt(void* at, uint64_t* offset) const {
    const auto address = reinterpret_cast<uintptr_t>(at);
    auto mapping = mappings_.upper_bound(address);
    if (mapping == mappings_.begin()) return 0;
    --mapping;
    *offset = address - mapping->first;
    return *offset < mapping->second.length ? mapping->second.inode : 0;
  }

 private:
  struct Mapped {
    size_t length;
    uint64_t inode;
  };
  struct Known {
    uint32_t number;
    std::vector<char> bytes;
    bool there;
  };

  Recorder() : root_(std::getenv("SEGWAL_RECORD_ROOT")) {
    out_ = RealOpen(std::getenv("SEGWAL_RECORD_FILE"), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    if (out_ < 0) ::abort();
  }

  template <typename T>
  void Put(T value) {
    const auto* const bytes = reinterpret_cast<const char*>(&value);
    event_.insert(event_.end(), bytes, bytes + sizeof value);
  }

  Known& Know(uint64_t inode) {
    const auto [known, added] = known_.try_emplace(inode);
    if (added) known->second.number = ++files_;
    known->second.there = true;
    return known->second;
  }

  void Write(char what, uint32_t sync, uint64_t inode, uint64_t offset, uint64_t length) {
    event_.clear();
    entries_.clear();
    sectors_.clear();
    entry_count_ = 0;
    sector_count_ = 0;
    for (auto& [number, known] : known_) known.there = false;
    struct stat info;
    if (::stat(root_.c_str(), &info) != 0) return;
    Look(root_, Know(info.st_ino).number);
    // What has no name any more may be given to another file: the inode's number is not the file's.
    std::erase_if(known_, [](const auto& each) { return !each.second.there; });
    const auto synced = known_.find(inode);
    Put(what);
    Put(sync);
    Put(synced == known_.end() ? uint32_t{0} : synced->second.number);
    Put(offset);
    Put(length);
    Put(entry_count_);
    event_.insert(event_.end(), entries_.begin(), entries_.end());
    Put(sector_count_);
    event_.insert(event_.end(), sectors_.begin(), sectors_.end());
    for (size_t at = 0; at < event_.size();) {
      const ssize_t written = ::write(out_, event_.data() + at, event_.size() - at);
      if (written <= 0) ::abort();
      at += static_cast<size_t>(written);
    }
  }

  // Files first: the process goes on meanwhile, and what it notes in a file beside the log must not be newer than the
  // log.
  void Look(const std::string& directory, uint32_t number) {
    DIR* const listing = ::opendir(directory.c_str());
    if (listing == nullptr) return;
    std::vector<std::pair<std::string, uint32_t>> directories;
    while (const dirent* const entry = ::readdir(listing)) {
      const std::string name = entry->d_name;
      if (name == "." || name == "..") continue;
      const std::string path = directory + "/" + name;
      struct stat info;
      if (::lstat(path.c_str(), &info) != 0) continue;
      Known& known = Know(info.st_ino);
      event_.swap(entries_);
      Put(number);
      Put(known.number);
      Put(static_cast<uint8_t>(S_ISDIR(info.st_mode)));
      Put(static_cast<uint64_t>(info.st_size));
      Put(static_cast<uint16_t>(name.size()));
      event_.insert(event_.end(), name.begin(), name.end());
      event_.swap(entries_);
      ++entry_count_;
      if (S_ISDIR(info.st_mode)) {
        directories.emplace_back(path, known.number);
      } else {
        Compare(path, &known);
      }
    }
    ::closedir(listing);
    for (const auto& [path, its_number] : directories) Look(path, its_number);
  }

  void Compare(const std::string& path, Known* known) {
    const int file = RealOpen(path.c_str(), O_RDONLY | O_CLOEXEC, 0);
    if (file < 0) return;
    std::vector<char> now;
    char chunk[65536];
    for (ssize_t got = 0; (got = ::read(file, chunk, sizeof chunk)) > 0;) now.insert(now.end(), chunk, chunk + got);
    ::close(file);
    now.resize((now.size() + kSector - 1) / kSector * kSector);
    known->bytes.resize(now.size());
    for (size_t at = 0; at < now.size(); at += kSector) {
      if (std::memcmp(now.data() + at, known->bytes.data() + at, kSector) == 0) continue;
      event_.swap(sectors_);
      Put(known->number);
      Put(static_cast<uint32_t>(at / kSector));
      event_.insert(event_.end(), now.data() + at, now.data() + at + kSector);
      event_.swap(sectors_);
      ++sector_count_;
    }
    known->bytes.swap(now);
  }

  const std::string root_;
  int out_ = -1;
  uint32_t syncs_ = 0;
  uint32_t files_ = 0;
  std::map<uint64_t, Known> known_;  // by inode
  std::map<uintptr_t, Mapped> mappings_;
  std::vector<char> event_;
  std::vector<char> entries_;
  std::vector<char> sectors_;
  uint32_t entry_count_ = 0;
  uint32_t sector_count_ = 0;
};

uint64_t InodeOf(int file) {
  struct stat info;
  return ::fstat(file, &info) == 0 ? info.st_ino : 0;
}

// Only the process that was asked for is watched, no shell or tool that it starts.
bool Watching() {
  static const bool watching = std::getenv("SEGWAL_RECORD_ROOT") != nullptr;
  return watching;
}

template <typename Call>
int ChangeNames(Call call) {
  if (!Watching()) return call();
  const std::lock_guard lock(Recorder::Get().mutex);
  const int result = call();
  const int error = errno;
  if (result >= 0) Recorder::Get().NamesChanged();
  errno = error;
  return result;
}

template <typename Call>
int Sync(uint64_t inode, uint64_t offset, uint64_t length, Call call) {
  Recorder& recorder = Recorder::Get();
  uint32_t sync = 0;
  {
    const std::lock_guard lock(recorder.mutex);
    sync = recorder.Begin(inode, offset, length);
  }
  const int result = call();
  const int error = errno;
  if (result == 0) {
    const std::lock_guard lock(recorder.mutex);
    recorder.End(sync, inode, offset, length);
  }
  errno = error;
  return result;
}

}  // namespace

extern "C" {

__attribute__((visibility("default"))) int msync(void* at, size_t length, int flags) {
  static auto* const real = Real<int(void*, size_t, int)>("msync");
  const auto call = [&] { return real(at, length, flags); };
  if (!Watching()) return call();
  uint64_t offset = 0;
  uint64_t inode = 0;
  {
    const std::lock_guard lock(Recorder::Get().mutex);
    inode = Recorder::Get().InodeAt(at, &offset);
  }
  return Sync(inode, offset, length, call);
}

__attribute__((visibility("default"))) int fsync(int file) {
  static auto* const real = Real<int(int)>("fsync");
  const auto call = [&] { return real(file); };
  return Watching() ? Sync(InodeOf(file), 0, kAll, call) : call();
}

__attribute__((visibility("default"))) void* mmap(void* at, size_t length, int protection, int flags, int file,
                                                  off_t offset) noexcept {
  static auto* const real = Real<void*(void*, size_t, int, int, int, off_t)>("mmap");
  void* const mapped = real(at, length, protection, flags, file, offset);
  if (mapped != MAP_FAILED && file >= 0 && (flags & MAP_SHARED) != 0 && Watching()) {
    const std::lock_guard lock(Recorder::Get().mutex);
    Recorder::Get().NoteMapping(mapped, length, file);
  }
  return mapped;
}

__attribute__((visibility("default"))) int munmap(void* at, size_t length) noexcept {
  static auto* const real = Real<int(void*, size_t)>("munmap");
  if (Watching()) {
    const std::lock_guard lock(Recorder::Get().mutex);
    Recorder::Get().ForgetMapping(at);
  }
  return real(at, length);
}

__attribute__((visibility("default"))) int open(const char* path, int flags, ...) {
  va_list arguments;
  va_start(arguments, flags);
  const mode_t mode = (flags & O_CREAT) != 0 ? va_arg(arguments, mode_t) : 0;
  va_end(arguments);
  if ((flags & O_CREAT) == 0) return RealOpen(path, flags, mode);
  return ChangeNames([&] { return RealOpen(path, flags, mode); });
}

__attribute__((visibility("default"))) int rename(const char* from, const char* to) noexcept {
  static auto* const real = Real<int(const char*, const char*)>("rename");
  return ChangeNames([&] { return real(from, to); });
}

__attribute__((visibility("default"))) int unlink(const char* path) noexcept {
  static auto* const real = Real<int(const char*)>("unlink");
  return ChangeNames([&] { return real(path); });
}

__attribute__((visibility("default"))) int mkdir(const char* path, mode_t mode) noexcept {
  static auto* const real = Real<int(const char*, mode_t)>("mkdir");
  return ChangeNames([&] { return real(path, mode); });
}

__attribute__((visibility("default"))) int fallocate(int file, int mode, off_t offset, off_t length) {
  static auto* const real = Real<int(int, int, off_t, off_t)>("fallocate");
  return ChangeNames([&] { return real(file, mode, offset, length); });
}

}  // extern "C"
