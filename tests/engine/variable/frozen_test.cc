// Tables that are frozen for serving: they read as the table that was saved, from memory or from files that nobody writes to, and
// nothing changes them.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <sys/stat.h>

#include <filesystem>
#include <fstream>
#include <map>
#include <thread>

#include "ev_tf/variable/checkpoint.h"
#include "ev_tf/variable/storage_type.h"
#include "tests/support/random.h"
#include "tests/support/temp_dir.h"
#include "tests/support/tiers.h"
#include "tests/support/variable_support.h"

namespace ev {
namespace {

using Frozen = SaveOptions::Frozen;
using ::testing::AllOf;
using ::testing::HasSubstr;

constexpr int64_t kDim = 6;
constexpr Key kRows = 5000;

Key KeyOf(Key i) { return i % 2 == 0 ? i : -i * 1000003; }

std::vector<Key> AllKeys() {
  std::vector<Key> keys;
  for (Key i = 0; i < kRows; ++i) keys.push_back(KeyOf(i));
  return keys;
}

// Those, and as many that have no row.
std::vector<Key> KnownAndUnknown() {
  std::vector<Key> keys = AllKeys();
  for (Key i = 0; i < kRows; ++i) keys.push_back(int64_t{1} << 40 | i);
  return keys;
}

class FrozenTest : public ::testing::TestWithParam<Frozen> {
 protected:
  std::string File(const std::string& name) const { return dir_ / name; }

  std::unique_ptr<EmbeddingVariable> Trained(const VariableOptions& options) {
    auto variable = test::NewVariable(options, test::DefaultMatrix(8, kDim));
    const std::vector<Key> keys = AllKeys();
    for (size_t first = 0; first < keys.size(); first += 500) {
      const std::vector<Key> some(keys.begin() + static_cast<std::ptrdiff_t>(first),
                                  keys.begin() + static_cast<std::ptrdiff_t>(first + 500));
      test::Apply(variable.get(), test::AdamCase(), some, random_.Floats(some.size() * kDim, -1, 1), 3);
    }
    return variable;
  }
  void Save(const EmbeddingVariable& variable, const std::string& name, SaveReport* report = nullptr) {
    SaveOptions save;
    save.frozen = GetParam();
    save.segment_bytes = 32 << 10;  // many files
    EV_ASSERT_OK(SaveTable(variable, File(name), *executor_, nullptr, save, report));
    EV_ASSERT_OK(VerifyTable(File(name)));
  }
  Status TryLoad(const std::string& name, std::unique_ptr<EmbeddingVariable>* variable, const LoadOptions& load = {},
                 int64_t dram_bytes = 1 << 10) {
    VariableOptions options = test::Options(kDim, true);
    options.storage.dram_bytes = dram_bytes;
    const std::vector<std::string> paths = {File(name)};
    return LoadTable(options, paths, load, *executor_, variable);
  }
  std::unique_ptr<EmbeddingVariable> Load(const std::string& name, const LoadOptions& load = {}) {
    std::unique_ptr<EmbeddingVariable> variable;
    EV_EXPECT_OK(TryLoad(name, &variable, load));
    return variable;
  }
  // Names, sizes and times of change of all files.
  std::map<std::string, std::string> Files() const {
    std::map<std::string, std::string> files;
    for (const auto& entry : std::filesystem::recursive_directory_iterator(dir_.path())) {
      struct stat info {};
      EXPECT_EQ(::stat(entry.path().c_str(), &info), 0);
      files[entry.path()] = std::to_string(info.st_size) + " " + std::to_string(info.st_mtim.tv_sec) + "." +
                            std::to_string(info.st_mtim.tv_nsec) + " " + std::to_string(info.st_nlink);
    }
    return files;
  }

  const test::TempDir dir_;
  const std::unique_ptr<Executor> executor_ = NewThreadPoolExecutor(2);
  test::Random random_{11};
};

TEST_P(FrozenTest, ReadsAsTheTableThatWasSavedWhateverKeptItsRows) {
  for (const bool over_log : {false, true}) {
    SCOPED_TRACE(over_log);
    VariableOptions options = test::Options(kDim, true);
    options.storage.dram_bytes = 8 << 10;
    if (over_log) options.storage.open_lower = test::OpenSmallLog(false);
    const auto trained = Trained(options);
    SaveReport report;
    Save(*trained, "t", &report);
    EXPECT_EQ(report.rows_written, kRows);
    EXPECT_EQ(report.segments_copied, 0);
    TableInfo info;
    EV_ASSERT_OK(InspectTable(File("t"), &info));
    EXPECT_TRUE(info.frozen);
    EXPECT_EQ(info.rows, kRows);
    EXPECT_TRUE(info.slots.empty() && !info.has_frequency && !info.has_version);
    EXPECT_EQ(info.segments > 5, GetParam() == Frozen::kInFiles);
    const auto before = Files();
    const auto served = Load("t");
    EXPECT_TRUE(served->frozen());
    EXPECT_EQ(served->size(), kRows);
    EXPECT_TRUE(served->slots().empty());
    const std::vector<float> rows = test::Lookup(*trained, KnownAndUnknown());
    for (int pass = 0; pass < 3; ++pass) {
      EXPECT_EQ(test::Lookup(*served, KnownAndUnknown()), rows);
      EV_EXPECT_OK(served->FlushEvictions());
    }
    EXPECT_EQ(served->size(), kRows);  // no lookup inserted
    EXPECT_EQ(Files(), before);
    const VariableMetrics metrics = served->metrics();
    EXPECT_EQ(metrics.row_bytes, 32);  // six floats, padded
    if (GetParam() == Frozen::kInFiles) {
      EXPECT_LE(metrics.hot_rows, metrics.hot_capacity);
      EXPECT_GT(metrics.clean_demotions, 0);
      EXPECT_EQ(metrics.clean_demotions, metrics.demotions);
      EXPECT_EQ(metrics.tiers[1].writes, 0);
    }
  }
}

TEST_P(FrozenTest, RefusesWhatWouldChangeIt) {
  Save(*Trained(test::Options(kDim, true)), "t");
  const auto served = Load("t");
  const std::vector<float> rows = test::Lookup(*served, KnownAndUnknown());
  const std::vector<Key> keys = {0, 2, 77777};
  const std::vector<float> values(keys.size() * kDim, 1.0f);
  const auto refused = [](const Status& status) {
    EXPECT_EQ(status.code(), StatusCode::kFailedPrecondition) << status.message();
    EXPECT_THAT(status.message(), AllOf(HasSubstr("table"), HasSubstr("frozen for serving")));
  };
  const test::RuleCase adam = test::AdamCase();
  refused(served->Apply(adam.rule, adam.Slots(kDim), keys, values, 4, *executor_));
  refused(served->Apply(Sgd(1.0f), {}, keys, values, 4, *executor_));
  refused(served->WriteRows(keys, {}, {values, {}, {}, {}}));
  refused(served->InsertMissing(keys, values));
  refused(served->WriteFilteredKeys(std::vector<FilteredKey>{{7, 1, 0}}));
  refused(served->Clear());
  int64_t dropped = 0;
  refused(served->Shrink(100, &dropped));
  EXPECT_EQ(served->Remove(keys), 0);
  EXPECT_EQ(served->size(), kRows);
  EXPECT_TRUE(served->slots().empty());
  EXPECT_EQ(test::Lookup(*served, KnownAndUnknown()), rows);
}

TEST_P(FrozenTest, KeysWithoutARowReadWhatAFilterSays) {
  VariableOptions options = test::Options(kDim, true);
  options.admission.filter_freq = 2;
  options.default_value_no_permission = 0.25f;
  const auto variable = test::NewVariable(options, test::DefaultMatrix(8, kDim));
  const std::vector<Key> keys = {1, 1, 2};
  test::Descend(variable.get(), keys, std::vector<float>(keys.size() * kDim, 1.0f));
  EXPECT_EQ(variable->size(), 1);
  Save(*variable, "t");
  const auto served = Load("t");
  EXPECT_EQ(test::Lookup(*served, {1, 2, -9}), test::Lookup(*variable, {1, 2, -9}));
  EXPECT_EQ(test::Lookup(*served, {-9}), std::vector<float>(kDim, 0.25f));
  EXPECT_EQ(served->metrics().filter_bytes, 0);
}

TEST_P(FrozenTest, ValuesOfTwoBytesStayTwoBytes) {
  VariableOptions options = test::Options(kDim);
  options.value_type = ValueType::kBFloat16;
  const auto trained = Trained(options);
  Save(*trained, "t");
  const auto served = Load("t");
  EXPECT_EQ(test::Lookup(*served, KnownAndUnknown()), test::Lookup(*trained, KnownAndUnknown()));
  EXPECT_EQ(served->metrics().row_bytes, 16);
}

TEST_P(FrozenTest, AnEmptyTable) {
  const auto empty = test::NewVariable(test::Options(kDim), test::DefaultMatrix(8, kDim));
  Save(*empty, "t");
  EXPECT_EQ(test::Lookup(*Load("t"), {3, -3}), test::Lookup(*empty, {3, -3}));
}

TEST_P(FrozenTest, MovesWithItsFilesAndIsServedTwiceAtOnce) {
  const auto trained = Trained(test::Options(kDim));
  std::filesystem::create_directory(File("a"));
  Save(*trained, "a/t");
  const auto first = Load("a/t");
  std::filesystem::rename(File("a"), File("b"));
  const auto second = Load("b/t");
  const std::vector<float> rows = test::Lookup(*trained, KnownAndUnknown());
  std::vector<std::thread> threads;
  for (const EmbeddingVariable* one : {first.get(), second.get(), first.get()}) {
    threads.emplace_back([one, &rows] { EXPECT_EQ(test::Lookup(*one, KnownAndUnknown()), rows); });
  }
  for (std::thread& thread : threads) thread.join();
  std::filesystem::remove_all(File("b"));  // what is open stays readable
  EXPECT_EQ(test::Lookup(*second, KnownAndUnknown()), rows);
}

TEST_P(FrozenTest, NeedsNoPermissionToWrite) {
  const auto trained = Trained(test::Options(kDim));
  Save(*trained, "t");
  std::filesystem::permissions(dir_.path(), std::filesystem::perms(0555));
  {
    const test::AsNobody nobody;
    EXPECT_EQ(test::Lookup(*Load("t"), KnownAndUnknown()), test::Lookup(*trained, KnownAndUnknown()));
  }
  std::filesystem::permissions(dir_.path(), std::filesystem::perms(0755));
}

TEST_P(FrozenTest, IsSavedAgainAsItIs) {
  const auto trained = Trained(test::Options(kDim, true));
  Save(*trained, "t");
  const auto served = Load("t");
  for (const bool link : {false, true}) {
    SaveOptions save;
    save.link_segments = link;
    EV_ASSERT_OK(SaveTable(*served, File("again"), *executor_, nullptr, save));
    const auto again = Load("again");
    EXPECT_TRUE(again->frozen());
    EXPECT_EQ(test::Lookup(*again, KnownAndUnknown()), test::Lookup(*trained, KnownAndUnknown()));
  }
  Save(*served, "once more");
  EXPECT_EQ(test::Lookup(*Load("once more"), KnownAndUnknown()), test::Lookup(*trained, KnownAndUnknown()));
}

TEST_P(FrozenTest, ThawsForTraining) {
  const auto trained = Trained(test::Options(kDim));
  Save(*trained, "t");
  LoadOptions load;
  load.thaw = true;
  const auto thawed = Load("t", load);
  EXPECT_FALSE(thawed->frozen());
  EXPECT_EQ(test::Lookup(*thawed, KnownAndUnknown()), test::Lookup(*trained, KnownAndUnknown()));
  test::Descend(thawed.get(), {0, 88888}, std::vector<float>(2 * kDim, 1.0f));
  EXPECT_EQ(thawed->size(), kRows + 1);
}

TEST_P(FrozenTest, OnlyItsOwnPartOfATable) {
  const auto trained = Trained(test::Options(kDim));
  Save(*trained, "t");
  LoadOptions load;
  load.partition = 1;
  load.partitions = 3;
  std::unique_ptr<EmbeddingVariable> variable;
  const Status status = TryLoad("t", &variable, load);
  if (GetParam() == Frozen::kInMemory) {
    EV_ASSERT_OK(status);
    EXPECT_LT(variable->size(), kRows);
  } else {  // a file has rows of every part
    EXPECT_EQ(status.code(), StatusCode::kInvalidArgument);
    EXPECT_THAT(status.message(), HasSubstr("other parts than were saved"));
  }
}

TEST_P(FrozenTest, ASaveThatReplacesOneLeavesItsReadersAlone) {
  const auto trained = Trained(test::Options(kDim));
  Save(*trained, "t");
  const auto old = Load("t");
  const std::vector<float> rows = test::Lookup(*trained, KnownAndUnknown());
  test::Descend(trained.get(), AllKeys(), std::vector<float>(kRows * kDim, 1.0f));
  Save(*trained, "t");
  std::vector<std::string> paths;
  EV_ASSERT_OK(TableFiles(File("t"), &paths));
  EXPECT_EQ(Files().size(), paths.size());  // the old ones are gone
  EXPECT_EQ(test::Lookup(*old, KnownAndUnknown()), rows);
  EXPECT_EQ(test::Lookup(*Load("t"), KnownAndUnknown()), test::Lookup(*trained, KnownAndUnknown()));
}

INSTANTIATE_TEST_SUITE_P(, FrozenTest, ::testing::Values(Frozen::kInMemory, Frozen::kInFiles),
                         [](const auto& info) { return info.param == Frozen::kInMemory ? "InMemory" : "InFiles"; });

class FrozenInFilesTest : public FrozenTest {};

TEST_P(FrozenInFilesTest, DamageIsNamed) {
  Save(*Trained(test::Options(kDim)), "t");
  std::vector<std::string> paths;
  EV_ASSERT_OK(TableFiles(File("t"), &paths));
  const std::string& segment = paths[2];
  std::unique_ptr<EmbeddingVariable> variable;
  const auto fails = [&](StatusCode code) {
    const Status status = TryLoad("t", &variable);
    EXPECT_EQ(status.code(), code) << status.message();
    EXPECT_THAT(status.message(), HasSubstr(segment));
    EXPECT_EQ(variable, nullptr);
  };
  const auto flip = [&](int64_t at) {
    std::fstream file(segment, std::ios::in | std::ios::out | std::ios::binary);
    file.seekg(at);
    const auto byte = static_cast<char>(file.get() ^ 1);
    file.seekp(at);
    file.put(byte);
  };
  for (const int64_t at : {24, 4096 + 5, 20000}) {  // the header, a key, a row
    SCOPED_TRACE(at);
    flip(at);
    fails(StatusCode::kCorruption);
    flip(at);
  }
  flip(8);  // the version
  fails(StatusCode::kFailedPrecondition);
  flip(8);
  const auto bytes = std::filesystem::file_size(segment);
  std::filesystem::resize_file(segment, bytes / 2);
  fails(StatusCode::kCorruption);
  std::filesystem::remove(segment);
  fails(StatusCode::kNotFound);
}

INSTANTIATE_TEST_SUITE_P(, FrozenInFilesTest, ::testing::Values(Frozen::kInFiles),
                         [](const auto&) { return "InFiles"; });

}  // namespace
}  // namespace ev
