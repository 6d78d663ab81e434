#include "testing/crash_platform.h"

#include <algorithm>
#include <cassert>
#include <chrono>
#include <cstring>

#include "core/bytes.h"
#include "core/crc32c/crc32c.h"
#include "testing/watched_memory.h"

namespace segwal {
namespace {

constexpr size_t kPage = WatchedMemory::kPage;
constexpr size_t kSector = 512;

Status MachineIsOff() { return Status(ErrorCode::kIo, "the machine is off"); }

Status NoSuchFile(const std::string& path) { return Status(ErrorCode::kNotFound, "no such file: " + path, 2); }

}  // namespace

// A file or a directory.
struct CrashPlatform::Node {
  bool is_directory = false;

  // Of a directory: its names, as programs see them and as they are on the medium.
  std::map<std::string, NodePtr> names;
  std::map<std::string, NodePtr> names_on_medium;

  // Of a file: the page cache and the medium. A clean page that differs from the medium was lost by a failed sync.
  WatchedMemory memory;
  uint64_t size = 0;
  std::vector<std::byte> medium;
  std::vector<std::byte> survived;  // what a process that died in the middle of a call had stored by then
  int mappings = 0;

  static NodePtr NewDirectory() {
    auto node = std::make_shared<Node>();
    node->is_directory = true;
    return node;
  }

  // Room for `bytes`; a mapped file has it already.
  void Reserve(uint64_t bytes) {
    if (bytes <= memory.size()) return;
    assert(mappings == 0);
    WatchedMemory larger(bytes);
    for (size_t page = 0; page < memory.pages(); ++page) {
      if (page * kPage >= size) break;
      std::memcpy(larger.data() + page * kPage, memory.data() + page * kPage, kPage);
      if (!memory.Dirty(page)) larger.Clean(page);
    }
    memory = std::move(larger);
  }

  void Truncate(uint64_t bytes) {
    Reserve(bytes);
    size = bytes;
  }

  void WritePage(size_t page) {
    const uint64_t begin = page * kPage;
    const uint64_t end = std::min<uint64_t>(begin + kPage, size);
    memory.Clean(page);
    if (end <= begin) return;
    if (medium.size() < end) medium.resize(end);
    CopyWhileWritten(medium.data() + begin, memory.data() + begin, end - begin);
  }

  // Calls `keep` for every sector of a dirty page that differs from the medium; those that it wants are written.
  template <typename Keep>
  void WriteSectors(const Keep& keep) {
    std::array<std::byte, kPage> copy;
    for (size_t page = 0; page < memory.pages(); ++page) {
      const uint64_t begin = page * kPage;
      if (begin >= medium.size() || !memory.Dirty(page)) continue;
      const uint64_t end = std::min<uint64_t>({begin + kPage, medium.size(), memory.size()});
      CopyWhileWritten(copy.data(), memory.data() + begin, end - begin);
      for (uint64_t at = begin; at < end; at += kSector) {
        const size_t length = std::min<uint64_t>(kSector, end - at);
        if (std::memcmp(medium.data() + at, copy.data() + (at - begin), length) == 0) continue;
        if (keep(page)) std::memcpy(medium.data() + at, copy.data() + (at - begin), length);
      }
    }
  }

  // The page cache of a machine that has just started: what is on the medium.
  void ReadMedium() {
    size = medium.size();
    Reserve(size);
    for (size_t page = 0; page < memory.pages(); ++page) {
      const uint64_t begin = page * kPage;
      std::byte* const at = memory.data() + begin;
      const uint64_t have = begin < size ? std::min<uint64_t>(kPage, size - begin) : 0;
      const bool same =
          (have == 0 || std::memcmp(at, medium.data() + begin, have) == 0) && FindNonZero(at, have, kPage) == kPage;
      if (!same) {
        std::memset(at, 0, kPage);
        if (have != 0) std::memcpy(at, medium.data() + begin, have);
      }
      if (memory.Dirty(page)) memory.Clean(page);
    }
  }
};

class CrashPlatform::MemoryFile final : public File {
 public:
  MemoryFile(CrashPlatform& platform, NodePtr node)
      : platform_(platform), node_(std::move(node)), generation_(platform.generation_) {}

  const NodePtr& node() const { return node_; }

  Status Size(uint64_t* bytes) override {
    const std::lock_guard lock(platform_.mutex_);
    *bytes = node_->size;
    return Status::Ok();
  }

  Status Read(uint64_t offset, std::span<std::byte> out, size_t* count) override {
    const std::lock_guard lock(platform_.mutex_);
    SEGWAL_TRY(platform_.Enter(Operation::kRead, generation_));
    *count = offset >= node_->size ? 0 : std::min<uint64_t>(out.size(), node_->size - offset);
    if (*count != 0) CopyWhileWritten(out.data(), node_->memory.data() + offset, *count);
    return Status::Ok();
  }

  Status Write(uint64_t offset, ByteView data) override {
    const std::lock_guard lock(platform_.mutex_);
    const Status status = platform_.Enter(Operation::kWrite, generation_);
    if (platform_.crashed_) return status;
    if (!status.ok()) data = data.first(platform_.random_() % (data.size() + 1));
    Store(offset, data.size(), [&](std::byte* to) { std::memcpy(to, data.data(), data.size()); });
    return status;
  }

  Status Allocate(uint64_t bytes) override {
    const std::lock_guard lock(platform_.mutex_);
    const Status status = platform_.Enter(Operation::kAllocate, generation_);
    if (platform_.crashed_) return status;
    if (!status.ok()) bytes = platform_.random_() % (bytes / kSector + 1) * kSector;
    if (bytes > node_->size) node_->Truncate(bytes);
    return status;
  }

  Status Zero(uint64_t offset, uint64_t length) override {
    const std::lock_guard lock(platform_.mutex_);
    const Status status = platform_.Enter(Operation::kZero, generation_);
    if (platform_.crashed_) return status;
    if (!status.ok()) length = platform_.random_() % (length + 1);
    // What is zero already is not stored to: its page stays clean.
    const uint64_t begin = FindNonZero(node_->memory.data(), offset, std::min(offset + length, node_->size));
    const uint64_t end = FindNonZeroEnd(node_->memory.data(), begin, std::min(offset + length, node_->size));
    if (end > begin) std::memset(node_->memory.data() + begin, 0, end - begin);
    return status;
  }

  Status Sync() override {
    const std::lock_guard lock(platform_.mutex_);
    const Status status = platform_.Enter(Operation::kSyncFile, generation_);
    if (platform_.crashed_) return status;
    for (size_t page = 0; page < node_->memory.pages(); ++page) {
      if (!node_->memory.Dirty(page)) continue;
      if (!status.ok() && platform_.Chance(50)) {
        node_->memory.Clean(page);  // lost
      } else {
        node_->WritePage(page);
      }
    }
    if (status.ok()) node_->medium.resize(node_->size);
    return status;
  }

 private:
  template <typename Fill>
  void Store(uint64_t offset, uint64_t length, const Fill& fill) {
    if (length == 0) return;
    if (offset + length > node_->size) node_->Truncate(offset + length);
    fill(node_->memory.data() + offset);
  }

  CrashPlatform& platform_;
  const NodePtr node_;
  const uint64_t generation_;
};

class CrashPlatform::MemoryMapping final : public Mapping {
 public:
  // Requires the platform's mutex.
  MemoryMapping(CrashPlatform& platform, NodePtr node, uint64_t length)
      : Mapping(node->memory.data(), static_cast<size_t>(length)),
        platform_(platform),
        node_(std::move(node)),
        generation_(platform.generation_) {
    ++node_->mappings;
  }
  ~MemoryMapping() override {
    const std::lock_guard lock(platform_.mutex_);
    --node_->mappings;
  }

  Status Sync(uint64_t offset, uint64_t length) override {
    std::unique_lock lock(platform_.mutex_);
    const Status status = platform_.Enter(Operation::kSyncMapping, generation_);
    if (platform_.crashed_ || length == 0) return status;
    const size_t first = offset / kPage;
    const size_t behind = (offset + length + kPage - 1) / kPage;
    const size_t pause_at = platform_.during_sync_ ? first + platform_.random_() % (behind - first + 1) : behind + 1;
    for (size_t page = first; page <= behind; ++page) {
      if (page == pause_at) {
        const std::function<void()> during = platform_.during_sync_;
        lock.unlock();
        during();
        lock.lock();
        if (platform_.crashed_) return MachineIsOff();
      }
      if (page == behind || !node_->memory.Dirty(page)) continue;
      if (!status.ok() && platform_.Chance(50)) {
        node_->memory.Clean(page);  // lost
      } else {
        node_->WritePage(page);
      }
    }
    return status;
  }

  // Leaves clean pages clean: not every system makes them dirty by this, and a page that was lost would be saved by it.
  Status Populate(uint64_t, uint64_t) override {
    const std::lock_guard lock(platform_.mutex_);
    return platform_.Enter(Operation::kPopulate, generation_);
  }

 private:
  CrashPlatform& platform_;
  const NodePtr node_;
  const uint64_t generation_;
};

class CrashPlatform::MemoryLock final : public DirectoryLock {
 public:
  MemoryLock(CrashPlatform& platform, std::string path)
      : platform_(platform), path_(std::move(path)), generation_(platform.generation_) {}
  ~MemoryLock() override {
    const std::lock_guard lock(platform_.mutex_);
    if (generation_ == platform_.generation_) std::erase(platform_.locks_, path_);
  }

 private:
  CrashPlatform& platform_;
  const std::string path_;
  const uint64_t generation_;
};

CrashPlatform::CrashPlatform(uint64_t seed) : random_(seed), root_(Node::NewDirectory()) {}

CrashPlatform::~CrashPlatform() = default;

// ---- dying --------------------------------------------------------------------------------------------------------

void CrashPlatform::Crash(Death death, uint64_t seed) {
  const std::lock_guard lock(mutex_);
  if (!crashed_) Die(death, seed);
}

void CrashPlatform::CrashAt(Death death, uint64_t seed, uint64_t nth) {
  const std::lock_guard lock(mutex_);
  crash_at_call_ = calls_ + nth;
  crash_death_ = death;
  crash_seed_ = seed;
}

std::vector<CrashPlatform::NodePtr> CrashPlatform::FilesBelow(const NodePtr& root) {
  std::vector<NodePtr> files;
  for (const auto& [name, node] : root->names) {
    if (!node->is_directory) {
      files.push_back(node);
      continue;
    }
    for (NodePtr& file : FilesBelow(node)) files.push_back(std::move(file));
  }
  return files;
}

void CrashPlatform::Die(Death death, uint64_t seed) {
  crashed_ = true;
  crash_death_ = death;
  if (death == Death::kPowerLoss) {
    LosePower(seed);
    return;
  }
  for (const NodePtr& file : FilesBelow(root_)) {
    file->survived.resize(file->size);
    if (file->size != 0) CopyWhileWritten(file->survived.data(), file->memory.data(), file->size);
  }
}

void CrashPlatform::LosePower(uint64_t seed) {
  std::mt19937_64 random(seed);
  // How much reaches the medium: nothing, everything, or anything between, by sector or by page. Each is the only way
  // to some bugs.
  constexpr std::array<uint64_t, 8> kShares{0, 3, 20, 50, 50, 80, 97, 100};
  const uint64_t sectors = kShares[random() % kShares.size()];
  const uint64_t names = kShares[random() % kShares.size()];
  const bool whole_pages = random() % 4 == 0;
  for (const NodePtr& file : FilesBelow(root_)) {
    if (file->medium.size() != file->size) {  // an unsynced change of size: the old, the new, or on its way
      const uint64_t low = std::min<uint64_t>(file->medium.size(), file->size);
      const uint64_t steps = (std::max<uint64_t>(file->medium.size(), file->size) - low) / kSector;
      const uint64_t choice = random() % 3;
      if (choice == 1) file->medium.resize(file->size);
      if (choice == 2) file->medium.resize(low + random() % (steps + 1) * kSector);
    }
    // Some files were written before others.
    const uint64_t share = random() % 4 == 0 ? kShares[random() % kShares.size()] : sectors;
    size_t page_chosen = SIZE_MAX;
    bool keep_page = false;
    file->WriteSectors([&](size_t page) {
      if (!whole_pages) return random() % 100 < share;
      if (page != page_chosen) keep_page = random() % 100 < share;
      page_chosen = page;
      return keep_page;
    });
  }
  for (const NameChange& change : unsynced_names_) {
    if (random() % 100 < names) Commit(change, 0);
  }
  unsynced_names_.clear();
}

void CrashPlatform::Restart() {
  const std::lock_guard lock(mutex_);
  crash_at_call_ = 0;
  locks_.clear();
  ++generation_;
  ++process_;
  if (!crashed_) return;
  crashed_ = false;
  if (crash_death_ == Death::kProcess) {
    for (const NodePtr& file : FilesBelow(root_)) {
      assert(file->mappings == 0);
      file->size = file->survived.size();
      if (file->size != 0 && std::memcmp(file->memory.data(), file->survived.data(), file->size) != 0) {
        std::memcpy(file->memory.data(), file->survived.data(), file->size);
      }
    }
    return;
  }
  ++boot_;
  const std::function<void(Node&)> restore = [&restore](Node& directory) {
    directory.names = directory.names_on_medium;
    for (const auto& [name, node] : directory.names) {
      if (node->is_directory) {
        restore(*node);
      } else {
        node->ReadMedium();
      }
    }
  };
  restore(*root_);
}

void CrashPlatform::WriteBack(uint64_t seed, bool failing) {
  const std::lock_guard lock(mutex_);
  std::mt19937_64 random(seed);
  const uint64_t share = 10 + random() % 81;
  for (const NodePtr& file : FilesBelow(root_)) {
    if (!failing) {
      file->WriteSectors([&](size_t) { return random() % 100 < share; });
      continue;
    }
    for (size_t page = 0; page < file->memory.pages(); ++page) {
      if (file->memory.Dirty(page) && random() % 100 < share) file->memory.Clean(page);
    }
  }
}

// ---- failing ------------------------------------------------------------------------------------------------------

void CrashPlatform::Fail(Operation operation, Status failure, uint64_t nth, uint64_t times) {
  const std::lock_guard lock(mutex_);
  faults_.push_back({operation, std::move(failure), nth - 1, times});
}

void CrashPlatform::Heal() {
  const std::lock_guard lock(mutex_);
  faults_.clear();
}

void CrashPlatform::DuringSync(std::function<void()> what) {
  const std::lock_guard lock(mutex_);
  during_sync_ = std::move(what);
}

Status CrashPlatform::Enter(Operation operation) { return Enter(operation, generation_); }

Status CrashPlatform::Enter(Operation operation, uint64_t generation) {
  if (crashed_ || generation != generation_) return MachineIsOff();
  if (++calls_ == crash_at_call_) {
    Die(crash_death_, crash_seed_);
    return MachineIsOff();
  }
  for (auto fault = faults_.begin(); fault != faults_.end(); ++fault) {
    if (fault->operation != operation) continue;
    if (fault->after > 0) {
      --fault->after;
      continue;
    }
    ++failures_;
    Status failure = fault->failure;
    if (--fault->times == 0) faults_.erase(fault);
    return failure;
  }
  return Status::Ok();
}

// ---- names --------------------------------------------------------------------------------------------------------

Status CrashPlatform::Find(const std::string& path, NodePtr* node) const {
  NodePtr at = root_;
  for (size_t begin = 1; begin < path.size();) {
    const size_t end = std::min(path.find('/', begin), path.size());
    const auto entry = at->names.find(path.substr(begin, end - begin));
    if (entry == at->names.end()) return NoSuchFile(path);
    at = entry->second;
    begin = end + 1;
    if (begin < path.size() && !at->is_directory) return NoSuchFile(path);
  }
  *node = std::move(at);
  return Status::Ok();
}

Status CrashPlatform::FindParent(const std::string& path, NodePtr* directory, std::string* name) const {
  const size_t slash = path.rfind('/');
  *name = path.substr(slash + 1);
  return Find(path.substr(0, slash), directory);
}

void CrashPlatform::Change(NameChange change) {
  for (const NameEdit& edit : change) {
    if (edit.target) {
      edit.directory->names[edit.name] = edit.target;
    } else {
      edit.directory->names.erase(edit.name);
    }
  }
  unsynced_names_.push_back(std::move(change));
}

// Makes a change durable. Of the `older` changes before it, none may come after it for the same name.
void CrashPlatform::Commit(const NameChange& change, size_t older) {
  for (const NameEdit& edit : change) {
    if (edit.target) {
      edit.directory->names_on_medium[edit.name] = edit.target;
    } else {
      edit.directory->names_on_medium.erase(edit.name);
    }
    for (size_t i = 0; i < older; ++i) {
      std::erase_if(unsynced_names_[i], [&edit](const NameEdit& before) {
        return before.directory == edit.directory && before.name == edit.name;
      });
    }
  }
}

Status CrashPlatform::CreateDirectory(const std::string& path) {
  const std::lock_guard lock(mutex_);
  SEGWAL_TRY(Enter(Operation::kCreateDirectory));
  NodePtr directory;
  std::string name;
  SEGWAL_TRY(FindParent(path, &directory, &name));
  if (directory->names.contains(name)) return Status::Ok();
  Change({{directory, name, Node::NewDirectory()}});
  return Status::Ok();
}

Status CrashPlatform::List(const std::string& path, std::vector<DirectoryEntry>* entries) {
  const std::lock_guard lock(mutex_);
  SEGWAL_TRY(Enter(Operation::kList));
  NodePtr directory;
  SEGWAL_TRY(Find(path, &directory));
  entries->clear();
  for (const auto& [name, node] : directory->names) entries->push_back({name, node->is_directory, node->size});
  return Status::Ok();
}

Status CrashPlatform::Rename(const std::string& from, const std::string& to) {
  const std::lock_guard lock(mutex_);
  SEGWAL_TRY(Enter(Operation::kRename));
  NodePtr old_directory;
  NodePtr new_directory;
  std::string old_name;
  std::string new_name;
  NodePtr node;
  SEGWAL_TRY(Find(from, &node));
  SEGWAL_TRY(FindParent(from, &old_directory, &old_name));
  SEGWAL_TRY(FindParent(to, &new_directory, &new_name));
  Change({{old_directory, old_name, nullptr}, {new_directory, new_name, node}});
  return Status::Ok();
}

Status CrashPlatform::Remove(const std::string& path) {
  const std::lock_guard lock(mutex_);
  SEGWAL_TRY(Enter(Operation::kRemove));
  NodePtr node;
  SEGWAL_TRY(Find(path, &node));
  NodePtr directory;
  std::string name;
  SEGWAL_TRY(FindParent(path, &directory, &name));
  Change({{directory, name, nullptr}});
  return Status::Ok();
}

Status CrashPlatform::SyncDirectory(const std::string& path) {
  const std::lock_guard lock(mutex_);
  const Status status = Enter(Operation::kSyncDirectory);
  if (crashed_) return status;
  NodePtr directory;
  SEGWAL_TRY(Find(path, &directory));
  for (size_t i = 0; i < unsynced_names_.size(); ++i) {
    const bool here = std::ranges::any_of(unsynced_names_[i],
                                          [&directory](const NameEdit& edit) { return edit.directory == directory; });
    if (!here || (!status.ok() && Chance(50))) continue;
    const NameChange change = std::move(unsynced_names_[i]);
    unsynced_names_[i].clear();
    Commit(change, i);
  }
  std::erase_if(unsynced_names_, [](const NameChange& change) { return change.empty(); });
  return status;
}

Status CrashPlatform::CanonicalPath(const std::string& path, std::string* canonical) {
  *canonical = path;
  return Status::Ok();
}

Status CrashPlatform::Open(const std::string& path, OpenMode mode, std::unique_ptr<File>* file) {
  const std::lock_guard lock(mutex_);
  SEGWAL_TRY(Enter(Operation::kOpen));
  NodePtr node;
  const Status found = Find(path, &node);
  if (mode == OpenMode::kCreate) {
    if (found.ok()) return Status(ErrorCode::kIo, path + " exists", 17);
    NodePtr directory;
    std::string name;
    SEGWAL_TRY(FindParent(path, &directory, &name));
    node = std::make_shared<Node>();
    Change({{directory, name, node}});
  } else if (!found.ok()) {
    return found;
  }
  *file = std::make_unique<MemoryFile>(*this, node);
  return Status::Ok();
}

Status CrashPlatform::OpenForRecycling(const std::string& path, std::unique_ptr<File>* file) {
  const std::lock_guard lock(mutex_);
  SEGWAL_TRY(Enter(Operation::kOpen));
  NodePtr node;
  SEGWAL_TRY(Find(path, &node));
  if (node->mappings != 0) return Status(ErrorCode::kLocked, path + " is mapped");
  *file = std::make_unique<MemoryFile>(*this, node);
  return Status::Ok();
}

Status CrashPlatform::Map(std::unique_ptr<File> file, uint64_t length, bool /*writable*/,
                          std::unique_ptr<Mapping>* mapping) {
  const std::lock_guard lock(mutex_);
  SEGWAL_TRY(Enter(Operation::kMap));
  const NodePtr node = static_cast<MemoryFile&>(*file).node();  // every File here came from Open
  if (node->size < length) return Status(ErrorCode::kIo, "the file is shorter than what is to be mapped");
  *mapping = std::make_unique<MemoryMapping>(*this, node, length);
  return Status::Ok();
}

Status CrashPlatform::Lock(const std::string& path, const std::string& note, std::unique_ptr<DirectoryLock>* lock) {
  const std::lock_guard guard(mutex_);
  SEGWAL_TRY(Enter(Operation::kLock));
  NodePtr directory;
  std::string name;
  SEGWAL_TRY(FindParent(path, &directory, &name));
  if (!directory->names.contains(name)) Change({{directory, name, std::make_shared<Node>()}});
  if (std::ranges::count(locks_, path) != 0) return Status(ErrorCode::kLocked, path + " is held; " + note);
  locks_.push_back(path);
  *lock = std::make_unique<MemoryLock>(*this, path);
  return Status::Ok();
}

// ---- the rest -----------------------------------------------------------------------------------------------------

uint64_t CrashPlatform::Monotonic() const {
  return static_cast<uint64_t>(std::chrono::steady_clock::now().time_since_epoch() / std::chrono::nanoseconds(1));
}

BootId CrashPlatform::CurrentBoot() const {
  BootId boot{};
  if (!boot_hidden_) std::memcpy(boot.data(), &boot_, sizeof boot_);
  return boot;
}

Status CrashPlatform::Random(std::span<std::byte> out) {
  const std::lock_guard lock(mutex_);
  SEGWAL_TRY(Enter(Operation::kRandom));
  for (std::byte& byte : out) byte = static_cast<std::byte>(random_());
  return Status::Ok();
}

void CrashPlatform::Damage(const std::string& path, uint64_t offset, ByteView bytes) {
  const std::lock_guard lock(mutex_);
  NodePtr node;
  if (!Find(path, &node).ok() || offset + bytes.size() > node->size) return;
  std::memcpy(node->memory.data() + offset, bytes.data(), bytes.size());
  if (offset + bytes.size() <= node->medium.size()) {
    std::memcpy(node->medium.data() + offset, bytes.data(), bytes.size());
  }
}

uint64_t CrashPlatform::Fingerprint() {
  const std::lock_guard lock(mutex_);
  uint32_t crc = 0;
  const std::function<void(const Node&)> add = [&](const Node& directory) {
    for (const auto& [name, node] : directory.names) {
      if (name == "LOCK") continue;
      crc = ExtendCrc32c(crc, name.data(), name.size() + 1);
      crc = ExtendCrc32c(crc, &node->size, sizeof node->size);
      if (node->is_directory) {
        add(*node);
      } else if (node->size != 0) {
        crc = ExtendCrc32c(crc, node->memory.data(), node->size);
      }
    }
  };
  add(*root_);
  return crc;
}

std::optional<std::vector<std::byte>> CrashPlatform::Live(const std::string& path) {
  const std::lock_guard lock(mutex_);
  NodePtr node;
  if (!Find(path, &node).ok() || node->is_directory) return std::nullopt;
  std::vector<std::byte> bytes(node->size);
  if (!bytes.empty()) CopyWhileWritten(bytes.data(), node->memory.data(), bytes.size());
  return bytes;
}

std::optional<std::vector<std::byte>> CrashPlatform::OnMedium(const std::string& path) {
  const std::lock_guard lock(mutex_);
  NodePtr at = root_;
  for (size_t begin = 1; begin < path.size();) {
    const size_t end = std::min(path.find('/', begin), path.size());
    const auto entry = at->names_on_medium.find(path.substr(begin, end - begin));
    if (entry == at->names_on_medium.end()) return std::nullopt;
    at = entry->second;
    begin = end + 1;
  }
  if (at->is_directory) return std::nullopt;
  return at->medium;
}

}  // namespace segwal
