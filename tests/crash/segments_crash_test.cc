// A save with linked segments, or one for serving that writes its own: power lost, the disk full, a write failed, after every change of the disk in turn.  The save that
// was there is there, or the new one, and whichever it is, complete.
#include <gtest/gtest.h>

#include "ev_tf/variable/checkpoint.h"
#include "tests/support/fault_env.h"
#include "tests/support/tiers.h"
#include "tests/support/variable_support.h"

namespace ev {
namespace {

using testing::FaultEnv;

constexpr char kPath[] = "disk/table";
constexpr int64_t kDim = 16;
constexpr Key kRows = 600;

VariableOptions OverLog(Env* env, const std::string& directory) {
  VariableOptions options = test::Options(kDim, true);
  options.storage.dram_bytes = 4 << 10;
  options.storage.open_lower = [env, directory](size_t record_bytes, Relocator* relocator, std::shared_ptr<Tier>* out) {
    SsdLogOptions log;
    log.path = directory;
    log.row_bytes = record_bytes;
    log.segment_bytes = 16 << 10;
    log.io_mode = SsdIoMode::kBuffered;
    log.durable = false;
    log.delete_on_close = true;
    log.relocator = relocator;
    log.existing = SsdExisting::kDelete;
    log.env = env;
    std::unique_ptr<SsdLogTier> tier;
    EV_RETURN_IF_ERROR(SsdLogTier::Open(log, &tier));
    *out = std::move(tier);
    return OkStatus();
  };
  return options;
}

struct Case {
  LinkKind kind = LinkKind::kHardLink;
  SaveOptions::Frozen frozen = SaveOptions::Frozen::kNo;
};

// A table that is saved, changed and saved again, as in training.  Every float of its rows is the same, or one more.
class Training {
 public:
  Training(FaultEnv* env, const Case& how)
      : env_(env), frozen_(how.frozen), table_(test::NewVariable(OverLog(env, "log"), std::vector<float>(kDim))) {
    std::vector<Key> keys;
    for (Key k = 0; k < kRows; ++k) keys.push_back(k);
    Write(keys, 1);
  }
  // Rows `first`, first + step, ... become `value`.
  void Change(Key first, Key step, float value) {
    std::vector<Key> keys;
    for (Key k = first; k < kRows; k += step) keys.push_back(k);
    Write(keys, value);
  }
  Status Save(SaveReport* report = nullptr) {
    SerialExecutor executor;
    SaveOptions save;
    save.link_segments = true;
    save.frozen = frozen_;
    save.segment_bytes = 16 << 10;
    return SaveTable(*table_, kPath, executor, env_, save, report);
  }

 private:
  void Write(const std::vector<Key>& keys, float value) {
    for (size_t first = 0; first < keys.size(); first += 100) {
      const size_t n = std::min<size_t>(100, keys.size() - first);
      EV_EXPECT_OK(table_->WriteRows(Span<const Key>(keys).subspan(first, n), {},
                                     {std::vector<float>(n * kDim, value), {}, {}, {}}));
    }
    EV_EXPECT_OK(table_->FlushEvictions());
  }

  FaultEnv* const env_;
  const SaveOptions::Frozen frozen_;
  std::unique_ptr<EmbeddingVariable> table_;
};

// Rows that a save of `report` has in segments.
int64_t InSegments(const SaveReport& report, const Case& how) {
  return how.frozen == SaveOptions::Frozen::kNo ? report.rows_linked : report.rows_written;
}

// The values of the saved rows.
std::vector<float> Load(FaultEnv* env, bool into_log) {
  SerialExecutor executor;
  std::unique_ptr<EmbeddingVariable> variable;
  const std::vector<std::string> paths = {kPath};
  const VariableOptions options = into_log ? OverLog(env, "other") : test::Options(kDim, true);
  const Status status = LoadTable(options, paths, {}, executor, &variable, env);
  EXPECT_TRUE(status.ok()) << status.ToString();
  if (!status.ok()) return {};
  std::vector<Key> keys;
  for (Key k = 0; k < kRows; ++k) keys.push_back(k);
  EXPECT_EQ(variable->size(), kRows);
  const test::StoredRows rows = test::ReadRows(*variable, keys);
  std::vector<float> values;
  for (size_t i = 0; i < keys.size(); ++i) {
    values.push_back(rows.values[i * kDim]);
    EXPECT_EQ(rows.values[i * kDim + kDim - 1], values.back());
  }
  return values;
}

std::vector<float> Expected(float even) {
  std::vector<float> values;
  for (Key k = 0; k < kRows; ++k) values.push_back(k % 2 == 0 ? even : 1);
  return values;
}

std::vector<std::string> FilesBeside(FaultEnv* env) {
  std::vector<std::string> names;
  EV_EXPECT_OK(env->List("disk", &names));
  return names;
}

int64_t ChangesOfASave(const Case& how) {
  FaultEnv env;
  env.link_kind = how.kind;
  Training training(&env, how);
  SaveReport report;
  EV_EXPECT_OK(training.Save(&report));
  EXPECT_GT(InSegments(report, how), kRows / 2);
  training.Change(0, 2, 2);
  const int64_t before = env.changes();
  EV_EXPECT_OK(training.Save(&report));
  EXPECT_GT(InSegments(report, how), kRows / 2);
  return env.changes() - before;
}

class SegmentsCrash : public ::testing::TestWithParam<Case> {};

TEST_P(SegmentsCrash, PowerLostAtAnyChangeLeavesTheOldOrTheNewOne) {
  const int64_t changes = ChangesOfASave(GetParam());
  int old_ones = 0;
  int new_ones = 0;
  for (int64_t stop = 0; stop <= changes; ++stop) {
    for (uint64_t seed = 0; seed < 5; ++seed) {
      SCOPED_TRACE(::testing::Message() << "power lost after change " << stop << ", seed " << seed);
      FaultEnv env(static_cast<uint64_t>(stop) * 20 + seed);
      env.link_kind = GetParam().kind;
      bool saved = false;
      {
        Training training(&env, GetParam());
        EV_ASSERT_OK(training.Save());
        training.Change(0, 2, 2);
        env.FailAt(stop, FaultEnv::Fault::kPowerLoss);
        saved = training.Save().ok();
        env.LosePower();
      }
      const std::vector<float> found = Load(&env, seed % 2 == 0);
      if (saved) {
        EXPECT_EQ(found, Expected(2)) << "the save had returned OK";
      }
      const bool is_old = found == Expected(1);
      ASSERT_TRUE(is_old || found == Expected(2));
      ++(is_old ? old_ones : new_ones);
      EV_ASSERT_OK(VerifyTable(kPath, &env));
      // The next save takes away what this one left.
      Training next(&env, GetParam());
      EV_ASSERT_OK(next.Save());
      EXPECT_EQ(Load(&env, false), Expected(1));
      std::vector<std::string> paths;
      EV_ASSERT_OK(TableFiles(kPath, &paths, &env));
      EXPECT_EQ(FilesBeside(&env).size(), paths.size());
    }
  }
  EXPECT_GT(old_ones, 0);
  EXPECT_GT(new_ones, 0);
}

TEST_P(SegmentsCrash, AFailedSaveLeavesTheOldOneAndNoLitter) {
  const int64_t changes = ChangesOfASave(GetParam());
  for (const FaultEnv::Fault fault : {FaultEnv::Fault::kDiskFull, FaultEnv::Fault::kIoError}) {
    int failed = 0;
    for (int64_t stop = 0; stop < changes; ++stop) {
      SCOPED_TRACE(::testing::Message() << "change " << stop);
      FaultEnv env;
      env.link_kind = GetParam().kind;
      Training training(&env, GetParam());
      EV_ASSERT_OK(training.Save());
      const std::vector<std::string> files = FilesBeside(&env);
      training.Change(0, 2, 2);
      env.FailAt(stop, fault, false);
      const Status saved = training.Save();
      env.Heal();
      if (!saved.ok()) {
        ++failed;
        EXPECT_EQ(saved.code(), fault == FaultEnv::Fault::kDiskFull ? StatusCode::kOutOfSpace : StatusCode::kIoError);
      }
      const std::vector<float> found = Load(&env, true);
      if (FilesBeside(&env) == files) {
        EXPECT_EQ(found, Expected(1));
      } else {
        EXPECT_EQ(found, Expected(2));  // the new one is in place: what failed came later
      }
      EV_ASSERT_OK(training.Save());
      EXPECT_EQ(Load(&env, false), Expected(2));
      std::vector<std::string> paths;
      EV_ASSERT_OK(TableFiles(kPath, &paths, &env));
      EXPECT_EQ(FilesBeside(&env).size(), paths.size());
    }
    EXPECT_GT(failed, 10);
  }
}

INSTANTIATE_TEST_SUITE_P(Links, SegmentsCrash, ::testing::Values(Case{LinkKind::kHardLink}, Case{LinkKind::kCopy}));
INSTANTIATE_TEST_SUITE_P(Frozen, SegmentsCrash,
                         ::testing::Values(Case{LinkKind::kHardLink, SaveOptions::Frozen::kInFiles}));

}  // namespace
}  // namespace ev
