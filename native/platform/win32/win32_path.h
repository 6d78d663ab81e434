// Between the paths of the core, in UTF-8, and those of the system, in UTF-16.
#pragma once

#include <string>
#include <string_view>

namespace segwal::win32 {

std::wstring ToUtf16(std::string_view text);
std::string ToUtf8(std::wstring_view text);

// An absolute path that is not held to 260 characters: "\\?\C:\…", "\\?\UNC\server\…". Slashes may stand either way.
std::wstring SystemPath(const std::string& path);

// "\\?\C:\x" as "C:\x", "\\?\UNC\server\x" as "\\server\x": as people write it.
std::wstring WithoutPrefix(std::wstring path);

}  // namespace segwal::win32
