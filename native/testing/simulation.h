// Simulation: random programs of everything that can happen to a log - appends, writers that stop halfway, syncs,
// rotations, truncations, failing calls, deaths at any call, also during recovery - run on a machine in memory and
// compared with a model. Everything follows from the program: the same one does the same again.
//
// To add an operation: a line in kActions (simulation.cc), its method, and what the model has to know of it.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

namespace segwal {

struct SimulationStep {
  size_t action = 0;  // index into the table of actions
  uint64_t seed = 0;  // what the action chooses, it chooses by this
};

struct SimulationProgram {
  uint64_t seed = 0;  // of the machine: what failing calls leave behind
  std::vector<SimulationStep> steps;

  static SimulationProgram Random(uint64_t seed);
  // One line of text, so that a program that failed can be kept even when the generator changes.
  std::string ToText() const;
  static std::optional<SimulationProgram> FromText(const std::string& text);
};

struct SimulationResult {
  std::string failure;             // empty: all was as it must be
  std::vector<std::string> trace;  // what was done, when asked for
  // How much was tried.
  uint64_t steps = 0;
  uint64_t crashes = 0;     // deaths of the machine or the process
  uint64_t recoveries = 0;  // opens that came to their end
  uint64_t cut_short = 0;   // recoveries that died
  uint64_t records = 0;     // appended
  uint64_t faults = 0;      // calls that failed on purpose

  bool ok() const { return failure.empty(); }
  void Count(const SimulationResult& other);
};

SimulationResult RunSimulation(const SimulationProgram& program, bool trace = false);

// A program that still fails, with as few steps as trying to leave some out gives.
SimulationProgram ShrinkSimulation(const SimulationProgram& program, double seconds = 20);

// Program number `round` of a run with `seed`.
uint64_t SimulationSeed(uint64_t seed, uint64_t round);

// What to print when a program fails: how to repeat it, and the trace of its shrunk form.
std::string DescribeFailure(const SimulationProgram& program);

}  // namespace segwal
