#include "durable_loop.h"

#include <algorithm>
#include <atomic>
#include <cstddef>
#include <filesystem>
#include <memory>
#include <optional>
#include <thread>
#include <utility>

#include "core/crc32c/crc32c.h"
#include "core/pause_cpu.h"
#include "platform/platform.h"

#ifdef __linux__
#include <fcntl.h>
#include <poll.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cerrno>
#endif

namespace segwal {
namespace {

// Behind its end the loop starts over.
constexpr uint64_t kFileBytes = uint64_t{256} << 20;
// Of new files, so many stay.
constexpr uint64_t kKept = 4;
// So much is made ready at a time, as the allocator of the log does. Its thread does it beside the appends; here it is
// part of the loop.
constexpr uint64_t kReadyBytes = uint64_t{1} << 20;

constexpr uint64_t kLargeGroup = uint64_t{1} << 20;

uint64_t FileBytes(const DurableLoop& loop) { return loop.new_file_bytes != 0 ? loop.new_file_bytes : kFileBytes; }

class Target {
 public:
  virtual ~Target() = default;
  virtual Status Store(uint64_t offset, ByteView record) = 0;
  virtual Status Sync(uint64_t offset, uint64_t length) = 0;
  // When FileBytes are full. The offsets begin at 0 again.
  virtual Status StartOver() { return Status::Ok(); }
};

class MappedTarget : public Target {
 public:
  static Status Open(const DurableLoop& loop, std::unique_ptr<Target>* target) {
    auto opened = std::make_unique<MappedTarget>();
    opened->path_ = loop.path;
    opened->new_files_ = loop.new_file_bytes != 0;
    opened->file_bytes_ = FileBytes(loop);
    opened->large_groups_ = loop.group * loop.frame_bytes >= kLargeGroup;
    SEGWAL_TRY(opened->NewFile());
    *target = std::move(opened);
    return Status::Ok();
  }

  Status StartOver() override { return new_files_ ? NewFile() : Status::Ok(); }

  Status Store(uint64_t offset, ByteView record) override {
    if (offset + record.size() > ready_) {
      const uint64_t more = std::min(std::max(kReadyBytes, record.size()), file_bytes_ - ready_);
      if (!large_groups_) mapping_->LayZeros(ready_, more);
      SEGWAL_TRY(mapping_->Populate(ready_, more));
      ready_ += more;
    }
    crc_ = CopyAndCrc32c(crc_, mapping_->data() + offset, record.data(), record.size());
    return Status::Ok();
  }

  Status Sync(uint64_t offset, uint64_t length) override { return mapping_->Sync(offset, length); }

 private:
  std::string PathOf(uint64_t number) const { return new_files_ ? path_ + std::to_string(number) : path_; }

  Status NewFile() {
    Platform& platform = Platform::Default();
    mapping_.reset();
    if (made_ >= kKept) SEGWAL_TRY(platform.Remove(PathOf(made_ - kKept)));
    const std::string path = PathOf(made_++);
    std::unique_ptr<File> file;
    SEGWAL_TRY(platform.Open(path, OpenMode::kCreate, &file));
    SEGWAL_TRY(file->Allocate(file_bytes_));
    SEGWAL_TRY(file->Sync());
    SEGWAL_TRY(platform.SyncDirectory(std::filesystem::path(path).parent_path().string()));
    ready_ = 0;
    SEGWAL_TRY(platform.Map(std::move(file), file_bytes_, true, &mapping_));
#ifdef __linux__
    if (large_groups_) ::madvise(mapping_->data(), mapping_->size(), MADV_NORMAL);
#endif
    return Status::Ok();
  }

  std::string path_;
  bool new_files_ = false;
  // The page cache may hold the file in pieces as large as it likes. It makes the loop faster, and a small group would
  // write all of such a piece.
  bool large_groups_ = false;
  uint64_t file_bytes_ = 0;
  uint64_t made_ = 0;
  std::unique_ptr<Mapping> mapping_;
  uint64_t ready_ = 0;
  uint32_t crc_ = 0;
};

// The records of a group are gathered in memory, and go out in one write.
class WrittenTarget : public Target {
 public:
  static Status Open(const std::string& path, std::unique_ptr<Target>* target) {
    auto opened = std::make_unique<WrittenTarget>();
    SEGWAL_TRY(Platform::Default().Open(path, OpenMode::kCreate, &opened->file_));
    SEGWAL_TRY(opened->file_->Allocate(kFileBytes));
#ifdef __linux__
    opened->descriptor_ = ::open(path.c_str(), O_WRONLY | O_CLOEXEC);
    if (opened->descriptor_ < 0) return Status(ErrorCode::kIo, "open failed", errno);
#endif
    *target = std::move(opened);
    return Status::Ok();
  }
#ifdef __linux__
  ~WrittenTarget() override { ::close(descriptor_); }
#endif

  Status Store(uint64_t offset, ByteView record) override {
    if (gathered_.empty()) begin_ = offset;
    gathered_.resize(offset - begin_ + record.size());
    crc_ = CopyAndCrc32c(crc_, gathered_.data() + (offset - begin_), record.data(), record.size());
    return Status::Ok();
  }

  Status Sync(uint64_t, uint64_t) override {
    SEGWAL_TRY(file_->Write(begin_, gathered_));
    gathered_.clear();
#ifdef __linux__
    return ::fdatasync(descriptor_) == 0 ? Status::Ok() : Status(ErrorCode::kIo, "fdatasync failed", errno);
#else
    return file_->Sync();
#endif
  }

 private:
  std::unique_ptr<File> file_;
  std::vector<std::byte> gathered_;
  uint64_t begin_ = 0;
  uint32_t crc_ = 0;
#ifdef __linux__
  int descriptor_ = -1;
#endif
};

// Syncs a target on a thread of its own, as a log has to that must not hold up who appends.
class SyncThread {
 public:
  // `on_synced` is called on that thread.
  SyncThread(Target& target, std::function<void(const Status&)> on_synced)
      : target_(target), on_synced_(std::move(on_synced)), thread_([this] { Run(); }) {}
  ~SyncThread() {
    Ask(kStop);
    thread_.join();
  }

  // Not before the one before has been told of.
  void Sync(uint64_t offset, uint64_t length) {
    offset_ = offset;
    length_ = length;
    Ask(kSync);
  }

 private:
  enum Word : uint32_t { kNothing, kSync, kStop };
  // The next group comes sooner than a thread is woken. The log's own thread looks as long.
  static constexpr uint64_t kLookNs = 40'000;

  void Ask(Word word) {
    asked_.store(word, std::memory_order_release);
    asked_.notify_one();
  }

  void Run() {
    Platform& platform = Platform::Default();
    for (;;) {
      const uint64_t until = platform.Monotonic() + kLookNs;
      while (asked_.load(std::memory_order_acquire) == kNothing && platform.Monotonic() < until) PauseCpu();
      asked_.wait(kNothing, std::memory_order_acquire);
      if (asked_.exchange(kNothing, std::memory_order_acquire) == kStop) return;
      on_synced_(target_.Sync(offset_, length_));
    }
  }

  Target& target_;
  const std::function<void(const Status&)> on_synced_;
  std::atomic<uint32_t> asked_{kNothing};
  uint64_t offset_ = 0;
  uint64_t length_ = 0;
  std::thread thread_;
};

#ifdef __linux__
// Another target, synced by another thread, while this one sleeps as an event loop does: in a poll, until a descriptor
// can be read. Nothing that has to keep an event loop free can do with less.
class TargetSyncedElsewhere : public Target {
 public:
  static Status Open(const DurableLoop& loop, std::unique_ptr<Target>* target) {
    auto opened = std::make_unique<TargetSyncedElsewhere>();
    SEGWAL_TRY(MappedTarget::Open(loop, &opened->target_));
    opened->done_ = ::eventfd(0, EFD_CLOEXEC);
    if (opened->done_ < 0) return Status(ErrorCode::kIo, "eventfd failed", errno);
    opened->thread_.emplace(*opened->target_, [self = opened.get()](const Status& result) {
      self->result_ = result;
      const uint64_t one = 1;
      static_cast<void>(::write(self->done_, &one, sizeof one));
    });
    *target = std::move(opened);
    return Status::Ok();
  }
  ~TargetSyncedElsewhere() override {
    thread_.reset();
    if (done_ >= 0) ::close(done_);
  }

  Status Store(uint64_t offset, ByteView record) override { return target_->Store(offset, record); }
  Status StartOver() override { return target_->StartOver(); }

  Status Sync(uint64_t offset, uint64_t length) override {
    thread_->Sync(offset, length);
    pollfd waited_for{.fd = done_, .events = POLLIN, .revents = 0};
    while (::poll(&waited_for, 1, -1) < 0 && errno == EINTR) {
    }
    uint64_t count = 0;
    if (::read(done_, &count, sizeof count) != sizeof count) return Status(ErrorCode::kIo, "read failed", errno);
    return result_;
  }

 private:
  std::unique_ptr<Target> target_;
  int done_ = -1;
  Status result_;
  std::optional<SyncThread> thread_;
};
#endif

Status Open(const DurableLoop& loop, std::unique_ptr<Target>* target) {
  switch (loop.sync_by) {
    case SyncBy::kMapping: return MappedTarget::Open(loop, target);
    case SyncBy::kWrite: return WrittenTarget::Open(loop.path, target);
    case SyncBy::kMappingElsewhere: break;
  }
#ifdef __linux__
  return TargetSyncedElsewhere::Open(loop, target);
#else
  return Status(ErrorCode::kIo, "only on Linux");
#endif
}

class GroupsByHand : public DurableGroups {
 public:
  Status Open(const DurableLoop& loop, std::function<void(const Status&)> on_durable) {
    loop_ = loop;
    SEGWAL_TRY(MappedTarget::Open(loop, &target_));
    thread_.emplace(*target_, std::move(on_durable));
    return Status::Ok();
  }

  Status Store(ByteView record) override {
    if (end_ + loop_.frame_bytes > FileBytes(loop_)) {
      SEGWAL_TRY(target_->StartOver());
      begin_ = end_ = 0;
    }
    SEGWAL_TRY(target_->Store(end_, record));
    end_ += loop_.frame_bytes;
    return Status::Ok();
  }

  void Sync() override {
    const uint64_t begin = std::exchange(begin_, end_);
    thread_->Sync(begin, end_ - begin);
  }

 private:
  DurableLoop loop_;
  std::unique_ptr<Target> target_;
  uint64_t begin_ = 0;
  uint64_t end_ = 0;
  std::optional<SyncThread> thread_;
};

}  // namespace

Status DurableGroups::Open(const DurableLoop& loop, std::function<void(const Status&)> on_durable,
                           std::unique_ptr<DurableGroups>* groups) {
  auto opened = std::make_unique<GroupsByHand>();
  SEGWAL_TRY(opened->Open(loop, std::move(on_durable)));
  *groups = std::move(opened);
  return Status::Ok();
}

Status RunDurableLoop(const DurableLoop& loop, std::vector<double>* group_ns) {
  const uint64_t group_bytes = loop.group * loop.frame_bytes;
  const uint64_t file_bytes = FileBytes(loop);
  if (loop.record_bytes > loop.frame_bytes || group_bytes == 0 || group_bytes > file_bytes) {
    return Status(ErrorCode::kRecordTooLarge, "a group has to be smaller than the file");
  }
  std::unique_ptr<Target> target;
  SEGWAL_TRY(Open(loop, &target));
  const std::vector<std::byte> record(loop.record_bytes, std::byte{0x5a});
  Platform& platform = Platform::Default();
  uint64_t offset = 0;
  uint64_t end = UINT64_MAX;
  for (uint64_t began = platform.Monotonic(); began < end;) {
    if (offset + group_bytes > file_bytes) {
      SEGWAL_TRY(target->StartOver());
      offset = 0;
    }
    for (uint64_t i = 0; i < loop.group; ++i) SEGWAL_TRY(target->Store(offset + i * loop.frame_bytes, record));
    SEGWAL_TRY(target->Sync(offset, group_bytes));
    offset += group_bytes;
    const uint64_t now = platform.Monotonic();
    if (end == UINT64_MAX) {
      end = now + static_cast<uint64_t>(loop.seconds * 1e9);  // the first sync brings the file itself to the disk
    } else {
      group_ns->push_back(static_cast<double>(now - began));
    }
    began = now;
  }
  return Status::Ok();
}

}  // namespace segwal
