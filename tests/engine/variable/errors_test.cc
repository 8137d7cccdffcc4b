// Every error of the facade: its code, what the message names, and that nothing has changed (V5).
#include <gtest/gtest.h>

#include <cstdlib>
#include <limits>
#include <memory>
#include <string>
#include <vector>

#include "ev_tf/tier/dram/dram_tier.h"
#include "ev_tf/variable/embedding_variable.h"
#include "tests/support/variable_support.h"

namespace ev {
namespace {

using test::ExpectError;
using test::NewVariable;
using test::Options;
using test::ReadRows;

constexpr int64_t kDim = 4;
constexpr StatusCode kInvalid = StatusCode::kInvalidArgument;

Status Create(int64_t dim, const std::vector<float>& defaults) {
  std::unique_ptr<EmbeddingVariable> out;
  const Status status = EmbeddingVariable::Create(Options(dim), defaults, &out);
  EXPECT_EQ(out == nullptr, !status.ok());
  return status;
}

TEST(CreateErrors, DimIsOutOfRange) {
  for (const int64_t dim : {int64_t{0}, int64_t{-1}, kMaxDim + 1, std::numeric_limits<int64_t>::min()}) {
    ExpectError(Create(dim, {1, 2}), kInvalid, {"table", "dim", "1 to 65536", std::to_string(dim)});
  }
}

TEST(CreateErrors, EvictionThreadsThatAreNoNumber) {
  VariableOptions spilling = Options(1);
  spilling.storage.open_lower = [](size_t record_bytes, Relocator*, std::shared_ptr<Tier>* out) {
    *out = std::make_shared<DramTier>(record_bytes, false);
    return OkStatus();
  };
  const std::vector<float> defaults = {1};
  std::unique_ptr<EmbeddingVariable> out;
  for (const char* value : {"abc", "-3", "0", "257", "4x", " ", "1.5", "99999999999999999999"}) {
    ASSERT_EQ(setenv("TF_MULTI_TIER_EV_EVICTION_THREADS", value, 1), 0);
    ExpectError(EmbeddingVariable::Create(spilling, defaults, &out), kInvalid,
                {"TF_MULTI_TIER_EV_EVICTION_THREADS", "1 to 256", value});
    EXPECT_EQ(out, nullptr);
    EXPECT_TRUE(EmbeddingVariable::Create(Options(1), defaults, &out).ok()) << "rows in DRAM alone ask nobody";
    out.reset();
  }
  for (const char* value : {"", "1", "256"}) {
    ASSERT_EQ(setenv("TF_MULTI_TIER_EV_EVICTION_THREADS", value, 1), 0);
    EXPECT_TRUE(EmbeddingVariable::Create(spilling, defaults, &out).ok()) << value;
  }
  unsetenv("TF_MULTI_TIER_EV_EVICTION_THREADS");
}

TEST(CreateErrors, DefaultRowsAreNotRows) {
  ExpectError(Create(4, {}), kInvalid, {"table", "default_rows", "multiple of dim 4", "found 0"});
  ExpectError(Create(4, {1, 2, 3, 4, 5}), kInvalid, {"table", "default_rows", "multiple of dim 4", "found 5"});
}

// Each test makes one wrong call; afterwards the variable must be what it was.
class VariableErrors : public testing::Test {
 protected:
  struct State {
    std::vector<float> values;
    std::vector<float> slots;
    std::vector<int64_t> frequencies;
    std::vector<int64_t> versions;
    size_t slot_count;
    int64_t size;
    bool operator==(const State& o) const {
      return values == o.values && slots == o.slots && frequencies == o.frequencies && versions == o.versions &&
             slot_count == o.slot_count && size == o.size;
    }
  };

  void SetUp() override {
    Apply(ev_.get(), adagrad_, {1, 2}, std::vector<float>(8, 1.0f), 3);
    before_ = Now();
  }
  void TearDown() override { EXPECT_TRUE(Now() == before_) << "V5: a failed call changed something"; }

  State Now() const {
    const test::StoredRows rows = ReadRows(*ev_, {1, 2});
    return {rows.values, rows.slots, rows.frequencies, rows.versions, ev_->slots().size(), ev_->size()};
  }
  Status ApplyWith(const UpdateRule& rule, const std::vector<SlotSpec>& slots, size_t grads = 8) {
    return ev_->Apply(rule, slots, keys_, std::vector<float>(grads, 1.0f), 4, executor_);
  }

  const std::unique_ptr<EmbeddingVariable> ev_ = NewVariable(Options(kDim, true), test::DefaultMatrix(8, kDim));
  const test::RuleCase adagrad_ = test::AdagradCase(0.0f);  // its slot is "adagrad/0"
  const test::RuleCase adam_ = test::AdamCase();
  const std::vector<Key> keys_ = {1, 50};
  const std::vector<float> values_ = std::vector<float>(8, 7.0f);
  SerialExecutor executor_;
  State before_;
};

TEST_F(VariableErrors, LookupIntoRowsOfAnotherSize) {
  for (const size_t size : {size_t{0}, size_t{7}, size_t{9}}) {
    std::vector<float> rows(size);
    ExpectError(ev_->Lookup(keys_, rows, executor_), kInvalid,
                {"table", "rows", "expected 8", "found " + std::to_string(size)});
  }
}

TEST_F(VariableErrors, ApplyWithGradientsOfAnotherSize) {
  ExpectError(ApplyWith(adagrad_.rule, adagrad_.Slots(kDim), 7), kInvalid, {"table", "grads", "expected 8", "found 7"});
  ExpectError(ApplyWith(adam_.rule, adam_.Slots(kDim), 12), kInvalid, {"table", "grads", "expected 8", "found 12"});
}

TEST_F(VariableErrors, ApplyWithAnotherNumberOfSlots) {
  ExpectError(ApplyWith(adam_.rule, {{"m", kDim, 0}}), kInvalid, {"table", "slots", "expected 2", "found 1"});
  ExpectError(ApplyWith(Sgd(0.1f), {{"m", kDim, 0}}), kInvalid, {"table", "slots", "expected 0", "found 1"});
}

TEST_F(VariableErrors, ASlotThatExistsWithAnotherDim) {
  ExpectError(ApplyWith(adagrad_.rule, {{"adagrad/0", 1, 0}}), kInvalid,
              {"table", "'adagrad/0'", "expected", std::to_string(kDim), "found 1"});
  const std::vector<SlotSpec> two = {{"adagrad/0", 2, 0}};
  ExpectError(ev_->WriteRows(keys_, two, {values_, std::vector<float>(4), {}, {}}), kInvalid,
              {"table", "'adagrad/0'", "expected", std::to_string(kDim), "found 2"});
}

// A rule writes as many floats as its widths say: a narrower slot would let it write over its neighbours.
TEST_F(VariableErrors, ASlotThatIsNarrowerThanTheRuleWrites) {
  ExpectError(ApplyWith(adam_.rule, {{"m", kDim, 0}, {"v", 1, 0}}), kInvalid,
              {"table", "'v'", "expected", std::to_string(kDim), "found 1"});
}

TEST_F(VariableErrors, ASlotThatIsWiderThanTheRuleWrites) {
  const std::vector<SlotSpec> wide = {{"a", kDim, 0.1f}, {"decays", kDim, 0}};
  ExpectError(ApplyWith(AdagradDecay(0.1f, 0.9f, 0.1f, 0), wide), kInvalid,
              {"table", "'decays'", "expected dim 1", "found " + std::to_string(kDim)});
}

TEST_F(VariableErrors, ASlotWithoutADimOrWiderThanTheRow) {
  for (const int64_t dim : {int64_t{0}, int64_t{-1}, int64_t{5}, std::numeric_limits<int64_t>::max()}) {
    ExpectError(ApplyWith(adam_.rule, {{"m", kDim, 0}, {"v", dim, 0}}), kInvalid, {"'v'", std::to_string(dim)});
  }
}

// One slot under two names of the rule: both would write to the same floats.
TEST_F(VariableErrors, ASlotThatStandsTwice) {
  ExpectError(ApplyWith(adam_.rule, {{"m", kDim, 0}, {"m", kDim, 0}}), kInvalid, {"table", "'m'"});
  ExpectError(ApplyWith(adam_.rule, {{"adagrad/0", kDim, 0}, {"adagrad/0", kDim, 0}}), kInvalid,
              {"table", "'adagrad/0'"});
  // The second one's columns would be written behind the end of the first one's slot.
  ExpectError(ev_->WriteRows(keys_, std::vector<SlotSpec>{{"w", 1, 0}, {"w", kDim, 0}},
                             {values_, std::vector<float>(10), {}, {}}),
              kInvalid, {"table", "'w'"});
}

TEST_F(VariableErrors, ReadRowsIntoColumnsOfAnotherSize) {
  bool found[3];
  std::vector<float> floats(7);
  std::vector<int64_t> ints(3);
  const auto read = [&](const EmbeddingVariable::RowBatch& out, size_t n) {
    return ev_->ReadRows(keys_, out, {found, n});
  };
  ExpectError(read({}, 3), kInvalid, {"table", "found", "expected 2", "found 3"});
  ExpectError(read({floats, {}, {}, {}}, 2), kInvalid, {"table", "values", "expected 8", "found 7"});
  ExpectError(read({{}, floats, {}, {}}, 2), kInvalid, {"table", "slots", "expected 8", "found 7"});
  ExpectError(read({{}, {}, ints, {}}, 2), kInvalid, {"table", "frequencies", "expected 2", "found 3"});
  ExpectError(read({{}, {}, {}, ints}, 2), kInvalid, {"table", "versions", "expected 2", "found 3"});
}

TEST_F(VariableErrors, WriteRowsFromColumnsOfAnotherSize) {
  const std::vector<SlotSpec> slots = {{"w", kDim, 0}};
  const std::vector<float> seven(7);
  const std::vector<int64_t> three(3);
  const auto write = [&](const std::vector<SlotSpec>& specs, const EmbeddingVariable::ConstRowBatch& rows) {
    return ev_->WriteRows(keys_, specs, rows);
  };
  ExpectError(write({}, {}), kInvalid, {"table", "values", "expected 8", "found 0"});
  ExpectError(write({}, {seven, {}, {}, {}}), kInvalid, {"table", "values", "expected 8", "found 7"});
  ExpectError(write({}, {values_, seven, {}, {}}), kInvalid, {"table", "slots", "expected 0", "found 7"});
  ExpectError(write(slots, {values_, seven, {}, {}}), kInvalid, {"table", "slots", "expected 8", "found 7"});
  ExpectError(write({}, {values_, {}, three, {}}), kInvalid, {"table", "frequencies", "expected 2", "found 3"});
  ExpectError(write({}, {values_, {}, {}, three}), kInvalid, {"table", "versions", "expected 2", "found 3"});
}

TEST_F(VariableErrors, WriteRowsOfAVersionThatIsNone) {
  for (const int64_t version : {int64_t{-2}, int64_t{4294967295}, std::numeric_limits<int64_t>::max()}) {
    const std::vector<int64_t> versions = {5, version};
    ExpectError(ev_->WriteRows(keys_, {}, {values_, {}, {}, versions}), kInvalid,
                {"table", "versions", "-1 to 4294967294", "found " + std::to_string(version)});
  }
}

TEST_F(VariableErrors, WriteRowsOfAFrequencyBelowZero) {
  const std::vector<float> values(8);
  const std::vector<int64_t> frequencies = {1, -1};
  ExpectError(ev_->WriteRows(keys_, {}, {values, {}, frequencies, {}}), kInvalid,
              {"table", "frequencies", "at least 0", "found -1"});
}

TEST_F(VariableErrors, WriteRowsOfSlotsWithoutADim) {
  for (const int64_t dim : {int64_t{0}, int64_t{-1}, std::numeric_limits<int64_t>::min()}) {
    const std::vector<SlotSpec> slots = {{"w", dim, 0}};
    EXPECT_EQ(ev_->WriteRows(keys_, slots, {values_, {}, {}, {}}).code(), kInvalid) << dim;
    EXPECT_EQ(ev_->WriteRows({}, slots, {}).code(), kInvalid) << dim;
  }
}

}  // namespace
}  // namespace ev
