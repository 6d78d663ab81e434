#include "testing/fuzz_targets.h"

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <map>

#include "core/log.h"
#include "core/reader.h"
#include "core/recovery.h"
#include "testing/fault_platform.h"
#include "testing/files.h"

namespace segwal {
namespace {

using Bytes = std::vector<std::byte>;
using Files = std::map<std::string, Bytes>;

void Check(bool holds, const char* what) {
  if (holds) return;
  std::fprintf(stderr, "broken: %s\n", what);
  std::abort();
}

// Takes values off the front of the input; zeros when there is no more.
class Input {
 public:
  explicit Input(ByteView bytes) : bytes_(bytes) {}

  bool empty() const { return bytes_.empty(); }
  template <typename T>
  T Take() {
    T value{};
    const size_t count = std::min(sizeof value, bytes_.size());
    if (count != 0) std::memcpy(&value, bytes_.data(), count);
    bytes_ = bytes_.subspan(count);
    return value;
  }
  ByteView Rest() const { return bytes_; }

 private:
  ByteView bytes_;
};

// The golden files are compressed.
Bytes Unpack(const std::string& path) {
  Bytes bytes;
  std::FILE* pipe = popen(("gzip -dc '" + path + "'").c_str(), "r");
  if (pipe == nullptr) return bytes;
  std::array<std::byte, 65536> chunk;
  for (size_t count = 0; (count = std::fread(chunk.data(), 1, chunk.size(), pipe)) != 0;) {
    bytes.insert(bytes.end(), chunk.begin(), chunk.begin() + static_cast<std::ptrdiff_t>(count));
  }
  pclose(pipe);
  return bytes;
}

std::string Golden() { return SourceDirectory() + "/test/golden/v1/log"; }

const Files& GoldenFiles() {
  static const auto& files = *new Files([] {
    Files found;
    for (const auto& entry : std::filesystem::recursive_directory_iterator(Golden())) {
      if (!entry.is_regular_file()) continue;
      std::string name = std::filesystem::relative(entry.path(), Golden()).generic_string();
      name.resize(name.size() - std::strlen(".gz"));
      found[name] = Unpack(entry.path().string());
      Check(!found[name].empty(), "the golden log can be read");
    }
    return found;
  }());
  return files;
}

// Gives what looks like a frame the index and the checksum that make it one, so that what comes behind is reached.
void MendFrames(std::byte* segment, uint64_t offset, uint64_t end, uint32_t salt_checksum) {
  Frame frame;
  uint32_t index = 0;
  while (PeekFrame(segment, offset, end, &frame) == FrameState::kValid) {
    Store(segment + offset + 8, index);
    std::array<std::byte, 4> length;
    Store(length.data(), frame.length);
    const uint32_t crc = ExtendCrc32c(salt_checksum, length.data(), length.size());
    Store(segment + offset + 4, ExtendCrc32c(crc, segment + offset + 8, frame.length - 8));
    index += std::max(frame.count, 1u);
    offset += frame.padded_length();
  }
}

void MendSector(std::byte* sector) { Store(sector + kSectorChecksumOffset, Crc32c({sector, kSectorChecksumOffset})); }

// Reads each byte of each record, so that a sanitizer sees where they lie.
uint64_t Touch(const Frame& frame) {
  uint64_t records = 0;
  unsigned sum = 0;
  FrameRecords walk(frame);
  RecordView record;
  while (walk.Next(&record)) {
    ++records;
    for (const std::byte byte : record.data) sum += std::to_integer<unsigned>(byte);
    if (record.key) {
      for (const std::byte byte : *record.key) sum += std::to_integer<unsigned>(byte);
    }
  }
  static volatile unsigned sink;
  sink = sum;
  static_cast<void>(sink);
  return records;
}

// A directory in memory, where there is such a place, for one process.
class Place {
 public:
  Place() {
    const std::string base = std::filesystem::exists("/dev/shm") ? "/dev/shm" : "/tmp";
    path_ = base + "/segwal-fuzz-" + std::to_string(platform_.ProcessId());
    std::filesystem::remove_all(path_);
    for (const char* folder : {"metadata", "segments", "checkpoints", "quarantine"}) {
      std::filesystem::create_directories(path_ + "/" + folder);
    }
  }
  ~Place() { std::filesystem::remove_all(path_); }
  Place(const Place&) = delete;
  Place& operator=(const Place&) = delete;

  void Put(const std::string& name, ByteView bytes) const {
    std::ofstream file(path_ + "/" + name, std::ios::binary | std::ios::trunc);
    file.write(reinterpret_cast<const char*>(bytes.data()), static_cast<std::streamsize>(bytes.size()));
  }
  FaultPlatform& platform() { return platform_; }
  const std::string& path() const { return path_; }
  LogDirectory directory() { return {platform_, path_}; }

 private:
  FaultPlatform platform_;
  std::string path_;
};

// Every record that the log shows; false when it stops at damage.
bool ReadAll(Log& log, uint64_t* records) {
  std::unique_ptr<Reader> reader;
  if (!log.NewReader({}, &reader).ok()) return false;
  Bytes data(1u << 20);
  std::vector<RecordDescriptor> descriptors(64);
  double last = 0;
  while (true) {
    ReadChunk chunk{.data = data, .records = descriptors};
    if (!reader->Fill(&chunk).ok()) return false;
    Check(chunk.needed == 0, "no record of these is larger than a megabyte");
    if (chunk.count == 0) return true;
    for (size_t i = 0; i < chunk.count; ++i) {
      Check(descriptors[i].sequence > last, "sequence numbers grow");
      last = descriptors[i].sequence;
    }
    *records += chunk.count;
  }
}

// One change: what, which file, where, and how much.
void Change(Input* input, Files* files) {
  const auto what = input->Take<uint8_t>();
  auto chosen = files->begin();
  std::advance(chosen, input->Take<uint8_t>() % files->size());
  Bytes& bytes = chosen->second;
  const uint64_t offset = input->Take<uint16_t>();
  const auto value = input->Take<uint32_t>();
  const auto within = [&](uint64_t length) { return offset + length <= bytes.size(); };
  switch (what % 10) {
    case 0:
      if (within(4)) Store(bytes.data() + offset, value);
      break;
    case 1:
      if (within(1)) bytes[offset] ^= static_cast<std::byte>(value);
      break;
    case 2:
      if (within(value % 8192)) std::fill_n(bytes.data() + offset, value % 8192, std::byte{0});
      break;
    case 3: bytes.resize(std::min<uint64_t>(value % (128u << 10), bytes.size() + 4096)); break;
    case 4: {
      auto other = files->begin();
      std::advance(other, value % files->size());
      bytes = Bytes(other->second);
      break;
    }
    case 5:
      if (files->size() > 1) files->erase(chosen);
      break;
    case 6: {
      const uint64_t from = AlignDown(offset, kSectorSize);
      const uint64_t to = (value % 128) * kSectorSize;
      if (std::max(from, to) + kSectorSize <= bytes.size()) {
        std::swap_ranges(bytes.begin() + static_cast<std::ptrdiff_t>(from),
                         bytes.begin() + static_cast<std::ptrdiff_t>(from + kSectorSize),
                         bytes.begin() + static_cast<std::ptrdiff_t>(to));
      }
      break;
    }
    case 7:
      for (uint64_t sector = 0; sector < 2 && (sector + 1) * kSectorSize <= bytes.size(); ++sector) {
        MendSector(bytes.data() + sector * kSectorSize);
      }
      break;
    case 8: {
      SegmentIdentity identity;
      if (bytes.size() > kSegmentHeaderSize && LoadIdentity(bytes.data(), &identity) == SectorState::kValid) {
        MendFrames(bytes.data(), kSegmentHeaderSize, bytes.size(), SaltChecksum(identity.salt));
      }
      break;
    }
    case 9: (*files)["segments/" + LogDirectory::SegmentName(1 + value % 12)] = Bytes(bytes); break;
  }
}

}  // namespace

void FuzzFrames(ByteView input) {
  Input in(input);
  const bool mend = in.Take<uint8_t>() % 2 == 0;
  SegmentIdentity identity{.segment_id = 1, .base_sequence = 1, .salt = 7, .segment_size = kMinSegmentSize};
  // No larger than the frames, so that a sanitizer sees what is read behind them.
  Bytes segment(kSegmentHeaderSize + std::min<uint64_t>(in.Rest().size(), kMinSegmentSize - kSegmentHeaderSize));
  std::copy_n(in.Rest().begin(), segment.size() - kSegmentHeaderSize, segment.begin() + kSegmentHeaderSize);
  const uint32_t salt = SaltChecksum(identity.salt);
  if (mend) MendFrames(segment.data(), kSegmentHeaderSize, segment.size(), salt);
  const SegmentScan first = ScanSegment(segment.data(), segment.size(), identity, true);
  const SegmentScan all = ScanSegment(segment.data(), segment.size(), identity, false);
  Check(first.runs.size() <= 1, "the first run is one");
  const SideBySide parts{.part_size = 256, .written = segment.size() / 2, .fetch = [](uint64_t, uint64_t) {}};
  const SegmentScan joined = ScanFirstRun(segment.data(), segment.size(), identity, parts);
  Check(joined.runs.size() == first.runs.size() &&
            (first.runs.empty() ||
             (joined.runs[0].end == first.runs[0].end && joined.runs[0].end_index == first.runs[0].end_index)) &&
            joined.proof == first.proof,
        "in parts it is the same run");
  uint64_t end = kSegmentHeaderSize;
  uint32_t end_index = 0;
  for (const FrameRun& run : all.runs) {
    Check(run.offset >= end && run.index >= end_index && run.end > run.offset &&
              run.end <= AlignUp(segment.size(), kFrameAlignment),
          "runs ascend");
    uint64_t offset = run.offset;
    uint32_t index = run.index;
    while (offset < run.end) {
      Frame frame;
      Check(CheckFrame(segment.data(), offset, segment.size(), index, salt, &frame) == FrameState::kValid,
            "a run is of valid frames");
      Check(frame.codec() != 0 || Touch(frame) == (frame.filler() ? 0 : frame.count),
            "a frame has the records it says");
      offset += frame.padded_length();
      index += frame.count;
    }
    end = run.end;
    end_index = run.end_index;
    Check(offset == end && index == end_index, "a run ends where its frames do");
  }
}

void FuzzPayload(ByteView input) {
  Input in(input);
  const auto flags = in.Take<uint8_t>();
  Bytes segment(kFrameHeaderSize + in.Rest().size());
  Store(segment.data(), static_cast<uint32_t>(segment.size()));
  segment[23] = std::byte{flags};
  std::copy(in.Rest().begin(), in.Rest().end(), segment.begin() + kFrameHeaderSize);
  Frame frame;
  if (PeekFrame(segment.data(), 0, segment.size(), &frame) != FrameState::kValid || !FrameShapeHolds(frame)) return;
  if (frame.codec() != 0) return;
  const uint64_t records = Touch(frame);
  Check(records == (frame.filler() ? 0 : frame.count - RemovedRecords(frame)), "a frame has the records it says");
}

void FuzzHeaders(ByteView input) {
  static Place place;  // for the life of the process, and no longer
  Input in(input);
  const bool mend = in.Take<uint8_t>() % 2 == 0;
  alignas(8) std::array<std::byte, kSegmentHeaderSize> page{};
  const size_t count = std::min(in.Rest().size(), page.size());
  std::copy_n(in.Rest().begin(), count, page.begin());
  if (mend) {
    MendSector(page.data());
    MendSector(page.data() + kSealOffset);
  }
  place.Put("metadata/wal.meta", {page.data(), std::max(count, mend ? kSectorSize : 0)});
  SectorState state = SectorState::kAbsent;
  LogMeta meta;
  const LogDirectory directory = place.directory();
  const Status status = directory.ReadMeta(&state, &meta);
  Check(status.ok() || status.code() == ErrorCode::kUnsupportedVersion, "wal.meta can be judged whatever is in it");
  SegmentHeader header;
  if (LoadSegmentHeader(page.data(), &header) != SectorState::kValid) {
    RepairIdentity(page.data(), meta.log_id, 1, kMinSegmentSize);
    return;
  }
  static_cast<void>(directory.JudgeIdentity(1, header));
  if (header.seal) {
    Check(header.seal->end_offset <= header.identity.segment_size, "a seal is of its segment");
    Check(header.seal->last_sequence + 1 == header.identity.base_sequence + header.seal->record_count,
          "a seal adds up");
  }
}

void FuzzRecovery(ByteView input) {
  static Place place;  // for the life of the process, and no longer
  Input in(input);
  const bool same_boot = in.Take<uint8_t>() % 2 == 0;
  Files files = GoldenFiles();
  for (int i = 0; i < 24 && !in.empty(); ++i) Change(&in, &files);
  // Of the last segment's writer.
  BootId boot{};
  if (const Bytes& last = files.rbegin()->second; last.size() >= kSegmentHeaderSize) {
    boot = LoadLive(last.data()).boot;
  }
  if (!same_boot) boot[0] ^= std::byte{1};
  place.platform().SetBoot(boot);
  for (const char* folder : {"metadata", "segments", "quarantine"}) {
    std::filesystem::remove_all(place.path() + "/" + folder);
    std::filesystem::create_directory(place.path() + "/" + folder);
  }
  const auto put = [&] {
    for (const auto& [name, bytes] : files) place.Put(name, bytes);
  };
  put();
  std::shared_ptr<Log> log;
  if (Log::Open(place.platform(), place.path(), {.read_only = true}, &log).ok()) {
    uint64_t records = 0;
    const bool whole = ReadAll(*log, &records);
    VerifyReport report;
    if (log->Verify({.concurrency = 1}, &report).ok()) {
      Check(whole == report.ok || !report.ok, "what verify calls sound can be read");
    }
    Check(log->Close().ok(), "a reader can be closed");
  }
  log.reset();

  const LogDirectory directory = place.directory();
  RecoveryReport plan;
  const Status planned = PlanSalvage(place.platform(), directory, &plan);
  LogOptions options;
  RecoveredLog strict;
  if (Recover(place.platform(), directory, options, &strict).ok() && !strict.is_new) {
    RecoveredLog again;
    const Status status = Recover(place.platform(), directory, options, &again);
    Check(status.ok(), "recovery can be run twice");
    Check(again.next_sequence == strict.next_sequence, "and gives the same log");
    put();
    for (const auto& entry : std::filesystem::directory_iterator(place.path() + "/segments")) {
      if (!files.contains("segments/" + entry.path().filename().string())) std::filesystem::remove(entry.path());
    }
  }
  options.salvage = true;
  RecoveredLog salvaged;
  const Status status = Recover(place.platform(), directory, options, &salvaged);
  Check(status.ok() == planned.ok() || salvaged.is_new || planned.code() == ErrorCode::kNotFound,
        "a salvage does what its plan says");
  if (!status.ok() || salvaged.is_new) return;
  options.salvage = false;
  RecoveredLog after;
  const Status reopened = Recover(place.platform(), directory, options, &after);
  if (!reopened.ok()) std::fprintf(stderr, "%s\n", reopened.message().c_str());
  Check(reopened.ok(), "a salvaged log is a sound one");
  Check(after.next_sequence == salvaged.next_sequence, "and ends where the salvage said");
  Check(Log::Open(place.platform(), place.path(), {.read_only = true}, &log).ok(), "and can be read");
  uint64_t records = 0;
  Check(ReadAll(*log, &records), "to its end");
  Check(log->Close().ok(), "a reader can be closed");
}

std::span<const FuzzTarget> FuzzTargets() {
  static constexpr FuzzTarget kTargets[] = {
      {"frames", FuzzFrames}, {"payload", FuzzPayload}, {"headers", FuzzHeaders}, {"recovery", FuzzRecovery}};
  return kTargets;
}

std::vector<std::vector<std::byte>> FuzzSeeds(const std::string& target) {
  std::vector<Bytes> seeds;
  for (const auto& [name, bytes] : GoldenFiles()) {
    const bool segment = name.starts_with("segments/");
    if (target == "headers") {
      Bytes seed(bytes.begin(),
                 bytes.begin() + static_cast<std::ptrdiff_t>(std::min(bytes.size(), kSegmentHeaderSize)));
      seed.insert(seed.begin(), std::byte{1});
      seeds.push_back(std::move(seed));
    }
    if (target == "frames" && segment) {
      Bytes seed(bytes.begin() + kSegmentHeaderSize, bytes.begin() + kSegmentHeaderSize + 4096);
      seed.insert(seed.begin(), std::byte{0});
      seeds.push_back(std::move(seed));
    }
    if (target == "payload" && segment) {
      Frame frame;
      for (uint64_t offset = kSegmentHeaderSize;
           PeekFrame(bytes.data(), offset, bytes.size(), &frame) == FrameState::kValid;
           offset += frame.padded_length()) {
        Bytes seed{static_cast<std::byte>(frame.flags)};
        seed.insert(seed.end(), frame.payload, frame.payload + std::min(frame.payload_size, 512u));
        seeds.push_back(std::move(seed));
      }
    }
  }
  if (target == "recovery") {
    for (uint8_t what = 0; what < 10; ++what) {
      for (uint8_t file = 0; file < GoldenFiles().size(); ++file) {
        seeds.push_back({std::byte{what}, std::byte{what}, std::byte{file}, std::byte{40}, std::byte{16}, std::byte{9},
                         std::byte{0}, std::byte{0}, std::byte{0}});
      }
    }
  }
  return seeds;
}

}  // namespace segwal
