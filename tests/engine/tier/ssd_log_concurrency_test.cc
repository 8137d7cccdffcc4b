// Puts, lookups, removals and compaction at once: never a wrong row.
#include <gtest/gtest.h>

#include <array>
#include <atomic>
#include <chrono>
#include <random>
#include <thread>

#include "ev_tf/tier/ssd_log/segment_file.h"
#include "tests/support/ssd_log_model.h"
#include "tests/support/temp_dir.h"

namespace ev {
namespace {

using testing::FillRow;
using testing::MapIndex;
using testing::VersionOf;

constexpr Key kKeys = 600;
constexpr size_t kRowBytes = 128;
constexpr int kWriters = 2;
constexpr int kReaders = 2;

class SsdLogConcurrency : public ::testing::TestWithParam<std::tuple<SsdIoMode, bool, bool>> {
 protected:
  void SetUp() override {
    SsdLogOptions options;
    options.path = dir_ / "log";
    options.row_bytes = kRowBytes;
    options.segment_bytes = 20 << 10;
    options.io_mode = std::get<0>(GetParam());
    options.async_compaction = std::get<1>(GetParam());
    options.relocator = &index_;
    options.durable = std::get<2>(GetParam());
    const Status status = SsdLogTier::Open(options, &tier_);
    ASSERT_TRUE(status.ok()) << status.ToString();
    for (auto& version : newest_) version = 0;
  }

  // Each writer owns the keys of one remainder.
  void Write(int writer, int rounds) {
    std::mt19937_64 random(static_cast<uint64_t>(writer));
    for (int round = 1; round <= rounds; ++round) {
      std::vector<Key> keys;
      for (Key k = writer; k < kKeys; k += kWriters) {
        if (random() % 12 == 0) keys.push_back(k);
      }
      const auto version = static_cast<uint64_t>(round);
      std::vector<std::byte> rows(keys.size() * kRowBytes);
      std::vector<Position> positions(keys.size());
      for (size_t i = 0; i < keys.size(); ++i) FillRow(keys[i], version, {rows.data() + i * kRowBytes, kRowBytes});
      const Status status = tier_->Put(keys, rows, positions);
      ASSERT_TRUE(status.ok()) << status.ToString();
      for (size_t i = 0; i < keys.size(); ++i) {
        Position old = 0;
        if (index_.Set(keys[i], positions[i], &old)) tier_->Remove({&keys[i], 1}, {&old, 1});
        newest_[keys[i]].store(version);
        if (random() % 16 == 0 && index_.Erase(keys[i], &old)) tier_->Remove({&keys[i], 1}, {&old, 1});
      }
      if (round % 32 == 0) {
        ASSERT_TRUE(tier_->Flush().ok());
      }
    }
  }

  void Read(int reader) {
    std::mt19937_64 random(100 + static_cast<uint64_t>(reader));
    std::vector<std::byte> rows(kKeys * kRowBytes);
    while (!done_.load()) {
      std::vector<Key> keys;
      std::vector<Position> positions;
      std::vector<uint64_t> at_least;
      for (Key k = 0; k < kKeys; ++k) {
        if (random() % 8 != 0) continue;
        const uint64_t seen = newest_[k].load();
        Position position = 0;
        if (!index_.Find(k, &position)) continue;
        keys.push_back(k);
        positions.push_back(position);
        at_least.push_back(seen);
      }
      const Status status = tier_->Get(keys, positions, {rows.data(), keys.size() * kRowBytes});
      if (status.code() == StatusCode::kNotFound) continue;
      ASSERT_TRUE(status.ok()) << status.ToString();
      batches_.fetch_add(1);
      for (size_t i = 0; i < keys.size(); ++i) {
        bool whole = false;
        const uint64_t version = VersionOf(keys[i], {rows.data() + i * kRowBytes, kRowBytes}, &whole);
        ASSERT_TRUE(whole) << "key " << keys[i];
        ASSERT_GE(version, at_least[i]) << "key " << keys[i];
      }
    }
  }

  // What saves do: files are closed early, and what is sealed then is whole, whatever goes on.
  void Save() {
    while (!done_.load()) {
      const Status closed = tier_->CloseSegments();
      ASSERT_TRUE(closed.ok()) << closed.ToString();
      std::vector<SegmentedTier::Sealed> sealed;
      std::unique_ptr<SegmentedTier::Hold> hold;
      const Status held = tier_->HoldSealed(&sealed, &hold);
      ASSERT_TRUE(held.ok()) << held.ToString();
      for (const SegmentedTier::Sealed& one : sealed) {
        const SlotBits none((one.file.slots + 63) / 64);
        const Status status = ssd_log::ReadSegment(&Env::Default(), one.file, none,
                                                   [](uint32_t, Key, const std::byte*) { return OkStatus(); });
        ASSERT_TRUE(status.ok()) << status.ToString();
      }
      saves_.fetch_add(1);
      hold.reset();
      std::this_thread::sleep_for(std::chrono::milliseconds(5));
    }
  }

  test::TempDir dir_;
  MapIndex index_;
  std::unique_ptr<SsdLogTier> tier_;
  std::array<std::atomic<uint64_t>, kKeys> newest_;
  std::atomic<bool> done_{false};
  std::atomic<int> batches_{0};
  std::atomic<int> saves_{0};
};

TEST_P(SsdLogConcurrency, NeverAWrongRow) {
  std::vector<std::thread> writers;
  std::vector<std::thread> readers;
  for (int i = 0; i < kReaders; ++i) readers.emplace_back([this, i] { Read(i); });
  const int rounds = std::get<2>(GetParam()) ? 100 : 300;  // a durable one waits for the device
  for (int i = 0; i < kWriters; ++i) writers.emplace_back([this, i, rounds] { Write(i, rounds); });
  readers.emplace_back([this] { Save(); });
  for (std::thread& t : writers) t.join();
  while ((batches_ < 3 || saves_ < 3) && !HasFatalFailure()) std::this_thread::yield();
  done_ = true;
  for (std::thread& t : readers) t.join();
  EXPECT_EQ(tier_->size(), index_.size());
  EXPECT_GT(tier_->metrics().rows_copied, 0U);
  tier_.reset();  // while the background thread may be at a step
}

INSTANTIATE_TEST_SUITE_P(All, SsdLogConcurrency,
                         ::testing::Combine(::testing::Values(SsdIoMode::kDirect, SsdIoMode::kBuffered),
                                            ::testing::Bool(), ::testing::Bool()));

}  // namespace
}  // namespace ev
