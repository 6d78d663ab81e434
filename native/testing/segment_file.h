// SegmentFile: the bytes of a segment file of a closed log, to be looked at and damaged.
#pragma once

#include <string>
#include <vector>

#include "core/format.h"

namespace segwal {

class SegmentFile {
 public:
  explicit SegmentFile(std::string path);  // reads it
  void Save() const;

  std::byte* data() { return bytes_.data(); }
  uint64_t size() const { return bytes_.size(); }
  const SegmentIdentity& identity() const { return identity_; }
  uint32_t salt_checksum() const { return SaltChecksum(identity_.salt); }
  // Where frame n stood when the file was read, n from 1; behind the last one is where the frames end.
  uint64_t FrameAt(size_t n) const { return frames_.at(n - 1); }
  size_t frame_count() const { return frames_.size() - 1; }

  // Damage to frame n.
  void Zero(size_t n);   // never claimed
  void Claim(size_t n);  // claimed, and no more of it written
  void Flip(size_t n);   // one bit of its last byte is wrong
  // Damage to the header.
  void WriteInAnotherBoot();  // its writer's machine has been restarted since
  void Mark(uint64_t watermark);
  void EraseMark();
  void EraseSeal();
  void EraseIdentity();

  void Fill(uint64_t from, uint64_t to, std::byte value);
  void Resize(uint64_t size) { bytes_.resize(size); }

 private:
  const std::string path_;
  std::vector<std::byte> bytes_;
  SegmentIdentity identity_;
  std::vector<uint64_t> frames_;
};

}  // namespace segwal
