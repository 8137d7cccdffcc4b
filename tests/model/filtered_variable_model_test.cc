// Random batches on a variable with a filter, in every kind of storage, against a variable without one in DRAM that is given
// what a dictionary of counts lets through: the same rows, slots and frequencies to the bit, whatever optimizer.
#include <gtest/gtest.h>

#include <algorithm>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <vector>

#include "ev_tf/tier/dram/dram_tier.h"
#include "ev_tf/variable/embedding_variable.h"
#include "ev_tf/variable/storage_type.h"
#include "tests/support/keys.h"
#include "tests/support/random.h"
#include "tests/support/sanitizers.h"
#include "tests/support/temp_dir.h"
#include "tests/support/variable_support.h"

namespace ev {
namespace {

using test::ReadRows;
using test::RuleCase;
using test::StoredRows;

constexpr int64_t kDim = 6;
constexpr float kNoPermission = -7.5f;

struct ModelCase {
  std::string filter;   // none, counter, bloom
  std::string storage;  // dram, dram_dram, dram_ssdhash
  std::string leaves;   // none, age, weight: how rows leave, besides Remove
};

class FilteredModel : public testing::TestWithParam<std::tuple<ModelCase, size_t>> {
 protected:
  static const ModelCase& Case() { return std::get<0>(GetParam()); }

  void SetUp() override {
    // Half the sum of squares: 3 (row / 8)^2, for half of the rows below 3.
    for (size_t i = 0; i < 16 * kDim; ++i) defaults_.push_back(static_cast<float>(i / kDim) / 8);
    options_ = test::Options(kDim, /*with_meta=*/true);
    if (Case().filter != "none") options_.admission.filter_freq = freq_ = 1 + static_cast<int64_t>(random_.Below(5));
    if (Case().filter == "bloom") {
      options_.admission.max_element_size = 1000;
      options_.admission.false_positive_probability = 1e-9;  // no two keys share all counters
      options_.admission.counter_bytes = 2;
    }
    options_.default_value_no_permission = kNoPermission;
    if (Case().leaves == "age") options_.shrink.steps_to_live = 6;
    if (Case().leaves == "weight") options_.shrink.l2_weight_threshold = 3.0f;
    oracle_ = test::NewVariable(test::Options(kDim, true), defaults_);
    SetStorage();
    filtered_ = test::NewVariable(options_, defaults_);
    rule_ = test::AllRules()[std::get<1>(GetParam())];
    keys_.assign(test::kEdgeKeys.begin(), test::kEdgeKeys.end());
    for (Key key = -40; key < 40; ++key) keys_.push_back(key * 1009);
    std::sort(keys_.begin(), keys_.end());
    keys_.erase(std::unique(keys_.begin(), keys_.end()), keys_.end());
  }

  void SetStorage() {
    const int64_t few_rows = static_cast<int64_t>(5 * kDim * sizeof(float) * 3);
    if (Case().storage == "dram_ssdhash") {
      EV_ASSERT_OK(
          MakeStorage(StorageType::kDramSsdHash, dir_.path(), few_rows, CacheStrategy::kLfu, &options_.storage));
    } else if (Case().storage == "dram_dram") {
      options_.storage.dram_bytes = few_rows;
      options_.storage.open_lower = [](size_t record_bytes, Relocator*, std::shared_ptr<Tier>* out) {
        *out = std::make_shared<DramTier>(record_bytes, false);
        return OkStatus();
      };
    }
  }

  void Train(int step) {
    std::vector<Key> keys(1 + random_.Below(30));
    for (Key& key : keys) key = keys_[random_.OneIn(2) ? random_.Below(8) : random_.Below(keys_.size())];
    const std::vector<float> grads = random_.Floats(keys.size() * kDim, -0.25f, 0.25f);
    test::Apply(filtered_.get(), rule_, keys, grads, step);
    std::map<Key, uint32_t> named;
    for (const Key key : keys) ++named[key];
    for (const auto& [key, count] : named) {
      if (frequencies_.count(key) != 0) {
        frequencies_[key] += count;
        continue;
      }
      Counted& counted = counts_[key];
      counted.frequency += count;
      counted.version = step;
      if (counted.frequency < freq_) continue;
      frequencies_[key] = counted.frequency;
      if (Case().filter != "bloom") counts_.erase(key);  // a Bloom filter does not forget
    }
    std::vector<Key> admitted;
    std::vector<float> their_grads;
    for (size_t i = 0; i < keys.size(); ++i) {
      if (frequencies_.count(keys[i]) == 0) continue;
      admitted.push_back(keys[i]);
      their_grads.insert(their_grads.end(), grads.begin() + static_cast<long>(i * kDim),
                         grads.begin() + static_cast<long>((i + 1) * kDim));
    }
    test::Apply(oracle_.get(), rule_, admitted, their_grads, step);
  }

  void Drop(const std::vector<Key>& keys) {
    oracle_->Remove(keys);
    for (const Key key : keys) frequencies_.erase(key);
  }

  void Remove() {
    std::vector<Key> keys;
    for (int i = 0; i < 6; ++i) keys.push_back(keys_[random_.Below(keys_.size())]);
    const int64_t before = oracle_->size();
    Drop(keys);
    EXPECT_EQ(filtered_->Remove(keys), before - oracle_->size());
    if (Case().filter == "bloom") return;
    for (const Key key : keys) counts_.erase(key);
  }

  void Shrink(int step) {
    std::vector<Key> leaving;
    const StoredRows stored = ReadRows(*oracle_, keys_);
    for (size_t i = 0; i < keys_.size(); ++i) {
      if (!stored.found[i]) continue;
      double half_squares = 0;
      for (size_t d = 0; d < kDim; ++d) half_squares += std::pow(double{stored.values[i * kDim + d]}, 2) / 2;
      if (Case().leaves == "age" && step - stored.versions[i] > 6) leaving.push_back(keys_[i]);
      if (Case().leaves == "weight" && half_squares < 3.0) leaving.push_back(keys_[i]);
    }
    Drop(leaving);
    for (auto it = counts_.begin(); it != counts_.end();) {
      it = Case().leaves == "age" && step - it->second.version > 6 ? counts_.erase(it) : std::next(it);
    }
    int64_t dropped = -1;
    EV_ASSERT_OK(filtered_->Shrink(step, &dropped));
    EXPECT_EQ(dropped, static_cast<int64_t>(leaving.size()));
    shrunk_ += dropped;
  }

  // Rows and counts go to a new variable.
  void Reopen() {
    const std::vector<SlotSpec> slots = filtered_->slots();
    const std::vector<Key> keys = filtered_->Keys();
    const StoredRows rows = ReadRows(*filtered_, keys);
    auto fresh = test::NewVariable(options_, defaults_);
    EV_ASSERT_OK(fresh->WriteRows(keys, slots, {rows.values, rows.slots, rows.frequencies, rows.versions}));
    EV_ASSERT_OK(fresh->WriteFilteredKeys(filtered_->FilteredKeys()));
    filtered_ = std::move(fresh);
  }

  void ExpectEqual() {
    ASSERT_EQ(filtered_->size(), oracle_->size());
    most_rows_ = std::max(most_rows_, filtered_->size());
    const StoredRows stored = ReadRows(*filtered_, keys_), expected = ReadRows(*oracle_, keys_);
    ASSERT_EQ(stored.found, expected.found);
    ASSERT_EQ(stored.values, expected.values);
    ASSERT_EQ(stored.slots, expected.slots);
    const std::vector<float> read = test::Lookup(*filtered_, keys_), expected_read = test::Lookup(*oracle_, keys_);
    for (size_t i = 0; i < keys_.size(); ++i) {
      const bool counted = counts_.count(keys_[i]) != 0;
      if (stored.found[i]) {
        ASSERT_EQ(stored.frequencies[i], frequencies_[keys_[i]]) << keys_[i];
        ASSERT_EQ(stored.versions[i], expected.versions[i]) << keys_[i];
      } else if (freq_ > 0) {
        ASSERT_EQ(stored.frequencies[i], counted ? counts_[keys_[i]].frequency : 0) << keys_[i];
      }
      for (size_t d = i * kDim; d < (i + 1) * kDim; ++d) {
        ASSERT_EQ(read[d], stored.found[i] || freq_ == 0 ? expected_read[d] : kNoPermission) << keys_[i];
      }
    }
    if (Case().filter == "bloom") return;
    std::map<Key, Counted> filtered;
    for (const FilteredKey& key : filtered_->FilteredKeys()) {
      filtered[key.key] = {key.frequency, int64_t{key.version_plus1} - 1};
    }
    ASSERT_EQ(filtered.size(), counts_.size());
    for (const auto& [key, counted] : counts_) {
      ASSERT_EQ(filtered[key].frequency, counted.frequency) << key;
      ASSERT_EQ(filtered[key].version, counted.version) << key;
    }
  }

  struct Counted {
    uint32_t frequency = 0;
    int64_t version = -1;
  };

  test::Random random_{std::get<1>(GetParam())};
  test::TempDir dir_;
  std::vector<float> defaults_;
  VariableOptions options_;
  int64_t freq_ = 0;
  RuleCase rule_;
  std::vector<Key> keys_;
  std::unique_ptr<EmbeddingVariable> filtered_, oracle_;
  std::map<Key, Counted> counts_;        // of keys without a row; with a Bloom filter of all
  std::map<Key, uint32_t> frequencies_;  // of rows
  int64_t most_rows_ = 0, shrunk_ = 0;   // so that nothing passes for nothing
};

TEST_P(FilteredModel, LetsThroughWhatItShould) {
  for (int step = 0; step < 60; ++step) {
    Train(step);
    if (random_.OneIn(8)) Remove();
    if (random_.OneIn(4)) Shrink(step);
    if (random_.OneIn(4)) EV_ASSERT_OK(filtered_->FlushEvictions());
    if (Case().filter != "bloom" && random_.OneIn(12)) Reopen();
    ExpectEqual();
    if (HasFatalFailure()) FAIL() << rule_.name << ", step " << step << ", filter_freq " << freq_;
  }
  EXPECT_GT(most_rows_, 0);
  EXPECT_GT(shrunk_, 0);
}

std::vector<ModelCase> Cases() {
  std::vector<ModelCase> cases;
  for (const char* storage : {"dram", "dram_dram", "dram_ssdhash"}) {
    cases.push_back({"none", storage, "age"});
    cases.push_back({"counter", storage, "age"});
    cases.push_back({"counter", storage, "weight"});
    cases.push_back({"bloom", storage, "weight"});
  }
  return cases;
}

// Threads meet in the same places whatever the rule.
size_t Rules() { return test::kUnderThreadSanitizer ? 1 : test::AllRules().size(); }

INSTANTIATE_TEST_SUITE_P(Filters, FilteredModel,
                         testing::Combine(testing::ValuesIn(Cases()), testing::Range<size_t>(0, Rules())),
                         [](const auto& info) {
                           const ModelCase& model = std::get<0>(info.param);
                           return model.filter + "_" + model.storage + "_" + model.leaves + "_" +
                                  test::AllRules()[std::get<1>(info.param)].name;
                         });

}  // namespace
}  // namespace ev
