// FunctionOwner: a native object that lives as long as any JavaScript function made for it.
//
// The functions carry the object as their data pointer and may be called detached; when the last of them has been
// collected, the object deletes itself.
#pragma once

#include <napi.h>

#include <memory>

namespace segwal {

class FunctionOwner {
 public:
  FunctionOwner(const FunctionOwner&) = delete;
  FunctionOwner& operator=(const FunctionOwner&) = delete;

 protected:
  FunctionOwner() = default;
  virtual ~FunctionOwner() = default;

  // Not where the thread is being terminated.
  void AddFunction(Napi::Env env, Napi::Object object, const char* name, napi_callback callback, void* self) {
    napi_value function = nullptr;
    if (napi_create_function(env, name, NAPI_AUTO_LENGTH, callback, self, &function) != napi_ok) return;
    napi_set_named_property(env, object, name, function);
    ++functions_;
    const auto finalize = [](napi_env, void* data, void*) { static_cast<FunctionOwner*>(data)->LetGo(); };
    napi_add_finalizer(env, function, this, finalize, nullptr, nullptr);
  }

  // Keeps the object as a function would, while an asynchronous operation works on it or its functions are made. To be
  // destroyed on the JavaScript thread.
  std::shared_ptr<void> Keep() {
    ++functions_;
    return {static_cast<void*>(this), [this](void*) { LetGo(); }};
  }

  // The object that a callback belongs to, and its arguments; missing ones are undefined.
  template <typename T, size_t N>
  static T& SelfOf(napi_env env, napi_callback_info info, napi_value (&arguments)[N]) {
    size_t count = N;
    void* data = nullptr;
    napi_get_cb_info(env, info, &count, arguments, nullptr, &data);
    return *static_cast<T*>(data);
  }
  template <typename T>
  static T& SelfOf(napi_env env, napi_callback_info info) {
    void* data = nullptr;
    napi_get_cb_info(env, info, nullptr, nullptr, nullptr, &data);
    return *static_cast<T*>(data);
  }

 private:
  void LetGo() {
    if (--functions_ == 0) delete this;
  }

  int functions_ = 0;  // and operations that keep it
};

}  // namespace segwal
