// Filters and shrinking: the step at which a key is admitted, the keys that leave, and both among threads.
#include <gtest/gtest.h>

#include <algorithm>
#include <atomic>
#include <memory>
#include <set>
#include <vector>

#include "ev_tf/optim/sgd.h"
#include "ev_tf/tier/dram/dram_tier.h"
#include "tests/support/keys.h"
#include "tests/support/threads.h"
#include "tests/support/variable_support.h"

namespace ev {
namespace {

using test::ReadRows;

constexpr int64_t kDim = 4;

VariableOptions Filtered(int64_t filter_freq) {
  VariableOptions options = test::Options(kDim, true);
  options.admission.filter_freq = filter_freq;
  options.default_value_no_permission = 9.0f;
  return options;
}

// DRAM for `rows` rows without slots.
void Spill(int64_t rows, VariableOptions* options) {
  options->storage.dram_bytes = rows * kDim * static_cast<int64_t>(sizeof(float));
  options->storage.open_lower = [](size_t record_bytes, Relocator*, std::shared_ptr<Tier>* out) {
    *out = std::make_shared<DramTier>(record_bytes, false);
    return OkStatus();
  };
}

void Train(EmbeddingVariable* variable, const std::vector<Key>& keys, int64_t step, float gradient = 0.5f) {
  SerialExecutor executor;
  const std::vector<float> grads(keys.size() * kDim, gradient);
  EV_EXPECT_OK(variable->Apply(Sgd(1.0f), {}, keys, grads, step, executor));
}

int64_t Shrink(EmbeddingVariable* variable, int64_t step) {
  int64_t dropped = -1;
  EV_EXPECT_OK(variable->Shrink(step, &dropped));
  return dropped;
}

std::set<Key> KeySet(const EmbeddingVariable& variable) {
  const std::vector<Key> keys = variable.Keys();
  return {keys.begin(), keys.end()};
}

TEST(Filters, TheUpdateThatReachesTheFrequencyAdmits) {
  const auto variable = test::NewVariable(Filtered(3), std::vector<float>(kDim, 1.0f));
  for (const Key key : {Key{5}, Key{-5}}) {
    Train(variable.get(), {key}, 1);
    Train(variable.get(), {key}, 2);
    EXPECT_FALSE(ReadRows(*variable, {key}).found[0]);
    EXPECT_EQ(ReadRows(*variable, {key}).frequencies[0], 2);
    EXPECT_EQ(ReadRows(*variable, {key}).versions[0], 2);
    EXPECT_EQ(test::Lookup(*variable, {key}), std::vector<float>(kDim, 9.0f));
    Train(variable.get(), {key}, 3);
    EXPECT_EQ(test::Lookup(*variable, {key}), std::vector<float>(kDim, 0.5f)) << "one gradient, on the default row";
    EXPECT_EQ(ReadRows(*variable, {key}).frequencies[0], 3);
    EXPECT_EQ(ReadRows(*variable, {key}).versions[0], 3);
  }
}

TEST(Filters, DuplicatesCountAndTheirGradientsAreSummed) {
  const auto variable = test::NewVariable(Filtered(4), std::vector<float>(kDim, 0.0f));
  Train(variable.get(), {1, 1, 1}, 0);
  EXPECT_EQ(variable->size(), 0);
  Train(variable.get(), {1, 2, 1, 2, 2, 2, 2}, 1);
  EXPECT_EQ(KeySet(*variable), (std::set<Key>{1, 2}));
  EXPECT_EQ(ReadRows(*variable, {1, 2}).frequencies, (std::vector<int64_t>{5, 5}));
  EXPECT_EQ(test::Lookup(*variable, {1})[0], -1.0f);
  EXPECT_EQ(test::Lookup(*variable, {2})[0], -2.5f);
}

TEST(Filters, LookupsCountNothing) {
  const auto variable = test::NewVariable(Filtered(2), std::vector<float>(kDim, 0.0f));
  for (int i = 0; i < 5; ++i) test::Lookup(*variable, {7, 7, 7});
  EXPECT_TRUE(variable->FilteredKeys().empty());
  Train(variable.get(), {7}, 0);
  EXPECT_EQ(variable->size(), 0);
  EXPECT_EQ(variable->metrics().filtered_keys, 1);
  EXPECT_EQ(variable->metrics().update_rows, 0) << "no row was updated";
}

TEST(Filters, ARemovedKeyCountsFromTheStart) {
  const auto variable = test::NewVariable(Filtered(2), std::vector<float>(kDim, 0.0f));
  Train(variable.get(), {1, 1, 2}, 0);
  EXPECT_EQ(variable->Remove(std::vector<Key>{1, 2, 3}), 1);
  Train(variable.get(), {1, 2}, 1);
  EXPECT_EQ(variable->size(), 0);
  Train(variable.get(), {1, 2}, 2);
  EXPECT_EQ(variable->size(), 2);
  EV_EXPECT_OK(variable->Clear());
  Train(variable.get(), {1}, 3);
  EXPECT_EQ(variable->size(), 0);
  EXPECT_EQ(variable->FilteredKeys().size(), 1u);
}

TEST(Filters, ImportedRowsAreAdmitted) {
  const auto variable = test::NewVariable(Filtered(5), std::vector<float>(kDim, 0.0f));
  Train(variable.get(), {1, 2}, 0);
  const std::vector<float> values(kDim, 3.0f);
  EV_EXPECT_OK(variable->WriteRows(std::vector<Key>{1}, {}, {values, {}, {}, {}}));
  EXPECT_EQ(ReadRows(*variable, {1}).frequencies[0], 5);
  EXPECT_EQ(variable->metrics().filtered_keys, 1);
  EV_EXPECT_OK(variable->WriteFilteredKeys(std::vector<FilteredKey>{{1, 3, 0}, {2, 3, 8}}));
  EXPECT_EQ(variable->metrics().filtered_keys, 1) << "a key has a row or a count";
  EXPECT_EQ(ReadRows(*variable, {2}).frequencies[0], 4);
  EXPECT_EQ(ReadRows(*variable, {2}).versions[0], 7);
  test::ExpectError(variable->WriteFilteredKeys(std::vector<FilteredKey>{{4, 0, 0}}), StatusCode::kInvalidArgument,
                    {"frequencies", "at least 1"});
}

TEST(InsertMissing, GivesRowsToKeysWithout) {
  VariableOptions options = test::Options(kDim);
  Spill(8, &options);
  const auto variable = test::NewVariable(options, std::vector<float>(kDim, 1.0f));
  std::vector<Key> keys;
  for (Key key = 0; key < 100; ++key) keys.push_back(key);
  Train(variable.get(), {keys.begin(), keys.begin() + 50}, -1);  // 0.5
  EV_EXPECT_OK(variable->FlushEvictions());
  keys.push_back(77);  // once more: the first one counts
  std::vector<float> values(keys.size() * kDim);
  for (size_t i = 0; i < values.size(); ++i) values[i] = static_cast<float>(i / kDim);
  EV_EXPECT_OK(variable->InsertMissing(keys, values));
  EXPECT_EQ(variable->size(), 100);
  const std::vector<float> rows = test::Lookup(*variable, keys);
  for (size_t i = 0; i < 100; ++i) EXPECT_EQ(rows[i * kDim], i < 50 ? 0.5f : static_cast<float>(i)) << i;
  test::ExpectError(variable->InsertMissing(keys, Span<const float>(values.data(), 4)), StatusCode::kInvalidArgument,
                    {"values", "404", "4"});
  const auto filtered = test::NewVariable(Filtered(2), std::vector<float>(kDim, 1.0f));
  test::ExpectError(filtered->InsertMissing(keys, values), StatusCode::kInvalidArgument, {"expected no filter"});
}

TEST(Shrink, DropsExactlyTheOldRowsOfEveryTier) {
  VariableOptions options = test::Options(kDim, true);
  options.shrink.steps_to_live = 10;
  Spill(16, &options);
  const auto variable = test::NewVariable(options, std::vector<float>(kDim, 1.0f));
  std::set<Key> young;
  for (int64_t step = 0; step <= 40; ++step) {
    std::vector<Key> keys;
    for (Key i = 0; i < 20; ++i) keys.push_back((step * 20 + i) * 1009 - 5000);
    Train(variable.get(), keys, step);
    if (40 - step <= 10) young.insert(keys.begin(), keys.end());
  }
  EV_EXPECT_OK(variable->FlushEvictions());
  EXPECT_EQ(Shrink(variable.get(), 40), 30 * 20);
  EXPECT_EQ(KeySet(*variable), young);
  EV_EXPECT_OK(variable->FlushEvictions());
  const std::vector<Key> gone = {-5000, 29 * 20 * 1009 - 5000};
  EXPECT_EQ(test::Lookup(*variable, gone), std::vector<float>(2 * kDim, 1.0f)) << "the default row again";
  Train(variable.get(), gone, 40, 0.25f);
  EXPECT_EQ(test::Lookup(*variable, gone), std::vector<float>(2 * kDim, 0.75f)) << "not what it was trained to";
  EXPECT_EQ(Shrink(variable.get(), 40), 0);
  EXPECT_EQ(variable->metrics().removes, 600);
}

TEST(Shrink, TheLargestStepThatCameIsTheDefault) {
  VariableOptions options = test::Options(kDim, true);
  options.shrink.steps_to_live = 5;
  const auto variable = test::NewVariable(options, std::vector<float>(kDim, 1.0f));
  Train(variable.get(), {1}, -1);
  EXPECT_EQ(Shrink(variable.get(), -1), 0) << "nobody has said what step it is";
  Train(variable.get(), {2}, 3);
  Train(variable.get(), {3}, 9);
  EXPECT_EQ(Shrink(variable.get(), -1), 1);
  EXPECT_EQ(KeySet(*variable), (std::set<Key>{1, 3})) << "1 had no version: it got that of this look";
  EXPECT_EQ(Shrink(variable.get(), 14), 0);
  EXPECT_EQ(Shrink(variable.get(), 15), 2);
  int64_t dropped = -1;
  test::ExpectError(variable->Shrink(int64_t{1} << 32, &dropped), StatusCode::kInvalidArgument, {"global_step"});
  EXPECT_EQ(dropped, 0);
}

TEST(Shrink, RowsBelowStartToAgeToo) {
  VariableOptions options = test::Options(kDim, true);
  options.shrink.steps_to_live = 5;
  Spill(4, &options);
  const auto variable = test::NewVariable(options, std::vector<float>(kDim, 1.0f));
  std::vector<Key> keys;
  for (Key key = 0; key < 50; ++key) keys.push_back(key);
  Train(variable.get(), keys, -1);
  EV_EXPECT_OK(variable->FlushEvictions());
  EXPECT_EQ(Shrink(variable.get(), 20), 0);
  EV_EXPECT_OK(variable->FlushEvictions());
  EXPECT_EQ(ReadRows(*variable, keys).versions, std::vector<int64_t>(50, 20));
  EXPECT_EQ(test::Lookup(*variable, keys), std::vector<float>(50 * kDim, 0.5f));
  EXPECT_EQ(Shrink(variable.get(), 26), 50);
}

TEST(Shrink, ByWeightTakesHalfTheSumOfSquares) {
  VariableOptions options = test::Options(kDim);
  options.shrink.l2_weight_threshold = 2.0f;  // four elements: below 1.0 each
  Spill(4, &options);
  const auto variable = test::NewVariable(options, std::vector<float>(kDim, 0.0f));
  for (Key key = 0; key < 32; ++key) Train(variable.get(), {key}, -1, key % 2 == 0 ? 1.0f : 0.999f);
  EV_EXPECT_OK(variable->FlushEvictions());
  EXPECT_EQ(Shrink(variable.get(), -1), 16);
  for (const Key key : variable->Keys()) EXPECT_EQ(key % 2, 0);
}

TEST(Shrink, AgeNeedsVersions) {
  VariableOptions options = test::Options(kDim);
  options.shrink.steps_to_live = 5;
  std::unique_ptr<EmbeddingVariable> variable;
  test::ExpectError(EmbeddingVariable::Create(options, std::vector<float>(kDim), &variable),
                    StatusCode::kInvalidArgument, {"record_version", "expected true"});
}

// Threads count the same keys, read, shrink and spill: no count, no update and no row may get lost or come twice.
TEST(Filters, ThreadsCountTogether) {
  VariableOptions options = Filtered(1000);
  Spill(16, &options);
  const auto variable = test::NewVariable(options, std::vector<float>(kDim, 0.0f));
  constexpr int kThreads = 4, kRounds = 300;  // 1200 updates of each key: 1 + 200 of them move its row
  std::vector<Key> keys;
  for (Key key = 0; key < 40; ++key) keys.push_back(key * 77 - 1000);
  test::RunTogether(kThreads, [&](int thread) {
    std::vector<Key> mine = keys;
    std::rotate(mine.begin(), mine.begin() + thread * 10, mine.end());
    for (int round = 0; round < kRounds; ++round) {
      Train(variable.get(), mine, round, 1.0f);
      if (round % 16 == thread) test::Lookup(*variable, keys);
      if (round % 64 == thread) ReadRows(*variable, keys);
    }
  });
  EXPECT_EQ(variable->size(), 40);
  EXPECT_TRUE(variable->FilteredKeys().empty());
  EXPECT_EQ(ReadRows(*variable, keys).frequencies, std::vector<int64_t>(40, kThreads * kRounds));
  EXPECT_EQ(test::Lookup(*variable, keys), std::vector<float>(40 * kDim, -201.0f));
}

TEST(Shrink, AmongTrainingThreadsDropsOldKeysOnly) {
  for (const bool bloom : {false, true}) {
    VariableOptions options = Filtered(2);
    options.shrink.steps_to_live = 20;
    if (bloom) {
      options.admission.max_element_size = 4000;
      options.admission.false_positive_probability = 1e-6;
      options.admission.counter_bytes = 1;
    }
    Spill(32, &options);
    const auto variable = test::NewVariable(options, std::vector<float>(kDim, 0.0f));
    constexpr int kSteps = 150;
    std::vector<Key> always;  // trained at every step: never leave
    for (Key key = 0; key < 24; ++key) always.push_back(-1 - key);
    std::atomic<int> reached{0};
    test::RunTogether(3, [&](int thread) {
      for (int step = 0; step < kSteps; ++step) {
        if (thread == 0) {
          std::vector<Key> keys = always;
          for (Key i = 0; i < 8; ++i) keys.push_back(step * 8 + i);
          Train(variable.get(), keys, step, 1.0f);
          Train(variable.get(), keys, step, 1.0f);
          reached.store(step);
        } else if (thread == 1) {
          Shrink(variable.get(), reached.load());
        } else {
          test::Lookup(*variable, always);
          variable->FilteredKeys();
          variable->Keys();
        }
      }
    });
    Shrink(variable.get(), kSteps - 1);
    std::set<Key> expected(always.begin(), always.end());
    for (Key key = (kSteps - 21) * 8; key < kSteps * 8; ++key) expected.insert(key);
    EXPECT_EQ(KeySet(*variable), expected);
    EXPECT_EQ(test::Lookup(*variable, {-1})[0], 1.0f - 2 * kSteps);
  }
}

}  // namespace
}  // namespace ev
