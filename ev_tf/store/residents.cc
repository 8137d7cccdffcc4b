#include "ev_tf/store/residents.h"

#include <cstdlib>

namespace ev {

Residents::Residents(uint32_t capacity, CacheStrategy strategy) : capacity_(capacity), strategy_(strategy) {
  // Address space for every row there can ever be; memory is taken as positions are first used.
  const size_t bytes = (size_t{kMaxPosition} + 1) * sizeof(uint32_t);
  for (MemoryRegion* region : {&ranks_, &places_, &copies_}) {
    if (!MemoryRegion::Reserve(bytes, kHugePageBytes, region).ok()) std::abort();  // no address space is left
  }
}

void Residents::Settle(Position position, uint32_t place, Location copy, Rank rank) {
  __atomic_store_n(places() + position, place, __ATOMIC_RELAXED);
  this->copy(position) = copy;
  SetRank(position, rank);
  uint32_t end = high_water();
  while (position >= end && !high_water_.end.compare_exchange_weak(end, position + 1)) {
  }
}

}  // namespace ev
