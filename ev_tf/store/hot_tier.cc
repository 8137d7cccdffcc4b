#include "ev_tf/store/hot_tier.h"

#include <cstdlib>

namespace ev {

HotTier::HotTier(size_t row_bytes, bool with_meta, uint32_t capacity, CacheStrategy strategy)
    : rows_(row_bytes, with_meta), capacity_(capacity), strategy_(strategy) {
  if (capacity == 0) return;
  // Address space for every row there can ever be; memory is taken as positions are first used.
  const size_t bytes = size_t{RowPool::kMaxRows} * sizeof(uint32_t);
  for (MemoryRegion* region : {&ranks_, &places_, &copies_}) {
    if (!MemoryRegion::Reserve(bytes, kHugePageBytes, region).ok()) std::abort();  // no address space is left
  }
}

}  // namespace ev
