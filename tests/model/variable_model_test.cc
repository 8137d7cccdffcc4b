// Random batches on an EmbeddingVariable against a dictionary of rows in double.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "ev_tf/variable/embedding_variable.h"
#include "tests/support/keys.h"
#include "tests/support/random.h"
#include "tests/support/tiers.h"
#include "tests/support/variable_support.h"

namespace ev {
namespace {

using test::ReadRows;
using test::RuleCase;

struct ModelRow {
  std::vector<double> value;
  std::map<std::string, std::vector<double>> slots;
  int64_t frequency = 0;
  int64_t version = -1;
};

// What a variable is, in the simplest words.
class Model {
 public:
  Model(int64_t dim, std::vector<float> defaults) : dim_(static_cast<size_t>(dim)), defaults_(std::move(defaults)) {}

  std::vector<double> Default(Key key) const {
    const auto rows = static_cast<int64_t>(defaults_.size() / dim_);
    const auto first =
        defaults_.begin() + static_cast<std::ptrdiff_t>(FloorMod(key, rows)) * static_cast<std::ptrdiff_t>(dim_);
    return {first, first + static_cast<std::ptrdiff_t>(dim_)};
  }
  std::vector<double> Lookup(Key key) const {
    const auto it = rows.find(key);
    return it == rows.end() ? Default(key) : it->second.value;
  }
  void AddSlots(const std::vector<SlotSpec>& specs) {
    for (const SlotSpec& spec : specs) {
      if (!specs_.emplace(spec.name, spec).second) continue;
      for (auto& [key, row] : rows) row.slots[spec.name].assign(static_cast<size_t>(spec.dim), spec.initial);
    }
  }
  void Apply(const RuleCase& rule, const std::vector<Key>& keys, const std::vector<float>& grads, int64_t step) {
    AddSlots(rule.Slots(static_cast<int64_t>(dim_)));
    std::map<Key, std::vector<double>> sums;
    std::map<Key, int64_t> counts;
    for (size_t i = 0; i < keys.size(); ++i) {
      std::vector<double>& sum = sums.emplace(keys[i], std::vector<double>(dim_)).first->second;
      for (size_t d = 0; d < dim_; ++d) sum[d] += grads[i * dim_ + d];
      ++counts[keys[i]];
    }
    for (const auto& [key, sum] : sums) {
      ModelRow& row = rows.try_emplace(key, NewRow(key)).first->second;
      row.frequency += counts[key];
      if (step >= 0) row.version = step;
      Step(rule, sum, &row);
    }
  }
  ModelRow NewRow(Key key) const {
    ModelRow row;
    row.value = Default(key);
    for (const auto& [name, spec] : specs_) row.slots[name].assign(static_cast<size_t>(spec.dim), spec.initial);
    return row;
  }

  std::map<Key, ModelRow> rows;

 private:
  static void Step(const RuleCase& rule, const std::vector<double>& grad, ModelRow* row) {
    std::vector<std::vector<double>> slots;
    for (size_t s = 0; s < rule.slots.size(); ++s) slots.push_back(row->slots[rule.SlotName(s)]);
    rule.step(grad, &row->value, &slots);
    for (size_t s = 0; s < rule.slots.size(); ++s) row->slots[rule.SlotName(s)] = slots[s];
  }

  const size_t dim_;
  const std::vector<float> defaults_;
  std::map<std::string, SlotSpec> specs_;  // the slots the variable has
};

struct ModelCase {
  std::string name;
  int64_t dim;
  int threads;
  size_t rules;              // how many of AllRules() share the variable, at most
  int64_t dram_bytes = 0;    // of rows; 0: DRAM holds all of them
  int64_t middle_bytes = 0;  // of rows of a tier between DRAM and a log; 0: none
};

VariableOptions OptionsOf(const ModelCase& model) {
  VariableOptions options = test::Options(model.dim, true);
  if (model.dram_bytes == 0) return options;
  options.storage.dram_bytes = model.dram_bytes;
  options.storage.open_lower = test::OpenSmallLog(false);
  if (model.middle_bytes != 0) options.storage.between.push_back({test::OpenDram(), model.middle_bytes});
  return options;
}

class VariableModel : public testing::TestWithParam<ModelCase> {
 protected:
  void SetUp() override {
    keys_.assign(test::kEdgeKeys.begin(), test::kEdgeKeys.end());
    const std::vector<Key> one_stripe = test::KeysOfPrefix(9, 6, 60);
    keys_.insert(keys_.end(), one_stripe.begin(), one_stripe.end());
    for (Key key = 100; key < 300; ++key) keys_.push_back(-key);
    const std::vector<RuleCase> all = test::AllRules();
    const uint64_t first = random_.Below(all.size());
    const size_t rules = std::min(GetParam().rules, all.size());
    for (size_t i = 0; i < rules; ++i) rules_.push_back(all[(first + i) % all.size()]);
  }

  std::vector<Key> RandomKeys(size_t most) {
    std::vector<Key> keys(random_.Below(most));
    for (Key& key : keys) key = keys_[random_.OneIn(3) ? random_.Below(5) : random_.Below(keys_.size())];
    return keys;
  }

  void Step(int step) {
    const uint64_t action = random_.Below(10);
    if (action < 6) {
      const RuleCase& rule = rules_[random_.Below(rules_.size())];
      const std::vector<Key> keys = RandomKeys(400);
      const std::vector<float> grads = random_.Floats(keys.size() * static_cast<size_t>(dim_), -0.25f, 0.25f);
      const int64_t version = random_.OneIn(4) ? -1 : step;
      EV_ASSERT_OK(ev_->Apply(rule.rule, rule.Slots(dim_), keys, grads, version, *executor_));
      model_.Apply(rule, keys, grads, version);
    } else if (action == 6) {
      const std::vector<Key> keys = RandomKeys(30);
      int64_t removed = 0;
      for (const Key key : keys) removed += static_cast<int64_t>(model_.rows.erase(key));
      ASSERT_EQ(ev_->Remove(keys), removed);
    } else if (action == 7) {
      Write();
    } else if (action == 8 && random_.OneIn(5)) {
      EV_ASSERT_OK(ev_->Clear());
      model_.rows.clear();
    } else if (action == 9) {
      EV_ASSERT_OK(ev_->FlushEvictions());
    }
  }

  // Values of a few distinct keys, whatever they were.
  void Write() {
    std::vector<Key> keys = RandomKeys(20);
    std::sort(keys.begin(), keys.end());
    keys.erase(std::unique(keys.begin(), keys.end()), keys.end());
    const std::vector<float> values = random_.Floats(keys.size() * static_cast<size_t>(dim_), -1, 1);
    EV_ASSERT_OK(ev_->WriteRows(keys, {}, {values, {}, {}, {}}));
    for (size_t i = 0; i < keys.size(); ++i) {
      ModelRow row = model_.NewRow(keys[i]);
      const auto first = values.begin() + static_cast<std::ptrdiff_t>(i) * static_cast<std::ptrdiff_t>(dim_);
      row.value.assign(first, first + static_cast<std::ptrdiff_t>(dim_));
      model_.rows[keys[i]] = row;
    }
  }

  // Both round after each step, the model to double: 2e-3 is far above what a few dozen steps of float leave (FTRL's
  // difference of roots loses the most), and far below one lost gradient.
  static bool Near(double got, double want) { return std::abs(got - want) <= 2e-3 * std::max(1.0, std::abs(want)); }

  void CheckRows() {
    const std::vector<SlotSpec> slots = ev_->slots();
    const test::StoredRows rows = ReadRows(*ev_, keys_);
    const size_t width = rows.slots.size() / keys_.size();
    for (size_t i = 0; i < keys_.size(); ++i) {
      const auto it = model_.rows.find(keys_[i]);
      ASSERT_EQ(rows.found[i], it != model_.rows.end()) << keys_[i];
      if (it == model_.rows.end()) continue;
      ASSERT_EQ(rows.frequencies[i], it->second.frequency) << keys_[i];
      ASSERT_EQ(rows.versions[i], it->second.version) << keys_[i];
      const float* slot = rows.slots.data() + i * width;
      for (const SlotSpec& spec : slots) {
        const std::vector<double>& want = it->second.slots.at(spec.name);
        for (int64_t d = 0; d < spec.dim; ++d) ASSERT_PRED2(Near, slot[d], want[static_cast<size_t>(d)]) << spec.name;
        slot += spec.dim;
      }
    }
  }

  void CheckLookups() {
    std::vector<Key> asked = keys_;
    asked.insert(asked.end(), keys_.rbegin(), keys_.rend());
    std::vector<float> rows(asked.size() * static_cast<size_t>(dim_));
    EV_ASSERT_OK(ev_->Lookup(asked, rows, *executor_));
    for (size_t i = 0; i < asked.size(); ++i) {
      const std::vector<double> want = model_.Lookup(asked[i]);
      for (size_t d = 0; d < want.size(); ++d) ASSERT_PRED2(Near, rows[i * want.size() + d], want[d]) << asked[i];
    }
    ASSERT_EQ(ev_->size(), static_cast<int64_t>(model_.rows.size())) << "lookups never insert";
    std::vector<Key> all = ev_->Keys();
    std::sort(all.begin(), all.end());
    ASSERT_TRUE(std::equal(all.begin(), all.end(), model_.rows.begin(), model_.rows.end(),
                           [](Key key, const auto& row) { return key == row.first; }));
  }

  const int64_t dim_ = GetParam().dim;
  test::Random random_{1};
  const std::vector<float> defaults_ = random_.Floats(static_cast<size_t>(7 * dim_), -1, 1);
  std::unique_ptr<EmbeddingVariable> ev_ = test::NewVariable(OptionsOf(GetParam()), defaults_);
  Model model_{dim_, defaults_};
  std::unique_ptr<Executor> executor_ = NewThreadPoolExecutor(GetParam().threads);
  std::vector<Key> keys_;
  std::vector<RuleCase> rules_;
};

TEST_P(VariableModel, EqualsADictionary) {
  for (int step = 0; step < 60 && !HasFatalFailure(); ++step) {
    Step(step);
    if (!HasFatalFailure() && step % 5 == 4) CheckLookups();
    if (!HasFatalFailure() && step % 5 == 4) CheckRows();
  }
}

INSTANTIATE_TEST_SUITE_P(Variables, VariableModel,
                         testing::Values(ModelCase{"one_float", 1, 1, 1}, ModelCase{"two_optimizers", 4, 1, 2},
                                         ModelCase{"odd_dim_and_threads", 17, 2, 3}, ModelCase{"all_rules", 8, 1, 100},
                                         ModelCase{"wide_rows_and_threads", 600, 4, 1},
                                         ModelCase{"two_tiers", 4, 1, 3, 2000},
                                         ModelCase{"three_tiers", 4, 1, 3, 500, 2000},
                                         ModelCase{"three_tiers_and_threads", 17, 4, 5, 3000, 6000}),
                         [](const auto& info) { return info.param.name; });

}  // namespace
}  // namespace ev
