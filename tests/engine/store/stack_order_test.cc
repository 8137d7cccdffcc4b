// Three tiers: which row is where, exactly, and the counts of it.  On the store itself: nothing moves in the background.
#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <map>
#include <numeric>

#include "ev_tf/store/store.h"
#include "tests/support/random.h"
#include "tests/support/status_matchers.h"
#include "tests/support/tiers.h"

namespace ev {
namespace {

using test::WatchedTier;

constexpr int64_t kDim = 4;
constexpr int64_t kRowBytes = 16;

// A store of three tiers, of which one key at a time is asked, with everything in its place after each.
class Stack {
 public:
  Stack(int64_t hot_rows, int64_t middle_rows, CacheStrategy strategy)
      : store_(Options(hot_rows, middle_rows, strategy, this), RowLayout(kDim), &defaults_) {
    EV_EXPECT_OK(store_.Open());
  }

  // Every element of the row of `key` one more; it is made if it is missing.
  void Train(Key key) {
    const uint32_t tick = store_.NextTick();
    {
      const Span<const Key> keys(&key, 1);
      const EpochGuard guard(store_.epochs());
      ColdRows cold;
      store_.FindCold(keys, &cold);
      EV_ASSERT_OK(store_.Fetch(&cold));
      std::lock_guard<std::mutex> lock(store_.stripes().of(StripeOf(HashKey(key))));
      RowRefs refs;
      size_t inserted = 0;
      EV_ASSERT_OK(store_.FindOrInsert(keys, cold, tick, &refs, &inserted));
      for (int64_t i = 0; i < kDim; ++i) refs.rows[0][i] += 1;
    }
    EV_ASSERT_OK(store_.Demote(store_.hot_capacity()));
  }
  float Look(Key key) {
    const uint32_t tick = store_.NextTick();
    std::array<float, kDim> row{};
    {
      const EpochGuard guard(store_.epochs());
      ColdRows cold;
      int64_t missing = 0;
      EV_EXPECT_OK(store_.Gather(Span<const Key>(&key, 1), tick, row.data(), &missing, &cold));
      EV_EXPECT_OK(store_.Promote(cold, 1, tick));
    }
    EV_EXPECT_OK(store_.Demote(store_.hot_capacity()));
    EXPECT_EQ(row[0], row[kDim - 1]);
    return row[0];
  }
  std::vector<int32_t> Tiers(const std::vector<Key>& keys) const {
    std::vector<int32_t> tiers(keys.size());
    const EpochGuard guard(store_.epochs());
    store_.FindTiers(keys, tiers.data());
    return tiers;
  }
  const Store& store() const { return store_; }

  WatchedTier::Watch middle, bottom;

 private:
  static StoreOptions Options(int64_t hot_rows, int64_t middle_rows, CacheStrategy strategy, Stack* stack) {
    StoreOptions options;
    options.hot_bytes = hot_rows * kRowBytes + kRowBytes - 1;  // rounded down
    options.cache_strategy = strategy;
    options.between.push_back({test::OpenWatched(&stack->middle), middle_rows * kRowBytes + kRowBytes - 1});
    options.open_lower = test::OpenWatched(&stack->bottom);
    return options;
  }

  const std::vector<float> matrix_ = std::vector<float>(kDim, 0.0f);
  const DefaultRows defaults_{matrix_, kDim};
  Store store_;
};

// Exact LRU and LFU over three tiers, in the simplest words: one call a key, everything in its place after each.
class Simulation {
 public:
  Simulation(size_t hot, size_t middle, CacheStrategy strategy)
      : capacity_{hot, middle}, lfu_(strategy == CacheStrategy::kLfu) {}

  // The tier in which `key` was; -1: nowhere, and it has a row now if `inserts`.
  int Touch(Key key, bool inserts) {
    ++tick_;
    ++touches_;
    const auto it = rows_.find(key);
    if (it == rows_.end() && !inserts) return -1;
    const int was = it == rows_.end() ? -1 : it->second.tier;
    Row& row = rows_[key];
    row.count = was == 2 || was == -1 ? 1 : std::min(row.count + 1, 255);
    row.tick = tick_;
    row.tier = 0;
    if (was > 0) ++promotions[static_cast<size_t>(was)];
    Settle(0);
    Settle(1);
    return was;
  }
  int TierOf(Key key) const {
    const auto it = rows_.find(key);
    return it == rows_.end() ? -1 : it->second.tier;
  }
  size_t size() const { return rows_.size(); }

  std::array<int64_t, 3> promotions{};
  std::array<int64_t, 3> demotions{};

 private:
  struct Row {
    int tier = 0, count = 0;
    int64_t tick = 0;
  };

  void Settle(int tier) {
    std::vector<Row*> here;
    for (auto& [key, row] : rows_) {
      if (row.tier == tier) here.push_back(&row);
    }
    if (here.size() <= capacity_[tier]) return;
    if (lfu_ && tier == 0 && touches_ >= 50 * static_cast<int64_t>(capacity_[0])) {
      touches_ = 0;
      for (auto& [key, row] : rows_) row.count = std::max(row.count / 2, 1);
    }
    const auto standing = [&](const Row* row) {
      const int count = !lfu_ ? 0 : tick_ - row->tick <= 1 ? 255 : row->count;
      return std::make_pair(count, row->tick);
    };
    Row* victim = *std::min_element(here.begin(), here.end(),
                                    [&](const Row* a, const Row* b) { return standing(a) < standing(b); });
    victim->tier = tier + 1;
    ++demotions[static_cast<size_t>(tier)];
  }

  const size_t capacity_[2];
  const bool lfu_;
  int64_t tick_ = 0, touches_ = 0;
  std::map<Key, Row> rows_;
};

struct OrderCase {
  CacheStrategy strategy;
  int hot, middle;
};

class StackOrderOf : public testing::TestWithParam<OrderCase> {};

TEST_P(StackOrderOf, IsExactAndCounted) {
  const auto [strategy, hot, middle] = GetParam();
  Stack stack(hot, middle, strategy);
  Simulation simulation(static_cast<size_t>(hot), static_cast<size_t>(middle), strategy);
  test::Random random(7);
  std::vector<Key> keys(24);
  std::iota(keys.begin(), keys.end(), -8);
  std::map<Key, float> values;
  std::array<int64_t, 3> hits{};
  for (int step = 0; step < 1000; ++step) {
    const Key key = keys[random.OneIn(2) ? random.Below(6) : random.Below(keys.size())];
    const bool trains = random.OneIn(3);
    const int was = simulation.Touch(key, trains);
    if (was >= 0) ++hits[static_cast<size_t>(was)];
    if (trains) {
      stack.Train(key);
      values[key] += 1;
    } else {
      ASSERT_EQ(stack.Look(key), values.count(key) ? values[key] : 0.0f) << "step " << step;
    }
    std::vector<int32_t> expected;
    for (const Key each : keys) expected.push_back(simulation.TierOf(each));
    ASSERT_EQ(stack.Tiers(keys), expected) << "step " << step << ", key " << key;
  }
  ASSERT_EQ(stack.store().tiers(), 3);
  std::array<TierMetrics, 3> metrics;
  for (size_t tier = 0; tier < 3; ++tier) metrics[tier] = stack.store().metrics(static_cast<int>(tier));
  for (size_t tier = 0; tier < 3; ++tier) {
    SCOPED_TRACE(testing::Message() << "tier " << tier);
    const TierMetrics& t = metrics[tier];
    EXPECT_EQ(t.rows, std::count_if(keys.begin(), keys.end(),
                                    [&](Key key) { return simulation.TierOf(key) == static_cast<int>(tier); }));
    EXPECT_EQ(t.capacity, std::vector<int64_t>({hot, middle, 0})[tier]);
    EXPECT_EQ(t.hits, hits[tier]);
    EXPECT_EQ(t.misses, std::accumulate(hits.begin() + static_cast<long>(tier) + 1, hits.end(), int64_t{0}));
    EXPECT_EQ(t.promotions, simulation.promotions[tier]);
    EXPECT_EQ(t.demotions, simulation.demotions[tier]);
    EXPECT_EQ(t.late_reads, 0);
    EXPECT_EQ(t.compaction_bytes, 0);
    if (tier == 0) continue;
    const WatchedTier::Watch& watch = tier == 1 ? stack.middle : stack.bottom;
    EXPECT_EQ(t.reads, watch.rows_got);
    EXPECT_EQ(t.writes, watch.rows_put);
    EXPECT_EQ(t.rows + t.copies, watch.rows);
    EXPECT_EQ(t.written_bytes, watch.rows_put * kRowBytes);
    EXPECT_EQ(t.write_amplification, 1.0);
    // What went down was written, or had its copy there.
    EXPECT_EQ(metrics[tier - 1].demotions, t.writes + metrics[tier - 1].clean_demotions);
  }
  EXPECT_GT(metrics[1].clean_demotions, 0);
  EXPECT_EQ(stack.store().cold_reads(), simulation.promotions[1] + simulation.promotions[2])
      << "one read for each row that was wanted";
  EXPECT_LE(stack.middle.most_rows, middle + 1) << "one batch of writes above the capacity";
}

INSTANTIATE_TEST_SUITE_P(Sizes, StackOrderOf,
                         testing::Values(OrderCase{CacheStrategy::kLru, 4, 4}, OrderCase{CacheStrategy::kLru, 1, 1},
                                         OrderCase{CacheStrategy::kLru, 2, 9}, OrderCase{CacheStrategy::kLfu, 4, 4},
                                         OrderCase{CacheStrategy::kLfu, 1, 3}, OrderCase{CacheStrategy::kLfu, 3, 8}));

TEST(StackMetrics, LatenciesAreOfBatches) {
  Stack stack(2, 2, CacheStrategy::kLru);
  for (int tier = 0; tier < 3; ++tier) {
    const TierMetrics m = stack.store().metrics(tier);
    EXPECT_EQ(m.read_p50_us + m.read_p99_us + m.write_p50_us + m.write_p99_us, 0) << "nothing was read yet";
    EXPECT_EQ(m.write_amplification, 0);
  }
  stack.bottom.delay_us = 3000;
  for (Key key = 0; key < 10; ++key) stack.Train(key);
  for (Key key = 0; key < 10; ++key) stack.Look(key);
  const TierMetrics slow = stack.store().metrics(2);
  // A bucket's upper end is less than twice what is in it; the machine may add to the delay.
  EXPECT_GE(slow.read_p50_us, 3000);
  EXPECT_GE(slow.write_p50_us, 3000);
  EXPECT_LE(slow.read_p50_us, slow.read_p99_us);
  EXPECT_LE(slow.write_p50_us, slow.write_p99_us);
  EXPECT_LT(stack.store().metrics(1).read_p50_us, 3000);
  EXPECT_EQ(stack.store().metrics(0).read_p99_us, 0) << "rows of the hot tier are read where they are";
}

TEST(StackOrder, CopiesMakeRoomForRows) {
  Stack stack(10, 40, CacheStrategy::kLru);
  for (Key key = 0; key < 100; ++key) stack.Train(key);
  const auto look_at = [&](Key end) {
    for (Key key = 0; key < end; ++key) EXPECT_EQ(stack.Look(key), 1.0f);
  };
  look_at(50);
  const int64_t reads = stack.bottom.rows_got;
  for (int round = 0; round < 3; ++round) look_at(50);
  EXPECT_EQ(stack.bottom.rows_got, reads) << "fifty rows are as many as the upper two tiers hold";
}

}  // namespace
}  // namespace ev
