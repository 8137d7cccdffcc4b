#include "ev_tf/batch/partition.h"

#include <gtest/gtest.h>

#include <vector>

#include "tests/support/keys.h"
#include "tests/support/random.h"

namespace ev {
namespace {

std::vector<Key> RandomKeys(size_t n, uint64_t range, test::Random* random) {
  std::vector<Key> keys(n);
  for (Key& key : keys) key = static_cast<Key>(random->Below(range)) - static_cast<Key>(range / 2);
  return keys;
}

// Each key of the call stands in its stripe once, and a stripe's keys stand in the order of the call.
void ExpectGrouped(const std::vector<Key>& keys, const Partition& partition) {
  std::vector<bool> seen(keys.size());
  for (int s = 0; s < kStripes; ++s) {
    int64_t last = -1;
    for (const KeyAt& entry : partition.stripe(s)) {
      ASSERT_LT(entry.position, keys.size());
      ASSERT_EQ(entry.key, keys[entry.position]);
      ASSERT_EQ(StripeOf(HashKey(entry.key)), s);
      ASSERT_GT(static_cast<int64_t>(entry.position), last) << "stripe " << s << " is out of the call's order";
      last = entry.position;
      ASSERT_FALSE(seen[entry.position]);
      seen[entry.position] = true;
    }
  }
  for (size_t i = 0; i < keys.size(); ++i) ASSERT_TRUE(seen[i]) << "key " << i << " is in no stripe";
}

class PartitionTest : public testing::TestWithParam<int> {
 protected:
  std::unique_ptr<Executor> executor_ = NewThreadPoolExecutor(GetParam());
};

TEST_P(PartitionTest, GroupsEverySize) {
  test::Random random(1);
  Partition partition;  // one for all sizes: what an earlier call left must not be seen
  for (const size_t n : {0, 1, 31, 32, 33, 8191, 8192, 16384, 65536, 100, 0, 5}) {
    const std::vector<Key> keys = RandomKeys(n, 1000, &random);
    partition.Build(keys, *executor_);
    ExpectGrouped(keys, partition);
  }
}

TEST_P(PartitionTest, GroupsKeysOfOneStripe) {
  Partition partition;
  const std::vector<Key> keys = test::KeysOfPrefix(63, kStripeBits, 40000);
  partition.Build(keys, *executor_);
  EXPECT_EQ(partition.stripe(63).size(), keys.size());
  ExpectGrouped(keys, partition);
}

TEST_P(PartitionTest, GroupsOneKeyManyTimesAndTheEdges) {
  Partition partition;
  std::vector<Key> keys(40000, test::kEdgeKeys[7]);
  keys.insert(keys.end(), test::kEdgeKeys.begin(), test::kEdgeKeys.end());
  partition.Build(keys, *executor_);
  ExpectGrouped(keys, partition);
}

INSTANTIATE_TEST_SUITE_P(Threads, PartitionTest, testing::Values(1, 2, 4));

}  // namespace
}  // namespace ev
