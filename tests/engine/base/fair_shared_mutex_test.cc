#include "ev_tf/base/fair_shared_mutex.h"

#include <gtest/gtest.h>

#include <atomic>
#include <mutex>
#include <shared_mutex>
#include <thread>

#include "tests/support/threads.h"

namespace ev {
namespace {

TEST(FairSharedMutex, WritersAreAlone) {
  constexpr int kRounds = 300;
  FairSharedMutex mu;
  int a = 0;  // not atomic: the lock must order them
  int b = 0;
  test::RunTogether(6, [&](int thread) {
    for (int i = 0; i < kRounds; ++i) {
      if (thread < 2) {
        const std::unique_lock<FairSharedMutex> alone(mu);
        ++a;
        ++b;
      } else {
        const std::shared_lock<FairSharedMutex> shared(mu);
        EXPECT_EQ(a, b);
      }
    }
  });
  EXPECT_EQ(a, 2 * kRounds);
}

TEST(FairSharedMutex, ReadersAreInsideTogether) {
  constexpr int kReaders = 4;
  FairSharedMutex mu;
  std::atomic<int> inside{0};
  test::RunTogether(kReaders, [&](int) {
    const std::shared_lock<FairSharedMutex> shared(mu);
    inside.fetch_add(1);
    while (inside.load() < kReaders) std::this_thread::yield();
  });
  EXPECT_EQ(inside.load(), kReaders);
}

// Readers that overlap all the time, so that one is always inside, stop only when the writer has been in.
TEST(FairSharedMutex, AWritersTurnComesUnderReadersThatNeverPause) {
  FairSharedMutex mu;
  std::atomic<bool> written{false};
  test::RunTogether(5, [&](int thread) {
    if (thread == 0) {
      for (int i = 0; i < 10; ++i) {
        const std::unique_lock<FairSharedMutex> alone(mu);
      }
      written.store(true);
      return;
    }
    while (!written.load()) {
      const std::shared_lock<FairSharedMutex> shared(mu);
      std::this_thread::yield();
    }
  });
  EXPECT_TRUE(written.load());
}

}  // namespace
}  // namespace ev
