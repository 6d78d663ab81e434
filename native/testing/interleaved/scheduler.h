// A deterministic scheduler: what would be threads are fibers of one thread, and at every operation on a mutex, a
// condition variable or an atomic the scheduler says who goes on. Explore runs a body under one schedule after another,
// until all of them with at most so many deviations from the plainest one have been tried.
//
// A deviation is a fiber that is stopped although it could go on, or an atomic store weaker than seq_cst that stays in
// the store buffer of its fiber, as on x86: others see it only after the fiber's next fence (a seq_cst store, a
// read-modify-write, a lock, its end). So the schedules are those of total store order, not of weaker memory.
//
// Time stands still while anybody can go on; then the first timeout comes.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>

namespace segwal::schedule {

struct Exploration {
  uint64_t runs = 0;
  uint64_t points = 0;  // at which there was a choice, in all runs
  bool complete = true;
  std::string failure;  // of the first run that failed
};

// `body` runs as the first fiber. Tries no more than `most_runs`.
Exploration Explore(int deviations, uint64_t most_runs, const std::function<void()>& body);
// Schedules drawn by chance, some with a few deviations and some with many.
Exploration Sample(uint64_t seed, uint64_t runs, const std::function<void()>& body);

// For the body and what it starts:
void Fail(const std::string& what);  // ends this run; does not return
// Waits until nobody can go on and no timeout is left.
void WaitUntilQuiet();
uint64_t Now();  // ns
// Otherwise time passes only when everybody waits.
void Pass(uint64_t ns);

// For scheduled_std.h.
bool Active();
void Yield();
void Block(const void* on);
bool BlockUntil(const void* on, uint64_t deadline);  // false: the time came
void Wake(const void* on, bool all);
void* Start(::std::function<void()> body);
void Join(void* fiber);
// The store buffer of the running fiber.
bool Delay();  // whether this store is kept there
void Keep(void* at, size_t size, uint64_t value);
bool Kept(const void* at, uint64_t* value);
void Flush();

}  // namespace segwal::schedule
