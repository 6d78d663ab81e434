#include "core/directory.h"

#include <algorithm>
#include <charconv>
#include <cstdio>
#include <string_view>

namespace segwal {
namespace {

// wal.meta is one sector:
//   0 u64 magic   8 u32 version   16 [16] log id   32 u64 segment size   40 u64 created at, µs   48 u64 first segment
//   56 u64 its base sequence   64 u64 durable sequence   72 u64 truncations   80 u64 truncated to   88 u64 1 while
//   truncating   508 u32 CRC32C of bytes 0 … 507
constexpr uint64_t kMetaMagic = 0x0a1a'4d6c'7767'6573;  // "segwlM", then bytes that a text-mode transfer would mangle

std::array<std::byte, kSectorSize> EncodeMeta(const LogMeta& meta) {
  std::array<std::byte, kSectorSize> sector{};
  Store(sector.data(), kMetaMagic);
  Store(sector.data() + 8, kFormatVersion);
  std::copy(meta.log_id.begin(), meta.log_id.end(), sector.data() + 16);
  Store(sector.data() + 32, meta.segment_size);
  Store(sector.data() + 40, meta.created_us);
  Store(sector.data() + 48, meta.first_segment);
  Store(sector.data() + 56, meta.first_sequence);
  Store(sector.data() + 64, meta.durable_sequence);
  Store(sector.data() + 72, meta.truncations);
  Store(sector.data() + 80, meta.truncated_to);
  Store(sector.data() + 88, uint64_t{meta.truncating});
  Store(sector.data() + kSectorChecksumOffset, Crc32c({sector.data(), kSectorChecksumOffset}));
  return sector;
}

SectorState DecodeMeta(const std::byte* sector, LogMeta* meta, uint32_t* version) {
  if (Load<uint64_t>(sector) != kMetaMagic) return SectorState::kForeign;
  *version = Load<uint32_t>(sector + 8);
  if (*version > kFormatVersion) return SectorState::kUnsupportedVersion;
  if (Load<uint32_t>(sector + kSectorChecksumOffset) != Crc32c({sector, kSectorChecksumOffset})) {
    return SectorState::kDamaged;
  }
  std::copy(sector + 16, sector + 32, meta->log_id.begin());
  meta->segment_size = Load<uint64_t>(sector + 32);
  meta->created_us = Load<uint64_t>(sector + 40);
  meta->first_segment = Load<uint64_t>(sector + 48);
  meta->first_sequence = Load<uint64_t>(sector + 56);
  meta->durable_sequence = Load<uint64_t>(sector + 64);
  meta->truncations = Load<uint64_t>(sector + 72);
  meta->truncated_to = Load<uint64_t>(sector + 80);
  meta->truncating = Load<uint64_t>(sector + 88) != 0;
  return SectorState::kValid;
}

std::string ParentOf(const std::string& path) {
  const size_t slash = path.find_last_of("/\\");
  if (slash == std::string::npos) return ".";
  // A root keeps its slash: "/", and "C:\\", since "C:" alone is wherever one happens to be on that drive.
  const bool root = slash == 0 || (slash == 2 && path[1] == ':');
  return path.substr(0, root ? slash + 1 : slash);
}

Status TooNew(const std::string& path, uint32_t version) {
  return Status(ErrorCode::kUnsupportedVersion,
                path + " has format version " + std::to_string(version) + "; this build reads up to version " +
                    std::to_string(kFormatVersion) + ". Open it with a newer segwal; nothing was changed");
}

ByteView AsBytes(const std::string& text) { return std::as_bytes(std::span(text.data(), text.size())); }

}  // namespace

SectorState LoadSegmentHeader(const std::byte* page, SegmentHeader* header, uint32_t* version) {
  header->state = LoadIdentity(page, &header->identity, version);
  if (header->state != SectorState::kValid) {
    constexpr uint64_t kSealEnd = kSealOffset + kSectorSize;
    header->traces = Load<uint32_t>(page + kMarkOffset) != 0 ||
                     (header->state == SectorState::kAbsent && FindNonZero(page, kSealOffset, kSealEnd) != kSealEnd);
    header->spare = header->state == SectorState::kAbsent && !header->traces && LoadSpare(page);
    return header->state;
  }
  Seal seal;
  if (LoadSeal(page, header->identity, &seal) == SectorState::kValid) header->seal = seal;
  header->mark = LoadMark(page, header->identity);
  header->live = LoadLive(page);
  header->orderly_end = LoadOrderlyEnd(page, header->identity);
  return header->state;
}

std::string LogDirectory::SegmentName(uint64_t id) {
  char name[40];
  std::snprintf(name, sizeof name, "wal-%06llu.log", static_cast<unsigned long long>(id));
  return name;
}

std::optional<uint64_t> LogDirectory::ParseSegmentName(const std::string& name) {
  constexpr size_t kPrefix = 4;
  constexpr size_t kSuffix = 4;
  if (name.size() < kPrefix + 6 + kSuffix || name.size() > kPrefix + 18 + kSuffix) return std::nullopt;
  uint64_t id = 0;
  for (size_t i = kPrefix; i < name.size() - kSuffix; ++i) {
    if (name[i] < '0' || name[i] > '9') return std::nullopt;
    id = id * 10 + static_cast<uint64_t>(name[i] - '0');
  }
  // Writing the name again refuses other spellings of the same number.
  if (id == 0 || name != SegmentName(id)) return std::nullopt;
  return id;
}

Status LogDirectory::CreateWithParents(const std::string& path) const {
  Status status = platform_.CreateDirectory(path);
  const std::string parent = ParentOf(path);
  if (status.code() != ErrorCode::kNotFound || parent == path) return status;
  SEGWAL_TRY(CreateWithParents(parent));
  SEGWAL_TRY(platform_.CreateDirectory(path));
  return platform_.SyncDirectory(parent);
}

Status LogDirectory::Create() const {
  SEGWAL_TRY(CreateRoot());
  for (const std::string& path : {MetadataPath(), SegmentsPath(), CheckpointsPath(), QuarantinePath()}) {
    SEGWAL_TRY(platform_.CreateDirectory(path));
  }
  SEGWAL_TRY(platform_.SyncDirectory(root_));
  return platform_.SyncDirectory(ParentOf(root_));
}

Status LogDirectory::Exists() const {
  std::vector<DirectoryEntry> entries;
  return platform_.List(root_, &entries);
}

Status LogDirectory::List(std::vector<SegmentFile>* segments, std::vector<std::string>* strays) const {
  std::vector<DirectoryEntry> entries;
  SEGWAL_TRY(platform_.List(root_, &entries));
  for (const DirectoryEntry& entry : entries) {
    const bool ours = entry.name == "LOCK" || entry.name == "metadata" || entry.name == "segments" ||
                      entry.name == "checkpoints" || entry.name == "quarantine";
    if (!ours) strays->push_back(entry.name);
  }
  if (Status status = platform_.List(SegmentsPath(), &entries); !status.ok()) {
    return status.code() == ErrorCode::kNotFound ? Status::Ok() : std::move(status);
  }
  for (const DirectoryEntry& entry : entries) {
    const std::optional<uint64_t> id = ParseSegmentName(entry.name);
    if (id && !entry.is_directory) {
      segments->push_back({*id, entry.size});
    } else {
      strays->push_back("segments/" + entry.name);
    }
  }
  std::ranges::sort(*segments, {}, &SegmentFile::id);
  return Status::Ok();
}

Status LogDirectory::SegmentDamage(const LogLocation& where, const std::string& what) const {
  std::string message = "segment " + std::to_string(where.segment) + " (" + SegmentPath(where.segment) + ")";
  if (where.offset != 0) message += ", offset " + std::to_string(where.offset);
  return Status::Corrupt(message + ": " + what, where);
}

Status LogDirectory::ReadFirstPage(uint64_t id, std::array<std::byte, kSegmentHeaderSize>* page) const {
  std::unique_ptr<File> file;
  SEGWAL_TRY(platform_.Open(SegmentPath(id), OpenMode::kRead, &file));
  size_t count = 0;
  return file->Read(0, *page, &count);
}

// Twice when it is not what the name says, for a live writer may have removed the segment after its file was opened
// here, and the file be another segment by now, or about to become one. Then the name is gone.
Status LogDirectory::ReadSegmentHeader(uint64_t id, SegmentHeader* header) const {
  Status status = ReadSegmentHeaderOnce(id, header);
  if (!status.ok()) return status;
  const bool used = header->state == SectorState::kValid;
  const bool unused = header->state == SectorState::kAbsent && !header->traces && !header->spare;
  if (unused || (used && header->identity.segment_id == id)) return status;
  *header = {};
  return ReadSegmentHeaderOnce(id, header);
}

Status LogDirectory::ReadSegmentHeaderOnce(uint64_t id, SegmentHeader* header) const {
  std::unique_ptr<File> file;
  SEGWAL_TRY(platform_.Open(SegmentPath(id), OpenMode::kRead, &file));
  return ReadSegmentHeader(id, file.get(), header);
}

Status LogDirectory::ReadSegmentHeader(uint64_t id, File* file, SegmentHeader* header) const {
  alignas(8) std::array<std::byte, kSegmentHeaderSize> page{};
  size_t count = 0;
  SEGWAL_TRY(file->Read(0, page, &count));
  SEGWAL_TRY(file->Size(&header->file_size));
  uint32_t version = 0;
  const bool too_new = LoadSegmentHeader(page.data(), header, &version) == SectorState::kUnsupportedVersion;
  return too_new ? TooNew(SegmentPath(id), version) : Status::Ok();
}

Status LogDirectory::JudgeIdentity(uint64_t id, const SegmentHeader& header) const {
  const SegmentIdentity& identity = header.identity;
  switch (header.state) {
    case SectorState::kAbsent: return Status::Ok();
    case SectorState::kForeign: return SegmentDamage({.segment = id}, "it is not a segment of a segwal log");
    case SectorState::kUnsupportedVersion:
    case SectorState::kDamaged: return SegmentDamage({.segment = id}, "its identity sector is damaged");
    case SectorState::kValid: break;
  }
  if (identity.segment_id != id) {
    return SegmentDamage({.segment = id, .first_sequence = identity.base_sequence},
                         "it holds segment " + std::to_string(identity.segment_id) + ", so it was copied or renamed");
  }
  if (identity.segment_size < kMinSegmentSize || identity.segment_size > kMaxSegmentSize ||
      identity.segment_size % kSegmentSizeStep != 0 || identity.base_sequence == 0) {
    return SegmentDamage({.segment = id}, "its identity makes no sense");
  }
  return Status::Ok();
}

Status LogDirectory::ReadMeta(SectorState* state, LogMeta* meta) const {
  *state = SectorState::kAbsent;
  std::unique_ptr<File> file;
  if (Status status = platform_.Open(MetaPath(), OpenMode::kRead, &file); !status.ok()) {
    return status.code() == ErrorCode::kNotFound ? Status::Ok() : std::move(status);
  }
  std::array<std::byte, kSectorSize> sector{};
  size_t count = 0;
  SEGWAL_TRY(file->Read(0, sector, &count));
  uint32_t version = 0;
  *state = count == kSectorSize ? DecodeMeta(sector.data(), meta, &version) : SectorState::kDamaged;
  return *state == SectorState::kUnsupportedVersion ? TooNew(MetaPath(), version) : Status::Ok();
}

Status LogDirectory::WriteMeta(const LogMeta& meta) const {
  const std::string temporary = MetaPath() + ".tmp";
  if (Status status = platform_.Remove(temporary); !status.ok() && status.code() != ErrorCode::kNotFound) return status;
  SEGWAL_TRY(WriteNewFile(temporary, EncodeMeta(meta)));
  SEGWAL_TRY(platform_.Rename(temporary, MetaPath()));
  return platform_.SyncDirectory(MetadataPath());
}

Status LogDirectory::PutAside(uint64_t id) const { return platform_.Rename(SegmentPath(id), RecyclablePath(id)); }

std::vector<uint64_t> LogDirectory::Recyclable() const {
  std::vector<DirectoryEntry> entries;
  static_cast<void>(platform_.List(MetadataPath(), &entries));
  std::vector<uint64_t> ids;
  for (const DirectoryEntry& entry : entries) {
    const std::string_view name = entry.name;
    uint64_t id = 0;
    if (!name.starts_with(kRecyclable)) continue;
    const char* const end = name.data() + name.size();
    const auto parsed = std::from_chars(name.data() + std::string_view(kRecyclable).size(), end, id);
    if (parsed.ec == std::errc() && parsed.ptr == end) ids.push_back(id);
  }
  return ids;
}

void LogDirectory::RemoveRecyclable() const {
  for (const uint64_t id : Recyclable()) static_cast<void>(platform_.Remove(RecyclablePath(id)));
}

Status LogDirectory::QuarantineSegment(uint64_t id, const std::string& why) const {
  const std::string name = QuarantineName(id, ".log");
  SEGWAL_TRY(WriteNote(name, why));
  SEGWAL_TRY(platform_.Rename(SegmentPath(id), QuarantinePath() + "/" + name));
  SEGWAL_TRY(platform_.SyncDirectory(QuarantinePath()));
  return platform_.SyncDirectory(SegmentsPath());
}

Status LogDirectory::QuarantineCopy(uint64_t id, const std::string& why) const {
  std::unique_ptr<File> from;
  SEGWAL_TRY(platform_.Open(SegmentPath(id), OpenMode::kRead, &from));
  const std::string name = QuarantineName(id, ".log");
  SEGWAL_TRY(WriteNote(name, why));
  std::unique_ptr<File> to;
  SEGWAL_TRY(platform_.Open(QuarantinePath() + "/" + name, OpenMode::kCreate, &to));
  std::vector<std::byte> chunk(size_t{1} << 20);
  for (uint64_t offset = 0;;) {
    size_t count = 0;
    SEGWAL_TRY(from->Read(offset, chunk, &count));
    if (count == 0) break;
    SEGWAL_TRY(to->Write(offset, {chunk.data(), count}));
    offset += count;
  }
  SEGWAL_TRY(to->Sync());
  return platform_.SyncDirectory(QuarantinePath());
}

Status LogDirectory::QuarantineBytes(uint64_t id, uint64_t offset, ByteView bytes, const std::string& why) const {
  const std::string name = QuarantineName(id, "-at-" + std::to_string(offset) + ".bytes");
  SEGWAL_TRY(WriteNote(name, why));
  SEGWAL_TRY(WriteNewFile(QuarantinePath() + "/" + name, bytes));
  return platform_.SyncDirectory(QuarantinePath());
}

Status LogDirectory::WriteNewFile(const std::string& path, ByteView bytes) const {
  std::unique_ptr<File> file;
  SEGWAL_TRY(platform_.Open(path, OpenMode::kCreate, &file));
  SEGWAL_TRY(file->Write(0, bytes));
  return file->Sync();
}

Status LogDirectory::WriteNote(const std::string& name, const std::string& why) const {
  return WriteNewFile(QuarantinePath() + "/" + name + ".txt", AsBytes(why + "\n"));
}

std::string LogDirectory::QuarantineName(uint64_t id, const std::string& suffix) const {
  // The time keeps names apart when the same segment is quarantined in two recoveries.
  return std::to_string(platform_.Now()) + "-" + SegmentName(id).substr(0, SegmentName(id).size() - 4) + suffix;
}

}  // namespace segwal
