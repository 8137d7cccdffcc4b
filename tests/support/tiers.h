// Tiers for tests of what stacks them.
#pragma once

#include <atomic>
#include <chrono>
#include <memory>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "ev_tf/tier/dram/dram_tier.h"
#include "ev_tf/tier/ssd_log/ssd_log_tier.h"
#include "ev_tf/variable/storage_options.h"
#include "tests/support/temp_dir.h"

namespace ev::test {

// Rows in memory, watched: each position is put, read and removed in that order, and calls are counted.
class WatchedTier final : public Tier {
 public:
  struct Watch {
    std::atomic<int64_t> tiers{0};  // that are open
    std::atomic<int64_t> rows{0};   // given and not removed
    std::atomic<int64_t> most_rows{0};
    std::atomic<int64_t> gets{0}, rows_got{0}, most_rows_got{0};  // calls; rows; rows of one call
    std::atomic<int64_t> puts{0}, rows_put{0};
    std::atomic<bool> fail_puts{false};
    std::atomic<int> delay_us{0};           // of each get and put
    std::atomic<int64_t> puts_to_fail{-1};  // fails the put of this number, counted down; -1: none
  };

  WatchedTier(size_t row_bytes, Watch* watch) : rows_(row_bytes, false), watch_(watch) { ++watch_->tiers; }
  ~WatchedTier() override {
    --watch_->tiers;
    watch_->rows -= static_cast<int64_t>(rows_.size());
  }

  const char* name() const override { return "watched"; }
  size_t row_bytes() const override { return rows_.row_bytes(); }
  Status Get(Span<const Key> keys, Span<const Position> positions, Span<std::byte> rows) override {
    ++watch_->gets;
    std::this_thread::sleep_for(std::chrono::microseconds(watch_->delay_us));
    watch_->rows_got += static_cast<int64_t>(keys.size());
    Raise(watch_->most_rows_got, static_cast<int64_t>(keys.size()));
    return rows_.Get(keys, positions, rows);
  }
  Status Put(Span<const Key> keys, Span<const std::byte> rows, Span<Position> positions) override {
    if (watch_->fail_puts || watch_->puts_to_fail.fetch_sub(1) == 0) return OutOfSpace("watched tier: full");
    ++watch_->puts;
    std::this_thread::sleep_for(std::chrono::microseconds(watch_->delay_us));
    watch_->rows_put += static_cast<int64_t>(keys.size());
    EV_RETURN_IF_ERROR(rows_.Put(keys, rows, positions));
    Raise(watch_->most_rows, watch_->rows += static_cast<int64_t>(keys.size()));
    return OkStatus();
  }
  void Remove(Span<const Key> keys, Span<const Position> positions) override {
    watch_->rows -= static_cast<int64_t>(keys.size());
    rows_.Remove(keys, positions);
  }
  Status Flush() override { return OkStatus(); }
  size_t size() const override { return rows_.size(); }
  size_t bytes() const override { return rows_.bytes(); }

 private:
  static void Raise(std::atomic<int64_t>& most, int64_t value) {
    for (int64_t now = most; now < value && !most.compare_exchange_weak(now, value);) {
    }
  }

  DramTier rows_;
  Watch* const watch_;
};

// `watch` outlives the tiers.
inline StorageOptions::Opener OpenWatched(WatchedTier::Watch* watch) {
  return [watch](size_t record_bytes, Relocator*, std::shared_ptr<Tier>* out) {
    *out = std::make_shared<WatchedTier>(record_bytes, watch);
    return OkStatus();
  };
}

inline StorageOptions::Opener OpenDram() {
  return [](size_t record_bytes, Relocator*, std::shared_ptr<Tier>* out) {
    *out = std::make_shared<DramTier>(record_bytes, false);
    return OkStatus();
  };
}

// A log of segments so small that it always has something to compact, in a directory of its own.
inline StorageOptions::Opener OpenSmallLog(bool async_compaction) {
  return [async_compaction](size_t record_bytes, Relocator* relocator, std::shared_ptr<Tier>* out) {
    const auto directory = std::make_shared<TempDir>();
    SsdLogOptions options;
    options.path = directory->path();
    options.row_bytes = record_bytes;
    options.segment_bytes = record_bytes <= 256 ? 20 << 10 : 80 << 10;  // wide records stand in long groups
    options.io_mode = SsdIoMode::kBuffered;
    options.durable = false;
    options.delete_on_close = true;
    options.async_compaction = async_compaction;
    options.relocator = relocator;
    std::unique_ptr<SsdLogTier> tier;
    EV_RETURN_IF_ERROR(SsdLogTier::Open(options, &tier));
    *out = std::shared_ptr<Tier>(tier.release(), [directory](Tier* owned) { delete owned; });
    return OkStatus();
  };
}

}  // namespace ev::test
