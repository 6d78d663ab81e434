#include "testing/segment_file.h"

#include <algorithm>

#include "testing/files.h"

namespace segwal {

SegmentFile::SegmentFile(std::string path) : path_(std::move(path)), bytes_(ReadFile(path_)) {
  if (bytes_.size() < kSegmentHeaderSize || LoadIdentity(data(), &identity_) != SectorState::kValid) return;
  uint64_t offset = kSegmentHeaderSize;
  Frame frame;
  for (uint32_t index = 0;; index += frame.count, offset += frame.padded_length()) {
    frames_.push_back(offset);
    if (CheckFrame(data(), offset, size(), index, salt_checksum(), &frame) != FrameState::kValid) break;
  }
}

void SegmentFile::Save() const { WriteFile(path_, bytes_); }

void SegmentFile::Fill(uint64_t from, uint64_t to, std::byte value) {
  std::fill(bytes_.begin() + static_cast<std::ptrdiff_t>(from), bytes_.begin() + static_cast<std::ptrdiff_t>(to),
            value);
}

void SegmentFile::Zero(size_t n) { Fill(FrameAt(n), FrameAt(n + 1), std::byte{0}); }

void SegmentFile::Claim(size_t n) {
  const auto length = Load<uint32_t>(data() + FrameAt(n));
  Zero(n);
  Store(data() + FrameAt(n), length | kClaimBit);
}

void SegmentFile::Flip(size_t n) { data()[FrameAt(n) + Load<uint32_t>(data() + FrameAt(n)) - 1] ^= std::byte{1}; }

void SegmentFile::WriteInAnotherBoot() { data()[kLiveOffset + 64] ^= std::byte{0xff}; }

void SegmentFile::Mark(uint64_t watermark) { StoreMark(data(), identity_, watermark); }

void SegmentFile::EraseMark() { Fill(kMarkOffset, kMarkOffset + kSectorSize, std::byte{0}); }

void SegmentFile::EraseSeal() { Fill(kSealOffset, kSealOffset + kSectorSize, std::byte{0}); }

void SegmentFile::EraseIdentity() { Fill(kIdentityOffset, kIdentityOffset + kSectorSize, std::byte{0}); }

}  // namespace segwal
