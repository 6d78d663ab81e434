// Whole files, read and written in one go.
#pragma once

#include <cstddef>
#include <map>
#include <string>
#include <vector>

namespace segwal {

std::vector<std::byte> ReadFile(const std::string& path);
void WriteFile(const std::string& path, const std::vector<std::byte>& bytes);
std::string ReadText(const std::string& path);

// Where the repository is: as SEGWAL_SOURCE_DIR in the environment says, for a program that runs on another machine
// than it was built on, else where it was built.
std::string SourceDirectory();

// Names in a directory, sorted; none when there is no such directory.
std::vector<std::string> NamesIn(const std::string& directory);

// Every file below a directory and what is in it, LOCK aside.
std::map<std::string, std::vector<std::byte>> SnapshotOf(const std::string& directory);

}  // namespace segwal
