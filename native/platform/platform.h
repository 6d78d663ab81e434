// The seam between the log and the operating system. Everything the core asks of the world is here, so that
// another implementation can crash, tear, reorder and fail on purpose.
//
// Shaped for the strictest system it has to live on (Windows): a mapped file is never truncated, renamed over or
// deleted by its owner, and a file's name is final from the moment it is created. (Where RecyclesFiles says so, a
// segment that was removed gets other names, mapped or not.)
//
// Threads: a Platform may be used from any thread. A File or Mapping may be used from several threads at once as long
// as nobody destroys it meanwhile. Paths are UTF-8.
#pragma once

#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "platform/status.h"

namespace segwal {

using ByteView = std::span<const std::byte>;
using BootId = std::array<std::byte, 16>;

enum class OpenMode : uint8_t {
  kRead,       // must exist
  kReadWrite,  // must exist
  kCreate,     // must not exist
};

class File {
 public:
  virtual ~File() = default;

  virtual Status Size(uint64_t* bytes) = 0;

  // Reads until `out` is full or the file ends; `*count` says how much that was.
  virtual Status Read(uint64_t offset, std::span<std::byte> out, size_t* count) = 0;

  // Writes all of `data`, extending the file where needed.
  virtual Status Write(uint64_t offset, ByteView data) = 0;

  // Makes the file at least `bytes` long, every block of it really allocated: a later store through a mapping cannot
  // run out of disk. New bytes read as zero. May leave a shorter file behind when it fails.
  virtual Status Allocate(uint64_t bytes) = 0;

  // Makes [offset, offset + length) read as zero, blocks staying allocated. Durable after the next Sync.
  virtual Status Zero(uint64_t offset, uint64_t length) = 0;

  // Data and metadata are on the medium when this returns.
  virtual Status Sync() = 0;
};

// What becomes of a mapping whose memory can no longer be read or written: another process has cut the file short, a
// block of it cannot be read, memory itself is broken. The access that found out does not kill the process. The page is
// replaced by zeroed memory of nobody's (on Windows the whole mapping is), the access completes there, and this tells.
// Written by whatever the system calls at such a fault (a signal handler), so only lock-free atomics.
class MappingFailure {
 public:
  bool Happened() const {
    // Loads from the mapping that come before this in the program come before the load below: an acquire load holds
    // back what follows it, not what precedes it. No instruction on x86.
    std::atomic_thread_fence(std::memory_order_acquire);
    return happened_.load(std::memory_order_seq_cst);
  }

  // Calls of Raise from now on also store `value` into `word`, which lives as long as the mapping is used. Before the
  // mapping is shared.
  void SetAlarm(std::atomic<uint64_t>* word, uint64_t value) {
    value_ = value;
    alarm_.store(word, std::memory_order_release);
  }

  // Before the page is replaced: whoever finds something in the new page can know that it is one.
  void Raise() {
    happened_.store(true, std::memory_order_seq_cst);
    if (std::atomic<uint64_t>* const alarm = alarm_.load(std::memory_order_acquire); alarm != nullptr) {
      alarm->store(value_, std::memory_order_seq_cst);
    }
  }

 private:
  std::atomic<bool> happened_{false};
  std::atomic<std::atomic<uint64_t>*> alarm_{nullptr};
  uint64_t value_ = 0;
  static_assert(std::atomic<bool>::is_always_lock_free && std::atomic<uint64_t>::is_always_lock_free &&
                std::atomic<std::atomic<uint64_t>*>::is_always_lock_free);
};

class Mapping {
 public:
  virtual ~Mapping() = default;  // unmaps, then closes the file

  std::byte* data() const { return data_; }
  size_t size() const { return size_; }

  // Never reset. Once it has happened, nothing that was read from the mapping since may be believed, and nothing that
  // was stored since may be relied on. Asked after an access, on the thread of that access, it covers the access.
  const std::shared_ptr<MappingFailure>& failure() const { return failure_; }

  // The bytes of the range are on the medium when this returns. Whole pages are written, so neighbours may be too.
  // kIo when the file has become shorter than the mapping, or has been removed: what lay behind its end, or all of it,
  // is lost, whatever was written. (On Windows the system lets nobody do either.)
  virtual Status Sync(uint64_t offset, uint64_t length) = 0;

  // Before a range is populated for the first time that is to be zero: brings zeros into memory in pieces of kPiece,
  // so small that a sync of a few bytes, which writes whole pieces, writes little. Nobody stores there meanwhile. A
  // hint.
  static constexpr uint64_t kPiece = uint64_t{16} << 10;
  virtual void LayZeros([[maybe_unused]] uint64_t offset, [[maybe_unused]] uint64_t length) {}

  // Of a range that is about to be read: has its pages in memory and in the page table, which are two things that a
  // load would wait for. Never a signal. A hint.
  virtual void Fetch([[maybe_unused]] uint64_t offset, [[maybe_unused]] uint64_t length) {}

  // Makes the pages of the range present and writable, so that the next store to them does not fault. Never a signal:
  // what would have been one is returned as a Status.
  virtual Status Populate(uint64_t offset, uint64_t length) = 0;

 protected:
  Mapping(std::byte* data, size_t size) : Mapping(data, size, std::make_shared<MappingFailure>()) {}
  // For one that stands before another: they fail together.
  Mapping(std::byte* data, size_t size, std::shared_ptr<MappingFailure> failure)
      : data_(data), size_(size), failure_(std::move(failure)) {}

 private:
  std::byte* data_;
  size_t size_;
  std::shared_ptr<MappingFailure> failure_;
};

// Held while it lives; the operating system lets go of it when the process dies, however it dies.
class DirectoryLock {
 public:
  virtual ~DirectoryLock() = default;
};

struct DirectoryEntry {
  std::string name;
  bool is_directory = false;
  uint64_t size = 0;
};

class Platform {
 public:
  virtual ~Platform() = default;

  // Names. None of them is durable before SyncDirectory of the directory that holds it.
  virtual Status CreateDirectory(const std::string& path) = 0;  // fine when it is there already
  virtual Status List(const std::string& path, std::vector<DirectoryEntry>* entries) = 0;  // sorted by name
  virtual Status Rename(const std::string& from, const std::string& to) = 0;               // replaces `to`
  virtual Status Remove(const std::string& path) = 0;  // kNotFound when there is none
  virtual Status SyncDirectory(const std::string& path) = 0;
  // One name for one directory, however it was spelled; the directory must exist.
  virtual Status CanonicalPath(const std::string& path, std::string* canonical) = 0;

  virtual Status Open(const std::string& path, OpenMode mode, std::unique_ptr<File>* file) = 0;
  // Whether OpenForRecycling ever succeeds. Not where nobody can tell who has a file mapped (Windows).
  virtual bool RecyclesFiles() const { return false; }
  // Opens a file for reading and writing, to put it to another use. kLocked when somebody would notice, or when it
  // would not be worth it: some of it is mapped, in this process or another; it has a second name; not all of it is in
  // memory, so that its pages would have to be read first; or this system cannot tell. Nobody else can map it before it
  // is mapped through this File, or let go of: they get kNotFound.
  virtual Status OpenForRecycling(const std::string& path, std::unique_ptr<File>* /*file*/) {
    return Status(ErrorCode::kLocked, path + " cannot be used again: not on this system");
  }
  // Maps the first `length` bytes, which the file must have. The mapping owns the file.
  virtual Status Map(std::unique_ptr<File> file, uint64_t length, bool writable, std::unique_ptr<Mapping>* mapping) = 0;

  // Takes the lock that `path` stands for, creating the file, and writes `note` into it. kLocked with the note of the
  // owner in the message when another open of it, in this process or another, has it.
  virtual Status Lock(const std::string& path, const std::string& note, std::unique_ptr<DirectoryLock>* lock) = 0;

  virtual uint64_t Now() const = 0;        // µs since the Unix epoch
  virtual uint64_t CoarseNow() const = 0;  // the same, a few ms behind at most, cheap enough for every append
  virtual uint64_t Monotonic() const = 0;  // ns, from an arbitrary start; never goes back

  // Changes with every start of the machine; memory that was shared with a file survives exactly as long as this does.
  // All zero when the system does not tell: then nothing is taken to be of the same boot.
  virtual BootId CurrentBoot() const = 0;
  virtual uint32_t ProcessId() const = 0;
  virtual std::string HostName() const = 0;
  virtual Status Random(std::span<std::byte> out) = 0;

  // The one of the operating system this was built for.
  static Platform& Default();
};

}  // namespace segwal
