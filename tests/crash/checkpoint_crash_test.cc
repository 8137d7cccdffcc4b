// Power lost, the disk full, a write failed, after every change of the disk in turn: the file that was there is there, or the
// new one, and whichever it is, complete.
#include <gtest/gtest.h>

#include "ev_tf/env/buffer_pool.h"
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

// Four megabytes in pieces of up to two, by several threads, in an order of their own.
class LargeTables : public ::testing::Test {
 protected:
  static constexpr size_t kRows = 100000;

  LargeTables() {
    for (size_t i = 0; i < kRows; ++i) keys_.push_back(static_cast<Key>(i) * 999);
    old_one_ = Table(1);
    new_one_ = Table(2);
  }
  std::unique_ptr<EmbeddingVariable> Table(float generation) {
    auto variable = test::NewVariable(test::Options(4, true), test::DefaultMatrix(2, 4));
    EV_EXPECT_OK(variable->WriteRows(keys_, {}, {std::vector<float>(kRows * 4, generation), {}, {}, {}}));
    return variable;
  }
  // Of the file; every row must be of it.
  float Generation(FaultEnv* env) {
    std::unique_ptr<EmbeddingVariable> variable;
    const std::vector<std::string> paths = {kPath};
    const Status status = LoadTable(test::Options(4, true), paths, {}, *executor_, &variable, env);
    EXPECT_TRUE(status.ok()) << status.ToString();
    if (!status.ok()) return -1.0f;
    EXPECT_EQ(variable->size(), static_cast<int64_t>(kRows));
    const std::vector<float> values = test::Lookup(*variable, keys_);
    EXPECT_EQ(values, std::vector<float>(kRows * 4, values[0]));
    return values[0];
  }
  // Calls fails(&env, stop) for an env with the old table where `fault` comes at each change of the save of the new one in turn.
  template <typename Fails>
  void AtEachChange(FaultEnv::Fault fault, bool lasting, const Fails& fails) {
    for (int stop = 0;; ++stop) {
      SCOPED_TRACE(::testing::Message() << "after change " << stop);
      FaultEnv env(static_cast<uint64_t>(stop));
      EV_ASSERT_OK(SaveTable(*old_one_, kPath, *executor_, &env));
      const int64_t before = env.changes();
      env.FailAt(stop, fault, lasting);
      const Status saved = SaveTable(*new_one_, kPath, *executor_, &env);
      fails(&env, saved);
      if (HasFatalFailure()) return;
      if (env.changes() - before > stop) continue;
      EXPECT_TRUE(saved.ok()) << "nothing failed";
      EXPECT_GT(stop, 7) << "one piece only?";
      return;
    }
  }

  std::vector<Key> keys_;
  const std::unique_ptr<Executor> executor_ = NewThreadPoolExecutor(2);
  std::unique_ptr<EmbeddingVariable> old_one_, new_one_;
};

TEST_F(LargeTables, PowerLostAtAnyWriteLeavesTheOldOrTheNewOne) {
  AtEachChange(FaultEnv::Fault::kPowerLoss, true, [&](FaultEnv* env, const Status& saved) {
    env->LosePower();
    const float found = Generation(env);
    ASSERT_TRUE(found == 1 || found == 2);
    if (saved.ok()) {
      EXPECT_EQ(found, 2);
    }
  });
}

TEST_F(LargeTables, AnyOneWriteThatFailsLeavesTheOldOneAndNoLitter) {
  for (const FaultEnv::Fault fault : {FaultEnv::Fault::kDiskFull, FaultEnv::Fault::kIoError}) {
    const size_t lent = BufferPool::Global().lent();
    bool in_place = false;
    AtEachChange(fault, false, [&](FaultEnv* env, const Status& saved) {
      const float found = Generation(env);
      ASSERT_TRUE(found == 1 || found == 2);
      in_place = in_place || found == 2;  // from then on only the sync of the directory may have failed
      EXPECT_EQ(found == 2, in_place);
      if (!saved.ok()) {
        EXPECT_EQ(saved.code(), fault == FaultEnv::Fault::kDiskFull ? StatusCode::kOutOfSpace : StatusCode::kIoError);
      } else {
        EXPECT_EQ(found, 2) << "a save that said nothing";
      }
      std::vector<std::string> names;
      EV_ASSERT_OK(env->List("disk", &names));
      EXPECT_EQ(names, std::vector<std::string>{"table"});
      EXPECT_EQ(BufferPool::Global().lent(), lent);
    });
  }
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
