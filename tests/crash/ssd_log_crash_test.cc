// Power lost after every change of the disk in turn: the log opens, every row is whole or absent, and what was flushed is
// there, in its version or a newer one.
#include <gtest/gtest.h>

#include <algorithm>
#include <random>
#include <set>

#include "tests/support/fault_env.h"
#include "tests/support/sanitizers.h"
#include "tests/support/ssd_log_model.h"

namespace ev {
namespace {

using testing::FaultEnv;
using testing::LogTable;
using Versions = std::unordered_map<Key, uint64_t>;

// Which rows are put, and how long a file of each stream stays open.
struct Case {
  uint64_t segment_bytes;
  Key keys;
  Key hot_keys;  // that three of four puts go to
  uint64_t versions;
};
constexpr Case kManyFiles{12 << 10, 120, 120, 60};
constexpr Case kLongStreams{40 << 10, 240, 40, 200};

SsdLogOptions Options(FaultEnv* env, const Case& how = kManyFiles) {
  SsdLogOptions options;
  options.path = "disk";
  options.row_bytes = 112;
  options.segment_bytes = how.segment_bytes;
  options.env = env;
  return options;
}

struct Promise {
  Versions flushed;       // at the last Flush that returned OK
  Versions newest;        // that a Put was ever given, even if it failed
  std::set<Key> removed;  // at some time since then
};

// Puts, removes, flushes and compacts until the first error.
Promise Work(LogTable& table, uint64_t seed, const Case& how = kManyFiles) {
  std::mt19937_64 random(seed);
  Promise promise;
  Versions written;
  for (uint64_t version = 1; version <= how.versions; ++version) {
    std::vector<Key> keys;
    for (int i = 0; i < 12; ++i) {
      const Key range = how.hot_keys < how.keys && random() % 4 != 0 ? how.hot_keys : how.keys;
      keys.push_back(static_cast<Key>(random() % static_cast<uint64_t>(range)));
    }
    std::sort(keys.begin(), keys.end());
    keys.erase(std::unique(keys.begin(), keys.end()), keys.end());
    for (const Key k : keys) promise.newest[k] = version;
    if (!table.Put(keys, version).ok()) return promise;
    for (const Key k : keys) written[k] = version;
    if (random() % 4 == 0) {
      const Key k = keys[0];
      table.Remove(k);
      written.erase(k);
      promise.removed.insert(k);
    }
    if (random() % 5 == 0) {
      if (!(random() % 2 == 0 ? table->Flush() : table->Settle()).ok()) return promise;
      promise.flushed = written;
      promise.removed.clear();
    }
  }
  return promise;
}

void ExpectKept(const Versions& found, const Promise& promise) {
  for (const auto& [key, version] : promise.flushed) {
    // Of a row that was removed since, an older version may be found as well as none.
    if (promise.removed.count(key) != 0) continue;
    const auto it = found.find(key);
    if (it == found.end()) {
      ADD_FAILURE() << "key " << key << " was flushed, and is lost";
    } else {
      EXPECT_GE(it->second, version) << "key " << key;
    }
  }
  for (const auto& [key, version] : found) {
    const auto it = promise.newest.find(key);
    ASSERT_NE(it, promise.newest.end()) << "key " << key << " was never put";
    EXPECT_LE(version, it->second);
  }
}

// Opens what a crash left, checks it, and that the log works on.
void ExpectRecovers(FaultEnv* env, const Promise& promise, const Case& how = kManyFiles) {
  SsdLogOptions options = Options(env, how);
  options.existing = SsdExisting::kRecover;
  Versions found;
  {
    LogTable table(options);
    const Status status = table.Open();
    ASSERT_TRUE(status.ok()) << status.ToString();
    const Status read = table.ReadAll(&found);
    ASSERT_TRUE(read.ok()) << read.ToString();
    ExpectKept(found, promise);
    ASSERT_TRUE(table.Put({1000, 1001, 1002}, 7).ok());
    ASSERT_TRUE(table->Settle().ok());
  }
  LogTable again(options);
  ASSERT_TRUE(again.Open().ok());
  Versions later;
  ASSERT_TRUE(again.ReadAll(&later).ok());
  for (const Key key : {1000, 1001, 1002}) found[key] = 7;
  EXPECT_EQ(later, found);
}

void ExpectKeepsEveryPromise(const Case& how) {
  int64_t changes = 0;
  {
    FaultEnv env;
    LogTable table(Options(&env, how));
    ASSERT_TRUE(table.Open().ok());
    Work(table, 1, how);
    changes = env.changes();
    ASSERT_GT(table->metrics().rows_copied, 0U) << "the work is to compact, too";
    ASSERT_GT(table->metrics().segments_unlinked, 0U);
  }
  // Every write in turn; what a sanitizer looks for, one in a few shows as well.
  const int64_t stride = test::kUnderThreadSanitizer ? 16 : test::kUnderSanitizer ? 2 : 1;
  const uint64_t seeds = test::kUnderSanitizer ? 1 : 3;
  for (int64_t stop = 0; stop <= changes; stop += stride) {
    for (uint64_t seed = 0; seed < seeds; ++seed) {
      SCOPED_TRACE(::testing::Message() << "power lost after change " << stop << ", seed " << seed);
      FaultEnv env(static_cast<uint64_t>(stop) * 3 + seed);
      Promise promise;
      {
        LogTable table(Options(&env, how));
        ASSERT_TRUE(table.Open().ok());
        env.FailAt(stop, FaultEnv::Fault::kPowerLoss);
        promise = Work(table, 1, how);
      }
      env.LosePower();
      ExpectRecovers(&env, promise, how);
      if (::testing::Test::HasFailure()) return;
    }
  }
}

TEST(SsdLogCrash, KeepsEveryPromise) { ExpectKeepsEveryPromise(kManyFiles); }

// The files that puts and copies go to are open through many flushes.
TEST(SsdLogCrash, KeepsEveryPromiseOfLongStreams) { ExpectKeepsEveryPromise(kLongStreams); }

// The process dies, the machine does not: everything that was written is there, also what was not flushed.
TEST(SsdLogCrash, AKilledProcessLosesOnlyItsBuffers) {
  for (int64_t stop = 0; stop <= 120; stop += test::kUnderThreadSanitizer ? 24 : 3) {
    SCOPED_TRACE(stop);
    FaultEnv env(static_cast<uint64_t>(stop));
    Promise promise;
    {
      LogTable table(Options(&env));
      ASSERT_TRUE(table.Open().ok());
      env.FailAt(stop, FaultEnv::Fault::kPowerLoss);
      promise = Work(table, 2);
    }
    env.Heal();
    ExpectRecovers(&env, promise);
    if (HasFailure()) return;
  }
}

// The process dies, and power is lost later: what was found after the first and flushed is found after the second, too.
TEST(SsdLogCrash, WhatAKillLeftSurvivesALossOfPower) {
  for (int64_t stop = 0; stop <= 120; stop += test::kUnderThreadSanitizer ? 24 : 3) {
    for (uint64_t seed = 0; seed < 5; ++seed) {
      SCOPED_TRACE(::testing::Message() << "killed after change " << stop << ", seed " << seed);
      FaultEnv env(static_cast<uint64_t>(stop) * 5 + seed);
      {
        LogTable table(Options(&env));
        ASSERT_TRUE(table.Open().ok());
        env.FailAt(stop, FaultEnv::Fault::kPowerLoss);
        Work(table, 2);
      }
      env.Heal();
      SsdLogOptions options = Options(&env);
      options.existing = SsdExisting::kRecover;
      Promise promise;
      {
        LogTable table(options);
        ASSERT_TRUE(table.Open().ok());
        ASSERT_TRUE(table.ReadAll(&promise.flushed).ok());
        ASSERT_TRUE(table->Flush().ok());
      }
      promise.newest = promise.flushed;
      env.LosePower();
      ExpectRecovers(&env, promise);
      if (HasFailure()) return;
    }
  }
}

// One change fails, and the next ones work: nothing that was stored is lost, and the error was told.
TEST(SsdLogFaults, OneFailedChangeLosesNothing) {
  for (const auto fault : {FaultEnv::Fault::kDiskFull, FaultEnv::Fault::kIoError}) {
    int told_of = 0;
    constexpr int64_t kStride = test::kUnderThreadSanitizer ? 8 : 1;
    for (int64_t at = 0; at < 200; at += kStride) {
      SCOPED_TRACE(::testing::Message() << "change " << at);
      FaultEnv env(static_cast<uint64_t>(at));
      LogTable table(Options(&env));
      ASSERT_TRUE(table.Open().ok());
      env.FailAt(at, fault, /*lasting=*/false);
      Versions model;
      bool told = false;
      for (uint64_t version = 1; version <= 40; ++version) {
        std::vector<Key> keys;
        for (Key k = 0; k < 100; k += 1 + static_cast<Key>(version % 5)) keys.push_back(k);
        for (int tries = 0; tries < 3; ++tries) {
          const Status status = table.Put(keys, version);
          if (status.ok()) {
            for (const Key k : keys) model[k] = version;
            break;
          }
          told = true;
          ASSERT_LT(tries, 2) << status.ToString();
        }
      }
      for (int tries = 0; tries < 2; ++tries) {
        const Status status = table->Settle();
        if (status.ok()) break;
        told = true;
        ASSERT_EQ(tries, 0) << status.ToString();
      }
      told_of += told ? 1 : 0;
      Versions found;
      ASSERT_TRUE(table.ReadAll(&found).ok());
      EXPECT_EQ(found, model);
    }
    // All but space taken ahead, for which less will do, and what comes after the end of the work.
    EXPECT_GT(told_of, 100 / kStride);
  }
}

}  // namespace
}  // namespace ev
