// One bit turned anywhere in a log, many times over: it is noticed, or it makes no difference to any record, and then
// it is of one of the classes that are listed here with the reason. `npm run test:bitflips` turns 100,000.
#include <gtest/gtest.h>

#include <cstdlib>
#include <iostream>
#include <map>
#include <random>

#include "testing/damaged_log.h"

namespace segwal {
namespace {

uint64_t FromEnvironment(const char* name, uint64_t fallback) {
  const char* text = std::getenv(name);
  return text == nullptr ? fallback : std::strtoull(text, nullptr, 10);
}

// Why a flip there can make no difference; empty: it can.
std::string HarmlessClass(const DamagedLog::Files& files, const std::string& file, uint64_t offset) {
  if (file == DamagedLog::kMeta) return "wal.meta: rebuilt from the segments, and reported by an open for writing";
  if (file.starts_with("checkpoints/")) return "";
  const uint64_t sector = offset / kSectorSize;
  if (sector == 1) return "seal: without it the frames are read, which say the same";
  if (sector == 2) return "live: where claims ended and in which boot; frames that are committed say the same";
  if (sector == 3) return "mark: seals, later frames and wal.meta prove what it proved";
  if (offset < kSegmentHeaderSize) return sector == 0 ? "" : "unused header";
  SegmentIdentity identity;
  if (LoadIdentity(files.at(file).data(), &identity) != SectorState::kValid) return "";
  const std::byte* data = files.at(file).data();
  uint64_t at = kSegmentHeaderSize;
  Frame frame;
  for (uint32_t index = 0;
       CheckFrame(data, at, files.at(file).size(), index, SaltChecksum(identity.salt), &frame) == FrameState::kValid;
       index += frame.count) {
    if (offset < at + frame.length) return "";
    at += frame.padded_length();
    if (offset < at) return "padding of a frame";
  }
  return "behind the last frame: zeroed before anything is claimed there";
}

TEST(BitFlipTest, EveryFlippedBitIsNoticedOrHarmless) {
  const uint64_t seed = FromEnvironment("SEGWAL_SEED", std::random_device{}());
  const uint64_t flips = FromEnvironment("SEGWAL_BITFLIPS", 300);
  std::cout << "seed " << seed << ", " << flips << " flips\n";
  std::mt19937_64 random(seed);
  const DamagedLog logs[] = {DamagedLog(DamagedLog::State::kClosed), DamagedLog(DamagedLog::State::kPowerCut),
                             DamagedLog(DamagedLog::State::kCompacted)};
  std::map<std::string, uint64_t> classes;
  for (uint64_t i = 0; i < flips && !testing::Test::HasFailure(); ++i) {
    const DamagedLog& log = logs[random() % std::size(logs)];
    DamagedLog::Files files = log.files();
    auto chosen = files.begin();
    std::advance(chosen, random() % files.size());
    auto& [file, bytes] = *chosen;
    // Mostly where something is.
    const uint64_t range =
        random() % 8 == 0 ? bytes.size() : std::min<uint64_t>(bytes.size(), kSegmentHeaderSize + 512);
    const uint64_t bit = random() % (8 * range);
    const std::string harmless = HarmlessClass(files, file, bit / 8);
    bytes[bit / 8] ^= std::byte{1} << (bit % 8);
    const std::string where = file + ", bit " + std::to_string(bit) + ", seed " + std::to_string(seed);
    const std::string outcome = OutcomesOf(log, files, where);
    const bool noticed = outcome.find("refused") != std::string::npos || outcome.find("read:") != std::string::npos ||
                         outcome.find("damaged") != std::string::npos ||
                         outcome.find("(checkpoint)") != std::string::npos;  // the report says that it was skipped
    if (!noticed) {
      EXPECT_TRUE(outcome.starts_with("whole")) << where << ": " << outcome;
      EXPECT_NE(harmless, "") << where << ": " << outcome;
    }
    ++classes[noticed ? "noticed" : harmless];
  }
  for (const auto& [name, count] : classes) std::cout << count << "  " << name << '\n';
}

}  // namespace
}  // namespace segwal
