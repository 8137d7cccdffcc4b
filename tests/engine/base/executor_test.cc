#include "ev_tf/base/executor.h"

#include <gtest/gtest.h>

#include <atomic>
#include <thread>
#include <vector>

namespace ev {
namespace {

// The suite of the Executor contract, over every executor the engine brings.
class ExecutorContract : public testing::TestWithParam<int> {
 protected:
  std::unique_ptr<Executor> executor_ = NewThreadPoolExecutor(GetParam());
};

TEST_P(ExecutorContract, ParallelismIsTheThreadsAsked) { EXPECT_EQ(executor_->parallelism(), GetParam()); }

TEST_P(ExecutorContract, RunsEachTaskOnce) {
  for (const int tasks : {0, 1, 2, 7, 1000}) {
    std::vector<std::atomic<int>> runs(tasks);
    executor_->Run(tasks, [&runs](int i) { ++runs[i]; });
    for (int i = 0; i < tasks; ++i) ASSERT_EQ(runs[i].load(), 1) << "task " << i << " of " << tasks;
  }
}

TEST_P(ExecutorContract, WhatTasksWroteIsVisibleAfterRun) {
  std::vector<int> plain(10000);  // not atomic: the thread sanitizer checks the hand-over
  executor_->Run(100, [&plain](int task) {
    for (int i = task * 100; i < (task + 1) * 100; ++i) plain[i] = i;
  });
  for (int i = 0; i < 10000; ++i) ASSERT_EQ(plain[i], i);
}

TEST_P(ExecutorContract, RunMayBeCalledFromSeveralThreads) {
  constexpr int kThreads = 4;
  constexpr int kRuns = 50;
  constexpr int kTasks = 9;
  std::atomic<int> total{0};
  std::vector<std::thread> threads;
  for (int t = 0; t < kThreads; ++t) {
    threads.emplace_back([this, &total] {
      for (int r = 0; r < kRuns; ++r) executor_->Run(kTasks, [&total](int) { ++total; });
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(total.load(), kThreads * kRuns * kTasks);
}

// A task may split its own work again: whoever waits runs what is left, so that no thread is needed that is not there.
TEST_P(ExecutorContract, ATaskMayRunTasks) {
  std::atomic<int> leaves{0};
  std::vector<std::thread> threads;
  for (int t = 0; t < 3; ++t) {
    threads.emplace_back([this, &leaves] {
      executor_->Run(6, [&](int) { executor_->Run(5, [&](int) { executor_->Run(4, [&](int) { ++leaves; }); }); });
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(leaves.load(), 3 * 6 * 5 * 4);
}

TEST_P(ExecutorContract, IsDestroyedWithoutARun) { executor_.reset(); }

INSTANTIATE_TEST_SUITE_P(Threads, ExecutorContract, testing::Values(1, 2, 3, 8));

TEST(SerialExecutor, RunsInOrderOnTheCallingThread) {
  SerialExecutor executor;
  std::vector<int> order;
  const std::thread::id caller = std::this_thread::get_id();
  executor.Run(5, [&](int i) {
    EXPECT_EQ(std::this_thread::get_id(), caller);
    order.push_back(i);
  });
  EXPECT_EQ(order, (std::vector<int>{0, 1, 2, 3, 4}));
  EXPECT_EQ(executor.parallelism(), 1);
}

}  // namespace
}  // namespace ev
