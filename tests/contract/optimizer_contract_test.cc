// What every optimizer promises: the arithmetic of its header, and the same bits on every instruction set.
//
// Runs under every EV_ISA, which shows the library's kernels; the kernels are compiled here once more, so that the sets
// can also be compared with one another in one process.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <iterator>
#include <limits>
#include <string>
#include <vector>

#include "ev_tf/base/cpu.h"
#include "ev_tf/optim/kernels.h"
#include "tests/support/random.h"
#include "tests/support/reference_rules.h"

#define EV_RESTRICT __restrict__

namespace ev {
namespace {

// The order of these includes is their meaning.
// clang-format off
namespace plain {
#include "ev_tf/optim/kernels.inc"
}  // namespace plain
#if EV_X86_KERNELS
namespace avx2 {
#include "ev_tf/base/begin_avx2.h"
#include "ev_tf/optim/kernels.inc"
#include "ev_tf/base/end_target.h"
}  // namespace avx2
namespace avx512 {
#include "ev_tf/base/begin_avx512.h"
#include "ev_tf/optim/kernels.inc"
#include "ev_tf/base/end_target.h"
}  // namespace avx512
#endif
// clang-format on

constexpr int64_t kDims[] = {1, 3, 4, 15, 16, 17, 33, 64, 100, 4096};

struct NamedKernels {
  std::string name;
  const RowKernels* kernels;
};

// The library's kernels, and those of every instruction set that this machine has.
std::vector<NamedKernels> AllKernels() {
  std::vector<NamedKernels> all = {{std::string("library, ") + IsaName(BestIsa()), &Kernels()},
                                   {"plain", &plain::kKernels}};
#if EV_X86_KERNELS
  if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("bmi2")) all.push_back({"avx2", &avx2::kKernels});
  if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512dq") &&
      __builtin_cpu_supports("avx512vl")) {
    all.push_back({"avx512", &avx512::kKernels});
  }
#endif
  return all;
}

// A row with its gradient.  Guards behind each part show a kernel that writes too far.
struct Row {
  static constexpr float kGuard = 12345.0f;

  Row(const SlotWidths& widths, int64_t dim) : grad(Guarded(dim)), value(Guarded(dim)) {
    for (int s = 0; s < widths.count; ++s) slots.push_back(Guarded(widths.dim(s, dim)));
  }
  static std::vector<float> Guarded(int64_t n) { return std::vector<float>(static_cast<size_t>(n) + 16, kGuard); }
  static size_t SizeOf(const std::vector<float>& part) { return part.size() - 16; }
  bool GuardsHold() const {
    const auto holds = [&](const std::vector<float>& part) {
      return std::all_of(part.end() - 16, part.end(), [](float f) { return f == kGuard; });
    };
    return holds(grad) && holds(value) && std::all_of(slots.begin(), slots.end(), holds);
  }
  void Update(UpdateRowFn update, const Hyper& hyper) {
    float* pointers[kMaxSlots] = {};
    for (size_t s = 0; s < slots.size(); ++s) pointers[s] = slots[s].data();
    update(hyper, static_cast<int64_t>(SizeOf(value)), grad.data(), value.data(), pointers);
  }

  std::vector<float> grad;
  std::vector<float> value;
  std::vector<std::vector<float>> slots;
};

// A row in the middle of its training.
Row RandomRow(const test::RuleCase& rule, int64_t dim, test::Random* random) {
  Row row(rule.rule.slots, dim);
  for (int64_t i = 0; i < dim; ++i) {
    row.grad[i] = random->OneIn(8) ? 0.0f : random->Float(-2, 2);
    row.value[i] = random->Float(-2, 2);
  }
  for (size_t s = 0; s < row.slots.size(); ++s) {
    const std::vector<float> drawn = random->Floats(Row::SizeOf(row.slots[s]), rule.slots[s].low, rule.slots[s].high);
    std::copy(drawn.begin(), drawn.end(), row.slots[s].begin());
  }
  return row;
}

test::Doubles ToDoubles(const std::vector<float>& part) { return {part.begin(), part.end() - 16}; }

// Equal bits; any NaN equals any other, as their payload is the machine's.
bool SameBits(const std::vector<float>& a, const std::vector<float>& b) {
  return std::equal(a.begin(), a.end(), b.begin(), b.end(), [](float x, float y) {
    return std::memcmp(&x, &y, sizeof(float)) == 0 || (std::isnan(x) && std::isnan(y));
  });
}

constexpr UpdateRowFn RowKernels::*kRowKernels[] = {&RowKernels::sgd,
                                                    &RowKernels::momentum,
                                                    &RowKernels::momentum_nesterov,
                                                    &RowKernels::adagrad,
                                                    &RowKernels::adagrad_decay,
                                                    &RowKernels::row_wise_adagrad,
                                                    &RowKernels::adam,
                                                    &RowKernels::adamw,
                                                    &RowKernels::ftrl,
                                                    &RowKernels::ftrl_power,
                                                    &RowKernels::ftrl_group,
                                                    &RowKernels::ftrl_group_power,
                                                    &RowKernels::rms_prop,
                                                    &RowKernels::rms_prop_momentum,
                                                    &RowKernels::rms_prop_centered,
                                                    &RowKernels::rms_prop_centered_momentum};
// `add` is the only kernel that updates no row.
static_assert(sizeof(RowKernels) == (std::size(kRowKernels) + 1) * sizeof(UpdateRowFn));

// The function of `kernels` that stands where the rule's function stands in the library's.
UpdateRowFn TwinOf(UpdateRowFn update, const RowKernels& kernels) {
  for (const auto kernel : kRowKernels) {
    if (update == Kernels().*kernel) return kernels.*kernel;
  }
  return nullptr;
}

TEST(Rules, EveryKernelIsOneOfThem) {
  const std::vector<test::RuleCase> rules = test::AllRules();
  for (const auto kernel : kRowKernels) {
    EXPECT_TRUE(std::any_of(rules.begin(), rules.end(),
                            [&](const test::RuleCase& rule) { return rule.rule.update == Kernels().*kernel; }));
  }
}

class OptimizerContract : public testing::TestWithParam<test::RuleCase> {};

TEST_P(OptimizerContract, TakesTheSlotsItSays) {
  EXPECT_EQ(GetParam().rule.slots.count, static_cast<int>(GetParam().slots.size()));
  EXPECT_LE(GetParam().rule.slots.count, kMaxSlots);
  EXPECT_NE(GetParam().rule.name, nullptr);
}

TEST_P(OptimizerContract, EqualsTheReferenceInDouble) {
  const test::RuleCase& rule = GetParam();
  test::Random random(1);
  for (const int64_t dim : kDims) {
    Row row = RandomRow(rule, dim, &random);
    const Row before = row;
    row.Update(rule.rule.update, rule.rule.hyper);
    ASSERT_TRUE(row.GuardsHold()) << "dim " << dim;
    ASSERT_TRUE(SameBits(row.grad, before.grad)) << "a kernel only reads the gradient";
    test::Doubles value = ToDoubles(before.value);
    std::vector<test::Doubles> slots;
    for (const std::vector<float>& slot : before.slots) slots.push_back(ToDoubles(slot));
    rule.step(ToDoubles(before.grad), &value, &slots);
    const auto expect_near = [&](const std::vector<float>& got, const test::Doubles& want, const std::string& what) {
      for (size_t i = 0; i < want.size(); ++i) {
        // A few roundings of float (6e-8) of terms up to about 20: FTRL subtracts two that are nearly equal.
        ASSERT_NEAR(got[i], want[i], 4e-6 * std::max(1.0, std::abs(want[i]))) << what << ", dim " << dim << ", " << i;
      }
    };
    expect_near(row.value, value, "value");
    for (size_t s = 0; s < slots.size(); ++s) expect_near(row.slots[s], slots[s], "slot " + std::to_string(s));
  }
}

TEST_P(OptimizerContract, EveryInstructionSetGivesTheSameBits) {
  const test::RuleCase& rule = GetParam();
  test::Random random(2);
  for (const int64_t dim : kDims) {
    const Row start = RandomRow(rule, dim, &random);
    std::vector<Row> rows;
    for (const NamedKernels& set : AllKernels()) {
      const UpdateRowFn update = TwinOf(rule.rule.update, *set.kernels);
      ASSERT_NE(update, nullptr);
      rows.push_back(start);
      for (int step = 0; step < 3; ++step) rows.back().Update(update, rule.rule.hyper);
      ASSERT_TRUE(rows.back().GuardsHold()) << set.name << ", dim " << dim;
      ASSERT_TRUE(SameBits(rows.back().value, rows[0].value)) << set.name << ", dim " << dim;
      for (size_t s = 0; s < start.slots.size(); ++s) {
        ASSERT_TRUE(SameBits(rows.back().slots[s], rows[0].slots[s])) << set.name << ", dim " << dim << ", slot " << s;
      }
    }
  }
}

// Zeros of both signs, denormals, the largest floats, infinity and NaN, in every part of the row.
TEST_P(OptimizerContract, EveryInstructionSetGivesTheSameBitsForHardNumbers) {
  using Limits = std::numeric_limits<float>;
  const float hard[] = {0.0f,          -0.0f,          Limits::denorm_min(), -Limits::denorm_min(), Limits::min(),
                        Limits::max(), -Limits::max(), Limits::infinity(),   -Limits::infinity(),   Limits::quiet_NaN(),
                        1.0f,          -1.0f,          Limits::epsilon()};
  const test::RuleCase& rule = GetParam();
  test::Random random(3);
  const auto draw = [&] { return hard[random.Below(std::size(hard))]; };
  Row start(rule.rule.slots, 4096);
  const auto fill = [&](std::vector<float>* part) { std::generate(part->begin(), part->end() - 16, draw); };
  fill(&start.grad);
  fill(&start.value);
  for (std::vector<float>& slot : start.slots) fill(&slot);
  std::vector<Row> rows;
  for (const NamedKernels& set : AllKernels()) {
    rows.push_back(start);
    rows.back().Update(TwinOf(rule.rule.update, *set.kernels), rule.rule.hyper);
    EXPECT_TRUE(SameBits(rows.back().value, rows[0].value)) << set.name;
    for (size_t s = 0; s < start.slots.size(); ++s) {
      EXPECT_TRUE(SameBits(rows.back().slots[s], rows[0].slots[s])) << set.name << ", slot " << s;
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Rules, OptimizerContract, testing::ValuesIn(test::AllRules()),
                         [](const auto& info) { return info.param.name; });

TEST(Add, SumsOnEveryInstructionSet) {
  test::Random random(4);
  for (const int64_t n : {int64_t{0}, int64_t{31}, int64_t{32}, kDims[0], kDims[3], kDims[5], kDims[9]}) {
    const auto size = static_cast<size_t>(n);
    const std::vector<float> a = random.Floats(size, -2, 2);
    const std::vector<float> b = random.Floats(size, -2, 2);
    for (const NamedKernels& set : AllKernels()) {
      std::vector<float> sum = a;
      sum.push_back(Row::kGuard);
      set.kernels->add(sum.data(), b.data(), n);
      for (size_t i = 0; i < size; ++i) ASSERT_EQ(sum[i], a[i] + b[i]) << set.name;
      ASSERT_EQ(sum[size], Row::kGuard) << set.name;
    }
  }
}

TEST(Ftrl, ARowWithoutAGradientStaysZero) {
  const test::RuleCase rule = test::FtrlCase("ftrl", 0.0f, 0.0f, 0.0f, -0.5f);
  for (const NamedKernels& set : AllKernels()) {
    Row row(kFtrlSlots, 33);
    for (auto* part : {&row.grad, &row.value, &row.slots[0], &row.slots[1]}) {
      std::fill(part->begin(), part->end() - 16, 0.0f);
    }
    row.Update(TwinOf(rule.rule.update, *set.kernels), rule.rule.hyper);
    for (size_t i = 0; i < 33; ++i) ASSERT_EQ(row.value[i], 0.0f) << set.name << ": 0 / 0 must not come out";
  }
}

// A row leaves zero as a whole, and returns to it as a whole.
TEST(Ftrl, GroupL1KeepsOrDropsWholeRows) {
  const UpdateRule rule = Ftrl(0.5f, 1.0f, 0.0f, 0.0f, -0.5f, /*group_l1=*/true);
  for (const float size : {0.45f, 0.55f}) {  // four elements: the norm is twice the size
    Row row(kFtrlSlots, 4);
    for (auto* part : {&row.value, &row.slots[1]}) std::fill(part->begin(), part->end() - 16, 0.0f);
    std::fill(row.slots[0].begin(), row.slots[0].end() - 16, 0.1f);
    for (size_t i = 0; i < 4; ++i) row.grad[i] = i % 2 == 0 ? size : -size;
    row.Update(rule.update, rule.hyper);
    for (size_t i = 0; i < 4; ++i) ASSERT_EQ(row.value[i] != 0.0f, size > 0.5f) << "each element alone is below l1";
  }
}

// Three periods have ended: the row shrinks in each of three updates, never below where it started, and then no more.
TEST(AdagradDecay, ARowMakesUpForOnePeriodAnUpdate) {
  const UpdateRule rule = AdagradDecay(0.1f, 0.5f, /*baseline=*/1.0f, /*periods=*/3);
  Row row(kAdagradDecaySlots, 1);
  row.grad[0] = row.value[0] = 0.0f;
  row.slots[0][0] = 6.0f;
  row.slots[1][0] = 0.0f;
  for (const float want : {3.0f, 1.5f, 1.0f, 1.0f}) {
    row.Update(rule.update, rule.hyper);
    ASSERT_EQ(row.slots[0][0], want);
  }
  EXPECT_EQ(row.slots[1][0], 3.0f);
}

}  // namespace
}  // namespace ev
