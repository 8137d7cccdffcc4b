// RowPool: rows of one size in huge pages, addressed by position, with their frequency and version beside them.
//
// Rows stand in chunks of a power of two of rows, at least 32 MiB of address space each; memory is taken as rows are first
// used.  A position is good until it is freed; its address never changes.
//
// Threads:     any method, from any thread, at once.  The contents of a row belong to whoever holds its position.
// Invariants:  P1  a position that Allocate gave is given to nobody else until Free has it.
#pragma once

#include <atomic>
#include <cstddef>
#include <mutex>
#include <vector>

#include "ev_tf/alloc/memory.h"
#include "ev_tf/base/span.h"
#include "ev_tf/base/status.h"
#include "ev_tf/row/row_layout.h"

namespace ev {

class RowPool {
 public:
  // Positions below this may be given: 2^30 - 1 rows.
  static constexpr uint32_t kMaxRows = (uint32_t{1} << 30) - 1;

  // Requires: row_bytes is a multiple of kRowPartAlignment, at least one.
  RowPool(size_t row_bytes, bool with_meta);

  // positions[0, n) = rows of unspecified contents; their meta, if kept, is RowMeta{}.
  // OutOfSpace: kMaxRows rows are in use, or no address space is left; then none is taken.
  Status Allocate(size_t n, uint32_t* positions);
  void Free(Span<const uint32_t> positions);

  float* row(uint32_t position) const {
    return reinterpret_cast<float*>(chunk(position).load(std::memory_order_relaxed) +
                                    (position & chunk_mask_) * row_bytes_);
  }
  // Requires: with_meta.
  RowMeta* meta(uint32_t position) const {
    return meta_table()[position >> chunk_shift_].load(std::memory_order_relaxed) + (position & chunk_mask_);
  }
  bool with_meta() const { return with_meta_; }
  size_t row_bytes() const { return row_bytes_; }

  // Every position given so far is below this.
  uint32_t high_water() const { return high_water_.load(std::memory_order_acquire); }
  size_t used_rows() const;
  // Memory that rows have touched, free rows included.
  size_t bytes() const { return high_water() * row_bytes_; }
  size_t meta_bytes() const { return with_meta_ ? high_water() * sizeof(RowMeta) : 0; }

 private:
  std::atomic<char*>& chunk(uint32_t position) const {
    return reinterpret_cast<std::atomic<char*>*>(chunk_table_.data())[position >> chunk_shift_];
  }
  std::atomic<RowMeta*>* meta_table() const { return reinterpret_cast<std::atomic<RowMeta*>*>(meta_table_.data()); }
  Status AddChunk();  // requires: mu_ is held

  // Constant after the constructor.
  const size_t row_bytes_;
  const bool with_meta_;
  int chunk_shift_ = 0;
  uint32_t chunk_mask_ = 0;
  MemoryRegion chunk_table_;  // of std::atomic<char*>; zero until a chunk is added
  MemoryRegion meta_table_;

  mutable std::mutex mu_;
  std::vector<MemoryRegion> chunks_;       // guarded by mu_
  std::vector<MemoryRegion> meta_chunks_;  // guarded by mu_
  std::vector<uint32_t> free_;             // guarded by mu_
  std::atomic<uint32_t> high_water_{0};    // written under mu_
};

}  // namespace ev
