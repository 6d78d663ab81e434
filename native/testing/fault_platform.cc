#include "testing/fault_platform.h"

#include <algorithm>

namespace segwal {
namespace {

class FaultFile final : public File {
 public:
  FaultFile(FaultPlatform& platform, std::string path, std::unique_ptr<File> real)
      : platform_(platform), path_(std::move(path)), real_(std::move(real)) {}

  Status Size(uint64_t* bytes) override { return real_->Size(bytes); }
  Status Read(uint64_t offset, std::span<std::byte> out, size_t* count) override {
    SEGWAL_TRY(platform_.Judge({Operation::kRead, path_, offset, out.size()}));
    return real_->Read(offset, out, count);
  }
  Status Write(uint64_t offset, ByteView data) override {
    SEGWAL_TRY(platform_.Judge({Operation::kWrite, path_, offset, data.size()}));
    return real_->Write(offset, data);
  }
  Status Allocate(uint64_t bytes) override {
    SEGWAL_TRY(platform_.Judge({Operation::kAllocate, path_, 0, bytes}));
    return real_->Allocate(bytes);
  }
  Status Zero(uint64_t offset, uint64_t length) override {
    SEGWAL_TRY(platform_.Judge({Operation::kZero, path_, offset, length}));
    return real_->Zero(offset, length);
  }
  Status Sync() override {
    SEGWAL_TRY(platform_.Judge({Operation::kSyncFile, path_}));
    return real_->Sync();
  }

  const std::string& path() const { return path_; }
  std::unique_ptr<File> TakeReal() { return std::move(real_); }

 private:
  FaultPlatform& platform_;
  const std::string path_;
  std::unique_ptr<File> real_;
};

class FaultMapping final : public Mapping {
 public:
  FaultMapping(FaultPlatform& platform, std::string path, std::unique_ptr<Mapping> real)
      : Mapping(real->data(), real->size(), real->failure()),
        platform_(platform),
        path_(std::move(path)),
        real_(std::move(real)) {}

  Status Sync(uint64_t offset, uint64_t length) override {
    SEGWAL_TRY(platform_.Judge({Operation::kSyncMapping, path_, offset, length, data()}));
    return real_->Sync(offset, length);
  }
  void Fetch(uint64_t offset, uint64_t length) override {
    if (platform_.Judge({Operation::kFetch, path_, offset, length}).ok()) real_->Fetch(offset, length);
  }
  void LayZeros(uint64_t offset, uint64_t length) override {
    if (platform_.Judge({Operation::kLayZeros, path_, offset, length}).ok()) real_->LayZeros(offset, length);
  }
  Status Populate(uint64_t offset, uint64_t length) override {
    SEGWAL_TRY(platform_.Judge({Operation::kPopulate, path_, offset, length}));
    return real_->Populate(offset, length);
  }

 private:
  FaultPlatform& platform_;
  const std::string path_;
  const std::unique_ptr<Mapping> real_;
};

}  // namespace

void FaultPlatform::FailFrom(Operation operation, Status failure, int nth) {
  const std::lock_guard lock(mutex_);
  faults_.push_back({operation, std::move(failure), nth - 1, true, {}});
}

void FaultPlatform::FailOnce(Operation operation, Status failure, int nth, std::string path) {
  const std::lock_guard lock(mutex_);
  faults_.push_back({operation, std::move(failure), nth - 1, false, std::move(path)});
}

void FaultPlatform::Heal() {
  const std::lock_guard lock(mutex_);
  faults_.clear();
}

void FaultPlatform::Hold(Operation operation, int nth) {
  const std::lock_guard lock(mutex_);
  held_.push_back({operation, nth - 1});
}

void FaultPlatform::WaitUntilHeld() {
  std::unique_lock lock(mutex_);
  changed_.wait(lock, [this] { return waiting_ > 0; });
}

void FaultPlatform::Release() {
  const std::lock_guard lock(mutex_);
  held_.clear();
  changed_.notify_all();
}

void FaultPlatform::Watch(std::function<void(const Call&)> watch) {
  const std::lock_guard lock(mutex_);
  watch_ = std::move(watch);
}

void FaultPlatform::WatchCoarseClock(std::function<void()> watch) {
  const std::lock_guard lock(mutex_);
  watch_clock_ = std::move(watch);
}

uint64_t FaultPlatform::CoarseNow() const {
  std::function<void()> watch;
  {
    const std::lock_guard lock(mutex_);
    watch = watch_clock_;
  }
  if (watch) watch();
  return time_us_ != 0 ? time_us_.load() : real_.CoarseNow();
}

int FaultPlatform::CallsOf(Operation operation) const {
  const std::lock_guard lock(mutex_);
  return counts_[static_cast<size_t>(operation)];
}

Status FaultPlatform::Judge(const Call& call) {
  std::unique_lock lock(mutex_);
  ++counts_[static_cast<size_t>(call.operation)];
  const auto held = std::ranges::find(held_, call.operation, &Held::operation);
  if (held != held_.end() && held->after-- <= 0) {
    ++waiting_;
    changed_.notify_all();
    changed_.wait(lock, [this] { return held_.empty(); });
    --waiting_;
  }
  if (watch_) watch_(call);
  for (auto fault = faults_.begin(); fault != faults_.end(); ++fault) {
    if (fault->operation != call.operation || (!fault->path.empty() && fault->path != call.path)) continue;
    if (fault->after-- > 0) continue;
    fault->after = 0;
    Status failure = fault->failure;
    if (!fault->lasting) faults_.erase(fault);
    return failure;
  }
  return Status::Ok();
}

Status FaultPlatform::CreateDirectory(const std::string& path) {
  SEGWAL_TRY(Judge({Operation::kCreateDirectory, path}));
  return real_.CreateDirectory(path);
}

Status FaultPlatform::List(const std::string& path, std::vector<DirectoryEntry>* entries) {
  SEGWAL_TRY(Judge({Operation::kList, path}));
  return real_.List(path, entries);
}

Status FaultPlatform::Rename(const std::string& from, const std::string& to) {
  SEGWAL_TRY(Judge({Operation::kRename, to}));
  return real_.Rename(from, to);
}

Status FaultPlatform::Remove(const std::string& path) {
  SEGWAL_TRY(Judge({Operation::kRemove, path}));
  return real_.Remove(path);
}

Status FaultPlatform::SyncDirectory(const std::string& path) {
  SEGWAL_TRY(Judge({Operation::kSyncDirectory, path}));
  return real_.SyncDirectory(path);
}

Status FaultPlatform::CanonicalPath(const std::string& path, std::string* canonical) {
  return real_.CanonicalPath(path, canonical);
}

Status FaultPlatform::Open(const std::string& path, OpenMode mode, std::unique_ptr<File>* file) {
  SEGWAL_TRY(Judge({Operation::kOpen, path}));
  std::unique_ptr<File> real;
  SEGWAL_TRY(real_.Open(path, mode, &real));
  *file = std::make_unique<FaultFile>(*this, path, std::move(real));
  return Status::Ok();
}

Status FaultPlatform::OpenForRecycling(const std::string& path, std::unique_ptr<File>* file) {
  SEGWAL_TRY(Judge({Operation::kOpen, path}));
  std::unique_ptr<File> real;
  SEGWAL_TRY(real_.OpenForRecycling(path, &real));
  *file = std::make_unique<FaultFile>(*this, path, std::move(real));
  return Status::Ok();
}

Status FaultPlatform::Map(std::unique_ptr<File> file, uint64_t length, bool writable,
                          std::unique_ptr<Mapping>* mapping) {
  auto& own = static_cast<FaultFile&>(*file);  // every File here came from Open
  SEGWAL_TRY(Judge({Operation::kMap, own.path(), 0, length}));
  std::unique_ptr<Mapping> real;
  SEGWAL_TRY(real_.Map(own.TakeReal(), length, writable, &real));
  *mapping = std::make_unique<FaultMapping>(*this, own.path(), std::move(real));
  return Status::Ok();
}

Status FaultPlatform::Lock(const std::string& path, const std::string& note, std::unique_ptr<DirectoryLock>* lock) {
  SEGWAL_TRY(Judge({Operation::kLock, path}));
  return real_.Lock(path, note, lock);
}

Status FaultPlatform::Random(std::span<std::byte> out) {
  SEGWAL_TRY(Judge({Operation::kRandom, ""}));
  return real_.Random(out);
}

}  // namespace segwal
