#include "ev_tf/tier/tier_factory.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <memory>
#include <string>

#include "tests/support/temp_dir.h"

namespace ev {
namespace {

using ::testing::HasSubstr;

constexpr TierKind kKinds[] = {TierKind::kDram, TierKind::kSsdLog, TierKind::kLevelDb, TierKind::kPmemLibpmem,
                               TierKind::kPmemMemkind};

TEST(TierFactory, EachKindOpensOrSaysWhyNot) {
  for (const TierKind kind : kKinds) {
    SCOPED_TRACE(TierKindName(kind));
    const test::TempDir dir;
    TierOptions options;
    options.kind = kind;
    options.row_bytes = 64;
    options.path = dir / "";
    if (kind == TierKind::kLevelDb || kind == TierKind::kSsdLog) options.path = dir / "table";
    std::unique_ptr<Tier> tier;
    const Status status = OpenTier(options, &tier);
    if (status.ok()) {
      EXPECT_STREQ(tier->name(), TierKindName(kind));
      EXPECT_EQ(tier->row_bytes(), 64u);
    } else {
      EXPECT_EQ(status.code(), StatusCode::kUnavailable) << status.ToString();
      EXPECT_THAT(status.message(), HasSubstr(TierKindName(kind)));
      EXPECT_EQ(tier, nullptr);
    }
  }
}

TEST(TierFactory, LevelDbIsThereExactlyWhenTheBuildSaysSo) {
  const test::TempDir dir;
  TierOptions options;
  options.kind = TierKind::kLevelDb;
  options.row_bytes = 64;
  options.path = dir / "table";
  std::unique_ptr<Tier> tier;
  const Status status = OpenTier(options, &tier);
#if EV_TEST_HAVE_LEVELDB
  EXPECT_TRUE(status.ok()) << status.ToString();
#else
  EXPECT_EQ(status.code(), StatusCode::kUnavailable);
  EXPECT_THAT(status.message(), HasSubstr("libleveldb-dev"));
#endif
}

TEST(TierFactory, ARowOfNoBytesIsNoRow) {
  for (const TierKind kind : kKinds) {
    TierOptions options;
    options.kind = kind;
    std::unique_ptr<Tier> tier;
    const Status status = OpenTier(options, &tier);
    EXPECT_EQ(status.code(), StatusCode::kInvalidArgument);
    EXPECT_THAT(status.message(), HasSubstr(TierKindName(kind)));
  }
}

TEST(TierFactory, DramRowsAreAligned) {
  TierOptions options;
  options.row_bytes = 100;
  std::unique_ptr<Tier> tier;
  const Status status = OpenTier(options, &tier);
  EXPECT_EQ(status.code(), StatusCode::kInvalidArgument);
  EXPECT_THAT(status.message(), HasSubstr("expected a multiple of 16, found 100"));
}

TEST(TierFactory, AKindThatDoesNotExist) {
  TierOptions options;
  options.kind = static_cast<TierKind>(77);
  options.row_bytes = 64;
  std::unique_ptr<Tier> tier;
  const Status status = OpenTier(options, &tier);
  EXPECT_EQ(status.code(), StatusCode::kInvalidArgument);
  EXPECT_THAT(status.message(), HasSubstr("77"));
}

}  // namespace
}  // namespace ev
