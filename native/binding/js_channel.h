// JsChannel: how native threads get back to the JavaScript thread of one environment.
//
// Node frees a thread-safe function when its environment ends, whoever still holds it. So it is only ever called with
// `mutex_` held and `open_` true, and the finalizer, which runs before the memory goes, clears `open_` under that
// mutex.
#pragma once

#include <napi.h>

#include <functional>
#include <memory>
#include <mutex>
#include <vector>

namespace segwal {

class JsChannel {
 public:
  using Task = std::function<void(Napi::Env)>;

  // On the JavaScript thread. Does not keep the process alive.
  static std::shared_ptr<JsChannel> Open(Napi::Env env);

  // Any thread. Runs `task` on the JavaScript thread, in the order of posting. When the environment is ending it is not
  // run, and put aside: what it holds may be destroyed on the JavaScript thread only.
  void Post(Task task);
  // On the JavaScript thread: destroys what was put aside.
  void DropOrphans();

  // On the JavaScript thread. Between the two, the process stays alive. They nest.
  void Ref(Napi::Env env);
  void Unref(Napi::Env env);

 private:
  JsChannel() = default;

  std::mutex mutex_;
  bool open_ = true;
  std::vector<Task> orphans_;
  napi_threadsafe_function function_ = nullptr;
  int refs_ = 0;  // only the JavaScript thread
};

}  // namespace segwal
