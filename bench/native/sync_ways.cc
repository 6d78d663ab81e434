// npm run bench:sync -- <directory>: what one small sync costs on this disk, by how the file was made and by which call
// syncs it. Linux only: it reads what really went to the device from /sys/dev/block.
//
// Each trial appends `step` bytes to a mapped file and syncs them, over and over, as the log's syncer does when one
// record at a time is awaited. The ways take turns, so that all of them see the same minutes of the disk. What a file
// is made of decides how large the folios of its page cache are, and a sync writes whole folios.
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <functional>
#include <string>
#include <vector>

#ifndef MADV_POPULATE_WRITE
#define MADV_POPULATE_WRITE 23
#endif

namespace {

constexpr size_t kPage = 4096;
constexpr size_t kFileBytes = size_t{64} << 20;
constexpr int kSyncs = 300;
constexpr int kRepeats = 3;

[[noreturn]] void Fail(const char* what) {
  std::perror(what);
  std::exit(1);
}

void WriteZeros(int file, size_t chunk) {
  const std::vector<char> zeros(chunk);
  for (size_t at = 0; at < kFileBytes; at += chunk) {
    if (::pwrite(file, zeros.data(), chunk, static_cast<off_t>(at)) != static_cast<ssize_t>(chunk)) Fail("pwrite");
  }
  if (::fsync(file) != 0) Fail("fsync");
}

void DropCache(int file) { static_cast<void>(::posix_fadvise(file, 0, 0, POSIX_FADV_DONTNEED)); }

struct Preparation {
  const char* name;
  std::function<void(int)> make;
};

const std::vector<Preparation>& Preparations() {
  static const auto allocate = [](int file) {
    if (::fallocate(file, 0, 0, kFileBytes) != 0) Fail("fallocate");
    if (::fsync(file) != 0) Fail("fsync");
  };
  static const std::vector<Preparation> preparations = {
      {"allocated, never written", allocate},
      {"zeros by 4 KiB writes", [](int file) { WriteZeros(file, kPage); }},
      {"zeros by 1 MiB writes", [](int file) { WriteZeros(file, size_t{1} << 20); }},
      {"zeros by 1 MiB writes, not in the cache",
       [](int file) {
         WriteZeros(file, size_t{1} << 20);
         DropCache(file);
       }},
      // An old segment that is used again: every block was written before, and nothing of it is in the cache.
      {"an old file zeroed by fallocate",
       [](int file) {
         WriteZeros(file, size_t{1} << 20);
         if (::fallocate(file, FALLOC_FL_ZERO_RANGE, 0, kFileBytes) != 0) Fail("fallocate");
         if (::fsync(file) != 0) Fail("fsync");
       }},
  };
  return preparations;
}

// A file in the middle of its trial. Frames end at `end`; blocks before `written` have been written.
struct Appended {
  int file;
  std::byte* data;
  size_t begin;
  size_t end;
  size_t written;
};

int SyncPages(const Appended& at, size_t end) {
  const size_t begin = at.begin / kPage * kPage;
  return ::msync(at.data + begin, (end - begin + kPage - 1) / kPage * kPage, MS_SYNC);
}

struct Way {
  const char* name;
  std::function<int(Appended*)> sync;
};

const std::vector<Way>& Ways() {
  static const std::vector<Way> ways = {
      {"msync", [](Appended* at) { return SyncPages(*at, at->end); }},
      // What segwal does for short syncs (native/core/syncer.cc): one in several writes 64 KiB of zeros too.
      {"msync, zeros ahead",
       [](Appended* at) {
         if (at->end <= at->written) return SyncPages(*at, at->end);
         at->written = std::min(at->end + (size_t{64} << 10), kFileBytes);
         return SyncPages(*at, at->written);
       }},
      // Whoever looks at the times of a file makes the next store change them
      // (native/platform/posix/linux/linux_file.cc).
      {"msync, then fstat",
       [](Appended* at) {
         struct stat info;
         const int result = SyncPages(*at, at->end);
         return result != 0 ? result : ::fstat(at->file, &info);
       }},
      {"fdatasync", [](Appended* at) { return ::fdatasync(at->file); }},
  };
  return ways;
}

// Bytes that the device of `file` was given to write so far.
uint64_t DeviceBytes(int file) {
  struct stat info;
  if (::fstat(file, &info) != 0) Fail("fstat");
  const std::string path =
      "/sys/dev/block/" + std::to_string(major(info.st_dev)) + ":" + std::to_string(minor(info.st_dev)) + "/stat";
  std::ifstream stat(path);
  uint64_t value = 0;
  for (int i = 0; i < 7; ++i) stat >> value;  // the seventh: sectors written
  return value * 512;
}

struct Trial {
  std::vector<double> micros;
  uint64_t device_bytes = 0;
};

Trial Run(const std::string& path, const Preparation& preparation, const Way& way, size_t step) {
  const int file = ::open(path.c_str(), O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
  if (file < 0) Fail(path.c_str());
  preparation.make(file);
  void* const mapped = ::mmap(nullptr, kFileBytes, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
  if (mapped == MAP_FAILED) Fail("mmap");
  auto* const data = static_cast<std::byte*>(mapped);
  // As far ahead as this trial gets; the log has a thread that does it. Dirty, but not written.
  const size_t ahead = std::min(kFileBytes, (step * kSyncs + kPage) / kPage * kPage + (size_t{64} << 10));
  if (::madvise(data, ahead, MADV_POPULATE_WRITE) != 0) Fail("madvise");
  Trial trial;
  const uint64_t before = DeviceBytes(file);
  Appended at{.file = file, .data = data, .begin = 0, .end = step, .written = 0};
  for (int i = 0; i < kSyncs && at.end <= kFileBytes; ++i) {
    std::memset(data + at.begin, i % 255 + 1, step);
    const auto started = std::chrono::steady_clock::now();
    if (way.sync(&at) != 0) Fail(way.name);
    trial.micros.push_back(
        std::chrono::duration<double, std::micro>(std::chrono::steady_clock::now() - started).count());
    at.begin = at.end;
    at.end += step;
  }
  trial.device_bytes = DeviceBytes(file) - before;
  ::munmap(mapped, kFileBytes);
  ::close(file);
  ::unlink(path.c_str());
  return trial;
}

double Percentile(std::vector<double>* values, double part) {
  std::ranges::sort(*values);
  return (*values)[static_cast<size_t>(part * static_cast<double>(values->size() - 1))];
}

}  // namespace

int main(int count, char** arguments) {
  if (count != 2) {
    std::fprintf(stderr, "usage: segwal_sync_ways <directory on the disk to measure>\n");
    return 2;
  }
  const std::string path = std::string(arguments[1]) + "/sync-ways.tmp";
  std::printf("| file | appended a sync | synced by | p50, µs | p99, µs | written a sync, KiB |\n");
  std::printf("| --- | --- | --- | --- | --- | --- |\n");
  for (const Preparation& preparation : Preparations()) {
    for (const size_t step : {size_t{128}, size_t{16} << 10, size_t{128} << 10}) {
      std::vector<Trial> trials(Ways().size());
      for (int repeat = 0; repeat < kRepeats; ++repeat) {
        for (size_t w = 0; w < Ways().size(); ++w) {
          const Trial trial = Run(path, preparation, Ways()[w], step);
          trials[w].micros.insert(trials[w].micros.end(), trial.micros.begin(), trial.micros.end());
          trials[w].device_bytes += trial.device_bytes;
        }
      }
      for (size_t w = 0; w < Ways().size(); ++w) {
        std::vector<double>& micros = trials[w].micros;
        std::printf("| %s | %zu B | %s | %.0f | %.0f | %.0f |\n", preparation.name, step, Ways()[w].name,
                    Percentile(&micros, 0.5), Percentile(&micros, 0.99),
                    static_cast<double>(trials[w].device_bytes) / static_cast<double>(micros.size()) / 1024);
        std::fflush(stdout);
      }
    }
  }
  return 0;
}
