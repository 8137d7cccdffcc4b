// Tables whose values take two bytes, against a dictionary of floats that are rounded after each update; in every tier.
#include <gtest/gtest.h>

#include <algorithm>
#include <map>
#include <memory>
#include <vector>

#include "ev_tf/variable/checkpoint.h"
#include "ev_tf/variable/embedding_variable.h"
#include "ev_tf/variable/storage_type.h"
#include "tests/support/random.h"
#include "tests/support/temp_dir.h"
#include "tests/support/variable_support.h"

namespace ev {
namespace {

constexpr Key kRange = 400;
constexpr int64_t kDefaults = 7;

float Rounded(ValueType type, float value) {
  uint32_t narrow = 0;
  CodecOf(type).narrow(&value, &narrow, 1);
  CodecOf(type).widen(&narrow, &value, 1);
  return value;
}

std::vector<float> Rounded(ValueType type, std::vector<float> values) {
  for (float& value : values) value = Rounded(type, value);
  return values;
}

std::vector<Key> AllKeys() {
  std::vector<Key> keys(kRange);
  for (size_t i = 0; i < keys.size(); ++i) keys[i] = static_cast<Key>(i) - kRange / 2;
  return keys;
}

// Rows as they should be.
class Oracle {
 public:
  Oracle(ValueType type, int64_t dim, const test::RuleCase& rule)
      : type_(type), dim_(static_cast<size_t>(dim)), rule_(rule) {}

  const std::vector<float>& Value(Key key) { return At(key).value; }
  const std::vector<std::vector<float>>& Slots(Key key) { return At(key).slots; }

  void Apply(const std::vector<Key>& keys, const std::vector<float>& grads) {
    std::map<Key, std::vector<float>> sums;
    for (size_t i = 0; i < keys.size(); ++i) {
      const float* grad = grads.data() + i * dim_;
      auto [at, is_new] = sums.try_emplace(keys[i], grad, grad + dim_);
      for (size_t j = 0; j < dim_ && !is_new; ++j) at->second[j] += grad[j];
    }
    for (const auto& [key, grad] : sums) {
      Row& row = At(key);
      float* slots[kMaxSlots] = {};
      for (size_t s = 0; s < row.slots.size(); ++s) slots[s] = row.slots[s].data();
      rule_.rule.update(rule_.rule.hyper, static_cast<int64_t>(dim_), grad.data(), row.value.data(), slots);
      row.value = Rounded(type_, row.value);
    }
  }

 private:
  struct Row {
    std::vector<float> value;
    std::vector<std::vector<float>> slots;
  };
  Row& At(Key key) {
    const auto [at, is_new] = rows_.try_emplace(key);
    if (is_new) {
      const std::vector<float> defaults = test::DefaultMatrix(kDefaults, static_cast<int64_t>(dim_));
      const auto first = defaults.begin() + FloorMod(key, kDefaults) * static_cast<int64_t>(dim_);
      at->second.value = Rounded(type_, std::vector<float>(first, first + static_cast<int64_t>(dim_)));
      for (const SlotSpec& slot : rule_.Slots(static_cast<int64_t>(dim_))) {
        at->second.slots.emplace_back(static_cast<size_t>(slot.dim), slot.initial);
      }
    }
    return at->second;
  }

  const ValueType type_;
  const size_t dim_;
  const test::RuleCase rule_;
  std::map<Key, Row> rows_;
};

class ValueTypesTest : public testing::TestWithParam<std::tuple<ValueType, StorageType>> {
 protected:
  ValueType type() const { return std::get<0>(GetParam()); }
  VariableOptions TheOptions(int64_t dim) const {
    VariableOptions options = test::Options(dim, true);
    options.value_type = type();
    EV_EXPECT_OK(MakeStorage(std::get<1>(GetParam()), dir_.path(), 4 << 10, CacheStrategy::kLru, &options.storage));
    return options;
  }
  void ExpectEqual(const EmbeddingVariable& ev, Oracle* oracle) const {
    const std::vector<Key> keys = AllKeys();
    const std::vector<float> rows = test::Lookup(ev, keys);
    const test::StoredRows stored = test::ReadRows(ev, keys);
    const auto dim = static_cast<size_t>(ev.dim());
    for (size_t i = 0; i < keys.size(); ++i) {
      const std::vector<float>& value = oracle->Value(keys[i]);
      ASSERT_TRUE(std::equal(value.begin(), value.end(), rows.begin() + static_cast<std::ptrdiff_t>(i * dim)))
          << "key " << keys[i] << ", dim " << dim;
      if (!stored.found[i]) continue;
      ASSERT_TRUE(std::equal(value.begin(), value.end(), stored.values.begin() + static_cast<std::ptrdiff_t>(i * dim)));
      size_t at = i * (stored.slots.size() / keys.size());
      for (const std::vector<float>& slot : oracle->Slots(keys[i])) {
        for (const float element : slot) ASSERT_EQ(stored.slots[at++], element) << "key " << keys[i];
      }
    }
  }

  const test::TempDir dir_;
};

TEST_P(ValueTypesTest, TrainsAsFloatsThatAreRoundedAfterEachUpdate) {
  for (const test::RuleCase& rule : {test::SgdCase(), test::AdagradCase(0.0f), test::AdamCase()}) {
    for (const int64_t dim : {1, 3, 16, 33}) {
      test::Random random(1);
      const auto ev = test::NewVariable(TheOptions(dim), test::DefaultMatrix(kDefaults, dim));
      Oracle oracle(type(), dim, rule);
      const std::unique_ptr<Executor> executor = NewThreadPoolExecutor(2);
      for (int step = 0; step < 12; ++step) {
        std::vector<Key> keys(random.Below(200));
        for (Key& key : keys) key = static_cast<Key>(random.Below(kRange)) - kRange / 2;
        const std::vector<float> grads = random.Floats(keys.size() * static_cast<size_t>(dim), -1, 1);
        EV_ASSERT_OK(ev->Apply(rule.rule, rule.Slots(dim), keys, grads, step, *executor));
        oracle.Apply(keys, grads);
        if (step % 4 == 3) EV_ASSERT_OK(ev->FlushEvictions());
      }
      ExpectEqual(*ev, &oracle);
    }
  }
}

TEST_P(ValueTypesTest, RowsTakeHalfTheBytesAndSlotsStayFloats) {
  const auto ev = test::NewVariable(TheOptions(16), test::DefaultMatrix(kDefaults, 16));
  EXPECT_EQ(ev->metrics().row_bytes, 32);
  test::Apply(ev.get(), test::AdagradCase(0.0f), {1}, std::vector<float>(16, 1));
  EXPECT_EQ(ev->metrics().row_bytes, 32 + 64);
}

TEST_P(ValueTypesTest, SlotsThatComeLateLeaveTheValuesAsTheyAre) {
  const auto ev = test::NewVariable(TheOptions(5), test::DefaultMatrix(kDefaults, 5));
  test::Random random(2);
  const std::vector<Key> keys = AllKeys();
  test::Descend(ev.get(), keys, random.Floats(keys.size() * 5, -1, 1));
  const std::vector<float> before = test::Lookup(*ev, keys);
  test::Apply(ev.get(), test::AdamCase(), {}, {});
  EXPECT_EQ(test::Lookup(*ev, keys), before);
  EXPECT_EQ(ev->slots().size(), 2u);
}

TEST_P(ValueTypesTest, RowsThatComeInAreRounded) {
  const auto ev = test::NewVariable(TheOptions(3), test::DefaultMatrix(kDefaults, 3));
  test::Random random(3);
  const std::vector<Key> keys = AllKeys();
  const std::vector<float> values = random.Floats(keys.size() * 3, -2, 2);
  EV_ASSERT_OK(ev->WriteRows(keys, {}, {values, {}, {}, {}}));
  EXPECT_EQ(test::ReadRows(*ev, keys).values, Rounded(type(), values));
  EXPECT_EQ(test::Lookup(*ev, keys), Rounded(type(), values));
}

TEST_P(ValueTypesTest, SavedAndLoadedIntoAnyType) {
  const auto ev = test::NewVariable(TheOptions(5), test::DefaultMatrix(kDefaults, 5));
  test::Random random(4);
  const std::vector<Key> keys = AllKeys();
  test::Apply(ev.get(), test::AdamCase(), keys, random.Floats(keys.size() * 5, -1, 1), 3);
  const std::string path = dir_.path() + "/file";
  SerialExecutor serial;
  EV_ASSERT_OK(SaveTable(*ev, path, serial));
  TableInfo info;
  EV_ASSERT_OK(InspectTable(path, &info));
  EXPECT_EQ(info.value_type, type());
  const test::StoredRows saved = test::ReadRows(*ev, keys);
  for (const ValueType other : {ValueType::kFloat32, ValueType::kFloat16, ValueType::kBFloat16}) {
    VariableOptions options = test::Options(5, true);
    options.value_type = other;
    std::unique_ptr<EmbeddingVariable> loaded;
    EV_ASSERT_OK(LoadTable(options, std::vector<std::string>{path}, {}, serial, &loaded));
    const test::StoredRows rows = test::ReadRows(*loaded, keys);
    EXPECT_EQ(rows.values, Rounded(other, saved.values));
    EXPECT_EQ(rows.slots, saved.slots);
    EXPECT_EQ(rows.versions, saved.versions);
    EXPECT_EQ(test::Lookup(*loaded, {12345}), Rounded(other, test::Lookup(*ev, {12345})));
  }
}

TEST_P(ValueTypesTest, RowsOfSmallWeightLeave) {
  VariableOptions options = TheOptions(2);
  options.shrink.l2_weight_threshold = 1.0f;
  const auto ev = test::NewVariable(options, std::vector<float>(2, 0.0f));
  EV_ASSERT_OK(ev->WriteRows(std::vector<Key>{1, 2, 3}, {}, {std::vector<float>{1, 0.5f, 1, 1, 2, 2}, {}, {}, {}}));
  int64_t dropped = 0;
  EV_ASSERT_OK(ev->Shrink(0, &dropped));
  EXPECT_EQ(dropped, 1);
  EXPECT_EQ(test::ReadRows(*ev, {1, 2, 3}).found, (std::vector<bool>{false, true, true}));
}

TEST_P(ValueTypesTest, AKeyThatAFilterKeepsOutReadsTheRoundedNumber) {
  VariableOptions options = TheOptions(3);
  options.admission.filter_freq = 2;
  options.default_value_no_permission = 0.1f;
  const auto ev = test::NewVariable(options, test::DefaultMatrix(kDefaults, 3));
  const std::vector<float> absent(3, Rounded(type(), 0.1f));
  EXPECT_EQ(test::Lookup(*ev, {5}), absent);
  test::Descend(ev.get(), {5, 5, 6}, std::vector<float>(9, 0.0f));
  EXPECT_EQ(test::Lookup(*ev, {6}), absent);
  const std::vector<float> defaults = test::DefaultMatrix(kDefaults, 3);
  EXPECT_EQ(test::Lookup(*ev, {5}), Rounded(type(), {defaults.begin() + 15, defaults.begin() + 18}));
}

INSTANTIATE_TEST_SUITE_P(Types, ValueTypesTest,
                         testing::Combine(testing::Values(ValueType::kFloat16, ValueType::kBFloat16),
                                          testing::Values(StorageType::kDram, StorageType::kDramSsdHash)),
                         [](const auto& info) {
                           return std::string(ValueTypeName(std::get<0>(info.param))) +
                                  (std::get<1>(info.param) == StorageType::kDram ? "_dram" : "_dram_ssdhash");
                         });

}  // namespace
}  // namespace ev
