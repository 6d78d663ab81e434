// LogHandle: one open log as one JavaScript thread sees it (NativeLog in lib/native.ts).
//
// The functions of the object are plain functions whose data pointer is the handle: a method of a wrapped class would
// cost a receiver check and an unwrapping on every append.
#pragma once

#include <napi.h>

#include <atomic>
#include <memory>
#include <thread>
#include <unordered_map>
#include <vector>

#include "binding/deferred.h"
#include "binding/environment.h"
#include "binding/function_owner.h"
#include "binding/registry.h"
#include "core/appender.h"
#include "core/log.h"

namespace segwal {

class ReaderHandle;

class LogHandle final : public FunctionOwner,
                        public EnvironmentResource,
                        private DurabilityListener,
                        private AppendListener {
 public:
  // open(directory, options, onProgress, onAppended, onRoom): Promise<NativeLog>
  static Napi::Value Open(const Napi::CallbackInfo& info);

  void Interrupt() override { closing_ = true; }
  void Release() override;

  // For ReaderHandle: runs `work` on a native thread, then `done` on this one. Close waits for it.
  void RunAsync(Napi::Env env, std::function<void()> work, JsChannel::Task done);
  void Remember(ReaderHandle* reader) { readers_.insert(reader); }
  void Forget(ReaderHandle* reader) { readers_.erase(reader); }

 private:
  LogHandle(Napi::Env env, std::unique_ptr<LogShare> share, Napi::Function on_progress, Napi::Function on_appended,
            Napi::Function on_room);
  ~LogHandle() override;

  Napi::Object Expose(Napi::Env env);

  static napi_value Append(napi_env env, napi_callback_info info);
  static napi_value AppendBytes(napi_env env, napi_callback_info info);
  static napi_value AppendString(napi_env env, napi_callback_info info);
  static napi_value AppendBatch(napi_env env, napi_callback_info info);
  static napi_value AppendPacked(napi_env env, napi_callback_info info);
  static napi_value PackBatch(napi_env env, napi_callback_info info);
  static napi_value PackPacked(napi_env env, napi_callback_info info);
  static napi_value CompressionPays(napi_env env, napi_callback_info info);
  static napi_value AppendCompressed(napi_env env, napi_callback_info info);
  static napi_value LastError(napi_env env, napi_callback_info info);
  static napi_value FirstSequence(napi_env env, napi_callback_info info);
  static napi_value LastSequence(napi_env env, napi_callback_info info);
  static napi_value DurableSequence(napi_env env, napi_callback_info info);
  static napi_value AppendedSequence(napi_env env, napi_callback_info info);
  static napi_value SetPatient(napi_env env, napi_callback_info info);
  static napi_value RequestDurable(napi_env env, napi_callback_info info);
  static napi_value ExpectDurable(napi_env env, napi_callback_info info);
  static napi_value Follow(napi_env env, napi_callback_info info);
  static napi_value StopFollowing(napi_env env, napi_callback_info info);
  static napi_value Rotate(napi_env env, napi_callback_info info);
  static napi_value TruncateBefore(napi_env env, napi_callback_info info);
  static napi_value Cleanup(napi_env env, napi_callback_info info);
  static napi_value Compact(napi_env env, napi_callback_info info);
  static napi_value Hold(napi_env env, napi_callback_info info);
  static napi_value ReleaseHold(napi_env env, napi_callback_info info);
  static napi_value TruncateAfter(napi_env env, napi_callback_info info);
  static napi_value Truncations(napi_env env, napi_callback_info info);
  static napi_value CreateCheckpoint(napi_env env, napi_callback_info info);
  static napi_value Checkpoints(napi_env env, napi_callback_info info);
  static napi_value Segments(napi_env env, napi_callback_info info);
  static napi_value Stats(napi_env env, napi_callback_info info);
  static napi_value NewReader(napi_env env, napi_callback_info info);
  static napi_value ReadOne(napi_env env, napi_callback_info info);
  static napi_value Verify(napi_env env, napi_callback_info info);
  static napi_value Close(napi_env env, napi_callback_info info);

  class BatchArguments;
  static bool BatchFrom(napi_env env, const napi_value* arguments, BatchArguments& batch,
                        std::vector<RecordView>* records);
  bool PackedFrom(napi_env env, const napi_value* arguments, std::vector<uint32_t>* offsets, PackedRecords* packed);
  // The sequence, or what went wrong as a negative number.
  napi_value Settle(napi_env env, uint64_t sequence);
  // For the hot functions: undefined, and the sequence in appended_, which costs less than making a number; or that
  // negative number.
  napi_value SettlePlain(napi_env env, uint64_t sequence);
  void TellOfAppend(napi_env env);
  napi_value NewAppended(napi_env env);
  napi_value Refuse(napi_env env, Status status);
  Status WhyNoAppender() const;
  // A promise for `work`, run on a native thread; `result` makes its value.
  napi_value Promise(napi_env env, std::function<Status()> work, std::function<napi_value(Napi::Env)> result);
  void StartClosing(Napi::Env env);
  void CloseReaders();

  // From the syncer's thread.
  void OnDurable(uint64_t watermark) override;
  void OnPoisoned(const Status& cause) override;
  void OnRoom(const Status& status) override;
  void OnTruncated(uint64_t durable_before) override;
  void Truncated(Napi::Env env, uint64_t durable_before);
  void PostProgress(const Status& failure);
  void Progress(Napi::Env env, const Status& failure);
  void AwaitDurable(Napi::Env env, uint64_t sequence, Status (Log::*ask)(uint64_t));

  // From a thread that appends, which may be this one.
  void OnAppended() override;
  void TellFollowers(Napi::Env env, uint64_t follow);
  void EndFollowing(Napi::Env env);

  const std::shared_ptr<Environment> environment_;
  const std::thread::id thread_ = std::this_thread::get_id();
  std::unique_ptr<LogShare> share_;  // null once closed
  Log* log_;                         // share_'s, for the hot path
  std::unique_ptr<Appender> appender_;
  double no_appended_ = 0;
  double* appended_ = &no_appended_;  // where JavaScript looks for the sequence
  Napi::ObjectReference appended_buffer_;
  bool appended_here_ = false;  // by this thread, and a follower waited for it
  Status last_error_;
  Napi::FunctionReference on_progress_;
  Napi::FunctionReference on_appended_;
  Napi::FunctionReference on_room_;
  std::vector<char> data_scratch_;
  std::vector<char> key_scratch_;
  std::unordered_set<ReaderHandle*> readers_;
  std::unordered_map<uint64_t, std::unique_ptr<Holds::Hold>> holds_;  // by number
  uint64_t last_hold_ = 0;
  int running_ = 0;  // asynchronous operations
  std::atomic<bool> closing_{false};
  bool closed_ = false;
  Status close_result_;
  std::vector<Deferred> closers_;

  // The syncer's thread looks at these to tell whether anybody wants to hear from it; it posts one progress at a time.
  std::atomic<uint64_t> wanted_{0};
  std::atomic<uint64_t> told_{0};
  std::atomic<bool> posted_{false};
  bool following_ = false;      // the channel is held until the next append
  uint64_t follows_ = 0;        // how often that began
  bool keeps_process_ = false;  // the channel is held while wanted_ is above told_
  // Gone with the handle: a task that was posted before may run after.
  std::shared_ptr<LogHandle*> self_ = std::make_shared<LogHandle*>(this);
};

}  // namespace segwal
