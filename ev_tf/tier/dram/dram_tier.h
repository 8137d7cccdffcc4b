// DramTier: rows in main memory.  Besides the contract of a tier it gives out addresses, so that rows are read and updated
// where they are.
#pragma once

#include "ev_tf/alloc/row_pool.h"
#include "ev_tf/row/row_layout.h"
#include "ev_tf/tier/tier.h"

namespace ev {

class DramTier final : public Tier {
 public:
  DramTier(size_t row_bytes, bool with_meta) : pool_(row_bytes, with_meta) {}

  const char* name() const override { return "dram"; }
  size_t row_bytes() const override { return pool_.row_bytes(); }
  Status Get(Span<const Key> keys, Span<const Position> positions, Span<std::byte> rows) override;
  Status Put(Span<const Key> keys, Span<const std::byte> rows, Span<Position> positions) override;
  void Remove(Span<const Key> keys, Span<const Position> positions) override;
  Status Flush() override { return OkStatus(); }
  size_t size() const override { return pool_.used_rows(); }
  size_t bytes() const override { return pool_.bytes() + pool_.meta_bytes(); }

  // Positions of rows that the caller writes in place.  OutOfSpace: then none is taken.
  Status Allocate(Span<Position> positions) { return pool_.Allocate(positions.size(), positions.data()); }
  // Stays where it is until Remove.
  float* row(Position position) const { return pool_.row(position); }
  // Requires: with_meta.
  RowMeta* meta(Position position) const { return pool_.meta(position); }
  const RowPool& pool() const { return pool_; }

 private:
  RowPool pool_;
};

}  // namespace ev
