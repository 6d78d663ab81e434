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

uint64_t ToU64(const Napi::Value& value) {
  constexpr double kMaxExact = 9007199254740991.0;
  // By the C functions: where a worker is being terminated, properties come out empty, without an environment, and the
  // wrapper ends the process over that.
  double number = 0;
  if (napi_get_value_double(value.Env(), value, &number) != napi_ok || !(number > 0)) return 0;
  return number > kMaxExact ? UINT64_MAX : static_cast<uint64_t>(number);
}

namespace {

bool ToBool(const Napi::Value& value) {
  napi_value coerced = nullptr;
  bool result = false;
  if (napi_coerce_to_bool(value.Env(), value, &coerced) != napi_ok) return false;
  return napi_get_value_bool(value.Env(), coerced, &result) == napi_ok && result;
}

std::optional<uint64_t> ToOptionalU64(const Napi::Value& value) {
  return value.IsNumber() ? std::optional(ToU64(value)) : std::nullopt;
}

std::optional<Retention> ToRetention(const Napi::Value& value) {
  if (!value.IsObject()) return std::nullopt;
  const auto retention = value.As<Napi::Object>();
  return Retention{.max_age_us = ToU64(retention.Get("maxAgeUs")), .max_bytes = ToU64(retention.Get("maxBytes"))};
}

std::optional<SyncPolicy> ToSyncPolicy(const Napi::Value& value) {
  if (!value.IsObject()) return std::nullopt;
  const auto policy = value.As<Napi::Object>();
  return SyncPolicy{.delay_us = ToU64(policy.Get("delayUs")),
                    .max_records = ToU64(policy.Get("maxRecords")),
                    .max_bytes = ToU64(policy.Get("maxBytes"))};
}

}  // namespace

LogOptions ToLogOptions(const Napi::Object& options) {
  return {.segment_size = ToU64(options.Get("segmentSize")),
          .create = ToBool(options.Get("create")),
          .read_only = ToBool(options.Get("readOnly")),
          .salvage = ToBool(options.Get("salvage")),
          .sync = ToSyncPolicy(options.Get("sync")),
          .max_dirty_bytes = ToOptionalU64(options.Get("maxDirtyBytes")),
          .retention = ToRetention(options.Get("retention")),
          .recycle_segments = ToOptionalU64(options.Get("recycleSegments"))};
}

ReadFilter ToReadFilter(const Napi::Object& filter) {
  ReadFilter result{.from = ToU64(filter.Get("from")),
                    .to = ToU64(filter.Get("to")),
                    .from_time_us = ToU64(filter.Get("fromTimeUs")),
                    .to_time_us = ToU64(filter.Get("toTimeUs")),
                    .reverse = ToBool(filter.Get("reverse")),
                    .limit = ToU64(filter.Get("limit")),
                    .segment = ToU64(filter.Get("segment"))};
  if (const Napi::Value kinds = filter.Get("kinds"); kinds.IsTypedArray()) {
    const auto array = kinds.As<Napi::Uint8Array>();
    result.kinds.emplace().fill(false);
    for (size_t i = 0; i < array.ElementLength(); ++i) (*result.kinds)[array[i]] = true;
  }
  if (const Napi::Value key = filter.Get("key"); key.IsTypedArray()) {
    const auto array = key.As<Napi::Uint8Array>();
    result.key.emplace(reinterpret_cast<const char*>(array.Data()), array.ByteLength());
  }
  return result;
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
