#include "binding/js_channel.h"

#include <utility>

namespace segwal {
namespace {

void CallTask(napi_env env, napi_value, void*, void* data) {
  const std::unique_ptr<JsChannel::Task> task(static_cast<JsChannel::Task*>(data));
  if (env == nullptr) return;  // the environment is ending; the queue is only emptied
  const Napi::HandleScope scope(env);
  (*task)(Napi::Env(env));
}

}  // namespace

std::shared_ptr<JsChannel> JsChannel::Open(Napi::Env env) {
  std::shared_ptr<JsChannel> channel(new JsChannel());
  // The function owns a reference of its own, which its finalizer gives back.
  auto* owned = new std::shared_ptr<JsChannel>(channel);
  const auto finalize = [](napi_env, void* data, void*) {
    const std::unique_ptr<std::shared_ptr<JsChannel>> last(static_cast<std::shared_ptr<JsChannel>*>(data));
    const std::lock_guard lock((*last)->mutex_);
    (*last)->open_ = false;
  };
  const napi_value name = Napi::String::New(env, "segwal");
  const napi_status status = napi_create_threadsafe_function(env, nullptr, nullptr, name, 0, 1, owned, finalize,
                                                             nullptr, CallTask, &channel->function_);
  if (status != napi_ok) {
    delete owned;
    return nullptr;
  }
  napi_unref_threadsafe_function(env, channel->function_);
  return channel;
}

void JsChannel::Post(Task task) {
  auto* const owned = new Task(std::move(task));  // CallTask deletes it
  const std::lock_guard lock(mutex_);
  if (open_ && napi_call_threadsafe_function(function_, owned, napi_tsfn_nonblocking) == napi_ok) return;
  open_ = false;
  orphans_.push_back(std::move(*owned));
  delete owned;
}

void JsChannel::DropOrphans() {
  std::vector<Task> orphans;
  const std::lock_guard lock(mutex_);
  orphans.swap(orphans_);
}

void JsChannel::Ref(Napi::Env env) {
  if (refs_++ == 0) napi_ref_threadsafe_function(env, function_);
}

void JsChannel::Unref(Napi::Env env) {
  if (--refs_ == 0) napi_unref_threadsafe_function(env, function_);
}

}  // namespace segwal
