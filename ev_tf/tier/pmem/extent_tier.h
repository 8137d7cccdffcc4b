// ExtentTier: what the PMEM tiers share: rows at fixed addresses, in memory that is taken in extents.
//
// Positions are rows counted through; chunks of a power of two of rows (1 MiB and more) are found by one table.  An extent
// is one chunk for a small tier and an eighth of what is there for a big one: little is taken in vain, and extents stay few.
//
// Threads:     any method, from any thread, at once.  The contents of a row belong to whoever holds its position.
// Readers:     an address stays good as long as the tier.  A Get of a removed position reads what stands there.
#pragma once

#include <atomic>
#include <cstdint>
#include <mutex>
#include <string>
#include <vector>

#include "ev_tf/alloc/memory.h"
#include "ev_tf/tier/tier.h"

namespace ev {

class ExtentTier : public Tier {
 public:
  size_t row_bytes() const override { return row_bytes_; }
  Status Get(Span<const Key> keys, Span<const Position> positions, Span<std::byte> rows) override;
  Status Put(Span<const Key> keys, Span<const std::byte> rows, Span<Position> positions) override;
  void Remove(Span<const Key> keys, Span<const Position> positions) override;
  size_t size() const override;
  size_t bytes() const override;  // of all extents

  // Positions of rows that the caller writes in place.  OutOfSpace: then none is taken.
  Status Allocate(Span<Position> positions);
  // Stays where it is as long as the tier; rows are kRowPartAlignment aligned.
  float* row(Position position) const {
    return reinterpret_cast<float*>(chunks()[position >> chunk_shift_].load(std::memory_order_relaxed) +
                                    (position & chunk_mask_) * stride_);
  }

 protected:
  struct Extent {
    char* address = nullptr;
    size_t bytes = 0;
  };

  // Requires: row_bytes > 0; CheckRowBytes says so.
  explicit ExtentTier(size_t row_bytes);
  static Status CheckRowBytes(const std::string& where, size_t row_bytes);

  // Before the first use.  OutOfSpace: no address space for the table of chunks.
  Status ReserveTable();
  // Memory of `bytes` bytes, page aligned, that is really there: writing to it does not fail.  Called by one thread at a
  // time.
  virtual Status AddExtent(size_t bytes, char** address) = 0;
  // The extents, each with the bytes of it that rows have been put to.
  std::vector<Extent> UsedExtents() const;
  // All of them, for the destructor of a member, which gives them back.
  const std::vector<Extent>& extents() const { return extents_; }

 private:
  std::atomic<char*>* chunks() const { return reinterpret_cast<std::atomic<char*>*>(table_.data()); }
  size_t chunk_bytes() const { return stride_ << chunk_shift_; }
  // Room for `rows` more rows.  Requires: mu_ is held.
  Status Grow(size_t rows);
  Status AddChunks(size_t count);

  // Constant after ReserveTable.
  const size_t row_bytes_;
  const size_t stride_;  // of rows; row_bytes_ rounded up to kRowPartAlignment
  int chunk_shift_ = 0;
  uint32_t chunk_mask_ = 0;
  MemoryRegion table_;  // of std::atomic<char*>; zero until a chunk is there.  Relaxed: positions carry the order

  mutable std::mutex mu_;
  std::vector<Extent> extents_;  // guarded by mu_
  std::vector<Position> free_;   // guarded by mu_
  size_t chunk_count_ = 0;       // guarded by mu_
  uint64_t high_water_ = 0;      // guarded by mu_; every position given so far is below
};

}  // namespace ev
