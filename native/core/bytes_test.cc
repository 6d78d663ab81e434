#include "core/bytes.h"

#include <gtest/gtest.h>

#include <vector>

namespace segwal {
namespace {

TEST(BytesTest, WordsLieLittleEndianAtAnyAddress) {
  std::byte bytes[8] = {};
  Store(bytes + 1, uint32_t{0x04030201});
  for (int i = 0; i < 4; ++i) EXPECT_EQ(bytes[i + 1], std::byte(i + 1));
  EXPECT_EQ(Load<uint32_t>(bytes + 1), 0x04030201u);
  EXPECT_EQ(bytes[0], std::byte{0});
  EXPECT_EQ(bytes[5], std::byte{0});
}

TEST(BytesTest, AnAtomicWordIsTheBareWord) {
  alignas(8) std::byte bytes[8] = {};
  AtomicAt<uint64_t>(bytes).store(0x0807060504030201);
  EXPECT_EQ(Load<uint64_t>(bytes), 0x0807060504030201u);
  const std::byte* read_only = bytes;
  EXPECT_EQ(AtomicAt<uint32_t>(read_only).load(), 0x04030201u);
}

TEST(BytesTest, AlignsUpAndDown) {
  EXPECT_EQ(AlignUp(0, 8), 0u);
  EXPECT_EQ(AlignUp(1, 8), 8u);
  EXPECT_EQ(AlignUp(8, 8), 8u);
  EXPECT_EQ(AlignDown(7, 8), 0u);
  EXPECT_EQ(AlignDown(8, 8), 8u);
  EXPECT_EQ(AlignDown(15, 8), 8u);
}

TEST(BytesTest, FindsTheOnlyByteThatIsNotZeroWhereverItStands) {
  constexpr uint64_t kSize = 300;
  for (uint64_t at = 0; at < kSize; ++at) {
    std::vector<std::byte> bytes(kSize);
    bytes[at] = std::byte{0x80};
    for (uint64_t from : {uint64_t{0}, at / 2, at}) {
      EXPECT_EQ(FindNonZero(bytes.data(), from, kSize), at) << "from " << from;
      EXPECT_EQ(FindNonZeroEnd(bytes.data(), from, kSize), at + 1) << "from " << from;
    }
    EXPECT_EQ(FindNonZero(bytes.data(), at + 1, kSize), kSize) << "behind it";
    EXPECT_EQ(FindNonZeroEnd(bytes.data(), 0, at), 0u) << "before it";
  }
}

TEST(BytesTest, FindsNothingAmongZerosAndInNothing) {
  const std::vector<std::byte> bytes(256);
  EXPECT_EQ(FindNonZero(bytes.data(), 0, 256), 256u);
  EXPECT_EQ(FindNonZeroEnd(bytes.data(), 3, 256), 3u);
  EXPECT_EQ(FindNonZero(bytes.data(), 7, 7), 7u);
  EXPECT_EQ(FindNonZeroEnd(bytes.data(), 7, 7), 7u);
}

}  // namespace
}  // namespace segwal
