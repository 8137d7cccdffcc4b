// Many calls on one variable at once: V2 and V3, and reads beside writes.  Small sizes: these run under the thread
// sanitizer.
#include <gtest/gtest.h>

#include <algorithm>
#include <atomic>
#include <memory>
#include <vector>

#include "ev_tf/variable/embedding_variable.h"
#include "tests/support/random.h"
#include "tests/support/threads.h"
#include "tests/support/variable_support.h"

namespace ev {
namespace {

using test::Lookup;
using test::ReadRows;

constexpr int64_t kDim = 8;
constexpr int kTrainers = 8;
constexpr Key kKeys = 3000;
constexpr int kSteps = 6;

std::vector<Key> AllKeys(Key n = kKeys) {
  std::vector<Key> keys(static_cast<size_t>(n));
  for (Key i = 0; i < n; ++i) keys[static_cast<size_t>(i)] = i - n / 2;
  return keys;
}

class ConcurrencyTest : public testing::Test {
 protected:
  // One trainer: `kSteps` batches that name each key once, in an order of its own, with gradient -1: every step adds 1.
  void Train(int thread, Executor* executor) {
    test::Random random(static_cast<uint64_t>(thread) + 1);
    std::vector<Key> keys = AllKeys();
    const std::vector<float> grads(keys.size() * kDim, -1.0f);
    for (int step = 0; step < kSteps; ++step) {
      for (size_t i = keys.size(); i > 1; --i) std::swap(keys[i - 1], keys[random.Below(i)]);
      EV_EXPECT_OK(ev_->Apply(Sgd(1.0f), {}, keys, grads, step, *executor));
    }
    training_.fetch_sub(1);
  }
  // Integers in float: sums are exact in any order, so one lost update shows.
  void ExpectEveryUpdate() {
    for (const float f : Lookup(*ev_, AllKeys())) ASSERT_EQ(f, static_cast<float>(kTrainers * kSteps));
    EXPECT_EQ(ev_->size(), kKeys) << "V2: each key once";
    EXPECT_EQ(ev_->Keys().size(), static_cast<size_t>(kKeys));
    EXPECT_EQ(ev_->metrics().inserts - ev_->metrics().removes, kKeys);
    for (const int64_t f : ReadRows(*ev_, AllKeys()).frequencies) ASSERT_EQ(f, kTrainers * kSteps);
  }

  const std::unique_ptr<EmbeddingVariable> ev_ = test::NewVariable(test::Options(kDim, true), std::vector<float>(kDim));
  std::atomic<int> training_{kTrainers};
};

TEST_F(ConcurrencyTest, V3NoUpdateIsLost) {
  test::RunTogether(kTrainers, [&](int thread) {
    SerialExecutor executor;
    Train(thread, &executor);
  });
  ExpectEveryUpdate();
}

TEST_F(ConcurrencyTest, V3NoUpdateIsLostWhenCallsShareThePool) {
  const auto executor = NewThreadPoolExecutor(3);
  test::RunTogether(kTrainers, [&](int thread) { Train(thread, executor.get()); });
  ExpectEveryUpdate();
}

// Each float of a row is a count of steps, so that a value that was never there shows, though a lookup may mix steps.
TEST_F(ConcurrencyTest, V1LookupsAndReadsBesideTraining) {
  constexpr int kReaders = 3;
  test::RunTogether(kTrainers + kReaders, [&](int thread) {
    SerialExecutor executor;
    if (thread < kTrainers) return Train(thread, &executor);
    const std::vector<Key> keys = AllKeys(2 * kKeys);  // half of them never inserted
    while (training_.load() != 0) {
      for (const float f : Lookup(*ev_, keys)) {
        ASSERT_TRUE(f >= 0 && f <= kTrainers * kSteps && f == static_cast<float>(static_cast<int>(f))) << f;
      }
      ASSERT_LE(ev_->size(), kKeys);
      for (const Key key : ev_->Keys()) ASSERT_TRUE(key >= -kKeys / 2 && key < kKeys / 2) << "never inserted: " << key;
      const test::StoredRows rows = ReadRows(*ev_, keys);
      for (size_t i = 0; i < keys.size(); ++i) {
        if (!rows.found[i]) continue;
        // ReadRows sees a row as of one moment: all elements and the count of updates agree.
        for (int64_t d = 0; d < kDim; ++d) {
          ASSERT_EQ(rows.values[i * kDim + static_cast<size_t>(d)], static_cast<float>(rows.frequencies[i]));
        }
      }
      ev_->metrics();
    }
  });
  ExpectEveryUpdate();
}

TEST_F(ConcurrencyTest, V3NoUpdateIsLostWhenSlotsArrive) {
  constexpr int kLateSlots = 4;
  test::RunTogether(kTrainers + 2, [&](int thread) {
    SerialExecutor executor;
    if (thread < kTrainers) return Train(thread, &executor);
    if (thread == kTrainers) {
      for (int i = 0; i < kLateSlots; ++i) {  // each moves every row
        const std::vector<SlotSpec> slots = {{"late/" + std::to_string(i), kDim, static_cast<float>(i)}};
        EV_EXPECT_OK(ev_->WriteRows({}, slots, {}));
        std::this_thread::yield();
      }
      return;
    }
    while (training_.load() != 0) Lookup(*ev_, AllKeys());
  });
  ExpectEveryUpdate();
  const test::StoredRows rows = ReadRows(*ev_, AllKeys());
  ASSERT_EQ(rows.slots.size(), kKeys * kLateSlots * kDim);
  for (size_t i = 0; i < rows.slots.size(); ++i) {
    ASSERT_EQ(rows.slots[i], static_cast<float>(i / kDim % kLateSlots)) << "new rows and old ones start alike";
  }
}

// Keys come and go beside the ones that are trained; their rows are used again by others.
TEST_F(ConcurrencyTest, V3NoUpdateIsLostWhenOtherKeysAreRemoved) {
  constexpr int kChurners = 2;
  test::RunTogether(kTrainers + kChurners + 1, [&](int thread) {
    SerialExecutor executor;
    if (thread < kTrainers) return Train(thread, &executor);
    if (thread == kTrainers + kChurners) {
      while (training_.load() != 0) Lookup(*ev_, AllKeys(3 * kKeys));
      return;
    }
    std::vector<Key> keys(500);
    for (size_t i = 0; i < keys.size(); ++i) keys[i] = 1000000 * thread + static_cast<Key>(i);
    while (training_.load() != 0) {
      test::Descend(ev_.get(), keys, std::vector<float>(keys.size() * kDim, 5.0f));
      for (const float f : Lookup(*ev_, keys)) ASSERT_EQ(f, -5.0f) << "a row that came back is new";
      ASSERT_EQ(ev_->Remove(keys), static_cast<int64_t>(keys.size()));
    }
  });
  ExpectEveryUpdate();
}

// The same keys removed and trained: what is left is one whole number of steps since the last removal.
TEST_F(ConcurrencyTest, RemoveBesideTrainingOfTheSameKeys) {
  test::RunTogether(kTrainers + 1, [&](int thread) {
    SerialExecutor executor;
    if (thread < kTrainers) return Train(thread, &executor);
    while (training_.load() != 0) ev_->Remove(AllKeys());
  });
  const std::vector<Key> keys = AllKeys();
  const test::StoredRows rows = ReadRows(*ev_, keys);
  int64_t left = 0;
  for (size_t i = 0; i < keys.size(); ++i) {
    if (!rows.found[i]) continue;
    ++left;
    ASSERT_GE(rows.frequencies[i], 1);
    for (int64_t d = 0; d < kDim; ++d) {
      ASSERT_EQ(rows.values[i * kDim + static_cast<size_t>(d)], static_cast<float>(rows.frequencies[i]));
    }
  }
  EXPECT_EQ(ev_->size(), left);
  EXPECT_EQ(ev_->metrics().inserts - ev_->metrics().removes, left);
}

TEST_F(ConcurrencyTest, ClearAndWriteRowsBesideEverything) {
  test::RunTogether(kTrainers + 2, [&](int thread) {
    SerialExecutor executor;
    if (thread < kTrainers) return Train(thread, &executor);
    const std::vector<Key> keys = AllKeys(100);
    const std::vector<float> values(keys.size() * kDim, 1.0f);
    while (training_.load() != 0) {
      if (thread == kTrainers) {
        EV_EXPECT_OK(ev_->WriteRows(keys, {}, {values, {}, {}, {}}));
      } else {
        EV_ASSERT_OK(ev_->Clear());
      }
    }
  });
  EXPECT_EQ(ev_->Keys().size(), static_cast<size_t>(ev_->size()));
  EXPECT_EQ(ev_->metrics().inserts - ev_->metrics().removes, ev_->size());
}

// More calls at once than guards have places.
TEST_F(ConcurrencyTest, AHundredThreadsInsertAtOnce) {
  constexpr int kThreads = 100;
  test::RunTogether(kThreads, [&](int thread) {
    std::vector<Key> keys(200);
    for (size_t i = 0; i < keys.size(); ++i) keys[i] = thread + static_cast<Key>(i) * kThreads;
    test::Descend(ev_.get(), keys, std::vector<float>(keys.size() * kDim, -1.0f));
    for (const float f : Lookup(*ev_, keys)) ASSERT_EQ(f, 1.0f);
  });
  EXPECT_EQ(ev_->size(), kThreads * 200);
}

}  // namespace
}  // namespace ev
