#include "ev_tf/base/key.h"

#include <gtest/gtest.h>

#include <cmath>
#include <cstdint>
#include <limits>
#include <unordered_set>
#include <vector>

namespace ev {
namespace {

constexpr Key kMin = std::numeric_limits<Key>::min();
constexpr Key kMax = std::numeric_limits<Key>::max();

TEST(FloorMod, IsInRangeForEveryKey) {
  for (const Key key : {kMin, kMin + 1, Key{-1001}, Key{-1}, Key{0}, Key{1}, Key{999}, kMax}) {
    for (const int64_t n : {int64_t{1}, int64_t{2}, int64_t{1000}, kMax}) {
      const int64_t r = FloorMod(key, n);
      EXPECT_GE(r, 0) << key << " mod " << n;
      EXPECT_LT(r, n) << key << " mod " << n;
    }
  }
}

TEST(FloorMod, RoundsTowardsMinusInfinity) {
  EXPECT_EQ(FloorMod(-1, 4), 3);
  EXPECT_EQ(FloorMod(-4, 4), 0);
  EXPECT_EQ(FloorMod(-5, 4), 3);
  EXPECT_EQ(FloorMod(7, 4), 3);
  EXPECT_EQ(FloorMod(kMin, 1000), 192);  // -9223372036854775808 = -9223372036854776 * 1000 + 192
}

TEST(HashKey, NoTwoKeysOfADenseRangeCollide) {
  std::unordered_set<uint64_t> hashes;
  for (Key key = -50000; key < 50000; ++key) hashes.insert(HashKey(key));
  EXPECT_EQ(hashes.size(), 100000u);
}

// Segments and partitions are prefixes of the hash: keys that differ only in a few bits must still spread over them.
TEST(HashKey, HighBitsSpreadKeysOfEveryStride) {
  constexpr int kBuckets = 256;
  constexpr int kKeys = 1 << 16;
  for (int shift = 0; shift < 48; shift += 8) {
    std::vector<int> counts(kBuckets);
    for (uint64_t i = 0; i < kKeys; ++i) ++counts[HashKey(static_cast<Key>(i << shift)) >> 56];
    const double expected = static_cast<double>(kKeys) / kBuckets;
    for (int b = 0; b < kBuckets; ++b) {
      // Seven standard deviations of a Poisson count: the inputs are fixed, so this never flakes.
      EXPECT_NEAR(counts[b], expected, 7 * std::sqrt(expected)) << "bucket " << b << ", stride 2^" << shift;
    }
  }
}

}  // namespace
}  // namespace ev
