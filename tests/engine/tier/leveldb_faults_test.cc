// What happens to a LevelDB tier: paths that will not do, damage, full disks.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <functional>
#include <random>
#include <string>
#include <system_error>
#include <vector>

#include "tests/support/leveldb_fixture.h"
#include "tests/support/random.h"
#include "tests/support/temp_dir.h"

namespace ev {
namespace {

using ::testing::HasSubstr;
using testing::LevelDbTierTest;
using testing::Rows;
namespace fs = std::filesystem;

TEST_F(LevelDbTierTest, PathsThatWillNotDo) {
  options_.path = dir_ / "missing/table";
  Status status = Open();
  EXPECT_EQ(status.code(), StatusCode::kIoError) << status.ToString();
  EXPECT_THAT(status.message(), HasSubstr(options_.path));

  options_.path = dir_ / "file";
  std::ofstream(options_.path) << "no directory";
  status = Open();
  EXPECT_EQ(status.code(), StatusCode::kIoError) << status.ToString();
  EXPECT_THAT(status.message(), HasSubstr(options_.path));

  options_.path = "";
  EXPECT_EQ(Open().code(), StatusCode::kInvalidArgument);
  options_.path = dir_ / "table";
  options_.row_bytes = 0;
  EXPECT_EQ(Open().code(), StatusCode::kInvalidArgument);
}

TEST_F(LevelDbTierTest, AReadOnlyDirectoryIsAnIoError) {
  fs::permissions(dir_.path(), fs::perms::owner_read | fs::perms::owner_exec | fs::perms::others_exec);
  const test::AsNobody nobody;
  const Status status = Open();
  EXPECT_EQ(status.code(), StatusCode::kIoError) << status.ToString();
  EXPECT_THAT(status.message(), HasSubstr(options_.path));
}

TEST_F(LevelDbTierTest, ADamagedDatabaseDoesNotOpen) {
  ASSERT_TRUE(Open().ok());
  ASSERT_TRUE(Put(0, 1000, 1).ok());
  ASSERT_TRUE(tier_->Flush().ok());
  tier_.reset();
  const std::string whole = dir_ / "whole";
  fs::copy(options_.path, whole);
  const auto damage = [&](const char* what, const std::function<void()>& change, StatusCode expected) {
    SCOPED_TRACE(what);
    fs::remove_all(options_.path);
    fs::copy(whole, options_.path);
    change();
    const Status status = Open();
    EXPECT_EQ(status.code(), expected) << status.ToString();
    EXPECT_THAT(status.message(), HasSubstr(options_.path));
  };
  damage(
      "CURRENT holds rubbish", [&] { std::ofstream(options_.path + "/CURRENT") << "rubbish"; },
      StatusCode::kCorruption);
  damage(
      "a table is gone", [&] { fs::remove(Files(".ldb").at(0)); }, StatusCode::kCorruption);
  damage(
      "a table is cut", [&] { fs::resize_file(Files(".ldb").at(0), 1000); }, StatusCode::kIoError);
  damage(
      "a bit of a row is flipped",
      [&] {
        std::fstream file(Files(".ldb").at(0), std::ios::in | std::ios::out | std::ios::binary);
        file.seekp(200);
        file.put('\x77');
      },
      StatusCode::kCorruption);
}

TEST_F(LevelDbTierTest, ADirectoryRemovedUnderARunningTierIsAnErrorOfTheNextFlush) {
  ASSERT_TRUE(Open().ok());
  std::vector<Position> positions;
  ASSERT_TRUE(Put(0, 1000, 1, &positions).ok());
  ASSERT_TRUE(tier_->Flush().ok());
  std::vector<std::byte> row;
  EXPECT_TRUE(Get(7, positions[7], &row).ok());
  // LevelDB deletes files of its own meanwhile: what is gone already is no error.
  std::error_code gone;
  do {
    fs::remove_all(options_.path, gone);
  } while (fs::exists(options_.path));
  EXPECT_TRUE(Get(8, positions[8], &row).ok());  // the file is open
  const Status put = Put(5000, 10, 1);
  if (!put.ok()) {
    EXPECT_EQ(put.code(), StatusCode::kIoError) << put.ToString();
  }
  const Status status = tier_->Flush();
  EXPECT_EQ(status.code(), StatusCode::kIoError) << status.ToString();
  EXPECT_THAT(status.message(), HasSubstr(options_.path));
}

TEST_F(LevelDbTierTest, AFlippedBitUnderARunningTierIsCorruptionAndNoOtherRowIsLost) {
  ASSERT_TRUE(Open().ok());
  std::vector<Position> positions;
  ASSERT_TRUE(Put(0, 1000, 1, &positions).ok());
  ASSERT_TRUE(tier_->Flush().ok());
  {
    std::fstream file(Files(".ldb").at(0), std::ios::in | std::ios::out | std::ios::binary);
    file.seekp(200);
    file.put('\x77');
  }
  std::vector<std::byte> row;
  const Status status = Get(1, positions[1], &row);
  EXPECT_EQ(status.code(), StatusCode::kCorruption) << status.ToString();
  EXPECT_THAT(status.message(), HasSubstr("key 1 "));
  EXPECT_TRUE(Get(999, positions[999], &row).ok());
  EXPECT_EQ(row, (put_[{999, positions[999]}]));
}

// Whatever byte of the rows' blocks it is: a row is read as it was written, or not at all.  What a file says of itself, its
// index and its filter, LevelDB verifies when it opens the file, and not again.
TEST_F(LevelDbTierTest, AFlippedBitOfABlockIsNeverAnotherRow) {
  constexpr int kRows = 200;
  std::mt19937_64 random(test::Seed());
  int lost = 0;
  for (int round = 0; round < 300; ++round) {
    fs::remove_all(options_.path);
    put_.clear();
    ASSERT_TRUE(Open().ok());
    std::vector<Position> positions(kRows);
    for (int i = 0; i < kRows; ++i) {
      std::vector<Position> given;
      ASSERT_TRUE(Put(i, 1, i, &given).ok());
      positions[static_cast<size_t>(i)] = given[0];
    }
    ASSERT_TRUE(tier_->Flush().ok());
    const std::vector<std::string> files = Files(".ldb");
    ASSERT_EQ(files.size(), 1u);
    const auto at = static_cast<std::streamoff>(random() % (kRows * options_.row_bytes));  // blocks come first
    const int bit = 1 << random() % 8;
    SCOPED_TRACE("EV_SEED=" + std::to_string(test::Seed()) + " byte " + std::to_string(at) + " bit " +
                 std::to_string(bit));
    std::fstream file(files[0], std::ios::in | std::ios::out | std::ios::binary);
    file.seekg(at);
    const int byte = file.get();
    file.seekp(at);
    file.put(static_cast<char>(byte ^ bit));
    file.close();
    std::vector<std::byte> row;
    for (int i = 0; i < kRows; ++i) {
      const Position position = positions[static_cast<size_t>(i)];
      const Status status = Get(i, position, &row);
      if (status.ok()) {
        ASSERT_EQ(row, (put_[{i, position}])) << i;
      } else {
        ASSERT_EQ(status.code(), StatusCode::kCorruption) << status.ToString();
        ++lost;
      }
    }
    tier_.reset();
  }
  // Each flip costs the rows of a block, 25 or fewer.
  EXPECT_GE(lost, 300);
  EXPECT_LE(lost, 300 * 40);
}

TEST_F(LevelDbTierTest, AFullDiskLosesNothingAndADiskWithRoomGoesOn) {
  test::SmallDisk disk(size_t{24} << 20);
  if (!disk.mounted()) GTEST_SKIP() << "no small disk to fill: mount says " << disk.why();
  options_.path = disk.path() + "/table";
  options_.row_bytes = 4096;
  ASSERT_TRUE(Open().ok());
  Status status;
  Key next = 0;
  for (; status.ok() && next < 100000; next += 256) status = Put(next, 256, 1);
  ASSERT_EQ(status.code(), StatusCode::kOutOfSpace) << status.ToString();
  EXPECT_THAT(status.message(), HasSubstr(options_.path));
  EXPECT_EQ(tier_->size(), put_.size());
  const auto first = put_.begin()->first;
  Remove(first.first, first.second);  // cannot be written, or can: it is gone from the count
  EXPECT_EQ(tier_->size(), put_.size());
  std::vector<std::byte> row;
  for (const auto& [where, bytes] : put_) {
    ASSERT_TRUE(Get(where.first, where.second, &row).ok());
    ASSERT_EQ(row, bytes);
  }
  EXPECT_EQ(Put(next, 256, 1).code(), StatusCode::kOutOfSpace);  // it says so again

  ASSERT_TRUE(disk.Resize(size_t{256} << 20));
  ASSERT_TRUE(Open().ok());
  for (const auto& [where, bytes] : put_) {
    ASSERT_TRUE(Get(where.first, where.second, &row).ok());
    ASSERT_EQ(row, bytes);
  }
  EXPECT_TRUE(Put(next, 256, 2).ok());
  EXPECT_TRUE(tier_->Flush().ok());
  tier_.reset();
}

TEST_F(LevelDbTierTest, APutOfManyWritesThatFailsInOneOfThemIsUndone) {
  test::SmallDisk disk(size_t{40} << 20);
  if (!disk.mounted()) GTEST_SKIP() << "no small disk to fill: mount says " << disk.why();
  options_.path = disk.path() + "/table";
  options_.row_bytes = 4096;
  ASSERT_TRUE(Open().ok());
  std::vector<Position> first, second;
  ASSERT_TRUE(Put(0, 500, 1, &first).ok());
  for (Key key = 100; key < 200; ++key) Remove(key, first[static_cast<size_t>(key)]);
  const size_t before = tier_->size();
  const Status status = Put(10000, 20000, 2);  // 80 MiB, written 8 at a time
  ASSERT_EQ(status.code(), StatusCode::kOutOfSpace) << status.ToString();
  EXPECT_EQ(tier_->size(), before);
  EXPECT_EQ(Scan(*tier_), put_);
  ASSERT_TRUE(disk.Resize(size_t{512} << 20));
  ASSERT_TRUE(Open().ok());  // LevelDB writes no more after a compaction failed
  const Rows found = Scan(*tier_);
  EXPECT_TRUE(std::includes(found.begin(), found.end(), put_.begin(), put_.end()));
  ASSERT_TRUE(Put(5000, 100, 3, &second).ok());
  std::vector<std::byte> row;
  for (size_t i = 0; i < second.size(); ++i) {
    ASSERT_TRUE(Get(5000 + static_cast<Key>(i), second[i], &row).ok());
    ASSERT_EQ(row, (put_[{5000 + static_cast<Key>(i), second[i]}]));
  }
  tier_.reset();
}

TEST_F(LevelDbTierTest, APutThatFailedIsUndoneByTheNextFlush) {
  test::SmallDisk disk(size_t{4} << 20);
  if (!disk.mounted()) GTEST_SKIP() << "no small disk to fill: mount says " << disk.why();
  options_.path = disk.path() + "/table";
  options_.row_bytes = 4096;
  ASSERT_TRUE(Open().ok());
  Status status;
  for (Key next = 0; status.ok() && next < 10000; next += 16) status = Put(next, 16, 1);  // all in the log
  ASSERT_EQ(status.code(), StatusCode::kOutOfSpace) << status.ToString();
  ASSERT_TRUE(disk.Resize(size_t{64} << 20));
  ASSERT_TRUE(Put(-100, 16, 2).ok());  // in a new log
  const auto first = put_.begin()->first;
  Remove(first.first, first.second);
  EXPECT_EQ(tier_->size(), put_.size());
  EXPECT_EQ(Scan(*tier_), put_);
  ASSERT_TRUE(tier_->Flush().ok());  // what is left of the failed rows, and the removed one
  ASSERT_TRUE(Open().ok());          // no torn log in the way
  EXPECT_EQ(tier_->size(), put_.size());
  EXPECT_EQ(Scan(*tier_), put_);
  tier_.reset();
}

}  // namespace
}  // namespace ev
