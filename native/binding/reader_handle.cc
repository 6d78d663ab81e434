#include "binding/reader_handle.h"

#include <cstring>
#include <utility>
#include <vector>

#include "binding/convert.h"
#include "binding/deferred.h"
#include "binding/log_handle.h"

namespace segwal {
namespace {

std::span<std::byte> BytesOfArray(napi_env env, napi_value value) {
  size_t length = 0;
  void* data = nullptr;
  napi_get_typedarray_info(env, value, nullptr, &length, &data, nullptr, nullptr);
  return {static_cast<std::byte*>(data), length};
}

std::span<std::byte> BytesOfArrayBuffer(napi_env env, napi_value value) {
  size_t length = 0;
  void* data = nullptr;
  napi_get_arraybuffer_info(env, value, &data, &length);
  return {static_cast<std::byte*>(data), length};
}

Filled Fill(Reader& reader, std::span<std::byte> data, std::span<std::byte> descriptors) {
  ReadChunk chunk{.data = data,
                  .records = {reinterpret_cast<RecordDescriptor*>(descriptors.data()),
                              descriptors.size() / sizeof(RecordDescriptor)}};
  Filled filled;
  filled.status = reader.Fill(&chunk);
  filled.count = chunk.count;
  filled.needed = chunk.needed;
  return filled;
}

}  // namespace

double Filled::ToNumber() const {
  constexpr double kNeedsMore = 1000;
  if (!status.ok()) return -static_cast<double>(status.code());
  return needed != 0 ? -(kNeedsMore + static_cast<double>(needed)) : static_cast<double>(count);
}

Filled FillFrom(Reader& reader, napi_env env, napi_value data, napi_value descriptors) {
  return Fill(reader, BytesOfArray(env, data), BytesOfArrayBuffer(env, descriptors));
}

Napi::Object ReaderHandle::New(Napi::Env env, LogHandle* log, std::unique_ptr<Reader> reader) {
  auto* self = new ReaderHandle(log, std::move(reader));
  const std::shared_ptr<void> keep = self->Keep();  // for the functions may not come to be
  Napi::Object object = Napi::Object::New(env);
  self->AddFunction(env, object, "fill", FillSync, self);
  self->AddFunction(env, object, "fillAsync", FillAsync, self);
  self->AddFunction(env, object, "expand", Expand, self);
  self->AddFunction(env, object, "extend", Extend, self);
  self->AddFunction(env, object, "close", CloseJs, self);
  self->AddFunction(env, object, "lastError", LastError, self);
  return object;
}

ReaderHandle::ReaderHandle(LogHandle* log, std::unique_ptr<Reader> reader) : log_(log), reader_(std::move(reader)) {
  log_->Remember(this);
}

ReaderHandle::~ReaderHandle() {
  if (log_ != nullptr) log_->Forget(this);
}

void ReaderHandle::Close() {
  if (busy_) {
    close_when_idle_ = true;
  } else {
    reader_->Close();
  }
}

napi_value ReaderHandle::FillSync(napi_env env, napi_callback_info info) {
  napi_value arguments[2];
  auto& self = SelfOf<ReaderHandle>(env, info, arguments);
  if (self.busy_) {
    self.last_error_ = Status(ErrorCode::kIo, "the reader is being read asynchronously");
    return Napi::Number::New(env, -static_cast<double>(ErrorCode::kIo));
  }
  Filled filled = FillFrom(*self.reader_, env, arguments[0], arguments[1]);
  const double result = filled.ToNumber();
  self.last_error_ = std::move(filled.status);
  return Napi::Number::New(env, result);
}

napi_value ReaderHandle::FillAsync(napi_env raw_env, napi_callback_info info) {
  napi_value arguments[2];
  auto& self = SelfOf<ReaderHandle>(raw_env, info, arguments);
  const Napi::Env env(raw_env);
  auto deferred = std::make_shared<Deferred>(env);
  if (self.busy_ || self.log_ == nullptr) {
    deferred->Resolve(Napi::Number::New(env, 0));
    return deferred->Promise();
  }
  // The buffers and the reader stay until the native thread is done with them.
  struct Job {
    Napi::ObjectReference data;
    Napi::ObjectReference descriptors;
    std::shared_ptr<void> reader;
    Filled filled;
  };
  auto job = std::make_shared<Job>();
  job->data = Napi::Persistent(Napi::Object(env, arguments[0]));
  job->descriptors = Napi::Persistent(Napi::Object(env, arguments[1]));
  job->reader = self.Keep();
  self.busy_ = true;
  self.log_->RunAsync(
      env,
      [job, &self, data = BytesOfArray(env, arguments[0]), descriptors = BytesOfArrayBuffer(env, arguments[1])] {
        job->filled = Fill(*self.reader_, data, descriptors);
      },
      [job, &self, deferred](Napi::Env back) {
        self.busy_ = false;
        if (self.close_when_idle_) self.reader_->Close();
        if (job->filled.status.ok()) {
          deferred->Resolve(Napi::Number::New(back, job->filled.ToNumber()));
        } else {
          deferred->Reject(ToJs(back, job->filled.status));
        }
      });
  return deferred->Promise();
}

napi_value ReaderHandle::Expand(napi_env env, napi_callback_info info) {
  napi_value arguments[1];
  auto& self = SelfOf<ReaderHandle>(env, info, arguments);
  std::vector<RecordDescriptor> records;
  self.last_error_ = self.reader_->Expand(BytesOfArray(env, arguments[0]), &records);
  if (!self.last_error_.ok()) return Napi::Number::New(env, -static_cast<double>(self.last_error_.code()));
  const size_t bytes = records.size() * sizeof(RecordDescriptor);
  void* data = nullptr;
  napi_value result = nullptr;
  if (napi_create_arraybuffer(env, bytes, &data, &result) == napi_ok && bytes != 0) {
    std::memcpy(data, records.data(), bytes);
  }
  return result;
}

napi_value ReaderHandle::Extend(napi_env env, napi_callback_info info) {
  napi_value arguments[1];
  auto& self = SelfOf<ReaderHandle>(env, info, arguments);
  self.reader_->Extend(ToU64(env, arguments[0]));
  return Napi::Env(env).Undefined();
}

napi_value ReaderHandle::CloseJs(napi_env env, napi_callback_info info) {
  SelfOf<ReaderHandle>(env, info).Close();
  return Napi::Env(env).Undefined();
}

napi_value ReaderHandle::LastError(napi_env env, napi_callback_info info) {
  return ToJs(env, SelfOf<ReaderHandle>(env, info).last_error_);
}

}  // namespace segwal
