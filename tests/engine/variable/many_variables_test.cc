// A thousand tables that spill, in one process: threads, memory, descriptors and buffers do not come by the thousand.
#include <gtest/gtest.h>

#include <cstdio>
#include <filesystem>
#include <fstream>
#include <memory>
#include <string>
#include <vector>

#include "ev_tf/env/buffer_pool.h"
#include "ev_tf/variable/storage_type.h"
#include "tests/support/sanitizers.h"
#include "tests/support/temp_dir.h"
#include "tests/support/variable_support.h"

namespace ev {
namespace {

constexpr int64_t kDim = 8;
constexpr int64_t kHotRows = 4;
constexpr Key kRows = 40;

struct Costs {
  int64_t threads = 0;
  int64_t descriptors = 0;
  int64_t mappings = 0;
  int64_t resident_kib = 0;
};

int64_t Entries(const char* path) {
  int64_t n = 0;
  for ([[maybe_unused]] const auto& entry : std::filesystem::directory_iterator(path)) ++n;
  return n;
}

Costs Now() {
  Costs costs;
  costs.threads = Entries("/proc/self/task");
  costs.descriptors = Entries("/proc/self/fd");
  std::ifstream maps("/proc/self/maps");
  for (std::string line; std::getline(maps, line);) ++costs.mappings;
  std::ifstream status("/proc/self/status");
  for (std::string line; std::getline(status, line);) {
    if (line.rfind("VmRSS:", 0) == 0) costs.resident_kib = std::stoll(line.substr(6));
  }
  return costs;
}

std::vector<Key> AllKeys() {
  std::vector<Key> keys;
  for (Key key = 0; key < kRows; ++key) keys.push_back(key);
  return keys;
}

class ManyVariables : public ::testing::TestWithParam<StorageType> {
 protected:
  bool IsLog() const { return GetParam() == StorageType::kDramSsdHash; }
  // LevelDB syncs four files for each that is made.
  int Tables() const {
    if (test::kUnderThreadSanitizer) return 16;  // which leaves little address space
    return IsLog() ? test::Rounds(1000) : test::Rounds(100, 4);
  }
  Status Make() {
    VariableOptions options = test::Options(kDim);
    EV_RETURN_IF_ERROR(MakeStorage(GetParam(), dir_.path(), kHotRows * 32, CacheStrategy::kLfu, &options.storage));
    std::unique_ptr<EmbeddingVariable> table;
    EV_RETURN_IF_ERROR(EmbeddingVariable::Create(options, test::DefaultMatrix(1, kDim), &table));
    tables_.push_back(std::move(table));
    return OkStatus();
  }
  void TrainAll(float step) {
    const std::vector<Key> keys = AllKeys();
    for (const auto& table : tables_) {
      test::Descend(table.get(), keys, std::vector<float>(keys.size() * kDim, step));
    }
  }

  test::TempDir dir_;
  std::vector<std::unique_ptr<EmbeddingVariable>> tables_;
};

TEST_P(ManyVariables, ShareWhatIsDear) {
  const Status first = Make();  // what the process has once
  if (first.code() == StatusCode::kUnavailable) GTEST_SKIP() << first.message();
  EV_ASSERT_OK(first);
  TrainAll(1);
  const Costs one = Now();
  const int tables = Tables();
  while (static_cast<int>(tables_.size()) < tables) EV_ASSERT_OK(Make());
  for (int round = 0; round < 3; ++round) TrainAll(1);
  for (const auto& table : tables_) EV_ASSERT_OK(table->FlushEvictions());
  const Costs all = Now();
  std::printf("a table more: %.2f threads, %.2f descriptors, %.2f mappings, %.1f KiB; %zu buffers lent\n",
              double(all.threads - one.threads) / tables, double(all.descriptors - one.descriptors) / tables,
              double(all.mappings - one.mappings) / tables, double(all.resident_kib - one.resident_kib) / tables,
              BufferPool::Global().lent());
  EXPECT_LE(all.threads, one.threads);
  EXPECT_LE(BufferPool::Global().lent(), 17u);                               // 1 MiB each
  EXPECT_LE(all.descriptors - one.descriptors, tables * (IsLog() ? 2 : 4));  // a lock and a file; LevelDB's are four
  if (!test::kUnderSanitizer) {
    EXPECT_LE(all.mappings - one.mappings, tables * 12);  // of 65,530 that a process gets
    EXPECT_LE(all.resident_kib - one.resident_kib, tables * 256);
  }
  int64_t disk = 0;
  for (const auto& table : tables_) disk += table->metrics().lower_bytes;
  EXPECT_LE(disk, tables * (int64_t{1} << 20)) << "space taken ahead";
  const std::vector<Key> keys = AllKeys();
  for (size_t t = 0; t < tables_.size(); ++t) {
    const float defaults = test::DefaultMatrix(1, kDim)[0];
    const std::vector<float> rows = test::Lookup(*tables_[t], keys);
    for (size_t i = 0; i < keys.size(); ++i) ASSERT_EQ(rows[i * kDim], defaults - (t == 0 ? 4 : 3)) << t;
  }
  tables_.clear();
  EXPECT_LE(Now().descriptors, one.descriptors);
  EXPECT_TRUE(std::filesystem::is_empty(dir_.path()));
}

INSTANTIATE_TEST_SUITE_P(All, ManyVariables, ::testing::Values(StorageType::kDramSsdHash, StorageType::kDramLevelDb));

}  // namespace
}  // namespace ev
