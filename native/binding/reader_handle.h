// ReaderHandle: one cursor as JavaScript sees it (NativeReader in lib/native.ts).
#pragma once

#include <napi.h>

#include <memory>

#include "binding/function_owner.h"
#include "core/reader.h"

namespace segwal {

class LogHandle;

// What came of filling a chunk.
struct Filled {
  Status status;
  size_t count = 0;
  uint64_t needed = 0;

  // What JavaScript gets: the count, or −(1000 + bytes) for a record that needs a larger chunk, or −code.
  double ToNumber() const;
};
// Fills the chunk that a Uint8Array and an ArrayBuffer of descriptors make, on this thread.
Filled FillFrom(Reader& reader, napi_env env, napi_value data, napi_value descriptors);

class ReaderHandle final : public FunctionOwner {
 public:
  // The NativeReader object of a reader over the log of `log`.
  static Napi::Object New(Napi::Env env, LogHandle* log, std::unique_ptr<Reader> reader);

  // Lets go of the segment; not while an asynchronous fill is under way. The handle stays, and returns nothing any
  // more.
  void Close();
  void Detach() { log_ = nullptr; }  // the log is closed

 private:
  ReaderHandle(LogHandle* log, std::unique_ptr<Reader> reader);
  ~ReaderHandle() override;

  static napi_value FillSync(napi_env env, napi_callback_info info);
  static napi_value FillAsync(napi_env env, napi_callback_info info);
  static napi_value Expand(napi_env env, napi_callback_info info);
  static napi_value Extend(napi_env env, napi_callback_info info);
  static napi_value CloseJs(napi_env env, napi_callback_info info);
  static napi_value LastError(napi_env env, napi_callback_info info);

  LogHandle* log_;
  std::unique_ptr<Reader> reader_;
  Status last_error_;
  bool busy_ = false;
  bool close_when_idle_ = false;
};

}  // namespace segwal
