// Where a variable keeps its rows: DRAM, or DRAM over one tier that takes what does not fit.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>

#include "ev_tf/base/status.h"
#include "ev_tf/cache/rank.h"
#include "ev_tf/tier/tier.h"

namespace ev {

struct StorageOptions {
  // Opens an empty tier below DRAM for records of a size; null: DRAM holds every row.  `relocator` outlives the tier.
  std::function<Status(size_t record_bytes, Relocator* relocator, std::shared_ptr<Tier>* out)> open_lower;
  // Bytes of rows, value and slots padded, that DRAM holds: floor(dram_bytes / row bytes) rows, at least one.
  int64_t dram_bytes = int64_t{1} << 30;
  CacheStrategy cache_strategy = CacheStrategy::kLfu;
};

}  // namespace ev
