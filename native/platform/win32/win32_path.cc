#include "platform/win32/win32_path.h"

#include "platform/win32/win32_api.h"

namespace segwal::win32 {
namespace {

constexpr std::wstring_view kDevice = L"\\\\.\\";
constexpr std::wstring_view kVerbatim = L"\\\\?\\";
constexpr std::wstring_view kVerbatimShare = L"\\\\?\\UNC\\";

}  // namespace

std::wstring ToUtf16(std::string_view text) {
  const int size = static_cast<int>(text.size());
  const int length = ::MultiByteToWideChar(CP_UTF8, 0, text.data(), size, nullptr, 0);
  std::wstring wide(static_cast<size_t>(length), L'\0');
  ::MultiByteToWideChar(CP_UTF8, 0, text.data(), size, wide.data(), length);
  return wide;
}

std::string ToUtf8(std::wstring_view text) {
  const int size = static_cast<int>(text.size());
  const int length = ::WideCharToMultiByte(CP_UTF8, 0, text.data(), size, nullptr, 0, nullptr, nullptr);
  std::string narrow(static_cast<size_t>(length), '\0');
  ::WideCharToMultiByte(CP_UTF8, 0, text.data(), size, narrow.data(), length, nullptr, nullptr);
  return narrow;
}

// A path with the prefix is taken as it stands, so slashes, dots and what is relative have to be resolved before.
std::wstring SystemPath(const std::string& path) {
  std::wstring wide = ToUtf16(path);
  if (wide.starts_with(kVerbatim)) {
    for (wchar_t& character : wide) {
      if (character == L'/') character = L'\\';
    }
    return wide;
  }
  std::wstring full(MAX_PATH, L'\0');
  for (;;) {
    const DWORD length = ::GetFullPathNameW(wide.c_str(), static_cast<DWORD>(full.size()), full.data(), nullptr);
    if (length == 0) return wide;  // whatever is wrong with it, the call that it is for will say so
    const bool whole = length < full.size();
    full.resize(length);
    if (whole) break;
  }
  if (full.starts_with(kVerbatim) || full.starts_with(kDevice)) return full;
  if (full.starts_with(L"\\\\")) return std::wstring(kVerbatimShare) + full.substr(2);
  return std::wstring(kVerbatim) + full;
}

std::wstring WithoutPrefix(std::wstring path) {
  if (path.starts_with(kVerbatimShare)) return L"\\\\" + path.substr(kVerbatimShare.size());
  if (path.starts_with(kVerbatim)) return path.substr(kVerbatim.size());
  return path;
}

}  // namespace segwal::win32
