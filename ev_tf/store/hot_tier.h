// HotTier: the top tier of a store, rows in DRAM, and what is known of each of them when there are tiers below it:
//
//   rank    which row leaves first (cache/rank.h)
//   place   32 bits of the key's hash: with the row's location they find the key again (HashIndex::FindKeyAt)
//   copy    where an identical copy of the row lies in a lower tier; kNoLocation: there is none, the row is dirty;
//           kLeaving: a copy is being written
//
// 12 bytes a row; none of it in a store of one tier.
//
// Threads:     rank and place: read by anybody at any time.  place and copy are written, and copy is read, under the lock of
//              the stripe of the key whose row it is.
#pragma once

#include <cstdint>

#include "ev_tf/alloc/memory.h"
#include "ev_tf/cache/rank.h"
#include "ev_tf/index/location.h"
#include "ev_tf/tier/dram/dram_tier.h"

namespace ev {

inline constexpr Location kLeaving = kNoLocation - 1;

class HotTier {
 public:
  // capacity: rows it should hold, 0: as many as there are, with no tier below.
  HotTier(size_t row_bytes, bool with_meta, uint32_t capacity, CacheStrategy strategy);

  DramTier& rows() { return rows_; }
  const DramTier& rows() const { return rows_; }
  bool bounded() const { return capacity_ != 0; }
  uint32_t capacity() const { return capacity_; }
  CacheStrategy strategy() const { return strategy_; }

  // Requires of all below: bounded().
  Rank* ranks() const { return reinterpret_cast<Rank*>(ranks_.data()); }
  uint32_t place(Position position) const { return __atomic_load_n(places() + position, __ATOMIC_RELAXED); }
  void SetPlace(Position position, uint32_t place) const {
    __atomic_store_n(places() + position, place, __ATOMIC_RELAXED);
  }
  Location& copy(Position position) const { return reinterpret_cast<Location*>(copies_.data())[position]; }
  void Touch(Position position, uint32_t tick) const {
    Rank* rank = ranks() + position;
    const Rank old = __atomic_load_n(rank, __ATOMIC_RELAXED);
    __atomic_store_n(rank, TouchedRank(strategy_, old, tick), __ATOMIC_RELAXED);
  }
  void SetRank(Position position, Rank rank) const { __atomic_store_n(ranks() + position, rank, __ATOMIC_RELAXED); }
  Rank rank(Position position) const { return __atomic_load_n(ranks() + position, __ATOMIC_RELAXED); }
  // Bytes of rank, place and copy that rows have touched.
  size_t state_bytes() const { return bounded() ? rows_.pool().high_water() * size_t{12} : 0; }

 private:
  uint32_t* places() const { return reinterpret_cast<uint32_t*>(places_.data()); }

  DramTier rows_;
  const uint32_t capacity_;
  const CacheStrategy strategy_;
  MemoryRegion ranks_;
  MemoryRegion places_;
  MemoryRegion copies_;
};

}  // namespace ev
