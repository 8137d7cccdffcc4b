// Three tiers: what a move costs, and what is left when a tier fails.
#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <cmath>
#include <filesystem>
#include <numeric>

#include "ev_tf/optim/adagrad.h"
#include "ev_tf/optim/sgd.h"
#include "ev_tf/variable/embedding_variable.h"
#include "tests/support/random.h"
#include "tests/support/status_matchers.h"
#include "tests/support/threads.h"
#include "tests/support/tiers.h"
#include "tests/support/variable_support.h"

namespace ev {
namespace {

using test::WatchedTier;

constexpr int64_t kDim = 4;
constexpr int64_t kRowBytes = 16;

std::vector<Key> Range(Key first, int64_t n) {
  std::vector<Key> keys(static_cast<size_t>(n));
  std::iota(keys.begin(), keys.end(), first);
  return keys;
}

struct Stack {
  Stack(int64_t hot_rows, int64_t middle_rows, CacheStrategy strategy, StorageOptions::Opener bottom_opener = nullptr) {
    VariableOptions options = test::Options(kDim);
    options.storage.dram_bytes = hot_rows * kRowBytes + kRowBytes - 1;  // rounded down
    options.storage.cache_strategy = strategy;
    options.storage.between.push_back({test::OpenWatched(&middle), middle_rows * kRowBytes + kRowBytes - 1});
    options.storage.open_lower = bottom_opener ? bottom_opener : test::OpenWatched(&bottom);
    variable = test::NewVariable(options, std::vector<float>(kDim, 0.0f));
  }

  // Every element of the rows of `keys` one more, for each time that one is named.
  Status Train(const std::vector<Key>& keys) {
    SerialExecutor serial;
    const std::vector<float> grads(keys.size() * kDim, -1.0f);
    return variable->Apply(Sgd(1.0f), {}, keys, grads, -1, serial);
  }
  float Look(Key key) { return test::Lookup(*variable, {key})[0]; }
  std::vector<int32_t> Tiers(const std::vector<Key>& keys) const {
    std::vector<int32_t> tiers(keys.size());
    EV_EXPECT_OK(variable->LookupTier(keys, tiers));
    return tiers;
  }
  TierMetrics Metrics(size_t tier) const { return variable->metrics().tiers[tier]; }

  WatchedTier::Watch middle, bottom;
  std::unique_ptr<EmbeddingVariable> variable;
};

TEST(StackedTiers, ReadingWhatFitsInTheMiddleWritesEachRowOnce) {
  Stack stack(10, 100, CacheStrategy::kLru);
  EV_ASSERT_OK(stack.Train(Range(0, 100)));
  for (int round = 0; round < 5; ++round) {
    for (Key key = 0; key < 100; ++key) EXPECT_EQ(stack.Look(key), 1.0f);
    EV_ASSERT_OK(stack.variable->FlushEvictions());
  }
  EXPECT_GE(stack.middle.rows_put, 90);
  EXPECT_LE(stack.middle.rows_put, 100) << "a row that went up keeps its copy, and goes down as it came";
  EXPECT_EQ(stack.bottom.rows_put, 0);
}

TEST(StackedTiers, ARowThatWasOnlyReadIsNotWrittenToTheBottomAgain) {
  Stack stack(2, 3, CacheStrategy::kLru);
  EV_ASSERT_OK(stack.Train(Range(0, 20)));
  EV_ASSERT_OK(stack.variable->FlushEvictions());
  const int64_t written = stack.bottom.rows_put;
  for (int round = 0; round < 4; ++round) {
    for (Key key = 0; key < 20; ++key) EXPECT_EQ(stack.Look(key), 1.0f);
    EV_ASSERT_OK(stack.variable->FlushEvictions());
  }
  // The five rows that had never been down yet; and each row once.
  EXPECT_LE(stack.bottom.rows_put, written + 5);
  EXPECT_EQ(stack.Metrics(2).rows + stack.Metrics(2).copies, stack.bottom.rows);
}

// What a load does with rows that DRAM has no room for.
TEST(StackedTiers, AddedRowsGoToTheNextTierThatHasRoom) {
  Stack stack(10, 20, CacheStrategy::kLru);
  const std::vector<Key> keys = Range(0, 100);
  std::vector<float> values;
  for (const Key key : keys) values.insert(values.end(), kDim, static_cast<float>(key));
  int64_t added = 0;
  EV_ASSERT_OK(stack.variable->AddRows(keys, {}, {values, {}, {}, {}}, &added));
  EXPECT_EQ(added, 100);
  EXPECT_EQ(stack.variable->size(), 100);
  EXPECT_EQ(stack.Metrics(0).rows, 10);
  EXPECT_EQ(stack.Metrics(0).demotions, 0);
  EXPECT_EQ(stack.Metrics(1).rows, 20);
  EXPECT_EQ(stack.Metrics(1).demotions, 0);
  EXPECT_EQ(stack.Metrics(2).rows, 70);
  EXPECT_EQ(stack.middle.rows_put, 20);
  EXPECT_EQ(stack.bottom.rows_put, 70);
  // A key keeps the row that it has, and what was put for it goes.
  EV_ASSERT_OK(stack.variable->AddRows(keys, {}, {std::vector<float>(values.size(), -1), {}, {}, {}}, &added));
  EXPECT_EQ(added, 0);
  EV_ASSERT_OK(stack.variable->FlushEvictions());
  EXPECT_EQ(stack.middle.rows_put, 20);
  EXPECT_EQ(stack.bottom.rows_put, 170);
  EXPECT_EQ(stack.bottom.rows, 70);
  EXPECT_EQ(stack.Metrics(2).rows, 70);
  EXPECT_EQ(test::Lookup(*stack.variable, keys), values);
  // From then on they are rows like others.
  EV_ASSERT_OK(stack.Train(keys));
  EV_ASSERT_OK(stack.variable->FlushEvictions());
  for (float& value : values) ++value;
  EXPECT_EQ(test::Lookup(*stack.variable, keys), values);
}

TEST(StackedTiers, AddedRowsThatTheBottomRefusesAreAnError) {
  Stack stack(10, 20, CacheStrategy::kLru);
  stack.bottom.fail_puts = true;
  const std::vector<Key> keys = Range(0, 100);
  const std::vector<float> values(keys.size() * kDim, 3.0f);
  int64_t added = 0;
  EXPECT_EQ(stack.variable->AddRows(keys, {}, {values, {}, {}, {}}, &added).code(), StatusCode::kOutOfSpace);
  EXPECT_EQ(added, 30);
  EXPECT_EQ(stack.variable->size(), 30);
  stack.bottom.fail_puts = false;
  EV_ASSERT_OK(stack.variable->AddRows(keys, {}, {values, {}, {}, {}}, &added));
  EXPECT_EQ(added, 70);
  EXPECT_EQ(test::Lookup(*stack.variable, keys), values);
}

TEST(StackedTiers, AddedRowsStayWhereTheBottomFailsHalfWay) {
  Stack stack(4, 4, CacheStrategy::kLfu);
  const std::vector<Key> keys = Range(0, 20000);  // some steps of 4,096
  const std::vector<float> values(keys.size() * kDim, 3.0f);
  stack.bottom.puts_to_fail = 2;
  int64_t added = 0;
  EXPECT_EQ(stack.variable->AddRows(keys, {}, {values, {}, {}, {}}, &added).code(), StatusCode::kOutOfSpace);
  EXPECT_EQ(added, 8 + 2 * 4096);
  EXPECT_EQ(stack.variable->size(), added);
  EXPECT_EQ(stack.Metrics(2).rows, 2 * 4096);
  EV_ASSERT_OK(stack.variable->AddRows(keys, {}, {values, {}, {}, {}}, &added));
  EXPECT_EQ(added, 20000 - 8 - 2 * 4096);
  EXPECT_EQ(stack.Metrics(0).rows, 4);
  EXPECT_EQ(stack.Metrics(1).rows, 4);
  EXPECT_EQ(test::Lookup(*stack.variable, keys), values);
}

TEST(StackedTiers, AFullBottomStopsTrainingAndLosesNothing) {
  Stack stack(8, 8, CacheStrategy::kLfu);
  EV_ASSERT_OK(stack.Train(Range(0, 100)));
  EV_ASSERT_OK(stack.variable->FlushEvictions());
  stack.bottom.fail_puts = true;
  Status status;
  Key trained = 100;
  for (; status.ok() && trained < 5000; trained += 10) {
    status = stack.Train(Range(trained, 10));
    if (status.ok()) status = stack.variable->FlushEvictions();
  }
  EXPECT_EQ(status.code(), StatusCode::kOutOfSpace) << status.ToString();
  EXPECT_LE(trained, 140) << "what the upper tiers can take, and no more";
  EXPECT_LE(stack.middle.most_rows, 8 + 110) << "a batch";
  for (Key key = 0; key < 100; ++key) ASSERT_EQ(stack.Look(key), 1.0f) << key;
  stack.bottom.fail_puts = false;
  while (!stack.variable->FlushEvictions().ok()) {  // the error of a move in the background comes once
  }
  EV_ASSERT_OK(stack.Train(Range(0, 100)));
  EV_ASSERT_OK(stack.variable->FlushEvictions());
  for (Key key = 0; key < 100; ++key) ASSERT_EQ(stack.Look(key), 2.0f) << key;
  EV_ASSERT_OK(stack.variable->FlushEvictions());
  EXPECT_EQ(stack.Metrics(0).rows, 8);
  EXPECT_LE(stack.Metrics(1).rows + stack.Metrics(1).copies, 8);
}

TEST(StackedTiers, ANewSlotMovesAFewRowsAtATime) {
  constexpr int64_t kRows = 30'000;
  Stack stack(200, 1000, CacheStrategy::kLru);
  EV_ASSERT_OK(stack.Train(Range(0, kRows)));
  EV_ASSERT_OK(stack.variable->FlushEvictions());
  EXPECT_LE(stack.Metrics(1).rows, 1000);
  EXPECT_GE(stack.Metrics(1).rows, 900) << "eviction in the background may have left some room";
  stack.bottom.most_rows_got = 0;
  const std::vector<SlotSpec> slots = {{"a", kDim, 0.5f}};
  SerialExecutor serial;
  const std::vector<Key> one = {7};
  EV_ASSERT_OK(stack.variable->Apply(Adagrad(1.0f, 0), slots, one, std::vector<float>(kDim, 0.0f), -1, serial));
  EXPECT_LE(stack.bottom.most_rows_got, 4096);
  EXPECT_EQ(stack.middle.tiers + stack.bottom.tiers, 2) << "the old ones have gone";
  EV_ASSERT_OK(stack.variable->FlushEvictions());
  const VariableMetrics m = stack.variable->metrics();
  EXPECT_EQ(m.row_bytes, 2 * kRowBytes);
  EXPECT_EQ(m.hot_capacity, 100) << "rows are twice as wide";
  EXPECT_LE(m.hot_rows, 100);
  EXPECT_EQ(m.tiers[1].capacity, 500);
  EXPECT_LE(m.tiers[1].rows + m.tiers[1].copies, 500);
  EXPECT_EQ(m.rows, kRows);
  // All of DRAM's rows, and a step's; not the table.
  EXPECT_LT(m.row_pool_bytes, 1000 * m.row_bytes);
  const test::StoredRows rows = test::ReadRows(*stack.variable, Range(0, kRows));
  EXPECT_EQ(std::count(rows.found.begin(), rows.found.end(), true), kRows);
  EXPECT_EQ(std::count(rows.values.begin(), rows.values.end(), 1.0f), kRows * kDim);
  EXPECT_EQ(std::count(rows.slots.begin(), rows.slots.end(), 0.5f), kRows * kDim);
}

TEST(StackedTiers, ANewSlotThatFindsNoRoomChangesNothing) {
  constexpr int64_t kRows = 9000;
  SerialExecutor serial;
  const std::vector<SlotSpec> slots = {{"a", kDim, 0.5f}};
  for (const int puts : {0, 1, 2}) {
    Stack stack(50, 60, CacheStrategy::kLru);  // no headroom: the pool leaves the tiers as a flush does
    EV_ASSERT_OK(stack.Train(Range(0, kRows)));
    EV_ASSERT_OK(stack.variable->FlushEvictions());
    const std::vector<int32_t> tiers = stack.Tiers(Range(0, kRows));
    stack.bottom.puts_to_fail = puts;
    const std::vector<Key> one = {7};
    const std::vector<float> grad(kDim, 1.0f);
    const Status status = stack.variable->Apply(Adagrad(1.0f, 0), slots, one, grad, -1, serial);
    EXPECT_EQ(status.code(), StatusCode::kOutOfSpace);
    EXPECT_TRUE(stack.variable->slots().empty());
    EXPECT_EQ(stack.middle.tiers + stack.bottom.tiers, 2);
    EXPECT_EQ(stack.Tiers(Range(0, kRows)), tiers);
    EXPECT_EQ(stack.variable->size(), kRows);
    EV_ASSERT_OK(stack.Train(Range(0, kRows)));
    const std::vector<float> rows = test::Lookup(*stack.variable, Range(0, kRows));
    EXPECT_EQ(std::count(rows.begin(), rows.end(), 2.0f), kRows * kDim);
  }
}

TEST(StackedTiers, ClearDropsWhatIsInEveryTier) {
  Stack stack(4, 4, CacheStrategy::kLru);
  EV_ASSERT_OK(stack.Train(Range(0, 50)));
  EV_ASSERT_OK(stack.variable->FlushEvictions());
  EV_ASSERT_OK(stack.variable->Clear());
  EXPECT_EQ(stack.variable->size(), 0);
  for (size_t tier = 0; tier < 3; ++tier) EXPECT_EQ(stack.Metrics(tier).rows, 0);
  EXPECT_EQ(stack.middle.rows + stack.bottom.rows, 0);
  EXPECT_EQ(stack.Look(1), 0.0f);
  EV_ASSERT_OK(stack.Train(Range(0, 50)));
  EXPECT_EQ(stack.Look(1), 1.0f);
}

// What the log says of itself against the files that lie there.
TEST(StackedTiers, TheMetricsOfALogAreThoseOfItsFiles) {
  std::string path;
  std::shared_ptr<Tier> log;
  const auto open = [&](size_t record_bytes, Relocator* relocator, std::shared_ptr<Tier>* out) {
    const auto directory = std::make_shared<test::TempDir>();
    path = directory->path();
    SsdLogOptions options;
    options.path = path;
    options.row_bytes = record_bytes;
    options.segment_bytes = 20 << 10;
    options.io_mode = SsdIoMode::kBuffered;
    options.durable = false;
    options.delete_on_close = true;
    options.relocator = relocator;
    std::unique_ptr<SsdLogTier> tier;
    EV_RETURN_IF_ERROR(SsdLogTier::Open(options, &tier));
    log = std::shared_ptr<Tier>(tier.release(), [directory](Tier* owned) { delete owned; });
    *out = log;
    return OkStatus();
  };
  Stack stack(10, 20, CacheStrategy::kLru, open);
  const auto bytes_there = [&] {
    uint64_t bytes = 0;
    for (const auto& file : std::filesystem::directory_iterator(path)) {
      if (file.path().filename() != "LOCK") bytes += file.file_size();
    }
    return static_cast<int64_t>(bytes);
  };
  EV_ASSERT_OK(stack.Train(Range(0, 3000)));
  EV_ASSERT_OK(stack.variable->FlushEvictions());
  EV_ASSERT_OK(log->Flush());
  TierMetrics m = stack.Metrics(2);
  EXPECT_EQ(m.rows, 3000 - 30);
  EXPECT_EQ(m.copies, 0);
  EXPECT_EQ(m.writes, 3000 - 30) << "the rows that went down, once each";
  EXPECT_EQ(m.compaction_bytes, 0) << "there is nothing to clear away";
  EXPECT_LE(m.written_bytes, bytes_there()) << "files are as long as what was written to them, and room at the end";
  EXPECT_GE(m.written_bytes, m.writes * kRowBytes);
  EXPECT_DOUBLE_EQ(m.write_amplification,
                   static_cast<double>(m.written_bytes) / static_cast<double>(m.writes * kRowBytes));
  EXPECT_DOUBLE_EQ(m.space_amplification, static_cast<double>(m.bytes) / static_cast<double>(m.rows * kRowBytes));
  EXPECT_GE(m.bytes, m.rows * kRowBytes);
  std::vector<Key> some;  // so that segments are left which have rows beside garbage
  for (Key key = 0; key < 3000; ++key) {
    if (key % 4 != 0) some.push_back(key);
  }
  for (int round = 0; round < 6; ++round) {
    EV_ASSERT_OK(stack.Train(some));
    EV_ASSERT_OK(stack.variable->FlushEvictions());
  }
  m = stack.Metrics(2);
  EXPECT_GT(m.compaction_bytes, 0);
  EXPECT_EQ(m.compaction_bytes % kRowBytes, 0);
  EXPECT_GE(m.written_bytes, m.compaction_bytes);
  EXPECT_GT(m.device_reads, 0);
  EXPECT_EQ(m.rows, 3000 - 30);
  log.reset();
}

TEST(StackedTiers, MoreTiersThanALocationCanName) {
  WatchedTier::Watch watch;
  VariableOptions options = test::Options(kDim);
  options.storage.open_lower = test::OpenWatched(&watch);
  options.storage.between.assign(3, {test::OpenWatched(&watch), 100});
  std::unique_ptr<EmbeddingVariable> variable;
  const std::vector<float> defaults(kDim);
  test::ExpectError(EmbeddingVariable::Create(options, defaults, &variable), StatusCode::kInvalidArgument,
                    {"tiers", "at most 4", "found 5"});
  options.storage.between.assign(2, {test::OpenWatched(&watch), 100});  // six rows each
  options.storage.dram_bytes = 100;
  EV_ASSERT_OK(EmbeddingVariable::Create(options, defaults, &variable));
  const std::vector<Key> keys = Range(0, 40);
  for (int round = 1; round < 4; ++round) {
    for (const Key key : keys) test::Descend(variable.get(), {key}, std::vector<float>(kDim, -1.0f));
    for (const Key key : keys) EXPECT_EQ(test::Lookup(*variable, {key})[0], static_cast<float>(round));
    EV_ASSERT_OK(variable->FlushEvictions());
    const VariableMetrics m = variable->metrics();
    for (size_t tier = 0; tier < 3; ++tier) EXPECT_EQ(m.tiers[tier].rows, 6) << tier;
    EXPECT_EQ(m.tiers[3].rows, 22);
  }
}

// Whole numbers in float are exact in any order: every update must be there, and no row but those that were trained.
TEST(StackedTiers, NothingIsLostWhileRowsMoveBetweenThreeTiers) {
  for (const bool async_compaction : {false, true}) {
    Stack stack(40, 100, async_compaction ? CacheStrategy::kLru : CacheStrategy::kLfu,
                test::OpenSmallLog(async_compaction));
    constexpr int kTrainers = 4, kSteps = 100, kKeys = 600;
    std::array<std::atomic<int>, kKeys> counts{};
    std::atomic<int> training{kTrainers};
    const auto batch = [](test::Random* random) {
      std::vector<Key> keys(24);
      for (Key& key : keys) key = static_cast<Key>(random->OneIn(2) ? random->Below(30) : random->Below(kKeys));
      return keys;
    };
    test::RunTogether(8, [&](int thread) {
      test::Random random(100 + static_cast<uint64_t>(thread));
      if (thread < kTrainers) {
        for (int step = 0; step < kSteps; ++step) {
          const std::vector<Key> keys = batch(&random);
          EV_EXPECT_OK(stack.Train(keys));
          for (const Key key : keys) ++counts[static_cast<size_t>(key)];
        }
        --training;
        return;
      }
      for (int step = 0; training != 0; ++step) {
        if (thread == 4) EV_EXPECT_OK(stack.variable->FlushEvictions());
        if (thread == 5) {  // keys that nobody else trains
          const std::vector<Key> own = Range(10'000 + step % 50, 20);
          EV_EXPECT_OK(stack.Train(own));
          const std::vector<float> rows = test::Lookup(*stack.variable, own);
          EXPECT_EQ(std::count(rows.begin(), rows.end(), 1.0f), static_cast<long>(rows.size()));
          EXPECT_EQ(stack.variable->Remove(own), static_cast<int64_t>(own.size()));
          for (const float value : test::Lookup(*stack.variable, own)) EXPECT_EQ(value, 0.0f) << "resurrected";
        }
        const std::vector<Key> keys = batch(&random);
        for (const float value : test::Lookup(*stack.variable, keys)) EXPECT_EQ(value, std::floor(value));
        if (thread == 6 && step % 16 == 0) stack.variable->metrics();
      }
    });
    EV_ASSERT_OK(stack.variable->FlushEvictions());
    const std::vector<float> rows = test::Lookup(*stack.variable, Range(0, kKeys));
    int64_t trained = 0;
    for (size_t key = 0; key < kKeys; ++key) {
      EXPECT_EQ(rows[key * kDim], static_cast<float>(counts[key].load())) << key;
      trained += counts[key] != 0;
    }
    EXPECT_EQ(stack.variable->size(), trained);
    EV_ASSERT_OK(stack.variable->FlushEvictions());
    const VariableMetrics m = stack.variable->metrics();
    EXPECT_EQ(m.tiers[0].rows + m.tiers[1].rows + m.tiers[2].rows, trained);
    EXPECT_GT(m.tiers[2].compaction_bytes, 0);
    EXPECT_GT(m.tiers[1].demotions, 0);
    const std::vector<Key> all = stack.variable->Keys();
    EXPECT_EQ(stack.variable->Remove(all), trained);
    EV_ASSERT_OK(stack.variable->FlushEvictions());
    for (size_t tier = 0; tier < 3; ++tier) EXPECT_EQ(stack.Metrics(tier).copies, 0) << "left behind in " << tier;
  }
}

}  // namespace
}  // namespace ev
