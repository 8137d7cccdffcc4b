// ChangedKeys: every key once, none lost between a Take and a GiveBack.
#include "ev_tf/variable/changed_keys.h"

#include <gtest/gtest.h>

#include <set>
#include <vector>

#include "tests/support/keys.h"
#include "tests/support/random.h"

namespace ev {
namespace {

std::set<Key> KeysOf(const ChangedKeys::Changes& changes) {
  std::set<Key> keys;
  changes.keys.ForEach([&](Key key) { EXPECT_TRUE(keys.insert(key).second) << key << " stands twice"; });
  EXPECT_EQ(keys.size(), changes.keys.size());
  return keys;
}

TEST(ChangedKeys, CostNothingBeforeTheyAreAskedFor) {
  ChangedKeys changed;
  changed.Add(0, std::vector<Key>{1, 2, 3});
  EXPECT_EQ(changed.size(), 0);
  EXPECT_EQ(changed.bytes(), 0);
  EXPECT_TRUE(KeysOf(changed.Take(0)).empty());
}

TEST(ChangedKeys, EachKeyStandsOnce) {
  ChangedKeys changed;
  changed.Take(3);
  const std::vector<Key> keys(test::kEdgeKeys.begin(), test::kEdgeKeys.end());
  changed.Add(3, keys);
  changed.Add(3, keys);
  EXPECT_EQ(changed.size(), static_cast<int64_t>(keys.size()));
  EXPECT_EQ(KeysOf(changed.Take(3)), std::set<Key>(keys.begin(), keys.end()));
  EXPECT_EQ(changed.size(), 0);
  EXPECT_EQ(changed.bytes(), 0);
}

TEST(ChangedKeys, WhatIsGivenBackMeetsWhatCameMeanwhile) {
  test::Random random{1};
  for (int round = 0; round < 50; ++round) {
    ChangedKeys changed;
    std::set<Key> expected;
    changed.Take(5);
    const std::vector<Key> all = test::KeysOfPrefix(5, kStripeBits, 1 + random.Below(2000));
    const auto add = [&](size_t n) {
      std::vector<Key> some;
      for (size_t i = 0; i < n; ++i) some.push_back(random.OneIn(50) ? 0 : all[random.Below(all.size())]);
      changed.Add(5, some);
      expected.insert(some.begin(), some.end());
    };
    add(random.Below(3000));
    ChangedKeys::Changes taken = changed.Take(5);
    add(random.Below(300));
    changed.GiveBack(5, std::move(taken));
    EXPECT_EQ(changed.size(), static_cast<int64_t>(expected.size()));
    add(random.Below(300));
    EXPECT_EQ(KeysOf(changed.Take(5)), expected);
  }
}

TEST(ChangedKeys, AKeyTakesElevenToSixteenBytes) {
  ChangedKeys changed;
  constexpr size_t kKeys = 20000;
  for (int stripe = 0; stripe < kStripes; ++stripe) {
    changed.Take(stripe);
    const std::vector<Key> keys = test::KeysOfPrefix(static_cast<uint64_t>(stripe), kStripeBits, kKeys);
    for (size_t i = 0; i < kKeys; i += 100) changed.Add(stripe, Span<const Key>(keys.data() + i, 100));
  }
  const double bytes = static_cast<double>(changed.bytes()) / static_cast<double>(changed.size());
  EXPECT_GE(bytes, 8 / 0.75);
  EXPECT_LE(bytes, 16.5);
}

TEST(ChangedKeys, WhatStopsAndIsForgottenIsGone) {
  ChangedKeys changed;
  changed.Take(1);
  changed.Add(1, std::vector<Key>{7});
  changed.Forget(1);
  EXPECT_EQ(changed.bytes(), 0);
  changed.Add(1, std::vector<Key>{8});
  EXPECT_EQ(changed.size(), 1);
  changed.Stop(1);
  changed.Add(1, std::vector<Key>{9});
  EXPECT_EQ(changed.size(), 0);
}

}  // namespace
}  // namespace ev
