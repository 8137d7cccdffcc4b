#include "ev_tf/index/line.h"

#include <gtest/gtest.h>

#include "ev_tf/index/location.h"
#include "tests/support/keys.h"

namespace ev {
namespace {

TEST(Line, MatchFindsEveryPlace) {
  Line line;
  line.Clear(/*filler=*/1000);
  EXPECT_EQ(line.Match(7), -1);
  for (int i = 0; i < kLineKeys; ++i) {
    line.Append(test::kEdgeKeys[i], static_cast<Location>(i));
    EXPECT_EQ(line.count, i + 1);
  }
  for (int i = 0; i < kLineKeys; ++i) {
    EXPECT_EQ(line.Match(test::kEdgeKeys[i]), i);
    EXPECT_EQ(line.location(i), static_cast<Location>(i));
  }
  EXPECT_EQ(line.Match(1000), -1) << "a full line holds no filler";
}

TEST(Line, ClearForgetsEverything) {
  Line line;
  line.Clear(1000);
  line.Append(5, 6);
  line.set_overflow();
  line.Clear(2000);
  EXPECT_EQ(line.count, 0);
  EXPECT_FALSE(line.overflowed());
  EXPECT_EQ(line.Match(5), -1);
  for (int i = 0; i < kLineKeys; ++i) EXPECT_EQ(line.location(i), kNoLocation);
}

TEST(Location, PacksTierAndPosition) {
  for (int tier = 0; tier < 4; ++tier) {
    for (const Position position : {Position{0}, Position{1}, Position{12345}, kMaxPosition}) {
      const Location location = MakeLocation(tier, position);
      EXPECT_EQ(TierOf(location), tier);
      EXPECT_EQ(PositionOf(location), position);
      EXPECT_NE(location, kNoLocation) << "tier " << tier << ", position " << position;
    }
  }
}

}  // namespace
}  // namespace ev
