// Holds: what of the front of a log somebody still needs. Cleanup asks; whoever reads, replays or says so holds.
#pragma once

#include <algorithm>
#include <cstdint>
#include <memory>
#include <mutex>
#include <set>

namespace segwal {

// Threads: any. A hold may outlive the log.
class Holds {
 private:
  struct State {
    std::mutex mutex;
    std::multiset<uint64_t> sequences;
    uint64_t floor = 0;
  };

 public:
  // Lets go when it is destroyed.
  class Hold {
   public:
    Hold(std::shared_ptr<State> state, std::multiset<uint64_t>::iterator place)
        : state_(std::move(state)), place_(place) {}
    ~Hold() {
      const std::lock_guard lock(state_->mutex);
      state_->sequences.erase(place_);
    }
    Hold(const Hold&) = delete;
    Hold& operator=(const Hold&) = delete;

    // This record and everything behind it stays.
    uint64_t sequence() const {
      const std::lock_guard lock(state_->mutex);
      return *place_;
    }
    // What comes before `sequence` is not needed any more. Never back.
    void MoveTo(uint64_t sequence) {
      const std::lock_guard lock(state_->mutex);
      if (sequence <= *place_) return;
      state_->sequences.erase(place_);
      place_ = state_->sequences.insert(sequence);
    }

   private:
    const std::shared_ptr<State> state_;
    std::multiset<uint64_t>::iterator place_;
  };

  // Of `sequence`, or of the first record that is not going to be removed if that is a later one.
  std::unique_ptr<Hold> Take(uint64_t sequence) {
    const std::lock_guard lock(state_->mutex);
    const auto place = state_->sequences.insert(std::max(sequence, state_->floor));
    return std::make_unique<Hold>(state_, place);
  }

  // Everything before `sequence` is to be removed, as far as nobody holds it: how far that is. From now on nobody can
  // take a hold of what comes before that.
  uint64_t Raise(uint64_t sequence) {
    const std::lock_guard lock(state_->mutex);
    if (!state_->sequences.empty()) sequence = std::min(sequence, *state_->sequences.begin());
    state_->floor = std::max(state_->floor, sequence);
    return sequence;
  }
  // The first record that somebody holds; UINT64_MAX when nobody holds any.
  uint64_t Lowest() const {
    const std::lock_guard lock(state_->mutex);
    return state_->sequences.empty() ? UINT64_MAX : *state_->sequences.begin();
  }
  // It was not removed after all: the log begins with `first`.
  void Lower(uint64_t first) {
    const std::lock_guard lock(state_->mutex);
    state_->floor = std::min(state_->floor, first);
  }

 private:
  const std::shared_ptr<State> state_ = std::make_shared<State>();
};

}  // namespace segwal
