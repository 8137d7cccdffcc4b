#include "ev_tf/base/epoch.h"

#include <gtest/gtest.h>

#include <atomic>
#include <memory>
#include <thread>
#include <vector>

#include "tests/support/threads.h"

namespace ev {
namespace {

TEST(Epoch, WithoutAGuardARetiredThingIsFreedAtOnce) {
  EpochDomain epochs;
  bool freed = false;
  epochs.Retire([&freed] { freed = true; });
  EXPECT_TRUE(freed);
  EXPECT_EQ(epochs.pending(), 0u);
}

TEST(Epoch, G1NothingRetiredUnderAGuardIsFreedBeforeItIsReleased) {
  EpochDomain epochs;
  bool freed = false;
  {
    const EpochGuard guard(epochs);
    epochs.Retire([&freed] { freed = true; });
    epochs.Collect();
    EXPECT_FALSE(freed);
    EXPECT_EQ(epochs.pending(), 1u);
  }
  epochs.Collect();
  EXPECT_TRUE(freed);
  EXPECT_EQ(epochs.pending(), 0u);
}

TEST(Epoch, G1AGuardTakenLaterHoldsNothingBack) {
  EpochDomain epochs;
  bool first_freed = false;
  bool second_freed = false;
  auto early = std::make_unique<EpochGuard>(epochs);
  epochs.Retire([&] { first_freed = true; });
  const EpochGuard late(epochs);
  epochs.Retire([&] { second_freed = true; });
  early.reset();
  epochs.Collect();
  EXPECT_TRUE(first_freed) << "only the early guard could see it";
  EXPECT_FALSE(second_freed) << "the late guard could see it";
}

TEST(Epoch, ThingsAreFreedInTheOrderTheyWereRetired) {
  EpochDomain epochs;
  std::vector<int> order;
  {
    const EpochGuard guard(epochs);
    for (int i = 0; i < 5; ++i) epochs.Retire([&order, i] { order.push_back(i); });
  }
  epochs.Collect();
  EXPECT_EQ(order, (std::vector<int>{0, 1, 2, 3, 4}));
}

TEST(Epoch, WhatIsFreedMayRetireMore) {
  EpochDomain epochs;
  int freed = 0;
  epochs.Retire([&] {
    ++freed;
    epochs.Retire([&freed] { ++freed; });
  });
  epochs.Collect();
  EXPECT_EQ(freed, 2);
}

TEST(Epoch, G2TheDestructorFreesWhatIsLeft) {
  int freed = 0;
  {
    EpochDomain epochs;
    {
      const EpochGuard guard(epochs);
      for (int i = 0; i < 3; ++i) epochs.Retire([&freed] { ++freed; });
    }
    EXPECT_EQ(freed, 0);
  }
  EXPECT_EQ(freed, 3);
}

// Guards of 64 calls fill every place; here one thread stands for all of them.
TEST(Epoch, OneGuardMoreThanThePlacesWaitsForOneOfThem) {
  constexpr int kPlaces = 64;
  EpochDomain epochs;
  bool freed = false;
  std::vector<std::unique_ptr<EpochGuard>> guards;
  for (int i = 0; i < kPlaces; ++i) guards.push_back(std::make_unique<EpochGuard>(epochs));
  epochs.Retire([&freed] { freed = true; });
  std::thread late([&epochs] { const EpochGuard guard(epochs); });
  guards[kPlaces / 2].reset();
  late.join();  // for ever, if the free place is not found
  for (auto& guard : guards) {
    epochs.Collect();
    ASSERT_FALSE(freed);
    guard.reset();
  }
  epochs.Collect();
  EXPECT_TRUE(freed);
}

TEST(Epoch, MoreThreadsThanPlacesAllGetTheirTurn) {
  constexpr int kThreads = 100;
  EpochDomain epochs;
  std::atomic<int> turns{0};
  std::atomic<int> freed{0};
  test::RunTogether(kThreads, [&](int) {
    for (int i = 0; i < 10; ++i) {
      const EpochGuard guard(epochs);
      std::this_thread::yield();
      turns.fetch_add(1);
      epochs.Retire([&freed] { freed.fetch_add(1); });
    }
  });
  EXPECT_EQ(turns.load(), kThreads * 10);
  epochs.Collect();
  EXPECT_EQ(freed.load(), kThreads * 10);
}

// Readers follow a pointer that a writer replaces all the time.  A value freed too early is a use after free for the
// address sanitizer, a race for the thread sanitizer, and a wrong value for everybody.
TEST(Epoch, G1ReadersNeverSeeAFreedValue) {
  constexpr int kReaders = 4;
  constexpr int kReplacements = 3000;
  struct Value {
    explicit Value(int n_in) : n(n_in), check(~n_in) {}
    ~Value() { n = check = 0; }
    int n;
    int check;
  };
  EpochDomain epochs;
  std::atomic<Value*> shown{new Value(0)};
  std::atomic<bool> stop{false};
  std::atomic<int> bad{0};
  test::RunTogether(kReaders + 1, [&](int thread) {
    if (thread == kReaders) {
      for (int i = 1; i <= kReplacements; ++i) {
        Value* old = shown.exchange(new Value(i), std::memory_order_acq_rel);
        epochs.Retire([old] { delete old; });
      }
      stop.store(true);
      return;
    }
    int last = 0;
    while (!stop.load()) {
      const EpochGuard guard(epochs);
      const Value* value = shown.load(std::memory_order_acquire);
      std::this_thread::yield();
      if (value->check != ~value->n || value->n < last) bad.fetch_add(1);
      last = value->n;
    }
  });
  EXPECT_EQ(bad.load(), 0);
  epochs.Collect();
  EXPECT_EQ(epochs.pending(), 0u);
  delete shown.load();
}

}  // namespace
}  // namespace ev
