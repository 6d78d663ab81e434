#include "binding/log_handle.h"

#include <algorithm>
#include <utility>

#include "binding/convert.h"
#include "binding/reader_handle.h"

namespace segwal {
namespace {

// Beyond the codes of the core: an argument that the facade should have refused.
constexpr double kBadArgument = -static_cast<double>(kErrorCodeCount);

napi_value Double(napi_env env, double value) {
  napi_value result = nullptr;
  napi_create_double(env, value, &result);
  return result;
}

// A Buffer with a copy of `bytes`.
napi_value BufferOf(napi_env env, std::span<const std::byte> bytes) {
  napi_value result = nullptr;
  napi_create_buffer_copy(env, bytes.size(), bytes.data(), nullptr, &result);
  return result;
}

bool IsAbsent(napi_env env, napi_value value) {
  napi_valuetype type = napi_undefined;
  napi_typeof(env, value, &type);
  return type == napi_undefined || type == napi_null;
}

}  // namespace

// ---- opening ------------------------------------------------------------------------------------------------------

Napi::Value LogHandle::Open(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  const std::optional<LogOptions> options = ToLogOptions(env, info[1]);
  if (!options) return {};
  auto deferred = std::make_shared<Deferred>(env);
  auto on_progress = std::make_shared<Napi::FunctionReference>(Napi::Persistent(info[2].As<Napi::Function>()));
  auto on_appended = std::make_shared<Napi::FunctionReference>(Napi::Persistent(info[3].As<Napi::Function>()));
  auto on_room = std::make_shared<Napi::FunctionReference>(Napi::Persistent(info[4].As<Napi::Function>()));
  struct Result {
    Status status;
    std::unique_ptr<LogShare> share;
  };
  auto result = std::make_shared<Result>();
  Environment::Of(env)->RunAsync(
      env,
      [result, directory = info[0].As<Napi::String>().Utf8Value(), options = *options] {
        result->status = LogShare::Open(directory, options, &result->share);
      },
      [result, deferred, on_progress, on_appended, on_room](Napi::Env back) {
        if (!result->status.ok()) return deferred->Reject(ToJs(back, result->status));
        auto* handle =
            new LogHandle(back, std::move(result->share), on_progress->Value(), on_appended->Value(), on_room->Value());
        const std::shared_ptr<void> keep = handle->Keep();  // for the functions may not come to be
        deferred->Resolve(handle->Expose(back));
      });
  return deferred->Promise();
}

LogHandle::LogHandle(Napi::Env env, std::unique_ptr<LogShare> share, Napi::Function on_progress,
                     Napi::Function on_appended, Napi::Function on_room)
    : environment_(Environment::Of(env)),
      share_(std::move(share)),
      log_(&share_->log()),
      appender_(log_->NewAppender()),
      on_progress_(Napi::Persistent(on_progress)),
      on_appended_(Napi::Persistent(on_appended)),
      on_room_(Napi::Persistent(on_room)) {
  environment_->Add(this);
  log_->AddListener(this);
}

LogHandle::~LogHandle() {
  environment_->Remove(this);
  if (!share_) return;
  // Collected without having been closed.
  CloseReaders();
  log_->RemoveListener(this);
  log_->StopFollowing(this);
  appender_.reset();
  environment_->RunDetached([share = std::shared_ptr<LogShare>(std::move(share_))] { share->Abandon(); });
}

Napi::Object LogHandle::Expose(Napi::Env env) {
  Napi::Object object = Napi::Object::New(env);
  object["segmentSize"] = ToJs(env, log_->segment_size());
  object["maxFrameSize"] = ToJs(env, log_->max_frame_size());
  object["recovery"] = ToJs(env, log_->recovery());
  object["appended"] = NewAppended(env);
  const std::pair<const char*, napi_callback> functions[] = {
      {"append", Append},
      {"appendBytes", AppendBytes},
      {"appendString", AppendString},
      {"appendBatch", AppendBatch},
      {"appendPacked", AppendPacked},
      {"packBatch", PackBatch},
      {"packPacked", PackPacked},
      {"compressionPays", CompressionPays},
      {"appendCompressed", AppendCompressed},
      {"lastError", LastError},
      {"firstSequence", FirstSequence},
      {"lastSequence", LastSequence},
      {"durableSequence", DurableSequence},
      {"appendedSequence", AppendedSequence},
      {"setPatient", SetPatient},
      {"requestDurable", RequestDurable},
      {"expectDurable", ExpectDurable},
      {"follow", Follow},
      {"stopFollowing", StopFollowing},
      {"rotate", Rotate},
      {"truncateBefore", TruncateBefore},
      {"cleanup", Cleanup},
      {"compact", Compact},
      {"hold", Hold},
      {"releaseHold", ReleaseHold},
      {"truncateAfter", TruncateAfter},
      {"truncations", Truncations},
      {"createCheckpoint", CreateCheckpoint},
      {"checkpoints", Checkpoints},
      {"segments", Segments},
      {"stats", Stats},
      {"reader", NewReader},
      {"readOne", ReadOne},
      {"verify", Verify},
      {"close", Close},
  };
  for (const auto& [name, callback] : functions) AddFunction(env, object, name, callback, this);
  return object;
}

// ---- appending ----------------------------------------------------------------------------------------------------

// Its memory is the buffer's from now on, which lives as long as the handle.
napi_value LogHandle::NewAppended(napi_env env) {
  void* data = nullptr;
  napi_value buffer = nullptr;
  napi_value array = nullptr;
  if (napi_create_arraybuffer(env, sizeof(double), &data, &buffer) != napi_ok) return nullptr;
  appended_buffer_ = Napi::Persistent(Napi::Object(env, buffer));
  appended_ = static_cast<double*>(data);
  napi_create_typedarray(env, napi_float64_array, 1, buffer, 0, &array);
  return array;
}

napi_value LogHandle::Settle(napi_env env, uint64_t sequence) {
  TellOfAppend(env);
  if (sequence != 0) [[likely]]
    return Double(env, static_cast<double>(sequence));
  return Refuse(env, appender_->failure());
}

inline napi_value LogHandle::SettlePlain(napi_env env, uint64_t sequence) {
  TellOfAppend(env);  // first, for who is told may append
  if (sequence == 0) [[unlikely]]
    return Refuse(env, appender_->failure());
  *appended_ = static_cast<double>(static_cast<int64_t>(sequence));  // the signed conversion is one instruction
  return nullptr;
}

inline void LogHandle::TellOfAppend(napi_env env) {
  if (!appended_here_) [[likely]]
    return;
  appended_here_ = false;
  TellFollowers(env, follows_);
}

napi_value LogHandle::Refuse(napi_env env, Status status) {
  const double code = -static_cast<double>(status.code());
  last_error_ = std::move(status);
  return Double(env, code);
}

Status LogHandle::WhyNoAppender() const {
  if (closing_) return Status(ErrorCode::kClosed, "the log is closed");
  return Status(ErrorCode::kReadOnly, "the log was opened read-only");
}

// The two hot paths. Nothing here but what the append needs: the facade has looked at the type.
napi_value LogHandle::AppendBytes(napi_env env, napi_callback_info info) {
  napi_value arguments[1];
  auto& self = SelfOf<LogHandle>(env, info, arguments);
  if (!self.appender_) [[unlikely]]
    return self.Refuse(env, self.WhyNoAppender());
  self.appender_->Expect();
  void* data = nullptr;
  size_t size = 0;
  // Not the type of its elements: asking for that costs as much again.
  if (napi_get_typedarray_info(env, arguments[0], nullptr, &size, &data, nullptr, nullptr) != napi_ok) [[unlikely]] {
    return Double(env, kBadArgument);
  }
  return self.SettlePlain(env, self.appender_->AppendPlain(data, size));
}

napi_value LogHandle::AppendString(napi_env env, napi_callback_info info) {
  napi_value arguments[1];
  auto& self = SelfOf<LogHandle>(env, info, arguments);
  if (!self.appender_) [[unlikely]]
    return self.Refuse(env, self.WhyNoAppender());
  self.appender_->Expect();
  size_t size = 0;
  if (!WriteString(env, arguments[0], self.data_scratch_, &size)) [[unlikely]]
    return Double(env, kBadArgument);
  return self.SettlePlain(env, self.appender_->AppendPlain(self.data_scratch_.data(), size));
}

napi_value LogHandle::Append(napi_env env, napi_callback_info info) {
  napi_value arguments[3];
  size_t count = 3;
  void* data = nullptr;
  napi_get_cb_info(env, info, &count, arguments, nullptr, &data);
  auto& self = *static_cast<LogHandle*>(data);
  if (!self.appender_) [[unlikely]]
    return self.Refuse(env, self.WhyNoAppender());
  self.appender_->Expect();
  const std::optional<ByteView> bytes = BytesOf(env, arguments[0], self.data_scratch_);
  if (!bytes) [[unlikely]]
    return Double(env, kBadArgument);
  RecordView record{.data = *bytes};
  if (count > 1) {
    uint32_t kind = 0;
    napi_get_value_uint32(env, arguments[1], &kind);
    record.kind = static_cast<uint8_t>(kind);
    if (count > 2 && !IsAbsent(env, arguments[2])) {
      record.key = BytesOf(env, arguments[2], self.key_scratch_);
      if (!record.key || record.key->size() > kMaxKeySize) return Double(env, kBadArgument);
    }
  }
  return self.Settle(env, self.appender_->Append(record));
}

// The elements of a JavaScript array as views. Strings are gathered in one buffer, which may move while it grows, so
// views of them are made at the end.
class LogHandle::BatchArguments {
 public:
  explicit BatchArguments(napi_env env) : env_(env) {}

  bool Add(napi_value value, ByteView* view) {
    const std::optional<ByteView> bytes = BytesOf(env_, value, scratch_);
    if (!bytes) return false;
    *view = *bytes;
    if (reinterpret_cast<const char*>(bytes->data()) != scratch_.data() || bytes->empty()) return true;
    strings_.emplace_back(view, text_.size());
    text_.insert(text_.end(), scratch_.data(), scratch_.data() + bytes->size());
    return true;
  }

  void Finish() {
    for (const auto& [view, offset] : strings_) {
      *view = ByteView(reinterpret_cast<const std::byte*>(text_.data()) + offset, view->size());
    }
  }

 private:
  napi_env env_;
  std::vector<char> scratch_;
  std::vector<char> text_;
  std::vector<std::pair<ByteView*, size_t>> strings_;
};

// The records that are the arguments of appendBatch and packBatch; false when they are none.
bool LogHandle::BatchFrom(napi_env env, const napi_value* arguments, BatchArguments& batch,
                          std::vector<RecordView>* records) {
  uint32_t count = 0;
  if (napi_get_array_length(env, arguments[0], &count) != napi_ok || count == 0) return false;
  records->resize(count);
  uint8_t* kinds = nullptr;
  size_t kinds_count = 0;
  if (!IsAbsent(env, arguments[1])) {
    void* data = nullptr;
    napi_get_typedarray_info(env, arguments[1], nullptr, &kinds_count, &data, nullptr, nullptr);
    kinds = static_cast<uint8_t*>(data);
  }
  const bool keyed = !IsAbsent(env, arguments[2]);
  for (uint32_t i = 0; i < count; ++i) {
    // A scope of its own for every stretch, or the handles of a large batch fill the heap.
    constexpr uint32_t kStretch = 256;
    napi_handle_scope scope = nullptr;
    napi_open_handle_scope(env, &scope);
    const uint32_t end = std::min(count, i + kStretch);
    bool good = true;
    for (; i < end && good; ++i) {
      RecordView& record = (*records)[i];
      napi_value value = nullptr;
      good = napi_get_element(env, arguments[0], i, &value) == napi_ok && batch.Add(value, &record.data);
      if (i < kinds_count) record.kind = kinds[i];
      if (!good || !keyed) continue;
      good = napi_get_element(env, arguments[2], i, &value) == napi_ok;
      if (!good || IsAbsent(env, value)) continue;
      good = batch.Add(value, &record.key.emplace()) && record.key->size() <= kMaxKeySize;
    }
    napi_close_handle_scope(env, scope);
    if (!good) return false;
    --i;
  }
  batch.Finish();
  return true;
}

napi_value LogHandle::AppendBatch(napi_env env, napi_callback_info info) {
  napi_value arguments[3];
  auto& self = SelfOf<LogHandle>(env, info, arguments);
  if (!self.appender_) return self.Refuse(env, self.WhyNoAppender());
  std::vector<RecordView> records;
  BatchArguments batch(env);
  if (!BatchFrom(env, arguments, batch, &records)) return Double(env, kBadArgument);
  return self.Settle(env, self.appender_->AppendBatch(records));
}

// The records that are the arguments of appendPacked and packPacked; false when they are none. `offsets` has to live
// as long as `packed`.
bool LogHandle::PackedFrom(napi_env env, const napi_value* arguments, std::vector<uint32_t>* offsets,
                           PackedRecords* packed) {
  napi_typedarray_type type = napi_int8_array;
  size_t count = 0;
  void* data = nullptr;
  if (napi_get_typedarray_info(env, arguments[1], &type, &count, &data, nullptr, nullptr) != napi_ok ||
      type != napi_uint32_array || count < 2) {
    return false;
  }
  const std::optional<ByteView> buffer = BytesOf(env, arguments[0], data_scratch_);
  // A copy: should another thread change a shared array meanwhile, what was checked is what is used.
  offsets->assign(static_cast<uint32_t*>(data), static_cast<uint32_t*>(data) + count);
  if (!buffer || !std::ranges::is_sorted(*offsets) || offsets->back() > buffer->size()) return false;
  packed->buffer = *buffer;
  packed->offsets = *offsets;
  uint32_t kind = 0;
  napi_get_value_uint32(env, arguments[2], &kind);
  packed->kind = static_cast<uint8_t>(kind);
  if (!IsAbsent(env, arguments[3])) {
    packed->key = BytesOf(env, arguments[3], key_scratch_);
    if (!packed->key || packed->key->size() > kMaxKeySize) return false;
  }
  return true;
}

napi_value LogHandle::AppendPacked(napi_env env, napi_callback_info info) {
  napi_value arguments[4];
  auto& self = SelfOf<LogHandle>(env, info, arguments);
  if (!self.appender_) return self.Refuse(env, self.WhyNoAppender());
  std::vector<uint32_t> offsets;
  PackedRecords packed;
  if (!self.PackedFrom(env, arguments, &offsets, &packed)) return Double(env, kBadArgument);
  return self.Settle(env, self.appender_->AppendPacked(packed));
}

napi_value LogHandle::PackBatch(napi_env env, napi_callback_info info) {
  napi_value arguments[3];
  auto& self = SelfOf<LogHandle>(env, info, arguments);
  if (!self.appender_) return self.Refuse(env, self.WhyNoAppender());
  std::vector<RecordView> records;
  BatchArguments batch(env);
  if (!BatchFrom(env, arguments, batch, &records)) return Double(env, kBadArgument);
  std::vector<std::byte> payload;
  Status status = segwal::PackBatch(records, self.log_->max_frame_size(), &payload);
  return status.ok() ? BufferOf(env, payload) : self.Refuse(env, std::move(status));
}

napi_value LogHandle::PackPacked(napi_env env, napi_callback_info info) {
  napi_value arguments[4];
  auto& self = SelfOf<LogHandle>(env, info, arguments);
  if (!self.appender_) return self.Refuse(env, self.WhyNoAppender());
  std::vector<uint32_t> offsets;
  PackedRecords packed;
  if (!self.PackedFrom(env, arguments, &offsets, &packed)) return Double(env, kBadArgument);
  std::vector<std::byte> payload;
  Status status = segwal::PackBatch(packed, self.log_->max_frame_size(), &payload);
  return status.ok() ? BufferOf(env, payload) : self.Refuse(env, std::move(status));
}

napi_value LogHandle::CompressionPays(napi_env env, napi_callback_info info) {
  napi_value arguments[2];
  auto& self = SelfOf<LogHandle>(env, info, arguments);
  const std::optional<ByteView> plain = BytesOf(env, arguments[0], self.data_scratch_);
  const uint64_t compressed_size = ToU64(env, arguments[1]);
  const bool pays = plain && plain->size() >= kBatchHeaderSize &&
                    segwal::CompressionPays(Load<uint32_t>(plain->data()), plain->size(), compressed_size);
  return Napi::Boolean::New(env, pays);
}

napi_value LogHandle::AppendCompressed(napi_env env, napi_callback_info info) {
  napi_value arguments[3];
  auto& self = SelfOf<LogHandle>(env, info, arguments);
  if (!self.appender_) return self.Refuse(env, self.WhyNoAppender());
  uint32_t codec = 0;
  napi_get_value_uint32(env, arguments[0], &codec);
  const std::optional<ByteView> plain = BytesOf(env, arguments[1], self.data_scratch_);
  const std::optional<ByteView> compressed = BytesOf(env, arguments[2], self.key_scratch_);
  if (!plain || !compressed || plain->size() < kBatchHeaderSize) return Double(env, kBadArgument);
  const auto count = Load<uint32_t>(plain->data());
  if (!segwal::CompressionPays(count, plain->size(), compressed->size())) return Double(env, kBadArgument);
  const auto plain_size = static_cast<uint32_t>(plain->size());
  return self.Settle(
      env, self.appender_->AppendCompressed(static_cast<uint8_t>(codec & 7u), count, plain_size, *compressed));
}

napi_value LogHandle::LastError(napi_env env, napi_callback_info info) {
  return ToJs(env, SelfOf<LogHandle>(env, info).last_error_);
}

// ---- looking ------------------------------------------------------------------------------------------------------

napi_value LogHandle::FirstSequence(napi_env env, napi_callback_info info) {
  auto& self = SelfOf<LogHandle>(env, info);
  return Double(env, self.closing_ ? 0 : static_cast<double>(self.log_->first_sequence()));
}

napi_value LogHandle::LastSequence(napi_env env, napi_callback_info info) {
  auto& self = SelfOf<LogHandle>(env, info);
  return Double(env, self.closing_ ? 0 : static_cast<double>(self.log_->last_sequence()));
}

napi_value LogHandle::DurableSequence(napi_env env, napi_callback_info info) {
  auto& self = SelfOf<LogHandle>(env, info);
  return Double(env, self.closing_ ? 0 : static_cast<double>(self.log_->durable_sequence()));
}

napi_value LogHandle::AppendedSequence(napi_env env, napi_callback_info info) {
  auto& self = SelfOf<LogHandle>(env, info);
  return Double(env, self.closing_ ? 0 : static_cast<double>(self.log_->appended_sequence()));
}

napi_value LogHandle::Segments(napi_env env, napi_callback_info info) {
  auto& self = SelfOf<LogHandle>(env, info);
  return ToJs(env, self.closing_ ? std::vector<SegmentInfo>{} : self.log_->Segments());
}

napi_value LogHandle::Stats(napi_env env, napi_callback_info info) {
  auto& self = SelfOf<LogHandle>(env, info);
  return ToJs(env, self.closing_ ? LogStats{} : self.log_->Stats());
}

napi_value LogHandle::NewReader(napi_env env, napi_callback_info info) {
  napi_value arguments[1];
  auto& self = SelfOf<LogHandle>(env, info, arguments);
  if (self.closing_) return self.Refuse(env, Status(ErrorCode::kClosed, "the log is closed"));
  const std::optional<ReadFilter> filter = ToReadFilter(env, arguments[0]);
  if (!filter) return nullptr;
  std::unique_ptr<Reader> reader;
  Status status = self.log_->NewReader(*filter, &reader);
  if (!status.ok()) return self.Refuse(env, std::move(status));
  return ReaderHandle::New(env, &self, std::move(reader));
}

napi_value LogHandle::ReadOne(napi_env env, napi_callback_info info) {
  napi_value arguments[3];
  auto& self = SelfOf<LogHandle>(env, info, arguments);
  if (self.closing_) return self.Refuse(env, Status(ErrorCode::kClosed, "the log is closed"));
  const uint64_t sequence = ToU64(env, arguments[0]);
  std::unique_ptr<Reader> reader;
  Status status = self.log_->NewReader({.from = sequence, .to = sequence}, &reader);
  if (!status.ok()) return self.Refuse(env, std::move(status));
  Filled filled = FillFrom(*reader, env, arguments[1], arguments[2]);
  const double result = filled.ToNumber();
  self.last_error_ = std::move(filled.status);
  return Double(env, result);
}

// ---- durability ---------------------------------------------------------------------------------------------------

napi_value LogHandle::RequestDurable(napi_env env, napi_callback_info info) {
  napi_value arguments[1];
  auto& self = SelfOf<LogHandle>(env, info, arguments);
  self.AwaitDurable(env, ToU64(env, arguments[0]), &Log::RequestDurable);
  return Napi::Env(env).Undefined();
}

napi_value LogHandle::ExpectDurable(napi_env env, napi_callback_info info) {
  napi_value arguments[1];
  auto& self = SelfOf<LogHandle>(env, info, arguments);
  self.AwaitDurable(env, ToU64(env, arguments[0]), &Log::ExpectDurable);
  return Napi::Env(env).Undefined();
}

void LogHandle::AwaitDurable(Napi::Env env, uint64_t sequence, Status (Log::*ask)(uint64_t)) {
  if (closing_) return;
  if (!keeps_process_) {
    keeps_process_ = true;
    environment_->channel().Ref(env);
  }
  // Before asking: a sync that ends from now on sees that somebody waits.
  wanted_ = std::max(wanted_.load(), sequence);
  const Status status = (log_->*ask)(sequence);
  const bool already = log_->durable_sequence() >= sequence;
  if ((already || !status.ok()) && !posted_.exchange(true)) PostProgress(already ? Status::Ok() : status);
}

void LogHandle::OnDurable(uint64_t) {
  if (told_ >= wanted_) return;  // nobody waits
  if (!posted_.exchange(true)) PostProgress(Status::Ok());
}

void LogHandle::OnPoisoned(const Status& cause) { PostProgress(cause); }

void LogHandle::OnRoom(const Status& status) {
  environment_->channel().Post([weak = std::weak_ptr(self_), status](Napi::Env env) {
    const auto self = weak.lock();
    if (!self || (*self)->on_room_.IsEmpty()) return;
    (*self)->on_room_.Call({status.ok() ? env.Null() : Napi::Value(ToJs(env, status))});
  });
}

void LogHandle::OnTruncated(uint64_t durable_before) {
  // What was told before says nothing of the numbers that are used again.
  told_ = 0;
  environment_->channel().Post([weak = std::weak_ptr(self_), durable_before](Napi::Env env) {
    if (const auto self = weak.lock()) (*self)->Truncated(env, durable_before);
  });
}

// Whoever waits for a record behind the new end waits for one that was durable when it was dropped. Below that the same
// number may stand for the one or for the other, and the other is on its way.
void LogHandle::Truncated(Napi::Env env, uint64_t durable_before) {
  if (on_progress_.IsEmpty() || !share_) return;
  const uint64_t appended = log_->appended_sequence();
  on_progress_.Call({ToJs(env, log_->durable_sequence()), env.Null(), ToJs(env, appended), ToJs(env, durable_before)});
  if (wanted_ <= appended) {
    if (wanted_ != 0) AwaitDurable(env, wanted_, &Log::RequestDurable);
    return;
  }
  if (wanted_ > durable_before) return;  // somebody is ahead of the log
  wanted_ = appended;
  AwaitDurable(env, appended, &Log::RequestDurable);
}

void LogHandle::PostProgress(const Status& failure) {
  environment_->channel().Post([weak = std::weak_ptr(self_), failure](Napi::Env env) {
    if (const auto self = weak.lock()) (*self)->Progress(env, failure);
  });
}

void LogHandle::Progress(Napi::Env env, const Status& failure) {
  posted_ = false;
  if (on_progress_.IsEmpty() || !share_) return;
  const uint64_t durable = log_->durable_sequence();
  // A failure settles everybody; otherwise who waits beyond `durable` hears of the next sync.
  told_ = failure.ok() ? durable : wanted_.load();
  if (keeps_process_ && told_ >= wanted_) {
    keeps_process_ = false;
    environment_->channel().Unref(env);
  }
  on_progress_.Call({ToJs(env, durable), failure.ok() ? env.Null() : Napi::Value(ToJs(env, failure))});
}

// ---- following ----------------------------------------------------------------------------------------------------

napi_value LogHandle::SetPatient(napi_env env, napi_callback_info info) {
  napi_value arguments[1];
  auto& self = SelfOf<LogHandle>(env, info, arguments);
  bool patient = true;
  // Not a conversion, which fails while a worker is being terminated.
  if (napi_get_value_bool(env, arguments[0], &patient) == napi_ok && self.appender_) {
    self.appender_->set_patient(patient);
  }
  return nullptr;
}

napi_value LogHandle::Follow(napi_env raw_env, napi_callback_info info) {
  napi_value arguments[1];
  auto& self = SelfOf<LogHandle>(raw_env, info, arguments);
  const Napi::Env env(raw_env);
  auto outcome = FollowOutcome::kEnded;
  if (!self.closing_) {
    self.EndFollowing(env);
    ++self.follows_;
    outcome = self.log_->FollowAppends(ToU64(env, arguments[0]), &self);
    if (outcome == FollowOutcome::kWaiting) {
      self.following_ = true;
      self.environment_->channel().Ref(env);
    }
  }
  return Double(env, static_cast<double>(outcome));
}

napi_value LogHandle::StopFollowing(napi_env env, napi_callback_info info) {
  SelfOf<LogHandle>(env, info).EndFollowing(env);
  return Napi::Env(env).Undefined();
}

void LogHandle::EndFollowing(Napi::Env env) {
  if (!following_) return;
  following_ = false;
  if (log_ != nullptr) log_->StopFollowing(this);
  environment_->channel().Unref(env);
}

// Who follows in this thread hears of an append of this thread before it returns: a message would reach him only when
// the event loop comes round. It is sent all the same, for it is not always an append that calls this.
void LogHandle::OnAppended() {
  if (std::this_thread::get_id() == thread_) appended_here_ = true;
  environment_->channel().Post([weak = std::weak_ptr(self_), follow = follows_](Napi::Env env) {
    if (const auto self = weak.lock()) (*self)->TellFollowers(env, follow);
  });
}

void LogHandle::TellFollowers(Napi::Env env, uint64_t follow) {
  if (!following_ || follow != follows_ || on_appended_.IsEmpty()) return;
  EndFollowing(env);
  on_appended_.Call({});
}

// ---- what takes its time ------------------------------------------------------------------------------------------

void LogHandle::RunAsync(Napi::Env env, std::function<void()> work, JsChannel::Task done) {
  ++running_;
  environment_->RunAsync(env, std::move(work), [this, keep = Keep(), done = std::move(done)](Napi::Env back) {
    --running_;
    done(back);
    if (closing_ && running_ == 0) StartClosing(back);
  });
}

napi_value LogHandle::Promise(napi_env raw_env, std::function<Status()> work,
                              std::function<napi_value(Napi::Env)> result) {
  const Napi::Env env(raw_env);
  auto deferred = std::make_shared<Deferred>(env);
  if (closing_) {
    deferred->Reject(ToJs(env, Status(ErrorCode::kClosed, "the log is closed")));
    return deferred->Promise();
  }
  auto status = std::make_shared<Status>();
  RunAsync(
      env, [status, work = std::move(work)] { *status = work(); },
      [status, deferred, result = std::move(result)](Napi::Env back) {
        if (status->ok()) {
          deferred->Resolve(result ? result(back) : back.Undefined());
        } else {
          deferred->Reject(ToJs(back, *status));
        }
      });
  return deferred->Promise();
}

napi_value LogHandle::Rotate(napi_env env, napi_callback_info info) {
  auto& self = SelfOf<LogHandle>(env, info);
  return self.Promise(env, [log = self.log_] { return log->Rotate(); }, nullptr);
}

napi_value LogHandle::TruncateBefore(napi_env env, napi_callback_info info) {
  napi_value arguments[1];
  auto& self = SelfOf<LogHandle>(env, info, arguments);
  const uint64_t sequence = ToU64(env, arguments[0]);
  return self.Promise(env, [log = self.log_, sequence] { return log->TruncateBefore(sequence); }, nullptr);
}

napi_value LogHandle::Cleanup(napi_env env, napi_callback_info info) {
  auto& self = SelfOf<LogHandle>(env, info);
  auto result = std::make_shared<CleanupResult>();
  return self.Promise(
      env, [log = self.log_, result] { return log->Cleanup(result.get()); },
      [result](Napi::Env back) { return ToJs(back, *result); });
}

napi_value LogHandle::Compact(napi_env env, napi_callback_info info) {
  napi_value arguments[1];
  auto& self = SelfOf<LogHandle>(env, info, arguments);
  const uint64_t before = ToU64(env, arguments[0]);
  if (self.appender_) self.appender_->LetGoOfSealed();
  auto result = std::make_shared<CompactResult>();
  return self.Promise(
      env,
      [&self, before, result] {
        const auto closing = [&self] { return self.closing_.load(); };
        return self.log_->Compact({.before = before, .cancelled = closing}, result.get());
      },
      [result](Napi::Env back) { return ToJs(back, *result); });
}

napi_value LogHandle::Hold(napi_env env, napi_callback_info info) {
  napi_value arguments[1];
  auto& self = SelfOf<LogHandle>(env, info, arguments);
  if (self.closing_) return self.Refuse(env, Status(ErrorCode::kClosed, "the log is closed"));
  const uint64_t sequence = ToU64(env, arguments[0]);
  std::unique_ptr<Holds::Hold> hold = self.log_->HoldFrom(sequence);
  const uint64_t first = std::max(hold->sequence(), self.log_->first_sequence());
  if (first > sequence) {
    return self.Refuse(
        env, Status(ErrorCode::kTruncated, "record " + std::to_string(sequence) +
                                               " cannot be held: the log begins with record " + std::to_string(first)));
  }
  self.holds_.emplace(++self.last_hold_, std::move(hold));
  return Double(env, static_cast<double>(self.last_hold_));
}

napi_value LogHandle::ReleaseHold(napi_env env, napi_callback_info info) {
  napi_value arguments[1];
  auto& self = SelfOf<LogHandle>(env, info, arguments);
  self.holds_.erase(ToU64(env, arguments[0]));
  return Napi::Env(env).Undefined();
}

napi_value LogHandle::TruncateAfter(napi_env env, napi_callback_info info) {
  napi_value arguments[1];
  auto& self = SelfOf<LogHandle>(env, info, arguments);
  const uint64_t sequence = ToU64(env, arguments[0]);
  return self.Promise(env, [log = self.log_, sequence] { return log->TruncateAfter(sequence); }, nullptr);
}

napi_value LogHandle::Truncations(napi_env env, napi_callback_info info) {
  auto& self = SelfOf<LogHandle>(env, info);
  return Double(env, self.closing_ ? 0 : static_cast<double>(self.log_->truncations()));
}

napi_value LogHandle::CreateCheckpoint(napi_env env, napi_callback_info info) {
  napi_value arguments[2];
  auto& self = SelfOf<LogHandle>(env, info, arguments);
  const uint64_t sequence = ToU64(env, arguments[0]);
  struct Run {
    std::vector<std::byte> data;  // a copy: the caller may use its memory again
    bool has_data = false;
    Checkpoint made;
  };
  auto run = std::make_shared<Run>();
  run->has_data = !IsAbsent(env, arguments[1]);
  if (run->has_data) {
    if (const auto bytes = BytesOf(env, arguments[1], self.data_scratch_))
      run->data.assign(bytes->begin(), bytes->end());
  }
  return self.Promise(
      env,
      [log = self.log_, sequence, run] {
        return log->CreateCheckpoint(sequence, run->has_data ? std::optional<ByteView>(run->data) : std::nullopt,
                                     &run->made);
      },
      [run](Napi::Env back) { return ToJs(back, run->made); });
}

napi_value LogHandle::Checkpoints(napi_env env, napi_callback_info info) {
  auto& self = SelfOf<LogHandle>(env, info);
  if (self.closing_) return self.Refuse(env, Status(ErrorCode::kClosed, "the log is closed"));
  std::vector<Checkpoint> checkpoints;
  Status status = self.log_->Checkpoints(&checkpoints);
  return status.ok() ? napi_value(ToJs(env, checkpoints)) : self.Refuse(env, std::move(status));
}

// The promise, how far it has got, and a way to cut it short: whoever awaits it asks for progress when it wants to.
napi_value LogHandle::Verify(napi_env raw_env, napi_callback_info info) {
  napi_value arguments[1];
  auto& self = SelfOf<LogHandle>(raw_env, info, arguments);
  const Napi::Env env(raw_env);
  struct Run {
    VerifyReport report;
    VerifyProgress progress;
    std::atomic<bool> cancelled{false};
  };
  auto run = std::make_shared<Run>();
  const size_t concurrency = ToU64(raw_env, arguments[0]);
  Napi::Object result = Napi::Object::New(env);
  result["done"] = Napi::Value(
      env, self.Promise(
               env,
               [&self, run, concurrency] {
                 const auto cancelled = [&self, &run] { return self.closing_.load() || run->cancelled.load(); };
                 return self.log_->Verify(
                     {.concurrency = concurrency, .cancelled = cancelled, .progress = &run->progress}, &run->report);
               },
               [run](Napi::Env back) { return ToJs(back, run->report); }));
  result["progress"] = Napi::Function::New(env, [run](const Napi::CallbackInfo& call) {
    Napi::Object progress = Napi::Object::New(call.Env());
    progress["records"] = ToJs(call.Env(), run->progress.records.load(std::memory_order_relaxed));
    progress["bytes"] = ToJs(call.Env(), run->progress.bytes.load(std::memory_order_relaxed));
    progress["totalBytes"] = ToJs(call.Env(), run->progress.total_bytes.load(std::memory_order_relaxed));
    return progress;
  });
  result["cancel"] = Napi::Function::New(env, [run](const Napi::CallbackInfo&) { run->cancelled = true; });
  return result;
}

// ---- closing ------------------------------------------------------------------------------------------------------

napi_value LogHandle::Close(napi_env raw_env, napi_callback_info info) {
  auto& self = SelfOf<LogHandle>(raw_env, info);
  const Napi::Env env(raw_env);
  const Deferred deferred(env);
  if (self.closed_) {
    if (self.close_result_.ok()) {
      deferred.Resolve(env.Undefined());
    } else {
      deferred.Reject(ToJs(env, self.close_result_));
    }
    return deferred.Promise();
  }
  self.closers_.push_back(deferred);
  if (!self.closing_.exchange(true)) {
    self.appender_.reset();
    self.CloseReaders();
    if (self.running_ == 0) self.StartClosing(env);
  }
  return deferred.Promise();
}

void LogHandle::CloseReaders() {
  for (ReaderHandle* reader : readers_) {
    reader->Close();
    reader->Detach();
  }
  readers_.clear();
  holds_.clear();
}

void LogHandle::StartClosing(Napi::Env env) {
  if (!share_) return;
  log_->RemoveListener(this);
  EndFollowing(env);
  const uint64_t appended = log_->appended_sequence();
  log_ = nullptr;
  auto share = std::shared_ptr<LogShare>(std::move(share_));
  auto status = std::make_shared<Status>();
  environment_->RunAsync(
      env, [share, status] { *status = share->Close(); },
      [this, keep = Keep(), status, appended](Napi::Env back) {
        closed_ = true;
        close_result_ = *status;
        if (keeps_process_) {
          keeps_process_ = false;
          environment_->channel().Unref(back);
        }
        // Everything appended is durable now, or never will be: whoever still waits hears of it before close settles.
        if (told_ < wanted_) {
          on_progress_.Call({ToJs(back, status->ok() ? appended : told_.load()),
                             status->ok() ? back.Null() : Napi::Value(ToJs(back, *status))});
        }
        on_progress_.Reset();
        on_appended_.Reset();
        on_room_.Reset();
        for (const Deferred& closer : std::exchange(closers_, {})) {
          if (status->ok()) {
            closer.Resolve(back.Undefined());
          } else {
            closer.Reject(ToJs(back, *status));
          }
        }
      });
}

void LogHandle::Release() {
  closing_ = true;
  appender_.reset();
  CloseReaders();
  if (share_) {
    log_->RemoveListener(this);
    log_->StopFollowing(this);
    share_->Abandon();
    share_.reset();
  }
  on_progress_.Reset();
  on_appended_.Reset();
  on_room_.Reset();
  appended_ = &no_appended_;
  appended_buffer_.Reset();
}

}  // namespace segwal
