#include "core/checkpoints.h"

#include <algorithm>

namespace segwal {
namespace {

constexpr uint64_t kMagic = 0x0a1a'436c'7767'6573;  // "segwlC", then bytes that a text-mode transfer would mangle
constexpr uint64_t kChecksumOffset = kCheckpointHeaderSize - 4;
constexpr const char* kPrefix = "checkpoint-";
constexpr const char* kSuffix = ".meta";

uint32_t ChecksumOf(const std::byte* header, ByteView data) {
  return ExtendCrc32c(Crc32c({header, kChecksumOffset}), data.data(), data.size());
}

Finding Odd(const std::string& name, uint64_t bytes, const std::string& what) {
  return {.rule = "checkpoint", .bytes = bytes, .action = "left alone: checkpoints/" + name + ", " + what};
}

}  // namespace

std::vector<std::byte> EncodeCheckpoint(const LogId& log_id, const Checkpoint& checkpoint) {
  const size_t size = checkpoint.data.size();
  std::vector<std::byte> file(kCheckpointHeaderSize + size);
  Store(file.data(), kMagic);
  Store(file.data() + 8, kFormatVersion);
  Store(file.data() + 12, checkpoint.has_data ? kCheckpointHasData : 0u);
  std::copy(log_id.begin(), log_id.end(), file.data() + 16);
  Store(file.data() + 32, checkpoint.sequence);
  Store(file.data() + 40, checkpoint.created_us);
  Store(file.data() + 48, static_cast<uint32_t>(size));
  std::ranges::copy(checkpoint.data, file.begin() + kCheckpointHeaderSize);
  Store(file.data() + kChecksumOffset, ChecksumOf(file.data(), ByteView(file).subspan(kCheckpointHeaderSize)));
  return file;
}

SectorState DecodeCheckpoint(ByteView file, const LogId& log_id, Checkpoint* checkpoint, std::string* why) {
  std::string unused;
  if (why == nullptr) why = &unused;
  const std::byte* const header = file.data();
  if (file.size() < kCheckpointHeaderSize) {
    *why = "it is cut short";
    return SectorState::kDamaged;
  }
  if (Load<uint64_t>(header) != kMagic) {
    *why = "it is no checkpoint";
    return SectorState::kForeign;
  }
  if (const auto version = Load<uint32_t>(header + 8); version > kFormatVersion) {
    *why = "it has format version " + std::to_string(version) + ", and this build reads up to version " +
           std::to_string(kFormatVersion);
    return SectorState::kUnsupportedVersion;
  }
  const ByteView data = file.subspan(kCheckpointHeaderSize);
  if (Load<uint32_t>(header + 48) != data.size() ||
      Load<uint32_t>(header + kChecksumOffset) != ChecksumOf(header, data)) {
    *why = "it is damaged";
    return SectorState::kDamaged;
  }
  if (!std::equal(log_id.begin(), log_id.end(), header + 16)) {
    *why = "it belongs to another log";
    return SectorState::kForeign;
  }
  checkpoint->sequence = Load<uint64_t>(header + 32);
  checkpoint->created_us = Load<uint64_t>(header + 40);
  checkpoint->has_data = (Load<uint32_t>(header + 12) & kCheckpointHasData) != 0;
  checkpoint->data.assign(data.begin(), data.end());
  return SectorState::kValid;
}

std::string CheckpointDirectory::NameOf(uint64_t sequence) { return kPrefix + std::to_string(sequence) + kSuffix; }

std::optional<uint64_t> CheckpointDirectory::ParseName(const std::string& name) {
  const std::string_view prefix = kPrefix;
  const std::string_view suffix = kSuffix;
  constexpr size_t kMostDigits = 18;
  if (!name.starts_with(prefix) || !name.ends_with(suffix) || name.size() <= prefix.size() + suffix.size() ||
      name.size() > prefix.size() + kMostDigits + suffix.size()) {
    return std::nullopt;
  }
  uint64_t sequence = 0;
  for (const char digit : name.substr(prefix.size(), name.size() - prefix.size() - suffix.size())) {
    if (digit < '0' || digit > '9') return std::nullopt;
    sequence = sequence * 10 + static_cast<uint64_t>(digit - '0');
  }
  if (name != NameOf(sequence)) return std::nullopt;  // other spellings of the same number
  return sequence;
}

Status CheckpointDirectory::Read(uint64_t sequence, std::vector<std::byte>* file) const {
  std::unique_ptr<File> opened;
  SEGWAL_TRY(platform_.Open(PathOf(sequence), OpenMode::kRead, &opened));
  uint64_t size = 0;
  SEGWAL_TRY(opened->Size(&size));
  // One byte more than there may be tells a file that is too long, however long it is.
  file->resize(std::min(size, kCheckpointHeaderSize + kMaxCheckpointData + 1));
  size_t count = 0;
  SEGWAL_TRY(opened->Read(0, *file, &count));
  file->resize(count);
  return Status::Ok();
}

Status CheckpointDirectory::Load(const LogId& log_id, std::vector<Checkpoint>* checkpoints,
                                 std::vector<Finding>* findings) const {
  std::vector<DirectoryEntry> entries;
  if (Status status = platform_.List(directory_.CheckpointsPath(), &entries); !status.ok()) {
    return status.code() == ErrorCode::kNotFound ? Status::Ok() : std::move(status);
  }
  for (const DirectoryEntry& entry : entries) {
    const std::optional<uint64_t> sequence = entry.is_directory ? std::nullopt : ParseName(entry.name);
    if (!sequence) {
      findings->push_back(Odd(entry.name, entry.size,
                              directory_.CheckpointsPath() + "/" + entry.name == TemporaryPath()
                                  ? "half-written: the next checkpoint replaces it"
                                  : "it is no checkpoint"));
      continue;
    }
    std::vector<std::byte> file;
    if (Status status = Read(*sequence, &file); !status.ok()) {
      if (status.code() == ErrorCode::kNotFound) continue;  // thinned out since it was listed
      return status;
    }
    Checkpoint checkpoint;
    std::string why;
    if (DecodeCheckpoint(file, log_id, &checkpoint, &why) == SectorState::kValid && checkpoint.sequence != *sequence) {
      why = "it is that of record " + std::to_string(checkpoint.sequence) + ", so it was copied or renamed";
    }
    if (why.empty()) {
      checkpoints->push_back(std::move(checkpoint));
    } else {
      findings->push_back(Odd(entry.name, entry.size, why));
    }
  }
  std::ranges::sort(*checkpoints, {}, &Checkpoint::sequence);
  return Status::Ok();
}

Status CheckpointDirectory::Write(const LogId& log_id, const Checkpoint& checkpoint) const {
  const std::string temporary = TemporaryPath();
  if (Status status = platform_.Remove(temporary); !status.ok() && status.code() != ErrorCode::kNotFound) return status;
  {
    std::unique_ptr<File> file;
    SEGWAL_TRY(platform_.Open(temporary, OpenMode::kCreate, &file));
    SEGWAL_TRY(file->Write(0, EncodeCheckpoint(log_id, checkpoint)));
    SEGWAL_TRY(file->Sync());
  }
  SEGWAL_TRY(platform_.Rename(temporary, PathOf(checkpoint.sequence)));
  return Sync();
}

Status CheckpointDirectory::Remove(uint64_t sequence) const {
  Status status = platform_.Remove(PathOf(sequence));
  return status.code() == ErrorCode::kNotFound ? Status::Ok() : std::move(status);
}

Status CheckpointDirectory::RemoveAfter(uint64_t sequence) const {
  std::vector<DirectoryEntry> entries;
  if (Status status = platform_.List(directory_.CheckpointsPath(), &entries); !status.ok()) {
    return status.code() == ErrorCode::kNotFound ? Status::Ok() : std::move(status);
  }
  for (const DirectoryEntry& entry : entries) {
    const std::optional<uint64_t> found = ParseName(entry.name);
    if (found && *found > sequence) SEGWAL_TRY(Remove(*found));
  }
  // Also when there was nothing to remove: whoever removed it may have died before this.
  return Sync();
}

Status CheckpointDirectory::Sync() const { return platform_.SyncDirectory(directory_.CheckpointsPath()); }

}  // namespace segwal
