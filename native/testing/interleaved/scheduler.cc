#include "testing/interleaved/scheduler.h"

#include <ucontext.h>

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <random>
#include <vector>

namespace segwal::schedule {
namespace {

constexpr size_t kStackSize = size_t{256} << 10;
constexpr uint64_t kMostPoints = 50'000;  // in one run: more is a loop that nobody leaves

struct KeptStore {
  void* at;
  size_t size;
  uint64_t value;
};

struct Fiber {
  ucontext_t context;
  std::unique_ptr<char[]> stack;
  std::function<void()> body;
  bool done = false;
  const void* blocked_on = nullptr;
  uint64_t deadline = UINT64_MAX;
  bool timed_out = false;
  std::vector<KeptStore> kept;

  bool runnable() const { return !done && blocked_on == nullptr; }
};

struct Choice {
  uint32_t taken;
  uint32_t count;
};

// What one run needs, and the path of choices that leads to the next one.
struct Explorer {
  std::vector<Choice> path;
  size_t depth = 0;
  int deviations_left = 0;
  uint32_t deviates_in = 0;  // not 0: no path, one choice in so many is a deviation
  std::minstd_rand random;

  std::vector<std::unique_ptr<Fiber>> fibers;
  std::vector<std::unique_ptr<char[]>> stacks;
  Fiber* running = nullptr;
  ucontext_t outside;
  uint64_t now = 0;
  uint64_t points = 0;
  std::string failure;

  // Of `count` ways to go on; all but the first are a deviation when `costs`.
  uint32_t Choose(size_t count, bool costs) {
    if (++points > kMostPoints) End("it does not come to an end");
    if (deviates_in != 0) {  // by chance
      if (count == 1 || (costs && random() % deviates_in != 0)) return 0;
      return static_cast<uint32_t>(costs ? 1 + random() % (count - 1) : random() % count);
    }
    if (count == 1 || (costs && deviations_left == 0)) return 0;
    if (depth == path.size()) path.push_back({0, static_cast<uint32_t>(count)});
    if (path[depth].count != count) End("it does not do the same again");
    const uint32_t taken = path[depth++].taken;
    if (costs && taken != 0) --deviations_left;
    return taken;
  }

  [[noreturn]] void End(std::string what) {
    failure = std::move(what);
    setcontext(&outside);
    std::abort();
  }

  void SwitchTo(Fiber* next) {
    if (next == running) return;
    Fiber* const before = running;
    running = next;
    swapcontext(&before->context, &next->context);
  }

  // Somebody else, because the running fiber cannot go on.
  void GoOnElsewhere();
};

Explorer* explorer = nullptr;
const int kQuiet = 0;  // its address: what one waits on who waits until nobody can go on

void FlushOf(Fiber& fiber) {
  for (const KeptStore& store : fiber.kept) std::memcpy(store.at, &store.value, store.size);
  fiber.kept.clear();
}

void Explorer::GoOnElsewhere() {
  while (true) {
    std::vector<Fiber*> candidates;
    for (const auto& fiber : fibers) {
      if (fiber->runnable()) candidates.push_back(fiber.get());
    }
    if (!candidates.empty()) {
      SwitchTo(candidates[Choose(candidates.size(), false)]);
      return;
    }
    Fiber* first = nullptr;
    Fiber* quiet = nullptr;
    for (const auto& fiber : fibers) {
      if (fiber->done) continue;
      if (fiber->blocked_on == &kQuiet) quiet = fiber.get();
      if (fiber->deadline != UINT64_MAX && (first == nullptr || fiber->deadline < first->deadline)) first = fiber.get();
    }
    if (first != nullptr) {
      now = std::max(now, first->deadline);
      first->timed_out = true;
    } else if (quiet != nullptr) {
      first = quiet;
    } else {
      End("nobody can go on");
    }
    first->blocked_on = nullptr;
    first->deadline = UINT64_MAX;
  }
}

void RunFiber() {
  Fiber* const self = explorer->running;
  self->body();
  FlushOf(*self);
  self->done = true;
  Wake(self, true);
  if (self == explorer->fibers.front().get()) setcontext(&explorer->outside);
  explorer->GoOnElsewhere();
}

Fiber* NewFiber(std::function<void()> body) {
  auto fiber = std::make_unique<Fiber>();
  fiber->body = std::move(body);
  if (explorer->stacks.empty()) explorer->stacks.push_back(std::make_unique<char[]>(kStackSize));
  fiber->stack = std::move(explorer->stacks.back());
  explorer->stacks.pop_back();
  getcontext(&fiber->context);
  fiber->context.uc_stack.ss_sp = fiber->stack.get();
  fiber->context.uc_stack.ss_size = kStackSize;
  fiber->context.uc_link = nullptr;
  makecontext(&fiber->context, RunFiber, 0);
  explorer->fibers.push_back(std::move(fiber));
  return explorer->fibers.back().get();
}

void RunOnce(const std::function<void()>& body, int deviations) {
  explorer->depth = 0;
  explorer->deviations_left = deviations;
  explorer->now = 0;
  explorer->points = 0;
  explorer->failure.clear();
  volatile bool begun = false;  // getcontext returns twice
  getcontext(&explorer->outside);
  if (!begun) {
    begun = true;
    explorer->running = NewFiber(body);
    setcontext(&explorer->running->context);
  }
  explorer->running = nullptr;
  for (auto& fiber : explorer->fibers) explorer->stacks.push_back(std::move(fiber->stack));
  explorer->fibers.clear();
}

}  // namespace

Exploration Explore(int deviations, uint64_t most_runs, const std::function<void()>& body) {
  Explorer mine;
  explorer = &mine;
  Exploration result;
  RunOnce(body, 0);  // what is done only once, such as choosing how to compute a CRC, is done now
  mine.path.clear();
  while (true) {
    RunOnce(body, deviations);
    ++result.runs;
    result.points += mine.points;
    result.failure = mine.failure;
    if (!result.failure.empty()) break;
    while (!mine.path.empty() && mine.path.back().taken + 1 == mine.path.back().count) mine.path.pop_back();
    if (mine.path.empty()) break;
    ++mine.path.back().taken;
    if (result.runs == most_runs) {
      result.complete = false;
      break;
    }
  }
  explorer = nullptr;
  return result;
}

Exploration Sample(uint64_t seed, uint64_t runs, const std::function<void()>& body) {
  Explorer mine;
  explorer = &mine;
  Exploration result{.complete = false};
  mine.random.seed(static_cast<uint32_t>(seed));
  while (result.runs < runs && result.failure.empty()) {
    mine.deviates_in = 2u << (mine.random() % 7);
    RunOnce(body, 0);
    ++result.runs;
    result.points += mine.points;
    result.failure = mine.failure;
  }
  explorer = nullptr;
  return result;
}

bool Active() { return explorer != nullptr && explorer->running != nullptr; }

void Fail(const std::string& what) { explorer->End(what); }

uint64_t Now() { return explorer != nullptr ? explorer->now : 0; }

void Pass(uint64_t ns) {
  if (explorer != nullptr) explorer->now += ns;
}

void WaitUntilQuiet() { Block(&kQuiet); }

void Yield() {
  if (!Active() || explorer->fibers.size() == 1) return;
  std::vector<Fiber*> candidates{explorer->running};
  for (const auto& fiber : explorer->fibers) {
    if (fiber.get() != explorer->running && fiber->runnable()) candidates.push_back(fiber.get());
  }
  explorer->SwitchTo(candidates[explorer->Choose(candidates.size(), true)]);
}

void Block(const void* on) { static_cast<void>(BlockUntil(on, UINT64_MAX)); }

bool BlockUntil(const void* on, uint64_t deadline) {
  Fiber& self = *explorer->running;
  FlushOf(self);
  self.blocked_on = on;
  self.deadline = deadline;
  self.timed_out = false;
  explorer->GoOnElsewhere();
  return !self.timed_out;
}

void Wake(const void* on, bool all) {
  if (!Active()) return;
  for (const auto& fiber : explorer->fibers) {
    if (fiber->done || fiber->blocked_on != on) continue;
    fiber->blocked_on = nullptr;
    fiber->deadline = UINT64_MAX;
    if (!all) return;
  }
}

void* Start(std::function<void()> body) { return NewFiber(std::move(body)); }

void Join(void* fiber) {
  while (!static_cast<Fiber*>(fiber)->done) Block(fiber);
}

bool Delay() { return Active() && explorer->Choose(2, true) == 1; }

void Keep(void* at, size_t size, uint64_t value) { explorer->running->kept.push_back({at, size, value}); }

bool Kept(const void* at, uint64_t* value) {
  if (!Active()) return false;
  const std::vector<KeptStore>& kept = explorer->running->kept;
  const auto found = std::find_if(kept.rbegin(), kept.rend(), [at](const KeptStore& store) { return store.at == at; });
  if (found == kept.rend()) return false;
  *value = found->value;
  return true;
}

void Flush() {
  if (Active()) FlushOf(*explorer->running);
}

}  // namespace segwal::schedule
