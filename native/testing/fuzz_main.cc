// The fuzzer: one program for all targets; SEGWAL_FUZZ_TARGET names the one that it runs. See scripts/fuzz.mjs.
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <fstream>

#include "testing/fuzz_targets.h"

namespace {

const segwal::FuzzTarget* Chosen() {
  const char* name = std::getenv("SEGWAL_FUZZ_TARGET");
  for (const segwal::FuzzTarget& target : segwal::FuzzTargets()) {
    if (name != nullptr && std::strcmp(name, target.name) == 0) return &target;
  }
  std::fprintf(stderr, "SEGWAL_FUZZ_TARGET must name a target\n");
  std::exit(2);
}

}  // namespace

// Writes the seeds into the first argument's folder, when SEGWAL_FUZZ_SEEDS names one.
extern "C" int LLVMFuzzerInitialize(int*, char***) {
  const char* folder = std::getenv("SEGWAL_FUZZ_SEEDS");
  if (folder == nullptr) return 0;
  int number = 0;
  for (const auto& seed : segwal::FuzzSeeds(Chosen()->name)) {
    std::ofstream file(std::string(folder) + "/seed-" + std::to_string(number++), std::ios::binary);
    file.write(reinterpret_cast<const char*>(seed.data()), static_cast<std::streamsize>(seed.size()));
  }
  return 0;
}

extern "C" int LLVMFuzzerTestOneInput(const unsigned char* data, size_t size) {
  static const segwal::FuzzTarget& target = *Chosen();
  target.run(std::as_bytes(std::span(data, size)));
  return 0;
}
