#include "testing/temporary_directory.h"

#include <gtest/gtest.h>

#include <random>

namespace segwal {

TemporaryDirectory::TemporaryDirectory() {
  std::random_device random;
  do {
    path_ = testing::TempDir() + "segwal-" + std::to_string(random());
  } while (!std::filesystem::create_directory(path_));
}

TemporaryDirectory::~TemporaryDirectory() {
  std::error_code ignored;
  std::filesystem::remove_all(path_, ignored);
}

}  // namespace segwal
