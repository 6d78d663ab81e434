// Every field of everything that is on the disk, damaged in every way: what opening, reading, verifying and salvaging
// make of it stands in test/damage-matrix.tsv, a row for each, and is compared here with what they really do.
// After a change that is meant: SEGWAL_WRITE_MATRIX=1 build-tests/plain/segwal_tests --gtest_filter='DamageMatrix*',
// and read the difference.
#include <gtest/gtest.h>

#include <algorithm>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <set>

#include "core/checkpoints.h"
#include "testing/assertions.h"
#include "testing/damaged_log.h"
#include "testing/files.h"

namespace segwal {
namespace {

using Files = DamagedLog::Files;
using Damage = std::function<bool(Files&)>;  // false: it changes nothing, or cannot be

struct Field {
  std::string name;
  std::string file;
  uint64_t offset;
  uint64_t length;
  uint64_t stale;  // where an older or another value of the same field stands, in the same file
};

struct Row {
  std::string target;
  std::string damage;
  Damage inflict;
};

std::vector<Field> HeaderFields(const std::string& file, const std::string& what) {
  struct Part {
    const char* name;
    uint64_t offset;
    uint64_t length;
  };
  const Part parts[] = {{"identity magic", 0, 8},
                        {"identity version", 8, 4},
                        {"identity flags", 12, 4},
                        {"identity log id", 16, 16},
                        {"identity segment", 32, 8},
                        {"identity base", 40, 8},
                        {"identity salt", 48, 8},
                        {"identity size", 56, 8},
                        {"identity created", 64, 8},
                        {"identity zeros", 72, 436},
                        {"identity crc", 508, 4},
                        {"seal salt", 512, 8},
                        {"seal end", 520, 8},
                        {"seal count", 528, 8},
                        {"seal last", 536, 8},
                        {"seal earliest", 544, 8},
                        {"seal latest", 552, 8},
                        {"seal zeros", 560, 460},
                        {"seal crc", 1020, 4},
                        {"live pointer offset", 1024, 4},
                        {"live pointer count", 1028, 4},
                        {"live boot id", 1088, 16},
                        {"live pid", 1104, 4},
                        {"live truncations", 1120, 8},
                        {"mark synced", 1536, 4},
                        {"mark crc", 1540, 4},
                        {"orderly end", 1600, 4},
                        {"orderly end crc", 1604, 4},
                        {"unused header", 2048, 2048}};
  std::vector<Field> fields;
  for (const Part& part : parts) {
    fields.push_back({what + ", " + part.name, file, part.offset, part.length, UINT64_MAX});
  }
  return fields;
}

std::vector<Field> FrameFields(const std::string& file, const std::string& what, const DamagedLog::FramePlace& frame,
                               uint64_t before) {
  std::vector<Field> fields;
  const auto add = [&](const char* name, uint64_t offset, uint64_t length) {
    fields.push_back(
        {what + " " + frame.kind + " frame, " + name, file, frame.offset + offset, length, before + offset});
  };
  add("length", 0, 4);
  add("crc", 4, 4);
  add("index", 8, 4);
  add("synced", 12, 4);
  add("time", 16, 6);
  add("kind", 22, 1);
  add("flags", 23, 1);
  if (frame.kind == "keyed") {
    add("key length", 24, 2);
    add("key", 26, 3);
  }
  if (frame.kind == "batch") {
    add("count", 24, 4);
    add("data length of a record", 28, 4);
    add("kind of a record", 32, 1);
    add("flags of a record", 33, 1);
    add("key length of a record", 34, 2);
  }
  if (frame.kind == "filler") add("count", 24, 4);
  add("last bytes", frame.length - 4, 4);
  if (frame.length % 8 != 0) add("padding", frame.length, 8 - frame.length % 8);
  return fields;
}

std::vector<Row> DamagesOf(const Field& field, const Files& older) {
  const auto bytes_of = [field](Files& files) { return files.at(field.file).data() + field.offset; };
  std::vector<Row> rows;
  rows.push_back({field.name, "bit flip", [=](Files& files) {
                    bytes_of(files)[field.length / 2] ^= std::byte{0x10};
                    return true;
                  }});
  rows.push_back({field.name, "zero", [=](Files& files) {
                    const Files before = files;
                    std::fill_n(bytes_of(files), field.length, std::byte{0});
                    return files != before;
                  }});
  rows.push_back({field.name, "stale value", [=, &older](Files& files) {
                    const Files before = files;
                    const auto& source = field.stale == UINT64_MAX ? older.at(field.file) : before.at(field.file);
                    const uint64_t from = field.stale == UINT64_MAX ? field.offset : field.stale;
                    if (from + field.length > source.size()) return false;  // the older file has no such field
                    std::copy_n(source.data() + from, field.length, bytes_of(files));
                    return files != before;
                  }});
  return rows;
}

Row Swap(const std::string& target, const std::string& file, uint64_t one, uint64_t other) {
  return {target, "swapped sector", [=](Files& files) {
            std::byte* data = files.at(file).data();
            std::swap_ranges(data + one, data + one + kSectorSize, data + other);
            return true;
          }};
}

std::vector<Row> DamagesOfFile(const std::string& what, const std::string& file, const std::string& copied,
                               const Files& older, const Files& other) {
  const auto resize = [file](uint64_t size) {
    return [=](Files& files) {
      files.at(file).resize(size);
      return true;
    };
  };
  std::vector<Row> rows = {
      {what, "missing", [=](Files& files) { return files.erase(file) == 1; }},
      {what, "empty", resize(0)},
      {what, "file of another log",
       [=, &other](Files& files) {
         files[file] = other.at(file);
         return true;
       }},
      {what, "older copy",
       [=, &older](Files& files) {
         files[file] = older.at(file);
         return true;
       }},
  };
  if (file == DamagedLog::kMeta) {
    rows.push_back({what, "truncated", resize(300)});
    rows.push_back({what, "extended", resize(1024)});
    return rows;
  }
  if (file == DamagedLog::CheckpointFile()) {
    rows.push_back({what, "truncated", resize(kCheckpointHeaderSize / 2)});
    rows.push_back({what, "truncated in its data", resize(kCheckpointHeaderSize + 1)});
    rows.push_back({what, "extended", resize(kCheckpointHeaderSize + 100)});
    rows.push_back({what, "renamed to " + copied, [=](Files& files) {
                      files["checkpoints/" + copied] = files.at(file);
                      return files.erase(file) == 1;
                    }});
    return rows;
  }
  rows.push_back({what, "all zero", [=](Files& files) {
                    std::ranges::fill(files.at(file), std::byte{0});
                    return true;
                  }});
  rows.push_back({what, "truncated in its first sector", resize(300)});
  rows.push_back({what, "truncated behind its header", resize(kSegmentHeaderSize)});
  rows.push_back({what, "truncated in a frame", resize(kSegmentHeaderSize + 60)});
  rows.push_back({what, "truncated behind its frames", resize(uint64_t{40} << 10)});
  rows.push_back({what, "extended", resize(TestLog::kSegmentSize + 4096)});
  rows.push_back({what, "duplicated to " + copied, [=](Files& files) {
                    files["segments/" + copied] = files.at(file);
                    return true;
                  }});
  return rows;
}

std::vector<Row> AllRows(const DamagedLog& log) {
  std::vector<Row> rows;
  const auto add = [&rows](std::vector<Row> more) { std::ranges::move(more, std::back_inserter(rows)); };
  const std::pair<uint64_t, std::string> segments[] = {{2, "first"}, {3, "middle"}, {4, "last"}};
  for (const auto& [id, what] : segments) {
    const std::string file = DamagedLog::Segment(id);
    add(DamagesOfFile(what + " segment", file, LogDirectory::SegmentName(id == 4 ? 5 : id + 1), log.older(),
                      log.other()));
    for (const Field& field : HeaderFields(file, what + " segment")) add(DamagesOf(field, log.older()));
    for (uint64_t sector = 0; sector < 4; ++sector) {
      rows.push_back(
          Swap(what + " segment, header sectors " + std::to_string(sector) + " and " + std::to_string(sector + 1), file,
               sector * kSectorSize, (sector + 1) * kSectorSize));
    }
    if (id == 3) continue;
    rows.push_back(
        Swap(what + " segment, first sectors of frames", file, kSegmentHeaderSize, kSegmentHeaderSize + kSectorSize));
    uint64_t before = log.frames(id)[0].offset;
    for (const DamagedLog::FramePlace& frame : log.frames(id)) {
      for (const Field& field : FrameFields(file, what + " segment,", frame, before))
        add(DamagesOf(field, log.older()));
      before = frame.offset;
    }
    rows.push_back({what + " segment, behind its frames", "bit flip", [file](Files& files) {
                      files.at(file)[uint64_t{50} << 10] ^= std::byte{1};
                      return true;
                    }});
  }
  const std::string meta = DamagedLog::kMeta;
  add(DamagesOfFile("wal.meta", meta, "", log.older(), log.other()));
  const std::pair<const char*, std::pair<uint64_t, uint64_t>> fields[] = {
      {"magic", {0, 8}},        {"version", {8, 4}},        {"log id", {16, 16}},        {"segment size", {32, 8}},
      {"created", {40, 8}},     {"first segment", {48, 8}}, {"first sequence", {56, 8}}, {"durable sequence", {64, 8}},
      {"truncations", {72, 8}}, {"truncated to", {80, 8}},  {"truncating", {88, 8}},     {"zeros", {96, 412}},
      {"crc", {508, 4}}};
  for (const auto& [name, place] : fields) {
    add(DamagesOf({std::string("wal.meta, ") + name, meta, place.first, place.second, UINT64_MAX}, log.older()));
  }
  const std::string checkpoint = DamagedLog::CheckpointFile();
  add(DamagesOfFile("checkpoint", checkpoint, "checkpoint-10.meta", log.older(), log.other()));
  const std::pair<const char*, std::pair<uint64_t, uint64_t>> parts[] = {
      {"magic", {0, 8}},    {"version", {8, 4}},      {"flags", {12, 4}}, {"log id", {16, 16}}, {"sequence", {32, 8}},
      {"created", {40, 8}}, {"data length", {48, 4}}, {"zeros", {52, 8}}, {"crc", {60, 4}},     {"data", {64, 15}}};
  for (const auto& [name, place] : parts) {
    add(DamagesOf({std::string("checkpoint, ") + name, checkpoint, place.first, place.second, UINT64_MAX},
                  log.older()));
  }
  return rows;
}

std::string MatrixPath() { return SourceDirectory() + "/test/damage-matrix.tsv"; }

TEST(DamageMatrixTest, EveryDamageEndsAsTheTableSays) {
  std::string table =
      "# Generated by native/core/damage_matrix_test.cc, which says how, and compared with what really happens.\n"
      "# whole: every record is there. lost n: n records are not, and the report names them. refused: nothing was "
      "changed.\n"
      "# read: opens, and reading the record throws. UNNOTICED n: n durable records are gone and nothing says so (see\n"
      "# docs/FORMAT.md). In brackets: the cases of findings.\n"
      "state\tdamaged\thow\topen\tread-only\tverify\tsalvage\n";
  const std::map<DamagedLog::State, std::string> kNames = {{DamagedLog::State::kClosed, "closed"},
                                                           {DamagedLog::State::kPowerCut, "power cut"},
                                                           {DamagedLog::State::kNeverClosed, "never closed"}};
  for (const DamagedLog::State state :
       {DamagedLog::State::kClosed, DamagedLog::State::kPowerCut, DamagedLog::State::kNeverClosed}) {
    const DamagedLog log(state);
    ASSERT_FALSE(testing::Test::HasFailure());
    const std::string name = kNames.at(state);
    EXPECT_EQ(OutcomesOf(log, log.files(), "nothing"), "whole\twhole\tok\twhole");
    for (const Row& row : AllRows(log)) {
      Files files = log.files();
      if (!row.inflict(files)) continue;
      std::string where = name;
      where += "\t" + row.target + "\t" + row.damage;
      const std::string cells = OutcomesOf(log, files, where);
      // All that stands against the loss of a last segment is what an orderly close leaves outside of it.
      const bool may_go_unnoticed = state == DamagedLog::State::kNeverClosed && row.target == "last segment";
      EXPECT_TRUE(may_go_unnoticed || cells.find("UNNOTICED") == std::string::npos) << where << "\t" << cells;
      table += where + "\t" + cells + "\n";
    }
  }
  if (std::getenv("SEGWAL_WRITE_MATRIX") != nullptr) {
    std::ofstream(MatrixPath()) << table;
    return;
  }
  std::istringstream expected(ReadText(MatrixPath()));
  std::istringstream actual(table);
  std::string line;
  std::string wanted;
  while (std::getline(actual, line)) {
    ASSERT_TRUE(std::getline(expected, wanted)) << "not in the table: " << line;
    EXPECT_EQ(line, wanted);
  }
  EXPECT_FALSE(std::getline(expected, wanted)) << "only in the table: " << wanted;
}

}  // namespace
}  // namespace segwal
