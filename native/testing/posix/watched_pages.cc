#include "testing/watched_pages.h"

#include <signal.h>
#include <sys/mman.h>

#include <cstdlib>

namespace segwal {
namespace {

bool (*absorb_fault)(void* address) = nullptr;
struct sigaction previous_segv;
struct sigaction previous_bus;

void OnFault(int signal, siginfo_t* info, void* context) {
  if (absorb_fault(info->si_addr)) return;
  // Somebody's bug. Who was here before may have something to say about it; otherwise the store is tried again and
  // kills.
  const struct sigaction& previous = signal == SIGBUS ? previous_bus : previous_segv;
  if ((previous.sa_flags & SA_SIGINFO) != 0) {
    previous.sa_sigaction(signal, info, context);
  } else {
    ::signal(signal, SIG_DFL);
  }
}

}  // namespace

std::byte* ReservePages(size_t bytes) {
  void* const reserved = ::mmap(nullptr, bytes, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (reserved == MAP_FAILED) std::abort();
  return static_cast<std::byte*>(reserved);
}

void ProtectPages(std::byte* at, size_t size, bool writable) {
  if (::mprotect(at, size, writable ? PROT_READ | PROT_WRITE : PROT_READ) != 0) std::abort();
}

void CatchRefusedAccesses(bool (*absorb)(void* address)) {
  absorb_fault = absorb;
  struct sigaction action{};
  action.sa_sigaction = OnFault;
  action.sa_flags = SA_SIGINFO | SA_NODEFER;
  sigemptyset(&action.sa_mask);
  ::sigaction(SIGSEGV, &action, &previous_segv);
  ::sigaction(SIGBUS, &action, &previous_bus);
}

}  // namespace segwal
