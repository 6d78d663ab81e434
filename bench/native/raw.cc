// What segwal is measured against: the least that can be done with the bytes of a record on their way into a file.
//
// `open(path, bytes)` makes a file, really allocated, maps it, and touches every page, so that no store faults. Each
// record then is copied into the mapping, its CRC32C being taken on the way by the very function that the log uses, at
// the next multiple of eight; behind the end it starts over. That is all: there is no header, no length, no sequence
// number, no time, no other writer, and nothing is ever synced. No log can be built of this; none can be faster.
#include <node_api.h>
#include <time.h>

#include <algorithm>
#include <atomic>
#include <limits>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "core/crc32c/crc32c.h"
#include "durable_loop.h"
#include "platform/platform.h"

namespace segwal {
namespace {

class RawFile {
 public:
  static Status Open(const std::string& path, uint64_t bytes, std::unique_ptr<RawFile>* raw) {
    Platform& platform = Platform::Default();
    std::unique_ptr<File> file;
    SEGWAL_TRY(platform.Open(path, OpenMode::kCreate, &file));
    SEGWAL_TRY(file->Allocate(bytes));
    auto opened = std::make_unique<RawFile>();
    SEGWAL_TRY(platform.Map(std::move(file), bytes, true, &opened->mapping_));
    opened->mapping_->LayZeros(0, bytes);
    SEGWAL_TRY(opened->mapping_->Populate(0, bytes));
    *raw = std::move(opened);
    return Status::Ok();
  }

  // False when it is larger than the file.
  bool Write(const void* data, size_t size) {
    const size_t padded = (size + 7) / 8 * 8;
    if (padded > mapping_->size() - offset_) {
      if (padded > mapping_->size()) return false;
      offset_ = 0;
    }
    // Taken on from record to record, so that none can be left out.
    crc_ = CopyAndCrc32c(crc_, mapping_->data() + offset_, data, size);
    offset_ += padded;
    ++records_;
    return true;
  }

  uint64_t records() const { return records_; }
  uint32_t crc() const { return crc_; }

  std::vector<char> text = std::vector<char>(4096);

 private:
  std::unique_ptr<Mapping> mapping_;
  uint64_t offset_ = 0;
  uint64_t records_ = 0;
  uint32_t crc_ = 0;
};

napi_value Number(napi_env env, double value) {
  napi_value number = nullptr;
  napi_create_double(env, value, &number);
  return number;
}

napi_value Throw(napi_env env, const char* message) {
  napi_throw_error(env, nullptr, message);
  return nullptr;
}

template <size_t N>
RawFile& Arguments(napi_env env, napi_callback_info info, napi_value (&arguments)[N]) {
  size_t count = N;
  void* data = nullptr;
  napi_get_cb_info(env, info, &count, arguments, nullptr, &data);
  return *static_cast<RawFile*>(data);
}

// appendBuffer(buffer): how many records there are now.
napi_value AppendBuffer(napi_env env, napi_callback_info info) {
  napi_value arguments[1];
  RawFile& raw = Arguments(env, info, arguments);
  void* data = nullptr;
  size_t size = 0;
  if (napi_get_typedarray_info(env, arguments[0], nullptr, &size, &data, nullptr, nullptr) != napi_ok ||
      !raw.Write(data, size)) {
    return Throw(env, "a Uint8Array smaller than the file was expected");
  }
  return Number(env, static_cast<double>(raw.records()));
}

// appendString(text), at most 4095 bytes of UTF-8: how many records there are now.
napi_value AppendString(napi_env env, napi_callback_info info) {
  napi_value arguments[1];
  RawFile& raw = Arguments(env, info, arguments);
  size_t size = 0;
  if (napi_get_value_string_utf8(env, arguments[0], raw.text.data(), raw.text.size(), &size) != napi_ok ||
      !raw.Write(raw.text.data(), size)) {
    return Throw(env, "a string was expected");
  }
  return Number(env, static_cast<double>(raw.records()));
}

// appendPacked(buffer, offsets): record i is bytes offsets[i] … offsets[i + 1]. How many records there are now.
napi_value AppendPacked(napi_env env, napi_callback_info info) {
  napi_value arguments[2];
  RawFile& raw = Arguments(env, info, arguments);
  void* data = nullptr;
  void* offsets_data = nullptr;
  size_t size = 0;
  size_t count = 0;
  napi_typedarray_type type = napi_uint8_array;
  if (napi_get_typedarray_info(env, arguments[0], nullptr, &size, &data, nullptr, nullptr) != napi_ok ||
      napi_get_typedarray_info(env, arguments[1], &type, &count, &offsets_data, nullptr, nullptr) != napi_ok ||
      type != napi_uint32_array) {
    return Throw(env, "a Uint8Array and a Uint32Array were expected");
  }
  const auto* bytes = static_cast<const char*>(data);
  const auto* offsets = static_cast<const uint32_t*>(offsets_data);
  for (size_t i = 0; i + 1 < count; ++i) {
    if (offsets[i + 1] < offsets[i] || offsets[i + 1] > size ||
        !raw.Write(bytes + offsets[i], offsets[i + 1] - offsets[i])) {
      return Throw(env, "the offsets lead out of the buffer");
    }
  }
  return Number(env, static_cast<double>(raw.records()));
}

// checksum(): of all records, in order. Whoever compares it knows that all of the work was done.
napi_value Checksum(napi_env env, napi_callback_info info) {
  napi_value none[1];
  return Number(env, Arguments(env, info, none).crc());
}

void AddFunction(napi_env env, napi_value object, const char* name, napi_callback callback, void* data) {
  napi_value function = nullptr;
  napi_create_function(env, name, NAPI_AUTO_LENGTH, callback, data, &function);
  napi_set_named_property(env, object, name, function);
}

// open(path, bytes): the functions above. What they work on is never let go of: a trial is a process.
napi_value Open(napi_env env, napi_callback_info info) {
  napi_value arguments[2];
  size_t count = 2;
  napi_get_cb_info(env, info, &count, arguments, nullptr, nullptr);
  char path[4096];
  double bytes = 0;
  if (napi_get_value_string_utf8(env, arguments[0], path, sizeof path, nullptr) != napi_ok ||
      napi_get_value_double(env, arguments[1], &bytes) != napi_ok) {
    return Throw(env, "a path and a number were expected");
  }
  std::unique_ptr<RawFile> opened;
  const Status status = RawFile::Open(path, static_cast<uint64_t>(bytes), &opened);
  if (!status.ok()) return Throw(env, status.message().c_str());
  RawFile* raw = opened.release();
  napi_value object = nullptr;
  napi_create_object(env, &object);
  AddFunction(env, object, "appendBuffer", AppendBuffer, raw);
  AddFunction(env, object, "appendString", AppendString, raw);
  AddFunction(env, object, "appendPacked", AppendPacked, raw);
  AddFunction(env, object, "checksum", Checksum, raw);
  return object;
}

uint32_t CrcOfPieces(const std::byte* bytes, size_t size, size_t piece) {
  uint32_t all = 0;
  for (size_t at = 0; at < size; at += piece) all ^= ExtendCrc32c(0, bytes + at, std::min(piece, size - at));
  return all;
}

// crc32c(buffer, piece, threads): of pieces of so many bytes each, as the frames of a log would be, by the same
// function as the log's. Each thread takes a run of them.
napi_value Crc(napi_env env, napi_callback_info info) {
  napi_value arguments[3];
  size_t count = 3;
  void* data = nullptr;
  size_t size = 0;
  double piece = 0;
  uint32_t threads = 0;
  napi_get_cb_info(env, info, &count, arguments, nullptr, nullptr);
  if (napi_get_typedarray_info(env, arguments[0], nullptr, &size, &data, nullptr, nullptr) != napi_ok ||
      napi_get_value_double(env, arguments[1], &piece) != napi_ok || piece < 1 ||
      napi_get_value_uint32(env, arguments[2], &threads) != napi_ok || threads == 0) {
    return Throw(env, "a Uint8Array and two numbers were expected");
  }
  const auto* const bytes = static_cast<const std::byte*>(data);
  const auto step = static_cast<size_t>(piece);
  const size_t run = (size / step / threads + 1) * step;
  std::atomic<uint32_t> all{0};
  const auto take = [&](size_t from) {
    if (from < size) all ^= CrcOfPieces(bytes + from, std::min(run, size - from), step);
  };
  std::vector<std::thread> others;
  for (uint32_t i = 1; i < threads; ++i) others.emplace_back(take, i * run);
  take(0);
  for (std::thread& other : others) other.join();
  return Number(env, all);
}

// copyAndCrc32c(to, from, piece): fills `to` with copies of the first bytes of `from`, as appends of records of so many
// bytes would, by the same function as theirs.
napi_value CopyAndCrc(napi_env env, napi_callback_info info) {
  napi_value arguments[3];
  size_t count = 3;
  void* to = nullptr;
  void* from = nullptr;
  size_t to_size = 0;
  size_t from_size = 0;
  double piece = 0;
  napi_get_cb_info(env, info, &count, arguments, nullptr, nullptr);
  if (napi_get_typedarray_info(env, arguments[0], nullptr, &to_size, &to, nullptr, nullptr) != napi_ok ||
      napi_get_typedarray_info(env, arguments[1], nullptr, &from_size, &from, nullptr, nullptr) != napi_ok ||
      napi_get_value_double(env, arguments[2], &piece) != napi_ok || piece < 1 ||
      piece > static_cast<double>(from_size)) {
    return Throw(env, "two Uint8Arrays and a number, no larger than the second, were expected");
  }
  auto* bytes = static_cast<char*>(to);
  const auto step = static_cast<size_t>(piece);
  uint32_t all = 0;
  for (size_t at = 0; at < to_size; at += step) all ^= CopyAndCrc32c(0, bytes + at, from, std::min(step, to_size - at));
  return Number(env, all);
}

// threadTime(): ns of processor time that this thread has taken; NaN where the system does not tell. Unlike the time on
// the clock it hardly depends on what else the machine does; nor does it see the thread wait.
napi_value ThreadTime(napi_env env, napi_callback_info) {
#ifdef CLOCK_THREAD_CPUTIME_ID
  timespec time{};
  clock_gettime(CLOCK_THREAD_CPUTIME_ID, &time);
  return Number(env, static_cast<double>(time.tv_sec) * 1e9 + static_cast<double>(time.tv_nsec));
#else
  return Number(env, std::numeric_limits<double>::quiet_NaN());
#endif
}

// durableLoop(path, syncBy, recordBytes, frameBytes, group, seconds, newFileBytes), see durable_loop.h; syncBy is
// 'msync', 'msync elsewhere' or 'write'. How long each group took: a Float64Array of ns.
SyncBy ToSyncBy(const std::string& name) {
  if (name == "write") return SyncBy::kWrite;
  return name == "msync elsewhere" ? SyncBy::kMappingElsewhere : SyncBy::kMapping;
}

napi_value RunLoop(napi_env env, napi_callback_info info) {
  napi_value arguments[7];
  size_t count = 7;
  napi_get_cb_info(env, info, &count, arguments, nullptr, nullptr);
  char path[4096];
  char sync_by[16];
  double numbers[5];
  bool good = napi_get_value_string_utf8(env, arguments[0], path, sizeof path, nullptr) == napi_ok &&
              napi_get_value_string_utf8(env, arguments[1], sync_by, sizeof sync_by, nullptr) == napi_ok;
  for (int i = 0; i < 5; ++i) good = good && napi_get_value_double(env, arguments[i + 2], &numbers[i]) == napi_ok;
  if (!good) return Throw(env, "two strings and five numbers were expected");
  std::vector<double> group_ns;
  const Status status = RunDurableLoop({.path = path,
                                        .sync_by = ToSyncBy(sync_by),
                                        .record_bytes = static_cast<uint64_t>(numbers[0]),
                                        .frame_bytes = static_cast<uint64_t>(numbers[1]),
                                        .group = static_cast<uint64_t>(numbers[2]),
                                        .seconds = numbers[3],
                                        .new_file_bytes = static_cast<uint64_t>(numbers[4])},
                                       &group_ns);
  if (!status.ok()) return Throw(env, status.message().c_str());
  void* data = nullptr;
  napi_value buffer = nullptr;
  napi_value array = nullptr;
  napi_create_arraybuffer(env, group_ns.size() * sizeof(double), &data, &buffer);
  std::copy(group_ns.begin(), group_ns.end(), static_cast<double*>(data));
  napi_create_typedarray(env, napi_float64_array, group_ns.size(), buffer, 0, &array);
  return array;
}

// What a durable write costs who has nothing but Node.js: its call into C++, its message from another thread, and the
// promise that the caller makes.
class Groups {
 public:
  Groups(napi_env env, napi_value on_durable) {
    napi_value name = nullptr;
    napi_create_string_utf8(env, "durableGroups", NAPI_AUTO_LENGTH, &name);
    napi_create_threadsafe_function(env, on_durable, nullptr, name, 0, 1, nullptr, nullptr, nullptr, nullptr, &told_);
  }
  Status Open(const DurableLoop& loop) {
    return DurableGroups::Open(
        loop,
        [this](const Status& status) {
          if (status.ok()) napi_call_threadsafe_function(told_, nullptr, napi_tsfn_nonblocking);
        },
        &groups_);
  }
  void Close() {
    groups_.reset();
    napi_release_threadsafe_function(told_, napi_tsfn_release);
  }
  DurableGroups& operator*() const { return *groups_; }

 private:
  napi_threadsafe_function told_ = nullptr;
  std::unique_ptr<DurableGroups> groups_;
};

template <size_t N>
Groups& GroupsOf(napi_env env, napi_callback_info info, napi_value (&arguments)[N]) {
  size_t count = N;
  void* data = nullptr;
  napi_get_cb_info(env, info, &count, arguments, nullptr, &data);
  return *static_cast<Groups*>(data);
}

napi_value StoreOne(napi_env env, napi_callback_info info) {
  napi_value arguments[1];
  Groups& groups = GroupsOf(env, info, arguments);
  void* data = nullptr;
  size_t size = 0;
  napi_get_typedarray_info(env, arguments[0], nullptr, &size, &data, nullptr, nullptr);
  const Status status = (*groups).Store({static_cast<const std::byte*>(data), size});
  return status.ok() ? nullptr : Throw(env, status.message().c_str());
}

napi_value SyncGroup(napi_env env, napi_callback_info info) {
  napi_value none[1];
  (*GroupsOf(env, info, none)).Sync();
  return nullptr;
}

napi_value CloseGroups(napi_env env, napi_callback_info info) {
  napi_value none[1];
  GroupsOf(env, info, none).Close();
  return nullptr;
}

// durableGroups(path, frameBytes, onDurable): { store(buffer), sync(), close() }, see DurableGroups.
napi_value OpenGroups(napi_env env, napi_callback_info info) {
  napi_value arguments[3];
  size_t count = 3;
  napi_get_cb_info(env, info, &count, arguments, nullptr, nullptr);
  char path[4096];
  double frame_bytes = 0;
  if (napi_get_value_string_utf8(env, arguments[0], path, sizeof path, nullptr) != napi_ok ||
      napi_get_value_double(env, arguments[1], &frame_bytes) != napi_ok) {
    return Throw(env, "a path, a number and a function were expected");
  }
  auto* groups = new Groups(env, arguments[2]);  // a trial is a process
  const Status status = groups->Open({.path = path, .frame_bytes = static_cast<uint64_t>(frame_bytes)});
  if (!status.ok()) return Throw(env, status.message().c_str());
  napi_value object = nullptr;
  napi_create_object(env, &object);
  AddFunction(env, object, "store", StoreOne, groups);
  AddFunction(env, object, "sync", SyncGroup, groups);
  AddFunction(env, object, "close", CloseGroups, groups);
  return object;
}

napi_value Init(napi_env env, napi_value exports) {
  AddFunction(env, exports, "open", Open, nullptr);
  AddFunction(env, exports, "crc32c", Crc, nullptr);
  AddFunction(env, exports, "copyAndCrc32c", CopyAndCrc, nullptr);
  AddFunction(env, exports, "durableLoop", RunLoop, nullptr);
  AddFunction(env, exports, "durableGroups", OpenGroups, nullptr);
  AddFunction(env, exports, "threadTime", ThreadTime, nullptr);
  napi_value name = nullptr;
  napi_create_string_utf8(env, Crc32cImplementation(), NAPI_AUTO_LENGTH, &name);
  napi_set_named_property(env, exports, "crc32cImplementation", name);
  return exports;
}

}  // namespace
}  // namespace segwal

NAPI_MODULE_INIT() { return segwal::Init(env, exports); }
