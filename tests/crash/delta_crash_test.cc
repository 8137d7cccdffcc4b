// Power lost, the disk full, a write failed, after every change of the disk that a delta makes: what it builds on is whole, the
// delta is there whole or not at all, and what a failed one held is in the next.
#include <gtest/gtest.h>

#include <algorithm>

#include "tests/support/chain_files.h"
#include "tests/support/fault_env.h"

namespace ev {
namespace {

using testing::FaultEnv;

VariableOptions TheOptions() {
  VariableOptions options = test::Options(4, true);
  options.admission.filter_freq = 2;
  return options;
}

// A variable with a full save and a delta on the disk.
std::unique_ptr<EmbeddingVariable> Begun(FaultEnv* env) {
  SerialExecutor executor;
  auto variable = test::NewVariable(TheOptions(), test::DefaultMatrix(2, 4));
  std::vector<Key> keys;
  for (Key k = -20; k < 20; ++k) keys.push_back(k * 999);
  EV_EXPECT_OK(variable->WriteRows(keys, {}, {std::vector<float>(keys.size() * 4, 1.0f), {}, {}, {}}));
  EV_EXPECT_OK(SaveBase(variable.get(), "disk/full", executor, env));
  variable->Remove(std::vector<Key>{999});
  EV_EXPECT_OK(SaveDelta(variable.get(), "disk/d1", executor, env));
  return variable;
}

// Rows, removed keys and counts for the next delta.
void Change(EmbeddingVariable* variable) {
  variable->Remove(std::vector<Key>{0, 1998});
  test::Descend(variable, {-999, -1998, 77}, std::vector<float>(12, 0.5f));
}

Status Delta(EmbeddingVariable* variable, const std::string& path, FaultEnv* env) {
  SerialExecutor executor;
  return SaveDelta(variable, path, executor, env);
}

int64_t ChangesOfADelta() {
  FaultEnv env;
  const auto variable = Begun(&env);
  Change(variable.get());
  const int64_t before = env.changes();
  EV_EXPECT_OK(Delta(variable.get(), "disk/d2", &env));
  return env.changes() - before;
}

void ExpectLoads(const std::vector<std::string>& files, const test::State& state, FaultEnv* env) {
  test::ExpectSame(test::StateOf(*test::LoadFiles(TheOptions(), files, {}, env)), state);
}

TEST(DeltaCrash, PowerLostAtAnyChangeLeavesTheDeltaWholeOrNone) {
  const int64_t changes = ChangesOfADelta();
  int with = 0;
  int without = 0;
  for (int64_t stop = 0; stop <= changes; ++stop) {
    for (uint64_t seed = 0; seed < 20; ++seed) {
      SCOPED_TRACE(::testing::Message() << "power lost after change " << stop << ", seed " << seed);
      FaultEnv env(static_cast<uint64_t>(stop) * 20 + seed);
      const auto variable = Begun(&env);
      const test::State before = test::StateOf(*variable);
      Change(variable.get());
      const test::State after = test::StateOf(*variable);
      env.FailAt(stop, FaultEnv::Fault::kPowerLoss);
      const Status saved = Delta(variable.get(), "disk/d2", &env);
      env.LosePower();
      std::vector<std::string> names;
      EV_ASSERT_OK(env.List("disk", &names));
      const bool there = std::count(names.begin(), names.end(), "d2") == 1;
      EXPECT_TRUE(there || !saved.ok()) << "the save had returned OK";
      ++(there ? with : without);
      ExpectLoads({"disk/full", "disk/d1"}, before, &env);
      if (there) ExpectLoads({"disk/full", "disk/d1", "disk/d2"}, after, &env);
      ASSERT_FALSE(HasFailure());
    }
  }
  EXPECT_GT(with, 0);
  EXPECT_GT(without, 0);
}

TEST(DeltaCrash, WhatAFailedDeltaHeldIsInTheNext) {
  const int64_t changes = ChangesOfADelta();
  for (const FaultEnv::Fault fault : {FaultEnv::Fault::kDiskFull, FaultEnv::Fault::kIoError}) {
    for (int64_t stop = 0; stop < changes; ++stop) {
      SCOPED_TRACE(::testing::Message() << "change " << stop);
      FaultEnv env;
      const auto variable = Begun(&env);
      Change(variable.get());
      env.FailAt(stop, fault, false);
      EXPECT_FALSE(Delta(variable.get(), "disk/d2", &env).ok());
      test::Descend(variable.get(), {5 * 999}, std::vector<float>(4, 0.5f));
      EV_ASSERT_OK(Delta(variable.get(), "disk/d2", &env));
      ExpectLoads({"disk/full", "disk/d1", "disk/d2"}, test::StateOf(*variable), &env);
      std::vector<std::string> names;
      EV_ASSERT_OK(env.List("disk", &names));
      EXPECT_EQ(names, (std::vector<std::string>{"d1", "d2", "full"}));
      ASSERT_FALSE(HasFailure());
    }
  }
}

}  // namespace
}  // namespace ev
