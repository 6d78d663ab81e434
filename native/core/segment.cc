#include "core/segment.h"

#include <algorithm>
#include <array>
#include <cerrno>

namespace segwal {

Status CheckMemory(const MappingFailure& failure, uint64_t id) {
  if (!failure.Happened()) return Status::Ok();
  return Status(ErrorCode::kIo,
                "segment " + std::to_string(id) +
                    ": its file could not be read or written through memory any more; has another process truncated "
                    "it, has the disk failed, or is it full?",
                EIO);
}

Segment::Segment(const SegmentIdentity& identity, std::unique_ptr<Mapping> mapping)
    : mapping_(std::move(mapping)),
      pointer_(&AtomicAt<uint64_t>(PointerWord(mapping_->data()))),
      identity_(identity),
      salt_checksum_(SaltChecksum(identity.salt)) {
  mapping_->failure()->SetAlarm(&limit_, kFailedLimit);
}

Status Segment::Sync(uint64_t offset, uint64_t length) {
  SEGWAL_TRY(mapping_->Sync(offset, length));
  return CheckMemory();
}

Status Segment::Touch(uint64_t begin, uint64_t end) {
  end = std::min(end, size());
  return begin < end ? mapping_->Populate(begin, end - begin) : Status::Ok();
}

Status Segment::CheckMemory() const { return segwal::CheckMemory(*failure(), id()); }

void Segment::SetLimit(uint64_t limit) {
  uint64_t found = limit_.load(std::memory_order_relaxed);
  while (found != kFailedLimit &&
         !limit_.compare_exchange_weak(found, limit, std::memory_order_seq_cst, std::memory_order_relaxed)) {
  }
}

Status Segment::Create(Platform& platform, const LogDirectory& directory, const SegmentIdentity& identity,
                       uint64_t window, std::unique_ptr<Segment>* segment) {
  const std::string path = directory.SegmentPath(identity.segment_id);
  const uint64_t touched = std::min(window, identity.segment_size);
  std::unique_ptr<Segment> made;
  const auto make = [&]() -> Status {
    std::unique_ptr<File> file;
    SEGWAL_TRY(platform.Open(path, OpenMode::kCreate, &file));
    SEGWAL_TRY(file->Allocate(identity.segment_size));
    SEGWAL_TRY(file->Sync());
    SEGWAL_TRY(platform.SyncDirectory(directory.SegmentsPath()));
    std::unique_ptr<Mapping> mapping;
    SEGWAL_TRY(platform.Map(std::move(file), identity.segment_size, true, &mapping));
    made.reset(new Segment(identity, std::move(mapping)));
    return made->PrepareWindow(0, touched);
  };
  if (Status status = make(); !status.ok()) {
    // Nothing was ever in it, and on a full disk the room matters. Should the name stay behind all the same, the next
    // open takes care of it.
    made.reset();
    static_cast<void>(platform.Remove(path));
    return status;
  }
  made->window_end = touched;
  *segment = std::move(made);
  return Status::Ok();
}

namespace {

// Takes what the file was out of it, durably. Its frames stay, and never mean anything again: a frame's checksum begins
// with the salt, and is linear in it, so that one that is right under a salt is wrong under every other one whose own
// checksum differs. For that the frames must all be of the one life whose salt is compared: what that life left unused
// may be of the life before it, and is zeroed.
Status EmptyForRecycling(const LogDirectory& directory, uint64_t old_id, const SegmentIdentity& identity, File* file) {
  SegmentHeader old;
  SEGWAL_TRY(directory.ReadSegmentHeader(old_id, file, &old));
  if (old.state != SectorState::kValid || old.identity.segment_id != old_id || !old.seal ||
      old.file_size != identity.segment_size || SaltChecksum(old.identity.salt) == SaltChecksum(identity.salt)) {
    return Status(ErrorCode::kLocked, directory.RecyclablePath(old_id) + " cannot be used again");
  }
  SEGWAL_TRY(file->Zero(old.seal->end_offset, identity.segment_size - old.seal->end_offset));
  alignas(8) std::array<std::byte, kSegmentHeaderSize> header{};
  StoreSpare(header.data(), identity.segment_id);
  SEGWAL_TRY(file->Write(0, header));
  return file->Sync();
}

}  // namespace

Status Segment::Recycle(Platform& platform, const LogDirectory& directory, uint64_t old_id,
                        const SegmentIdentity& identity, uint64_t window, std::unique_ptr<Segment>* segment) {
  const std::string path = directory.SegmentPath(identity.segment_id);
  const std::string old_path = directory.RecyclablePath(old_id);
  const uint64_t touched = std::min(window, identity.segment_size);
  std::unique_ptr<Segment> made;
  const auto make = [&]() -> Status {
    std::unique_ptr<File> file;
    SEGWAL_TRY(platform.OpenForRecycling(old_path, &file));
    SEGWAL_TRY(EmptyForRecycling(directory, old_id, identity, file.get()));
    // Under the old name it is removed by the next open, under the new one it is a spare: there is no third.
    SEGWAL_TRY(platform.Rename(old_path, path));
    SEGWAL_TRY(platform.SyncDirectory(directory.SegmentsPath()));
    std::unique_ptr<Mapping> mapping;
    SEGWAL_TRY(platform.Map(std::move(file), identity.segment_size, true, &mapping));
    made.reset(new Segment(identity, std::move(mapping)));
    made->identity_.flags |= kSegmentRecycled;
    made->fresh_ = false;
    made->cached_ = true;
    SEGWAL_TRY(made->mapping_->Populate(0, kSegmentHeaderSize));
    return made->PrepareWindow(kSegmentHeaderSize, touched);
  };
  if (Status status = make(); !status.ok()) {
    made.reset();
    static_cast<void>(platform.Remove(path));
    return status;
  }
  made->window_end = touched;
  *segment = std::move(made);
  return Status::Ok();
}

Status Segment::Resume(Platform& platform, const LogDirectory& directory, const SegmentIdentity& identity,
                       uint64_t end_offset, uint64_t count, uint64_t window, std::unique_ptr<Segment>* segment) {
  std::unique_ptr<File> file;
  SEGWAL_TRY(platform.Open(directory.SegmentPath(identity.segment_id), OpenMode::kReadWrite, &file));
  std::unique_ptr<Mapping> mapping;
  SEGWAL_TRY(platform.Map(std::move(file), identity.segment_size, true, &mapping));
  segment->reset(new Segment(identity, std::move(mapping)));
  Segment& resumed = **segment;
  const uint64_t touched = std::min(end_offset + window, identity.segment_size);
  resumed.fresh_ = false;
  SEGWAL_TRY(resumed.PrepareWindow(end_offset, touched));
  resumed.window_end = touched;
  StoreOrderlyEnd(resumed.data(), identity, 0);
  ClearSpare(resumed.data());  // a power cut may have kept the identity and not this
  StoreLive(resumed.data(), {MakePointer(end_offset, count), platform.CurrentBoot(), platform.ProcessId()});
  // Durable before the first append: a power cut must not leave an orderly end that describes an older log.
  return resumed.Sync(0, kSegmentHeaderSize);
}

Status Segment::PrepareWindow(uint64_t begin, uint64_t end) {
  const uint64_t behind = fresh_ ? end : std::min(end + kPageSize, size());
  if (!cached_) mapping_->LayZeros(begin, behind - begin);
  SEGWAL_TRY(mapping_->Populate(begin, behind - begin));
  if (fresh_) return Status::Ok();
  const uint64_t odd = FindNonZero(data(), begin, behind);
  std::memset(data() + odd, 0, behind - odd);
  return CheckMemory();
}

void Segment::Activate(uint64_t base_sequence, uint64_t created_us, const BootId& boot, uint32_t pid) {
  identity_.base_sequence = base_sequence;
  identity_.created_us = created_us;
  StoreLive(data(), {MakePointer(kSegmentHeaderSize, 0), boot, pid});
  StoreIdentity(data(), identity_);
  ClearSpare(data());
}

}  // namespace segwal
