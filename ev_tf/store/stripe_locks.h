// StripeLocks: who may write the rows of a stripe (batch/partition.h), or move them between tiers.
#pragma once

#include <array>
#include <mutex>

#include "ev_tf/batch/partition.h"

namespace ev {

class StripeLocks {
 public:
  std::mutex& of(int stripe) { return locks_[static_cast<size_t>(stripe)].mu; }

 private:
  struct alignas(64) Padded {
    std::mutex mu;
  };
  std::array<Padded, kStripes> locks_;
};

// Holds the locks of those of the stripes [first, end) that have keys in `partition`, which outlives it.  They are taken in
// ascending order, so whoever holds several and whoever holds one never wait for one another in a circle.
class StripesGuard {
 public:
  StripesGuard(StripeLocks& locks, const Partition& partition, int first, int end)
      : locks_(locks), partition_(partition), first_(first), end_(end) {
    for (int s = first_; s < end_; ++s) {
      if (!partition_.stripe(s).empty()) locks_.of(s).lock();
    }
  }
  ~StripesGuard() {
    for (int s = first_; s < end_; ++s) {
      if (!partition_.stripe(s).empty()) locks_.of(s).unlock();
    }
  }
  StripesGuard(const StripesGuard&) = delete;
  StripesGuard& operator=(const StripesGuard&) = delete;

 private:
  StripeLocks& locks_;
  const Partition& partition_;
  const int first_;
  const int end_;
};

}  // namespace ev
