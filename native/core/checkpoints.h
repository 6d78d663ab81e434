// Checkpoints: the files in checkpoints/. Each says that an application has everything up to a record elsewhere, with
// whatever the application wants to remember beside it. They are written once, whole, and never changed.
//
// A file is named after its record, checkpoint-<sequence>.meta, and holds
//
//   0 u64 magic   8 u32 version   12 u32 flags   16 [16] log id   32 u64 sequence   40 u64 created at, µs
//   48 u32 data length   52 u32 0   56 u32 0   60 u32 CRC32C of bytes 0 … 59 and the data   64 data
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "core/directory.h"
#include "core/types.h"

namespace segwal {

inline constexpr uint64_t kCheckpointHeaderSize = 64;
inline constexpr uint32_t kCheckpointHasData = 1u << 0;  // flags; without it there is none, which is not empty data
inline constexpr uint64_t kMaxCheckpointData = uint64_t{1} << 20;
inline constexpr size_t kCheckpointsKept = 2;  // one to go by, and one before it should that be damaged

std::vector<std::byte> EncodeCheckpoint(const LogId& log_id, const Checkpoint& checkpoint);
// `why`, when not null, receives what is wrong unless the state is kValid.
SectorState DecodeCheckpoint(ByteView file, const LogId& log_id, Checkpoint* checkpoint, std::string* why = nullptr);

// Threads: one at a time, except that Load may run beside anything.
class CheckpointDirectory {
 public:
  CheckpointDirectory(Platform& platform, const LogDirectory& directory) : platform_(platform), directory_(directory) {}

  static std::string NameOf(uint64_t sequence);  // checkpoint-42.meta
  static std::optional<uint64_t> ParseName(const std::string& name);

  // The valid ones of the log, by sequence. What else is there gets a finding and is left alone.
  Status Load(const LogId& log_id, std::vector<Checkpoint>* checkpoints, std::vector<Finding>* findings) const;
  // Durable, with its name, when it returns. Replaces one of the same record.
  Status Write(const LogId& log_id, const Checkpoint& checkpoint) const;
  // kNotFound is fine. Not durable before Sync.
  Status Remove(uint64_t sequence) const;
  // Removes all of records behind `sequence`, damaged ones too; durable when it returns.
  Status RemoveAfter(uint64_t sequence) const;
  Status Sync() const;

 private:
  std::string PathOf(uint64_t sequence) const { return directory_.CheckpointsPath() + "/" + NameOf(sequence); }
  std::string TemporaryPath() const { return directory_.CheckpointsPath() + "/checkpoint.tmp"; }
  Status Read(uint64_t sequence, std::vector<std::byte>* file) const;

  Platform& platform_;
  const LogDirectory& directory_;
};

}  // namespace segwal
