#include "ev_tf/base/span.h"

#include <gtest/gtest.h>

#include <type_traits>
#include <vector>

namespace ev {
namespace {

TEST(Span, DefaultIsEmpty) {
  const Span<int> span;
  EXPECT_TRUE(span.empty());
  EXPECT_EQ(span.size(), 0u);
  EXPECT_EQ(span.data(), nullptr);
}

TEST(Span, BorrowsAVector) {
  std::vector<int> v{1, 2, 3};
  const Span<int> span = v;
  span[1] = 20;
  EXPECT_EQ(v, (std::vector<int>{1, 20, 3}));
  int sum = 0;
  for (const int x : span) sum += x;
  EXPECT_EQ(sum, 24);
}

TEST(Span, ConstnessIsOneWay) {
  std::vector<int> v{1};
  const Span<int> writable = v;
  const Span<const int> readable = writable;
  EXPECT_EQ(readable.data(), v.data());
  static_assert(std::is_convertible_v<Span<int>, Span<const int>>);
  static_assert(!std::is_convertible_v<Span<const int>, Span<int>>);
  static_assert(!std::is_convertible_v<const std::vector<int>&, Span<int>>);
}

TEST(Span, SubspanMayBeEmptyAtTheEnd) {
  std::vector<int> v{1, 2, 3};
  const Span<const int> span = v;
  EXPECT_EQ(span.subspan(1, 2)[0], 2);
  EXPECT_TRUE(span.subspan(3, 0).empty());
}

#ifndef NDEBUG
TEST(SpanDeathTest, AnIndexPastTheEndIsOurOwnMistake) {
  std::vector<int> v{1};
  const Span<int> span = v;
  EXPECT_DEATH((void)span[1], "i < size_");
}
#endif

}  // namespace
}  // namespace ev
