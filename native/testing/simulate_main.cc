// segwal_simulate: runs random programs against the log until one fails or the time is over.
//
//   segwal_simulate [--seed N] [--rounds N] [--minutes M] [--verbose]
//   segwal_simulate --program 'machine 1 | append 2 | …'     one program, with its trace
//
// Prints the seed first. Exit code 1 when a program failed: then how to repeat it, and what it did.
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <random>
#include <string>

#include "testing/simulation.h"

namespace segwal {
namespace {

struct Arguments {
  uint64_t seed = 0;
  uint64_t rounds = UINT64_MAX;
  double minutes = 1;
  bool verbose = false;
  std::string program;
};

bool Parse(int count, char** values, Arguments* arguments) {
  arguments->seed = std::random_device()();
  for (int i = 1; i < count; ++i) {
    const std::string name = values[i];
    if (name == "--verbose") {
      arguments->verbose = true;
      continue;
    }
    if (++i == count) return false;
    char* end = nullptr;
    if (name == "--seed") {
      arguments->seed = std::strtoull(values[i], &end, 10);
    } else if (name == "--rounds") {
      arguments->rounds = std::strtoull(values[i], &end, 10);
      arguments->minutes = 1e9;
    } else if (name == "--minutes") {
      arguments->minutes = std::strtod(values[i], &end);
    } else if (name == "--program") {
      arguments->program = values[i];
      continue;
    } else {
      return false;
    }
    if (end == values[i] || *end != '\0') return false;
  }
  return true;
}

int RunOne(const std::string& text) {
  const std::optional<SimulationProgram> program = SimulationProgram::FromText(text);
  if (!program) {
    std::fprintf(stderr, "this is no program\n");
    return 2;
  }
  const SimulationResult result = RunSimulation(*program, true);
  for (const std::string& line : result.trace) std::printf("%s\n", line.c_str());
  std::printf("%s\n", result.ok() ? "all well" : result.failure.c_str());
  return result.ok() ? 0 : 1;
}

int RunMany(const Arguments& arguments) {
  using Clock = std::chrono::steady_clock;
  std::printf("seed %llu\n", static_cast<unsigned long long>(arguments.seed));
  std::fflush(stdout);
  const auto start = Clock::now();
  const auto elapsed = [start] { return std::chrono::duration<double>(Clock::now() - start).count(); };
  SimulationResult total;
  uint64_t round = 0;
  int exit_code = 0;
  for (; round < arguments.rounds && elapsed() < arguments.minutes * 60; ++round) {
    const SimulationProgram program = SimulationProgram::Random(SimulationSeed(arguments.seed, round));
    const SimulationResult result = RunSimulation(program);
    total.Count(result);
    if (arguments.verbose) {
      std::printf("%llu: %s\n", static_cast<unsigned long long>(round), program.ToText().c_str());
    }
    if (!result.ok()) {
      std::printf("seed %llu, round %llu failed\n%s", static_cast<unsigned long long>(arguments.seed),
                  static_cast<unsigned long long>(round), DescribeFailure(program).c_str());
      exit_code = 1;
      ++round;
      break;
    }
  }
  const double seconds = elapsed();
  const auto number = [](uint64_t value) { return static_cast<unsigned long long>(value); };
  std::printf(
      "%llu programs, %llu steps, %llu records, %llu faults, %llu crashes, %llu of them in a recovery, %llu "
      "recoveries checked; %.1f s, %.0f crashes a minute\n",
      number(round), number(total.steps), number(total.records), number(total.faults), number(total.crashes),
      number(total.cut_short), number(total.recoveries), seconds, static_cast<double>(total.crashes) / seconds * 60);
  return exit_code;
}

}  // namespace
}  // namespace segwal

int main(int count, char** values) {
  segwal::Arguments arguments;
  if (!segwal::Parse(count, values, &arguments)) {
    std::fprintf(stderr, "segwal_simulate [--seed N] [--rounds N] [--minutes M] [--verbose] [--program TEXT]\n");
    return 2;
  }
  return arguments.program.empty() ? segwal::RunMany(arguments) : segwal::RunOne(arguments.program);
}
