// Between JavaScript values and the core's types; no state.
#pragma once

#include <napi.h>

#include <optional>
#include <string>
#include <vector>

#include "core/types.h"

namespace segwal {

// A sequence number, size or count: exact up to 2^53 - 1, which is as far as they go in JavaScript.
Napi::Number ToJs(Napi::Env env, uint64_t value);
Napi::Object ToJs(Napi::Env env, const Status& status);  // NativeFailure
Napi::Object ToJs(Napi::Env env, const RecoveryReport& report);
Napi::Object ToJs(Napi::Env env, const VerifyReport& report);
Napi::Array ToJs(Napi::Env env, const std::vector<SegmentInfo>& segments);
Napi::Object ToJs(Napi::Env env, const LogStats& stats);
Napi::Object ToJs(Napi::Env env, const CleanupResult& result);
Napi::Object ToJs(Napi::Env env, const CompactResult& result);
Napi::Object ToJs(Napi::Env env, const Checkpoint& checkpoint);
Napi::Array ToJs(Napi::Env env, const std::vector<Checkpoint>& checkpoints);

// From a number that the facade has checked; Infinity and anything above 2^53 become UINT64_MAX.
uint64_t ToU64(napi_env env, napi_value value);
// nullopt when the thread is being terminated: nothing is to be done then.
std::optional<LogOptions> ToLogOptions(napi_env env, napi_value options);
std::optional<ReadFilter> ToReadFilter(napi_env env, napi_value filter);

// Writes a string into `scratch` as UTF-8, growing it as need be; false when `value` is none.
bool WriteString(napi_env env, napi_value value, std::vector<char>& scratch, size_t* size);

// The bytes of a string or Uint8Array. A string is written into `scratch`, which must live as long as the view is used;
// an array is looked at where it is. nullopt for anything else.
std::optional<ByteView> BytesOf(napi_env env, napi_value value, std::vector<char>& scratch);

}  // namespace segwal
