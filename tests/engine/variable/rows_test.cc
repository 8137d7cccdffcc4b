// WriteRows and ReadRows: what is exported comes back.
#include <gtest/gtest.h>

#include <algorithm>
#include <atomic>
#include <iterator>
#include <memory>
#include <numeric>
#include <thread>
#include <vector>

#include "ev_tf/variable/embedding_variable.h"
#include "tests/support/keys.h"
#include "tests/support/random.h"
#include "tests/support/sync_points.h"
#include "tests/support/tiers.h"
#include "tests/support/variable_support.h"

namespace ev {
namespace {

using test::Lookup;
using test::NewVariable;
using test::Options;
using test::ReadRows;

std::vector<Key> ManyKeys(size_t n) {
  std::vector<Key> keys(test::kEdgeKeys.begin(), test::kEdgeKeys.end());
  while (keys.size() < n) keys.push_back(static_cast<Key>(keys.size()) * 1000003);
  return keys;
}

class RowsTest : public testing::TestWithParam<int64_t> {
 protected:
  const int64_t dim_ = GetParam();
  const std::unique_ptr<EmbeddingVariable> ev_ = NewVariable(Options(dim_, true), test::DefaultMatrix(8, dim_));
  test::Random random_{1};
};

TEST_P(RowsTest, WhatIsWrittenIsRead) {
  const std::vector<Key> keys = ManyKeys(10000);  // more than one step of 4,096
  const std::vector<SlotSpec> slots = {{"a", dim_, 0.1f}, {"b", 1, 0.2f}};
  const std::vector<float> values = random_.Floats(keys.size() * static_cast<size_t>(dim_), -1, 1);
  const std::vector<float> columns = random_.Floats(keys.size() * static_cast<size_t>(dim_ + 1), -1, 1);
  std::vector<int64_t> frequencies(keys.size());
  std::vector<int64_t> versions(keys.size());
  for (size_t i = 0; i < keys.size(); ++i) {
    frequencies[i] = static_cast<int64_t>(random_.Below(uint64_t{1} << 32));
    versions[i] = static_cast<int64_t>(random_.Below(uint64_t{1} << 32)) - 1;
  }
  EV_ASSERT_OK(ev_->WriteRows(keys, slots, {values, columns, frequencies, versions}));
  const test::StoredRows rows = ReadRows(*ev_, keys);
  EXPECT_EQ(rows.found, std::vector<bool>(keys.size(), true));
  EXPECT_EQ(rows.values, values);
  EXPECT_EQ(rows.slots, columns);
  EXPECT_EQ(rows.frequencies, frequencies);
  EXPECT_EQ(rows.versions, versions);
  EXPECT_EQ(Lookup(*ev_, keys), values);
  EXPECT_EQ(ev_->size(), static_cast<int64_t>(keys.size()));
  EXPECT_EQ(ev_->metrics().inserts, ev_->size());
}

// AddRows: what a load puts in without looking for it first.
TEST_P(RowsTest, AddedRowsAreAsWrittenOnes) {
  const std::vector<Key> keys = ManyKeys(10000);
  const std::vector<SlotSpec> slots = {{"a", dim_, 0.1f}};
  const std::vector<SlotSpec> none;
  const size_t floats = keys.size() * static_cast<size_t>(dim_);
  const std::vector<float> values = random_.Floats(floats, -1, 1);
  const std::vector<float> columns = random_.Floats(floats, -1, 1);
  std::vector<int64_t> numbers(keys.size());
  for (size_t i = 0; i < keys.size(); ++i) numbers[i] = static_cast<int64_t>(i);
  SerialExecutor serial;
  const auto written = NewVariable(Options(dim_, true), test::DefaultMatrix(8, dim_));
  EV_ASSERT_OK(written->WriteRows(keys, slots, {values, columns, numbers, numbers}));
  EV_ASSERT_OK(ev_->WriteRows({}, slots, {}));
  EV_ASSERT_OK(ev_->Reserve(static_cast<int64_t>(keys.size()), serial));
  int64_t added = 0;
  EV_ASSERT_OK(ev_->AddRows(keys, slots, {values, columns, numbers, numbers}, &added));
  EXPECT_EQ(added, static_cast<int64_t>(keys.size()));
  EXPECT_EQ(ev_->size(), added);
  EXPECT_EQ(ev_->metrics().inserts, added);
  const test::StoredRows rows = ReadRows(*ev_, keys);
  const test::StoredRows expected = ReadRows(*written, keys);
  EXPECT_EQ(rows.found, expected.found);
  EXPECT_EQ(rows.values, values);
  EXPECT_EQ(rows.slots, columns);
  EXPECT_EQ(rows.frequencies, numbers);
  EXPECT_EQ(rows.versions, numbers);
  // Slots that it does not bring are initial ones.
  const Key other = 123456789123;
  const std::vector<float> one(static_cast<size_t>(dim_), 7);
  EV_ASSERT_OK(ev_->AddRows({&other, 1}, none, {one, {}, {}, {}}, &added));
  EXPECT_EQ(ReadRows(*ev_, {other}).slots, std::vector<float>(static_cast<size_t>(dim_), 0.1f));
  EXPECT_EQ(ReadRows(*ev_, {other}).versions, std::vector<int64_t>{-1});
}

TEST_P(RowsTest, AddedRowsThatGoBelowAreAsWrittenOnes) {
  const std::vector<Key> keys = ManyKeys(10000);
  const std::vector<SlotSpec> slots = {{"a", dim_, 0.1f}, {"b", 1, 0.2f}};
  const std::vector<float> values = random_.Floats(keys.size() * static_cast<size_t>(dim_), -1, 1);
  const std::vector<float> columns = random_.Floats(keys.size() * static_cast<size_t>(dim_), -1, 1);
  std::vector<int64_t> numbers(keys.size());
  for (size_t i = 0; i < keys.size(); ++i) numbers[i] = static_cast<int64_t>(i);
  test::WatchedTier::Watch below;
  VariableOptions options = Options(dim_, true);
  options.storage.dram_bytes = 5000 * 4 * dim_;  // of rows without slots: less than half of all
  options.storage.open_lower = test::OpenWatched(&below);
  const auto tiered = NewVariable(options, test::DefaultMatrix(8, dim_));
  EV_ASSERT_OK(tiered->WriteRows({}, slots, {}));
  int64_t added = 0;
  EV_ASSERT_OK(tiered->AddRows(keys, {slots.data(), 1}, {values, columns, numbers, numbers}, &added));
  EXPECT_EQ(added, static_cast<int64_t>(keys.size()));
  EXPECT_GT(below.rows_put, 5000);
  EXPECT_EQ(tiered->metrics().hot_rows + below.rows_put, added);
  const test::StoredRows rows = ReadRows(*tiered, keys);
  EXPECT_EQ(rows.found, std::vector<bool>(keys.size(), true));
  EXPECT_EQ(rows.values, values);
  EXPECT_EQ(rows.frequencies, numbers);
  EXPECT_EQ(rows.versions, numbers);
  std::vector<float> expected;  // a slot that it does not bring is an initial one
  const auto dim = static_cast<size_t>(dim_);
  for (size_t i = 0; i < keys.size(); ++i) {
    expected.insert(expected.end(), columns.data() + i * dim, columns.data() + (i + 1) * dim);
    expected.push_back(0.2f);
  }
  EXPECT_EQ(rows.slots, expected);
}

TEST_P(RowsTest, AKeyThatIsAddedTwiceKeepsItsRow) {
  const std::vector<Key> keys = {1, 2, 1};
  std::vector<float> values(3 * static_cast<size_t>(dim_));
  for (size_t i = 0; i < values.size(); ++i) values[i] = static_cast<float>(i);
  int64_t added = 0;
  EV_ASSERT_OK(ev_->AddRows(keys, {}, {values, {}, {}, {}}, &added));
  EXPECT_EQ(added, 2);
  EV_ASSERT_OK(ev_->AddRows(keys, {}, {std::vector<float>(values.size(), -1), {}, {}, {}}, &added));
  EXPECT_EQ(added, 0);
  EXPECT_EQ(ev_->size(), 2);
  EXPECT_EQ(Lookup(*ev_, {1, 2}), std::vector<float>(values.begin(), values.begin() + 2 * dim_));
  // Their places went back: the next rows take them.
  const int64_t bytes = ev_->metrics().row_pool_bytes;
  EV_ASSERT_OK(ev_->AddRows(std::vector<Key>{5, 6, 7}, {}, {std::vector<float>(values.size()), {}, {}, {}}, &added));
  EXPECT_EQ(added, 3);
  EXPECT_EQ(ev_->metrics().row_pool_bytes, bytes);
}

TEST_P(RowsTest, OverwritingResetsWhatIsNotGiven) {
  const test::RuleCase adagrad = test::AdagradCase(0.0f);
  const std::vector<Key> keys = {1, -1, 9};
  const size_t n = keys.size() * static_cast<size_t>(dim_);
  Apply(ev_.get(), adagrad, keys, std::vector<float>(n, 1.0f), 6);
  const std::vector<float> values(n, 0.5f);
  EV_ASSERT_OK(ev_->WriteRows(keys, {}, {values, {}, {}, {}}));
  const test::StoredRows rows = ReadRows(*ev_, keys);
  EXPECT_EQ(rows.values, values);
  EXPECT_EQ(rows.slots, std::vector<float>(n, 0.1f)) << "slots get their initial values";
  EXPECT_EQ(rows.frequencies, (std::vector<int64_t>{0, 0, 0}));
  EXPECT_EQ(rows.versions, (std::vector<int64_t>{-1, -1, -1}));
  EXPECT_EQ(ev_->size(), 3);
}

TEST_P(RowsTest, ColumnsGoToTheirSlotsByName) {
  EV_ASSERT_OK(ev_->WriteRows({}, std::vector<SlotSpec>{{"a", 1, 0.1f}, {"b", dim_, 0.2f}, {"c", 1, 0.3f}}, {}));
  const std::vector<Key> keys = {4, 5};
  const auto dim = static_cast<size_t>(dim_);
  const std::vector<SlotSpec> given = {{"c", 1, 0}, {"d", 1, 0.4f}, {"b", dim_, 0}};  // another order, one new, no a
  std::vector<float> columns;
  for (int i = 0; i < 2; ++i) {
    columns.insert(columns.end(), {30.0f + i, 40.0f + i});
    columns.insert(columns.end(), dim, 20.0f + i);
  }
  EV_ASSERT_OK(ev_->WriteRows(keys, given, {std::vector<float>(2 * dim, 1.0f), columns, {}, {}}));
  std::vector<float> want;
  for (int i = 0; i < 2; ++i) {
    want.push_back(0.1f);
    want.insert(want.end(), dim, 20.0f + i);
    want.insert(want.end(), {30.0f + i, 40.0f + i});
  }
  EXPECT_EQ(ReadRows(*ev_, keys).slots, want);
}

TEST_P(RowsTest, AnExportedVariableTrainsOnLikeTheOriginal) {
  const test::RuleCase adam = test::AdamCase();
  const std::vector<Key> keys = ManyKeys(300);
  const auto grads = [&] { return random_.Floats(keys.size() * static_cast<size_t>(dim_), -1, 1); };
  for (int step = 0; step < 3; ++step) Apply(ev_.get(), adam, keys, grads(), step);
  const auto copy = NewVariable(Options(dim_, true), test::DefaultMatrix(8, dim_));
  const std::vector<Key> exported = ev_->Keys();
  const test::StoredRows rows = ReadRows(*ev_, exported);
  EV_ASSERT_OK(copy->WriteRows(exported, ev_->slots(), {rows.values, rows.slots, rows.frequencies, rows.versions}));
  for (int step = 3; step < 6; ++step) {
    const std::vector<float> g = grads();
    Apply(ev_.get(), adam, keys, g, step);
    Apply(copy.get(), adam, keys, g, step);
  }
  const test::StoredRows a = ReadRows(*ev_, keys);
  const test::StoredRows b = ReadRows(*copy, keys);
  EXPECT_EQ(a.values, b.values);
  EXPECT_EQ(a.slots, b.slots);
  EXPECT_EQ(a.frequencies, b.frequencies);
  EXPECT_EQ(a.versions, b.versions);
}

INSTANTIATE_TEST_SUITE_P(Dims, RowsTest, testing::Values(1, 5, 16));

// A table of 4-float rows over a log that always has something to compact; DRAM has room for a few of them.
std::unique_ptr<EmbeddingVariable> OverSmallLog(int64_t hot_rows, bool async_compaction) {
  VariableOptions options = Options(4, true);
  options.storage.dram_bytes = hot_rows * 16;
  options.storage.open_lower = test::OpenSmallLog(async_compaction);
  return NewVariable(options, test::DefaultMatrix(8, 4));
}

std::vector<float> ValuesOf(const std::vector<Key>& keys) {
  std::vector<float> values;
  for (const Key key : keys) values.insert(values.end(), 4, static_cast<float>(key));
  return values;
}

TEST(AddedRows, AreTakenFromManyThreadsWhileTheLogCompacts) {
  constexpr int kThreads = 4;
  constexpr int kCalls = 20;
  constexpr Key kKeys = 700;  // of a call, of which a seventh stands twice: what is put for those is garbage
  for (const bool async_compaction : {false, true}) {
    const auto variable = OverSmallLog(100, async_compaction);
    std::atomic<int64_t> added{0};
    std::vector<std::thread> threads;
    for (Key t = 0; t < kThreads; ++t) {
      threads.emplace_back([&, t] {
        for (Key call = 0; call < kCalls; ++call) {
          std::vector<Key> keys;
          for (Key i = 0; i < kKeys; ++i) keys.push_back((t * kCalls + call) * kKeys + (i % 7 == 6 ? i - 1 : i));
          int64_t some = 0;
          EV_EXPECT_OK(variable->AddRows(keys, {}, {ValuesOf(keys), {}, {}, {}}, &some));
          added += some;
        }
      });
    }
    for (std::thread& thread : threads) thread.join();
    EXPECT_EQ(added, kThreads * kCalls * kKeys / 7 * 6);
    EXPECT_EQ(variable->size(), added);
    std::vector<Key> all = variable->Keys();
    EXPECT_EQ(all.size(), static_cast<size_t>(added));
    EV_ASSERT_OK(variable->FlushEvictions());
    EXPECT_LE(variable->metrics().hot_rows, 100);
    EXPECT_EQ(Lookup(*variable, all), ValuesOf(all));
  }
}

#if !defined(NDEBUG)
TEST(AddedRows, StayWhereTheLogIsCompactedBeforeTheyAreShown) {
  const auto variable = OverSmallLog(4, false);
  std::vector<Key> others(3000);
  std::iota(others.begin(), others.end(), 100000);
  test::Random random(3);
  const auto train_others = [&] {
    std::vector<Key> some;  // so that no segment dies whole
    std::copy_if(others.begin(), others.end(), std::back_inserter(some), [&](Key) { return random.Below(3) == 0; });
    test::Descend(variable.get(), some, std::vector<float>(some.size() * 4, -1.0f));
    EV_EXPECT_OK(variable->FlushEvictions());
  };
  train_others();
  const std::vector<Key> keys = {1, 2, 3, 4, 5, 6, 7, 8, 9};
  int64_t compacted = 0;
  test::SyncPointsGuard points;
  points.Once("add_below.put", [&] {
    compacted = variable->metrics().tiers[1].compaction_bytes;
    for (int i = 0; i < 30; ++i) train_others();
    compacted = variable->metrics().tiers[1].compaction_bytes - compacted;
  });
  int64_t added = 0;
  EV_ASSERT_OK(variable->AddRows(keys, {}, {ValuesOf(keys), {}, {}, {}}, &added));
  EXPECT_GT(compacted, 0);
  EXPECT_EQ(added, 9);
  EXPECT_EQ(Lookup(*variable, keys), ValuesOf(keys));
  for (int i = 0; i < 10; ++i) train_others();
  EXPECT_EQ(Lookup(*variable, keys), ValuesOf(keys));
}
#endif

}  // namespace
}  // namespace ev
