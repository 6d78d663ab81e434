#include "testing/process_resources.h"

#include <algorithm>
#include <chrono>
#include <filesystem>
#include <fstream>
#include <thread>

namespace segwal {

bool ProcessResources::CanBeCounted() { return std::filesystem::is_directory("/proc/self/task"); }

ProcessResources ProcessResources::Of(const std::string& path) {
  namespace fs = std::filesystem;
  ProcessResources found;
  std::error_code gone;
  const std::string canonical = fs::weakly_canonical(path, gone).string();
  for (const auto& thread : fs::directory_iterator("/proc/self/task")) {
    if (!thread.path().empty()) ++found.threads;
  }
  for (const auto& descriptor : fs::directory_iterator("/proc/self/fd")) {
    if (fs::read_symlink(descriptor.path(), gone).string().rfind(canonical, 0) == 0) ++found.descriptors;
  }
  std::ifstream maps("/proc/self/maps");
  for (std::string line; std::getline(maps, line);) {
    if (line.find(" " + canonical) != std::string::npos) ++found.mappings;
  }
  return found;
}

ProcessResources ProcessResources::Baseline(const std::string& path) {
  std::thread([] {}).join();
  ProcessResources least = Of(path);
  for (int i = 0; i < 10; ++i) {
    std::this_thread::sleep_for(std::chrono::milliseconds(2));
    least.threads = std::min(least.threads, Of(path).threads);
  }
  return least;
}

}  // namespace segwal
