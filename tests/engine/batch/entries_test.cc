#include "ev_tf/batch/entries.h"

#include <gtest/gtest.h>

#include <limits>
#include <vector>

#include "tests/support/random.h"
#include "tests/support/status_matchers.h"

namespace ev {
namespace {

using Kind = SparseIds::Kind;

std::vector<uint32_t> StartsOf(const Entries& entries) {
  return std::vector<uint32_t>(entries.starts(), entries.starts() + entries.size() + 1);
}

TEST(Entries, RowsWithTheirEmptyOnes) {
  const std::vector<int64_t> indices = {1, 0, 1, 2, 3, 0};
  Entries entries;
  EV_EXPECT_OK(entries.Build({indices, 2, 5, 3, Kind::kRow}));
  EXPECT_EQ(StartsOf(entries), (std::vector<uint32_t>{0, 0, 2, 2, 3, 3}));
  EV_EXPECT_OK(entries.Build({indices, 2, 5, 3, Kind::kTrimmedRow}));
  EXPECT_EQ(StartsOf(entries), (std::vector<uint32_t>{0, 0, 2, 2, 3}));
  EV_EXPECT_OK(entries.Build({indices, 2, 5, 3, Kind::kCell}));
  EXPECT_EQ(StartsOf(entries), (std::vector<uint32_t>{0, 0, 0, 0, 1, 1, 2, 2, 2, 2, 3, 3, 3, 3, 3, 3}));
  EXPECT_FALSE(entries.one_each());
}

TEST(Entries, OneIdInEachRow) {
  const std::vector<int64_t> indices = {0, 1, 2};
  Entries entries;
  for (const Kind kind : {Kind::kRow, Kind::kTrimmedRow}) {
    EV_EXPECT_OK(entries.Build({indices, 1, 3, 1, kind}));
    EXPECT_TRUE(entries.one_each());
    EXPECT_EQ(StartsOf(entries), (std::vector<uint32_t>{0, 1, 2, 3}));
  }
  EV_EXPECT_OK(entries.Build({indices, 1, 4, 1, Kind::kRow}));
  EXPECT_FALSE(entries.one_each());
  const std::vector<int64_t> cells = {0, 0, 0, 1, 1, 0, 1, 1};
  EV_EXPECT_OK(entries.Build({cells, 2, 2, 2, Kind::kCell}));
  EXPECT_TRUE(entries.one_each());
}

TEST(Entries, NothingAtAll) {
  const std::vector<int64_t> none;
  Entries entries;
  EV_EXPECT_OK(entries.Build({none, 2, 3, 2, Kind::kTrimmedRow}));
  EXPECT_EQ(entries.size(), 0u);
  EV_EXPECT_OK(entries.Build({none, 2, 3, 2, Kind::kRow}));
  EXPECT_EQ(StartsOf(entries), (std::vector<uint32_t>{0, 0, 0, 0}));
  EV_EXPECT_OK(entries.Build({none, 2, 0, 0, Kind::kCell}));
  EXPECT_EQ(entries.size(), 0u);
}

TEST(Entries, RefusesWhatIsOutOfRangeOrOrder) {
  constexpr int64_t kMin = std::numeric_limits<int64_t>::min(), kMax = std::numeric_limits<int64_t>::max();
  Entries entries;
  const auto code = [&](std::vector<int64_t> indices, int64_t rows, int64_t width, Kind kind) {
    return entries.Build({indices, 2, rows, width, kind}).code();
  };
  for (const Kind kind : {Kind::kRow, Kind::kTrimmedRow, Kind::kCell}) {
    EXPECT_EQ(code({1, 0, 0, 0}, 2, 2, kind), StatusCode::kInvalidArgument);
    EXPECT_EQ(code({0, 0, 2, 0}, 2, 2, kind), StatusCode::kInvalidArgument);
    EXPECT_EQ(code({-1, 0, 1, 0}, 2, 2, kind), StatusCode::kInvalidArgument);
    EXPECT_EQ(code({kMin, 0, 1, 0}, 2, 2, kind), StatusCode::kInvalidArgument);
    EXPECT_EQ(code({kMax, 0}, 2, 2, kind), StatusCode::kInvalidArgument);
    EXPECT_EQ(code({0, 0}, -1, 2, kind), StatusCode::kInvalidArgument);
    EXPECT_EQ(code({0, 0}, kMax, 2, kind), StatusCode::kInvalidArgument);
    // Ids in the middle that are behind the last one.
    EXPECT_EQ(code({0, 0, 3, 0, 1, 0}, 4, 2, kind), StatusCode::kInvalidArgument);
  }
  EXPECT_EQ(code({0, 1, 0, 0}, 2, 2, Kind::kCell), StatusCode::kInvalidArgument);
  EXPECT_EQ(code({0, 2}, 2, 2, Kind::kCell), StatusCode::kInvalidArgument);
  EXPECT_EQ(code({0, -1}, 2, 2, Kind::kCell), StatusCode::kInvalidArgument);
  EXPECT_EQ(code({0, 0}, kMax / 2, kMax / 2, Kind::kCell), StatusCode::kInvalidArgument);
  EXPECT_EQ(code({0, 0}, 2, kMin, Kind::kCell), StatusCode::kInvalidArgument);
  EXPECT_EQ(code({0, 1, 0, 0}, 2, 2, Kind::kRow), StatusCode::kOk);  // columns do not count there
}

TEST(Entries, EveryIdIsInItsEntry) {
  test::Random random(1);
  Entries entries;  // used again, as its memory stays
  for (int round = 0; round < 200; ++round) {
    const int64_t rows = 1 + static_cast<int64_t>(random.Below(20)), width = 1 + static_cast<int64_t>(random.Below(4));
    std::vector<int64_t> indices;
    for (int64_t cell = 0; cell < rows * width; ++cell) {
      for (uint64_t times = random.Below(3); times > 0; --times) {
        indices.push_back(cell / width);
        indices.push_back(cell % width);
      }
    }
    for (const Kind kind : {Kind::kRow, Kind::kTrimmedRow, Kind::kCell}) {
      EV_EXPECT_OK(entries.Build({indices, 2, rows, width, kind}));
      size_t ids = 0;
      for (size_t e = 0; e < entries.size(); ++e) {
        for (uint32_t i = entries.starts()[e]; i < entries.starts()[e + 1]; ++i, ++ids) {
          const int64_t cell = indices[2 * i] * width + indices[2 * i + 1];
          EXPECT_EQ(static_cast<int64_t>(e), kind == Kind::kCell ? cell : indices[2 * i]);
        }
      }
      EXPECT_EQ(ids, indices.size() / 2);
    }
  }
}

}  // namespace
}  // namespace ev
