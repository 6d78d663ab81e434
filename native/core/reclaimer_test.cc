#include "core/reclaimer.h"

#include <gtest/gtest.h>

#include <future>

namespace segwal {
namespace {

// Tells which thread destroyed it.
class Tracked {
 public:
  explicit Tracked(std::promise<std::thread::id>* destroyed) : destroyed_(destroyed) {}
  ~Tracked() { destroyed_->set_value(std::this_thread::get_id()); }
  Tracked(const Tracked&) = delete;
  Tracked& operator=(const Tracked&) = delete;

 private:
  std::promise<std::thread::id>* destroyed_;
};

TEST(ReclaimerTest, DestroysOnItsOwnThread) {
  const std::shared_ptr<Reclaimer> reclaimer = Reclaimer::Start();
  std::promise<std::thread::id> destroyed;
  std::shared_ptr<Tracked> owned = reclaimer->Own(std::make_unique<Tracked>(&destroyed));
  owned.reset();
  EXPECT_NE(destroyed.get_future().get(), std::this_thread::get_id());
}

TEST(ReclaimerTest, DestroysOnlyWhenTheLastOwnerLetsGo) {
  const std::shared_ptr<Reclaimer> reclaimer = Reclaimer::Start();
  std::promise<std::thread::id> destroyed;
  std::future<std::thread::id> future = destroyed.get_future();
  std::shared_ptr<Tracked> owned = reclaimer->Own(std::make_unique<Tracked>(&destroyed));
  const std::shared_ptr<Tracked> other = owned;
  owned.reset();
  reclaimer->Stop();
  EXPECT_EQ(future.wait_for(std::chrono::seconds(0)), std::future_status::timeout);
}

TEST(ReclaimerTest, StopDestroysWhatWasHandedOver) {
  const std::shared_ptr<Reclaimer> reclaimer = Reclaimer::Start();
  std::vector<std::promise<std::thread::id>> destroyed(100);
  for (auto& promise : destroyed) reclaimer->Own(std::make_unique<Tracked>(&promise)).reset();
  reclaimer->Stop();
  for (auto& promise : destroyed) {
    EXPECT_EQ(promise.get_future().wait_for(std::chrono::seconds(0)), std::future_status::ready);
  }
}

TEST(ReclaimerTest, WhatComesAfterStopIsDestroyedByWhoeverBringsIt) {
  const std::shared_ptr<Reclaimer> reclaimer = Reclaimer::Start();
  std::promise<std::thread::id> destroyed;
  std::shared_ptr<Tracked> owned = reclaimer->Own(std::make_unique<Tracked>(&destroyed));
  reclaimer->Stop();
  reclaimer->Stop();
  owned.reset();
  EXPECT_EQ(destroyed.get_future().get(), std::this_thread::get_id());
}

}  // namespace
}  // namespace segwal
