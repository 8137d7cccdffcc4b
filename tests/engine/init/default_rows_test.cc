#include "ev_tf/init/default_rows.h"

#include <gtest/gtest.h>

#include "tests/support/keys.h"

namespace ev {
namespace {

TEST(DefaultRows, ARowIsChosenByFloorMod) {
  const std::vector<float> matrix = {0, 1, 10, 11, 20, 21};
  const DefaultRows rows(matrix, 2);
  EXPECT_EQ(rows.row(0)[1], 1);
  EXPECT_EQ(rows.row(4)[0], 10);
  EXPECT_EQ(rows.row(-1)[0], 20);
  EXPECT_EQ(rows.row(-3)[0], 0);
  for (const Key key : test::kEdgeKeys) EXPECT_EQ(rows.row(key), rows.all().data() + FloorMod(key, 3) * 2);
}

TEST(DefaultRows, OneRowServesEveryKey) {
  const std::vector<float> matrix = {7};
  const DefaultRows rows(matrix, 1);
  for (const Key key : test::kEdgeKeys) EXPECT_EQ(*rows.row(key), 7);
}

TEST(DefaultRows, AreCopied) {
  std::vector<float> matrix = {7};
  const DefaultRows rows(matrix, 1);
  matrix[0] = 8;
  EXPECT_EQ(*rows.row(0), 7);
}

}  // namespace
}  // namespace ev
