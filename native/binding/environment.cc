#include "binding/environment.h"

#include <utility>

namespace segwal {

// Objects that JavaScript still refers to are finalized in no particular order when the environment ends, the instance
// data among them; so they share the Environment with it.
using Shared = std::shared_ptr<Environment>;

void Environment::Create(Napi::Env env) {
  auto* shared = new Shared(std::make_shared<Environment>());
  (*shared)->channel_ = JsChannel::Open(env);
  env.SetInstanceData(shared);
  env.AddCleanupHook([](Environment* ending) { ending->End(); }, shared->get());
}

const Shared& Environment::Of(napi_env env) { return *Napi::Env(env).GetInstanceData<Shared>(); }

void Environment::RunAsync(Napi::Env env, std::function<void()> work, JsChannel::Task done) {
  channel_->Ref(env);
  pool_.Submit([channel = channel_, work = std::move(work), done = std::move(done)]() mutable {
    work();
    // `work` goes along, to be destroyed over there: it may hold the last reference to what belongs to that thread,
    // which can be through with `done` before this one comes back from Post.
    channel->Post([channel, work = std::move(work), done = std::move(done)](Napi::Env back) {
      channel->Unref(back);
      done(back);
    });
  });
}

void Environment::End() {
  for (EnvironmentResource* resource : resources_) resource->Interrupt();
  pool_.Stop();
  channel_->DropOrphans();
  for (EnvironmentResource* resource : std::exchange(resources_, {})) resource->Release();
}

}  // namespace segwal
