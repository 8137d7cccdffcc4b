// Which rows go first: the choice against a sort of all ranks, and what the two strategies keep.
#include "ev_tf/cache/rank.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <atomic>
#include <cmath>
#include <cstdlib>
#include <memory>
#include <random>
#include <set>

#include "ev_tf/optim/sgd.h"
#include "ev_tf/tier/dram/dram_tier.h"
#include "ev_tf/variable/embedding_variable.h"
#include "tests/support/threads.h"

namespace ev {
namespace {

uint64_t Seed() {
  const char* text = std::getenv("EV_SEED");
  return text == nullptr ? 20260102u : std::strtoull(text, nullptr, 10);
}

// Ranks of rows touched up to tick 1000, one position in four empty.
std::vector<Rank> RandomRanks(CacheStrategy strategy, size_t positions, std::mt19937_64* random) {
  std::vector<Rank> ranks(positions);
  for (Rank& rank : ranks) {
    rank = kNoRow;
    const auto touches = (*random)() % 4;
    for (uint64_t i = 0; i < touches; ++i) {
      rank = TouchedRank(strategy, rank, static_cast<uint32_t>(1 + (*random)() % 900));
    }
  }
  return ranks;
}

class Choice : public testing::TestWithParam<CacheStrategy> {};

TEST_P(Choice, OfFewPositionsIsExact) {
  std::mt19937_64 random(Seed());
  SCOPED_TRACE("EV_SEED=" + std::to_string(Seed()));
  for (const size_t positions : {1, 4, 100, 5000}) {
    const std::vector<Rank> ranks = RandomRanks(GetParam(), positions, &random);
    std::vector<Rank> rows;
    std::copy_if(ranks.begin(), ranks.end(), std::back_inserter(rows), [](Rank rank) { return rank != kNoRow; });
    std::sort(rows.begin(), rows.end());
    for (const size_t wanted : {size_t{0}, size_t{1}, positions / 3, positions, positions + 7}) {
      std::vector<Victim> victims;
      SelectVictims(GetParam(), 1000, ranks.data(), static_cast<uint32_t>(positions), wanted, &victims);
      std::vector<Rank> chosen;
      std::set<uint32_t> distinct;
      for (const Victim& victim : victims) {
        EXPECT_EQ(victim.rank, ranks[victim.position]);
        chosen.push_back(victim.rank);
        distinct.insert(victim.position);
      }
      std::sort(chosen.begin(), chosen.end());
      const size_t expected = std::min(wanted, rows.size());
      ASSERT_EQ(chosen.size(), expected);
      EXPECT_EQ(distinct.size(), expected);
      EXPECT_TRUE(std::equal(chosen.begin(), chosen.end(), rows.begin()));
    }
  }
}

TEST_P(Choice, OfManyPositionsIsAsManyOfTheFirst) {
  constexpr size_t kPositions = 200000;
  std::mt19937_64 random(Seed());
  SCOPED_TRACE("EV_SEED=" + std::to_string(Seed()));
  std::vector<Rank> ranks(kPositions);  // all distinct, in no order: what is too high shows
  for (size_t i = 0; i < kPositions; ++i) ranks[i] = static_cast<Rank>(i + 1);
  std::shuffle(ranks.begin(), ranks.end(), random);
  const uint32_t tick = GetParam() == CacheStrategy::kLru ? 300000 : 1 << 22;
  for (const size_t wanted : {size_t{1}, size_t{50}, kPositions / 32, kPositions / 2, kPositions}) {
    std::vector<Victim> victims;
    SelectVictims(GetParam(), tick, ranks.data(), kPositions, wanted, &victims);
    std::set<uint32_t> distinct;
    Rank highest = 0;
    for (const Victim& victim : victims) {
      distinct.insert(victim.position);
      highest = std::max(highest, victim.rank);
    }
    EXPECT_EQ(victims.size(), wanted);
    EXPECT_EQ(distinct.size(), wanted);
    const double sampled = static_cast<double>(wanted) / 17;
    EXPECT_LE(highest, 17 * (sampled + 8 * std::sqrt(sampled) + 10)) << wanted;
  }
}

TEST_P(Choice, OfRowsThatAreAllAlikeTakesAsManyAsAreWanted) {
  const std::vector<Rank> ranks(100000, TouchedRank(GetParam(), kNoRow, 5));
  std::vector<Victim> victims;
  SelectVictims(GetParam(), 500, ranks.data(), 100000, 3000, &victims);
  EXPECT_EQ(victims.size(), 3000u);
}

INSTANTIATE_TEST_SUITE_P(Strategies, Choice, testing::Values(CacheStrategy::kLru, CacheStrategy::kLfu));

TEST(LfuTest, RowsLookedUpGoLastUntilTheirUpdate) {
  const CacheStrategy lfu = CacheStrategy::kLfu;
  const Rank popular = TouchedRank(lfu, TouchedRank(lfu, kNoRow, 10), 20);
  const Rank looked_up = TouchedRank(lfu, kNoRow, 100);
  std::vector<Rank> ranks = {popular, looked_up};
  std::vector<Victim> victims;
  SelectVictims(lfu, 100, ranks.data(), 2, 1, &victims);
  EXPECT_EQ(victims[0].position, 0u);
  // Its update: now it stands by its count, one touch more, against a row of three.
  ranks[0] = TouchedRank(lfu, popular, 30);
  ranks[1] = TouchedRank(lfu, looked_up, UpdateTick(lfu, 101));
  SelectVictims(lfu, 101, ranks.data(), 2, 1, &victims);
  EXPECT_EQ(victims[0].position, 1u);
}

// Rows read from below in training where a batch has half as many rows as DRAM.
int64_t MissesOf(CacheStrategy strategy) {
  constexpr size_t kRows = 20000, kCapacity = 1000, kBatch = 1500;
  VariableOptions options;
  options.name = "misses";
  options.dim = 4;
  options.storage.dram_bytes = kCapacity * 16;
  options.storage.cache_strategy = strategy;
  options.storage.open_lower = [](size_t record_bytes, Relocator*, std::shared_ptr<Tier>* out) {
    *out = std::make_shared<DramTier>(record_bytes, false);
    return OkStatus();
  };
  std::unique_ptr<EmbeddingVariable> variable;
  EXPECT_TRUE(EmbeddingVariable::Create(options, std::vector<float>(4), &variable).ok());
  std::mt19937_64 random(Seed());
  SerialExecutor serial;
  std::vector<float> rows(kBatch * 4), grads(kBatch * 4, 0.1f);
  int64_t before = 0;
  for (int step = 0; step < 120; ++step) {
    if (step == 60) before = variable->metrics().cold_reads;
    std::vector<Key> keys(kBatch);
    for (Key& key : keys) {  // Zipf 1
      const double u = static_cast<double>(random() >> 11) * 0x1p-53;
      key = static_cast<Key>(std::exp(u * std::log(static_cast<double>(kRows))));
    }
    EXPECT_TRUE(variable->Lookup(keys, rows, serial).ok());
    EXPECT_TRUE(variable->Apply(Sgd(0.1f), {}, keys, grads, -1, serial).ok());
    EXPECT_TRUE(variable->FlushEvictions().ok());
  }
  return variable->metrics().cold_reads - before;
}

TEST(LfuTest, KeepsWhatIsPopularWhereABatchFillsHalfOfDram) {
  SCOPED_TRACE("EV_SEED=" + std::to_string(Seed()));
  const int64_t lfu = MissesOf(CacheStrategy::kLfu);
  const int64_t lru = MissesOf(CacheStrategy::kLru);
  EXPECT_LT(static_cast<double>(lfu), 0.9 * static_cast<double>(lru));
}

// While one thread ages the counts another one collects a row that nobody reads any more.
TEST(AgeCounts, ARowThatHasLeftGetsNoRankAgain) {
  Rank rank = kNoRow;
  std::atomic<bool> done{false};
  int given_back = 0;
  test::RunTogether(2, [&](int thread) {
    if (thread == 0) {
      while (!done.load(std::memory_order_relaxed)) AgeCounts(&rank, 1);
      return;
    }
    const auto spin = [](int rounds) {
      for (volatile int i = 0; i < rounds; i = i + 1) {
      }
    };
    for (int round = 0; round < 300'000; ++round) {
      __atomic_store_n(&rank, kLfuMaxCount << kLfuCountShift | 7, __ATOMIC_RELAXED);
      spin(round % 100);  // it is being aged
      __atomic_store_n(&rank, kNoRow, __ATOMIC_RELAXED);
      spin(100);  // who read the rank before has stored it by now
      given_back += __atomic_load_n(&rank, __ATOMIC_RELAXED) != kNoRow ? 1 : 0;
    }
    done = true;
  });
  EXPECT_EQ(given_back, 0);
}

}  // namespace
}  // namespace ev
