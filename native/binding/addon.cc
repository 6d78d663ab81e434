// What the addon exports (Native in lib/native.ts). Every constant that JavaScript needs is handed over from here.
#include <napi.h>

#include "binding/convert.h"
#include "binding/deferred.h"
#include "binding/environment.h"
#include "binding/log_handle.h"
#include "core/checkpoints.h"
#include "core/crc32c/crc32c.h"
#include "core/format.h"
#include "core/recovery.h"

namespace segwal {
namespace {

Napi::Value Crc32cOfArray(const Napi::CallbackInfo& info) {
  const auto data = info[0].As<Napi::Uint8Array>();
  const uint32_t crc = info.Length() > 1 && info[1].IsNumber() ? info[1].As<Napi::Number>().Uint32Value() : 0;
  return Napi::Number::New(info.Env(), ExtendCrc32c(crc, data.Data(), data.ByteLength()));
}

// Promise of the report. Reads the whole log, on a thread of its own.
Napi::Value PlanSalvageOf(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  auto deferred = std::make_shared<Deferred>(env);
  struct Result {
    Status status;
    RecoveryReport report;
  };
  auto result = std::make_shared<Result>();
  Environment::Of(env)->RunAsync(
      env,
      [result, directory = info[0].As<Napi::String>().Utf8Value()] {
        Platform& platform = Platform::Default();
        result->status = PlanSalvage(platform, LogDirectory(platform, directory), &result->report);
      },
      [result, deferred](Napi::Env back) {
        if (!result->status.ok()) return deferred->Reject(ToJs(back, result->status));
        deferred->Resolve(ToJs(back, result->report));
      });
  return deferred->Promise();
}

Napi::Object Constants(Napi::Env env) {
  const std::pair<const char*, uint64_t> numbers[] = {
      {"defaultSegmentSize", kDefaultSegmentSize},
      {"minSegmentSize", kMinSegmentSize},
      {"maxSegmentSize", kMaxSegmentSize},
      {"segmentSizeStep", kSegmentSizeStep},
      {"maxKeyBytes", kMaxKeySize},
      {"formatVersion", kFormatVersion},
      {"recordOverhead", kFrameHeaderSize},
      {"batchOverhead", kFrameHeaderSize + kBatchHeaderSize},
      {"batchRecordOverhead", kBatchRecordHeaderSize},
      {"descriptorBytes", sizeof(RecordDescriptor)},
      {"maxCheckpointBytes", kMaxCheckpointData},
  };
  Napi::Object constants = Napi::Object::New(env);
  for (const auto& [name, value] : numbers) constants[name] = ToJs(env, value);
  constants["crc32cImplementation"] = Napi::String::New(env, Crc32cImplementation());
  return constants;
}

Napi::Object Init(Napi::Env env, Napi::Object exports) {
  Environment::Create(env);
  Napi::Array codes = Napi::Array::New(env, kErrorCodeCount);
  for (int code = 0; code < kErrorCodeCount; ++code) {
    codes[static_cast<uint32_t>(code)] = Napi::String::New(env, ErrorCodeName(static_cast<ErrorCode>(code)));
  }
  exports["errorCodes"] = codes;
  exports["constants"] = Constants(env);
  exports["open"] = Napi::Function::New<LogHandle::Open>(env, "open");
  exports["planSalvage"] = Napi::Function::New<PlanSalvageOf>(env, "planSalvage");
  exports["crc32c"] = Napi::Function::New<Crc32cOfArray>(env, "crc32c");
  return exports;
}

NODE_API_MODULE(segwal, Init)

}  // namespace
}  // namespace segwal
