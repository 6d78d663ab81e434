// Terminates a worker thread at a chosen one of its calls into Node.js: where Worker.terminate would have to be lucky.
//
// Linked into the addon by -DSEGWAL_TERMINATIONS=ON, with --wrap for every CALL below. They are the functions that fail
// once a thread is being terminated (those with NAPI_PREAMBLE in Node's sources); to die between two of them is the
// same as to die at the second. Before call number SEGWAL_TERMINATE_AT of a worker, an environment variable of the
// process, the main thread is asked by SIGUSR2 to terminate the worker; when it has, that call is made, and fails.
#include <node_api.h>
#include <unistd.h>

#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <ctime>
#include <type_traits>

namespace {

void BeforeCall(napi_env env);

}  // namespace

// NOLINTBEGIN(bugprone-macro-parentheses,bugprone-reserved-identifier): the linker's names, and lists of parameters
#define CALL(name, parameters, arguments)                                 \
  extern "C" napi_status __real_##name parameters;                        \
  extern "C" napi_status __wrap_##name parameters;                        \
  static_assert(std::is_same_v<decltype(__real_##name), decltype(name)>); \
  napi_status __wrap_##name parameters {                                  \
    BeforeCall(env);                                                      \
    return __real_##name arguments;                                       \
  }

CALL(napi_call_function,
     (napi_env env, napi_value self, napi_value function, size_t count, const napi_value* arguments,
      napi_value* result),
     (env, self, function, count, arguments, result))
CALL(napi_coerce_to_bool, (napi_env env, napi_value value, napi_value* result), (env, value, result))
CALL(napi_create_arraybuffer, (napi_env env, size_t size, void** data, napi_value* result), (env, size, data, result))
CALL(napi_create_buffer_copy, (napi_env env, size_t size, const void* data, void** copy, napi_value* result),
     (env, size, data, copy, result))
CALL(napi_create_function,
     (napi_env env, const char* name, size_t length, napi_callback callback, void* data, napi_value* result),
     (env, name, length, callback, data, result))
CALL(napi_create_promise, (napi_env env, napi_deferred* deferred, napi_value* promise), (env, deferred, promise))
CALL(napi_create_typedarray,
     (napi_env env, napi_typedarray_type type, size_t length, napi_value buffer, size_t offset, napi_value* result),
     (env, type, length, buffer, offset, result))
CALL(napi_define_properties,
     (napi_env env, napi_value object, size_t count, const napi_property_descriptor* properties),
     (env, object, count, properties))
CALL(napi_get_element, (napi_env env, napi_value object, uint32_t index, napi_value* result),
     (env, object, index, result))
CALL(napi_get_named_property, (napi_env env, napi_value object, const char* name, napi_value* result),
     (env, object, name, result))
CALL(napi_get_property, (napi_env env, napi_value object, napi_value key, napi_value* result),
     (env, object, key, result))
CALL(napi_has_property, (napi_env env, napi_value object, napi_value key, bool* result), (env, object, key, result))
CALL(napi_reject_deferred, (napi_env env, napi_deferred deferred, napi_value value), (env, deferred, value))
CALL(napi_resolve_deferred, (napi_env env, napi_deferred deferred, napi_value value), (env, deferred, value))
CALL(napi_set_element, (napi_env env, napi_value object, uint32_t index, napi_value value), (env, object, index, value))
CALL(napi_set_named_property, (napi_env env, napi_value object, const char* name, napi_value value),
     (env, object, name, value))
CALL(napi_throw, (napi_env env, napi_value error), (env, error))
// NOLINTEND(bugprone-macro-parentheses,bugprone-reserved-identifier)

namespace {

// Which call of this thread; 0: none, as for the main thread always.
int CallToDieAt() {
  const char* call = gettid() == getpid() ? nullptr : std::getenv("SEGWAL_TERMINATE_AT");
  return call == nullptr ? 0 : std::atoi(call);
}

bool IsTerminating(napi_env env) {
  napi_handle_scope scope = nullptr;
  napi_value value = nullptr;
  napi_open_handle_scope(env, &scope);
  napi_get_undefined(env, &value);
  const bool terminating = __real_napi_coerce_to_bool(env, value, &value) != napi_ok;
  napi_close_handle_scope(env, scope);
  return terminating;
}

void BeforeCall(napi_env env) {
  thread_local const int die_at = CallToDieAt();
  thread_local int calls = 0;
  if (++calls != die_at || IsTerminating(env)) return;
  kill(getpid(), SIGUSR2);
  for (int patience = 10'000; !IsTerminating(env); --patience) {
    if (patience == 0) {
      std::fputs("nobody terminates this thread\n", stderr);
      std::abort();
    }
    const timespec one_ms{.tv_sec = 0, .tv_nsec = 1'000'000};
    nanosleep(&one_ms, nullptr);
  }
}

}  // namespace
