// Power lost, the disk full, a write failed, after every change of the disk in turn: the file that was there is there, or the
// new one, and whichever it is, complete.
#include <gtest/gtest.h>

#include "ev_tf/variable/checkpoint.h"
#include "tests/support/fault_env.h"
#include "tests/support/variable_support.h"

namespace ev {
namespace {

using testing::FaultEnv;

constexpr char kPath[] = "disk/table";

// 40 rows, every float of which is `generation`.
std::unique_ptr<EmbeddingVariable> Table(float generation) {
  auto variable = test::NewVariable(test::Options(4, true), test::DefaultMatrix(2, 4));
  std::vector<Key> keys;
  for (Key k = -20; k < 20; ++k) keys.push_back(k * 999);
  EV_EXPECT_OK(variable->WriteRows(keys, {}, {std::vector<float>(keys.size() * 4, generation), {}, {}, {}}));
  return variable;
}

Status Save(FaultEnv* env, float generation) {
  SerialExecutor executor;
  return SaveTable(*Table(generation), kPath, executor, env);
}

// The generation of the file; every row must be of it.
float Load(FaultEnv* env) {
  SerialExecutor executor;
  std::unique_ptr<EmbeddingVariable> variable;
  const std::vector<std::string> paths = {kPath};
  const Status status = LoadTable(test::Options(4, true), paths, {}, executor, &variable, env);
  EXPECT_TRUE(status.ok()) << status.ToString();
  if (!status.ok()) return -1;
  const test::StoredRows rows = test::ReadRows(*variable, variable->Keys());
  EXPECT_EQ(variable->size(), 40);
  EXPECT_EQ(rows.values, std::vector<float>(160, rows.values[0]));
  return rows.values[0];
}

int64_t ChangesOfASave() {
  FaultEnv env;
  EV_EXPECT_OK(Save(&env, 1));
  const int64_t before = env.changes();
  EV_EXPECT_OK(Save(&env, 2));
  return env.changes() - before;
}

TEST(CheckpointCrash, PowerLostAtAnyChangeLeavesTheOldOrTheNewOne) {
  const int64_t changes = ChangesOfASave();
  int old_ones = 0;
  int new_ones = 0;
  for (int64_t stop = 0; stop <= changes; ++stop) {
    for (uint64_t seed = 0; seed < 20; ++seed) {
      SCOPED_TRACE(::testing::Message() << "power lost after change " << stop << ", seed " << seed);
      FaultEnv env(static_cast<uint64_t>(stop) * 20 + seed);
      EV_ASSERT_OK(Save(&env, 1));
      env.FailAt(stop, FaultEnv::Fault::kPowerLoss);
      const Status saved = Save(&env, 2);
      env.LosePower();
      const float found = Load(&env);
      if (saved.ok()) {
        EXPECT_EQ(found, 2) << "the save had returned OK";
      }
      ASSERT_TRUE(found == 1 || found == 2);
      ++(found == 1 ? old_ones : new_ones);
      EV_ASSERT_OK(Save(&env, 3));
      EXPECT_EQ(Load(&env), 3);
    }
  }
  EXPECT_GT(old_ones, 0);
  EXPECT_GT(new_ones, 0);
}

TEST(CheckpointCrash, AFailedSaveLeavesTheOldOneAndNoLitter) {
  const int64_t changes = ChangesOfASave();
  for (const FaultEnv::Fault fault : {FaultEnv::Fault::kDiskFull, FaultEnv::Fault::kIoError}) {
    for (int64_t stop = 0; stop < changes - 1; ++stop) {  // the last is the sync of the directory
      SCOPED_TRACE(::testing::Message() << "change " << stop);
      FaultEnv env;
      EV_ASSERT_OK(Save(&env, 1));
      env.FailAt(stop, fault, false);
      const Status saved = Save(&env, 2);
      EXPECT_FALSE(saved.ok());
      EXPECT_EQ(saved.code(), fault == FaultEnv::Fault::kDiskFull ? StatusCode::kOutOfSpace : StatusCode::kIoError);
      EXPECT_EQ(Load(&env), 1);
      std::vector<std::string> names;
      EV_ASSERT_OK(env.List("disk", &names));
      EXPECT_EQ(names, std::vector<std::string>{"table"});
    }
  }
}

}  // namespace
}  // namespace ev
