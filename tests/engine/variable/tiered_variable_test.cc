// A variable whose DRAM holds a few rows against one whose DRAM holds all: the same bits, whatever is asked of both (V6).
#include <gtest/gtest.h>

#include <atomic>
#include <cstdlib>
#include <map>
#include <random>
#include <set>
#include <thread>

#include "ev_tf/optim/adagrad.h"
#include "ev_tf/optim/adam.h"
#include "ev_tf/optim/ftrl.h"
#include "ev_tf/optim/sgd.h"
#include "ev_tf/tier/dram/dram_tier.h"
#include "ev_tf/variable/embedding_variable.h"
#include "tests/support/sanitizers.h"
#include "tests/support/tiers.h"

namespace ev {
namespace {

constexpr int64_t kDim = 6;

uint64_t Seed() {
  const char* text = std::getenv("EV_SEED");
  return text == nullptr ? 20260101u : std::strtoull(text, nullptr, 10);
}

// middle_bytes: of a tier between, over a log that compacts all the time; 0: memory below, and nothing between.
std::unique_ptr<EmbeddingVariable> MakeVariable(int64_t dram_bytes, CacheStrategy strategy, int64_t middle_bytes = 0) {
  std::vector<float> defaults(16 * kDim);
  for (size_t i = 0; i < defaults.size(); ++i) defaults[i] = 0.01f * static_cast<float>(i);
  VariableOptions options;
  options.name = "tiered";
  options.dim = kDim;
  options.record_frequency = options.record_version = true;
  if (dram_bytes > 0) {
    options.storage.dram_bytes = dram_bytes;
    options.storage.cache_strategy = strategy;
    options.storage.open_lower = [](size_t record_bytes, Relocator*, std::shared_ptr<Tier>* out) {
      *out = std::make_shared<DramTier>(record_bytes, false);
      return OkStatus();
    };
  }
  if (middle_bytes > 0) {
    options.storage.between.push_back({options.storage.open_lower, middle_bytes});
    options.storage.open_lower = test::OpenSmallLog(false);
  }
  std::unique_ptr<EmbeddingVariable> variable;
  EXPECT_TRUE(EmbeddingVariable::Create(options, defaults, &variable).ok());
  return variable;
}

struct Optimizer {
  UpdateRule rule;
  std::vector<SlotSpec> slots;
};

Optimizer MakeOptimizer(const std::string& name, int step) {
  if (name == "adagrad") return {Adagrad(0.1f, 0), {{"a", kDim, 0.1f}}};
  if (name == "ftrl") return {Ftrl(0.1f, 0.01f, 0.02f, 0, -0.5f, false), {{"a", kDim, 0.1f}, {"l", kDim, 0}}};
  if (name == "adam") {
    const auto power = [&](float beta) { return std::pow(beta, static_cast<float>(step + 1)); };
    return {Adam(0.01f, 0.9f, 0.999f, 1e-8f, power(0.9f), power(0.999f)), {{"m", kDim, 0}, {"v", kDim, 0}}};
  }
  return {Sgd(0.1f), {}};
}

using Row = std::tuple<std::vector<float>, std::vector<float>, int64_t, int64_t>;

std::map<Key, Row> Contents(const EmbeddingVariable& variable) {
  const std::vector<Key> keys = variable.Keys();
  size_t columns = 0;
  for (const SlotSpec& slot : variable.slots()) columns += static_cast<size_t>(slot.dim);
  std::vector<float> values(keys.size() * kDim), slots(keys.size() * columns);
  std::vector<int64_t> frequencies(keys.size()), versions(keys.size());
  const std::unique_ptr<bool[]> found(new bool[keys.size()]);
  EXPECT_TRUE(
      variable.ReadRows(keys, {values, slots, frequencies, versions}, Span<bool>(found.get(), keys.size())).ok());
  std::map<Key, Row> contents;
  for (size_t i = 0; i < keys.size(); ++i) {
    EXPECT_TRUE(found[i]);
    contents[keys[i]] = {std::vector<float>(&values[i * kDim], &values[i * kDim] + kDim),
                         std::vector<float>(slots.begin() + static_cast<long>(i * columns),
                                            slots.begin() + static_cast<long>((i + 1) * columns)),
                         frequencies[i], versions[i]};
  }
  EXPECT_EQ(contents.size(), keys.size());
  EXPECT_EQ(static_cast<size_t>(variable.size()), keys.size());
  return contents;
}

// Optimizer, strategy, rows of DRAM, rows of a tier between (0: none).
class TieredOracle : public testing::TestWithParam<std::tuple<std::string, CacheStrategy, int, int>> {};

TEST_P(TieredOracle, SpilledRowsTrainToTheBit) {
  const auto [optimizer_name, strategy, hot_rows, middle_rows] = GetParam();
  SCOPED_TRACE(testing::Message() << "EV_SEED=" << Seed());
  std::mt19937_64 random(Seed());
  const auto executor = NewThreadPoolExecutor(2);
  const size_t parts = 1 + MakeOptimizer(optimizer_name, 0).slots.size();
  const auto spilled = MakeVariable(static_cast<int64_t>(hot_rows * parts * 32), strategy,
                                    static_cast<int64_t>(middle_rows * parts * 32));
  const auto dense = MakeVariable(0, strategy);
  const int steps = test::kUnderThreadSanitizer ? 50 : 300;
  for (int step = 0; step < steps; ++step) {
    const size_t n = random() % 60;
    std::vector<Key> keys(n);
    for (Key& key : keys) key = static_cast<Key>(random() % 200) - 100;
    std::vector<float> grads(n * kDim);
    for (float& g : grads) g = static_cast<float>(random() % 1000) / 500.0f - 1.0f;
    std::vector<float> a(n * kDim), b(n * kDim);
    ASSERT_TRUE(spilled->Lookup(keys, a, *executor).ok());
    ASSERT_TRUE(dense->Lookup(keys, b, *executor).ok());
    ASSERT_EQ(a, b) << "step " << step;
    const Optimizer optimizer = MakeOptimizer(optimizer_name, step);
    ASSERT_TRUE(spilled->Apply(optimizer.rule, optimizer.slots, keys, grads, step, *executor).ok());
    ASSERT_TRUE(dense->Apply(optimizer.rule, optimizer.slots, keys, grads, step, *executor).ok());
    if (random() % 8 == 0 && n > 4) {
      const Span<const Key> gone(keys.data(), 3);
      ASSERT_EQ(spilled->Remove(gone), dense->Remove(gone));
    }
    if (random() % 4 == 0) {
      ASSERT_TRUE(spilled->FlushEvictions().ok());
      ASSERT_LE(spilled->metrics().hot_rows, hot_rows);
      if (middle_rows > 0) {
        const TierMetrics middle = spilled->metrics().tiers[1];
        ASSERT_LE(middle.rows + middle.copies, middle_rows);
      }
    }
    if (step % 50 == 49) {
      ASSERT_EQ(Contents(*spilled), Contents(*dense));
    }
  }
  ASSERT_TRUE(spilled->FlushEvictions().ok());
  EXPECT_EQ(spilled->metrics().hot_capacity, hot_rows);
  EXPECT_LE(spilled->metrics().hot_rows, hot_rows);
  EXPECT_GT(spilled->metrics().demotions, 0);
  EXPECT_EQ(Contents(*spilled), Contents(*dense));
  for (const TierMetrics& tier : spilled->metrics().tiers) EXPECT_GT(tier.hits, 0);
  // Nothing stays behind for rows that are gone.
  const std::vector<Key> all = spilled->Keys();
  EXPECT_EQ(spilled->Remove(all), static_cast<int64_t>(all.size()));
  ASSERT_TRUE(spilled->FlushEvictions().ok());
  for (const TierMetrics& tier : spilled->metrics().tiers) {
    EXPECT_EQ(tier.rows, 0);
    EXPECT_EQ(tier.copies, 0);
  }
}

INSTANTIATE_TEST_SUITE_P(All, TieredOracle,
                         testing::Combine(testing::Values("sgd", "adagrad", "adam", "ftrl"),
                                          testing::Values(CacheStrategy::kLru, CacheStrategy::kLfu),
                                          testing::Values(1, 4, 17), testing::Values(0, 4, 60)));

// Integer gradients and a power of two for a rate: sums are exact in any order.
TEST(TieredVariable, NoUpdateIsLostUnderConcurrentTrainingAndEviction) {
  for (const CacheStrategy strategy : {CacheStrategy::kLru, CacheStrategy::kLfu}) {
    const auto variable = MakeVariable(8 * 32, strategy);
    constexpr int kThreads = 8, kSteps = 100, kKeys = 64;
    std::vector<std::thread> threads;
    std::array<std::atomic<int>, kKeys> counts{};
    for (int t = 0; t < kThreads; ++t) {
      threads.emplace_back([&, t] {
        std::mt19937_64 random(Seed() + static_cast<uint64_t>(t));
        SerialExecutor serial;
        for (int step = 0; step < kSteps; ++step) {
          std::vector<Key> keys(10);
          for (Key& key : keys) key = static_cast<Key>(random() % kKeys);
          std::vector<float> rows(keys.size() * kDim);
          ASSERT_TRUE(variable->Lookup(keys, rows, serial).ok());
          const std::vector<float> grads(keys.size() * kDim, -1.0f);
          ASSERT_TRUE(variable->Apply(Sgd(1.0f), {}, keys, grads, step, serial).ok());
          for (const Key key : keys) ++counts[static_cast<size_t>(key)];
          if (step % 16 == 0) {
            ASSERT_TRUE(variable->FlushEvictions().ok());
          }
        }
      });
    }
    for (std::thread& thread : threads) thread.join();
    const auto fresh = MakeVariable(0, strategy);
    SerialExecutor serial;
    std::vector<Key> keys(kKeys);
    for (int k = 0; k < kKeys; ++k) keys[static_cast<size_t>(k)] = k;
    std::vector<float> rows(kKeys * kDim), defaults(kKeys * kDim);
    ASSERT_TRUE(variable->Lookup(keys, rows, serial).ok());
    ASSERT_TRUE(fresh->Lookup(keys, defaults, serial).ok());
    for (size_t k = 0; k < kKeys; ++k) {
      EXPECT_NEAR(rows[k * kDim], defaults[k * kDim] + static_cast<float>(counts[k]), 1e-3f) << "key " << k;
    }
    EXPECT_EQ(variable->size(), kKeys);
  }
}

TEST(TieredVariable, EvaluationStaysWithinTheBudgetAndWritesNothing) {
  const auto variable = MakeVariable(10 * 32, CacheStrategy::kLru);
  SerialExecutor serial;
  std::vector<Key> keys(100);
  for (size_t i = 0; i < keys.size(); ++i) keys[i] = static_cast<Key>(i);
  const std::vector<float> grads(keys.size() * kDim, 1.0f);
  ASSERT_TRUE(variable->Apply(Sgd(0.5f), {}, keys, grads, 1, serial).ok());
  ASSERT_TRUE(variable->FlushEvictions().ok());
  const VariableMetrics before = variable->metrics();
  std::vector<float> rows(keys.size() * kDim);
  for (int i = 0; i < 20; ++i) {
    ASSERT_TRUE(variable->Lookup(keys, rows, serial).ok());
    ASSERT_LE(variable->metrics().hot_rows, 10 + 100);
  }
  ASSERT_TRUE(variable->FlushEvictions().ok());
  const VariableMetrics after = variable->metrics();
  EXPECT_LE(after.hot_rows, 10);
  // What was dirty in DRAM at first is written once; all else goes down as it came up.
  EXPECT_LE((after.demotions - after.clean_demotions) - (before.demotions - before.clean_demotions), 10);
  EXPECT_EQ(after.late_reads, 0);
}

TEST(TieredVariable, TheLeastRecentlyUsedRowGoesFirst) {
  const auto variable = MakeVariable(4 * 32, CacheStrategy::kLru);
  SerialExecutor serial;
  const std::vector<float> grad(kDim, 1.0f);
  const auto touch = [&](Key key) {
    ASSERT_TRUE(variable->Apply(Sgd(1.0f), {}, Span<const Key>(&key, 1), grad, 0, serial).ok());
    ASSERT_TRUE(variable->FlushEvictions().ok());
  };
  for (const Key key : {1, 2, 3, 4, 1, 5}) touch(key);
  const std::vector<Key> keys = {1, 2, 3, 4, 5, 6};
  std::vector<int32_t> tiers(keys.size());
  ASSERT_TRUE(variable->LookupTier(keys, tiers).ok());
  EXPECT_EQ(tiers, (std::vector<int32_t>{0, 1, 0, 0, 0, -1}));
}

TEST(TieredVariable, PrefetchedRowsWaitForTheirCall) {
  for (const CacheStrategy strategy : {CacheStrategy::kLru, CacheStrategy::kLfu}) {
    constexpr int kCapacity = 24, kBatch = 4;
    const auto variable = MakeVariable(kCapacity * 32, strategy);
    SerialExecutor serial;
    std::vector<float> rows;
    const auto range = [](Key first, int n) {
      std::vector<Key> keys(static_cast<size_t>(n));
      for (int i = 0; i < n; ++i) keys[static_cast<size_t>(i)] = first + i;
      return keys;
    };
    const auto step = [&](const std::vector<Key>& keys) {
      rows.resize(keys.size() * kDim);
      ASSERT_TRUE(variable->Lookup(keys, rows, serial).ok());
      ASSERT_TRUE(variable->Apply(Sgd(1.0f), {}, keys, std::vector<float>(rows.size(), 1.0f), -1, serial).ok());
    };
    step(range(0, 1000));
    for (int i = 0; i < 5; ++i) step(range(0, kCapacity));  // rows with counts to defend themselves
    const auto on_their_way = [&](Key first) {
      std::vector<int32_t> tiers(kBatch);
      ASSERT_TRUE(variable->LookupTier(range(first, kBatch), tiers).ok());
      EXPECT_EQ(tiers, std::vector<int32_t>(kBatch, 0)) << first << " " << static_cast<int>(strategy);
    };
    // Three batches ahead of their steps, as fast as can be.
    for (Key first = 100; first < 108; first += kBatch) ASSERT_TRUE(variable->Prefetch(range(first, kBatch)).ok());
    for (Key first = 100; first < 900; first += kBatch) {
      ASSERT_TRUE(variable->Prefetch(range(first + 2 * kBatch, kBatch)).ok());
      ASSERT_TRUE(variable->FlushEvictions().ok());
      on_their_way(first);
      step(range(first, kBatch));
    }
    EXPECT_EQ(variable->size(), 1000);
  }
}

}  // namespace
}  // namespace ev
