// SaveTable and LoadTable: what is saved comes back, in any number of parts, whatever goes on meanwhile.
#include "ev_tf/variable/checkpoint.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <atomic>
#include <cstdlib>
#include <iterator>
#include <set>
#include <thread>

#include "ev_tf/optim/sgd.h"
#include "ev_tf/variable/storage_type.h"
#include "tests/support/fault_env.h"
#include "tests/support/keys.h"
#include "tests/support/random.h"
#include "tests/support/sanitizers.h"
#include "tests/support/temp_dir.h"
#include "tests/support/variable_support.h"

namespace ev {
namespace {

using test::NewVariable;
using test::Options;
using test::ReadRows;
using ::testing::HasSubstr;

std::vector<Key> ManyKeys(size_t n) {
  std::vector<Key> keys(test::kEdgeKeys.begin(), test::kEdgeKeys.end());
  for (Key k = 1; keys.size() < n; ++k) keys.push_back(k % 2 == 0 ? k * 1000003 : -k * 7);
  std::sort(keys.begin(), keys.end());
  keys.erase(std::unique(keys.begin(), keys.end()), keys.end());
  return keys;
}

// A variable that was trained for a few steps with Adam.
std::unique_ptr<EmbeddingVariable> Trained(const VariableOptions& options, const std::vector<Key>& keys) {
  auto variable = NewVariable(options, test::DefaultMatrix(8, options.dim));
  test::Random random{3};
  for (int step = 0; step < 3; ++step) {
    test::Apply(variable.get(), test::AdamCase(), keys,
                random.Floats(keys.size() * static_cast<size_t>(options.dim), -1, 1), step);
  }
  return variable;
}

void ExpectSame(const EmbeddingVariable& a, const EmbeddingVariable& b, const std::vector<Key>& keys) {
  const test::StoredRows x = ReadRows(a, keys);
  const test::StoredRows y = ReadRows(b, keys);
  EXPECT_EQ(x.found, y.found);
  EXPECT_EQ(x.values, y.values);
  EXPECT_EQ(x.slots, y.slots);
  EXPECT_EQ(x.frequencies, y.frequencies);
  EXPECT_EQ(x.versions, y.versions);
}

std::unique_ptr<EmbeddingVariable> Load(const VariableOptions& options, const std::vector<std::string>& paths,
                                        const LoadOptions& load = {}) {
  const auto executor = NewThreadPoolExecutor(2);
  std::unique_ptr<EmbeddingVariable> variable;
  EV_EXPECT_OK(LoadTable(options, paths, load, *executor, &variable));
  return variable;
}

class CheckpointTest : public ::testing::TestWithParam<std::tuple<StorageType, bool>> {
 protected:
  void SetUp() override {
    VariableOptions options = Options(1, false);
    std::unique_ptr<EmbeddingVariable> variable;
    Status made = Storage(&options);
    if (made.ok()) made = EmbeddingVariable::Create(options, std::vector<float>(1), &variable);
    if (made.code() == StatusCode::kUnavailable) GTEST_SKIP() << made.ToString();
    EV_ASSERT_OK(made);
  }
  Status Storage(VariableOptions* options) const {
    const int64_t hot = int64_t{64 << 10} / (Shrunk() ? 16 : 1);
    return MakeStorage(std::get<0>(GetParam()), dir_ / "tiers", {hot, 2 * hot}, CacheStrategy::kLru, &options->storage);
  }
  // LevelDB is slow to fill, so its tables are small, and DRAM above it.
  bool Shrunk() const {
    return std::get<0>(GetParam()) == StorageType::kDramLevelDb ||
           std::get<0>(GetParam()) == StorageType::kDramPmemLevelDb;
  }
  size_t Size(size_t n, size_t under_thread_sanitizer) const {
    return (test::kUnderThreadSanitizer ? under_thread_sanitizer : n) / (Shrunk() ? 16 : 1);
  }
  VariableOptions TheOptions(int64_t dim) const {
    VariableOptions options = Options(dim, std::get<1>(GetParam()));
    EV_EXPECT_OK(Storage(&options));
    return options;
  }
  std::string File(const std::string& name) const { return dir_.path() + "/" + name; }

  const test::TempDir dir_;
  const std::unique_ptr<Executor> executor_ = NewThreadPoolExecutor(2);
};

TEST_P(CheckpointTest, WhatIsSavedComesBackAndTrainsOn) {
  for (const int64_t dim : {1, 5, 16}) {
    const std::vector<Key> keys = ManyKeys(Size(20000, 3000));
    const auto variable = Trained(TheOptions(dim), keys);
    EV_ASSERT_OK(SaveTable(*variable, File("t"), *executor_));
    const auto loaded = Load(TheOptions(dim), {File("t")});
    ASSERT_EQ(loaded->size(), variable->size());
    ExpectSame(*variable, *loaded, keys);
    EXPECT_EQ(test::Lookup(*loaded, {123456789012345}), test::Lookup(*variable, {123456789012345}));
    const std::vector<float> grads(keys.size() * static_cast<size_t>(dim), 0.5f);
    for (EmbeddingVariable* one : {variable.get(), loaded.get()}) test::Apply(one, test::AdamCase(), keys, grads, 9);
    ExpectSame(*variable, *loaded, keys);
  }
}

TEST_P(CheckpointTest, AnyNumberOfPartsBecomesAnyOther) {
  const std::vector<Key> keys = ManyKeys(Size(5000, 1000));
  const auto part_of = [](Key key, int64_t parts) { return FloorMod(key, 1000) % parts; };
  const auto whole = Trained(TheOptions(4), keys);
  // Each opens a table, which takes seconds under the thread sanitizer.
  const std::vector<int64_t> counts =
      test::kUnderThreadSanitizer ? std::vector<int64_t>{1, 3} : std::vector<int64_t>{1, 2, 3, 4, 5};
  for (const int64_t p : counts) {
    std::vector<std::string> files;
    for (int64_t i = 0; i < p; ++i) {
      std::vector<Key> mine;
      for (const Key key : keys) {
        if (part_of(key, p) == i) mine.push_back(key);
      }
      const auto part = NewVariable(TheOptions(4), test::DefaultMatrix(8, 4));
      const test::StoredRows rows = ReadRows(*whole, mine);
      EV_ASSERT_OK(part->WriteRows(mine, whole->slots(), {rows.values, rows.slots, rows.frequencies, rows.versions}));
      files.push_back(File("p" + std::to_string(i)));
      EV_ASSERT_OK(SaveTable(*part, files.back(), *executor_));
    }
    for (const int64_t q : counts) {
      SCOPED_TRACE(::testing::Message() << p << " parts to " << q);
      int64_t rows = 0;
      for (int64_t j = 0; j < q; ++j) {
        LoadOptions load;
        load.partition = j;
        load.partitions = q;
        const auto part = Load(TheOptions(4), files, load);
        std::vector<Key> mine;
        for (const Key key : keys) {
          if (part_of(key, q) == j) mine.push_back(key);
        }
        rows += part->size();
        ExpectSame(*whole, *part, mine);
      }
      EXPECT_EQ(rows, whole->size());
    }
  }
}

TEST_P(CheckpointTest, AnEmptyTableIsATable) {
  const auto variable = NewVariable(TheOptions(3), test::DefaultMatrix(2, 3));
  EV_ASSERT_OK(SaveTable(*variable, File("t"), *executor_));
  const auto loaded = Load(TheOptions(3), {File("t")});
  EXPECT_EQ(loaded->size(), 0);
  EXPECT_EQ(test::Lookup(*loaded, {-1}), test::Lookup(*variable, {-1}));
}

INSTANTIATE_TEST_SUITE_P(Storage, CheckpointTest,
                         ::testing::Combine(::testing::Values(StorageType::kDram, StorageType::kDramSsdHash,
                                                              StorageType::kDramPmem, StorageType::kDramPmemSsdHash),
                                            ::testing::Bool()));
// Once: opening twenty of them takes seconds.
INSTANTIATE_TEST_SUITE_P(OverLevelDb, CheckpointTest,
                         ::testing::Combine(::testing::Values(StorageType::kDramLevelDb, StorageType::kDramPmemLevelDb),
                                            ::testing::Values(true)));

TEST(Checkpoint, DefaultRowsMayBeLongerThanAPieceOfTheFile) {
  const test::TempDir dir;
  const auto executor = NewThreadPoolExecutor(2);
  const int64_t dim = 1024;
  for (const int64_t default_rows : {500, 512, 600, 3000}) {  // below 2 MiB, on it and above
    SCOPED_TRACE(default_rows);
    const std::vector<Key> keys = ManyKeys(2000);
    const auto variable = NewVariable(Options(dim, true), test::DefaultMatrix(default_rows, dim));
    test::Apply(variable.get(), test::SgdCase(), keys, std::vector<float>(keys.size() * static_cast<size_t>(dim), 0.5f),
                3);
    EV_ASSERT_OK(SaveTable(*variable, dir / "t", *executor));
    const auto loaded = Load(Options(dim, true), {dir / "t"});
    ExpectSame(*variable, *loaded, keys);
    EXPECT_TRUE(std::equal(variable->default_rows().begin(), variable->default_rows().end(),
                           loaded->default_rows().begin(), loaded->default_rows().end()));
    EV_EXPECT_OK(VerifyTable(dir / "t"));
  }
}

TEST(Checkpoint, SlotsAndVersionsCanStartAnew) {
  const test::TempDir dir;
  const auto executor = NewThreadPoolExecutor(2);
  const std::vector<Key> keys = ManyKeys(100);
  const auto variable = Trained(Options(4, true), keys);
  EV_ASSERT_OK(SaveTable(*variable, dir.path() + "/t", *executor));
  LoadOptions load;
  load.with_slots = false;
  load.reset_versions = true;
  const auto loaded = Load(Options(4, true), {dir.path() + "/t"}, load);
  EXPECT_TRUE(loaded->slots().empty());
  const test::StoredRows rows = ReadRows(*loaded, keys);
  EXPECT_EQ(rows.values, ReadRows(*variable, keys).values);
  EXPECT_EQ(rows.frequencies, ReadRows(*variable, keys).frequencies);
  EXPECT_EQ(rows.versions, std::vector<int64_t>(keys.size(), 0));
}

// Keys that a filter has not admitted yet go on being counted where they stood, in any number of parts.
TEST(Checkpoint, CountsOfAFilterComeBack) {
  const test::TempDir dir;
  const auto executor = NewThreadPoolExecutor(2);
  VariableOptions options = Options(4, true);
  options.admission.filter_freq = 3;
  const auto variable = NewVariable(options, std::vector<float>(4, 1.0f));
  const auto train = [](EmbeddingVariable* one, const std::vector<Key>& keys, int64_t step) {
    SerialExecutor serial;
    EV_ASSERT_OK(one->Apply(Sgd(1.0f), {}, keys, std::vector<float>(keys.size() * 4, 0.5f), step, serial));
  };
  const std::vector<Key> all = ManyKeys(500);
  const std::vector<Key> half(all.begin(), all.begin() + 250);
  train(variable.get(), all, 1);
  train(variable.get(), half, 2);
  const std::vector<Key> row = {all[0], all[0]};
  train(variable.get(), row, 3);  // one key is admitted
  ASSERT_EQ(variable->size(), 1);
  EV_ASSERT_OK(SaveTable(*variable, dir.path() + "/t", *executor));
  EV_EXPECT_OK(VerifyTable(dir.path() + "/t"));
  int64_t rows = 0;
  for (int64_t part = 0; part < 3; ++part) {
    LoadOptions load;
    load.partition = part;
    load.partitions = 3;
    const auto loaded = Load(options, {dir.path() + "/t"}, load);
    train(loaded.get(), all, 4);
    rows += loaded->size();
    for (const Key key : loaded->Keys()) {
      EXPECT_TRUE(std::find(half.begin(), half.end(), key) != half.end()) << key << " was counted once, and now twice";
      EXPECT_EQ(ReadRows(*loaded, {key}).frequencies[0], key == all[0] ? 5 : 3);
    }
  }
  EXPECT_EQ(rows, 250);
  LoadOptions without;
  without.with_filtered = false;
  EXPECT_TRUE(Load(options, {dir.path() + "/t"}, without)->FilteredKeys().empty());
}

// Megabytes go to the device, and come from it, in long pieces; where there is no way past the page cache, through it.
TEST(Checkpoint, ALargeTableComesBackInAnyParts) {
  const std::vector<Key> keys = ManyKeys(60000);
  const VariableOptions options = Options(5, true);
  const auto variable = Trained(options, keys);
  const auto executor = NewThreadPoolExecutor(3);
  for (const bool direct : {true, false}) {
    SCOPED_TRACE(direct);
    testing::FaultEnv env;
    env.direct_allowed = direct;
    EV_ASSERT_OK(SaveTable(*variable, "disk/table", *executor, &env));
    EV_ASSERT_OK(VerifyTable("disk/table", &env));
    EXPECT_GT(env.TotalBytes(), 4u << 20);
    const std::vector<std::string> paths = {"disk/table"};
    std::unique_ptr<EmbeddingVariable> loaded;
    EV_ASSERT_OK(LoadTable(options, paths, {}, *executor, &loaded, &env));
    ExpectSame(*variable, *loaded, keys);
    int64_t rows = 0;
    for (int64_t part = 0; part < 3; ++part) {
      LoadOptions load;
      load.partition = part;
      load.partitions = 3;
      EV_ASSERT_OK(LoadTable(options, paths, load, *executor, &loaded, &env));
      std::vector<Key> own;
      std::copy_if(keys.begin(), keys.end(), std::back_inserter(own),
                   [&](Key key) { return IsOfPartition(key, load); });
      ExpectSame(*variable, *loaded, own);
      rows += loaded->size();
    }
    EXPECT_EQ(rows, variable->size());
    // What a block in the middle has lost is found.
    std::string bytes = env.Contents("disk/table");
    bytes[bytes.size() / 2] = static_cast<char>(bytes[bytes.size() / 2] ^ 4);
    env.SetContents("disk/table", bytes);
    const Status damaged = LoadTable(options, paths, {}, *executor, &loaded, &env);
    EXPECT_EQ(damaged.code(), StatusCode::kCorruption);
    EXPECT_THAT(damaged.message(), HasSubstr("disk/table @ "));
    EXPECT_THAT(damaged.message(), HasSubstr("crc of a block: expected"));
  }
}

TEST(Checkpoint, RowsThatStandInTwoFilesAreRefused) {
  const std::vector<Key> keys = ManyKeys(30000);
  const VariableOptions options = Options(5, true);
  const test::TempDir dir;
  const auto executor = NewThreadPoolExecutor(2);
  const std::vector<std::string> paths = {dir.path() + "/a", dir.path() + "/b"};
  EV_ASSERT_OK(SaveTable(*Trained(options, keys), paths[0], *executor));
  EV_ASSERT_OK(SaveTable(*Trained(options, {keys[0], keys[1], 987654321987}), paths[1], *executor));
  std::unique_ptr<EmbeddingVariable> loaded;
  const Status status = LoadTable(options, paths, {}, *executor, &loaded);
  EXPECT_EQ(status.code(), StatusCode::kInvalidArgument);
  EXPECT_THAT(status.message(), HasSubstr("keys: expected distinct keys, found 30003 of which 30001 are distinct"));
}

TEST(Checkpoint, ALoadTellsHowFarItIs) {
  const test::TempDir dir;
  const auto executor = NewThreadPoolExecutor(2);
  const std::vector<Key> keys = ManyKeys(20000);
  EV_ASSERT_OK(SaveTable(*Trained(Options(16), keys), dir.path() + "/t", *executor));
  for (const int64_t partitions : {1, 3}) {
    std::atomic<int64_t> calls{0}, most{0}, total{0};
    LoadOptions load;
    load.partitions = partitions;
    load.progress = [&](int64_t done, int64_t of) {
      ++calls;
      total = of;
      for (int64_t seen = most; done > seen && !most.compare_exchange_weak(seen, done);) {
      }
    };
    const auto loaded = Load(Options(16), {dir.path() + "/t"}, load);
    EXPECT_GT(calls, 5);
    EXPECT_EQ(most, total) << "the last call says that all is done";
    EXPECT_GE(total, loaded->size()) << "blocks that hold rows of the partition";
    EXPECT_LE(total, static_cast<int64_t>(keys.size()));
  }
}

TEST(Checkpoint, AFileSaysWhatItIs) {
  const test::TempDir dir;
  const auto executor = NewThreadPoolExecutor(2);
  const auto variable = Trained(Options(4, true), {1, 2, -3});
  EV_ASSERT_OK(SaveTable(*variable, dir.path() + "/t", *executor));
  TableInfo info;
  EV_ASSERT_OK(InspectTable(dir.path() + "/t", &info));
  EXPECT_EQ(info.name, "table");
  EXPECT_EQ(info.dim, 4);
  EXPECT_EQ(info.rows, 3);
  EXPECT_EQ(info.default_value_dim, 8);
  EXPECT_TRUE(info.has_frequency && info.has_version);
  ASSERT_EQ(info.slots.size(), 2U);
  EXPECT_EQ(info.slots[0].name, variable->slots()[0].name);
  EV_EXPECT_OK(VerifyTable(dir.path() + "/t"));
}

TEST(Checkpoint, EachRefusalHasItsWords) {
  const test::TempDir dir;
  const auto executor = NewThreadPoolExecutor(2);
  const std::string path = dir.path() + "/t";
  EV_ASSERT_OK(SaveTable(*Trained(Options(4), {1, 2}), path, *executor));
  std::unique_ptr<EmbeddingVariable> out;
  const auto load = [&](int64_t dim, std::vector<std::string> paths, LoadOptions options = {}) {
    return LoadTable(Options(dim), paths, options, *executor, &out).ToString();
  };
  EXPECT_THAT(load(5, {path}), HasSubstr("t: dim: expected 5 as variable 'table' has, found 4"));
  EXPECT_THAT(load(4, {}), HasSubstr("expected at least one file"));
  EXPECT_THAT(load(4, {path, path}), HasSubstr("expected distinct keys, found 4 of which 2 are distinct"));
  EXPECT_THAT(load(4, {dir.path() + "/none"}), HasSubstr("NotFound"));
  LoadOptions options;
  options.partition = 2;
  options.partitions = 2;
  EXPECT_THAT(load(4, {path}, options), HasSubstr("found 2 of 2"));
  EXPECT_EQ(out, nullptr);
  EXPECT_THAT(SaveTable(*Trained(Options(4), {1}), dir.path() + "/no/where", *executor).ToString(),
              HasSubstr("NotFound"));
}

std::vector<float> Columns(const std::vector<float>& rows, size_t width, size_t from, size_t to) {
  std::vector<float> columns;
  for (size_t i = 0; i < rows.size(); i += width) {
    const auto row = rows.begin() + static_cast<std::ptrdiff_t>(i);
    columns.insert(columns.end(), row + static_cast<std::ptrdiff_t>(from), row + static_cast<std::ptrdiff_t>(to));
  }
  return columns;
}

TEST(Checkpoint, AnotherDimIsCutOrFilled) {
  const test::TempDir dir;
  const auto executor = NewThreadPoolExecutor(2);
  const std::vector<Key> keys = ManyKeys(40);
  const auto saved = Trained(Options(4), keys);
  EV_ASSERT_OK(SaveTable(*saved, dir.path() + "/t", *executor));
  const test::StoredRows before = ReadRows(*saved, keys);
  LoadOptions load;
  load.any_dim = true;
  const auto cut = Load(Options(3), {dir.path() + "/t"}, load);
  const test::StoredRows shorter = ReadRows(*cut, keys);
  EXPECT_EQ(shorter.values, Columns(before.values, 4, 0, 3));
  EXPECT_EQ(Columns(shorter.slots, 6, 0, 3), Columns(before.slots, 8, 0, 3));
  EXPECT_EQ(Columns(shorter.slots, 6, 3, 6), Columns(before.slots, 8, 4, 7));

  std::unique_ptr<EmbeddingVariable> out;
  const std::vector<std::string> paths{dir.path() + "/t"};
  EXPECT_THAT(LoadTable(Options(6), paths, load, *executor, &out).ToString(),
              HasSubstr("t: dim: expected 6, found 4; the new columns come from the variable's initial rows"));
  const std::vector<float> own = test::DefaultMatrix(3, 6);
  load.own_default_rows = own;
  const auto filled = Load(Options(6), paths, load);
  const test::StoredRows longer = ReadRows(*filled, keys);
  EXPECT_EQ(Columns(longer.values, 6, 0, 4), before.values);
  std::vector<float> expected;
  for (const Key key : keys) {
    const size_t row = static_cast<size_t>(FloorMod(key, 3)) * 6;
    expected.insert(expected.end(), {own[row + 4], own[row + 5]});
  }
  EXPECT_EQ(Columns(longer.values, 6, 4, 6), expected);
  EXPECT_EQ(Columns(longer.slots, 12, 6, 10), Columns(before.slots, 8, 4, 8));
  const float initial = filled->slots()[1].initial;
  EXPECT_EQ(Columns(longer.slots, 12, 10, 12), std::vector<float>(2 * keys.size(), initial));
}

// Rows are saved whole while threads train, look up, insert and remove.  Each update adds one to every float of a row and
// of its slot, so that a torn row shows.
TEST(Checkpoint, TrainingGoesOnMeanwhile) {
  const test::TempDir dir;
  for (const StorageType type : {StorageType::kDram, StorageType::kDramSsdHash}) {
    VariableOptions options = Options(8);
    EV_ASSERT_OK(MakeStorage(type, dir.path() + "/tiers", 32 << 10, CacheStrategy::kLru, &options.storage));
    const auto variable = NewVariable(options, std::vector<float>(8, 0.0f));
    const std::vector<Key> stable = ManyKeys(3000);
    const auto descend = [&](const std::vector<Key>& keys) {
      test::Descend(variable.get(), keys, std::vector<float>(keys.size() * 8, -1.0f));
    };
    descend(stable);
    std::atomic<bool> stop{false};
    std::vector<std::thread> threads;
    for (int t = 0; t < 4; ++t) {
      threads.emplace_back([&, t] {
        test::Random random(static_cast<uint64_t>(t));
        while (!stop.load()) {
          std::vector<Key> keys;
          for (int i = 0; i < 200; ++i) keys.push_back(stable[random.Below(stable.size())]);
          const Key fleeting = 1000000000 + static_cast<Key>(random.Below(500));
          keys.push_back(fleeting);
          descend(keys);
          variable->Remove(std::vector<Key>{fleeting});
        }
      });
    }
    const auto executor = NewThreadPoolExecutor(2);
    for (int round = 0; round < (test::kUnderThreadSanitizer ? 2 : 10); ++round) {
      EV_ASSERT_OK(SaveTable(*variable, dir.path() + "/t", *executor));
      const auto loaded = Load(Options(8), {dir.path() + "/t"});
      const test::StoredRows rows = ReadRows(*loaded, stable);
      EXPECT_EQ(rows.found, std::vector<bool>(stable.size(), true));
      for (size_t i = 0; i < rows.values.size(); ++i) {
        ASSERT_EQ(rows.values[i], rows.values[i / 8 * 8]) << "row " << i / 8 << " is torn";
        ASSERT_GE(rows.values[i], 1.0f);
      }
      EXPECT_LE(loaded->size(), static_cast<int64_t>(stable.size()) + 500);
    }
    stop = true;
    for (std::thread& thread : threads) thread.join();
  }
}

}  // namespace
}  // namespace ev
