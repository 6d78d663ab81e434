#pragma once

#include <memory>

#include "platform/platform.h"
#include "platform/posix/posix_fault_guard.h"
#include "platform/posix/posix_file.h"

namespace segwal::posix {

class PosixMapping final : public Mapping {
 public:
  static Status Create(std::unique_ptr<PosixFile> file, uint64_t length, bool writable,
                       std::unique_ptr<Mapping>* mapping);
  ~PosixMapping() override;

  Status Sync(uint64_t offset, uint64_t length) override;
  void Fetch(uint64_t offset, uint64_t length) override;
  void LayZeros(uint64_t offset, uint64_t length) override;
  Status Populate(uint64_t offset, uint64_t length) override;

 private:
  PosixMapping(std::unique_ptr<PosixFile> file, std::byte* data, size_t size, bool writable);

  const std::unique_ptr<PosixFile> file_;
  GuardedRange* const guarded_;
  [[maybe_unused]] const bool writable_;  // for asserts
};

// Populates by hand, where the system has no call for it: writes to one byte of every page, without changing it.
// `offset` is where the pages are in the file. Exposed for its test.
Status TouchPages(PosixFile& file, uint64_t offset, std::byte* pages, size_t length);

}  // namespace segwal::posix
