// SaveBase and SaveDelta: a delta holds what has changed and nothing else; a full save and its deltas are the table, and files
// that do not build on one another are refused.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <atomic>
#include <thread>

#include "ev_tf/checkpoint/chain.h"
#include "ev_tf/checkpoint/table_writer.h"
#include "ev_tf/variable/storage_type.h"
#include "tests/support/chain_files.h"
#include "tests/support/random.h"
#include "tests/support/sanitizers.h"
#include "tests/support/sync_points.h"
#include "tests/support/temp_dir.h"

namespace ev {
namespace {

using test::ExpectSame;
using test::LoadFiles;
using test::NewVariable;
using test::Options;
using test::StateOf;
using ::testing::HasSubstr;

class DeltaTest : public ::testing::Test {
 protected:
  std::string File(const std::string& name) const { return dir_ / name; }
  void Train(EmbeddingVariable* variable, const std::vector<Key>& keys, int64_t step) {
    test::Apply(variable, test::AdamCase(), keys, random_.Floats(keys.size() * 4, -1, 1), step);
  }
  std::unique_ptr<EmbeddingVariable> Table() { return NewVariable(Options(4, true), test::DefaultMatrix(8, 4)); }
  void Base(EmbeddingVariable* variable, const std::string& name) {
    EV_ASSERT_OK(SaveBase(variable, File(name), *executor_));
  }
  void Delta(EmbeddingVariable* variable, const std::string& name) {
    EV_ASSERT_OK(SaveDelta(variable, File(name), *executor_));
  }
  std::string Refusal(const std::vector<std::string>& names) {
    std::vector<std::string> paths;
    for (const std::string& name : names) paths.push_back(File(name));
    std::unique_ptr<EmbeddingVariable> out;
    const Status loaded = LoadTable(Options(4, true), paths, {}, *executor_, &out);
    EXPECT_EQ(loaded.code(), StatusCode::kInvalidArgument);
    EXPECT_EQ(MergeTables(paths, File("merged")).code(), StatusCode::kInvalidArgument);
    return loaded.message();
  }

  const test::TempDir dir_;
  test::Random random_{7};
  const std::unique_ptr<Executor> executor_ = NewThreadPoolExecutor(2);
};

std::vector<Key> Range(Key first, Key end) {
  std::vector<Key> keys;
  for (Key k = first; k < end; ++k) keys.push_back(k * 977);
  return keys;
}

TEST_F(DeltaTest, HoldsWhatHasChangedAndNothingElse) {
  const auto variable = Table();
  Train(variable.get(), Range(0, 1000), 1);
  EXPECT_EQ(variable->metrics().changed_keys, 0) << "remembered before anybody asked";
  Base(variable.get(), "f");
  Train(variable.get(), Range(10, 20), 2);      // updated
  Train(variable.get(), Range(2000, 2005), 3);  // inserted
  variable->Remove(Range(995, 1010));           // 5 removed, the others were never there
  test::Lookup(*variable, Range(0, 3000));      // no change
  EV_ASSERT_OK(variable->WriteRows(Range(30, 31), {}, {std::vector<float>(4, 9.0f), {}, {}, {}}));
  EV_ASSERT_OK(variable->InsertMissing(Range(31, 33), std::vector<float>(8, 9.0f)));  // no change
  EXPECT_EQ(variable->metrics().changed_keys, 21);
  Delta(variable.get(), "d1");
  TableInfo info;
  EV_ASSERT_OK(InspectTable(File("d1"), &info));
  EXPECT_TRUE(info.is_delta);
  EXPECT_EQ(info.rows, 16);
  EXPECT_EQ(info.removed_keys, 5);
  EXPECT_EQ(info.sequence, 1);
  TableInfo full;
  EV_ASSERT_OK(InspectTable(File("f"), &full));
  EXPECT_FALSE(full.is_delta);
  EXPECT_EQ(full.save_id, info.base_id);
  EXPECT_NE(full.save_id, info.save_id);
  EXPECT_EQ(full.save_id.size(), 32U);
  EXPECT_EQ(variable->metrics().changed_keys, 0);
  Delta(variable.get(), "d2");
  EV_ASSERT_OK(InspectTable(File("d2"), &info));
  EXPECT_EQ(info.rows + info.removed_keys, 0);
  EV_EXPECT_OK(VerifyTable(File("d1")));
  ExpectSame(StateOf(*LoadFiles(variable->options(), {File("d2"), File("f"), File("d1")})), StateOf(*variable));
}

TEST_F(DeltaTest, SavesOutsideTheChainDoNotDisturbIt) {
  const auto variable = Table();
  EXPECT_EQ(SaveDelta(variable.get(), File("d"), *executor_).code(), StatusCode::kFailedPrecondition);
  Train(variable.get(), Range(0, 50), 1);
  Base(variable.get(), "f");
  Train(variable.get(), Range(0, 5), 2);
  EV_ASSERT_OK(SaveTable(*variable, File("aside"), *executor_));
  Train(variable.get(), Range(5, 7), 3);
  Delta(variable.get(), "d");
  TableInfo info;
  EV_ASSERT_OK(InspectTable(File("d"), &info));
  EXPECT_EQ(info.rows, 7);
  EV_ASSERT_OK(InspectTable(File("aside"), &info));
  EXPECT_EQ(info.base_id, "");
}

TEST_F(DeltaTest, AFailedSaveLosesNothing) {
  const auto variable = Table();
  Train(variable.get(), Range(0, 100), 1);
  EXPECT_EQ(SaveBase(variable.get(), File("no/where"), *executor_).code(), StatusCode::kNotFound);
  Train(variable.get(), Range(0, 100), 2);
  EXPECT_EQ(variable->metrics().changed_keys, 0) << "a chain that never began is followed";
  Base(variable.get(), "f");
  Train(variable.get(), Range(0, 5), 3);
  EXPECT_EQ(SaveDelta(variable.get(), File("no/where"), *executor_).code(), StatusCode::kNotFound);
  Train(variable.get(), Range(3, 9), 4);
  EXPECT_EQ(SaveBase(variable.get(), File("no/where"), *executor_).code(), StatusCode::kNotFound);
  Train(variable.get(), Range(9, 10), 5);
  EXPECT_EQ(variable->metrics().changed_keys, 10);
  Delta(variable.get(), "d");
  ExpectSame(StateOf(*LoadFiles(variable->options(), {File("f"), File("d")})), StateOf(*variable));
}

TEST_F(DeltaTest, SlotsThatCameBetweenAreInEveryRow) {
  const auto variable = Table();
  test::Descend(variable.get(), Range(0, 50), std::vector<float>(200, 1.0f));
  Base(variable.get(), "f");
  Train(variable.get(), Range(40, 60), 1);
  Delta(variable.get(), "d");
  EV_ASSERT_OK(MergeTables(std::vector<std::string>{File("f"), File("d")}, File("m")));
  for (const auto& files : {std::vector<std::string>{File("f"), File("d")}, {File("m")}}) {
    const auto loaded = LoadFiles(variable->options(), files);
    EXPECT_EQ(loaded->slots().size(), 2U);
    ExpectSame(StateOf(*loaded), StateOf(*variable));
  }
}

TEST_F(DeltaTest, AClearedTableBeginsAnew) {
  const auto variable = Table();
  Train(variable.get(), Range(0, 50), 1);
  Base(variable.get(), "f");
  Train(variable.get(), Range(50, 60), 2);
  Delta(variable.get(), "d1");
  EV_ASSERT_OK(variable->Clear());
  Train(variable.get(), Range(3, 6), 3);
  Delta(variable.get(), "d2");
  Train(variable.get(), Range(100, 102), 4);
  Delta(variable.get(), "d3");
  const std::vector<std::string> files = {File("f"), File("d1"), File("d2"), File("d3")};
  ExpectSame(StateOf(*LoadFiles(variable->options(), files)), StateOf(*variable));
  EV_ASSERT_OK(MergeTables(files, File("m")));
  ExpectSame(StateOf(*LoadFiles(variable->options(), {File("m")})), StateOf(*variable));
}

TEST_F(DeltaTest, LaterDeltasBuildOnAMergedFile) {
  const auto variable = Table();
  Train(variable.get(), Range(0, 300), 1);
  Base(variable.get(), "f");
  Train(variable.get(), Range(20, 40), 2);
  Delta(variable.get(), "d1");
  EV_ASSERT_OK(MergeTables(std::vector<std::string>{File("d1"), File("f")}, File("m")));
  variable->Remove(Range(30, 35));
  Delta(variable.get(), "d2");
  ExpectSame(StateOf(*LoadFiles(variable->options(), {File("m"), File("d2")})), StateOf(*variable));
  EXPECT_THAT(Refusal({"m", "d1", "d2"}), HasSubstr("d1: expected delta 2, which follows"));
  EXPECT_THAT(Refusal({"m", "f", "d1"}), HasSubstr("expected one full save of"));
}

TEST_F(DeltaTest, FilesOfAnotherChainAreRefused) {
  const auto variable = Table();
  Train(variable.get(), Range(0, 10), 1);
  for (const std::string run : {"a", "b"}) {
    Base(variable.get(), run);
    for (const std::string n : {"1", "2", "3"}) {
      Train(variable.get(), Range(0, 3), 2);
      Delta(variable.get(), run + n);
    }
  }
  EXPECT_THAT(Refusal({"a", "b1"}), HasSubstr("b1: delta 1: expected its full save"));
  EXPECT_THAT(Refusal({"a1"}), HasSubstr("found none: is the delta of another run?"));
  EXPECT_THAT(Refusal({"a", "a1", "a3"}), HasSubstr("a3: expected delta 2, which follows"));
  EXPECT_THAT(Refusal({"a", "a1", "a1"}), HasSubstr("a1: expected delta 2, which follows"));
  EXPECT_THAT(Refusal({"a", "b"}), HasSubstr("expected distinct keys"));
}

// A delta of the same chain and number, but of a run that took another way.
TEST_F(DeltaTest, ADeltaKnowsTheOneBeforeIt) {
  const auto variable = Table();
  Train(variable.get(), Range(0, 10), 1);
  Base(variable.get(), "f");
  Train(variable.get(), Range(0, 3), 2);
  Delta(variable.get(), "d1");
  checkpoint::Readers readers;
  const std::vector<std::string> paths = {File("d1")};
  EV_ASSERT_OK(checkpoint::OpenTables(&Env::Default(), paths, &readers));
  checkpoint::Lineage other = *readers[0]->lineage();
  other.id = checkpoint::NewSaveId();
  other.previous = checkpoint::NewSaveId();
  std::unique_ptr<TableWriter> writer;
  EV_ASSERT_OK(TableWriter::Create(&Env::Default(), File("other"), readers[0]->table(), {}, &writer));
  EV_ASSERT_OK(writer->AddLineage(other));
  EV_ASSERT_OK(writer->Commit());
  EXPECT_THAT(Refusal({"f", "other"}), HasSubstr("other: expected a delta on save"));
}

TEST_F(DeltaTest, PartsWithTheirDeltasBecomeAnyNumberOfParts) {
  constexpr int64_t kParts = 3;
  std::vector<std::string> files;
  std::vector<Key> keys;
  std::vector<std::unique_ptr<EmbeddingVariable>> parts;
  for (int64_t p = 0; p < kParts; ++p) {
    std::vector<Key> mine;
    for (Key k = -3000; k < 3000; ++k) {
      if (FloorMod(k, 1000) % kParts == p) mine.push_back(k);
    }
    keys.insert(keys.end(), mine.begin(), mine.end());
    parts.push_back(Table());
    const std::string name = std::to_string(p);
    Train(parts.back().get(), mine, 1);
    Base(parts.back().get(), "f" + name);
    if (p == 1) EV_ASSERT_OK(parts.back()->Clear());  // the other parts keep what they have
    Train(parts.back().get(), {mine.begin(), mine.begin() + 100}, 2);
    parts.back()->Remove(std::vector<Key>(mine.begin() + 50, mine.begin() + 80));
    Delta(parts.back().get(), "d" + name);
    files.push_back(File("d" + name));
    files.push_back(File("f" + name));
  }
  for (int64_t q = 1; q <= 4; ++q) {
    int64_t rows = 0;
    for (int64_t j = 0; j < q; ++j) {
      LoadOptions load;
      load.partition = j;
      load.partitions = q;
      const auto loaded = LoadFiles(Options(4, true), files, load);
      rows += loaded->size();
      for (const auto& part : parts) {
        std::vector<Key> both;
        for (const Key key : part->Keys()) {
          if (FloorMod(key, 1000) % q == j) both.push_back(key);
        }
        EXPECT_EQ(test::ReadRows(*loaded, both).slots, test::ReadRows(*part, both).slots);
      }
    }
    EXPECT_EQ(rows, parts[0]->size() + parts[1]->size() + parts[2]->size());
  }
  EV_ASSERT_OK(MergeTables(files, File("m")));
  ExpectSame(StateOf(*LoadFiles(Options(4, true), {File("m")})), StateOf(*LoadFiles(Options(4, true), files)));
}

#if !defined(NDEBUG)
// An update between the moment at which a delta says what has changed, and its end, is not lost.
TEST_F(DeltaTest, WhatChangesWhileADeltaIsWrittenIsInTheNext) {
  const auto variable = Table();
  Train(variable.get(), Range(0, 100), 1);
  Base(variable.get(), "f");
  Train(variable.get(), Range(0, 10), 2);
  test::SyncPointsGuard points;
  points.Once("delta.written", [&] {
    Train(variable.get(), Range(5, 15), 3);
    variable->Remove(Range(90, 92));
  });
  Delta(variable.get(), "d1");
  EXPECT_EQ(variable->metrics().changed_keys, 12);
  Delta(variable.get(), "d2");
  ExpectSame(StateOf(*LoadFiles(variable->options(), {File("f"), File("d1"), File("d2")})), StateOf(*variable));
}

#endif

// Four threads train, insert and remove while deltas are written: rows are whole in each, and nothing is in none.
TEST_F(DeltaTest, TrainingGoesOnMeanwhile) {
  for (const StorageType type : {StorageType::kDram, StorageType::kDramSsdHash}) {
    VariableOptions options = Options(8);
    EV_ASSERT_OK(MakeStorage(type, dir_.path() + "/tiers", 32 << 10, CacheStrategy::kLru, &options.storage));
    const auto variable = NewVariable(options, std::vector<float>(8, 0.0f));
    std::atomic<bool> stop{false};
    std::vector<std::thread> threads;
    for (uint64_t t = 0; t < 4; ++t) {
      threads.emplace_back([&, t] {
        test::Random random(t);
        while (!stop.load()) {
          std::vector<Key> keys(100);
          for (Key& key : keys) key = static_cast<Key>(random.Below(3000)) * 977;
          test::Descend(variable.get(), keys, std::vector<float>(keys.size() * 8, -1.0f));
          keys.resize(5);
          variable->Remove(keys);
        }
      });
    }
    std::vector<std::string> files = {File("f")};
    Base(variable.get(), "f");
    const auto delta = [&] {
      files.push_back(File("d" + std::to_string(files.size())));
      EV_ASSERT_OK(SaveDelta(variable.get(), files.back(), *executor_));
    };
    for (int round = 0; round < test::Rounds(16); ++round) {
      delta();
      const auto loaded = LoadFiles(Options(8), files);
      const test::StoredRows rows = test::ReadRows(*loaded, loaded->Keys());
      for (size_t i = 0; i < rows.values.size(); ++i) ASSERT_EQ(rows.values[i], rows.values[i / 8 * 8]) << "torn";
    }
    stop = true;
    for (std::thread& thread : threads) thread.join();
    delta();
    ExpectSame(StateOf(*LoadFiles(Options(8), files)), StateOf(*variable));
  }
}

}  // namespace
}  // namespace ev
