#include "ev_tf/tier/leveldb/position_sweep.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <set>
#include <vector>

#include "tests/support/random.h"

namespace ev {
namespace {

TEST(PositionSweep, GoesOnUntilAThirdIsFreeAndStartsAgain) {
  PositionSweep sweep(1000);
  for (Position i = 0; i < 90; ++i) EXPECT_EQ(sweep.Take(), i);
  for (Position i = 0; i < 29; ++i) EXPECT_TRUE(sweep.GiveBack(3 * i));
  EXPECT_EQ(sweep.Take(), 90u) << "29 of 90 are free";
  EXPECT_TRUE(sweep.GiveBack(88));
  EXPECT_TRUE(sweep.GiveBack(89));  // 31 of 91
  for (Position i = 0; i < 29; ++i) EXPECT_EQ(sweep.Take(), 3 * i);
  EXPECT_EQ(sweep.Take(), 88u);
  EXPECT_EQ(sweep.Take(), 89u);
  EXPECT_EQ(sweep.Take(), 91u);
  EXPECT_EQ(sweep.taken(), 92u);
  EXPECT_EQ(sweep.stale(), 0u);
}

TEST(PositionSweep, AtItsLimitItTakesWhatIsFree) {
  PositionSweep sweep(100);
  for (Position i = 0; i < 100; ++i) EXPECT_EQ(sweep.Take(), i);
  EXPECT_TRUE(sweep.GiveBack(99));
  EXPECT_TRUE(sweep.GiveBack(64));
  EXPECT_EQ(sweep.Take(), 64u);
  EXPECT_EQ(sweep.Take(), 99u);
  EXPECT_EQ(sweep.end(), 100u);
  EXPECT_EQ(sweep.taken(), 100u);
}

TEST(PositionSweep, PositionsOfADatabaseAreTakenAndWhatLiesBetweenIsFree) {
  PositionSweep sweep(1000);
  for (const Position position : {700u, 3u, 64u}) sweep.TakeThis(position);
  EXPECT_EQ(sweep.end(), 701u);
  EXPECT_EQ(sweep.taken(), 3u);
  EXPECT_EQ(sweep.stale(), 0u) << "nothing is there";
  for (const Position position : {0u, 1u, 2u, 4u}) EXPECT_EQ(sweep.Take(), position);
}

TEST(PositionSweep, WhatIsGivenBackTwiceOrWasNeverTakenIsLeftAlone) {
  PositionSweep sweep(1000);
  for (Position i = 0; i < 10; ++i) EXPECT_EQ(sweep.Take(), i);
  EXPECT_TRUE(sweep.GiveBack(4));
  for (const Position position : {4u, 10u, 999u, kMaxPosition, ~0u}) EXPECT_FALSE(sweep.GiveBack(position)) << position;
  EXPECT_EQ(sweep.taken(), 9u);
  EXPECT_EQ(sweep.stale(), 1u);
}

TEST(PositionSweep, StalePositionsGoInTheOrderInWhichTheSweepComesLast) {
  PositionSweep sweep(1000);
  for (Position i = 0; i < 200; ++i) EXPECT_EQ(sweep.Take(), i);
  for (Position i = 0; i < 200; i += 2) EXPECT_TRUE(sweep.GiveBack(i));
  for (Position i = 0; i < 100; i += 2) EXPECT_EQ(sweep.Take(), i);  // from the lowest again: half are free
  for (const Position position : {10u, 97u}) EXPECT_TRUE(sweep.GiveBack(position));
  EXPECT_EQ(sweep.TakeStale(4), (std::vector<Position>{10, 97, 196, 198}));
  EXPECT_EQ(sweep.TakeStale(1000).size(), 48u);
  EXPECT_EQ(sweep.stale(), 0u);
  EXPECT_TRUE(sweep.TakeStale(1).empty());
  EXPECT_EQ(sweep.Take(), 100u) << "they are free all the same";
}

TEST(PositionSweep, APositionFarUpTakesNoMemoryForThoseBelow) {
  PositionSweep sweep(size_t{kMaxPosition} + 1);
  sweep.TakeThis(kMaxPosition);
  EXPECT_LE(sweep.bytes(), size_t{64} << 10);
  EXPECT_TRUE(sweep.IsTaken(kMaxPosition));
  EXPECT_FALSE(sweep.IsTaken(kMaxPosition - (1u << 20)));
  EXPECT_EQ(sweep.Take(), 0u);
  EXPECT_TRUE(sweep.GiveBack(kMaxPosition));
  EXPECT_EQ(sweep.TakeStale(2), std::vector<Position>{kMaxPosition});
}

// Bits are kept in pieces of 65,536.
TEST(PositionSweep, GoesOverTheEdgesOfPiecesAndOverPiecesThatNobodyUses) {
  constexpr Position kPiece = 65536;
  PositionSweep sweep(size_t{kMaxPosition} + 1);
  for (Position i = 0; i < kPiece; ++i) EXPECT_EQ(sweep.Take(), i);
  for (Position i = 3 * kPiece; i < 3 * kPiece + 70; ++i) sweep.TakeThis(i);
  for (Position i = kPiece; i < 3 * kPiece; ++i) ASSERT_EQ(sweep.Take(), i);
  EXPECT_EQ(sweep.Take(), 3 * kPiece + 70);
  const std::vector<Position> edges = {0, kPiece - 1, kPiece, 2 * kPiece - 1, 3 * kPiece, 3 * kPiece + 70};
  for (const Position position : edges) EXPECT_TRUE(sweep.GiveBack(position));
  EXPECT_EQ(sweep.TakeStale(3), (std::vector<Position>(edges.end() - 3, edges.end())));
  EXPECT_EQ(sweep.TakeStale(9), (std::vector<Position>(edges.begin(), edges.end() - 3)));
  PositionSweep sparse(size_t{kMaxPosition} + 1);
  for (const Position position : {kPiece - 1, 4 * kPiece}) {
    sparse.TakeThis(position);
    EXPECT_TRUE(sparse.GiveBack(position));
  }
  EXPECT_EQ(sparse.TakeStale(2), (std::vector<Position>{kPiece - 1, 4 * kPiece}))
      << "three pieces between have no bits";
}

TEST(PositionSweep, UnderChurnThePositionsInUseStayHalfAsManyAgain) {
  test::Random random(3);
  constexpr size_t kRows = 9000;
  PositionSweep sweep(size_t{kMaxPosition} + 1);
  std::vector<Position> rows(kRows);
  for (Position& row : rows) row = sweep.Take();
  for (int i = 0; i < 200000; ++i) {
    Position& row = rows[random.Below(kRows)];
    const Position before = row;
    row = sweep.Take();  // as a store does: the new place first
    ASSERT_TRUE(sweep.GiveBack(before));
  }
  EXPECT_LE(sweep.end(), kRows * 3 / 2 + 2);
  EXPECT_LE(sweep.stale(), kRows / 2 + 2);
}

// Against sets: no position is given twice, stale ones are those that were given back and not taken or cleaned up since.
TEST(PositionSweep, IsThatOfASetOfPositions) {
  SCOPED_TRACE(::testing::Message() << "EV_SEED=" << test::Seed());
  for (uint64_t run = 0; run < 8; ++run) {
    test::Random random(run);
    const size_t limit = run % 2 == 0 ? 300 : 5000;
    PositionSweep sweep(limit);
    std::set<Position> taken, stale;
    bool growing = true;
    for (int step = 0; step < 20000; ++step) {
      if (random.OneIn(2000)) growing = !growing;
      if (random.OneIn(100)) {
        const size_t n = random.Below(20);
        const std::vector<Position> cleaned = sweep.TakeStale(n);
        ASSERT_EQ(cleaned.size(), std::min(n, stale.size()));
        for (const Position position : cleaned) ASSERT_EQ(stale.erase(position), 1u);
        if (random.OneIn(3)) {
          sweep.MarkStale(cleaned);
          stale.insert(cleaned.begin(), cleaned.end());
        }
      } else if (random.Below(10) < (growing ? 6 : 4) ? taken.size() < limit : taken.empty()) {
        const Position position = sweep.Take();
        ASSERT_LT(position, limit);
        ASSERT_TRUE(taken.insert(position).second) << "given twice";
        stale.erase(position);
      } else {
        auto it = taken.lower_bound(static_cast<Position>(random.Below(limit)));
        if (it == taken.end()) it = taken.begin();
        if (it == taken.end()) continue;
        ASSERT_TRUE(sweep.GiveBack(*it));
        stale.insert(*it);
        taken.erase(it);
      }
      ASSERT_EQ(sweep.taken(), taken.size());
      ASSERT_EQ(sweep.stale(), stale.size());
      ASSERT_LE(sweep.end(), limit);
    }
    for (Position position = 0; position < limit + 100; ++position) {
      ASSERT_EQ(sweep.IsTaken(position), taken.count(position) == 1) << position;
    }
  }
}

}  // namespace
}  // namespace ev
