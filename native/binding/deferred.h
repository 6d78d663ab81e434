// Deferred: a promise, and the means to settle it.
//
// In a thread that is being terminated there are no new promises any more. The wrapper's Promise::Deferred then hands
// out a handle that was never set, and Node.js follows it; this one hands out none, which JavaScript would see as
// undefined, if it still ran.
#pragma once

#include <napi.h>

namespace segwal {

class Deferred {
 public:
  explicit Deferred(napi_env env) : env_(env) { napi_create_promise(env, &deferred_, &promise_); }

  // While the handle scope is open in which this was made.
  Napi::Value Promise() const { return {env_, promise_}; }

  // One of the two, once.
  void Resolve(napi_value value) const {
    if (deferred_ != nullptr) napi_resolve_deferred(env_, deferred_, value);
  }
  void Reject(napi_value reason) const {
    if (deferred_ != nullptr) napi_reject_deferred(env_, deferred_, reason);
  }

 private:
  napi_env env_;
  napi_deferred deferred_ = nullptr;
  napi_value promise_ = nullptr;
};

}  // namespace segwal
