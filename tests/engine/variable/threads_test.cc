// The same bits whatever the number of threads: batches large enough that a call is really split.
#include <gtest/gtest.h>

#include <memory>
#include <vector>

#include "ev_tf/variable/embedding_variable.h"
#include "tests/support/random.h"
#include "tests/support/variable_support.h"

namespace ev {
namespace {

using test::ReadRows;

constexpr int64_t kDim = 16;
constexpr size_t kBatch = 40000;  // five parts of 8,192 keys; several tasks of 256 KiB
constexpr Key kRange = 15000;     // so that most keys stand several times

class ThreadsTest : public testing::TestWithParam<test::RuleCase> {
 protected:
  // Trains a variable by batches that are the same for every call, and returns all that is stored.
  test::StoredRows Train(int threads, std::vector<float>* lookups) const {
    test::Random random(1);
    const auto ev = test::NewVariable(test::Options(kDim, true), test::DefaultMatrix(97, kDim));
    const auto executor = NewThreadPoolExecutor(threads);
    std::vector<Key> keys(kBatch);
    lookups->resize(kBatch * kDim);
    for (int step = 0; step < 4; ++step) {
      for (Key& key : keys) key = static_cast<Key>(random.Below(kRange)) - kRange / 2;
      const std::vector<float> grads = random.Floats(kBatch * kDim, -1, 1);
      EV_EXPECT_OK(ev->Apply(GetParam().rule, GetParam().Slots(kDim), keys, grads, step, *executor));
      if (step == 2) ev->Remove({keys.data(), 2000});
    }
    EV_EXPECT_OK(ev->Lookup(keys, *lookups, *executor));
    std::vector<Key> all(kRange);
    for (size_t i = 0; i < all.size(); ++i) all[i] = static_cast<Key>(i) - kRange / 2;
    return ReadRows(*ev, all);
  }
};

TEST_P(ThreadsTest, OneTwoAndFourThreadsGiveTheSameBits) {
  std::vector<float> lookups;
  const test::StoredRows one = Train(1, &lookups);
  for (const int threads : {2, 4}) {
    std::vector<float> more_lookups;
    const test::StoredRows more = Train(threads, &more_lookups);
    EXPECT_EQ(more.found, one.found);
    EXPECT_TRUE(more.values == one.values) << threads << " threads";
    EXPECT_TRUE(more.slots == one.slots) << threads << " threads";
    EXPECT_TRUE(more.frequencies == one.frequencies) << threads << " threads";
    EXPECT_TRUE(more.versions == one.versions) << threads << " threads";
    EXPECT_TRUE(more_lookups == lookups) << threads << " threads";
  }
}

INSTANTIATE_TEST_SUITE_P(Rules, ThreadsTest,
                         testing::Values(test::SgdCase(), test::AdagradCase(0.0f), test::AdamCase()),
                         [](const auto& info) { return info.param.name; });

// Duplicates are summed in the order they stand: float sums depend on it.
TEST(SumOrder, DuplicatesAreSummedInTheOrderTheyStand) {
  const auto ev = test::NewVariable(test::Options(1), {0.0f});
  const std::vector<float> grads = {1e8f, -1e8f, 1.0f, 1.0f};
  test::Descend(ev.get(), {5, 5, 5, 5}, grads);
  EXPECT_EQ(test::Lookup(*ev, {5})[0], -2.0f) << "any other order loses a 1 beside 1e8";
}

}  // namespace
}  // namespace ev
