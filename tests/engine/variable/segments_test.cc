// SaveTable with linked segments: what is saved comes back from files that nobody wrote again, whatever goes on meanwhile.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <sys/stat.h>

#include <atomic>
#include <filesystem>
#include <fstream>
#include <map>
#include <numeric>
#include <set>
#include <thread>

#include "ev_tf/variable/checkpoint.h"
#include "ev_tf/variable/storage_type.h"
#include "tests/support/random.h"
#include "tests/support/sanitizers.h"
#include "tests/support/temp_dir.h"
#include "tests/support/tiers.h"
#include "tests/support/variable_support.h"

namespace ev {
namespace {

using test::Options;
using test::ReadRows;
using ::testing::HasSubstr;

constexpr int64_t kDim = 6;
constexpr int64_t kFewRows = 2 * 190 / 4;  // more of a stream are worth a file of the log, which has room for 190

std::string Bytes(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(file), {}};
}

// Rows of a table: key -> value, slots, frequency and version.
using Content = std::map<Key, std::vector<double>>;

Content ContentOf(const EmbeddingVariable& variable) {
  const std::vector<Key> keys = variable.Keys();
  const test::StoredRows rows = ReadRows(variable, keys);
  const size_t slots = keys.empty() ? 0 : rows.slots.size() / keys.size();
  Content content;
  for (size_t i = 0; i < keys.size(); ++i) {
    std::vector<double>& row = content[keys[i]];
    EXPECT_TRUE(rows.found[i]);
    row.assign(rows.values.begin() + static_cast<std::ptrdiff_t>(i * kDim),
               rows.values.begin() + static_cast<std::ptrdiff_t>((i + 1) * kDim));
    row.insert(row.end(), rows.slots.begin() + static_cast<std::ptrdiff_t>(i * slots),
               rows.slots.begin() + static_cast<std::ptrdiff_t>((i + 1) * slots));
    row.push_back(static_cast<double>(rows.frequencies[i]));
    row.push_back(static_cast<double>(rows.versions[i]));
  }
  return content;
}

VariableOptions OverLog(bool meta, int64_t dram_bytes = 8 << 10, bool async_compaction = false) {
  VariableOptions options = Options(kDim, meta);
  options.storage.dram_bytes = dram_bytes;
  options.storage.open_lower = test::OpenSmallLog(async_compaction);
  return options;
}

SaveOptions Linked() {
  SaveOptions save;
  save.link_segments = true;
  return save;
}

class SegmentsTest : public ::testing::Test {
 protected:
  std::string File(const std::string& name) const { return dir_ / name; }
  SaveReport Save(const EmbeddingVariable& variable, const std::string& name) {
    SaveReport report;
    EV_EXPECT_OK(SaveTable(variable, File(name), *executor_, nullptr, Linked(), &report));
    EXPECT_EQ(report.rows_written + report.rows_linked, variable.size());
    EV_EXPECT_OK(VerifyTable(File(name)));
    return report;
  }
  std::unique_ptr<EmbeddingVariable> Load(const VariableOptions& options, const std::string& name,
                                          LoadReport* report = nullptr, const LoadOptions& load = {}) {
    std::unique_ptr<EmbeddingVariable> variable;
    const std::vector<std::string> paths = {File(name)};
    EV_EXPECT_OK(LoadTable(options, paths, load, *executor_, &variable, nullptr, report));
    return variable;
  }
  // Trains `keys` with Adam, a batch.
  void Train(EmbeddingVariable* variable, const std::vector<Key>& keys, int64_t step) {
    test::Apply(variable, test::AdamCase(), keys, random_.Floats(keys.size() * kDim, -1, 1), step);
  }
  std::unique_ptr<EmbeddingVariable> Trained(const VariableOptions& options, Key rows) {
    auto variable = test::NewVariable(options, test::DefaultMatrix(8, kDim));
    for (Key first = 0; first < rows; first += 500) {
      std::vector<Key> keys;
      for (Key k = first; k < std::min(rows, first + 500); ++k) keys.push_back(k % 2 == 0 ? k : -k * 1000003);
      Train(variable.get(), keys, first / 500);
    }
    EV_EXPECT_OK(variable->FlushEvictions());
    return variable;
  }

  const test::TempDir dir_;
  const std::unique_ptr<Executor> executor_ = NewThreadPoolExecutor(2);
  test::Random random_{7};
};

TEST_F(SegmentsTest, RowsOfFullSegmentsAreNotWrittenAgain) {
  for (const bool meta : {false, true}) {
    SCOPED_TRACE(meta);
    const auto variable = Trained(OverLog(meta), 6000);
    const Content content = ContentOf(*variable);
    const SaveReport report = Save(*variable, "t");
    EXPECT_GT(report.rows_linked, 5000);
    EXPECT_GT(report.segments_linked, 10);
    EXPECT_EQ(report.segments_copied + report.segments_reflinked, 0);
    TableInfo info;
    EV_ASSERT_OK(InspectTable(File("t"), &info));
    EXPECT_EQ(info.rows, variable->size());
    EXPECT_EQ(info.segments, report.segments_linked);
    EXPECT_EQ(info.segment_rows, report.rows_linked);
    // Into a log of the same kind they are linked again, whatever becomes of the save.
    LoadReport load;
    const auto again = Load(OverLog(meta), "t", &load);
    EXPECT_EQ(load.rows_adopted, report.rows_linked);
    EXPECT_EQ(load.rows_read, report.rows_written);
    std::vector<std::string> paths;
    EV_ASSERT_OK(TableFiles(File("t"), &paths));
    EXPECT_EQ(paths.size(), 1 + static_cast<size_t>(report.segments_linked));
    std::map<std::string, std::string> bytes;
    for (const std::string& path : paths) bytes[path] = Bytes(path);
    EXPECT_EQ(ContentOf(*again), content);
    EXPECT_EQ(test::Lookup(*again, {987654321}), test::Lookup(*variable, {987654321}));
    // Both train on alike, and change no byte of the save.
    test::Random random = random_;
    for (EmbeddingVariable* one : {variable.get(), again.get()}) {
      random_ = random;
      for (int64_t step = 20; step < 32; ++step) {
        std::vector<Key> keys;
        for (Key k = step % 4; k < 6000; k += 4) keys.push_back(k % 2 == 0 ? k : -k * 1000003);
        Train(one, keys, step);
      }
      one->Remove(std::vector<Key>{0, 2, 4, 6});
    }
    const Content trained = ContentOf(*variable);
    EXPECT_EQ(ContentOf(*again), trained);
    EXPECT_NE(trained, content);
    for (const auto& [path, before] : bytes) EXPECT_TRUE(Bytes(path) == before) << path;
    EXPECT_EQ(ContentOf(*Load(OverLog(meta), "t")), content);
    EV_EXPECT_OK(RemoveTable(File("t")));
    EXPECT_TRUE(std::filesystem::is_empty(dir_.path()));
    EXPECT_EQ(ContentOf(*again), trained);
  }
}

TEST_F(SegmentsTest, IntoEveryOtherStorageAndAnyNumberOfParts) {
  const auto variable = Trained(OverLog(true), 4000);
  const Content content = ContentOf(*variable);
  ASSERT_GT(Save(*variable, "t").rows_linked, 3000);
  LoadReport report;
  const std::set<StorageType> types = {StorageType::kDram,        StorageType::kDramSsdHash,
                                       StorageType::kDramPmem,    StorageType::kDramPmemSsdHash,
                                       StorageType::kDramLevelDb, StorageType::kDramPmemLevelDb};
  for (const StorageType type : types) {
    SCOPED_TRACE(static_cast<int>(type));
    VariableOptions options = Options(kDim, true);
    const Status made = MakeStorage(type, dir_ / "tiers", {16 << 10, 32 << 10}, CacheStrategy::kLru, &options.storage);
    if (made.code() == StatusCode::kUnavailable) {
      std::printf("[  no tier ] %s\n", made.message().c_str());
      continue;
    }
    EV_ASSERT_OK(made);
    std::unique_ptr<EmbeddingVariable> loaded;
    const std::vector<std::string> paths = {File("t")};
    const Status status = LoadTable(options, paths, {}, *executor_, &loaded, nullptr, &report);
    if (status.code() == StatusCode::kUnavailable) {
      std::printf("[  no tier ] %s\n", status.message().c_str());
      continue;
    }
    EV_ASSERT_OK(status);
    EXPECT_EQ(report.rows_adopted, 0);
    EXPECT_EQ(ContentOf(*loaded), content);
  }
  for (int64_t parts = 2; parts <= 4; ++parts) {
    Content all;
    for (int64_t part = 0; part < parts; ++part) {
      LoadOptions load;
      load.partition = part;
      load.partitions = parts;
      Content mine = ContentOf(*Load(OverLog(true), "t", &report, load));
      EXPECT_EQ(report.rows_adopted, 0) << "every segment has keys of every part";
      for (const auto& [key, row] : mine) EXPECT_EQ(FloorMod(key, 1000) % parts, part);
      all.merge(mine);
    }
    EXPECT_EQ(all, content);
  }
}

// Each part of a table that was saved in parts links what is its own.
TEST_F(SegmentsTest, PartsLinkTheirOwn) {
  const Content content = ContentOf(*Trained(OverLog(true), 6000));
  std::vector<std::string> paths;
  for (int64_t part = 0; part < 2; ++part) {
    const auto variable = test::NewVariable(OverLog(true), test::DefaultMatrix(8, kDim));
    std::vector<Key> keys;
    for (const auto& [key, row] : content) {
      if (FloorMod(key, 1000) % 2 == part) keys.push_back(key);
    }
    for (size_t first = 0; first < keys.size(); first += 500) {
      const size_t end = std::min(keys.size(), first + 500);
      Train(variable.get(),
            {keys.begin() + static_cast<std::ptrdiff_t>(first), keys.begin() + static_cast<std::ptrdiff_t>(end)}, 1);
    }
    EV_ASSERT_OK(variable->FlushEvictions());
    paths.push_back(File("p" + std::to_string(part)));
    ASSERT_GT(Save(*variable, "p" + std::to_string(part)).rows_linked, 2000);
  }
  int64_t rows = 0;
  for (int64_t part = 0; part < 2; ++part) {
    LoadOptions load;
    load.partition = part;
    load.partitions = 2;
    LoadReport report;
    std::unique_ptr<EmbeddingVariable> variable;
    EV_ASSERT_OK(LoadTable(OverLog(true), paths, load, *executor_, &variable, nullptr, &report));
    EXPECT_GT(report.rows_adopted, 2000);
    rows += variable->size();
  }
  EXPECT_EQ(rows, static_cast<int64_t>(content.size()));
  // One part takes the segments of two logs, whose numbers are the same.
  LoadReport report;
  std::unique_ptr<EmbeddingVariable> variable;
  EV_ASSERT_OK(LoadTable(OverLog(true), paths, {}, *executor_, &variable, nullptr, &report));
  EXPECT_GT(report.rows_adopted, 4000);
  Content both = ContentOf(*variable);
  EXPECT_EQ(both.size(), content.size());
  Save(*variable, "again");
  EXPECT_EQ(ContentOf(*Load(OverLog(true), "again")), both);
}

// What a save writes itself is nothing: rows that have changed since the last one get copies in the log, whose last file is
// closed for it unless it has a few rows only.
TEST_F(SegmentsTest, RowsOfDramThatHaveNotChangedAreWrittenOnce) {
  const auto variable = Trained(OverLog(true, 64 << 10), 6000);
  const int64_t in_dram = variable->metrics().hot_rows;
  ASSERT_GT(in_dram, 500);
  const int64_t first = Save(*variable, "t").rows_written;
  const Content content = ContentOf(*variable);
  EXPECT_EQ(ContentOf(*Load(OverLog(true), "t")), content);
  EXPECT_LT(first, kFewRows);
  Train(variable.get(), {2, 4, 6, 8}, 99);
  const int64_t second = Save(*variable, "t").rows_written;
  EXPECT_LT(second, kFewRows);
  EXPECT_EQ(ContentOf(*Load(OverLog(true), "t")), ContentOf(*variable));
  EXPECT_NE(ContentOf(*variable), content);
}

TEST_F(SegmentsTest, OptionsThatChangeRowsReadThem) {
  const auto variable = Trained(OverLog(true), 3000);
  Save(*variable, "t");
  LoadReport report;
  LoadOptions load;
  load.reset_versions = true;
  auto loaded = Load(OverLog(true), "t", &report, load);
  EXPECT_EQ(report.rows_adopted, 0);
  EXPECT_EQ(ReadRows(*loaded, {2, 4}).versions, (std::vector<int64_t>{0, 0}));
  load = {};
  load.with_slots = false;
  loaded = Load(OverLog(true), "t", &report, load);
  EXPECT_EQ(report.rows_adopted, 0);
  EXPECT_TRUE(loaded->slots().empty());
  EXPECT_EQ(ReadRows(*loaded, {2, 4}).values, ReadRows(*variable, {2, 4}).values);
  load = {};
  load.adopt_segments = false;
  loaded = Load(OverLog(true), "t", &report, load);
  EXPECT_EQ(report.rows_adopted, 0);
  EXPECT_EQ(ContentOf(*loaded), ContentOf(*variable));
  loaded = Load(OverLog(false), "t", &report);
  EXPECT_EQ(report.rows_adopted, 0) << "its rows have no meta";
  EXPECT_EQ(ReadRows(*loaded, {2, 4}).values, ReadRows(*variable, {2, 4}).values);
}

// Random work, saves at any time, each checked against what the table held then, after later ones came, went and were trained
// over; now and then the table goes on from one of them.
TEST_F(SegmentsTest, RandomWorkSavesAndLoads) {
  test::Random random(8);
  for (const bool stacked : {false, true}) {
    VariableOptions options = OverLog(true, 6 << 10, random.Below(2) == 0);
    if (stacked) options.storage.between.push_back({test::OpenDram(), 20 << 10});
    auto variable = test::NewVariable(options, test::DefaultMatrix(8, kDim));
    std::map<std::string, Content> saves;
    int64_t adopted = 0;
    for (int step = 0; step < (test::kUnderThreadSanitizer ? 100 : 400); ++step) {
      std::vector<Key> keys;
      const Key range = step % 50 < 40 ? 300 : 3000;
      for (int i = 0; i < 60; ++i) keys.push_back(static_cast<Key>(random.Below(static_cast<uint64_t>(range))) - 100);
      switch (random.Below(8)) {
        case 0: variable->Remove(keys); break;
        case 1: test::Lookup(*variable, keys); break;
        case 2: EV_ASSERT_OK(variable->FlushEvictions()); break;
        default: test::Apply(variable.get(), test::AdamCase(), keys, random.Floats(keys.size() * kDim, -1, 1), step);
      }
      if (random.Below(12) == 0) {
        const std::string name = "s" + std::to_string(random.Below(4));  // over an older one at times
        Save(*variable, name);
        saves[name] = ContentOf(*variable);
      }
      if (random.Below(25) == 0 && !saves.empty()) {
        const auto it = std::next(saves.begin(), static_cast<std::ptrdiff_t>(random.Below(saves.size())));
        LoadReport report;
        auto loaded = Load(options, it->first, &report);
        ASSERT_EQ(ContentOf(*loaded), it->second) << "step " << step;
        adopted += report.rows_adopted;
        if (random.Below(2) == 0) variable = std::move(loaded);
        if (random.Below(3) == 0) {
          EV_ASSERT_OK(RemoveTable(File(it->first)));
          saves.erase(it);
        }
      }
    }
    std::vector<Key> many(3000);  // some segments are full, whatever the seed had done
    std::iota(many.begin(), many.end(), 1000);
    test::Apply(variable.get(), test::AdamCase(), many, random.Floats(many.size() * kDim, -1, 1), 400);
    EV_ASSERT_OK(variable->FlushEvictions());
    EXPECT_GT(Save(*variable, "last").rows_linked, 0);
    saves["last"] = ContentOf(*variable);
    for (const auto& [name, content] : saves) {
      LoadReport report;
      EXPECT_EQ(ContentOf(*Load(options, name, &report)), content);
      adopted += report.rows_adopted;
      EV_ASSERT_OK(RemoveTable(File(name)));
    }
    EXPECT_TRUE(std::filesystem::is_empty(dir_.path())) << "files of saves that are gone";
    EXPECT_GT(adopted, 0);
  }
}

// Rows are saved whole, each once, while threads train, look up, insert and remove, and the log is compacted.
TEST_F(SegmentsTest, TrainingGoesOnMeanwhile) {
  for (const bool async_compaction : {false, true}) {
    VariableOptions options = OverLog(false, 16 << 10, async_compaction);
    const auto variable = test::NewVariable(options, std::vector<float>(kDim, 0.0f));
    std::vector<Key> stable;
    for (Key k = 0; k < 3000; ++k) stable.push_back(k * 7919);
    const auto descend = [&](const std::vector<Key>& keys) {
      test::Descend(variable.get(), keys, std::vector<float>(keys.size() * kDim, -1.0f));
    };
    descend(stable);
    std::atomic<bool> stop{false};
    std::vector<std::thread> threads;
    for (int t = 0; t < 3; ++t) {
      threads.emplace_back([&, t] {
        test::Random random(static_cast<uint64_t>(t));
        while (!stop.load()) {
          std::vector<Key> keys;
          for (int i = 0; i < 200; ++i) keys.push_back(stable[random.Below(stable.size())]);
          if (t == 0) {
            test::Lookup(*variable, keys);
            continue;
          }
          const Key fleeting = -1 - static_cast<Key>(random.Below(500));
          keys.push_back(fleeting);
          descend(keys);
          variable->Remove(std::vector<Key>{fleeting});
        }
      });
    }
    for (int round = 0; round < (test::kUnderThreadSanitizer ? 3 : 15); ++round) {
      SaveReport report;
      EV_ASSERT_OK(SaveTable(*variable, File("t"), *executor_, nullptr, Linked(), &report));
      const auto loaded = Load(round % 2 == 0 ? OverLog(false) : Options(kDim), "t");
      const test::StoredRows rows = ReadRows(*loaded, stable);
      EXPECT_EQ(rows.found, std::vector<bool>(stable.size(), true));
      for (size_t i = 0; i < rows.values.size(); ++i) {
        ASSERT_EQ(rows.values[i], rows.values[i / kDim * kDim]) << "row " << i / kDim << " is torn";
        ASSERT_GE(rows.values[i], 1.0f);
      }
      EXPECT_LE(loaded->size(), static_cast<int64_t>(stable.size()) + 500);
    }
    stop = true;
    for (std::thread& thread : threads) thread.join();
  }
}

// More rows than are looked for at once are in no segment, and each is saved once.
TEST_F(SegmentsTest, RowsBesideTheSegmentsAreSavedInRuns) {
  const Key rows = test::kUnderSanitizer ? 1'300'000 : 2'500'000;
  VariableOptions options = Options(1, false);
  options.storage.dram_bytes = int64_t{1} << 20;
  options.storage.between.push_back({test::OpenDram(), rows / 10 * 9 * 16});
  options.storage.open_lower = test::OpenSmallLog(false);
  const auto variable = test::NewVariable(options, std::vector<float>{0.0f});
  std::vector<Key> keys(100'000);
  for (Key first = 0; first < rows; first += static_cast<Key>(keys.size())) {
    std::iota(keys.begin(), keys.end(), first);
    std::vector<float> values(keys.begin(), keys.end());
    EV_ASSERT_OK(variable->WriteRows(keys, {}, {values, {}, {}, {}}));
  }
  EV_ASSERT_OK(variable->FlushEvictions());
  const SaveReport report = Save(*variable, "t");
  EXPECT_GT(report.rows_linked, 1000);
  EXPECT_GT(report.rows_written, int64_t{1} << 20) << "one run";
  if (test::kUnderThreadSanitizer) return;  // threads share the save
  const auto loaded = Load(options, "t");
  EXPECT_EQ(loaded->size(), rows);
  for (Key first = 0; first < rows; first += static_cast<Key>(keys.size())) {
    std::iota(keys.begin(), keys.end(), first);
    ASSERT_EQ(ReadRows(*loaded, keys).values, std::vector<float>(keys.begin(), keys.end()));
  }
}

// Where the checkpoint is on another file system, files are copied, and the report says so.
TEST_F(SegmentsTest, AnotherFileSystemGetsCopies) {
  const test::SmallDisk disk(8 << 20);
  if (!disk.mounted()) GTEST_SKIP() << "no second file system: " << disk.why();
  const auto variable = Trained(OverLog(true), 3000);
  SaveReport report;
  const std::string path = disk.path() + "/t";
  EV_ASSERT_OK(SaveTable(*variable, path, *executor_, nullptr, Linked(), &report));
  EXPECT_EQ(report.segments_linked, 0);
  EXPECT_GT(report.segments_copied, 5);
  EV_ASSERT_OK(VerifyTable(path));
  std::unique_ptr<EmbeddingVariable> loaded;
  const std::vector<std::string> paths = {path};
  EV_ASSERT_OK(LoadTable(OverLog(true), paths, {}, *executor_, &loaded));
  EXPECT_EQ(ContentOf(*loaded), ContentOf(*variable));
  EV_ASSERT_OK(RemoveTable(path));
  EXPECT_TRUE(std::filesystem::is_empty(disk.path()));
}

TEST_F(SegmentsTest, NamesCanBeTheCallers) {
  const auto variable = Trained(OverLog(true), 3000);
  SaveOptions save = Linked();
  save.segment_path = [&](size_t i) { return File("m.data-s" + std::to_string(10000 + i)); };
  EV_ASSERT_OK(SaveTable(*variable, File("m.data-eABC"), *executor_, nullptr, save));
  std::vector<std::string> paths;
  EV_ASSERT_OK(TableFiles(File("m.data-eABC"), &paths));
  ASSERT_GT(paths.size(), 5U);
  EXPECT_EQ(paths[1], File("m.data-s10000"));
  EXPECT_EQ(ContentOf(*Load(OverLog(true), "m.data-eABC")), ContentOf(*variable));
  // The whole of it under another name.
  for (const std::string& path : paths) {
    std::filesystem::rename(path, dir_ / ("other" + path.substr(File("m").size())));
  }
  EXPECT_EQ(ContentOf(*Load(OverLog(true), "other.data-eABC")), ContentOf(*variable));
}

TEST_F(SegmentsTest, AMissingOrDamagedSegmentIsNamed) {
  const auto variable = Trained(OverLog(true), 3000);
  Save(*variable, "t");
  std::vector<std::string> paths;
  EV_ASSERT_OK(TableFiles(File("t"), &paths));
  const std::string victim = paths[3];
  const std::string bytes = Bytes(victim);
  const auto write = [&](const std::string& what) {
    std::filesystem::remove(victim);  // not in place: the live table has it, too
    std::ofstream(victim, std::ios::binary) << what;
  };
  const auto expect_refused = [&](StatusCode code, const std::string& words) {
    const std::vector<std::string> table = {File("t")};
    for (const VariableOptions& options : {OverLog(true), Options(kDim, true)}) {
      std::unique_ptr<EmbeddingVariable> out;
      const Status status = LoadTable(options, table, {}, *executor_, &out);
      EXPECT_EQ(status.code(), code) << status.ToString();
      EXPECT_THAT(status.message(), HasSubstr(victim));
      EXPECT_THAT(status.message(), HasSubstr(words));
      EXPECT_EQ(out, nullptr);
    }
    const Status verified = VerifyTable(File("t"));
    EXPECT_EQ(verified.code(), code);
    EXPECT_THAT(verified.message(), HasSubstr(victim));
  };
  std::string spoiled = bytes;
  spoiled[5000] = static_cast<char>(spoiled[5000] ^ 4);
  write(spoiled);
  expect_refused(StatusCode::kCorruption, "crc");
  write(bytes.substr(0, bytes.size() / 2));
  expect_refused(StatusCode::kCorruption, "expected at least");
  write(Bytes(paths[2]));
  expect_refused(StatusCode::kCorruption, "number: expected");
  spoiled = bytes;
  spoiled[8] = 1;
  write(spoiled);
  expect_refused(StatusCode::kFailedPrecondition, "version: expected 2, found 1");
  std::filesystem::remove(victim);
  expect_refused(StatusCode::kNotFound, "No such file");
  write(bytes);
  EXPECT_EQ(ContentOf(*Load(OverLog(true), "t")), ContentOf(*variable));
}

}  // namespace
}  // namespace ev
