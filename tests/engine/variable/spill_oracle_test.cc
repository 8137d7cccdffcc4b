// Training, lookups, removals, eviction and compaction all at once, on every kind of tier: afterwards each row is the sum of
// what was asked for, each key is there once, and what was removed stays away.
//
// EV_BATCHES: batches of each thread; the slow test does 500.  TF_MULTI_TIER_EV_EVICTION_THREADS: as for anybody.
#include <gtest/gtest.h>

#include <algorithm>
#include <atomic>
#include <cmath>
#include <cstdlib>
#include <memory>
#include <string>
#include <tuple>
#include <vector>

#include "ev_tf/optim/sgd.h"
#include "ev_tf/variable/storage_type.h"
#include "tests/support/random.h"
#include "tests/support/sanitizers.h"
#include "tests/support/temp_dir.h"
#include "tests/support/threads.h"
#include "tests/support/variable_support.h"

namespace ev {
namespace {

constexpr int64_t kDim = 8;
constexpr Key kRows = 2000;       // trained by all threads
constexpr Key kDoomed = 1000000;  // from here on: made at first, removed on the way, trained by nobody
constexpr Key kDoomedRows = 1000;
constexpr int kTrainers = 5;
constexpr int kReaders = 2;
constexpr size_t kBatch = 128;

int Batches() {
  const char* wanted = std::getenv("EV_BATCHES");
  return wanted != nullptr ? std::atoi(wanted) : test::Rounds(64, 8);
}

// A few keys come often; half of the batch anywhere.
std::vector<Key> DrawKeys(test::Random* random) {
  std::vector<Key> keys(kBatch);
  for (Key& key : keys) {
    key = static_cast<Key>(random->Below(random->OneIn(2) ? kRows : 1 + random->Below(kRows / 4)));
  }
  return keys;
}

struct Case {
  StorageType type;
  CacheStrategy strategy;
  int percent;  // of the rows that DRAM holds
  bool async_compaction;
};

void PrintTo(const Case& c, std::ostream* out) {
  *out << "type " << static_cast<int>(c.type) << (c.strategy == CacheStrategy::kLru ? " LRU " : " LFU ") << c.percent
       << " %" << (c.async_compaction ? " async" : "");
}

class SpillOracle : public ::testing::TestWithParam<Case> {
 protected:
  void SetUp() override {
    setenv("TF_SSDHASH_ASYNC_COMPACTION", GetParam().async_compaction ? "1" : "0", 1);
    VariableOptions options = test::Options(kDim, /*with_meta=*/true);
    EV_ASSERT_OK(MakeStorage(GetParam().type, dir_.path(), kRows * GetParam().percent / 100 * kDim * 4,
                             GetParam().strategy, &options.storage));
    const Status made = EmbeddingVariable::Create(options, std::vector<float>(kDim, 0.0f), &table_);
    if (made.code() == StatusCode::kUnavailable) GTEST_SKIP() << made.message();
    EV_ASSERT_OK(made);
    std::vector<Key> doomed(kDoomedRows);
    for (size_t i = 0; i < doomed.size(); ++i) doomed[i] = kDoomed + static_cast<Key>(i);
    test::Descend(table_.get(), doomed, std::vector<float>(doomed.size() * kDim, 64.0f));
  }
  void TearDown() override { unsetenv("TF_SSDHASH_ASYNC_COMPACTION"); }

  void Train(int thread) {
    test::Random random(static_cast<uint64_t>(thread));
    SerialExecutor serial;
    const std::vector<float> grads(kBatch * kDim, -1.0f);
    for (int batch = 0; batch < Batches(); ++batch) {
      const std::vector<Key> keys = DrawKeys(&random);
      EV_ASSERT_OK(table_->Apply(Sgd(0.25f), {}, keys, grads, batch, serial));
      for (const Key key : keys) counts_[static_cast<size_t>(key)].fetch_add(1);
      if (batch % 50 == 49) EV_ASSERT_OK(table_->FlushEvictions());
    }
    working_.fetch_sub(1);
  }

  // A row never goes back, and never says what nobody wrote.
  void Look(int thread) {
    test::Random random(static_cast<uint64_t>(thread));
    while (working_.load() != 0) {
      const std::vector<Key> keys = DrawKeys(&random);
      std::vector<int> at_least;
      for (const Key key : keys) at_least.push_back(counts_[static_cast<size_t>(key)].load());
      const std::vector<float> rows = test::Lookup(*table_, keys);
      for (size_t i = 0; i < keys.size(); ++i) {
        for (int64_t d = 0; d < kDim; ++d) {
          const float row = rows[i * kDim + static_cast<size_t>(d)];
          ASSERT_EQ(row * 4, std::round(row * 4)) << "key " << keys[i];
          ASSERT_GE(row * 4, static_cast<float>(at_least[i])) << "key " << keys[i] << ": an update is lost";
        }
      }
    }
  }

  void RemoveDoomed() {
    test::Random random(99);
    int64_t removed = 0;
    for (Key first = 0; first < kDoomedRows; first += 10) {
      std::vector<Key> keys;
      for (Key key = first; key < first + 10; ++key) keys.push_back(kDoomed + key);
      test::Lookup(*table_, keys);  // some are just coming up
      removed += table_->Remove(keys);
      for (const float value : test::Lookup(*table_, keys)) ASSERT_EQ(value, 0.0f) << "a removed row came back";
    }
    EXPECT_EQ(removed, kDoomedRows);
  }

  test::TempDir dir_;
  std::unique_ptr<EmbeddingVariable> table_;
  std::vector<std::atomic<int>> counts_ = std::vector<std::atomic<int>>(kRows);
  std::atomic<int> working_{kTrainers};
};

TEST_P(SpillOracle, NothingIsLostDuplicatedOrResurrected) {
  test::RunTogether(kTrainers + kReaders + 1, [&](int thread) {
    if (thread < kTrainers) {
      Train(thread);
    } else if (thread < kTrainers + kReaders) {
      Look(thread);
    } else {
      RemoveDoomed();
    }
  });
  if (HasFatalFailure()) return;
  for (int round = 0; round < 2; ++round) {  // once more from wherever they are then
    std::vector<Key> keys = table_->Keys();
    std::sort(keys.begin(), keys.end());
    EXPECT_EQ(std::adjacent_find(keys.begin(), keys.end()), keys.end()) << "a key stands twice";
    std::vector<Key> expected;
    for (Key key = 0; key < kRows; ++key) {
      if (counts_[static_cast<size_t>(key)] != 0) expected.push_back(key);
    }
    ASSERT_EQ(keys, expected);
    EXPECT_EQ(table_->size(), static_cast<int64_t>(keys.size()));
    const test::StoredRows rows = test::ReadRows(*table_, keys);
    for (size_t i = 0; i < keys.size(); ++i) {
      const int count = counts_[static_cast<size_t>(keys[i])];
      ASSERT_EQ(rows.frequencies[i], count) << "key " << keys[i];
      for (size_t d = 0; d < kDim; ++d) ASSERT_EQ(rows.values[i * kDim + d], 0.25f * static_cast<float>(count));
    }
    EV_ASSERT_OK(table_->FlushEvictions());
  }
  const VariableMetrics metrics = test::MetricsAfterEvictions(table_.get());
  EXPECT_LE(metrics.hot_rows, metrics.hot_capacity);
  EXPECT_GT(metrics.demotions, kRows / 2);
  EXPECT_GT(metrics.promotions, 0);
}

std::vector<Case> Cases() {
  std::vector<Case> cases;
  for (const StorageType type : {StorageType::kDramSsdHash, StorageType::kDramLevelDb, StorageType::kDramPmem}) {
    for (const CacheStrategy strategy : {CacheStrategy::kLru, CacheStrategy::kLfu}) {
      for (const int percent : {1, 10}) cases.push_back({type, strategy, percent, false});
    }
  }
  for (const int percent : {1, 10}) cases.push_back({StorageType::kDramSsdHash, CacheStrategy::kLfu, percent, true});
  return cases;
}

INSTANTIATE_TEST_SUITE_P(All, SpillOracle, ::testing::ValuesIn(Cases()));

}  // namespace
}  // namespace ev
