// CrashPlatform: a whole machine in memory, whose power can be cut.
//
// Every file has two images: the live one, which is the page cache, and the synced one, which is the medium. A page
// that was stored to is dirty; a sync copies dirty pages to the medium. Names are the same: what is created, renamed or
// removed becomes durable by a sync of the directory. When the power goes, any subset of the 512-byte sectors of dirty
// pages that differ, and any subset of the unsynced changes of names, reaches the medium; which, the seed says. When
// the process dies, everything stored is kept.
//
// A sync that fails does what ext4 does: of the dirty pages some are written and some are lost, and all of them are
// clean afterwards. The next sync succeeds and does not write what was lost, until somebody stores to the page again.
//
// Threads: any, except where a method says otherwise. Deterministic when there is only one.
#pragma once

#include <array>
#include <atomic>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <random>
#include <string>
#include <vector>

#include "platform/platform.h"
#include "testing/fault_platform.h"

namespace segwal {

enum class Death : uint8_t {
  kPowerLoss,  // unsynced sectors and names are kept or lost at random; the boot id changes
  kProcess,    // everything stored is kept; the boot id stays
};

class CrashPlatform final : public Platform {
 public:
  explicit CrashPlatform(uint64_t seed = 1);
  ~CrashPlatform() override;
  CrashPlatform(const CrashPlatform&) = delete;
  CrashPlatform& operator=(const CrashPlatform&) = delete;

  // ---- dying ----

  // Now. What is open cannot be used afterwards, only let go of; every call fails until Restart.
  void Crash(Death death, uint64_t seed);
  // In the middle of the n-th call from now (1: the next one).
  void CrashAt(Death death, uint64_t seed, uint64_t nth);
  bool crashed() const { return crashed_; }
  // What survived is there again. A crash that was armed and did not come is forgotten.
  void Restart();
  // The kernel writes some dirty sectors by itself, as it may at any moment. With `failing` some pages are lost
  // instead, and nobody is told.
  void WriteBack(uint64_t seed, bool failing = false);

  // ---- failing ----

  // The calls nth … nth + times - 1 of `operation` from now on (1: the next one) fail with `failure`. What such a call
  // has done by then is up to the seed: a write may be short, an allocation too, a sync loses pages.
  void Fail(Operation operation, Status failure, uint64_t nth = 1, uint64_t times = 1);
  void Heal();                                     // forgets all of them
  uint64_t failures() const { return failures_; }  // how many calls have failed on purpose
  uint64_t calls() const { return calls_; }
  // Called in the middle of every sync of a mapping, on the thread that syncs: what is late lets others get ahead.
  void DuringSync(std::function<void()> what);
  // The system tells no boot id.
  void HideBoot() { boot_hidden_ = true; }
  void MoveClock(int64_t us) { clock_ += static_cast<uint64_t>(us); }

  // Bytes of a file become others, live and on the medium, as when the medium goes bad.
  void Damage(const std::string& path, uint64_t offset, ByteView bytes);

  // ---- looking ----

  // A checksum over every name and every byte, LOCK aside, as programs see them.
  uint64_t Fingerprint();
  // The content of a file, live or on the medium; nothing when it is not there.
  std::optional<std::vector<std::byte>> Live(const std::string& path);
  std::optional<std::vector<std::byte>> OnMedium(const std::string& path);

  Status CreateDirectory(const std::string& path) override;
  Status List(const std::string& path, std::vector<DirectoryEntry>* entries) override;
  Status Rename(const std::string& from, const std::string& to) override;
  Status Remove(const std::string& path) override;
  Status SyncDirectory(const std::string& path) override;
  Status CanonicalPath(const std::string& path, std::string* canonical) override;
  Status Open(const std::string& path, OpenMode mode, std::unique_ptr<File>* file) override;
  bool RecyclesFiles() const override { return true; }
  Status OpenForRecycling(const std::string& path, std::unique_ptr<File>* file) override;
  Status Map(std::unique_ptr<File> file, uint64_t length, bool writable, std::unique_ptr<Mapping>* mapping) override;
  Status Lock(const std::string& path, const std::string& note, std::unique_ptr<DirectoryLock>* lock) override;
  uint64_t Now() const override { return CoarseNow(); }
  uint64_t CoarseNow() const override { return clock_.fetch_add(1, std::memory_order_relaxed); }
  uint64_t Monotonic() const override;
  BootId CurrentBoot() const override;
  uint32_t ProcessId() const override { return process_; }
  std::string HostName() const override { return "memory"; }
  Status Random(std::span<std::byte> out) override;

 private:
  struct Node;
  class MemoryFile;
  class MemoryMapping;
  class MemoryLock;
  using NodePtr = std::shared_ptr<Node>;

  // One name that was given to a node, or taken away.
  struct NameEdit {
    NodePtr directory;
    std::string name;
    NodePtr target;  // null: removed
  };
  // A change of names that is atomic: one edit, or the two of a rename.
  using NameChange = std::vector<NameEdit>;

  struct Fault {
    Operation operation;
    Status failure;
    uint64_t after;  // so many calls are let through
    uint64_t times;
  };

  // All require mutex_.
  Status Enter(Operation operation);  // before every call: dies, fails, or lets it through
  Status Enter(Operation operation, uint64_t generation);
  Status Find(const std::string& path, NodePtr* node) const;
  Status FindParent(const std::string& path, NodePtr* directory, std::string* name) const;
  void Change(NameChange change);
  void Commit(const NameChange& change, size_t older);
  void Die(Death death, uint64_t seed);
  void LosePower(uint64_t seed);
  bool Chance(uint32_t percent) { return random_() % 100 < percent; }
  static std::vector<NodePtr> FilesBelow(const NodePtr& root);

  std::mt19937_64 random_;
  const NodePtr root_;
  mutable std::mutex mutex_;
  std::vector<NameChange> unsynced_names_;  // the oldest first
  std::vector<Fault> faults_;
  std::function<void()> during_sync_;
  std::vector<std::string> locks_;

  std::atomic<bool> crashed_{false};
  uint64_t generation_ = 1;  // of the process: what an older one opened is dead
  std::atomic<uint64_t> calls_{0};
  std::atomic<uint64_t> failures_{0};
  uint64_t crash_at_call_ = 0;  // 0: none armed
  Death crash_death_ = Death::kProcess;
  uint64_t crash_seed_ = 0;

  mutable std::atomic<uint64_t> clock_{1'767'225'600'000'000};
  uint64_t boot_ = 1;
  bool boot_hidden_ = false;
  uint32_t process_ = 1000;
};

}  // namespace segwal
