// Against ExtendCrc32c, on every implementation that works on this machine.
#include "core/crc32c/range_crc32c.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <random>
#include <string>
#include <vector>

#include "core/crc32c/crc32c.h"

namespace segwal {
namespace {

using crc32c::Implementation;

class RangeCrc32cTest : public testing::TestWithParam<const Implementation*> {
 protected:
  RangeCrc32cTest() : random_(seed_) { crc32c::active = GetParam(); }
  ~RangeCrc32cTest() override { crc32c::active = crc32c::Available().front(); }

  std::vector<std::byte> RandomBytes(size_t size) {
    std::vector<std::byte> bytes(size);
    std::generate(bytes.begin(), bytes.end(), [this] { return static_cast<std::byte>(random_()); });
    return bytes;
  }
  size_t Below(size_t limit) { return std::uniform_int_distribution<size_t>(0, limit - 1)(random_); }

  const unsigned seed_ = std::random_device{}();
  const testing::ScopedTrace trace_{__FILE__, __LINE__, "seed " + std::to_string(seed_)};
  std::mt19937 random_;
};

TEST_P(RangeCrc32cTest, IsRightForEveryLengthAtEveryOffset) {
  const std::vector<std::byte> bytes = RandomBytes(700);
  const RangeCrc32c ranges(bytes);
  for (size_t offset = 0; offset <= bytes.size(); ++offset) {
    const auto start = static_cast<uint32_t>(random_());
    for (size_t size = 0; size <= bytes.size() - offset; ++size) {
      ASSERT_EQ(ranges.Extend(start, offset, size), ExtendCrc32c(start, bytes.data() + offset, size))
          << size << " bytes at " << offset;
    }
  }
}

// Lengths in which every digit of the first three has its turn to be 0 and not to be.
TEST_P(RangeCrc32cTest, IsRightForLongRanges) {
  const std::vector<std::byte> bytes = RandomBytes((1u << 18) + 5);
  const RangeCrc32c ranges(bytes);
  const auto expect_right = [&](size_t offset, size_t size) {
    const auto start = static_cast<uint32_t>(random_());
    ASSERT_EQ(ranges.Extend(start, offset, size), ExtendCrc32c(start, bytes.data() + offset, size))
        << size << " bytes at " << offset;
  };
  for (size_t size : {0x100u, 0x1ffu, 0xff00u, 0xffffu, 0x10000u, 0x10001u, 0x10100u, 0x2ff00u, 0x3ffffu, 0x40000u}) {
    for (size_t offset = 0; offset <= 5; ++offset) ASSERT_NO_FATAL_FAILURE(expect_right(offset, size));
  }
  ASSERT_NO_FATAL_FAILURE(expect_right(0, bytes.size()));
  for (int round = 0; round < 500; ++round) {
    const size_t offset = Below(bytes.size());
    ASSERT_NO_FATAL_FAILURE(expect_right(offset, Below(bytes.size() - offset + 1)));
  }
}

// One bit 16 MiB away: all four digits of the length of a frame.
TEST_P(RangeCrc32cTest, IsRightForTheLengthsOfFrames) {
  std::vector<std::byte> bytes((size_t{1} << 24) + 100);
  bytes[1] = std::byte{1};
  const RangeCrc32c ranges(bytes);
  for (size_t size : {(size_t{1} << 24) - 1, size_t{1} << 24, (size_t{1} << 24) + 99}) {
    ASSERT_EQ(ranges.Extend(7, 1, size), ExtendCrc32c(7, bytes.data() + 1, size)) << size << " bytes";
  }
}

TEST_P(RangeCrc32cTest, OfNothingIsWhatWasBefore) {
  const RangeCrc32c ranges({});
  EXPECT_EQ(ranges.Extend(0, 0, 0), 0u);
  EXPECT_EQ(ranges.Extend(7, 0, 0), 7u);
}

INSTANTIATE_TEST_SUITE_P(Every, RangeCrc32cTest,
                         testing::ValuesIn(crc32c::Available().begin(), crc32c::Available().end()),
                         [](const auto& parameter) {
                           std::string name = parameter.param->name;
                           std::erase(name, '.');
                           return name;
                         });

}  // namespace
}  // namespace segwal
