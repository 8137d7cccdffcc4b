// Histogram: counts of durations in buckets of a power of two, cheap enough to be left on.
//
// Threads: any method, from any thread, at once.  A quantile read while others record is of some moment in between.
#pragma once

#include <array>
#include <atomic>
#include <cstdint>

namespace ev {

class Histogram {
 public:
  void Record(uint64_t value) {
    buckets_[BucketOf(value)].fetch_add(1, std::memory_order_relaxed);
    sum_.fetch_add(value, std::memory_order_relaxed);
  }
  uint64_t count() const {
    uint64_t count = 0;
    for (const auto& bucket : buckets_) count += bucket.load(std::memory_order_relaxed);
    return count;
  }
  uint64_t sum() const { return sum_.load(std::memory_order_relaxed); }
  // An upper bound of the q-quantile, at most twice the value; 0 if nothing was recorded.  Requires: 0 <= q <= 1.
  uint64_t Quantile(double q) const {
    const uint64_t total = count();
    uint64_t seen = 0;
    for (int i = 0; i < kBuckets; ++i) {
      seen += buckets_[i].load(std::memory_order_relaxed);
      if (seen > 0 && static_cast<double>(seen) >= q * static_cast<double>(total)) return UpperBound(i);
    }
    return 0;
  }

 private:
  static constexpr int kBuckets = 65;  // bucket i holds values of i significant bits
  static int BucketOf(uint64_t value) { return value == 0 ? 0 : 64 - __builtin_clzll(value); }
  static uint64_t UpperBound(int bucket) {
    return bucket == 0 ? 0 : bucket == 64 ? UINT64_MAX : (uint64_t{1} << bucket) - 1;
  }

  std::array<std::atomic<uint64_t>, kBuckets> buckets_{};
  std::atomic<uint64_t> sum_{0};
};

}  // namespace ev
