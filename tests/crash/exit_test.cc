// A process may end at any moment, whatever its threads are at: no hang, no crash, nothing that a sanitizer sees.
#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <chrono>
#include <cstdlib>
#include <filesystem>
#include <memory>
#include <thread>
#include <vector>

#include "ev_tf/optim/sgd.h"
#include "ev_tf/variable/storage_type.h"
#include "tests/support/random.h"
#include "tests/support/sanitizers.h"
#include "tests/support/temp_dir.h"
#include "tests/support/variable_support.h"

namespace ev {
namespace {

constexpr int64_t kDim = 16;
constexpr int kTables = 3;

enum class Way {
  kWhileTraining,  // threads are in the middle of updates, nothing is destroyed
  kWhileMoving,    // rows move, nothing else; nothing is destroyed
  kStatics,        // rows move, and the tables are destroyed by the exit
};

// Tables that the process still has when it exits.
std::vector<std::unique_ptr<EmbeddingVariable>>& Kept() {
  static auto* const kept = new std::vector<std::unique_ptr<EmbeddingVariable>>;
  return *kept;
}

struct AtExit {
  bool destroy = false;
  ~AtExit() {
    if (destroy) Kept().clear();
  }
};

void TrainOnce(test::Random* random) {
  SerialExecutor serial;
  std::vector<Key> keys(500);
  for (Key& key : keys) key = static_cast<Key>(random->Below(5000));
  const std::vector<float> grads(keys.size() * kDim, 1.0f);
  for (const auto& table : Kept()) {
    if (!table->Apply(Sgd(1.0f), {}, keys, grads, -1, serial).ok()) return;  // its directory has gone already
  }
}

[[noreturn]] void RunAndExit(const std::string& path, StorageType type, Way way, int microseconds) {
  static AtExit at_exit;
  alarm(100);  // a hang is a signal
  for (int i = 0; i < kTables; ++i) {
    VariableOptions options = test::Options(kDim);
    if (!MakeStorage(type, path, 64 * kDim * 4, CacheStrategy::kLru, &options.storage).ok()) _exit(2);
    std::unique_ptr<EmbeddingVariable> table;
    if (!EmbeddingVariable::Create(options, std::vector<float>(kDim, 0.0f), &table).ok()) _exit(3);
    Kept().push_back(std::move(table));
  }
  test::Random random(1);
  for (int i = 0; i < 8; ++i) TrainOnce(&random);
  if (way == Way::kWhileTraining) {
    for (int t = 0; t < 2; ++t) {
      std::thread([t] {
        test::Random mine(static_cast<uint64_t>(t) + 10);
        for (;;) TrainOnce(&mine);
      }).detach();
    }
  }
  usleep(static_cast<useconds_t>(microseconds));
  at_exit.destroy = way == Way::kStatics;
  std::exit(0);
}

class ExitTest : public ::testing::TestWithParam<StorageType> {};

TEST_P(ExitTest, InTheMiddleOfEverything) {
  setenv("TF_SSDHASH_ASYNC_COMPACTION", "1", 1);
  setenv("TF_MULTI_TIER_EV_EVICTION_THREADS", "2", 1);
  test::Random random(7);
  for (const Way way : {Way::kWhileTraining, Way::kWhileMoving, Way::kStatics}) {
    for (int round = 0; round < test::Rounds(8, 4); ++round) {
      const test::TempDir dir;
      SCOPED_TRACE(::testing::Message() << "way " << static_cast<int>(way) << ", round " << round);
      const int microseconds = static_cast<int>(random.Below(20000));
      const pid_t child = fork();
      ASSERT_GE(child, 0);
      if (child == 0) RunAndExit(dir / "rows", GetParam(), way, microseconds);
      int status = 0;
      ASSERT_EQ(waitpid(child, &status, 0), child);
      ASSERT_TRUE(WIFEXITED(status)) << "signal " << WTERMSIG(status);
      ASSERT_EQ(WEXITSTATUS(status), 0);
      EXPECT_TRUE(std::filesystem::is_empty(dir / "rows")) << "files are left";
    }
  }
}

INSTANTIATE_TEST_SUITE_P(All, ExitTest, ::testing::Values(StorageType::kDramSsdHash, StorageType::kDramLevelDb));

}  // namespace
}  // namespace ev
