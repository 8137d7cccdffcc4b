// Random operations on a HashIndex against std::unordered_map.
#include <gtest/gtest.h>

#include <string>
#include <unordered_map>
#include <vector>

#include "ev_tf/index/hash_index.h"
#include "tests/support/index_support.h"
#include "tests/support/keys.h"
#include "tests/support/random.h"
#include "tests/support/sanitizers.h"

namespace ev {
namespace {

// Which keys a run draws from: few enough that operations meet.
struct KeySet {
  const char* name;
  std::vector<Key> (*make)();
  int steps;
};

std::vector<Key> EdgesAndSmall() {
  std::vector<Key> keys(test::kEdgeKeys.begin(), test::kEdgeKeys.end());
  for (Key key = 4; key < 60; ++key) keys.push_back(key);
  return keys;
}

std::vector<Key> Spread() {
  std::vector<Key> keys(test::kEdgeKeys.begin(), test::kEdgeKeys.end());
  test::Random random(99);
  for (int i = 0; i < 100000; ++i) keys.push_back(static_cast<Key>(random.Bits()));
  return keys;
}

const KeySet kKeySets[] = {
    {"edges", EdgesAndSmall, 20000},
    {"one_home_line", [] { return test::KeysOfHomeLine(~0u, 1, 2, 150); }, 20000},
    {"two_home_lines",
     [] {
       std::vector<Key> keys = test::KeysOfHomeLine(0, 1, 2, 70);
       const std::vector<Key> more = test::KeysOfHomeLine(~0u, 1, 2, 70);
       keys.insert(keys.end(), more.begin(), more.end());
       return keys;
     },
     20000},
    {"one_stripe", [] { return test::KeysOfPrefix(17, 6, 60000); }, 300000},
    {"one_deep_segment", [] { return test::KeysOfPrefix(0xabc, 12, 50000); }, 300000},
    {"spread", Spread, 200000},
};

class IndexModel : public testing::TestWithParam<KeySet> {
 protected:
  // One random operation.  `insert_share` of 100 are inserts, so that the index grows and shrinks in turn.
  void Step(const std::vector<Key>& keys, uint64_t insert_share) {
    const Key key = keys[random_.Below(keys.size())];
    const auto it = model_.find(key);
    const Location was = it == model_.end() ? kNoLocation : it->second;
    const auto location = static_cast<Location>(random_.Below(kNoLocation));
    if (random_.Below(100) < insert_share) {
      ASSERT_EQ(test::InsertOne(&index_, key, location), was) << "Insert of " << key;
      model_.emplace(key, location);
      return;
    }
    if (random_.OneIn(3)) {
      const bool right = random_.OneIn(2) && was != kNoLocation;
      const Location from = right ? was : static_cast<Location>(random_.Below(kNoLocation));
      const bool moves = was != kNoLocation && from == was;
      ASSERT_EQ(test::MoveOne(&index_, key, from, location), moves) << "Move of " << key;
      if (moves) it->second = location;
      return;
    }
    ASSERT_EQ(test::RemoveOne(&index_, key), was) << "Remove of " << key;
    if (it != model_.end()) model_.erase(it);
  }

  void CheckSome(const std::vector<Key>& keys) {
    std::vector<Key> asked(random_.Below(200));
    for (Key& key : asked) key = keys[random_.Below(keys.size())];
    const std::vector<Location> locations = test::FindAll(index_, asked);
    for (size_t i = 0; i < asked.size(); ++i) {
      const auto it = model_.find(asked[i]);
      ASSERT_EQ(locations[i], it == model_.end() ? kNoLocation : it->second) << "Find of " << asked[i];
    }
    ASSERT_EQ(index_.size(), static_cast<int64_t>(model_.size()));
  }

  void CheckAll() {
    std::unordered_map<Key, Location> scanned;
    test::ScanAll(index_, [&](Key key, Location location) {
      ASSERT_TRUE(scanned.emplace(key, location).second) << "H1: key " << key << " was visited twice";
    });
    ASSERT_EQ(scanned, model_);
  }

  EpochDomain epochs_;
  HashIndex index_{&epochs_};
  std::unordered_map<Key, Location> model_;
  test::Random random_{1};
};

TEST_P(IndexModel, EqualsUnorderedMap) {
  const std::vector<Key> keys = GetParam().make();
  // One thread: the thread sanitizer has little to see.
  const int steps = GetParam().steps / (test::kUnderThreadSanitizer ? 20 : 1);
  for (int i = 0; i < steps && !HasFatalFailure(); ++i) {
    const bool growing = (i / (steps / 6)) % 2 == 0;
    Step(keys, growing ? 80 : 20);
    if (random_.OneIn(50)) CheckSome(keys);
    if (i % (steps / 8) == 0) CheckAll();
  }
  if (!HasFatalFailure()) CheckAll();
}

INSTANTIATE_TEST_SUITE_P(Keys, IndexModel, testing::ValuesIn(kKeySets),
                         [](const auto& info) { return std::string(info.param.name); });

}  // namespace
}  // namespace ev
