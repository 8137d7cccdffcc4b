// A database with any entries: a tier's Open() and Scan() give a Status, never a crash or a row of another size.
#include <gtest/gtest.h>
#include <leveldb/db.h>
#include <leveldb/options.h>

#include <memory>
#include <string>

#include "ev_tf/tier/leveldb/leveldb_tier.h"
#include "tests/support/random.h"
#include "tests/support/sanitizers.h"
#include "tests/support/temp_dir.h"

namespace ev {
namespace {

constexpr size_t kRowBytes = 16;

std::string AnyBytes(test::Random* random, size_t n) {
  std::string bytes(n, '\0');
  for (char& byte : bytes) byte = static_cast<char>(random->OneIn(3) ? 0 : random->Bits());
  return bytes;
}

TEST(LevelDbDecoder, AnyEntries) {
  SCOPED_TRACE(::testing::Message() << "EV_SEED=" << test::Seed());
  test::Random random(1);
  int opened = 0;
  int with_rows = 0;
  int refused = 0;
  const int runs = test::Rounds(60, 4);
  for (int run = 0; run < runs; ++run) {
    const bool as_it_was = run == 0;  // and the second one never is: both ways are gone, whatever the seed
    const test::TempDir dir;
    LevelDbOptions options;
    options.path = dir / "table";
    options.row_bytes = kRowBytes;
    std::unique_ptr<LevelDbTier> tier;
    ASSERT_TRUE(LevelDbTier::Open(options, &tier).ok());
    tier.reset();
    {
      leveldb::DB* raw = nullptr;
      ASSERT_TRUE(leveldb::DB::Open(leveldb::Options(), options.path, &raw).ok());
      const std::unique_ptr<leveldb::DB> db(raw);
      if (run == 1) {
        ASSERT_TRUE(db->Put(leveldb::WriteOptions(), std::string(1, '\0'), "short").ok());
      } else if (!as_it_was && random.OneIn(3)) {
        std::string format;
        ASSERT_TRUE(db->Get(leveldb::ReadOptions(), std::string(1, '\0'), &format).ok());
        if (random.OneIn(2)) {
          format = AnyBytes(&random, random.Below(24));
        } else {
          format[random.Below(format.size())] = static_cast<char>(random.Bits());
        }
        ASSERT_TRUE(db->Put(leveldb::WriteOptions(), std::string(1, '\0'), format).ok());
      }
      const bool right_sizes = random.OneIn(2);
      for (uint64_t n = as_it_was ? 0 : random.Below(20); n > 0; --n) {
        std::string key = AnyBytes(&random, right_sizes ? leveldb_format::kRowKeyBytes : random.Below(20));
        // One in sixty-four of these is no position.
        if (right_sizes && !random.OneIn(32)) key[0] &= 0x3f;
        const std::string row =
            AnyBytes(&random, right_sizes ? leveldb_format::kKeyBytes + kRowBytes : random.Below(40));
        if (key.size() <= 1) continue;
        ASSERT_TRUE(db->Put(leveldb::WriteOptions(), key, row).ok());
      }
    }
    const Status status = LevelDbTier::Open(options, &tier);
    if (!status.ok()) {
      ++refused;
      EXPECT_TRUE(status.code() == StatusCode::kInvalidArgument || status.code() == StatusCode::kCorruption)
          << status.ToString();
      EXPECT_NE(status.message().find(options.path), std::string::npos) << status.ToString();
      continue;
    }
    ++opened;
    with_rows += tier->size() > 0 ? 1 : 0;
    size_t rows = 0;
    EXPECT_TRUE(tier->Scan([&](Key, Position, Span<const std::byte> row) {
                      ++rows;
                      ASSERT_EQ(row.size(), kRowBytes);
                    })
                    .ok());
    EXPECT_EQ(tier->size(), rows);
  }
  EXPECT_GT(opened, 0);
  if (runs >= 60) {
    EXPECT_GT(with_rows, 0);
  }
  EXPECT_GT(refused, 0);
}

}  // namespace
}  // namespace ev
