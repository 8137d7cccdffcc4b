// PositionSweep: which positions have a row, and which one the next row gets.
//
// Positions are given out in rising order, those that were given back among them.  At the end of the positions in use it starts
// again at the lowest if a third of them are free, else it goes on behind them.  So rows that are put one after the other are
// neighbours in the order of the positions, whatever their keys are, and overwrite rows that are gone in passing.
//
// A position that was given back still has bytes in the database, those of its last row; they are stale.
//
// Memory: two bits a position.  Not thread-safe.
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
  // Requires: it is taken.
  void GiveBack(Position position);

  bool IsTaken(Position position) const { return Has(taken_, position); }
  size_t taken() const { return taken_count_; }
  size_t stale() const { return stale_count_; }
  // Every position taken so far is below.
  size_t end() const { return end_; }
  size_t bytes() const { return (taken_.capacity() + stale_.capacity()) * sizeof(uint64_t); }

  // Up to n stale positions, rising from where the last call ended, and at the end from the lowest: they are stale no more.
  std::vector<Position> TakeStale(size_t n);
  // Free positions have bytes after all.
  void MarkStale(Span<const Position> positions);

 private:
  using Bits = std::vector<uint64_t>;
  static constexpr size_t kFreeShare = 3;  // of the positions, to start again

  static bool Has(const Bits& bits, size_t i) { return i / 64 < bits.size() && (bits[i / 64] >> i % 64 & 1) != 0; }
  static void Set(Bits* bits, size_t i) { (*bits)[i / 64] |= uint64_t{1} << i % 64; }
  static void Clear(Bits* bits, size_t i) { (*bits)[i / 64] &= ~(uint64_t{1} << i % 64); }
  // The first position in [begin, end) whose bit is `value`; end: none.
  static size_t Next(const Bits& bits, size_t begin, size_t end, bool value);
  void GrowTo(size_t end);

  const size_t limit_;
  size_t end_ = 0;
  size_t next_ = 0;        // the sweep is here
  size_t next_stale_ = 0;  // TakeStale is here
  size_t taken_count_ = 0;
  size_t stale_count_ = 0;
  Bits taken_;
  Bits stale_;  // no taken position is stale
};

}  // namespace ev
