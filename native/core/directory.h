// The directory of a log: names, and the files that are not segments.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "core/format.h"
#include "platform/platform.h"

namespace segwal {

// metadata/wal.meta. Rewritten atomically; what it says was durable before anything relied on it.
struct LogMeta {
  LogId log_id{};
  uint64_t segment_size = 0;
  uint64_t created_us = 0;
  uint64_t first_segment = 1;   // lower ids were deleted on purpose
  uint64_t first_sequence = 1;  // base_sequence of first_segment
  // The last record at the last orderly close, all durable. Proof that stands outside the segments: without it the loss
  // of the whole last segment would look like a log that ends before it.
  uint64_t durable_sequence = 0;
  // How often the end of the log was truncated, and to which record the last time. `truncating`: that is still under
  // way, and whoever opens the log finishes it. It is what decides: once it is durable, the log ends there.
  uint64_t truncations = 0;
  uint64_t truncated_to = 0;
  bool truncating = false;
};

// The first page of a segment file. Nothing of it is believed that its checksums do not vouch for.
struct SegmentHeader {
  SectorState state = SectorState::kAbsent;  // of the identity; what follows is read only when that is valid
  SegmentIdentity identity;
  std::optional<Seal> seal;
  LiveState live;
  uint64_t mark = 0;
  uint64_t orderly_end = 0;
  bool traces = false;  // without an identity, yet sealed or marked: it must have had one
  bool spare = false;   // recycled, and not in use yet: what stands behind the header is of an earlier life
  uint64_t file_size = 0;
};

// The state of the identity; `version`, when not null, receives the version found.
SectorState LoadSegmentHeader(const std::byte* page, SegmentHeader* header, uint32_t* version = nullptr);

class LogDirectory {
 public:
  LogDirectory(Platform& platform, std::string root) : platform_(platform), root_(std::move(root)) {}

  const std::string& root() const { return root_; }
  std::string LockPath() const { return root_ + "/LOCK"; }
  std::string MetadataPath() const { return root_ + "/metadata"; }
  std::string MetaPath() const { return MetadataPath() + "/wal.meta"; }
  std::string SegmentsPath() const { return root_ + "/segments"; }
  std::string StandInPath() const { return MetadataPath() + "/stand-in.tmp"; }       // a segment that is being made
  std::string CompactionPath() const { return MetadataPath() + "/compaction.tmp"; }  // likewise
  // What was segment `id`, until it becomes another one or is deleted.
  std::string RecyclablePath(uint64_t id) const { return MetadataPath() + "/" + kRecyclable + std::to_string(id); }
  std::string SegmentPath(uint64_t id) const { return SegmentsPath() + "/" + SegmentName(id); }
  std::string CheckpointsPath() const { return root_ + "/checkpoints"; }
  std::string QuarantinePath() const { return root_ + "/quarantine"; }

  static std::string SegmentName(uint64_t id);  // wal-000001.log; more digits when it takes them
  static std::optional<uint64_t> ParseSegmentName(const std::string& name);

  // Creates the directory itself where it is missing, and those above it.
  Status CreateRoot() const { return CreateWithParents(root_); }
  // Creates what is missing of the directory and the folders in it, durably.
  Status Create() const;
  // kNotFound unless it is a directory; says plainly when it is something else.
  Status Exists() const;

  struct SegmentFile {
    uint64_t id;
    uint64_t size;
  };
  // Segment files by id; names that are not of this log's making go to `strays`, relative to the root.
  Status List(std::vector<SegmentFile>* segments, std::vector<std::string>* strays) const;

  // What is wrong at a place of a segment, with the file's name.
  Status SegmentDamage(const LogLocation& where, const std::string& what) const;
  // Zeros stand for what the file does not have of its first page.
  Status ReadFirstPage(uint64_t id, std::array<std::byte, kSegmentHeaderSize>* page) const;
  // Reads the first page of a segment file. What it means is for the caller to judge, except that kUnsupportedVersion
  // comes with the version in the Status.
  Status ReadSegmentHeader(uint64_t id, SegmentHeader* header) const;
  // The same of one that is open.
  Status ReadSegmentHeader(uint64_t id, File* file, SegmentHeader* header) const;
  // kCorrupt unless the header is that of segment `id`, or was never written.
  Status JudgeIdentity(uint64_t id, const SegmentHeader& header) const;

  // kAbsent, kDamaged and kForeign are for the caller to judge; kUnsupportedVersion comes with the version in the
  // Status.
  Status ReadMeta(SectorState* state, LogMeta* meta) const;
  Status WriteMeta(const LogMeta& meta) const;

  // Renames a segment file that nobody maps to RecyclablePath: it is out of the log as if it were deleted, which takes
  // longer.
  Status PutAside(uint64_t id) const;
  // What is there under RecyclablePath; after an open that died, what that kept and did not use.
  std::vector<uint64_t> Recyclable() const;
  // Should one of them stay, it only takes room until the next open.
  void RemoveRecyclable() const;

  // Moves a segment file that nobody maps into quarantine/, with a note why; durable when it returns.
  Status QuarantineSegment(uint64_t id, const std::string& why) const;
  // Keeps a copy of a whole segment file, likewise.
  Status QuarantineCopy(uint64_t id, const std::string& why) const;
  // Keeps a copy of bytes that are about to be dropped in quarantine/, with a note why; durable when it returns.
  Status QuarantineBytes(uint64_t id, uint64_t offset, ByteView bytes, const std::string& why) const;

 private:
  static constexpr const char* kRecyclable = "recyclable-";

  Status CreateWithParents(const std::string& path) const;
  Status ReadSegmentHeaderOnce(uint64_t id, SegmentHeader* header) const;
  // Writes a file that did not exist, and syncs it; not the directory.
  Status WriteNewFile(const std::string& path, ByteView bytes) const;
  Status WriteNote(const std::string& name, const std::string& why) const;
  std::string QuarantineName(uint64_t id, const std::string& suffix) const;

  Platform& platform_;
  std::string root_;
};

}  // namespace segwal
