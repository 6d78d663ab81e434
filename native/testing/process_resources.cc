#include "testing/process_resources.h"

#include <chrono>
#include <thread>

namespace segwal {

ProcessResources ProcessResources::Settled(const std::string& path, const ProcessResources& expected) {
  ProcessResources found = Of(path);
  for (int i = 0; i < 1000 && found != expected; ++i) {
    std::this_thread::sleep_for(std::chrono::milliseconds(2));
    found = Of(path);
  }
  return found;
}

std::ostream& operator<<(std::ostream& out, const ProcessResources& resources) {
  return out << resources.threads << " threads, " << resources.descriptors << " descriptors, " << resources.mappings
             << " mappings";
}

}  // namespace segwal
