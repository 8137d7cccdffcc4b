// PositionSweep: which positions have a row, and which one the next row gets.
//
// Positions are given out in rising order, those that were given back among them.  At the end of the positions in use it starts
// again at the lowest if a third of them are free, else it goes on behind them.  So rows that are put one after the other are
// neighbours in the order of the positions, whatever their keys are, and overwrite rows that are gone in passing.
//
// A position that was given back still has bytes in the database, those of its last row; they are stale.
//
// Memory: two bits a position, where any is in use.  Not thread-safe.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "ev_tf/base/span.h"
#include "ev_tf/index/location.h"

namespace ev {

class PositionSweep {
 public:
  // Requires: limit >= 1.
  explicit PositionSweep(size_t limit) : limit_(limit) {}

  // The next free position, which is taken from now on.  Requires: taken() < limit.
  Position Take();
  // Takes a position of a row that is there already.  Requires: it is free, and below the limit.
  void TakeThis(Position position);
  // False: it was not taken.
  bool GiveBack(Position position);

  bool IsTaken(Position position) const { return taken_.Has(position); }
  size_t taken() const { return taken_count_; }
  size_t stale() const { return stale_count_; }
  // Every position taken so far is below.
  size_t end() const { return end_; }
  size_t bytes() const { return taken_.bytes() + stale_.bytes(); }

  // Up to n stale positions, rising, which are stale no more: those that the sweep will reach last.
  std::vector<Position> TakeStale(size_t n);
  // Positions of TakeStale() are stale after all.  Requires: they were not taken since.
  void MarkStale(Span<const Position> positions);

 private:
  class Bits {
   public:
    bool Has(size_t i) const {
      return i / kChunk < chunks_.size() && !chunks_[i / kChunk].empty() && (word(i) >> i % 64 & 1) != 0;
    }
    void Set(size_t i);
    // Requires: it is set.
    void Clear(size_t i) { chunks_[i / kChunk][i % kChunk / 64] &= ~(uint64_t{1} << i % 64); }
    // The first bit in [begin, end) that is not set; end: none.
    size_t NextClear(size_t begin, size_t end) const;
    // The last bit in [begin, end) that is set; end: none.
    size_t LastSet(size_t begin, size_t end) const;
    size_t bytes() const { return chunks_in_use_ * kChunk / 8; }

   private:
    static constexpr size_t kChunk = size_t{1} << 16;  // bits; whole words
    uint64_t word(size_t i) const { return chunks_[i / kChunk][i % kChunk / 64]; }

    std::vector<std::vector<uint64_t>> chunks_;  // empty ones have no bit
    size_t chunks_in_use_ = 0;
  };

  const size_t limit_;
  size_t end_ = 0;
  size_t next_ = 0;  // the sweep is here
  size_t taken_count_ = 0;
  size_t stale_count_ = 0;
  Bits taken_;
  Bits stale_;  // no taken position is stale
};

}  // namespace ev
