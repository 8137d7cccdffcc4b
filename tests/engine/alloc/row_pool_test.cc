#include "ev_tf/alloc/row_pool.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <algorithm>
#include <cstdint>
#include <fstream>
#include <set>
#include <vector>

#include "tests/support/random.h"
#include "tests/support/status_matchers.h"
#include "tests/support/threads.h"

namespace ev {
namespace {

// Fills a whole row, so that rows that overlap are seen.
void Fill(const RowPool& pool, uint32_t position, float value) {
  std::fill_n(pool.row(position), pool.row_bytes() / sizeof(float), value);
}

bool Holds(const RowPool& pool, uint32_t position, float value) {
  const float* row = pool.row(position);
  return std::all_of(row, row + pool.row_bytes() / sizeof(float), [&](float f) { return f == value; });
}

TEST(RowPool, RowsOfEverySizeStandApart) {
  for (const size_t row_bytes : {size_t{16}, size_t{48}, size_t{512}, size_t{16384}, size_t{786432}}) {
    RowPool pool(row_bytes, /*with_meta=*/true);
    std::vector<uint32_t> positions(33);
    EV_ASSERT_OK(pool.Allocate(positions.size(), positions.data()));
    for (const uint32_t p : positions) {
      EXPECT_EQ(reinterpret_cast<uintptr_t>(pool.row(p)) % kRowPartAlignment, 0u);
      Fill(pool, p, static_cast<float>(p));
      pool.meta(p)->frequency = p;
    }
    for (const uint32_t p : positions) {
      EXPECT_TRUE(Holds(pool, p, static_cast<float>(p))) << "row " << p << " of " << row_bytes << " bytes";
      EXPECT_EQ(pool.meta(p)->frequency, p);
    }
  }
}

TEST(RowPool, RowsStandApartAcrossChunks) {
  RowPool pool(16, /*with_meta=*/true);  // a chunk has 2^21 rows
  std::vector<uint32_t> positions((size_t{1} << 21) + 3);
  EV_ASSERT_OK(pool.Allocate(positions.size(), positions.data()));
  for (size_t i = positions.size() - 6; i < positions.size(); ++i) Fill(pool, positions[i], static_cast<float>(i));
  for (size_t i = positions.size() - 6; i < positions.size(); ++i) {
    EXPECT_TRUE(Holds(pool, positions[i], static_cast<float>(i)));
    EXPECT_EQ(pool.meta(positions[i])->frequency, 0u);
  }
  EXPECT_EQ(pool.high_water(), positions.size());
}

#if !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)  // whose shadow memory is resident too
int64_t ResidentBytes() {
  std::ifstream statm("/proc/self/statm");
  int64_t total = 0;
  int64_t resident = 0;
  statm >> total >> resident;
  return resident * sysconf(_SC_PAGESIZE);
}

TEST(RowPool, MetaTakesWhatItHoldsForRowsOfEverySize) {
  for (const size_t row_bytes : {size_t{128}, size_t{512}, size_t{2048}}) {
    RowPool pool(row_bytes, /*with_meta=*/true);
    std::vector<uint32_t> positions(1000000);
    EV_ASSERT_OK(pool.Allocate(positions.size(), positions.data()));
    const int64_t before = ResidentBytes();
    for (const uint32_t p : positions) pool.meta(p)->frequency = 1;
    const int64_t taken = ResidentBytes() - before;
    EXPECT_LT(taken, static_cast<int64_t>(positions.size() * sizeof(RowMeta)) + (1 << 20)) << row_bytes;
  }
}
#endif

TEST(RowPool, AnAddressNeverChanges) {
  RowPool pool(64, false);
  uint32_t first = 0;
  EV_ASSERT_OK(pool.Allocate(1, &first));
  const float* address = pool.row(first);
  std::vector<uint32_t> more(1000000);
  EV_ASSERT_OK(pool.Allocate(more.size(), more.data()));
  EXPECT_EQ(pool.row(first), address);
}

TEST(RowPool, P1APositionIsGivenToOneHolderUntilItIsFreed) {
  RowPool pool(16, true);
  test::Random random(1);
  std::set<uint32_t> held;
  for (int step = 0; step < 3000; ++step) {
    if (random.OneIn(2)) {
      std::vector<uint32_t> positions(random.Below(10));
      EV_ASSERT_OK(pool.Allocate(positions.size(), positions.data()));
      for (const uint32_t p : positions) {
        ASSERT_TRUE(held.insert(p).second) << "position " << p << " has a holder";
        ASSERT_LT(p, pool.high_water());
        ASSERT_EQ(pool.meta(p)->frequency, 0u) << "the meta of a reused row is new";
        ASSERT_EQ(pool.meta(p)->version_plus1, 0u);
        *pool.meta(p) = {7, 9};
      }
    } else {
      std::vector<uint32_t> freed;
      for (auto it = held.begin(); it != held.end();) {
        if (random.OneIn(4)) {
          freed.push_back(*it);
          it = held.erase(it);
        } else {
          ++it;
        }
      }
      pool.Free(freed);
    }
    ASSERT_EQ(pool.used_rows(), held.size());
  }
}

TEST(RowPool, FreedRowsAreUsedBeforeNewMemory) {
  RowPool pool(16, false);
  std::vector<uint32_t> positions(100);
  EV_ASSERT_OK(pool.Allocate(100, positions.data()));
  pool.Free(Span<const uint32_t>(positions.data() + 50, 50));
  EV_ASSERT_OK(pool.Allocate(50, positions.data() + 50));
  EXPECT_EQ(pool.high_water(), 100u);
  EXPECT_EQ(pool.bytes(), 1600u);
  EXPECT_EQ(pool.meta_bytes(), 0u);
  EXPECT_EQ(std::set<uint32_t>(positions.begin(), positions.end()).size(), 100u);
}

TEST(RowPool, MoreRowsThanPositionsIsOutOfSpaceAndTakesNone) {
  RowPool pool(16, false);
  std::vector<uint32_t> positions(5);
  EV_ASSERT_OK(pool.Allocate(5, positions.data()));
  test::ExpectError(pool.Allocate(RowPool::kMaxRows - 4, nullptr), StatusCode::kOutOfSpace,
                    {"rows", std::to_string(RowPool::kMaxRows), "5 are in use"});
  EXPECT_EQ(pool.used_rows(), 5u);
  EV_ASSERT_OK(pool.Allocate(1, positions.data()));
  EXPECT_EQ(positions[0], 5u);
}

TEST(RowPool, P1HoldsForThreadsAtOnce) {
  RowPool pool(16, true);
  constexpr int kThreads = 4;
  test::RunTogether(kThreads, [&](int thread) {
    std::vector<uint32_t> positions(16);
    for (int round = 0; round < 300; ++round) {
      EV_EXPECT_OK(pool.Allocate(positions.size(), positions.data()));
      for (const uint32_t p : positions) {
        Fill(pool, p, static_cast<float>(thread));
        pool.meta(p)->frequency = static_cast<uint32_t>(thread);
      }
      for (const uint32_t p : positions) {
        EXPECT_TRUE(Holds(pool, p, static_cast<float>(thread)));
        EXPECT_EQ(pool.meta(p)->frequency, static_cast<uint32_t>(thread));
      }
      pool.Free(positions);
    }
  });
  EXPECT_EQ(pool.used_rows(), 0u);
  EXPECT_LE(pool.high_water(), kThreads * 16u);
}

}  // namespace
}  // namespace ev
