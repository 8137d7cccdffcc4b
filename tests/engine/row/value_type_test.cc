// The codecs against arithmetic in double, on every instruction set (EV_ISA), so that all of them give the same bits.
#include "ev_tf/row/value_type.h"

#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <limits>
#include <vector>

#include "tests/support/random.h"

namespace ev {
namespace {

// A type of two bytes: a sign, so many bits of exponent, and the rest digits.
struct Layout {
  ValueType type;
  int exponent_bits;
  int digits;  // after the point

  int bias() const { return (1 << (exponent_bits - 1)) - 1; }
  uint16_t infinity() const { return static_cast<uint16_t>(((1 << exponent_bits) - 1) << digits); }

  double ValueOf(uint16_t bits) const {
    const int exponent = (bits & 0x7fff) >> digits, rest = bits & ((1 << digits) - 1);
    const double sign = (bits & 0x8000) != 0 ? -1 : 1;
    if ((bits & 0x7fff) == infinity()) return sign * std::numeric_limits<double>::infinity();
    if ((bits & 0x7fff) > infinity()) return std::numeric_limits<double>::quiet_NaN();
    if (exponent == 0) return sign * std::ldexp(rest, 1 - bias() - digits);
    return sign * std::ldexp((1 << digits) + rest, exponent - bias() - digits);
  }
  // The nearest, of two the even one: what lies between two neighbours is judged by the one in the middle.
  uint16_t Nearest(float value) const {
    const uint16_t sign = std::signbit(value) ? 0x8000 : 0;
    const double magnitude = std::fabs(static_cast<double>(value));
    uint32_t low = 0, high = infinity();
    while (high - low > 1) {
      const uint32_t middle = (low + high) / 2;
      (ValueOf(static_cast<uint16_t>(middle)) <= magnitude ? low : high) = middle;
    }
    if (magnitude == std::numeric_limits<double>::infinity()) return static_cast<uint16_t>(sign | high);
    const double below = ValueOf(static_cast<uint16_t>(low));
    // The neighbour of the largest number, were there one.
    const double above =
        high == infinity() ? below + std::ldexp(1, bias() - digits) : ValueOf(static_cast<uint16_t>(high));
    const double tie = (below + above) / 2;
    const bool up = magnitude > tie || (magnitude == tie && (low & 1) != 0);
    return static_cast<uint16_t>(sign | (up ? high : low));
  }
};

constexpr Layout kLayouts[] = {{ValueType::kFloat16, 5, 10}, {ValueType::kBFloat16, 8, 7}};

float FloatOf(uint32_t bits) {
  float value;
  std::memcpy(&value, &bits, sizeof(value));
  return value;
}

uint32_t BitsOf(float value) {
  uint32_t bits;
  std::memcpy(&bits, &value, sizeof(bits));
  return bits;
}

class ValueTypeTest : public testing::TestWithParam<Layout> {
 protected:
  std::vector<uint16_t> Narrow(const std::vector<float>& values) const {
    std::vector<uint16_t> narrow(values.size());
    CodecOf(GetParam().type).narrow(values.data(), narrow.data(), static_cast<int64_t>(values.size()));
    return narrow;
  }
  std::vector<float> Widen(const std::vector<uint16_t>& narrow) const {
    std::vector<float> values(narrow.size());
    CodecOf(GetParam().type).widen(narrow.data(), values.data(), static_cast<int64_t>(values.size()));
    return values;
  }
};

TEST_P(ValueTypeTest, EveryElementIsWidenedExactlyAndComesBack) {
  std::vector<uint16_t> all(1 << 16);
  for (size_t i = 0; i < all.size(); ++i) all[i] = static_cast<uint16_t>(i);
  const std::vector<float> wide = Widen(all);
  const std::vector<uint16_t> back = Narrow(wide);
  for (size_t i = 0; i < all.size(); ++i) {
    const double expected = GetParam().ValueOf(all[i]);
    if (std::isnan(expected)) {
      EXPECT_TRUE(std::isnan(wide[i])) << i;
      EXPECT_GT(back[i] & 0x7fff, GetParam().infinity()) << i;
      EXPECT_EQ(back[i] & 0x8000, all[i] & 0x8000) << i;
      continue;
    }
    EXPECT_EQ(wide[i], expected) << i;
    EXPECT_EQ(std::signbit(wide[i]), (i & 0x8000) != 0) << i;
    EXPECT_EQ(back[i], all[i]) << i;
  }
}

TEST_P(ValueTypeTest, FloatsGoToTheNearestElement) {
  test::Random random(1);
  std::vector<float> values = {0.0f,
                               -0.0f,
                               1e-45f,
                               -1e-45f,
                               1e-38f,
                               65504.0f,
                               65519.9f,
                               65520.0f,
                               3.3e38f,
                               std::numeric_limits<float>::max(),
                               std::numeric_limits<float>::infinity(),
                               -std::numeric_limits<float>::infinity()};
  for (int i = 0; i < 20000; ++i) values.push_back(FloatOf(static_cast<uint32_t>(random.Below(uint64_t{1} << 32))));
  for (const float value : random.Floats(5000, -3, 3)) values.push_back(value);
  // The ties, and their neighbours.
  for (int i = 0; i < 20000; ++i) {
    const auto low = static_cast<uint16_t>(random.Below(GetParam().infinity() - 1u));
    const auto tie =
        static_cast<float>((GetParam().ValueOf(low) + GetParam().ValueOf(static_cast<uint16_t>(low + 1))) / 2);
    for (const uint32_t bits : {BitsOf(tie) - 1, BitsOf(tie), BitsOf(tie) + 1}) values.push_back(FloatOf(bits));
  }
  const std::vector<uint16_t> narrow = Narrow(values);
  for (size_t i = 0; i < values.size(); ++i) {
    if (std::isnan(values[i])) {
      EXPECT_GT(narrow[i] & 0x7fff, GetParam().infinity()) << values[i];
      EXPECT_EQ(narrow[i] & 0x8000, std::signbit(values[i]) ? 0x8000 : 0) << values[i];
    } else {
      EXPECT_EQ(narrow[i], GetParam().Nearest(values[i])) << std::hexfloat << values[i];
    }
  }
}

TEST_P(ValueTypeTest, OfAnyLengthAndNothingBehindIt) {
  test::Random random(2);
  for (size_t n = 0; n < 70; ++n) {
    const std::vector<float> values = random.Floats(n + 8, -3, 3);
    std::vector<uint16_t> narrow(n + 8, 0xabcd);
    std::vector<float> wide(n + 8, -9);
    CodecOf(GetParam().type).narrow(values.data(), narrow.data(), static_cast<int64_t>(n));
    CodecOf(GetParam().type).widen(narrow.data(), wide.data(), static_cast<int64_t>(n));
    for (size_t i = 0; i < n; ++i) EXPECT_EQ(wide[i], GetParam().ValueOf(GetParam().Nearest(values[i]))) << n;
    for (size_t i = n; i < n + 8; ++i) EXPECT_TRUE(narrow[i] == 0xabcd && wide[i] == -9) << n;
  }
}

INSTANTIATE_TEST_SUITE_P(Types, ValueTypeTest, testing::ValuesIn(kLayouts),
                         [](const auto& info) { return ValueTypeName(info.param.type); });

}  // namespace
}  // namespace ev
