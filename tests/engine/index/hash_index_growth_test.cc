// Memory and time of an index that grows.
#include <gtest/gtest.h>

#include <algorithm>
#include <vector>

#include "ev_tf/index/hash_index.h"
#include "tests/support/index_support.h"

namespace ev {
namespace {

constexpr int64_t kFirst = 1000000;
constexpr int64_t kLast = 3000000;
constexpr double kMostBytesPerKey = 24;

// Ids as they come: dense, strided as hashed features are, negative.
class IndexGrowth : public testing::TestWithParam<int64_t> {};

TEST_P(IndexGrowth, AKeyTakesAtMost24BytesAtEveryStep) {
  const int64_t stride = GetParam();
  const auto key_of = [&](int64_t i) {
    return static_cast<Key>(static_cast<uint64_t>(i) * static_cast<uint64_t>(stride));  // wraps around
  };
  EpochDomain epochs;
  HashIndex index(&epochs);
  double most = 0;
  for (int64_t i = 0; i < kLast; ++i) {
    ASSERT_EQ(test::InsertOne(&index, key_of(i), static_cast<Location>(i)), kNoLocation);
    if (i >= kFirst && i % 1009 == 0) {  // size() and bytes() visit every segment
      most = std::max(most, static_cast<double>(index.bytes()) / static_cast<double>(index.size()));
    }
  }
  EXPECT_LE(most, kMostBytesPerKey);
  EXPECT_EQ(index.size(), kLast);
  RecordProperty("most_bytes_per_key_x1000", static_cast<int>(most * 1000));

  std::vector<Key> keys(4096);
  for (int64_t first = 0; first < kLast; first += 4096 * 16) {
    for (int64_t i = 0; i < 4096; ++i) keys[i] = key_of(first + i);
    const auto n = static_cast<size_t>(std::min<int64_t>(4096, kLast - first));
    keys.resize(n);
    test::ExpectFound(index, keys, static_cast<Location>(first));
    keys.resize(4096);
  }
}

// No rebuild, so no memory that is taken later, whatever the keys; and no more of it than growth takes.
TEST_P(IndexGrowth, AReservedIndexTakesItsKeysAsItIs) {
  const int64_t stride = GetParam();
  const auto key_of = [&](int64_t i) {
    return static_cast<Key>(static_cast<uint64_t>(i) * static_cast<uint64_t>(stride));
  };
  const auto executor = NewThreadPoolExecutor(2);
  for (const int64_t keys : {100'000, 777'777, 3'000'000}) {
    SCOPED_TRACE(keys);
    EpochDomain epochs;
    HashIndex index(&epochs);
    ASSERT_TRUE(index.Reserve(keys, *executor).ok());
    const int64_t bytes = index.bytes();
    EXPECT_LE(static_cast<double>(bytes) / static_cast<double>(keys), kMostBytesPerKey);
    for (int64_t i = 0; i < keys; ++i) {
      ASSERT_EQ(test::InsertOne(&index, key_of(i), static_cast<Location>(i)), kNoLocation);
    }
    EXPECT_EQ(index.bytes(), bytes);
    // And takes more than it was told.
    for (int64_t i = keys; i < keys + keys / 2; ++i) {
      ASSERT_EQ(test::InsertOne(&index, key_of(i), static_cast<Location>(i)), kNoLocation);
    }
    EXPECT_EQ(index.size(), keys + keys / 2);
    for (int64_t i = 0; i < keys + keys / 2; i += 1009) {
      ASSERT_EQ(test::FindOne(index, key_of(i)), static_cast<Location>(i));
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Strides, IndexGrowth, testing::Values(1, -1, int64_t{1} << 32, 0x123456789abcdef1));

TEST(HashIndexReserve, AFewKeysOrNoneTakeAFewKilobytes) {
  SerialExecutor serial;
  EpochDomain epochs;
  HashIndex index(&epochs);
  const int64_t fresh = index.bytes();
  ASSERT_TRUE(index.Reserve(0, serial).ok());
  EXPECT_EQ(index.bytes(), fresh);
  ASSERT_TRUE(index.Reserve(100, serial).ok());
  EXPECT_LE(index.bytes(), 2 * fresh);
  EXPECT_EQ(test::InsertOne(&index, -1, 7), kNoLocation);
  EXPECT_EQ(test::FindOne(index, -1), 7u);
}

}  // namespace
}  // namespace ev
