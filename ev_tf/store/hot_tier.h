// HotTier: the top tier of a store, rows in DRAM that are read and written where they are, and what is known of each of them
// when there are tiers below it.
//
// The one class of a store that knows what kind of memory the rows on top are in; see store.h.
#pragma once

#include <cstddef>
#include <memory>

#include "ev_tf/store/residents.h"
#include "ev_tf/tier/dram/dram_tier.h"

namespace ev {

inline constexpr int kHotTier = 0;

class HotTier {
 public:
  // capacity: rows it should hold, 0: as many as there are, with no tier below.
  HotTier(size_t row_bytes, bool with_meta, uint32_t capacity, CacheStrategy strategy)
      : rows_(row_bytes, with_meta),
        residents_(capacity == 0 ? nullptr : std::make_unique<Residents>(capacity, strategy)) {}

  DramTier& rows() { return rows_; }
  const DramTier& rows() const { return rows_; }
  // Null without a tier below.
  Residents* residents() const { return residents_.get(); }

  // The record of the row at `position` (cold_rows.h), and back.
  void Pack(Position position, std::byte* record) const;
  void Unpack(const std::byte* record, Position position) const;

 private:
  DramTier rows_;
  const std::unique_ptr<Residents> residents_;
};

}  // namespace ev
