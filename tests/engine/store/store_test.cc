#include "ev_tf/store/store.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <numeric>
#include <random>
#include <string>
#include <vector>

#include "tests/support/keys.h"
#include "tests/support/random.h"
#include "tests/support/status_matchers.h"
#include "tests/support/variable_support.h"

namespace ev {
namespace {

constexpr int64_t kDim = 5;

class StoreTest : public testing::Test {
 protected:
  RowRefs FindOrInsert(const std::vector<Key>& keys, size_t inserted_wanted) {
    RowRefs refs;
    size_t inserted = 0;
    const EpochGuard guard(store_.epochs());
    EV_EXPECT_OK(store_.FindOrInsert(keys, ColdRows(), 1, &refs, &inserted));
    EXPECT_EQ(inserted, inserted_wanted);
    return refs;
  }
  RowRefs Find(const std::vector<Key>& keys) const {
    RowRefs refs;
    const EpochGuard guard(store_.epochs());
    EXPECT_TRUE(store_.Read(keys, ColdRows(), &refs).ok());
    return refs;
  }
  size_t Remove(const std::vector<Key>& keys) {
    const EpochGuard guard(store_.epochs());
    return store_.Remove(keys);
  }
  std::vector<float> Gather(const std::vector<Key>& keys, int64_t missing_wanted) const {
    std::vector<float> out(keys.size() * kDim);
    int64_t missing = 0;
    ColdRows cold;
    const EpochGuard guard(store_.epochs());
    EXPECT_TRUE(store_.Gather(keys, 1, out.data(), &missing, &cold).ok());
    EXPECT_EQ(missing, missing_wanted);
    return out;
  }

  const std::vector<float> matrix_ = test::DefaultMatrix(7, kDim);
  const DefaultRows defaults_{matrix_, kDim};
  static StoreOptions Options() {
    StoreOptions options;
    options.with_meta = true;
    return options;
  }
  mutable Store store_{Options(), RowLayout(kDim), &defaults_};
};

TEST_F(StoreTest, AMissingKeyHasNoRowAndReadsItsDefault) {
  const std::vector<Key> keys(test::kEdgeKeys.begin(), test::kEdgeKeys.end());
  for (const float* row : Find(keys).rows) EXPECT_EQ(row, nullptr);
  const std::vector<float> rows = Gather(keys, static_cast<int64_t>(keys.size()));
  for (size_t i = 0; i < keys.size(); ++i) {
    EXPECT_TRUE(std::equal(defaults_.row(keys[i]), defaults_.row(keys[i]) + kDim, rows.begin() + i * kDim));
  }
  EXPECT_EQ(store_.size(), 0);
}

TEST_F(StoreTest, S1ARowStaysWhereItIsWhileOthersCome) {
  const std::vector<Key> keys(test::kEdgeKeys.begin(), test::kEdgeKeys.end());
  const RowRefs first = FindOrInsert(keys, keys.size());
  std::vector<Key> more(50000);
  std::iota(more.begin(), more.end(), 100);
  FindOrInsert(more, more.size());
  EXPECT_EQ(FindOrInsert(keys, 0).rows, first.rows);
  EXPECT_EQ(Find(keys).rows, first.rows);
  EXPECT_EQ(Find(keys).meta, first.meta);
}

TEST_F(StoreTest, OnlyMissingKeysAreInserted) {
  FindOrInsert({1, 2, 3}, 3);
  const RowRefs refs = FindOrInsert({3, 4, 1, 5}, 2);
  EXPECT_EQ(store_.size(), 5);
  EXPECT_EQ(store_.hot_rows(), 5u);
  EXPECT_EQ(refs.rows[0], Find({3}).rows[0]);
}

TEST_F(StoreTest, AKeyThatStandsTwiceGetsOneRow) {
  const RowRefs refs = FindOrInsert({9, 8, 9}, 2);
  EXPECT_EQ(refs.rows[0], refs.rows[2]);
  EXPECT_EQ(store_.hot_rows(), 2u) << "the position taken for the second one is given back";
}

TEST_F(StoreTest, S2ARemovedKeyIsGoneAndComesBackNew) {
  const RowRefs refs = FindOrInsert({1, 2}, 2);
  refs.rows[0][0] = 99;
  refs.meta[0]->frequency = 5;
  EXPECT_EQ(Remove({1, 1, 3}), 1u);
  EXPECT_EQ(Find({1}).rows[0], nullptr);
  const RowRefs again = FindOrInsert({1}, 1);
  EXPECT_EQ(again.rows[0][0], defaults_.row(1)[0]);
  EXPECT_EQ(again.meta[0]->frequency, 0u);
}

TEST_F(StoreTest, ADroppedRowIsNotUsedAgainUnderAGuardThatSawIt) {
  const RowRefs refs = FindOrInsert({1}, 1);
  const EpochGuard guard(store_.epochs());
  EXPECT_EQ(store_.Remove(std::vector<Key>{1}), 1u);
  RowRefs fresh;
  size_t inserted = 0;
  EV_ASSERT_OK(store_.FindOrInsert(std::vector<Key>{2}, ColdRows(), 1, &fresh, &inserted));
  EXPECT_NE(fresh.rows[0], refs.rows[0]);
}

TEST_F(StoreTest, RemovedRowsAreUsedAgain) {
  std::vector<Key> keys(1000);
  for (int round = 0; round < 50; ++round) {
    std::iota(keys.begin(), keys.end(), round * 1000);
    FindOrInsert(keys, keys.size());
    EXPECT_EQ(Remove(keys), keys.size());
  }
  EXPECT_LE(store_.hot().rows().pool().high_water(), 3000u);
}

TEST_F(StoreTest, RelayoutKeepsValuesSlotsAndMeta) {
  RowLayout with_slot;
  EV_ASSERT_OK(store_.layout().WithSlot({"a", kDim, 0.5f}, &with_slot));
  const std::vector<Key> keys = {3, -4, 5};
  RowRefs refs = FindOrInsert(keys, 3);
  for (size_t i = 0; i < keys.size(); ++i) {
    std::fill_n(refs.rows[i], kDim, static_cast<float>(i));
    *refs.meta[i] = {static_cast<uint32_t>(i), 7};
  }
  EV_ASSERT_OK(store_.Relayout(with_slot));
  EXPECT_EQ(store_.layout().slots().size(), 1u);
  refs = Find(keys);
  for (size_t i = 0; i < keys.size(); ++i) {
    for (int64_t d = 0; d < kDim; ++d) {
      EXPECT_EQ(refs.rows[i][d], static_cast<float>(i));
      EXPECT_EQ(refs.rows[i][store_.layout().slot_offset(0) + static_cast<size_t>(d)], 0.5f);
    }
    EXPECT_EQ(refs.meta[i]->frequency, i);
    EXPECT_EQ(refs.meta[i]->version_plus1, 7u);
  }
  EXPECT_EQ(store_.size(), 3);
}

TEST_F(StoreTest, ClearDropsAllRowsAndKeepsTheLayout) {
  FindOrInsert({1, 2, 3}, 3);
  Remove({1});
  EV_ASSERT_OK(store_.Clear());
  EXPECT_EQ(store_.size(), 0);
  EXPECT_EQ(store_.hot_rows(), 0u);
  EXPECT_EQ(Find({2}).rows[0], nullptr);
  FindOrInsert({2}, 1);
}

TEST_F(StoreTest, GatherServesLongBatches) {
  std::vector<Key> keys(40001);
  std::iota(keys.begin(), keys.end(), 0);
  std::vector<Key> even;
  for (const Key key : keys) {
    if (key % 2 == 0) even.push_back(key);
  }
  const RowRefs refs = FindOrInsert(even, even.size());
  for (size_t i = 0; i < even.size(); ++i) std::fill_n(refs.rows[i], kDim, static_cast<float>(even[i]));
  const std::vector<float> rows = Gather(keys, 20000);
  for (size_t i = 0; i < keys.size(); ++i) {
    const float want = keys[i] % 2 == 0 ? static_cast<float>(keys[i]) : defaults_.row(keys[i])[kDim - 1];
    ASSERT_EQ(rows[i * kDim + kDim - 1], want) << keys[i];
  }
}

// Narrow rows and wide ones, and batches of any length: lines and rows are asked for ahead, and what is asked for has to end.
class StoreGather : public ::testing::TestWithParam<bool> {};

TEST_P(StoreGather, ServesBatchesOfAnyLength) {
  StoreOptions options;
  options.asks_between_copies = GetParam();
  constexpr int64_t kRows = 2000;  // the even keys below twice that
  std::mt19937_64 random(test::Seed());
  for (const int64_t dim : {5, 16, 32, 33, 64}) {
    SCOPED_TRACE("dim " + std::to_string(dim) + " EV_SEED=" + std::to_string(test::Seed()));
    const std::vector<float> matrix = test::DefaultMatrix(7, dim);
    const DefaultRows defaults(matrix, dim);
    Store store(options, RowLayout(dim), &defaults);
    const EpochGuard guard(store.epochs());
    std::vector<Key> keys(kRows);
    for (size_t i = 0; i < keys.size(); ++i) keys[i] = static_cast<Key>(2 * i);
    RowRefs refs;
    size_t inserted = 0;
    EV_ASSERT_OK(store.FindOrInsert(keys, ColdRows(), 1, &refs, &inserted));
    for (size_t i = 0; i < keys.size(); ++i) std::fill_n(refs.rows[i], dim, static_cast<float>(keys[i]));
    for (size_t n = 0; n < 1100; n += n < 150 ? 1 : 131) {
      SCOPED_TRACE(n);
      std::vector<Key> wanted(n);
      for (Key& key : wanted) key = static_cast<Key>(random() % (2 * kRows));
      std::vector<float> rows(n * static_cast<size_t>(dim), -1.0f);
      std::vector<float> expected;
      int64_t absent = 0;
      for (const Key key : wanted) {
        const std::vector<float> row(static_cast<size_t>(dim), static_cast<float>(key));
        const float* from = key % 2 == 0 ? row.data() : defaults.row(key);
        expected.insert(expected.end(), from, from + dim);
        absent += key % 2;
      }
      int64_t missing = 0;
      ColdRows cold;
      ASSERT_TRUE(store.Gather(wanted, 1, rows.data(), &missing, &cold).ok());
      ASSERT_EQ(missing, absent);
      ASSERT_EQ(rows, expected);
    }
  }
}

INSTANTIATE_TEST_SUITE_P(AsksForLines, StoreGather, ::testing::Bool(),
                         [](const auto& param) { return param.param ? "BetweenCopies" : "WithCompares"; });

}  // namespace
}  // namespace ev
