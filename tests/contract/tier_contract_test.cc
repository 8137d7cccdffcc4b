// What every tier keeps, whatever it is made of: T1 to T4 of tier/tier.h, run over every member.
//
// A new member is one INSTANTIATE line at the end.
#include <gtest/gtest.h>

#include <algorithm>
#include <atomic>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <random>
#include <set>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "ev_tf/tier/dram/dram_tier.h"
#include "ev_tf/tier/ssd_log/ssd_log_tier.h"
#include "ev_tf/tier/tier.h"
#include "ev_tf/tier/tier_factory.h"
#include "tests/support/status_matchers.h"
#include "tests/support/temp_dir.h"

namespace ev {
namespace {

constexpr size_t kRowBytes = 96;

struct TierCase {
  const char* name;
  // Opens an empty tier of rows of `row_bytes` in `dir`.  The relocator outlives it.
  std::function<Status(const std::string& dir, size_t row_bytes, Relocator* relocator, std::unique_ptr<Tier>* out)>
      open;
  bool on_disk = true;      // a small disk can fill up under it
  bool reuses_rows = true;  // a removed row's bytes serve the next one at once
};
std::ostream& operator<<(std::ostream& out, const TierCase& tier) { return out << tier.name; }

uint64_t Seed() {
  const char* seed = std::getenv("EV_SEED");
  return seed != nullptr ? std::strtoull(seed, nullptr, 10) : std::random_device()();
}

// The bytes that version `version` of a key's row has.
void FillRow(Key key, uint32_t version, std::byte* row, size_t row_bytes) {
  uint64_t word = HashKey(key) ^ version;
  for (size_t i = 0; i < row_bytes; ++i) {
    if (i % sizeof(word) == 0) word = word * 6364136223846793005ULL + 1442695040888963407ULL;
    row[i] = static_cast<std::byte>(word >> (8 * (i % sizeof(word))));
  }
}

// What a store knows: where the row of each key is now, and which version it has.  One live row a key.
class Book final : public Relocator {
 public:
  struct Entry {
    Position position;
    uint32_t version;
  };
  void Relocate(Span<const Key> keys, Span<const Position> from, Span<const Position> to, Span<bool> moved) override {
    std::lock_guard<std::mutex> lock(mu_);
    for (size_t i = 0; i < keys.size(); ++i) {
      const auto it = entries_.find(keys[i]);
      moved[i] = it != entries_.end() && it->second.position == from[i];
      if (moved[i]) it->second.position = to[i];
    }
  }
  void WhenUnseen(std::function<void()> free) override { free(); }
  // Returns the entry that was there, if there was one.
  bool Set(Key key, Entry entry, Entry* old) {
    std::lock_guard<std::mutex> lock(mu_);
    const auto [it, added] = entries_.try_emplace(key, entry);
    if (!added) *old = std::exchange(it->second, entry);
    return !added;
  }
  bool Find(Key key, Entry* entry) const {
    std::lock_guard<std::mutex> lock(mu_);
    const auto it = entries_.find(key);
    if (it == entries_.end()) return false;
    *entry = it->second;
    return true;
  }
  bool Take(Key key, Entry* entry) {
    std::lock_guard<std::mutex> lock(mu_);
    const auto it = entries_.find(key);
    if (it == entries_.end()) return false;
    *entry = it->second;
    entries_.erase(it);
    return true;
  }
  std::map<Key, Entry> entries() const {
    std::lock_guard<std::mutex> lock(mu_);
    return entries_;
  }

 private:
  mutable std::mutex mu_;
  std::map<Key, Entry> entries_;  // guarded by mu_
};

class TierContract : public ::testing::TestWithParam<TierCase> {
 protected:
  void SetUp() override { Open(dir_.path(), kRowBytes); }

  void Open(const std::string& dir, size_t row_bytes) {
    tier_.reset();
    const Status status = GetParam().open(dir, row_bytes, &book_, &tier_);
    if (status.code() == StatusCode::kUnavailable) GTEST_SKIP() << status.message();
    ASSERT_TRUE(status.ok()) << status.ToString();
    ASSERT_EQ(tier_->row_bytes(), row_bytes);
    ASSERT_EQ(tier_->size(), 0u);
  }

  std::vector<std::byte> Rows(const std::vector<Key>& keys, uint32_t version) const {
    std::vector<std::byte> rows(keys.size() * tier_->row_bytes());
    for (size_t i = 0; i < keys.size(); ++i) {
      FillRow(keys[i], version, rows.data() + i * tier_->row_bytes(), tier_->row_bytes());
    }
    return rows;
  }
  Status Put(const std::vector<Key>& keys, uint32_t version, std::vector<Position>* positions) {
    positions->assign(keys.size(), 0);
    const std::vector<std::byte> rows = Rows(keys, version);
    return tier_->Put(keys, rows, *positions);
  }
  // Puts rows that the book knows from now on, and removes the ones it knew.
  Status PutInBook(const std::vector<Key>& keys, uint32_t version) {
    std::vector<Position> positions;
    EV_RETURN_IF_ERROR(Put(keys, version, &positions));
    std::vector<Key> old_keys;
    std::vector<Position> old_positions;
    for (size_t i = 0; i < keys.size(); ++i) {
      Book::Entry old{};
      if (!book_.Set(keys[i], {positions[i], version}, &old)) continue;
      old_keys.push_back(keys[i]);
      old_positions.push_back(old.position);
    }
    tier_->Remove(old_keys, old_positions);
    return OkStatus();
  }
  void ExpectReads(const std::vector<Key>& keys, const std::vector<Position>& positions, uint32_t version) {
    std::vector<std::byte> rows(keys.size() * tier_->row_bytes(), std::byte{0x5a});
    const Status status = tier_->Get(keys, positions, rows);
    ASSERT_TRUE(status.ok()) << status.ToString();
    EXPECT_TRUE(rows == Rows(keys, version));
  }
  void ExpectHoldsTheBook() {
    const auto entries = book_.entries();
    EXPECT_EQ(tier_->size(), entries.size());
    std::vector<std::byte> row(tier_->row_bytes());
    std::vector<std::byte> expected(tier_->row_bytes());
    for (const auto& [key, entry] : entries) {
      Book::Entry now = entry;
      Status status;
      do {  // a tier may move it between the look and the read
        ASSERT_TRUE(book_.Find(key, &now));
        status = tier_->Get({&key, 1}, {&now.position, 1}, row);
      } while (status.code() == StatusCode::kNotFound && book_.Find(key, &now) && now.position != entry.position);
      ASSERT_TRUE(status.ok()) << "key " << key << ": " << status.ToString();
      FillRow(key, now.version, expected.data(), expected.size());
      ASSERT_TRUE(row == expected) << "key " << key;
    }
  }

  test::TempDir dir_;
  Book book_;
  std::unique_ptr<Tier> tier_;
};

TEST_P(TierContract, T1ReadsWhatWasPutForEveryKindOfKey) {
  const std::vector<Key> keys = {0, -1, 1, INT64_MIN, INT64_MAX, 1000, -1000, int64_t{1} << 32, 255, 256, -256};
  std::vector<Position> positions;
  ASSERT_TRUE(Put(keys, 1, &positions).ok());
  EXPECT_EQ(std::set<Position>(positions.begin(), positions.end()).size(), keys.size());
  EXPECT_LE(*std::max_element(positions.begin(), positions.end()), kMaxPosition);
  ExpectReads(keys, positions, 1);
  EXPECT_EQ(tier_->size(), keys.size());
  EXPECT_GT(tier_->bytes(), 0u);
  // In another order, some twice.
  ExpectReads({keys[4], keys[0], keys[4]}, {positions[4], positions[0], positions[4]}, 1);
}

TEST_P(TierContract, T1AnEmptyBatchIsNothing) {
  std::vector<Position> positions;
  EXPECT_TRUE(Put({}, 1, &positions).ok());
  EXPECT_TRUE(tier_->Get({}, {}, {}).ok());
  tier_->Remove({}, {});
  EXPECT_TRUE(tier_->Flush().ok());
  EXPECT_EQ(tier_->size(), 0u);
}

TEST_P(TierContract, T1CopiesOfOneKeyLiveSideBySide) {
  std::vector<Position> older, newer;
  ASSERT_TRUE(Put({7, 8}, 1, &older).ok());
  ASSERT_TRUE(Put({7, 8}, 2, &newer).ok());
  EXPECT_NE(older[0], newer[0]);
  ExpectReads({7, 8}, older, 1);
  ExpectReads({7, 8}, newer, 2);
  EXPECT_EQ(tier_->size(), 4u);
}

TEST_P(TierContract, T1RemovingAnOldCopyLeavesTheNewOneAndTheOtherWayRound) {
  std::vector<Position> older, newer;
  ASSERT_TRUE(Put({7, 8}, 1, &older).ok());
  ASSERT_TRUE(Put({7, 8}, 2, &newer).ok());
  tier_->Remove({std::vector<Key>{7}}, {std::vector<Position>{older[0]}});
  tier_->Remove({std::vector<Key>{8}}, {std::vector<Position>{newer[1]}});
  ASSERT_TRUE(tier_->Flush().ok());
  ExpectReads({7}, {newer[0]}, 2);
  ExpectReads({8}, {older[1]}, 1);
  EXPECT_EQ(tier_->size(), 2u);
}

TEST_P(TierContract, T1RemovingSomeLeavesTheOthers) {
  std::vector<Key> keys(100);
  for (size_t i = 0; i < keys.size(); ++i) keys[i] = static_cast<Key>(i);
  std::vector<Position> positions, later;
  ASSERT_TRUE(Put(keys, 1, &positions).ok());
  tier_->Remove(Span<const Key>(keys.data(), 50), Span<const Position>(positions.data(), 50));
  std::vector<Key> others(200);
  for (size_t i = 0; i < others.size(); ++i) others[i] = static_cast<Key>(1000 + i);
  ASSERT_TRUE(Put(others, 2, &later).ok());  // may take what is free now
  ExpectReads({keys.begin() + 50, keys.end()}, {positions.begin() + 50, positions.end()}, 1);
  ExpectReads(others, later, 2);
}

TEST_P(TierContract, ChurnDoesNotGrowIt) {
  if (!GetParam().reuses_rows) GTEST_SKIP() << "what is removed is cleaned up later";
  const std::vector<Key> keys = {1, 2, 3, 4, 5, 6, 7, 8};
  std::vector<Position> positions;
  ASSERT_TRUE(Put(keys, 0, &positions).ok());
  const size_t bytes = tier_->bytes();
  EXPECT_GE(bytes, keys.size() * kRowBytes);
  for (uint32_t round = 1; round <= 200; ++round) {
    tier_->Remove(keys, positions);
    ASSERT_TRUE(Put(keys, round, &positions).ok());
  }
  EXPECT_EQ(tier_->size(), keys.size());
  EXPECT_EQ(tier_->bytes(), bytes);
}

TEST_P(TierContract, T1OneKeyTwiceInOnePut) {
  std::vector<Position> positions;
  ASSERT_TRUE(Put({5, 5}, 3, &positions).ok());
  EXPECT_NE(positions[0], positions[1]);
  ExpectReads({5, 5}, positions, 3);
  EXPECT_EQ(tier_->size(), 2u);
}

TEST_P(TierContract, T1RowsOfAllSizes) {
  for (const size_t row_bytes : {16u, 32u, 272u, 4096u, 65552u}) {
    SCOPED_TRACE(::testing::Message() << "rows of " << row_bytes << " bytes");
    const test::TempDir dir;
    Open(dir.path(), row_bytes);
    std::vector<Key> keys(40);
    for (size_t i = 0; i < keys.size(); ++i) keys[i] = static_cast<Key>(i) - 20;
    std::vector<Position> positions;
    ASSERT_TRUE(Put(keys, 1, &positions).ok());
    ExpectReads(keys, positions, 1);
    tier_.reset();
  }
}

TEST_P(TierContract, T1AndT3RandomOperationsAgainstABook) {
  const uint64_t seed = Seed();
  SCOPED_TRACE(::testing::Message() << "EV_SEED=" << seed);
  std::mt19937_64 random(seed);
  for (uint32_t round = 1; round <= 60; ++round) {
    std::set<Key> chosen;
    const size_t n = random() % 200;
    for (size_t i = 0; i < n; ++i) chosen.insert(static_cast<Key>(random() % 500) - 250);
    const std::vector<Key> keys(chosen.begin(), chosen.end());
    if (random() % 4 != 0) {
      ASSERT_TRUE(PutInBook(keys, round).ok());
    } else {
      std::vector<Key> taken;
      std::vector<Position> positions;
      for (const Key key : keys) {
        Book::Entry entry{};
        if (!book_.Take(key, &entry)) continue;
        taken.push_back(key);
        positions.push_back(entry.position);
      }
      tier_->Remove(taken, positions);
    }
    if (random() % 8 == 0) {
      ASSERT_TRUE(tier_->Flush().ok());
    }
    if (round % 10 == 0) ExpectHoldsTheBook();
  }
}

TEST_P(TierContract, T2AFailedPutLeavesEveryRowAndTakesNoPosition) {
  if (!GetParam().on_disk) GTEST_SKIP() << "no disk under it that could fill up";
  const test::SmallDisk disk(size_t{48} << 20);
  if (!disk.mounted()) GTEST_SKIP() << "no small disk to fill: mount says " << disk.why();
  Open(disk.path() + "/.", kRowBytes);
  std::vector<Key> keys(4096);
  Status status;
  Key next = 0;
  for (int batch = 0; batch < 1000 && status.ok(); ++batch) {
    for (Key& key : keys) key = next++;
    status = PutInBook(keys, 1);
  }
  EXPECT_EQ(status.code(), StatusCode::kOutOfSpace) << status.ToString();
  EXPECT_NE(status.message().find(disk.path()), std::string::npos) << status.message();
  EXPECT_GE(tier_->size(), keys.size());
  ExpectHoldsTheBook();
  tier_.reset();
}

TEST_P(TierContract, T3SizeIsExactUnderManyThreads) {
  constexpr int kThreads = 4;
  constexpr size_t kBatch = 64;
  std::vector<std::thread> threads;
  std::atomic<int> failures{0};
  for (int t = 0; t < kThreads; ++t) {
    threads.emplace_back([&, t] {
      for (uint32_t round = 0; round < 40; ++round) {
        std::vector<Key> keys(kBatch);
        for (size_t i = 0; i < kBatch; ++i) keys[i] = static_cast<Key>(i) * kThreads + t;
        if (!PutInBook(keys, round).ok()) ++failures;  // the copy before is removed
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(failures, 0);
  EXPECT_EQ(tier_->size(), kThreads * kBatch);
  ExpectHoldsTheBook();
}

TEST_P(TierContract, T4RowsStayReadableWhileOthersComeAndGo) {
  // Rows that nobody touches, spread over what the writers fill and remove.
  std::vector<Key> steady;
  for (Key key = -1; key >= -256; --key) steady.push_back(key);
  ASSERT_TRUE(PutInBook(steady, 77).ok());
  std::atomic<bool> stop{false};
  std::atomic<int> failures{0};
  std::atomic<int64_t> reads{0};
  std::vector<std::thread> readers;
  for (int t = 0; t < 2; ++t) {
    readers.emplace_back([&, t] {
      std::mt19937 random(static_cast<unsigned>(t));
      std::vector<std::byte> row(kRowBytes), expected(kRowBytes);
      while (!stop.load()) {
        const Key key = steady[random() % steady.size()];
        Status status;
        Book::Entry entry{};
        for (int attempt = 0; attempt < 100; ++attempt) {
          if (!book_.Find(key, &entry)) break;
          status = tier_->Get({&key, 1}, {&entry.position, 1}, row);
          if (status.code() != StatusCode::kNotFound) break;  // moved between the look and the read
        }
        FillRow(key, 77, expected.data(), expected.size());
        if (!status.ok() || row != expected) ++failures;
        ++reads;
      }
    });
  }
  std::vector<Key> keys(512);
  for (uint32_t round = 0; round < 60; ++round) {
    for (size_t i = 0; i < keys.size(); ++i) keys[i] = static_cast<Key>((round % 4) * keys.size() + i);
    ASSERT_TRUE(PutInBook(keys, round).ok());
    if (round % 16 == 7) {
      EXPECT_TRUE(tier_->Flush().ok());
    }
  }
  while (reads.load() < 100) std::this_thread::yield();
  stop = true;
  for (std::thread& reader : readers) reader.join();
  EXPECT_EQ(failures, 0);
  ExpectHoldsTheBook();
}

// A case over the factory, in a directory below `dir`.
TierCase FromFactory(const char* name, TierKind kind, const char* below) {
  return {name, [kind, below](const std::string& dir, size_t row_bytes, Relocator*, std::unique_ptr<Tier>* out) {
            TierOptions options;
            options.kind = kind;
            options.row_bytes = row_bytes;
            options.path = dir + below;
            return OpenTier(options, out);
          }};
}
std::string CaseName(const ::testing::TestParamInfo<TierCase>& info) { return info.param.name; }

TierCase LevelDb() {
  TierCase tier = FromFactory("leveldb", TierKind::kLevelDb, "/table");
  tier.reuses_rows = false;
  return tier;
}
TierCase Dram() {
  TierCase tier = FromFactory("dram", TierKind::kDram, "");
  tier.on_disk = false;
  return tier;
}

INSTANTIATE_TEST_SUITE_P(Dram, TierContract, ::testing::Values(Dram()), CaseName);
INSTANTIATE_TEST_SUITE_P(LevelDb, TierContract, ::testing::Values(LevelDb()), CaseName);
TierCase SsdLog(const char* name, SsdIoMode mode, bool async) {
  TierCase tier;
  tier.name = name;
  tier.open = [=](const std::string& dir, size_t row_bytes, Relocator* relocator, std::unique_ptr<Tier>* out) {
    SsdLogOptions options;
    options.path = dir + "/log";
    options.row_bytes = row_bytes;
    options.segment_bytes = std::max<uint64_t>(64 << 10, 32 * row_bytes);  // small, so that it compacts
    options.io_mode = mode;
    options.async_compaction = async;
    options.relocator = relocator;
    std::unique_ptr<SsdLogTier> log;
    EV_RETURN_IF_ERROR(SsdLogTier::Open(options, &log));
    *out = std::move(log);
    return OkStatus();
  };
  tier.reuses_rows = false;
  return tier;
}

INSTANTIATE_TEST_SUITE_P(SsdLog, TierContract,
                         ::testing::Values(SsdLog("direct", SsdIoMode::kDirect, false),
                                           SsdLog("buffered", SsdIoMode::kBuffered, false),
                                           SsdLog("buffered_async", SsdIoMode::kBuffered, true)),
                         CaseName);
INSTANTIATE_TEST_SUITE_P(PmemLibpmem, TierContract,
                         ::testing::Values(FromFactory("pmem_libpmem", TierKind::kPmemLibpmem, "")), CaseName);
INSTANTIATE_TEST_SUITE_P(PmemMemkind, TierContract,
                         ::testing::Values(FromFactory("pmem_memkind", TierKind::kPmemMemkind, "")), CaseName);

// DRAM alone: no row is left.  The row pool's own limit is the only one that can be reached without the memory.
TEST(DramTier, T2AFailedAllocationTakesNoPosition) {
  DramTier tier(16, false);
  std::vector<Position> some(3);
  EV_ASSERT_OK(tier.Allocate(some));
  const Span<Position> too_many(some.data(), RowPool::kMaxRows);
  test::ExpectError(tier.Allocate(too_many), StatusCode::kOutOfSpace, {"3 are in use"});
  EXPECT_EQ(tier.size(), 3u);
}

TEST(DramTier, RowsAreWrittenWhereTheyStand) {
  DramTier tier(32, /*with_meta=*/true);
  const std::vector<float> row = {1, 2, 3, 4, 5, 6, 7, 8};
  std::vector<Position> position(1);
  EV_ASSERT_OK(tier.Allocate(position));
  std::copy(row.begin(), row.end(), tier.row(position[0]));
  tier.meta(position[0])->frequency = 4;
  std::vector<float> got(8);
  EV_ASSERT_OK(tier.Get(std::vector<Key>{1}, position, {reinterpret_cast<std::byte*>(got.data()), 32}));
  EXPECT_EQ(got, row);
  EXPECT_EQ(tier.bytes(), 32 + sizeof(RowMeta));
}

}  // namespace
}  // namespace ev
