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

}  // namespace ev
