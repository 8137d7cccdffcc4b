// What only the LevelDB tier has: its bytes, opening again, positions that are used again.
#include "ev_tf/tier/leveldb/leveldb_tier.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <leveldb/db.h>

#include <algorithm>
#include <atomic>
#include <cstring>
#include <filesystem>
#include <memory>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "tests/support/leveldb_fixture.h"
#include "tests/support/random.h"
#include "tests/support/sanitizers.h"

namespace ev {
namespace {

using ::testing::HasSubstr;
namespace fs = std::filesystem;

using testing::kRowBytes;
using testing::LevelDbTierTest;
using testing::Rows;

TEST_F(LevelDbTierTest, ByteOrderIsTheOrderOfPositions) {
  std::string last(1, '\0');  // the format key is before all of them
  for (const Position position : {0u, 1u, 255u, 256u, 65535u, 65536u, (1u << 24) - 1, 1u << 24, kMaxPosition}) {
    char bytes[leveldb_format::kRowKeyBytes];
    leveldb_format::EncodePosition(position, bytes);
    const std::string row_key(bytes, sizeof(bytes));
    EXPECT_LT(last, row_key) << position;
    EXPECT_EQ(leveldb_format::DecodePosition(bytes), position);
    last = row_key;
  }
  for (const Key key : {INT64_MIN, int64_t{-65536}, int64_t{-1}, int64_t{0}, int64_t{255}, int64_t{256}, INT64_MAX}) {
    char bytes[leveldb_format::kKeyBytes];
    leveldb_format::EncodeKey(key, bytes);
    EXPECT_EQ(leveldb_format::DecodeKey(bytes), key);
  }
}

TEST_F(LevelDbTierTest, TheExampleOfTheFormatPage) {
  options_.row_bytes = 16;
  ASSERT_TRUE(Open().ok());
  const Key keys[] = {5, -2};
  const float rows[] = {1, 2, 3, 4, 0.5, -1, 0, 0};
  Position positions[2];
  ASSERT_TRUE(tier_->Put({keys, 2}, {reinterpret_cast<const std::byte*>(rows), sizeof(rows)}, {positions, 2}).ok());
  tier_.reset();
  leveldb::DB* raw = nullptr;
  ASSERT_TRUE(leveldb::DB::Open(leveldb::Options(), options_.path, &raw).ok());
  const std::unique_ptr<leveldb::DB> db(raw);
  const auto hex = [](const leveldb::Slice& bytes) {
    std::string text;
    for (size_t i = 0; i < bytes.size(); ++i) {
      constexpr char kDigits[] = "0123456789abcdef";
      text += kDigits[static_cast<uint8_t>(bytes[i]) >> 4];
      text += kDigits[static_cast<uint8_t>(bytes[i]) & 15];
    }
    return text;
  };
  std::vector<std::string> entries;
  const std::unique_ptr<leveldb::Iterator> it(db->NewIterator(leveldb::ReadOptions()));
  for (it->SeekToFirst(); it->Valid(); it->Next()) entries.push_back(hex(it->key()) + " " + hex(it->value()));
  EXPECT_THAT(entries, ::testing::ElementsAre("00 65765f6c646274000200000010000000",
                                              "00000000 05000000000000000000803f000000400000404000008040",
                                              "00000001 feffffffffffffff0000003f000080bf0000000000000000"));
}

TEST_F(LevelDbTierTest, RowsAreThereWhenItIsOpenedAgain) {
  ASSERT_TRUE(Open().ok());
  std::vector<Position> first;
  ASSERT_TRUE(Put(-50, 100, 1, &first).ok());
  ASSERT_TRUE(Put(-10, 20, 2).ok());
  Remove(-50, first[0]);
  ASSERT_TRUE(tier_->Flush().ok());  // for the removal
  ASSERT_TRUE(Open().ok());
  EXPECT_EQ(tier_->size(), 119u);
  EXPECT_EQ(Scan(*tier_), put_);
  // New positions are not the old ones.
  ASSERT_TRUE(Put(-50, 100, 3).ok());
  EXPECT_EQ(tier_->size(), 219u);
  EXPECT_EQ(Scan(*tier_), put_);
}

TEST_F(LevelDbTierTest, OldRowsAreDroppedOnRequest) {
  ASSERT_TRUE(Open().ok());
  ASSERT_TRUE(Put(0, 100, 1).ok());
  options_.old_rows = OldRows::kDrop;
  options_.row_bytes = 128;  // rows of another size are no hindrance then
  ASSERT_TRUE(Open().ok());
  EXPECT_EQ(tier_->size(), 0u);
  put_.clear();
  ASSERT_TRUE(Put(0, 10, 2).ok());
  EXPECT_EQ(Scan(*tier_), put_);
}

TEST_F(LevelDbTierTest, WhatWasFlushedIsInFilesWithoutTheLog) {
  ASSERT_TRUE(Open().ok());
  std::vector<Position> positions;
  ASSERT_TRUE(Put(0, 1000, 1, &positions).ok());
  for (Key key = 0; key < 1000; key += 2) Remove(key, positions[static_cast<size_t>(key)]);
  ASSERT_TRUE(tier_->Flush().ok());
  // A power cut that takes every log: what is left of the directory, opened elsewhere.
  const std::string after = dir_ / "after";
  fs::create_directory(after);
  for (const auto& entry : fs::directory_iterator(options_.path)) {
    if (entry.path().extension() != ".log") fs::copy(entry.path(), after);
  }
  LevelDbOptions options = options_;
  options.path = after;
  std::unique_ptr<LevelDbTier> tier;
  const Status status = LevelDbTier::Open(options, &tier);
  ASSERT_TRUE(status.ok()) << status.ToString();
  EXPECT_EQ(Scan(*tier), put_);
}

TEST_F(LevelDbTierTest, ATornLogLosesItsEndAlone) {
  ASSERT_TRUE(Open().ok());
  ASSERT_TRUE(Put(0, 100, 1).ok());
  ASSERT_TRUE(tier_->Flush().ok());
  const Rows flushed = put_;
  ASSERT_TRUE(Put(1000, 100, 2).ok());
  tier_.reset();
  const auto logs = Files(".log");
  ASSERT_FALSE(logs.empty());  // LevelDB may not have come to delete older ones
  fs::resize_file(logs.back(), fs::file_size(logs.back()) / 2);
  ASSERT_TRUE(Open().ok());
  EXPECT_EQ(Scan(*tier_), flushed);
}

TEST_F(LevelDbTierTest, APutLargerThanOneWriteIsOnePut) {
  options_.row_bytes = 1 << 20;
  ASSERT_TRUE(Open().ok());
  ASSERT_TRUE(Put(0, 70, 1).ok());
  EXPECT_EQ(tier_->size(), 70u);
  EXPECT_EQ(Scan(*tier_), put_);
}

TEST_F(LevelDbTierTest, ARemovalThatWasNotFlushedMayBeUndoneByTheNextOpen) {
  ASSERT_TRUE(Open().ok());
  std::vector<Position> first;
  ASSERT_TRUE(Put(0, 100, 1, &first).ok());
  const Rows all = put_;
  for (Key key = 0; key < 50; ++key) Remove(key, first[static_cast<size_t>(key)]);
  EXPECT_EQ(Scan(*tier_), put_) << "what is still in the database and was removed is not there";
  ASSERT_TRUE(Open().ok());
  const Rows found = Scan(*tier_);
  EXPECT_EQ(tier_->size(), found.size());
  EXPECT_TRUE(std::includes(all.begin(), all.end(), found.begin(), found.end()));
  EXPECT_TRUE(std::includes(found.begin(), found.end(), put_.begin(), put_.end()));
}

TEST_F(LevelDbTierTest, RowsOverwriteThoseThatAreGone) {
  ASSERT_TRUE(Open().ok());
  std::vector<Position> first, second;
  ASSERT_TRUE(Put(0, 300, 1, &first).ok());
  for (Key key = 50; key < 200; ++key) Remove(key, first[static_cast<size_t>(key)]);
  ASSERT_TRUE(Put(1000, 140, 2, &second).ok());
  EXPECT_EQ(second.front(), first[50]);
  EXPECT_TRUE(std::is_sorted(second.begin(), second.end()));
  EXPECT_EQ(tier_->size(), 290u);
  EXPECT_EQ(Scan(*tier_), put_);
  std::vector<std::byte> row;
  EXPECT_EQ(Get(50, first[50], &row).code(), StatusCode::kNotFound) << "another key's row is there now";
  ASSERT_TRUE(tier_->Flush().ok());
  ASSERT_TRUE(Open().ok());
  EXPECT_EQ(Scan(*tier_), put_);
}

TEST_F(LevelDbTierTest, ATableThatShrinksGivesItsSpaceBack) {
  ASSERT_TRUE(Open().ok());
  constexpr size_t kMany = 100000;
  std::vector<Position> positions;
  ASSERT_TRUE(Put(0, kMany, 1, &positions).ok());
  for (size_t i = 0; i < kMany; ++i) {
    if (i % 100 != 0) Remove(static_cast<Key>(i), positions[i]);
  }
  // Each Put deletes some of what is stale, until that is no more than there are rows.
  for (int i = 0; i < 10; ++i) ASSERT_TRUE(Put(static_cast<Key>(kMany) + i, 1, 2).ok());
  EXPECT_EQ(Scan(*tier_), put_);
  tier_.reset();
  EXPECT_LE(Entries(), 2 * put_.size() + 1);
  ASSERT_TRUE(Open().ok());
  EXPECT_LE(tier_->size(), 2 * put_.size());
}

TEST_F(LevelDbTierTest, ATierThatIsFullSaysSoAndGoesOnWithWhatIsGivenBack) {
  options_.most_rows = 100;
  ASSERT_TRUE(Open().ok());
  std::vector<Position> positions;
  ASSERT_TRUE(Put(0, 90, 1, &positions).ok());
  const Status status = Put(1000, 11, 2);
  EXPECT_EQ(status.code(), StatusCode::kOutOfSpace) << status.ToString();
  EXPECT_THAT(status.message(), HasSubstr("expected at most 100 rows, 90 are there and 11 more are wanted"));
  ASSERT_TRUE(Put(1000, 10, 2).ok());
  EXPECT_EQ(Put(2000, 1, 3).code(), StatusCode::kOutOfSpace);
  Remove(7, positions[7]);
  std::vector<Position> again;
  ASSERT_TRUE(Put(2000, 1, 3, &again).ok());
  EXPECT_EQ(again[0], positions[7]);
  EXPECT_EQ(tier_->size(), 100u);
  EXPECT_EQ(Scan(*tier_), put_);
  ASSERT_TRUE(Open().ok());
  options_.most_rows = 99;
  const Status fewer = Open();
  EXPECT_EQ(fewer.code(), StatusCode::kInvalidArgument) << fewer.ToString();
  EXPECT_THAT(fewer.message(), HasSubstr("most_rows: expected more than 99, where a row is, found 99"));
  for (const size_t rows : {size_t{0}, size_t{kMaxPosition} + 2}) {
    options_.most_rows = rows;
    EXPECT_EQ(Open().code(), StatusCode::kInvalidArgument) << rows;
  }
}

TEST_F(LevelDbTierTest, ARowThatIsRemovedTwiceIsRemovedOnce) {
  ASSERT_TRUE(Open().ok());
  std::vector<Position> positions;
  ASSERT_TRUE(Put(0, 10, 1, &positions).ok());
  Remove(3, positions[3]);
  Remove(3, positions[3]);
  Remove(3, kMaxPosition);
  EXPECT_EQ(tier_->size(), 9u);
  EXPECT_EQ(Scan(*tier_), put_);
}

// Flushes, scans and other rows' updates, all at once: what was removed before a Flush is not in the files after it, and a scan
// sees the rows that nobody touches.
TEST_F(LevelDbTierTest, FlushesAndScansGoOnWhileRowsComeAndGo) {
  ASSERT_TRUE(Open().ok());
  constexpr Key kStill = 500;
  ASSERT_TRUE(Put(0, kStill, 1).ok());
  std::atomic<bool> stop{false};
  std::vector<std::thread> threads;
  for (int t = 0; t < 3; ++t) {
    threads.emplace_back([this, t, &stop] {
      const std::vector<std::byte> rows(64 * kRowBytes, static_cast<std::byte>(t + 2));
      std::vector<Key> keys(64);
      std::vector<Position> positions(64);
      for (Key first = (t + 1) * 1000000; !stop; first += 64) {
        for (size_t i = 0; i < keys.size(); ++i) keys[i] = first + static_cast<Key>(i);
        ASSERT_TRUE(tier_->Put(keys, rows, positions).ok());
        tier_->Remove(keys, positions);
      }
    });
  }
  for (int i = 0; i < test::Rounds(30, 4); ++i) {
    EXPECT_TRUE(tier_->Flush().ok());
    const Rows found = Scan(*tier_);
    ASSERT_TRUE(std::includes(found.begin(), found.end(), put_.begin(), put_.end()));
    ASSERT_LE(found.size(), put_.size() + 3 * 64);
  }
  stop = true;
  for (std::thread& thread : threads) thread.join();
  ASSERT_TRUE(tier_->Flush().ok());
  EXPECT_EQ(tier_->size(), put_.size());
  ASSERT_TRUE(Open().ok());
  EXPECT_EQ(Scan(*tier_), put_);
}

TEST_F(LevelDbTierTest, AMissingRowIsNotFound) {
  ASSERT_TRUE(Open().ok());
  std::vector<Position> positions;
  ASSERT_TRUE(Put(1, 1, 1, &positions).ok());
  std::vector<std::byte> row;
  Status status = Get(2, positions[0], &row);
  EXPECT_EQ(status.code(), StatusCode::kNotFound);
  EXPECT_THAT(status.message(), HasSubstr("key 2 at 0: found another key's row"));
  status = Get(1, positions[0] + 1, &row);
  EXPECT_EQ(status.code(), StatusCode::kNotFound);
}

TEST_F(LevelDbTierTest, ADatabaseThatIsOpenIsUnavailable) {
  ASSERT_TRUE(Open().ok());
  std::unique_ptr<LevelDbTier> second;
  const Status status = LevelDbTier::Open(options_, &second);
  EXPECT_EQ(status.code(), StatusCode::kUnavailable) << status.ToString();
  EXPECT_THAT(status.message(), HasSubstr(options_.path));
  EXPECT_EQ(second, nullptr);
}

TEST_F(LevelDbTierTest, RowsOfAnotherSizeAreRefused) {
  ASSERT_TRUE(Open().ok());
  ASSERT_TRUE(Put(0, 3, 1).ok());
  options_.row_bytes = 128;
  const Status status = Open();
  EXPECT_EQ(status.code(), StatusCode::kInvalidArgument);
  EXPECT_THAT(status.message(), HasSubstr("expected 128, found rows of 64 bytes"));
  options_.row_bytes = 64;
  ASSERT_TRUE(Open().ok());
  EXPECT_EQ(Scan(*tier_), put_);
}

TEST_F(LevelDbTierTest, AForeignDatabaseIsRefusedAndLeftAlone) {
  leveldb::Options create;
  create.create_if_missing = true;
  leveldb::DB* raw = nullptr;
  ASSERT_TRUE(leveldb::DB::Open(create, options_.path, &raw).ok());
  ASSERT_TRUE(raw->Put(leveldb::WriteOptions(), "somebody's", "data").ok());
  delete raw;
  for (const OldRows old_rows : {OldRows::kKeep, OldRows::kDrop}) {
    options_.old_rows = old_rows;
    const Status status = Open();
    EXPECT_EQ(status.code(), StatusCode::kInvalidArgument) << status.ToString();
    EXPECT_THAT(status.message(), HasSubstr("format key"));
  }
  ASSERT_TRUE(leveldb::DB::Open(leveldb::Options(), options_.path, &raw).ok());
  std::string value;
  EXPECT_TRUE(raw->Get(leveldb::ReadOptions(), "somebody's", &value).ok());
  delete raw;
}

TEST_F(LevelDbTierTest, AnotherFormatIsRefusedByNameAndAnOlderOneDeletedOnRequest) {
  ASSERT_TRUE(Open().ok());
  for (const int version : {3, 1}) {
    tier_.reset();
    leveldb::DB* raw = nullptr;
    ASSERT_TRUE(leveldb::DB::Open(leveldb::Options(), options_.path, &raw).ok());
    const leveldb::Slice format_key(leveldb_format::kFormatKey, leveldb_format::kFormatKeyBytes);
    std::string format;
    ASSERT_TRUE(raw->Get(leveldb::ReadOptions(), format_key, &format).ok());
    format[8] = static_cast<char>(version);
    ASSERT_TRUE(raw->Put(leveldb::WriteOptions(), format_key, format).ok());
    ASSERT_TRUE(raw->Put(leveldb::WriteOptions(), "a key of twelve", "a row").ok());
    delete raw;
    const Status status = Open();
    EXPECT_EQ(status.code(), StatusCode::kInvalidArgument);
    EXPECT_THAT(status.message(), HasSubstr("format version: expected 2, found " + std::to_string(version)));
    options_.old_rows = OldRows::kDrop;
    EXPECT_EQ(Open().code(), version == 1 ? StatusCode::kOk : StatusCode::kInvalidArgument);
    options_.old_rows = OldRows::kKeep;
  }
  ASSERT_NE(tier_, nullptr);
  EXPECT_EQ(tier_->size(), 0u);
  ASSERT_TRUE(Put(0, 10, 1).ok());
  ASSERT_TRUE(Open().ok());
  EXPECT_EQ(Scan(*tier_), put_);
}

TEST_F(LevelDbTierTest, MetricsSayWhatLevelDbHasWritten) {
  options_.row_bytes = 1024;
  ASSERT_TRUE(Open().ok());
  EXPECT_EQ(tier_->tier_metrics().written_bytes, 0);
  constexpr int kRounds = 16;
  constexpr size_t kRows = 4096;
  constexpr auto kPut = int64_t{kRounds * kRows * 1024};  // 64 MiB
  std::vector<Position> positions;
  for (int round = 0; round < kRounds; ++round) ASSERT_TRUE(Put(round * 10000, kRows, round, &positions).ok());
  ASSERT_TRUE(tier_->Flush().ok());
  TierMetrics m = tier_->tier_metrics();
  // To the log and to a table, and so far nothing has been merged.
  EXPECT_GE(m.written_bytes, 2 * kPut - (int64_t{4} << 20));
  EXPECT_LE(m.written_bytes, 2 * kPut + (int64_t{8} << 20));
  EXPECT_EQ(m.compaction_bytes, 0);
  EXPECT_GE(m.index_bytes, int64_t{kRounds * kRows / 8});
  EXPECT_LE(m.index_bytes, int64_t{kRounds * kRows});
}

TEST_F(LevelDbTierTest, TiersShareTheCacheAndTheWriteBuffers) {
  std::vector<std::unique_ptr<WriteBufferGrant>> grants;
  size_t total = 0;
  for (int i = 0; i < 1000; ++i) {
    grants.push_back(std::make_unique<WriteBufferGrant>());
    total += grants.back()->bytes();
  }
  EXPECT_EQ(grants.front()->bytes(), WriteBufferGrant::kMaxBytes);
  EXPECT_EQ(grants.back()->bytes(), WriteBufferGrant::kMinBytes);
  EXPECT_LE(total, WriteBufferGrant::kProcessBytes + 1000 * WriteBufferGrant::kMinBytes);
  grants.clear();
  EXPECT_EQ(WriteBufferGrant().bytes(), WriteBufferGrant::kMaxBytes);
}

TEST_F(LevelDbTierTest, LevelDbsOwnSettingsHoldTheSameRows) {
  options_.tuning = LevelDbTuning::LevelDbDefaults();
  ASSERT_TRUE(Open().ok());
  ASSERT_TRUE(Put(0, 1000, 1).ok());
  ASSERT_TRUE(tier_->Flush().ok());
  EXPECT_EQ(Scan(*tier_), put_);
  options_.tuning = LevelDbTuning();
  ASSERT_TRUE(Open().ok());  // compressed tables without filters are read all the same
  EXPECT_EQ(Scan(*tier_), put_);
  EXPECT_GT(tier_->bytes(), 0u);
}

}  // namespace
}  // namespace ev
