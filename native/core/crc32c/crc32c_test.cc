// The same tests for every implementation that works on this machine, against the definition bit by bit.
#include "core/crc32c/crc32c.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <cstring>
#include <numeric>
#include <random>
#include <string>
#include <vector>

namespace segwal {
namespace {

using crc32c::Implementation;
using Bytes = std::vector<uint8_t>;

uint32_t BitByBit(const void* data, size_t size) {
  const auto* bytes = static_cast<const uint8_t*>(data);
  uint32_t state = 0xffffffff;
  for (size_t i = 0; i < size; ++i) {
    state ^= bytes[i];
    for (int bit = 0; bit < 8; ++bit) state = (state >> 1) ^ ((state & 1) != 0 ? 0x82f63b78 : 0);
  }
  return ~state;
}

class RandomBytes {
 public:
  RandomBytes() : seed_(std::random_device{}()), engine_(seed_) {}

  unsigned seed() const { return seed_; }
  size_t Below(size_t limit) { return std::uniform_int_distribution<size_t>(0, limit - 1)(engine_); }
  uint64_t Word() { return std::uniform_int_distribution<uint64_t>()(engine_); }
  Bytes Make(size_t size) {
    Bytes bytes(size);
    std::generate(bytes.begin(), bytes.end(), [this] { return static_cast<uint8_t>(engine_()); });
    return bytes;
  }

 private:
  unsigned seed_;
  std::mt19937 engine_;
};

// The bytes that Crc32cFrame takes the CRC of, as they would be in memory.
Bytes FrameBytes(const Bytes& salt, uint32_t length, uint64_t word1, uint64_t word2, const Bytes& data) {
  Bytes bytes = salt;
  const auto append = [&bytes](uint64_t value, int size) {
    for (int i = 0; i < size; ++i) bytes.push_back(static_cast<uint8_t>(value >> (8 * i)));
  };
  append(length, 4);
  append(word1, 8);
  append(word2, 8);
  bytes.insert(bytes.end(), data.begin(), data.end());
  return bytes;
}

class Crc32cTest : public testing::TestWithParam<const Implementation*> {
 protected:
  static uint32_t Extend(uint32_t crc, const void* data, size_t size) { return GetParam()->extend(crc, data, size); }
  static uint32_t Of(const Bytes& bytes) { return Extend(0, bytes.data(), bytes.size()); }
};

TEST_P(Crc32cTest, GivesTheCheckValue) { EXPECT_EQ(Extend(0, "123456789", 9), 0xe3069283u); }

TEST_P(Crc32cTest, OfNothingIsZero) { EXPECT_EQ(Extend(0, nullptr, 0), 0u); }

TEST_P(Crc32cTest, GivesTheValuesOfRfc3720) {
  EXPECT_EQ(Of(Bytes(32, 0x00)), 0x8a9136aau);
  EXPECT_EQ(Of(Bytes(32, 0xff)), 0x62a8ab43u);
  Bytes ascending(32);
  std::iota(ascending.begin(), ascending.end(), uint8_t{0});
  EXPECT_EQ(Of(ascending), 0x46dd794eu);
  EXPECT_EQ(Of(Bytes(ascending.rbegin(), ascending.rend())), 0x113fdb5cu);
  Bytes read_command(48, 0x00);
  read_command[0] = 0x01;
  read_command[1] = 0xc0;
  read_command[16] = 0x14;
  read_command[22] = 0x04;
  read_command[27] = 0x14;
  read_command[31] = 0x18;
  read_command[32] = 0x28;
  read_command[40] = 0x02;
  EXPECT_EQ(Of(read_command), 0xd9963a56u);
}

TEST_P(Crc32cTest, IsRightForEveryLengthAtEveryAlignment) {
  RandomBytes random;
  SCOPED_TRACE("seed " + std::to_string(random.seed()));
  alignas(64) std::array<uint8_t, 16 + 600> buffer;
  const Bytes bytes = random.Make(600);
  for (size_t alignment = 0; alignment < 16; ++alignment) {
    std::memcpy(&buffer[alignment], bytes.data(), bytes.size());
    for (size_t length = 0; length <= bytes.size(); ++length) {
      ASSERT_EQ(Extend(0, &buffer[alignment], length), BitByBit(bytes.data(), length))
          << length << " bytes at alignment " << alignment;
    }
  }
}

TEST_P(Crc32cTest, IsRightForLongInputs) {
  RandomBytes random;
  SCOPED_TRACE("seed " + std::to_string(random.seed()));
  const Bytes bytes = random.Make(200'000);
  for (size_t length :
       {1151u, 1152u, 1153u, 1535u, 1536u, 1537u, 3071u, 3072u, 3073u, 3080u, 6144u, 6145u, 9300u, 65536u, 200'000u}) {
    ASSERT_EQ(Extend(0, bytes.data(), length), BitByBit(bytes.data(), length)) << length << " bytes";
  }
}

TEST_P(Crc32cTest, GoesOnFromAnEarlierPart) {
  RandomBytes random;
  SCOPED_TRACE("seed " + std::to_string(random.seed()));
  for (int round = 0; round < 500; ++round) {
    const Bytes bytes = random.Make(1 + random.Below(10'000));
    uint32_t crc = 0;
    for (size_t at = 0; at < bytes.size();) {
      const size_t part = std::min(bytes.size() - at, random.Below(random.Below(4) == 0 ? 5000 : 40));
      crc = Extend(crc, &bytes[at], part);
      at += part;
    }
    ASSERT_EQ(crc, BitByBit(bytes.data(), bytes.size())) << "round " << round;
  }
}

TEST_P(Crc32cTest, OfAFrameIsThatOfItsBytes) {
  RandomBytes random;
  SCOPED_TRACE("seed " + std::to_string(random.seed()));
  for (size_t size = 0; size <= 600; ++size) {
    const Bytes salt = random.Make(8);
    const auto length = static_cast<uint32_t>(random.Word());
    const uint64_t word1 = random.Word();
    const uint64_t word2 = random.Word();
    const Bytes data = random.Make(size);
    const Bytes whole = FrameBytes(salt, length, word1, word2, data);
    const uint32_t expected = BitByBit(whole.data(), whole.size());
    ASSERT_EQ(GetParam()->frame(Of(salt), length, word1, word2, data.data(), size), expected) << size << " bytes";
    Bytes copy(size);
    ASSERT_EQ(GetParam()->copy_frame(Of(salt), length, word1, word2, copy.data(), data.data(), size), expected)
        << size << " bytes";
    ASSERT_EQ(copy, data);
  }
}

TEST_P(Crc32cTest, OfAFrameWithoutDataNeedsNone) {
  const Bytes whole = FrameBytes({}, 24, 1, 2, {});
  EXPECT_EQ(GetParam()->frame(0, 24, 1, 2, nullptr, 0), BitByBit(whole.data(), whole.size()));
  EXPECT_EQ(GetParam()->copy_frame(0, 24, 1, 2, nullptr, nullptr, 0), BitByBit(whole.data(), whole.size()));
}

// The copy has to be exact, and nothing before or behind it may be touched: a neighbour's frame starts there.
void ExpectExactCopy(const Implementation& implementation, const Bytes& data, size_t alignment) {
  constexpr uint8_t kGuard = 0x5a;
  Bytes to(alignment + data.size() + 16, kGuard);
  const uint32_t crc = implementation.copy(7, to.data() + alignment, data.data(), data.size());
  ASSERT_EQ(crc, implementation.extend(7, data.data(), data.size())) << data.size() << " bytes";
  const auto begin = to.begin() + static_cast<std::ptrdiff_t>(alignment);
  const auto end = begin + static_cast<std::ptrdiff_t>(data.size());
  const auto is_guard = [](uint8_t byte) { return byte == kGuard; };
  ASSERT_TRUE(std::equal(data.begin(), data.end(), begin)) << data.size() << " bytes";
  ASSERT_TRUE(std::all_of(to.begin(), begin, is_guard)) << data.size() << " bytes";
  ASSERT_TRUE(std::all_of(end, to.end(), is_guard)) << data.size() << " bytes";
}

TEST_P(Crc32cTest, CopiesExactlyWhatItTakesTheCrcOf) {
  RandomBytes random;
  SCOPED_TRACE("seed " + std::to_string(random.seed()));
  for (size_t size = 0; size <= 600; ++size) {
    ASSERT_NO_FATAL_FAILURE(ExpectExactCopy(*GetParam(), random.Make(size), random.Below(16)));
  }
  for (size_t size : {1152u, 1153u, 1536u, 2623u, 2624u, 2625u, 3071u, 3072u, 3073u, 4096u, 4097u, 65536u, 200'003u}) {
    ASSERT_NO_FATAL_FAILURE(ExpectExactCopy(*GetParam(), random.Make(size), random.Below(16)));
  }
}

INSTANTIATE_TEST_SUITE_P(Every, Crc32cTest, testing::ValuesIn(crc32c::Available().begin(), crc32c::Available().end()),
                         [](const auto& parameter) {
                           std::string name = parameter.param->name;
                           std::erase(name, '.');
                           return name;
                         });

uint32_t TakenBeforeMain = ExtendCrc32c(0, "123456789", 9);

TEST(Crc32cDispatchTest, WorksInStaticInitialisers) { EXPECT_EQ(TakenBeforeMain, 0xe3069283u); }

TEST(Crc32cDispatchTest, TakesTheBestThereIs) {
  EXPECT_STREQ(Crc32cImplementation(), crc32c::Available().front()->name);
  EXPECT_EQ(crc32c::active.load()->extend, crc32c::Available().front()->extend);
}

TEST(Crc32cDispatchTest, ReachesEveryFunction) {
  const Bytes data = RandomBytes().Make(100);
  Bytes to(100);
  const uint32_t expected = BitByBit(data.data(), data.size());
  EXPECT_EQ(Crc32c(std::as_bytes(std::span(data))), expected);
  EXPECT_EQ(CopyAndCrc32c(0, to.data(), data.data(), data.size()), expected);
  EXPECT_EQ(to, data);
  const Bytes whole = FrameBytes({}, 1, 2, 3, data);
  EXPECT_EQ(Crc32cFrame(0, 1, 2, 3, data.data(), data.size()), BitByBit(whole.data(), whole.size()));
  EXPECT_EQ(CopyAndCrc32cFrame(0, 1, 2, 3, to.data(), data.data(), data.size()), BitByBit(whole.data(), whole.size()));
}

}  // namespace
}  // namespace segwal
