<<<<<<< HEAD
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

#include "ev_tf/tier/tier.h"
#include "ev_tf/tier/tier_factory.h"
#include "tests/support/temp_dir.h"
=======
// What every tier promises (tier/tier.h), over every tier of the engine: a new one is a line at the end.
#include <gtest/gtest.h>

#include <algorithm>
#include <functional>
#include <memory>
#include <set>
#include <string>
#include <unordered_map>
#include <vector>

#include "ev_tf/tier/dram/dram_tier.h"
#include "ev_tf/tier/tier.h"
#include "tests/support/random.h"
#include "tests/support/status_matchers.h"
#include "tests/support/threads.h"
>>>>>>> main

namespace ev {
namespace {

<<<<<<< HEAD
constexpr size_t kRowBytes = 96;

struct TierCase {
  const char* name;
  // Opens an empty tier of rows of `row_bytes` in `dir`.  The relocator outlives it.
  std::function<Status(const std::string& dir, size_t row_bytes, Relocator* relocator, std::unique_ptr<Tier>* out)> open;
  bool on_disk = true;  // a small disk can fill up under it
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
  bool Relocate(Key key, Position from, Position to) override {
    std::lock_guard<std::mutex> lock(mu_);
    const auto it = entries_.find(key);
    if (it == entries_.end() || it->second.position != from) return false;
    it->second.position = to;
    return true;
  }
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

  testing::TempDir dir_;
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
    const testing::TempDir dir;
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
  const testing::SmallDisk disk(size_t{48} << 20);
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

TierCase Dram() {
  TierCase tier = FromFactory("dram", TierKind::kDram, "");
  tier.on_disk = false;
  return tier;
}

INSTANTIATE_TEST_SUITE_P(Dram, TierContract, ::testing::Values(Dram()), CaseName);
INSTANTIATE_TEST_SUITE_P(LevelDb, TierContract,
                         ::testing::Values(FromFactory("leveldb", TierKind::kLevelDb, "/table")), CaseName);
INSTANTIATE_TEST_SUITE_P(PmemLibpmem, TierContract,
                         ::testing::Values(FromFactory("pmem_libpmem", TierKind::kPmemLibpmem, "")), CaseName);
INSTANTIATE_TEST_SUITE_P(PmemMemkind, TierContract,
                         ::testing::Values(FromFactory("pmem_memkind", TierKind::kPmemMemkind, "")), CaseName);

=======
struct TierCase {
  std::string name;
  std::function<std::unique_ptr<Tier>(size_t row_bytes)> open;
};

using Bytes = std::vector<std::byte>;

class TierContract : public testing::TestWithParam<TierCase> {
 protected:
  static constexpr size_t kRowBytes = 48;

  Bytes RandomRows(size_t n, size_t row_bytes = kRowBytes) {
    Bytes rows(n * row_bytes);
    for (std::byte& b : rows) b = static_cast<std::byte>(random_.Bits());
    return rows;
  }
  static std::vector<Key> KeysFrom(Key first, size_t n) {
    std::vector<Key> keys(n);
    for (size_t i = 0; i < n; ++i) keys[i] = first + static_cast<Key>(i);
    return keys;
  }
  // Puts and returns the positions, which must be nobody else's.
  std::vector<Position> Put(const std::vector<Key>& keys, const Bytes& rows) {
    std::vector<Position> positions(keys.size());
    EV_EXPECT_OK(tier_->Put(keys, rows, positions));
    return positions;
  }
  Bytes Get(const std::vector<Key>& keys, const std::vector<Position>& positions) {
    Bytes rows(keys.size() * tier_->row_bytes());
    EV_EXPECT_OK(tier_->Get(keys, positions, rows));
    return rows;
  }

  std::unique_ptr<Tier> tier_ = GetParam().open(kRowBytes);
  test::Random random_{1};
};

TEST_P(TierContract, ANewTierIsEmptyAndHasAName) {
  EXPECT_EQ(tier_->name(), GetParam().name);
  EXPECT_EQ(tier_->row_bytes(), kRowBytes);
  EXPECT_EQ(tier_->size(), 0u);
  EV_EXPECT_OK(tier_->Flush());
}

TEST_P(TierContract, NothingPutAndNothingAskedIsFine) {
  EXPECT_TRUE(Put({}, {}).empty());
  EXPECT_TRUE(Get({}, {}).empty());
  tier_->Remove({}, {});
  EXPECT_EQ(tier_->size(), 0u);
}

TEST_P(TierContract, T1GetReadsWhatWasPutInAnyOrder) {
  const std::vector<Key> keys = KeysFrom(-500, 1000);
  const Bytes rows = RandomRows(keys.size());
  const std::vector<Position> positions = Put(keys, rows);
  EXPECT_EQ(std::set<Position>(positions.begin(), positions.end()).size(), keys.size());
  for (const Position p : positions) ASSERT_LE(p, kMaxPosition);
  EXPECT_TRUE(Get(keys, positions) == rows);
  for (const size_t i : {size_t{999}, size_t{0}, size_t{500}}) {
    const Bytes row = Get({keys[i]}, {positions[i]});
    EXPECT_TRUE(std::equal(row.begin(), row.end(), rows.begin() + static_cast<std::ptrdiff_t>(i * kRowBytes)));
  }
}

TEST_P(TierContract, T1APositionMayBeAskedTwiceInOneCall) {
  const Bytes rows = RandomRows(1);
  const Position p = Put({7}, rows)[0];
  const Bytes twice = Get({7, 7}, {p, p});
  EXPECT_TRUE(std::equal(rows.begin(), rows.end(), twice.begin()));
  EXPECT_TRUE(std::equal(rows.begin(), rows.end(), twice.begin() + kRowBytes));
}

TEST_P(TierContract, T1RowsOfEverySizeComeBack) {
  for (const size_t row_bytes : {size_t{16}, size_t{32}, size_t{4096}, size_t{65536 * 4}}) {
    tier_ = GetParam().open(row_bytes);
    const std::vector<Key> keys = KeysFrom(0, 9);
    const Bytes rows = RandomRows(keys.size(), row_bytes);
    const std::vector<Position> positions = Put(keys, rows);
    EXPECT_TRUE(Get(keys, positions) == rows) << row_bytes;
  }
}

TEST_P(TierContract, T1RemovingSomeLeavesTheOthers) {
  const std::vector<Key> keys = KeysFrom(0, 100);
  const Bytes rows = RandomRows(keys.size());
  const std::vector<Position> positions = Put(keys, rows);
  tier_->Remove(Span<const Key>(keys.data(), 50), Span<const Position>(positions.data(), 50));
  Put(KeysFrom(1000, 200), RandomRows(200));  // may take what is free now
  const std::vector<Key> rest(keys.begin() + 50, keys.end());
  const Bytes got = Get(rest, {positions.begin() + 50, positions.end()});
  EXPECT_TRUE(std::equal(got.begin(), got.end(), rows.begin() + 50 * kRowBytes));
}

TEST_P(TierContract, T3SizeCountsWhatWasPutAndNotRemoved) {
  const std::vector<Key> keys = KeysFrom(0, 10);
  const std::vector<Position> positions = Put(keys, RandomRows(10));
  EXPECT_EQ(tier_->size(), 10u);
  EXPECT_GE(tier_->bytes(), 10 * kRowBytes);
  tier_->Remove(Span<const Key>(keys.data(), 3), Span<const Position>(positions.data(), 3));
  EXPECT_EQ(tier_->size(), 7u);
  Put({1}, RandomRows(1));
  EXPECT_EQ(tier_->size(), 8u);
}

TEST_P(TierContract, ChurnDoesNotGrowIt) {
  const std::vector<Key> keys = KeysFrom(0, 100);
  std::vector<Position> positions = Put(keys, RandomRows(100));
  const size_t bytes = tier_->bytes();
  for (int round = 0; round < 200; ++round) {
    tier_->Remove(keys, positions);
    positions = Put(keys, RandomRows(100));
  }
  EXPECT_EQ(tier_->size(), 100u);
  EXPECT_LE(tier_->bytes(), 4 * bytes);
}

TEST_P(TierContract, EqualsADictionaryUnderRandomOperations) {
  std::unordered_map<Position, std::pair<Key, Bytes>> model;
  for (int step = 0; step < 2000; ++step) {
    if (model.empty() || random_.OneIn(2)) {
      const std::vector<Key> keys = KeysFrom(step, random_.Below(8));
      const Bytes rows = RandomRows(keys.size());
      const std::vector<Position> positions = Put(keys, rows);
      for (size_t i = 0; i < keys.size(); ++i) {
        const auto* row = rows.data() + i * kRowBytes;
        ASSERT_TRUE(model.emplace(positions[i], std::make_pair(keys[i], Bytes(row, row + kRowBytes))).second)
            << "position " << positions[i] << " is taken";
      }
    } else {
      const auto it = std::next(model.begin(), static_cast<std::ptrdiff_t>(random_.Below(std::min<size_t>(model.size(), 20))));
      ASSERT_TRUE(Get({it->second.first}, {it->first}) == it->second.second);
      tier_->Remove(std::vector<Key>{it->second.first}, std::vector<Position>{it->first});
      model.erase(it);
    }
    ASSERT_EQ(tier_->size(), model.size());
  }
}

TEST_P(TierContract, ThreadsAtOnceKeepTheirRows) {
  test::RunTogether(4, [&](int thread) {
    test::Random random(100 + static_cast<uint64_t>(thread));
    for (int round = 0; round < 50; ++round) {
      const std::vector<Key> keys = KeysFrom(thread * 1000, 20);
      const Bytes rows(keys.size() * kRowBytes, static_cast<std::byte>(random.Bits()));
      const std::vector<Position> positions = Put(keys, rows);
      EXPECT_TRUE(Get(keys, positions) == rows);
      EV_EXPECT_OK(tier_->Flush());
      EXPECT_TRUE(Get(keys, positions) == rows);
      tier_->Remove(keys, positions);
    }
  });
  EXPECT_EQ(tier_->size(), 0u);
}

INSTANTIATE_TEST_SUITE_P(Dram, TierContract,
                         testing::Values(TierCase{"dram", [](size_t row_bytes) {
                           return std::make_unique<DramTier>(row_bytes, /*with_meta=*/false);
                         }}),
                         [](const auto& info) { return info.param.name; });

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

>>>>>>> main
}  // namespace
}  // namespace ev
