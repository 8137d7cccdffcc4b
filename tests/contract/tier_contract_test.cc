// What every tier promises (tier/tier.h), over every tier of the engine: a new one is a line at the end.
#include <gtest/gtest.h>

#include <algorithm>
#include <functional>
#include <memory>
#include <set>
#include <string>
#include <unordered_map>
#include <vector>

#include "ev_tf/tier/dram/dram_tier.h"
#include "ev_tf/tier/tier.h"
#include "tests/support/random.h"
#include "tests/support/status_matchers.h"
#include "tests/support/threads.h"

namespace ev {
namespace {

struct TierCase {
  std::string name;
  std::function<std::unique_ptr<Tier>(size_t row_bytes)> open;
};

using Bytes = std::vector<std::byte>;

class TierContract : public testing::TestWithParam<TierCase> {
 protected:
  static constexpr size_t kRowBytes = 48;

  Bytes RandomRows(size_t n, size_t row_bytes = kRowBytes) {
    Bytes rows(n * row_bytes);
    for (std::byte& b : rows) b = static_cast<std::byte>(random_.Bits());
    return rows;
  }
  static std::vector<Key> KeysFrom(Key first, size_t n) {
    std::vector<Key> keys(n);
    for (size_t i = 0; i < n; ++i) keys[i] = first + static_cast<Key>(i);
    return keys;
  }
  // Puts and returns the positions, which must be nobody else's.
  std::vector<Position> Put(const std::vector<Key>& keys, const Bytes& rows) {
    std::vector<Position> positions(keys.size());
    EV_EXPECT_OK(tier_->Put(keys, rows, positions));
    return positions;
  }
  Bytes Get(const std::vector<Key>& keys, const std::vector<Position>& positions) {
    Bytes rows(keys.size() * tier_->row_bytes());
    EV_EXPECT_OK(tier_->Get(keys, positions, rows));
    return rows;
  }

  std::unique_ptr<Tier> tier_ = GetParam().open(kRowBytes);
  test::Random random_{1};
};

TEST_P(TierContract, ANewTierIsEmptyAndHasAName) {
  EXPECT_EQ(tier_->name(), GetParam().name);
  EXPECT_EQ(tier_->row_bytes(), kRowBytes);
  EXPECT_EQ(tier_->size(), 0u);
  EV_EXPECT_OK(tier_->Flush());
}

TEST_P(TierContract, NothingPutAndNothingAskedIsFine) {
  EXPECT_TRUE(Put({}, {}).empty());
  EXPECT_TRUE(Get({}, {}).empty());
  tier_->Remove({}, {});
  EXPECT_EQ(tier_->size(), 0u);
}

TEST_P(TierContract, T1GetReadsWhatWasPutInAnyOrder) {
  const std::vector<Key> keys = KeysFrom(-500, 1000);
  const Bytes rows = RandomRows(keys.size());
  const std::vector<Position> positions = Put(keys, rows);
  EXPECT_EQ(std::set<Position>(positions.begin(), positions.end()).size(), keys.size());
  for (const Position p : positions) ASSERT_LE(p, kMaxPosition);
  EXPECT_TRUE(Get(keys, positions) == rows);
  for (const size_t i : {size_t{999}, size_t{0}, size_t{500}}) {
    const Bytes row = Get({keys[i]}, {positions[i]});
    EXPECT_TRUE(std::equal(row.begin(), row.end(), rows.begin() + static_cast<std::ptrdiff_t>(i * kRowBytes)));
  }
}

TEST_P(TierContract, T1APositionMayBeAskedTwiceInOneCall) {
  const Bytes rows = RandomRows(1);
  const Position p = Put({7}, rows)[0];
  const Bytes twice = Get({7, 7}, {p, p});
  EXPECT_TRUE(std::equal(rows.begin(), rows.end(), twice.begin()));
  EXPECT_TRUE(std::equal(rows.begin(), rows.end(), twice.begin() + kRowBytes));
}

TEST_P(TierContract, T1RowsOfEverySizeComeBack) {
  for (const size_t row_bytes : {size_t{16}, size_t{32}, size_t{4096}, size_t{65536 * 4}}) {
    tier_ = GetParam().open(row_bytes);
    const std::vector<Key> keys = KeysFrom(0, 9);
    const Bytes rows = RandomRows(keys.size(), row_bytes);
    const std::vector<Position> positions = Put(keys, rows);
    EXPECT_TRUE(Get(keys, positions) == rows) << row_bytes;
  }
}

TEST_P(TierContract, T1RemovingSomeLeavesTheOthers) {
  const std::vector<Key> keys = KeysFrom(0, 100);
  const Bytes rows = RandomRows(keys.size());
  const std::vector<Position> positions = Put(keys, rows);
  tier_->Remove(Span<const Key>(keys.data(), 50), Span<const Position>(positions.data(), 50));
  Put(KeysFrom(1000, 200), RandomRows(200));  // may take what is free now
  const std::vector<Key> rest(keys.begin() + 50, keys.end());
  const Bytes got = Get(rest, {positions.begin() + 50, positions.end()});
  EXPECT_TRUE(std::equal(got.begin(), got.end(), rows.begin() + 50 * kRowBytes));
}

TEST_P(TierContract, T3SizeCountsWhatWasPutAndNotRemoved) {
  const std::vector<Key> keys = KeysFrom(0, 10);
  const std::vector<Position> positions = Put(keys, RandomRows(10));
  EXPECT_EQ(tier_->size(), 10u);
  EXPECT_GE(tier_->bytes(), 10 * kRowBytes);
  tier_->Remove(Span<const Key>(keys.data(), 3), Span<const Position>(positions.data(), 3));
  EXPECT_EQ(tier_->size(), 7u);
  Put({1}, RandomRows(1));
  EXPECT_EQ(tier_->size(), 8u);
}

TEST_P(TierContract, ChurnDoesNotGrowIt) {
  const std::vector<Key> keys = KeysFrom(0, 100);
  std::vector<Position> positions = Put(keys, RandomRows(100));
  const size_t bytes = tier_->bytes();
  for (int round = 0; round < 200; ++round) {
    tier_->Remove(keys, positions);
    positions = Put(keys, RandomRows(100));
  }
  EXPECT_EQ(tier_->size(), 100u);
  EXPECT_LE(tier_->bytes(), 4 * bytes);
}

TEST_P(TierContract, EqualsADictionaryUnderRandomOperations) {
  std::unordered_map<Position, std::pair<Key, Bytes>> model;
  for (int step = 0; step < 2000; ++step) {
    if (model.empty() || random_.OneIn(2)) {
      const std::vector<Key> keys = KeysFrom(step, random_.Below(8));
      const Bytes rows = RandomRows(keys.size());
      const std::vector<Position> positions = Put(keys, rows);
      for (size_t i = 0; i < keys.size(); ++i) {
        const auto* row = rows.data() + i * kRowBytes;
        ASSERT_TRUE(model.emplace(positions[i], std::make_pair(keys[i], Bytes(row, row + kRowBytes))).second)
            << "position " << positions[i] << " is taken";
      }
    } else {
      const uint64_t place = random_.Below(std::min<size_t>(model.size(), 20));
      const auto it = std::next(model.begin(), static_cast<std::ptrdiff_t>(place));
      ASSERT_TRUE(Get({it->second.first}, {it->first}) == it->second.second);
      tier_->Remove(std::vector<Key>{it->second.first}, std::vector<Position>{it->first});
      model.erase(it);
    }
    ASSERT_EQ(tier_->size(), model.size());
  }
}

TEST_P(TierContract, ThreadsAtOnceKeepTheirRows) {
  test::RunTogether(4, [&](int thread) {
    test::Random random(100 + static_cast<uint64_t>(thread));
    for (int round = 0; round < 50; ++round) {
      const std::vector<Key> keys = KeysFrom(thread * 1000, 20);
      const Bytes rows(keys.size() * kRowBytes, static_cast<std::byte>(random.Bits()));
      const std::vector<Position> positions = Put(keys, rows);
      EXPECT_TRUE(Get(keys, positions) == rows);
      EV_EXPECT_OK(tier_->Flush());
      EXPECT_TRUE(Get(keys, positions) == rows);
      tier_->Remove(keys, positions);
    }
  });
  EXPECT_EQ(tier_->size(), 0u);
}

INSTANTIATE_TEST_SUITE_P(Dram, TierContract,
                         testing::Values(TierCase{"dram", [](size_t row_bytes) {
                           return std::make_unique<DramTier>(row_bytes, /*with_meta=*/false);
                         }}),
                         [](const auto& info) { return info.param.name; });

// DRAM alone: no row is left.  The row pool's own limit is the only one that can be reached without the memory.
TEST(DramTier, T2AFailedAllocationTakesNoPosition) {
  DramTier tier(16, false);
  std::vector<Position> some(3);
  EV_ASSERT_OK(tier.Allocate(some));
  const Span<Position> too_many(some.data(), RowPool::kMaxRows);
  test::ExpectError(tier.Allocate(too_many), StatusCode::kOutOfSpace, {"3 are in use"});
  EXPECT_EQ(tier.size(), 3u);
}

TEST(DramTier, RowsAreWrittenWhereTheyStand) {
  DramTier tier(32, /*with_meta=*/true);
  const std::vector<float> row = {1, 2, 3, 4, 5, 6, 7, 8};
  std::vector<Position> position(1);
  EV_ASSERT_OK(tier.Allocate(position));
  std::copy(row.begin(), row.end(), tier.row(position[0]));
  tier.meta(position[0])->frequency = 4;
  std::vector<float> got(8);
  EV_ASSERT_OK(tier.Get(std::vector<Key>{1}, position, {reinterpret_cast<std::byte*>(got.data()), 32}));
  EXPECT_EQ(got, row);
  EXPECT_EQ(tier.bytes(), 32 + sizeof(RowMeta));
}

}  // namespace
}  // namespace ev
