// What is done when the system cannot bring in a page of a mapped file: EXCEPTION_IN_PAGE_ERROR, where others send
// SIGBUS. A block cannot be read; the drive, or the share, is gone. (That the file was cut short is no reason: the
// system lets nobody cut off what is mapped.) Windows of a segment are read ahead by calls that return errors
// (Win32Mapping::Populate); what is left comes here.
//
// The mapping's failure is raised, so that nobody believes what he reads there, and the exception goes on, as if nobody
// had looked. It is not absorbed as on POSIX: nothing can be put in the place of one page of a view. Where nobody else
// in the process handles it, the process ends; that hurts no record, as no end does.
#pragma once

#include <cstddef>

#include "platform/platform.h"

namespace segwal::win32 {

// Announces a mapping, installing the handler the first time. `failure` and the memory outlive the announcement.
void GuardRange(const std::byte* begin, size_t length, MappingFailure* failure);
// REQUIRES: nobody uses the memory any more, and it has not been unmapped yet.
void UnguardRange(const std::byte* begin);

}  // namespace segwal::win32
