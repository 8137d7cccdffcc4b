// Residents: what a store knows of each row of a bounded tier, by position:
//
//   rank    which row leaves first (cache/rank.h)
//   place   32 bits of the key's hash: with the row's location they find the key again (HashIndex::FindKeyAt)
//   copy    where an identical copy of the row lies in a tier further down; kNoLocation: there is none; kLeaving: one is being
//           written
//
// 12 bytes a row.  A position that is itself the copy of a row further up has kCopyRank: it goes first.
//
// Threads:     read by anybody at any time.  place and copy are written under the lock of the stripe of the key whose row it
//              is; what was read of them without that lock is a guess.
#pragma once

#include <atomic>
#include <cstdint>

#include "ev_tf/alloc/memory.h"
#include "ev_tf/base/cpu.h"
#include "ev_tf/cache/rank.h"
#include "ev_tf/index/location.h"

namespace ev {

inline constexpr Location kLeaving = MakeLocation(0, kMaxPosition + 1);  // which no row has

inline constexpr Rank kCopyRank = 1;

// A Location that may be read while it is written.
class RelaxedLocation {
 public:
  operator Location() const { return __atomic_load_n(&location_, __ATOMIC_RELAXED); }  // NOLINT: it reads as one
  RelaxedLocation& operator=(Location location) {
    __atomic_store_n(&location_, location, __ATOMIC_RELAXED);
    return *this;
  }

 private:
  Location location_;
};

class Residents {
 public:
  // capacity: rows that the tier should hold, at least one.
  Residents(uint32_t capacity, CacheStrategy strategy);

  uint32_t capacity() const { return capacity_; }
  CacheStrategy strategy() const { return strategy_; }

  Rank* ranks() const { return reinterpret_cast<Rank*>(ranks_.data()); }
  Rank rank(Position position) const { return __atomic_load_n(ranks() + position, __ATOMIC_RELAXED); }
  void SetRank(Position position, Rank rank) const { __atomic_store_n(ranks() + position, rank, __ATOMIC_RELAXED); }
  void Touch(Position position, uint32_t tick) const {
    SetRank(position, TouchedRank(strategy_, rank(position), tick));
  }
  uint32_t place(Position position) const { return __atomic_load_n(places() + position, __ATOMIC_RELAXED); }
  RelaxedLocation& copy(Position position) const {
    return reinterpret_cast<RelaxedLocation*>(copies_.data())[position];
  }

  // Asks for what is known of the row at `position`.
  void Prefetch(Position position) const {
    PrefetchForWrite(ranks() + position);
    PrefetchForWrite(places() + position);
    PrefetchForWrite(&copy(position));
  }

  // The row at `position` is new here.
  void Settle(Position position, uint32_t place, Location copy, Rank rank);
  // Every position settled so far is below.
  uint32_t high_water() const { return high_water_.end.load(std::memory_order_relaxed); }
  // Memory that rows have touched.
  size_t bytes() const { return high_water() * size_t{12}; }

 private:
  uint32_t* places() const { return reinterpret_cast<uint32_t*>(places_.data()); }

  // Constant.
  const uint32_t capacity_;
  const CacheStrategy strategy_;
  MemoryRegion ranks_;
  MemoryRegion places_;
  MemoryRegion copies_;
  // Written as the tier grows: not on the line of what every touch reads.
  struct alignas(64) HighWater {
    std::atomic<uint32_t> end{0};
  };
  HighWater high_water_;
};

}  // namespace ev
