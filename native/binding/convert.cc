#include "binding/convert.h"

#include <algorithm>
#include <cmath>

namespace segwal {

Napi::Number ToJs(Napi::Env env, uint64_t value) { return Napi::Number::New(env, static_cast<double>(value)); }

namespace {

double ToMs(uint64_t time_us) { return static_cast<double>(time_us) / 1000.0; }

Napi::Array FindingsToJs(Napi::Env env, const std::vector<Finding>& findings) {
  Napi::Array array = Napi::Array::New(env, findings.size());
  for (uint32_t i = 0; i < findings.size(); ++i) {
    const Finding& finding = findings[i];
    Napi::Object object = Napi::Object::New(env);
    object["rule"] = Napi::String::New(env, finding.rule);
    object["segment"] = ToJs(env, finding.segment);
    object["offset"] = ToJs(env, finding.offset);
    object["bytes"] = ToJs(env, finding.bytes);
    object["firstSequence"] = ToJs(env, finding.first_sequence);
    object["lastSequence"] = ToJs(env, finding.last_sequence);
    object["durable"] = Napi::Boolean::New(env, finding.durable);
    object["action"] = Napi::String::New(env, finding.action);
    array[i] = object;
  }
  return array;
}

Napi::Object ReportToJs(Napi::Env env, const Report& report, bool clean) {
  Napi::Object object = Napi::Object::New(env);
  object["clean"] = Napi::Boolean::New(env, clean);
  object["segments"] = ToJs(env, report.segments);
  object["records"] = ToJs(env, report.records);
  object["bytes"] = ToJs(env, report.bytes);
  object["durationMs"] = Napi::Number::New(env, report.duration_ms);
  object["findings"] = FindingsToJs(env, report.findings);
  return object;
}

}  // namespace

Napi::Object ToJs(Napi::Env env, const Status& status) {
  const LogLocation location = status.location();
  Napi::Object object = Napi::Object::New(env);
  object["code"] = Napi::String::New(env, ErrorCodeName(status.code()));
  object["message"] = Napi::String::New(env, status.message());
  object["errno"] = Napi::Number::New(env, status.os_error());
  object["segment"] = ToJs(env, location.segment);
  object["offset"] = ToJs(env, location.offset);
  object["firstSequence"] = ToJs(env, location.first_sequence);
  object["lastSequence"] = ToJs(env, location.last_sequence);
  return object;
}

Napi::Object ToJs(Napi::Env env, const RecoveryReport& report) { return ReportToJs(env, report, report.clean); }

Napi::Object ToJs(Napi::Env env, const VerifyReport& report) { return ReportToJs(env, report, report.ok); }

Napi::Array ToJs(Napi::Env env, const std::vector<SegmentInfo>& segments) {
  Napi::Array array = Napi::Array::New(env, segments.size());
  for (uint32_t i = 0; i < segments.size(); ++i) {
    const SegmentInfo& segment = segments[i];
    Napi::Object object = Napi::Object::New(env);
    object["id"] = ToJs(env, segment.id);
    object["firstSequence"] = ToJs(env, segment.first_sequence);
    object["lastSequence"] = ToJs(env, segment.last_sequence);
    object["bytes"] = ToJs(env, segment.bytes);
    object["capacity"] = ToJs(env, segment.capacity);
    object["sealed"] = Napi::Boolean::New(env, segment.sealed);
    object["firstTimeMs"] = Napi::Number::New(env, ToMs(segment.first_time_us));
    object["lastTimeMs"] = Napi::Number::New(env, ToMs(segment.last_time_us));
    object["removed"] = ToJs(env, segment.removed);
    object["path"] = Napi::String::New(env, segment.path);
    array[i] = object;
  }
  return array;
}

Napi::Object ToJs(Napi::Env env, const LogStats& stats) {
  Napi::Object object = Napi::Object::New(env);
  object["appends"] = ToJs(env, stats.appends);
  object["records"] = ToJs(env, stats.records);
  object["bytes"] = ToJs(env, stats.bytes);
  object["segments"] = ToJs(env, stats.segments);
  object["diskBytes"] = ToJs(env, stats.disk_bytes);
  object["firstSequence"] = ToJs(env, stats.first_sequence);
  object["lastSequence"] = ToJs(env, stats.last_sequence);
  object["durableSequence"] = ToJs(env, stats.durable_sequence);
  object["dirtyBytes"] = ToJs(env, stats.dirty_bytes);
  object["syncs"] = ToJs(env, stats.syncs);
  object["syncP50Ms"] = Napi::Number::New(env, stats.sync_p50_ms);
  object["syncP99Ms"] = Napi::Number::New(env, stats.sync_p99_ms);
  object["syncMaxMs"] = Napi::Number::New(env, stats.sync_max_ms);
  object["lastSyncTimestamp"] = Napi::Number::New(env, ToMs(stats.last_sync_us));
  object["rotations"] = ToJs(env, stats.rotations);
  object["segmentsRecycled"] = ToJs(env, stats.segments_recycled);
  object["writerStalls"] = ToJs(env, stats.writer_stalls);
  object["writerStallMs"] = Napi::Number::New(env, stats.writer_stall_ms);
  object["recoveryMs"] = Napi::Number::New(env, stats.recovery_ms);
  return object;
}

Napi::Object ToJs(Napi::Env env, const CleanupResult& result) {
  Napi::Object object = Napi::Object::New(env);
  object["segmentsRemoved"] = ToJs(env, result.segments_removed);
  object["bytesFreed"] = ToJs(env, result.bytes_freed);
  return object;
}

Napi::Object ToJs(Napi::Env env, const CompactResult& result) {
  Napi::Object object = Napi::Object::New(env);
  object["recordsKept"] = ToJs(env, result.records_kept);
  object["recordsRemoved"] = ToJs(env, result.records_removed);
  object["bytesFreed"] = ToJs(env, result.bytes_freed);
  object["segmentsRewritten"] = ToJs(env, result.segments_rewritten);
  Napi::Array skipped = Napi::Array::New(env, result.skipped.size());
  for (uint32_t i = 0; i < result.skipped.size(); ++i) {
    Napi::Object each = Napi::Object::New(env);
    each["segment"] = ToJs(env, result.skipped[i].segment);
    each["reason"] = Napi::String::New(env, result.skipped[i].reason);
    skipped[i] = each;
  }
  object["skipped"] = skipped;
  return object;
}

Napi::Object ToJs(Napi::Env env, const Checkpoint& checkpoint) {
  Napi::Object object = Napi::Object::New(env);
  object["sequence"] = ToJs(env, checkpoint.sequence);
  object["timeMs"] = Napi::Number::New(env, ToMs(checkpoint.created_us));
  object["data"] = checkpoint.has_data
                       ? Napi::Value(Napi::Buffer<char>::Copy(
                             env, reinterpret_cast<const char*>(checkpoint.data.data()), checkpoint.data.size()))
                       : env.Null();
  return object;
}

Napi::Array ToJs(Napi::Env env, const std::vector<Checkpoint>& checkpoints) {
  Napi::Array array = Napi::Array::New(env, checkpoints.size());
  for (uint32_t i = 0; i < checkpoints.size(); ++i) array[i] = ToJs(env, checkpoints[i]);
  return array;
}

uint64_t ToU64(napi_env env, napi_value value) {
  constexpr double kMaxExact = 9007199254740991.0;
  double number = 0;
  if (napi_get_value_double(env, value, &number) != napi_ok || !(number > 0)) return 0;
  return number > kMaxExact ? UINT64_MAX : static_cast<uint64_t>(number);
}

namespace {

// The properties of an object that the facade has made. They can only be missing where the thread is being terminated,
// from one property to the next: `failed` says so, and what was read is good for nothing. (The wrapper ends the process
// over it.)
class Properties {
 public:
  Properties(napi_env env, napi_value object, bool* failed) : env_(env), object_(object), failed_(failed) {}

  napi_value Get(const char* name) const {
    napi_value value = nullptr;
    if (napi_get_named_property(env_, object_, name, &value) == napi_ok) return value;
    *failed_ = true;
    napi_get_undefined(env_, &value);
    return value;
  }
  uint64_t GetU64(const char* name) const { return ToU64(env_, Get(name)); }
  bool GetBool(const char* name) const {
    bool value = false;
    napi_get_value_bool(env_, Get(name), &value);
    return value;
  }
  std::optional<uint64_t> GetOptionalU64(const char* name) const {
    const napi_value value = Get(name);
    return TypeOf(value) == napi_number ? std::optional(ToU64(env_, value)) : std::nullopt;
  }
  std::optional<Properties> GetOptional(const char* name) const {
    const napi_value value = Get(name);
    return TypeOf(value) == napi_object ? std::optional(Properties(env_, value, failed_)) : std::nullopt;
  }
  std::optional<ByteView> GetOptionalBytes(const char* name) const {
    size_t size = 0;
    void* data = nullptr;
    if (napi_get_typedarray_info(env_, Get(name), nullptr, &size, &data, nullptr, nullptr) != napi_ok) {
      return std::nullopt;
    }
    return ByteView(static_cast<const std::byte*>(data), size);
  }

 private:
  napi_valuetype TypeOf(napi_value value) const {
    napi_valuetype type = napi_undefined;
    napi_typeof(env_, value, &type);
    return type;
  }

  napi_env env_;
  napi_value object_;
  bool* failed_;
};

std::optional<Retention> ToRetention(const std::optional<Properties>& retention) {
  if (!retention) return std::nullopt;
  return Retention{.max_age_us = retention->GetU64("maxAgeUs"), .max_bytes = retention->GetU64("maxBytes")};
}

std::optional<SyncPolicy> ToSyncPolicy(const std::optional<Properties>& policy) {
  if (!policy) return std::nullopt;
  return SyncPolicy{.delay_us = policy->GetU64("delayUs"),
                    .max_records = policy->GetU64("maxRecords"),
                    .max_bytes = policy->GetU64("maxBytes")};
}

}  // namespace

std::optional<LogOptions> ToLogOptions(napi_env env, napi_value object) {
  bool failed = false;
  const Properties options(env, object, &failed);
  LogOptions result{.segment_size = options.GetU64("segmentSize"),
                    .create = options.GetBool("create"),
                    .read_only = options.GetBool("readOnly"),
                    .salvage = options.GetBool("salvage"),
                    .sync = ToSyncPolicy(options.GetOptional("sync")),
                    .max_dirty_bytes = options.GetOptionalU64("maxDirtyBytes"),
                    .retention = ToRetention(options.GetOptional("retention")),
                    .recycle_segments = options.GetOptionalU64("recycleSegments")};
  return failed ? std::nullopt : std::optional(result);
}

std::optional<ReadFilter> ToReadFilter(napi_env env, napi_value object) {
  bool failed = false;
  const Properties filter(env, object, &failed);
  ReadFilter result{.from = filter.GetU64("from"),
                    .to = filter.GetU64("to"),
                    .from_time_us = filter.GetU64("fromTimeUs"),
                    .to_time_us = filter.GetU64("toTimeUs"),
                    .reverse = filter.GetBool("reverse"),
                    .limit = filter.GetU64("limit"),
                    .segment = filter.GetU64("segment")};
  if (const std::optional<ByteView> kinds = filter.GetOptionalBytes("kinds")) {
    result.kinds.emplace().fill(false);
    for (const std::byte kind : *kinds) (*result.kinds)[static_cast<size_t>(kind)] = true;
  }
  if (const std::optional<ByteView> key = filter.GetOptionalBytes("key")) {
    result.key.emplace(reinterpret_cast<const char*>(key->data()), key->size());
  }
  return failed ? std::nullopt : std::optional(result);
}

bool WriteString(napi_env env, napi_value value, std::vector<char>& scratch, size_t* size) {
  // V8 writes whole characters only, so a string that was cut leaves fewer bytes than the longest character and the
  // terminator take. Most strings fit, and are not measured first.
  constexpr size_t kLongestCharacter = 4;
  if (scratch.size() < 4096) scratch.resize(4096);
  if (napi_get_value_string_utf8(env, value, scratch.data(), scratch.size(), size) != napi_ok) return false;
  if (*size + kLongestCharacter < scratch.size()) return true;
  napi_get_value_string_utf8(env, value, nullptr, 0, size);
  scratch.resize(*size + kLongestCharacter + 1);
  return napi_get_value_string_utf8(env, value, scratch.data(), scratch.size(), size) == napi_ok;
}

std::optional<ByteView> BytesOf(napi_env env, napi_value value, std::vector<char>& scratch) {
  napi_typedarray_type type;
  size_t size = 0;
  void* data = nullptr;
  if (napi_get_typedarray_info(env, value, &type, &size, &data, nullptr, nullptr) == napi_ok) {
    if (type != napi_uint8_array) return std::nullopt;
    return ByteView(static_cast<const std::byte*>(data), size);
  }
  if (!WriteString(env, value, scratch, &size)) return std::nullopt;
  return std::as_bytes(std::span(scratch.data(), size));
}

}  // namespace segwal
