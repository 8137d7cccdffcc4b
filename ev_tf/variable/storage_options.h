// Where a variable keeps its rows: DRAM, or DRAM over tiers that take what does not fit.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <vector>

#include "ev_tf/base/status.h"
#include "ev_tf/cache/rank.h"
#include "ev_tf/tier/tier.h"

namespace ev {

struct StorageOptions {
  // Opens an empty tier for records of a size.  `relocator` outlives the tier; null: the tier moves no row by itself.
  using Opener = std::function<Status(size_t record_bytes, Relocator* relocator, std::shared_ptr<Tier>* out)>;
  // A tier between DRAM and the last one: floor(bytes / row bytes) rows, at least one.
  struct Between {
    Opener open;
    int64_t bytes = int64_t{1} << 30;
  };

  // The last tier, which takes what does not fit above; null: DRAM holds every row.
  Opener open_lower;
  std::vector<Between> between;  // from fast to slow, at most two
  // Bytes of rows, value and slots padded, that DRAM holds: floor(dram_bytes / row bytes) rows, at least one.
  int64_t dram_bytes = int64_t{1} << 30;
  CacheStrategy cache_strategy = CacheStrategy::kLfu;
};

}  // namespace ev
