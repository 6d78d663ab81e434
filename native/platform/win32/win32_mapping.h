#pragma once

#include <memory>

#include "platform/platform.h"
#include "platform/win32/win32_deletions.h"
#include "platform/win32/win32_file.h"

namespace segwal::win32 {

class Win32Mapping final : public Mapping {
 public:
  static Status Create(std::unique_ptr<Win32File> file, uint64_t length, bool writable, Deletions& deletions,
                       std::unique_ptr<Mapping>* mapping);
  ~Win32Mapping() override;

  Status Sync(uint64_t offset, uint64_t length) override;
  Status Populate(uint64_t offset, uint64_t length) override;

 private:
  Win32Mapping(std::unique_ptr<Win32File> file, std::byte* data, size_t size, bool writable, Deletions& deletions,
               const FileId& id);

  Status FlushView(uint64_t offset, uint64_t length);

  std::unique_ptr<Win32File> file_;
  [[maybe_unused]] const bool writable_;  // for asserts
  Deletions& deletions_;
  const FileId id_;
};

}  // namespace segwal::win32
