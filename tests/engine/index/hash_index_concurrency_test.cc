// An index that many threads use at once.  Sizes are small: these run under the thread sanitizer.
#include <gtest/gtest.h>

#include <atomic>
#include <vector>

#include "ev_tf/index/hash_index.h"
#include "tests/support/index_support.h"
#include "tests/support/keys.h"
#include "tests/support/random.h"
#include "tests/support/sanitizers.h"
#include "tests/support/threads.h"

namespace ev {
namespace {

constexpr int kReaders = 3;
constexpr int kWriters = 3;

// Readers ask for keys that have been inserted for sure, while writers insert more behind them.
// `order` is split among the writers; the key at place i goes to location i.
void ReadersNeverMiss(const std::vector<Key>& order) {
  EpochDomain epochs;
  HashIndex index(&epochs);
  const size_t part = order.size() / kWriters;
  std::array<std::atomic<size_t>, kWriters> inserted{};
  std::atomic<int> writing{kWriters};
  std::atomic<int64_t> missed{0};
  test::RunTogether(kReaders + kWriters, [&](int thread) {
    if (thread < kWriters) {
      for (size_t i = 0; i < part; ++i) {
        const size_t place = static_cast<size_t>(thread) * part + i;
        EXPECT_EQ(test::InsertOne(&index, order[place], static_cast<Location>(place)), kNoLocation);
        inserted[thread].store(i + 1, std::memory_order_release);
      }
      writing.fetch_sub(1);
      return;
    }
    test::Random random(static_cast<uint64_t>(thread));
    std::vector<Key> keys;
    std::vector<Location> wanted;
    while (writing.load() != 0) {
      keys.clear();
      wanted.clear();
      for (int i = 0; i < 100; ++i) {
        const size_t writer = random.Below(kWriters);
        const size_t known = inserted[writer].load(std::memory_order_acquire);
        if (known == 0) continue;
        // Half of them the newest ones.
        const size_t place = writer * part + (random.OneIn(2) ? known - 1 : random.Below(known));
        keys.push_back(order[place]);
        wanted.push_back(static_cast<Location>(place));
      }
      if (test::FindAll(index, keys) != wanted) missed.fetch_add(1);
    }
  });
  EXPECT_EQ(missed.load(), 0) << "H2: a batch missed a key that was there";
  EXPECT_EQ(index.size(), static_cast<int64_t>(part * kWriters));
  test::ExpectFound(index, {order.begin(), order.begin() + static_cast<std::ptrdiff_t>(part * kWriters)});
}

std::vector<Key> Consecutive(size_t n) {
  std::vector<Key> keys(n);
  for (size_t i = 0; i < n; ++i) keys[i] = static_cast<Key>(i) - 30000;
  return keys;
}

TEST(HashIndexThreads, H2ReadersNeverMissAKeyWhileTheIndexGrows) {
  ReadersNeverMiss(Consecutive(test::kUnderThreadSanitizer ? 12000 : 60000));
}

TEST(HashIndexThreads, H2ReadersNeverMissAKeyWhileOneSegmentSplits) {
  // Keys of one prefix double the directory seven times and more; but until the first split each walks past all others, which
  // takes minutes under the thread sanitizer.  There spread ones double it twice.
  ReadersNeverMiss(test::kUnderThreadSanitizer ? Consecutive(45000) : test::KeysOfPrefix(0x35, 6, 60000));
}

TEST(HashIndexThreads, H2ReadersNeverMissAKeyThatOverflows) {
  std::vector<Key> keys = test::KeysOfHomeLine(~0u, 1, 1, 300);
  const std::vector<Key> spread = test::KeysOfPrefix(1, 1, 3000);  // makes the segment rebuild meanwhile
  keys.insert(keys.end(), spread.begin(), spread.end());
  ReadersNeverMiss(keys);
}

// The keys that a reader asks for stay; all around them keys come, move and go.
TEST(HashIndexThreads, H2KeysThatNobodyTouchesStayWhereTheyAre) {
  EpochDomain epochs;
  HashIndex index(&epochs);
  std::vector<Key> fixed(2000);
  for (size_t i = 0; i < fixed.size(); ++i) fixed[i] = static_cast<Key>(i) * 3;
  test::InsertAll(&index, fixed);
  std::atomic<int> writing{kWriters};
  test::RunTogether(kReaders + kWriters, [&](int thread) {
    if (thread >= kWriters) {
      while (writing.load() != 0) test::ExpectFound(index, fixed);
      return;
    }
    for (int round = 0; round < 6; ++round) {
      for (Key i = 0; i < 3000; ++i) {
        const Key key = 3 * (kWriters * i + thread) + 1;
        EXPECT_EQ(test::InsertOne(&index, key, 7), kNoLocation);
        EXPECT_TRUE(test::MoveOne(&index, key, 7, 8));
      }
      for (Key i = 0; i < 3000; ++i) EXPECT_EQ(test::RemoveOne(&index, 3 * (kWriters * i + thread) + 1), 8u);
    }
    writing.fetch_sub(1);
  });
  EXPECT_EQ(index.size(), static_cast<int64_t>(fixed.size()));
}

TEST(HashIndexThreads, H1OneOfManyInsertersWins) {
  constexpr int kThreads = 6;
  constexpr Key kKeys = 3000;
  EpochDomain epochs;
  HashIndex index(&epochs);
  std::atomic<int64_t> won{0};
  test::RunTogether(kThreads, [&](int thread) {
    for (Key key = 0; key < kKeys; ++key) {
      if (test::InsertOne(&index, key, static_cast<Location>(thread)) == kNoLocation) won.fetch_add(1);
    }
  });
  EXPECT_EQ(won.load(), kKeys);
  EXPECT_EQ(index.size(), kKeys);
}

TEST(HashIndexThreads, OneOfManyRemoversAndMoversWins) {
  constexpr int kThreads = 6;
  constexpr Key kKeys = 3000;
  EpochDomain epochs;
  HashIndex index(&epochs);
  for (Key key = 0; key < kKeys; ++key) test::InsertAll(&index, {key}, 100);
  std::atomic<int64_t> moved{0};
  std::atomic<int64_t> removed{0};
  test::RunTogether(kThreads, [&](int thread) {
    for (Key key = 0; key < kKeys; ++key) {
      if (test::MoveOne(&index, key, 100, static_cast<Location>(thread))) moved.fetch_add(1);
    }
    for (Key key = 0; key < kKeys; ++key) {
      if (test::RemoveOne(&index, key) != kNoLocation) removed.fetch_add(1);
    }
  });
  EXPECT_LE(moved.load(), kKeys);
  EXPECT_EQ(removed.load(), kKeys);
  EXPECT_EQ(index.size(), 0);
}

TEST(HashIndexThreads, ScanVisitsEachKeyThatStaysOnceAndNoneThatNeverWas) {
  constexpr Key kStays = 3000;
  EpochDomain epochs;
  HashIndex index(&epochs);
  for (Key key = 0; key < kStays; ++key) test::InsertAll(&index, {-1 - key}, 5);
  std::atomic<bool> stop{false};
  test::RunTogether(3, [&](int thread) {
    if (thread == 0) {
      for (int round = 0; round < 15; ++round) {
        std::vector<int> visits(kStays);
        test::ScanAll(index, [&](Key key, Location location) {
          if (key < 0) {
            ASSERT_GE(key, -kStays);
            ASSERT_EQ(location, 5u);
            ++visits[static_cast<size_t>(-1 - key)];
          } else {
            ASSERT_GE(key, 1000000) << "nobody inserted this key";
            ASSERT_EQ(location, 6u);
          }
        });
        for (Key key = 0; key < kStays; ++key) ASSERT_EQ(visits[static_cast<size_t>(key)], 1) << key;
      }
      stop.store(true);
      return;
    }
    for (Key i = 0; !stop.load(); ++i) {
      const Key key = 1000000 * thread + i % 20000;
      test::InsertOne(&index, key, 6);
      if (i >= 10000) test::RemoveOne(&index, 1000000 * thread + (i - 10000) % 20000);
    }
  });
}

}  // namespace
}  // namespace ev
