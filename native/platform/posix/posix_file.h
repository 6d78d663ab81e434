#pragma once

#include <string>

#include "platform/platform.h"
#include "platform/posix/posix_descriptor.h"

namespace segwal::posix {

class PosixFile final : public File {
 public:
  PosixFile(Descriptor descriptor, std::string path) : descriptor_(std::move(descriptor)), path_(std::move(path)) {}

  Status Size(uint64_t* bytes) override;
  Status Read(uint64_t offset, std::span<std::byte> out, size_t* count) override;
  Status Write(uint64_t offset, ByteView data) override;
  Status Allocate(uint64_t bytes) override;
  Status Zero(uint64_t offset, uint64_t length) override;
  Status Sync() override;

  // Its size, and whether it can still be found in any directory.
  Status Look(uint64_t* bytes, bool* has_name);

  // Every mapping holds a shared lock of the file (flock), which the kernel lets go of with the mapping's process. Who
  // gets it alone knows that nobody has the file mapped.
  Status TakeForRecycling();
  // kNotFound while somebody holds it alone. The same descriptor keeps it until it is closed.
  Status LockForMapping();

  int descriptor() const { return descriptor_.get(); }
  const std::string& path() const { return path_; }

 private:
  Status WriteZeros(uint64_t offset, uint64_t length);
  Status RewriteAll(uint64_t bytes);

  const Descriptor descriptor_;
  const std::string path_;
};

}  // namespace segwal::posix
