// FaultPlatform: the real platform, except that a test may watch every call, make the n-th one fail, hold calls back,
// and say what time and which boot it is.
#pragma once

#include <array>
#include <atomic>
#include <condition_variable>
#include <functional>
#include <mutex>
#include <string>
#include <vector>

#include "platform/platform.h"

namespace segwal {

enum class Operation : uint8_t {
  kCreateDirectory,
  kList,
  kRename,
  kRemove,
  kSyncDirectory,
  kOpen,
  kMap,
  kLock,
  kRandom,
  kRead,
  kWrite,
  kAllocate,
  kZero,
  kSyncFile,
  kSyncMapping,
  kPopulate,
  kLayZeros,
  kFetch,
  kCount,  // of the operations
};

struct Call {
  Operation operation;
  std::string path;  // of the file; the target of a rename
  uint64_t offset = 0;
  uint64_t length = 0;
  const std::byte* data = nullptr;  // the whole mapping, when it is one that is synced
};

// Threads: any.
class FaultPlatform final : public Platform {
 public:
  FaultPlatform() : real_(Platform::Default()), boot_(real_.CurrentBoot()) {}

  // The n-th call from now on (1: the next) of `operation`, and every one after it until Heal, fails with `failure`.
  void FailFrom(Operation operation, Status failure, int nth = 1);
  // Only the n-th does; with `path` the n-th for that file.
  void FailOnce(Operation operation, Status failure, int nth = 1, std::string path = {});
  void Heal();

  // The n-th call from now on of `operation`, and every one after it, waits until Release.
  void Hold(Operation operation, int nth = 1);
  void WaitUntilHeld();  // until a call is waiting
  void Release();

  // Every call from now on is told to `watch`, before it is made, on the thread that makes it.
  void Watch(std::function<void(const Call&)> watch);

  // Every look at the coarse clock: what an append does between its claim and its commit. On the thread that appends.
  void WatchCoarseClock(std::function<void()> watch);

  int CallsOf(Operation operation) const;

  void SetTime(uint64_t us) { time_us_ = us; }  // the clocks stand there; 0: they run
  void SetBoot(const BootId& boot) { boot_ = boot; }

  Status CreateDirectory(const std::string& path) override;
  Status List(const std::string& path, std::vector<DirectoryEntry>* entries) override;
  Status Rename(const std::string& from, const std::string& to) override;
  Status Remove(const std::string& path) override;
  Status SyncDirectory(const std::string& path) override;
  Status CanonicalPath(const std::string& path, std::string* canonical) override;
  Status Open(const std::string& path, OpenMode mode, std::unique_ptr<File>* file) override;
  bool RecyclesFiles() const override { return real_.RecyclesFiles(); }
  Status OpenForRecycling(const std::string& path, std::unique_ptr<File>* file) override;
  Status Map(std::unique_ptr<File> file, uint64_t length, bool writable, std::unique_ptr<Mapping>* mapping) override;
  Status Lock(const std::string& path, const std::string& note, std::unique_ptr<DirectoryLock>* lock) override;
  uint64_t Now() const override { return time_us_ != 0 ? time_us_.load() : real_.Now(); }
  uint64_t CoarseNow() const override;
  uint64_t Monotonic() const override { return real_.Monotonic(); }
  BootId CurrentBoot() const override { return boot_; }
  uint32_t ProcessId() const override { return real_.ProcessId(); }
  std::string HostName() const override { return real_.HostName(); }
  Status Random(std::span<std::byte> out) override;

  // For the files and mappings that it hands out: what becomes of a call.
  Status Judge(const Call& call);

 private:
  struct Fault {
    Operation operation;
    Status failure;
    int after;  // so many calls are let through
    bool lasting;
    std::string path;  // of the only file that it concerns; empty: of every
  };

  struct Held {
    Operation operation;
    int after;  // so many calls are let through
  };

  Platform& real_;
  BootId boot_;
  std::atomic<uint64_t> time_us_{0};

  mutable std::mutex mutex_;
  std::condition_variable changed_;
  std::vector<Fault> faults_;
  std::vector<Held> held_;
  int waiting_ = 0;
  std::array<int, static_cast<size_t>(Operation::kCount)> counts_{};
  std::function<void(const Call&)> watch_;
  std::function<void()> watch_clock_;
};

}  // namespace segwal
