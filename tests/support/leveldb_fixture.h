// A LevelDB tier in a directory of its own, and the rows that should be in it.
#pragma once

#include <gtest/gtest.h>
#include <leveldb/db.h>

#include <algorithm>
#include <filesystem>
#include <map>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "ev_tf/tier/leveldb/leveldb_tier.h"
#include "tests/support/temp_dir.h"

namespace ev::testing {

constexpr size_t kRowBytes = 64;

using Rows = std::map<std::pair<Key, Position>, std::vector<std::byte>>;

class LevelDbTierTest : public ::testing::Test {
 protected:
  LevelDbTierTest() {
    options_.path = dir_ / "table";
    options_.row_bytes = kRowBytes;
  }

  Status Open() {
    tier_.reset();
    return LevelDbTier::Open(options_, &tier_);
  }
  // Puts keys first, first + 1, ..., each with rows of `fill`.
  Status Put(Key first, size_t n, int fill, std::vector<Position>* positions = nullptr) {
    std::vector<Key> keys(n);
    for (size_t i = 0; i < n; ++i) keys[i] = first + static_cast<Key>(i);
    const std::vector<std::byte> rows(n * options_.row_bytes, static_cast<std::byte>(fill));
    std::vector<Position> given(n);
    EV_RETURN_IF_ERROR(tier_->Put(keys, rows, given));
    for (size_t i = 0; i < n; ++i) put_[{keys[i], given[i]}].assign(options_.row_bytes, static_cast<std::byte>(fill));
    if (positions != nullptr) *positions = given;
    return OkStatus();
  }
  void Remove(Key key, Position position) {
    tier_->Remove({&key, 1}, {&position, 1});
    put_.erase({key, position});
  }
  Status Get(Key key, Position position, std::vector<std::byte>* row) {
    row->resize(options_.row_bytes);
    return tier_->Get({&key, 1}, {&position, 1}, *row);
  }
  static Rows Scan(const LevelDbTier& tier) {
    Rows rows;
    const Status status = tier.Scan([&](Key key, Position position, Span<const std::byte> row) {
      rows[{key, position}].assign(row.begin(), row.end());
    });
    EXPECT_TRUE(status.ok()) << status.ToString();
    return rows;
  }
  // Of the database, which is closed.
  size_t Entries() const {
    leveldb::DB* raw = nullptr;
    EXPECT_TRUE(leveldb::DB::Open(leveldb::Options(), options_.path, &raw).ok());
    const std::unique_ptr<leveldb::DB> db(raw);
    const std::unique_ptr<leveldb::Iterator> it(db->NewIterator(leveldb::ReadOptions()));
    size_t entries = 0;
    for (it->SeekToFirst(); it->Valid(); it->Next()) ++entries;
    return entries;
  }
  std::vector<std::string> Files(const std::string& extension) const {
    std::vector<std::string> files;
    for (const auto& entry : std::filesystem::directory_iterator(options_.path)) {
      if (entry.path().extension() == extension) files.push_back(entry.path().string());
    }
    std::sort(files.begin(), files.end());
    return files;
  }

  test::TempDir dir_;
  LevelDbOptions options_;
  Rows put_;  // what should be there
  std::unique_ptr<LevelDbTier> tier_;
};

}  // namespace ev::testing
