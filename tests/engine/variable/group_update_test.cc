#include "ev_tf/variable/group_update.h"

#include <gtest/gtest.h>

#include <memory>
#include <vector>

#include "tests/support/random.h"
#include "tests/support/variable_support.h"

namespace ev {
namespace {

constexpr Key kRange = 3000;

// A table, and the same table for the plain calls.
struct Pair {
  std::unique_ptr<EmbeddingVariable> grouped, plain;
  std::vector<SlotSpec> slots;
  std::vector<Key> keys;
  std::vector<float> grads;
};

std::vector<Pair> MakePairs(const test::RuleCase& rule) {
  std::vector<Pair> pairs;
  for (const int64_t dim : {1, 16, 33}) {
    for (int i = 0; i < 3; ++i) {
      const auto make = [&] { return test::NewVariable(test::Options(dim, true), test::DefaultMatrix(64, dim)); };
      pairs.push_back({make(), make(), rule.Slots(dim), {}, {}});
    }
  }
  return pairs;
}

// From no id to so many that a table is not one thread's.
void Draw(test::Random* random, Pair* pair) {
  const size_t sizes[] = {0, 1, 3, 100, 1000, 5000};
  pair->keys.resize(sizes[random->Below(6)]);
  for (Key& key : pair->keys) key = static_cast<Key>(random->Below(kRange)) - kRange / 2;
  pair->grads = random->Floats(pair->keys.size() * static_cast<size_t>(pair->plain->dim()), -1, 1);
}

class GroupUpdateTest : public testing::TestWithParam<test::RuleCase> {};

TEST_P(GroupUpdateTest, EqualsTheTablesOneByOneWhateverTheThreads) {
  const test::RuleCase& rule = GetParam();
  test::Random random(1);
  for (const int threads : {1, 2, 5}) {
    const auto executor = NewThreadPoolExecutor(threads);
    std::vector<Pair> pairs = MakePairs(rule);
    for (int step = 0; step < 6; ++step) {
      std::vector<TableUpdate> updates;
      for (Pair& pair : pairs) {
        Draw(&random, &pair);
        test::Apply(pair.plain.get(), rule, pair.keys, pair.grads, step);
        updates.push_back({pair.grouped.get(), pair.slots, pair.keys, pair.grads});
      }
      EV_ASSERT_OK(ApplyTables(rule.rule, updates, step, *executor));
    }
    std::vector<Key> all(kRange);
    for (size_t i = 0; i < all.size(); ++i) all[i] = static_cast<Key>(i) - kRange / 2;
    for (const Pair& pair : pairs) {
      const test::StoredRows grouped = test::ReadRows(*pair.grouped, all), plain = test::ReadRows(*pair.plain, all);
      EXPECT_EQ(grouped.found, plain.found);
      EXPECT_TRUE(grouped.values == plain.values) << "dim " << pair.plain->dim() << ", " << threads << " threads";
      EXPECT_TRUE(grouped.slots == plain.slots) << "dim " << pair.plain->dim() << ", " << threads << " threads";
      EXPECT_EQ(grouped.frequencies, plain.frequencies);
      EXPECT_EQ(grouped.versions, plain.versions);
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Rules, GroupUpdateTest,
                         testing::Values(test::SgdCase(), test::AdagradCase(0.0f), test::AdamCase()),
                         [](const auto& info) { return info.param.name; });

TEST(GroupUpdate, ATableThatStandsTwiceHasBothUpdates) {
  const auto ev = test::NewVariable(test::Options(1), {0.0f});
  const std::vector<Key> keys(5000, 7);
  const std::vector<float> grads(keys.size(), 1.0f);
  const std::vector<TableUpdate> updates(20, TableUpdate{ev.get(), {}, keys, grads});
  EV_ASSERT_OK(ApplyTables(Sgd(1.0f), updates, -1, *NewThreadPoolExecutor(4)));
  EXPECT_EQ(test::Lookup(*ev, {7})[0], -100000.0f);
}

TEST(GroupUpdate, AnErrorOfOneTableIsTheCalls) {
  const auto good = test::NewVariable(test::Options(2), {0.0f, 0.0f});
  VariableOptions options = test::Options(2);
  options.name = "the_bad_one";
  const auto bad = test::NewVariable(options, {0.0f, 0.0f});
  const std::vector<Key> keys = {1};
  const std::vector<float> grads = {1, 1}, short_grads = {1};
  const std::vector<TableUpdate> updates = {{good.get(), {}, keys, grads}, {bad.get(), {}, keys, short_grads}};
  SerialExecutor serial;
  const Status status = ApplyTables(Sgd(1.0f), updates, -1, serial);
  EXPECT_EQ(status.code(), StatusCode::kInvalidArgument);
  EXPECT_NE(status.message().find("the_bad_one: grads"), std::string::npos) << status.message();
  EXPECT_EQ(bad->size(), 0);
}

}  // namespace
}  // namespace ev
