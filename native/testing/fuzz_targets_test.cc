// The targets of the fuzzer, with its seeds, with bytes changed by chance, and with what it found once.
#include "testing/fuzz_targets.h"

#include <gtest/gtest.h>

#include <filesystem>
#include <iostream>
#include <random>

#include "testing/files.h"

namespace segwal {
namespace {

class FuzzTargetTest : public testing::TestWithParam<FuzzTarget> {};

TEST_P(FuzzTargetTest, TakesItsSeeds) {
  const auto seeds = FuzzSeeds(GetParam().name);
  ASSERT_FALSE(seeds.empty());
  for (const auto& seed : seeds) GetParam().run(seed);
  GetParam().run({});
}

TEST_P(FuzzTargetTest, TakesWhatWasFoundOnce) {
  const std::string folder = SourceDirectory() + "/test/fuzz/" + GetParam().name;
  for (const std::string& name : NamesIn(folder)) {
    SCOPED_TRACE(name);
    GetParam().run(ReadFile(folder + "/" + name));
  }
}

TEST_P(FuzzTargetTest, TakesSeedsWithBytesChangedByChance) {
  const uint64_t seed = std::random_device{}();
  std::cout << "seed " << seed << '\n';
  std::mt19937_64 random(seed);
  const auto seeds = FuzzSeeds(GetParam().name);
  for (int i = 0; i < 200; ++i) {
    std::vector<std::byte> input = seeds[random() % seeds.size()];
    const auto more = seeds[random() % seeds.size()];
    if (random() % 2 == 0) input.insert(input.end(), more.begin(), more.end());
    for (uint64_t change = random() % 8; change != 0; --change) {
      input[random() % input.size()] = static_cast<std::byte>(random());
    }
    GetParam().run(input);
  }
}

INSTANTIATE_TEST_SUITE_P(Of, FuzzTargetTest, testing::ValuesIn(FuzzTargets().begin(), FuzzTargets().end()),
                         [](const auto& each) { return std::string(each.param.name); });

}  // namespace
}  // namespace segwal
