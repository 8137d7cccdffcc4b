// What the facade promises to one caller: V1, V2, V4 and V5, shapes, meta, and its errors.
#include "ev_tf/variable/embedding_variable.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <limits>
#include <memory>
#include <vector>

#include "tests/support/keys.h"
#include "tests/support/random.h"
#include "tests/support/variable_support.h"

namespace ev {
namespace {

using test::Descend;
using test::ExpectError;
using test::Lookup;
using test::NewVariable;
using test::Options;
using test::ReadRows;

constexpr int64_t kMaxVersion = std::numeric_limits<uint32_t>::max() - int64_t{1};

std::vector<Key> Sorted(std::vector<Key> keys) {
  std::sort(keys.begin(), keys.end());
  return keys;
}

std::vector<float> Ones(size_t n) { return std::vector<float>(n, 1.0f); }

class EmbeddingVariableTest : public testing::Test {
 protected:
  static constexpr int64_t kDim = 4;

  std::vector<float> DefaultOf(Key key) const {
    const auto first = matrix_.begin() + FloorMod(key, 8) * kDim;
    return {first, first + kDim};
  }

  const std::vector<float> matrix_ = test::DefaultMatrix(8, kDim);
  std::unique_ptr<EmbeddingVariable> ev_ = NewVariable(Options(kDim, /*with_meta=*/true), matrix_);
  SerialExecutor executor_;
};

TEST_F(EmbeddingVariableTest, V1ALookupNeverInsertsAndReadsTheDefaultRowEachTime) {
  for (int round = 0; round < 3; ++round) {
    for (const Key key : test::kEdgeKeys) EXPECT_EQ(Lookup(*ev_, {key}), DefaultOf(key)) << key;
  }
  EXPECT_EQ(ev_->size(), 0);
  EXPECT_TRUE(ev_->Keys().empty());
  EXPECT_EQ(ev_->metrics().inserts, 0);
  EXPECT_EQ(ev_->metrics().lookup_misses, 3 * static_cast<int64_t>(test::kEdgeKeys.size()));
}

TEST_F(EmbeddingVariableTest, V2TheFirstApplyInsertsOnceFromTheDefaultRow) {
  const std::vector<Key> keys(test::kEdgeKeys.begin(), test::kEdgeKeys.end());
  std::vector<Key> twice = keys;
  twice.insert(twice.end(), keys.begin(), keys.end());
  Descend(ev_.get(), twice, Ones(twice.size() * kDim));
  for (const Key key : keys) {
    std::vector<float> want = DefaultOf(key);
    for (float& f : want) f -= 2;
    EXPECT_EQ(Lookup(*ev_, {key}), want) << key;
  }
  EXPECT_EQ(ev_->metrics().inserts, static_cast<int64_t>(keys.size()));
  EXPECT_EQ(ev_->metrics().update_keys, static_cast<int64_t>(twice.size()));
  EXPECT_EQ(ev_->metrics().update_rows, static_cast<int64_t>(keys.size()));
  EXPECT_EQ(Sorted(ev_->Keys()), Sorted(keys));
}

TEST_F(EmbeddingVariableTest, V4SizeEqualsTheKeys) {
  test::Random random(1);
  for (int round = 0; round < 100; ++round) {
    std::vector<Key> keys(random.Below(200));
    for (Key& key : keys) key = static_cast<Key>(random.Below(500)) - 250;
    if (random.OneIn(3)) {
      ev_->Remove(keys);
    } else {
      Descend(ev_.get(), keys, Ones(keys.size() * kDim));
    }
    std::vector<Key> all = Sorted(ev_->Keys());
    EXPECT_EQ(ev_->size(), static_cast<int64_t>(all.size()));
    EXPECT_EQ(std::adjacent_find(all.begin(), all.end()), all.end()) << "a key is in Keys() twice";
    EXPECT_EQ(ev_->metrics().rows, ev_->size());
    EXPECT_EQ(ev_->metrics().inserts - ev_->metrics().removes, ev_->size());
  }
}

TEST_F(EmbeddingVariableTest, EmptyBatchesAreNoError) {
  EXPECT_TRUE(Lookup(*ev_, {}).empty());
  Descend(ev_.get(), {}, {});
  EV_EXPECT_OK(ev_->WriteRows({}, {}, {}));
  EV_EXPECT_OK(ev_->ReadRows({}, {}, {}));
  EXPECT_EQ(ev_->Remove({}), 0);
  EXPECT_EQ(ev_->size(), 0);
}

TEST_F(EmbeddingVariableTest, ARemovedKeyReadsItsDefaultAndStartsAnew) {
  const test::RuleCase adagrad = test::AdagradCase(0.0f);
  Apply(ev_.get(), adagrad, {1, 1, 2}, Ones(12), 5);
  EXPECT_EQ(ev_->Remove(std::vector<Key>{1, 1, 77}), 1);
  EXPECT_EQ(Lookup(*ev_, {1}), DefaultOf(1));
  EXPECT_FALSE(ReadRows(*ev_, {1}).found[0]);
  Apply(ev_.get(), adagrad, {1}, {0, 0, 0, 0});
  const test::StoredRows rows = ReadRows(*ev_, {1, 2});
  EXPECT_EQ(Lookup(*ev_, {1}), DefaultOf(1));
  EXPECT_EQ(rows.slots[0], 0.1f) << "the slot starts at its initial value again";
  EXPECT_EQ(rows.frequencies, (std::vector<int64_t>{1, 1}));
  EXPECT_EQ(rows.versions, (std::vector<int64_t>{-1, 5}));
}

TEST_F(EmbeddingVariableTest, ClearDropsEveryRowAndKeepsTheSlots) {
  Apply(ev_.get(), test::AdamCase(), {1, 2, 3}, Ones(12));
  EV_ASSERT_OK(ev_->Clear());
  EXPECT_EQ(ev_->size(), 0);
  EXPECT_EQ(ev_->slots().size(), 2u);
  EXPECT_EQ(Lookup(*ev_, {2}), DefaultOf(2));
  EXPECT_EQ(ev_->metrics().removes, 3);
  Apply(ev_.get(), test::AdamCase(), {2}, Ones(4));
  EXPECT_EQ(ev_->size(), 1);
}

TEST_F(EmbeddingVariableTest, SlotsThatArriveLateKeepTheRows) {
  const test::RuleCase sgd = test::SgdCase();
  std::vector<Key> keys(5000);
  for (size_t i = 0; i < keys.size(); ++i) keys[i] = static_cast<Key>(i) - 2500;
  Apply(ev_.get(), sgd, keys, Ones(keys.size() * kDim), 3);
  const std::vector<float> before = Lookup(*ev_, keys);
  const std::vector<SlotSpec> wanted = {{"a", kDim, 0.5f}, {"b", 1, -1.0f}};
  EV_ASSERT_OK(ev_->WriteRows({}, wanted, {}));  // no row, but the slots
  EXPECT_EQ(Lookup(*ev_, keys), before);
  const test::StoredRows rows = ReadRows(*ev_, keys);
  for (size_t i = 0; i < keys.size(); ++i) {
    ASSERT_EQ(std::vector<float>(rows.slots.begin() + i * 5, rows.slots.begin() + (i + 1) * 5),
              (std::vector<float>{0.5f, 0.5f, 0.5f, 0.5f, -1.0f}));
    ASSERT_EQ(rows.frequencies[i], 1);
    ASSERT_EQ(rows.versions[i], 3);
  }
  EXPECT_EQ(ev_->metrics().row_bytes, 48);
}

TEST_F(EmbeddingVariableTest, FrequencyCountsDuplicatesAndStaysAtItsLimit) {
  EV_ASSERT_OK(ev_->WriteRows(std::vector<Key>{1, 2}, {},
                              {Ones(8), {}, std::vector<int64_t>{0, 4294967293}, std::vector<int64_t>{-1, -1}}));
  Descend(ev_.get(), {1, 2, 1, 2, 1, 2}, Ones(24));
  EXPECT_EQ(ReadRows(*ev_, {1, 2}).frequencies, (std::vector<int64_t>{3, 4294967295}));
  Descend(ev_.get(), {2}, Ones(4));
  EXPECT_EQ(ReadRows(*ev_, {2}).frequencies[0], 4294967295);
}

TEST_F(EmbeddingVariableTest, VersionIsTheLastStepThatWasGiven) {
  const test::RuleCase sgd = test::SgdCase();
  Apply(ev_.get(), sgd, {1}, Ones(4), 0);
  EXPECT_EQ(ReadRows(*ev_, {1}).versions[0], 0);
  Apply(ev_.get(), sgd, {1}, Ones(4), kMaxVersion);
  EXPECT_EQ(ReadRows(*ev_, {1}).versions[0], kMaxVersion);
  Apply(ev_.get(), sgd, {1, 2}, Ones(8), -1);
  EXPECT_EQ(ReadRows(*ev_, {1, 2}).versions, (std::vector<int64_t>{kMaxVersion, -1}));
  ExpectError(ev_->Apply(sgd.rule, {}, std::vector<Key>{1}, Ones(4), kMaxVersion + 1, executor_),
              StatusCode::kInvalidArgument,
              {"table", "global_step", std::to_string(kMaxVersion), std::to_string(kMaxVersion + 1)});
}

TEST_F(EmbeddingVariableTest, WhatIsNotRecordedReadsZeroAndMinusOne) {
  ev_ = NewVariable(Options(kDim, /*with_meta=*/false), matrix_);
  Apply(ev_.get(), test::SgdCase(), {1}, Ones(4), int64_t{1} << 40);  // too large for a version, but none is kept
  EXPECT_EQ(ReadRows(*ev_, {1}).frequencies[0], 0);
  EXPECT_EQ(ReadRows(*ev_, {1}).versions[0], -1);
  EXPECT_EQ(ev_->metrics().meta_bytes, 0);
}

TEST_F(EmbeddingVariableTest, OneOfTheTwoMayBeRecorded) {
  VariableOptions options = Options(kDim);
  options.record_frequency = true;
  ev_ = NewVariable(options, matrix_);
  Apply(ev_.get(), test::SgdCase(), {1}, Ones(4), 9);
  EXPECT_EQ(ReadRows(*ev_, {1}).frequencies[0], 1);
  EXPECT_EQ(ReadRows(*ev_, {1}).versions[0], -1);
  options.record_frequency = false;
  options.record_version = true;
  ev_ = NewVariable(options, matrix_);
  Apply(ev_.get(), test::SgdCase(), {1}, Ones(4), 9);
  EXPECT_EQ(ReadRows(*ev_, {1}).frequencies[0], 0);
  EXPECT_EQ(ReadRows(*ev_, {1}).versions[0], 9);
}

TEST_F(EmbeddingVariableTest, ReadRowsLeavesThePartsOfAMissingKey) {
  Descend(ev_.get(), {1}, Ones(4));
  const test::StoredRows rows = ReadRows(*ev_, {5, 1, 5});
  EXPECT_EQ(rows.found, (std::vector<bool>{false, true, false}));
  EXPECT_EQ(rows.values[0], -9.0f);
  EXPECT_EQ(rows.frequencies, (std::vector<int64_t>{-9, 1, -9}));
}

TEST_F(EmbeddingVariableTest, ReadRowsGivesOnlyTheColumnsAskedFor) {
  Descend(ev_.get(), {1}, Ones(4));
  const std::vector<Key> keys = {1};
  bool found = false;
  std::vector<int64_t> versions = {-9};
  EV_ASSERT_OK(ev_->ReadRows(keys, {{}, {}, {}, versions}, {&found, 1}));
  EXPECT_TRUE(found);
  EXPECT_EQ(versions[0], -1);
  EV_ASSERT_OK(ev_->ReadRows(keys, {}, {&found, 1}));
}

TEST(EmbeddingVariableDims, EveryDimReadsAndWritesItsOwnRows) {
  for (const int64_t dim : {1, 2, 3, 4, 5, 15, 16, 17, 31, 33, 64, 100, 257, 1000, 4096}) {
    SCOPED_TRACE(testing::Message() << "dim " << dim);
    const std::vector<float> matrix = test::DefaultMatrix(3, dim);
    const auto ev = NewVariable(Options(dim), matrix);
    std::vector<Key> keys(50);
    for (size_t i = 0; i < keys.size(); ++i) keys[i] = static_cast<Key>(i) - 25;
    std::vector<float> grads(keys.size() * static_cast<size_t>(dim));
    for (size_t i = 0; i < grads.size(); ++i) grads[i] = static_cast<float>(i % 1000);
    std::vector<float> want = Lookup(*ev, keys);
    for (size_t i = 0; i < keys.size(); ++i) {
      EXPECT_EQ(want[i * static_cast<size_t>(dim)], matrix[static_cast<size_t>(FloorMod(keys[i], 3) * dim)]);
    }
    Descend(ev.get(), keys, grads);
    for (size_t i = 0; i < want.size(); ++i) want[i] -= grads[i];
    EXPECT_EQ(Lookup(*ev, keys), want);
    EXPECT_EQ(test::ReadRows(*ev, keys).values, want);
  }
}

}  // namespace
}  // namespace ev
