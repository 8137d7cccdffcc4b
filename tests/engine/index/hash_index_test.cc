#include "ev_tf/index/hash_index.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <map>
#include <numeric>
#include <set>
#include <vector>

#include "ev_tf/base/sync_point.h"
#include "ev_tf/index/probe.h"
#include "tests/support/index_support.h"
#include "tests/support/keys.h"
#include "tests/support/random.h"
#include "tests/support/sanitizers.h"
#include "tests/support/sync_points.h"

namespace ev {
namespace {

using test::ExpectFound;
using test::FindAll;
using test::FindOne;
using test::InsertAll;
using test::MoveOne;
using test::RemoveOne;

class HashIndexTest : public testing::Test {
 protected:
  std::map<Key, Location> Scanned() const {
    std::map<Key, Location> scanned;
    test::ScanAll(index_, [&](Key key, Location location) {
      EXPECT_TRUE(scanned.emplace(key, location).second) << "H1: key " << key << " was visited twice";
    });
    return scanned;
  }

  EpochDomain epochs_;
  HashIndex index_{&epochs_};
};

TEST_F(HashIndexTest, AnEmptyIndexFindsNothing) {
  for (const Key key : test::kEdgeKeys) EXPECT_EQ(FindOne(index_, key), kNoLocation) << key;
  EXPECT_EQ(index_.size(), 0);
  EXPECT_TRUE(Scanned().empty());
  EXPECT_LE(index_.bytes(), 8192) << "a table of a few rows takes a few KiB";
}

TEST_F(HashIndexTest, EveryInt64IsAKey) {
  const std::vector<Key> keys(test::kEdgeKeys.begin(), test::kEdgeKeys.end());
  for (size_t i = 0; i < keys.size(); ++i) {
    EXPECT_EQ(FindOne(index_, keys[i]), kNoLocation);
    InsertAll(&index_, {keys[i]}, static_cast<Location>(i));
  }
  ExpectFound(index_, keys);
  EXPECT_EQ(index_.size(), static_cast<int64_t>(keys.size()));
}

TEST_F(HashIndexTest, H1ASecondInsertChangesNothingAndTellsWhereTheKeyIs) {
  InsertAll(&index_, {5}, 50);
  EXPECT_EQ(test::InsertOne(&index_, 5, 51), 50u);
  EXPECT_EQ(FindOne(index_, 5), 50u);
  EXPECT_EQ(index_.size(), 1);
}

TEST_F(HashIndexTest, ARemovedKeyIsGoneUntilItIsInsertedAgain) {
  InsertAll(&index_, {5}, 50);
  EXPECT_EQ(RemoveOne(&index_, 5), 50u);
  EXPECT_EQ(RemoveOne(&index_, 5), kNoLocation);
  EXPECT_EQ(FindOne(index_, 5), kNoLocation);
  EXPECT_FALSE(MoveOne(&index_, 5, 50, 60));
  EXPECT_FALSE(MoveOne(&index_, 5, kNoLocation, 60)) << "a dropped entry is not one that can move";
  EXPECT_EQ(index_.size(), 0);
  InsertAll(&index_, {5}, 70);
  EXPECT_EQ(FindOne(index_, 5), 70u);
  EXPECT_EQ(index_.size(), 1);
}

TEST_F(HashIndexTest, MoveWantsTheKeyWhereTheCallerThinksItIs) {
  InsertAll(&index_, {5}, 50);
  EXPECT_FALSE(MoveOne(&index_, 5, 49, 60));
  EXPECT_EQ(FindOne(index_, 5), 50u);
  EXPECT_TRUE(MoveOne(&index_, 5, 50, 60));
  EXPECT_EQ(FindOne(index_, 5), 60u);
  EXPECT_FALSE(MoveOne(&index_, 6, 50, 60));
  EXPECT_EQ(RemoveOne(&index_, 5), 60u);
}

TEST_F(HashIndexTest, FindServesEveryBatchSizeAndDuplicates) {
  std::vector<Key> keys(300);
  std::iota(keys.begin(), keys.end(), -150);
  InsertAll(&index_, keys);
  test::Random random(1);
  for (size_t n = 0; n <= 130; ++n) {  // around the pipeline's lags of 16, 24 and 40, and its ring of 64
    std::vector<Key> asked(n);
    for (Key& key : asked) key = static_cast<Key>(random.Below(600)) - 300;
    const std::vector<Location> locations = FindAll(index_, asked);
    for (size_t i = 0; i < n; ++i) {
      const bool present = asked[i] >= -150 && asked[i] < 150;
      ASSERT_EQ(locations[i], present ? static_cast<Location>(asked[i] + 150) : kNoLocation) << asked[i];
    }
  }
}

TEST_F(HashIndexTest, KeysOfOneSegmentSplitIt) {
  // Until the first split each key walks past all others: minutes, of one thread.
  if (test::kUnderThreadSanitizer) GTEST_SKIP() << "HashIndexThreads splits segments under many threads";
  constexpr int kBits = 10;
  const std::vector<Key> keys = test::KeysOfPrefix(0x2a5, kBits, 60000);  // three times what one segment holds
  InsertAll(&index_, keys);
  ExpectFound(index_, keys);
  EXPECT_EQ(index_.size(), 60000);
  EXPECT_EQ(Scanned().size(), keys.size());
  const std::vector<Key> others = test::KeysOfPrefix(0x2a4, kBits, 1000);
  for (const Location location : FindAll(index_, others)) ASSERT_EQ(location, kNoLocation);
}

TEST_F(HashIndexTest, KeysOfOneHomeLineOverflowAndWrapAround) {
  for (const uint32_t low : {0u, 0x7fffffffu, ~0u}) {  // the first line, one in the middle, the last
    EpochDomain epochs;
    HashIndex index(&epochs);
    const std::vector<Key> keys = test::KeysOfHomeLine(low, 1, 1, 700);
    InsertAll(&index, keys);
    ExpectFound(index, keys);
    for (size_t i = 0; i < keys.size(); i += 2) ASSERT_EQ(RemoveOne(&index, keys[i]), i);
    const std::vector<Location> locations = FindAll(index, keys);
    for (size_t i = 0; i < keys.size(); ++i) ASSERT_EQ(locations[i], i % 2 == 0 ? kNoLocation : Location(i));
    const std::vector<Key> absent = test::KeysOfHomeLine(low, 0, 1, 100);
    for (const Location location : FindAll(index, absent)) ASSERT_EQ(location, kNoLocation);
  }
}

// As a call inserts them: sorted by the top bits of their hashes.  Without early splits a key of a first batch is a hundred steps from home.
TEST_F(HashIndexTest, KeysThatComeAStripeAtATimeStandNearTheirHome) {
  std::vector<Key> keys(20000);
  std::iota(keys.begin(), keys.end(), 1);
  const auto stripe = [](Key key) { return HashKey(key) >> 58; };
  std::stable_sort(keys.begin(), keys.end(), [&](Key a, Key b) { return stripe(a) < stripe(b); });
  size_t steps = 0;
  for (size_t i = 0; i < keys.size(); ++i) {
    InsertAll(&index_, {keys[i]}, static_cast<Location>(i));
    const EpochGuard guard(epochs_);
    const IndexProbe probe(index_);
    const uint64_t hash = HashKey(keys[i]);
    const IndexProbe::View* view = probe.FindView(hash);
    for (uint32_t at = view->HomeLine(hash); view->line(at)->Match(keys[i]) < 0; at = view->Next(at)) ++steps;
  }
  EXPECT_LT(static_cast<double>(steps) / static_cast<double>(keys.size()), 5);
  ExpectFound(index_, keys);
}

TEST_F(HashIndexTest, RemovalGivesMemoryBack) {
  std::vector<Key> keys(200000);
  std::iota(keys.begin(), keys.end(), 0);
  InsertAll(&index_, keys);
  const int64_t full = index_.bytes();
  for (size_t i = 1000; i < keys.size(); ++i) ASSERT_EQ(RemoveOne(&index_, keys[i]), i);
  epochs_.Collect();
  EXPECT_LT(index_.bytes(), full / 10);
  keys.resize(1000);
  ExpectFound(index_, keys);
  EXPECT_EQ(index_.size(), 1000);
}

// The same number of keys, always others: entries of dropped keys must not pile up.
TEST_F(HashIndexTest, ChurnDoesNotGrowIt) {
  constexpr Key kLive = 20000;
  int64_t most = 0;
  for (Key key = 0; key < 8 * kLive; ++key) {
    ASSERT_EQ(test::InsertOne(&index_, key, static_cast<Location>(key)), kNoLocation);
    if (key >= kLive) {
      ASSERT_EQ(RemoveOne(&index_, key - kLive), static_cast<Location>(key - kLive));
    }
    if (key > 2 * kLive && key % 1000 == 0) most = std::max(most, index_.bytes());
  }
  EXPECT_EQ(index_.size(), kLive);
  EXPECT_LT(most, kLive * 40);  // at worst half of the entries are dropped ones
}

TEST_F(HashIndexTest, H3WhatARebuildReplacesWaitsForTheGuard) {
  std::vector<Key> keys(5000);
  std::iota(keys.begin(), keys.end(), 0);
  {
    const EpochGuard guard(epochs_);
    for (const Key key : keys) {  // many rebuilds
      Location existing = 0;
      EV_ASSERT_OK(index_.Insert(key, static_cast<Location>(key), &existing));
    }
    EXPECT_GT(epochs_.pending(), 0u);
    const int64_t held = index_.bytes();
    epochs_.Collect();
    EXPECT_EQ(index_.bytes(), held) << "bytes() tells the memory that still waits";
  }
  const int64_t before = index_.bytes();
  epochs_.Collect();
  EXPECT_EQ(epochs_.pending(), 0u);
  EXPECT_LT(index_.bytes(), before);
  ExpectFound(index_, keys);
}

TEST_F(HashIndexTest, AWriterGivesWayWhileReadersKeepMuchOfWhatWasReplacedAndNoLonger) {
  int waits = 3;
  index_.GiveWay(&waits);
  EXPECT_EQ(waits, 3) << "nothing was replaced";
  std::vector<Key> keys(200000);
  std::iota(keys.begin(), keys.end(), 0);
  {
    const EpochGuard guard(epochs_);
    for (const Key key : keys) {
      Location existing = 0;
      EV_ASSERT_OK(index_.Insert(key, static_cast<Location>(key), &existing));
    }
    index_.GiveWay(&waits);
    EXPECT_EQ(waits, 0) << "a reader keeps more than the index has";
    waits = 3;
  }
  EXPECT_GT(epochs_.pending(), 0u);
  index_.GiveWay(&waits);
  EXPECT_EQ(waits, 3) << "nobody is there to wait for";
  EXPECT_EQ(epochs_.pending(), 0u) << "what was replaced is freed";
}

TEST_F(HashIndexTest, PartsThatAreDrawnAheadHoldEveryKeyOnceHoweverTheyGrow) {
  std::vector<Key> keys(20000);
  std::iota(keys.begin(), keys.end(), -500);
  InsertAll(&index_, keys);
  std::vector<std::pair<uint64_t, uint64_t>> parts;
  do {
    const EpochGuard guard(epochs_);
    const uint64_t begin = parts.empty() ? 0 : parts.back().second;
    parts.emplace_back(begin, index_.PartAfter(begin));
  } while (parts.back().second != 0);
  ASSERT_GT(parts.size(), 32u);
  std::vector<Key> later(1500000);  // splits them
  std::iota(later.begin(), later.end(), 1'000'000);
  InsertAll(&index_, later);
  std::vector<Key> seen;
  size_t scans = 0;
  std::reverse(parts.begin(), parts.end());
  for (const auto& [begin, end] : parts) {
    uint64_t at = begin;
    do {
      const EpochGuard guard(epochs_);
      index_.ScanPart(&at, [&](Span<const Key> found, Span<const Location>) {
        seen.insert(seen.end(), found.begin(), found.end());
      });
      ++scans;
    } while (at != end);
  }
  EXPECT_GT(scans, parts.size());
  keys.insert(keys.end(), later.begin(), later.end());
  std::sort(seen.begin(), seen.end());
  EXPECT_EQ(seen, keys);
}

#if !defined(NDEBUG)
TEST_F(HashIndexTest, PartsThatAreDrawnInTheMiddleOfASplitHoldEveryKeyOnce) {
  const test::SyncPointsGuard points;
  int splits = 0;
  SyncPoints::Global().At("index.half_shown", [&] {  // under the guard of who inserts
    ++splits;
    std::vector<std::pair<uint64_t, uint64_t>> parts;
    do {
      const uint64_t begin = parts.empty() ? 0 : parts.back().second;
      parts.emplace_back(begin, index_.PartAfter(begin));
    } while (parts.back().second != 0);
    std::vector<Key> seen;
    for (const auto& [begin, end] : parts) {
      uint64_t at = begin;
      do {
        index_.ScanPart(&at, [&](Span<const Key> found, Span<const Location>) {
          seen.insert(seen.end(), found.begin(), found.end());
        });
      } while (at != end);
    }
    std::sort(seen.begin(), seen.end());
    EXPECT_EQ(std::adjacent_find(seen.begin(), seen.end()), seen.end()) << "visited twice, in split " << splits;
  });
  std::vector<Key> keys(60000);
  std::iota(keys.begin(), keys.end(), 0);
  InsertAll(&index_, keys);
  EXPECT_GT(splits, 100);
}
#endif

// An insert stores the location before the key.  A scan that comes in between sees a location beside the filler, which
// is nobody's key: visiting it would export a row that does not exist.
TEST_F(HashIndexTest, ScanSkipsAnEntryThatIsHalfWritten) {
  InsertAll(&index_, {100, 200}, 1);
  const uint64_t hash = HashKey(300);
  Line* line = nullptr;
  {
    const EpochGuard guard(epochs_);
    const IndexProbe::View* view = IndexProbe(index_).FindView(hash);
    line = view->line(view->HomeLine(hash));
  }
  ASSERT_LT(line->count, kLineKeys);
  line->set_location(line->count, 77);  // the first of Append's two stores
  EXPECT_EQ(Scanned(), (std::map<Key, Location>{{100, 1}, {200, 2}}));
  line->set_location(line->count, kNoLocation);
}

}  // namespace
}  // namespace ev
