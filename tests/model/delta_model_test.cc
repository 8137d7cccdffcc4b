// Random batches, removals, evictions, clearings and saves, some of which fail: after each save the full file and its deltas
// load as the variable is, in any storage, with a filter or without; merged, too.
#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "ev_tf/variable/storage_type.h"
#include "tests/support/chain_files.h"
#include "tests/support/fault_env.h"
#include "tests/support/keys.h"
#include "tests/support/random.h"
#include "tests/support/sanitizers.h"
#include "tests/support/temp_dir.h"

namespace ev {
namespace {

using test::ExpectSame;
using test::StateOf;
using testing::FaultEnv;

constexpr int64_t kDim = 4;

struct ModelCase {
  const char* name;
  StorageType storage;
  int64_t filter_freq;
};

class DeltaModel : public ::testing::TestWithParam<ModelCase> {
 protected:
  void SetUp() override {
    options_ = test::Options(kDim, /*with_meta=*/true);
    options_.admission.filter_freq = GetParam().filter_freq;
    options_.shrink.steps_to_live = 12;
    EV_ASSERT_OK(
        MakeStorage(GetParam().storage, dir_ / "tiers", 40 * kDim * 12, CacheStrategy::kLfu, &options_.storage));
    variable_ = test::NewVariable(options_, test::DefaultMatrix(8, kDim));
    keys_.assign(test::kEdgeKeys.begin(), test::kEdgeKeys.end());
    for (Key key = -150; key < 150; ++key) keys_.push_back(key * 1009);
  }

  std::vector<Key> Some(size_t most) {
    std::vector<Key> some(1 + random_.Below(most));
    for (Key& key : some) key = keys_[random_.Below(keys_.size())];
    return some;
  }

  void Change() {
    ++step_;
    const std::vector<Key> keys = Some(60);
    const test::RuleCase rule = step_ < slots_from_ ? test::SgdCase() : test::AdamCase();
    test::Apply(variable_.get(), rule, keys, random_.Floats(keys.size() * kDim, -1, 1), step_);
    if (random_.OneIn(3)) variable_->Remove(Some(10));
    if (random_.OneIn(6)) {
      const std::vector<Key> written = Some(5);
      const std::vector<float> values = random_.Floats(written.size() * kDim, -1, 1);
      EV_ASSERT_OK(variable_->WriteRows(written, {}, {values, {}, {}, {}}));
    }
    if (random_.OneIn(6)) {
      int64_t dropped = 0;
      EV_ASSERT_OK(variable_->Shrink(step_, &dropped));
    }
    if (random_.OneIn(4)) EV_ASSERT_OK(variable_->FlushEvictions());
    if (random_.OneIn(40)) EV_ASSERT_OK(variable_->Clear());
  }

  // A save of either kind, of which one in four fails; and one chain in four goes on from its merged file.
  void SaveSomehow() {
    const bool base = files_.empty() || random_.OneIn(10);
    const int failures = failures_;
    Save(base, random_.OneIn(4) ? static_cast<int64_t>(random_.Below(6)) : kNever);
    if (failures_ == failures && !HasFatalFailure() && random_.OneIn(4)) GoOnFromMerged();
  }

  // Fails at the writing call of number `fails_at`.
  void Save(bool base, int64_t fails_at) {
    const std::string path = "disk/" + std::to_string(++saves_);
    if (fails_at != kNever) env_.FailAt(fails_at, FaultEnv::Fault::kDiskFull, false);
    SerialExecutor serial;
    const Status saved =
        base ? SaveBase(variable_.get(), path, serial, &env_) : SaveDelta(variable_.get(), path, serial, &env_);
    env_.Heal();
    if (!saved.ok()) {
      ++failures_;
      return;
    }
    if (base) files_.clear();
    files_.push_back(path);
    Check();
  }

  void Check() {
    const test::State state = StateOf(*variable_);
    VariableOptions anywhere = options_;
    if (random_.OneIn(2)) anywhere.storage = StorageOptions();
    ExpectSame(StateOf(*test::LoadFiles(anywhere, files_, {}, &env_)), state);
    if (HasFatalFailure()) return;
    EV_ASSERT_OK(MergeTables(files_, "disk/merged", &env_));
    ExpectSame(StateOf(*test::LoadFiles(anywhere, {"disk/merged"}, {}, &env_)), state);
    EV_ASSERT_OK(VerifyTable("disk/merged", &env_));
  }

  // What Check() merged takes the place of the chain.
  void GoOnFromMerged() {
    files_ = {"disk/merged." + std::to_string(saves_)};
    EV_ASSERT_OK(env_.Rename("disk/merged", files_[0]));
  }

  static constexpr int64_t kNever = -1;

  test::Random random_{static_cast<uint64_t>(GetParam().storage) * 10 + static_cast<uint64_t>(GetParam().filter_freq)};
  const test::TempDir dir_;
  FaultEnv env_;
  VariableOptions options_;
  std::unique_ptr<EmbeddingVariable> variable_;
  std::vector<Key> keys_;
  std::vector<std::string> files_;  // the chain
  int step_ = 0;
  const int slots_from_ = 5 + static_cast<int>(random_.Below(20));
  int saves_ = 0;
  int failures_ = 0;
};

TEST_P(DeltaModel, AFullSaveAndItsDeltasAreTheTable) {
  for (int round = 0; round < test::Rounds(120, 4); ++round) {
    for (uint64_t changes = random_.Below(4); changes > 0; --changes) Change();
    SaveSomehow();
    if (HasFatalFailure()) FAIL() << "round " << round << ", step " << step_;
  }
  // A save that fails between two that do not, and a chain of four, whatever the dice gave above.
  Save(/*base=*/true, kNever);
  const int failures = failures_;
  for (const int64_t fails_at : {kNever, int64_t{0}, kNever, kNever}) {
    Change();
    Save(/*base=*/false, fails_at);
    ASSERT_FALSE(HasFatalFailure());
  }
  EXPECT_EQ(failures_, failures + 1);
  EXPECT_EQ(files_.size(), 4U);
}

INSTANTIATE_TEST_SUITE_P(Storage, DeltaModel,
                         ::testing::Values(ModelCase{"dram", StorageType::kDram, 0},
                                           ModelCase{"dram_filter", StorageType::kDram, 3},
                                           ModelCase{"ssdhash", StorageType::kDramSsdHash, 0},
                                           ModelCase{"ssdhash_filter", StorageType::kDramSsdHash, 2}),
                         [](const auto& info) { return std::string(info.param.name); });

}  // namespace
}  // namespace ev
