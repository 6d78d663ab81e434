// Environment: what one JavaScript thread (the main one, or a worker) has of this addon. When it ends - normally, by
// process.exit, by Worker.terminate - everything that it had open is let go of before the cleanup hook returns.
#pragma once

#include <napi.h>

#include <memory>
#include <unordered_set>

#include "binding/js_channel.h"
#include "binding/task_pool.h"

namespace segwal {

// Something with native resources that must not outlive its environment.
class EnvironmentResource {
 public:
  virtual ~EnvironmentResource() = default;
  virtual void Interrupt() = 0;  // operations under way on native threads are to end soon
  virtual void Release() = 0;    // on the JavaScript thread, after the last task has run; idempotent
};

class Environment {
 public:
  static void Create(Napi::Env env);
  static const std::shared_ptr<Environment>& Of(napi_env env);

  JsChannel& channel() { return *channel_; }
  void Add(EnvironmentResource* resource) { resources_.insert(resource); }
  void Remove(EnvironmentResource* resource) { resources_.erase(resource); }

  // Runs `work` on a native thread, then `done` on this one, which settles a promise. The process stays alive
  // meanwhile.
  void RunAsync(Napi::Env env, std::function<void()> work, JsChannel::Task done);
  // Runs `work` on a native thread; nobody waits for it.
  void RunDetached(std::function<void()> work) { pool_.Submit(std::move(work)); }

 private:
  void End();

  std::shared_ptr<JsChannel> channel_;
  TaskPool pool_;
  std::unordered_set<EnvironmentResource*> resources_;
};

}  // namespace segwal
