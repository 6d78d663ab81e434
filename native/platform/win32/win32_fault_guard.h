// What is done when the system cannot bring in a page of a mapped file: EXCEPTION_IN_PAGE_ERROR, where others send
// SIGBUS. A block cannot be read; the drive, or the share, is gone. (That the file was cut short is no reason: the
// system lets nobody cut off what is mapped.) Windows of a segment are read ahead by calls that return errors
// (Win32Mapping::Populate); what is left comes here.
//
// Nothing can be put in the place of one page of a view. So the whole view goes, and zeroed memory of nobody's takes
// its place at the same address; the access completes there, as on POSIX. What had been stored through the view stays
// with the file: the system keeps its pages, whether or not anybody still looks at them. An exception elsewhere is
// handed on.
//
// Between the view and the memory the addresses are free for a moment. A thread of the log's that comes by then takes
// an access violation, waits for the memory, and goes on. No other view of a log comes to lie there, since views are
// made under the lock of the change. If an allocation of somebody else's does, the process is ended at once.
#pragma once

#include <cstddef>

#include "platform/platform.h"
#include "platform/win32/win32_api.h"

namespace segwal::win32 {

// MapViewOfFile from the section's beginning; null when it fails, and GetLastError says why.
std::byte* MapView(HANDLE section, DWORD access, size_t length);

// Announces a view, installing the handler the first time. `failure` and the view outlive the announcement.
void GuardView(std::byte* begin, size_t length, MappingFailure* failure);

// Withdraws it, and unmaps or frees what lies there now. REQUIRES: nobody uses the memory any more.
void UnmapView(std::byte* begin);

}  // namespace segwal::win32
