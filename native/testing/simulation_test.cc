#include "testing/simulation.h"

#include <gtest/gtest.h>

#include <fstream>
#include <random>

#include "testing/files.h"

namespace segwal {
namespace {

// Every program of failed_seeds.txt, each of which found a bug once.
TEST(SimulationTest, WhatFailedOnceDoesNotFailAgain) {
  std::ifstream file(SourceDirectory() + "/native/testing/failed_seeds.txt");
  ASSERT_TRUE(file.is_open());
  int programs = 0;
  for (std::string line; std::getline(file, line);) {
    if (line.empty() || line[0] == '#') continue;
    const std::optional<SimulationProgram> program = SimulationProgram::FromText(line);
    ASSERT_TRUE(program) << "this is no program: " << line;
    EXPECT_TRUE(RunSimulation(*program).ok()) << DescribeFailure(*program);
    ++programs;
  }
  EXPECT_GT(programs, 0);
}

TEST(SimulationTest, ThousandsOfFreshProgramsAgreeWithTheModel) {
  const uint64_t seed = std::random_device()();
  SCOPED_TRACE("segwal_simulate --seed " + std::to_string(seed));
  SimulationResult total;
  for (uint64_t round = 0; round < 2000; ++round) {
    const SimulationProgram program = SimulationProgram::Random(SimulationSeed(seed, round));
    const SimulationResult result = RunSimulation(program);
    ASSERT_TRUE(result.ok()) << "round " << round << '\n' << DescribeFailure(program);
    total.Count(result);
  }
  // Programs that do nothing would agree with any model.
  EXPECT_GT(total.crashes, 4000u);
  EXPECT_GT(total.cut_short, 500u);
  EXPECT_GT(total.records, 10'000u);
  EXPECT_GT(total.faults, 200u);
}

TEST(SimulationTest, AProgramDoesTheSameAgain) {
  for (uint64_t seed = 0; seed < 20; ++seed) {
    const SimulationProgram program = SimulationProgram::Random(seed);
    const std::optional<SimulationProgram> again = SimulationProgram::FromText(program.ToText());
    ASSERT_TRUE(again);
    const SimulationResult one = RunSimulation(program, true);
    EXPECT_EQ(one.trace, RunSimulation(*again, true).trace);
    EXPECT_FALSE(one.trace.empty());
  }
}

TEST(SimulationTest, WhatIsNoProgramIsRefused) {
  EXPECT_FALSE(SimulationProgram::FromText(""));
  EXPECT_FALSE(SimulationProgram::FromText("machine x"));
  EXPECT_FALSE(SimulationProgram::FromText("machine 1 | no-such-action 2"));
  EXPECT_FALSE(SimulationProgram::FromText("machine 1 | append"));
}

}  // namespace
}  // namespace segwal
