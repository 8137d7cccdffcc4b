#include "ev_tf/row/row_layout.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <vector>

namespace ev {
namespace {

using testing::HasSubstr;

RowLayout WithSlots(int64_t dim, const std::vector<SlotSpec>& slots) {
  RowLayout layout(dim);
  for (const SlotSpec& slot : slots) {
    const Status status = layout.WithSlot(slot, &layout);
    EXPECT_TRUE(status.ok()) << status.ToString();
  }
  return layout;
}

TEST(RowLayout, EveryPartIsPaddedToSixteenBytes) {
  for (const int64_t dim : {1, 3, 4, 5, 16, 17, 4096, static_cast<int>(kMaxDim)}) {
    const RowLayout layout(dim);
    EXPECT_EQ(layout.row_bytes() % kRowPartAlignment, 0u) << dim;
    EXPECT_GE(layout.row_bytes(), dim * sizeof(float)) << dim;
    EXPECT_LT(layout.row_bytes(), dim * sizeof(float) + kRowPartAlignment) << dim;
    EXPECT_EQ(layout.row_bytes(), layout.row_floats() * sizeof(float)) << dim;
  }
}

TEST(RowLayout, SlotsStandBehindOneAnother) {
  const RowLayout layout = WithSlots(5, {{"m", 5, 0.0f}, {"v", 1, 0.0f}, {"w", 4, 0.0f}});
  EXPECT_EQ(layout.slot_offset(0), 8u);
  EXPECT_EQ(layout.slot_offset(1), 16u);
  EXPECT_EQ(layout.slot_offset(2), 20u);
  EXPECT_EQ(layout.row_floats(), 24u);
  EXPECT_EQ(layout.slot_floats(), 10);
}

TEST(RowLayout, AValueOfTwoByteElementsTakesHalfAndSlotsStayFloats) {
  for (const ValueType type : {ValueType::kFloat16, ValueType::kBFloat16}) {
    RowLayout layout(9, type);
    EXPECT_EQ(layout.value_bytes(), 18u);
    ASSERT_TRUE(layout.WithSlot({"m", 9, 0.5f}, &layout).ok());
    EXPECT_EQ(layout.slot_offset(0), 8u);
    EXPECT_EQ(layout.row_bytes(), 32u + 48u);
    EXPECT_EQ(layout.slot_floats(), 9);
  }
}

TEST(RowLayout, FindSlotKnowsEverySlotByName) {
  const RowLayout layout = WithSlots(4, {{"Adam/m", 4, 0.0f}, {"Adam/v", 4, 0.0f}});
  EXPECT_EQ(layout.FindSlot("Adam/m"), 0);
  EXPECT_EQ(layout.FindSlot("Adam/v"), 1);
  EXPECT_EQ(layout.FindSlot("Adam"), -1);
  EXPECT_EQ(RowLayout(4).FindSlot(""), -1);
}

TEST(RowLayout, WithSlotLeavesTheOriginalAsItWas) {
  const RowLayout before(4);
  RowLayout after;
  ASSERT_TRUE(before.WithSlot({"a", 4, 0.1f}, &after).ok());
  EXPECT_TRUE(before.slots().empty());
  EXPECT_EQ(before.row_floats(), 4u);
  ASSERT_EQ(after.slots().size(), 1u);
  EXPECT_EQ(after.row_floats(), 8u);
}

TEST(RowLayout, ASlotOfAnotherDimUnderTheSameNameIsRefused) {
  const RowLayout layout = WithSlots(4, {{"a", 4, 0.0f}});
  RowLayout out(2);
  const Status status = layout.WithSlot({"a", 1, 0.0f}, &out);
  EXPECT_EQ(status.code(), StatusCode::kInvalidArgument);
  EXPECT_THAT(status.message(), HasSubstr("'a'"));
  EXPECT_EQ(out.dim(), 2) << "a refused slot must leave *out alone";
}

TEST(RowLayout, ASlotWiderThanTheValueOrWithoutWidthIsRefused) {
  const RowLayout layout(4);
  RowLayout out;
  for (const int64_t dim : {int64_t{-1}, int64_t{0}, int64_t{5}}) {
    const Status status = layout.WithSlot({"a", dim, 0.0f}, &out);
    EXPECT_EQ(status.code(), StatusCode::kInvalidArgument) << dim;
    EXPECT_THAT(status.message(), HasSubstr(std::to_string(dim)));
  }
}

TEST(RowLayout, InitRowWritesTheValueAndEverySlot) {
  const RowLayout layout = WithSlots(3, {{"a", 3, 0.5f}, {"b", 1, -1.0f}});
  const std::vector<float> value{1.0f, 2.0f, 3.0f};
  std::vector<float> row(layout.row_floats(), 0.0f);
  layout.InitRow(value.data(), row.data());
  EXPECT_THAT(row, testing::ElementsAre(1.0f, 2.0f, 3.0f, 0.0f,     // value
                                        0.5f, 0.5f, 0.5f, 0.0f,     // a
                                        -1.0f, 0.0f, 0.0f, 0.0f));  // b
}

}  // namespace
}  // namespace ev
