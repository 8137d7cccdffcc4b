// Eight threads on one table that spills, with every optimizer: five train keys of their own, two look rows up, one has rows
// moved down.  The order of the updates of each key is its thread's, so the rows are those of the same updates made one
// after another in DRAM: to the bit, with their slots, and no row more or less.
//
// EV_BATCHES: batches of each thread; the slow test does 500.  TF_MULTI_TIER_EV_EVICTION_THREADS: as for anybody.
#include <gtest/gtest.h>

#include <atomic>
#include <chrono>
#include <cstdlib>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "ev_tf/variable/storage_type.h"
#include "tests/support/random.h"
#include "tests/support/reference_rules.h"
#include "tests/support/sanitizers.h"
#include "tests/support/temp_dir.h"
#include "tests/support/threads.h"
#include "tests/support/variable_support.h"

namespace ev {
namespace {

constexpr int64_t kDim = 4;
constexpr Key kRows = 1500;
constexpr int kTrainers = 5;
constexpr int kReaders = 2;
constexpr size_t kBatch = 96;

int Batches() {
  const char* wanted = std::getenv("EV_BATCHES");
  return wanted != nullptr ? std::atoi(wanted) : test::Rounds(24, 8);
}

struct Case {
  StorageType type;
  CacheStrategy strategy;
  test::RuleCase rule;
  bool async_compaction;
};

void PrintTo(const Case& c, std::ostream* out) {
  *out << "type " << static_cast<int>(c.type) << (c.strategy == CacheStrategy::kLru ? " LRU " : " LFU ") << c.rule.name
       << (c.async_compaction ? " async" : "");
}

class SpillThreads : public ::testing::TestWithParam<Case> {
 protected:
  // DRAM, and a tier between where there is one, hold 1 % to 10 % of the rows.
  std::unique_ptr<EmbeddingVariable> NewTable(StorageType type) {
    const auto row_bytes = static_cast<int64_t>((1 + GetParam().rule.slots.size()) * kDim * sizeof(float));
    VariableOptions options = test::Options(kDim, /*with_meta=*/true);
    std::unique_ptr<EmbeddingVariable> table;
    made_ = MakeStorage(type, dir_.path(), {kRows / 50 * row_bytes, kRows / 10 * row_bytes}, GetParam().strategy,
                        &options.storage);
    if (made_.ok()) made_ = EmbeddingVariable::Create(options, test::DefaultMatrix(64, kDim), &table);
    return table;
  }

  // What one thread does to its keys: updates, and now and then a removal, after which a key starts anew.
  void Train(EmbeddingVariable* table, int thread) const {
    test::Random random(static_cast<uint64_t>(thread));
    const auto draw = [&] { return static_cast<Key>(random.Below(kRows / kTrainers)) * kTrainers + thread; };
    for (int batch = 0; batch < Batches(); ++batch) {
      std::vector<Key> keys(kBatch);
      for (Key& key : keys) key = draw();
      if (random.OneIn(2)) test::Lookup(*table, keys);
      test::Apply(table, GetParam().rule, keys, random.Floats(kBatch * kDim, -1.0f, 1.0f), batch);
      if (random.OneIn(4)) table->Remove(std::vector<Key>{draw(), draw(), draw()});
    }
  }

  test::TempDir dir_;
  Status made_;
};

std::vector<Key> AllKeys() {
  std::vector<Key> keys(kRows);
  for (Key key = 0; key < kRows; ++key) keys[static_cast<size_t>(key)] = key;
  return keys;
}

TEST_P(SpillThreads, EqualsTheSameUpdatesOneAfterAnotherInDram) {
  setenv("TF_SSDHASH_ASYNC_COMPACTION", GetParam().async_compaction ? "1" : "0", 1);
  const auto spilled = NewTable(GetParam().type);
  unsetenv("TF_SSDHASH_ASYNC_COMPACTION");
  if (made_.code() == StatusCode::kUnavailable) GTEST_SKIP() << made_.message();
  EV_ASSERT_OK(made_);
  std::atomic<int> working{kTrainers};
  test::RunTogether(kTrainers + kReaders + 1, [&](int thread) {
    if (thread < kTrainers) {
      Train(spilled.get(), thread);
      working.fetch_sub(1);
      return;
    }
    while (working.load() != 0) {
      if (thread == kTrainers + kReaders) {
        EV_EXPECT_OK(spilled->FlushEvictions());
      } else {
        test::Lookup(*spilled, AllKeys());                            // more than DRAM holds
        std::this_thread::sleep_for(std::chrono::microseconds(500));  // most of the processor is the trainers'
      }
    }
  });
  const auto in_dram = NewTable(StorageType::kDram);
  for (int thread = 0; thread < kTrainers; ++thread) Train(in_dram.get(), thread);
  ASSERT_EQ(spilled->size(), in_dram->size());
  for (int round = 0; round < 2; ++round) {  // once more from wherever they are then
    const test::StoredRows rows = test::ReadRows(*spilled, AllKeys());
    const test::StoredRows expected = test::ReadRows(*in_dram, AllKeys());
    EXPECT_EQ(rows.found, expected.found);
    EXPECT_EQ(rows.values, expected.values);
    EXPECT_EQ(rows.slots, expected.slots);
    EXPECT_EQ(rows.frequencies, expected.frequencies);
    EXPECT_EQ(rows.versions, expected.versions);
    EV_ASSERT_OK(spilled->FlushEvictions());
  }
  const VariableMetrics metrics = test::MetricsAfterEvictions(spilled.get());
  EXPECT_LE(metrics.hot_rows, metrics.hot_capacity);
  for (size_t tier = 1; tier < metrics.tiers.size(); ++tier) EXPECT_GT(metrics.tiers[tier].reads, 0) << "tier " << tier;
}

std::vector<Case> Cases() {
  std::vector<Case> cases;
  std::vector<test::RuleCase> rules = {test::AdamCase()};
  if (!test::kUnderThreadSanitizer) {  // threads meet in the same places whatever the rule
    rules.insert(rules.end(),
                 {test::SgdCase(), test::AdagradCase(0.0f), test::FtrlCase("ftrl", 0.01f, 0.02f, 0.0f, -0.5f)});
  }
  for (const StorageType type : {StorageType::kDramSsdHash, StorageType::kDramLevelDb, StorageType::kDramPmem,
                                 StorageType::kDramPmemSsdHash, StorageType::kDramPmemLevelDb, StorageType::kSsdHash,
                                 StorageType::kLevelDb, StorageType::kPmemLibpmem, StorageType::kPmemMemkind}) {
    const bool log = type == StorageType::kDramSsdHash || type == StorageType::kDramPmemSsdHash;
    for (const CacheStrategy strategy : {CacheStrategy::kLru, CacheStrategy::kLfu}) {
      for (const test::RuleCase& rule : rules) {
        cases.push_back({type, strategy, rule, false});
        if (log) cases.push_back({type, strategy, rule, true});
      }
    }
  }
  return cases;
}

INSTANTIATE_TEST_SUITE_P(All, SpillThreads, ::testing::ValuesIn(Cases()));

}  // namespace
}  // namespace ev
