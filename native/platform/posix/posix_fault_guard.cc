#include "platform/posix/posix_fault_guard.h"

#include <dlfcn.h>
#include <signal.h>
#include <sys/mman.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <mutex>

#include "platform/posix/posix_os.h"
#include "platform/thread_sanitizer.h"

#if defined(SEGWAL_THREAD_SANITIZER)
extern "C" void AnnotateIgnoreWritesBegin(const char* file, int line);
extern "C" void AnnotateIgnoreWritesEnd(const char* file, int line);
#endif

namespace segwal::posix {
namespace {

// ---- the table --------------------------------------------------------------------------------------------------
//
// Grows by blocks that are never given back, so the handler can walk it at any time without a lock. Ranges are
// announced and withdrawn under a mutex that the handler does not take.
//
// Why the handler finds what it looks for, and nothing else: the mapping that a thread faults in stays announced while
// the thread uses it, so its entry does not change under the handler's eyes. Another entry may be changing. `begin` is
// 0 before `end` changes, and it is looked at once more after `end`; all accesses are seq_cst. So a `begin` and an
// `end` that the handler believes have stood there together.
struct Block {
  std::array<GuardedRange, 64> ranges;
  std::atomic<Block*> next{nullptr};
};

Block first_block;
std::mutex table_mutex;

GuardedRange* FreeRange() {
  for (Block* block = &first_block;; block = block->next.load()) {
    for (GuardedRange& range : block->ranges) {
      if (range.begin.load() == 0) return &range;
    }
    if (block->next.load() == nullptr) block->next.store(new Block);
  }
}

size_t page_size = 0;  // before the handler is installed; sysconf is not for signal handlers

// A new page in the place of the one at `page`, zeroed. To ThreadSanitizer that is a write to all of it, which races
// with the store that another thread is in the middle of; for the threads it is what ends their faults. So it is not
// told.
bool ReplacePage(std::byte* page) {
#if defined(SEGWAL_THREAD_SANITIZER)
  AnnotateIgnoreWritesBegin(__FILE__, __LINE__);
#endif
  // Writable in any case: the access must complete, or it would fault for ever.
  void* const replaced =
      ::mmap(page, page_size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0);
#if defined(SEGWAL_THREAD_SANITIZER)
  AnnotateIgnoreWritesEnd(__FILE__, __LINE__);
#endif
  return replaced != MAP_FAILED;
}

// Async-signal-safe: atomics and mmap. POSIX does not list mmap among what a handler may call, but on Linux and macOS
// it is a bare system call.
bool Absorb(void* address) {
  const auto at = reinterpret_cast<uintptr_t>(address);
  for (Block* block = &first_block; block != nullptr; block = block->next.load()) {
    for (GuardedRange& range : block->ranges) {
      const uintptr_t begin = range.begin.load();
      if (begin == 0 || at < begin || at >= range.end.load() || range.begin.load() != begin) continue;
      // First the alarm, then the page: the system call orders the two for every thread. So whoever finds the new page,
      // also a thread that takes no fault because this one has replaced the page already, finds the alarm raised.
      range.failure.load()->Raise();
      return ReplacePage(static_cast<std::byte*>(address) - at % page_size);
    }
  }
  return false;
}

// ---- the handler --------------------------------------------------------------------------------------------------

struct Chained {
  int signal = 0;
  struct sigaction previous{};
  std::atomic<bool> spent{false};  // a handler that wanted to be called once only has been
};
std::array<Chained, kMostFaultSignals> chained;

// The same as if `signal` had no handler: the process dies of it, and the core dump shows where. Back in the faulting
// instruction the fault comes again; what somebody sent has to be sent again.
void DieOf(int signal, const siginfo_t* info) {
  struct sigaction as_by_default{};
  as_by_default.sa_handler = SIG_DFL;
  ::sigaction(signal, &as_by_default, nullptr);
  if (info->si_code <= 0) ::raise(signal);  // pending until the handler returns
}

void HandOn(Chained* to, int signal, siginfo_t* info, void* context) {
  const struct sigaction& previous = to->previous;
  const bool once = (previous.sa_flags & static_cast<int>(SA_RESETHAND)) != 0;
  if (once && to->spent.exchange(true)) return DieOf(signal, info);
  if ((previous.sa_flags & SA_SIGINFO) != 0) return previous.sa_sigaction(signal, info, context);
  if (previous.sa_handler == SIG_IGN) {
    // What was sent is ignored. A fault cannot be: the instruction would fault for ever, so the system kills.
    return info->si_code <= 0 ? void() : DieOf(signal, info);
  }
  if (previous.sa_handler == SIG_DFL) return DieOf(signal, info);
  previous.sa_handler(signal);
}

void OnFault(int signal, siginfo_t* info, void* context) {
  const int error = errno;
  // si_code above 0: from the kernel, so si_addr is the address of a fault.
  if (info->si_code <= 0 || !Absorb(info->si_addr)) {
    for (Chained& each : chained) {
      if (each.signal == signal) HandOn(&each, signal, info, context);
    }
  }
  errno = error;
}

// Node.js closes an addon's library when the last thread that loaded it ends, if that was no main thread. The handler
// stays installed (somebody else may have chained to it), so its code has to stay too.
void KeepLibrary() {
  Dl_info library;
  if (::dladdr(reinterpret_cast<void*>(&OnFault), &library) == 0) return;
  static_cast<void>(::dlopen(library.dli_fname, RTLD_LAZY | RTLD_NOLOAD | RTLD_NODELETE));
}

void Install() {
  page_size = static_cast<size_t>(::sysconf(_SC_PAGESIZE));
  KeepLibrary();
  const std::span<const int> signals = FaultSignals();
  for (size_t i = 0; i < signals.size(); ++i) {
    Chained& each = chained[i];
    each.signal = signals[i];
    ::sigaction(each.signal, nullptr, &each.previous);
    struct sigaction action{};
    action.sa_sigaction = OnFault;
    // With the mask that the one before asked for. On the thread's signal stack where it has one: a handler that is
    // handed a stack overflow needs it.
    action.sa_mask = each.previous.sa_mask;
    action.sa_flags = SA_SIGINFO | SA_ONSTACK | (each.previous.sa_flags & (SA_NODEFER | SA_RESTART));
    ::sigaction(each.signal, &action, nullptr);
  }
}

}  // namespace

GuardedRange* GuardRange(std::byte* begin, size_t length, MappingFailure* failure) {
  static std::once_flag installed;
  std::call_once(installed, Install);
  const std::lock_guard lock(table_mutex);
  GuardedRange* range = FreeRange();
  // To the end of the last page: the memory behind the end of a mapping is there too.
  const auto at = reinterpret_cast<uintptr_t>(begin);
  range->end.store(at + (length + page_size - 1) / page_size * page_size);
  range->failure.store(failure);
  range->begin.store(at);
  return range;
}

void UnguardRange(GuardedRange* range) {
  const std::lock_guard lock(table_mutex);
  range->begin.store(0);
}

}  // namespace segwal::posix
