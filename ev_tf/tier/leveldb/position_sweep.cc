#include "ev_tf/tier/leveldb/position_sweep.h"

#include <algorithm>

namespace ev {

size_t PositionSweep::Next(const Bits& bits, size_t begin, size_t end, bool value) {
  while (begin < end) {
    const uint64_t word = (value ? bits[begin / 64] : ~bits[begin / 64]) >> begin % 64;
    if (word != 0) return std::min(begin + static_cast<size_t>(__builtin_ctzll(word)), end);
    begin += 64 - begin % 64;
  }
  return end;
}

void PositionSweep::GrowTo(size_t end) {
  end_ = std::max(end_, end);
  taken_.resize((end_ + 63) / 64);
  stale_.resize(taken_.size());
}

Position PositionSweep::Take() {
  next_ = Next(taken_, next_, end_, false);
  if (next_ == end_) {
    if (end_ == limit_ || (end_ - taken_count_) * kFreeShare >= std::max(end_, size_t{1})) {
      next_ = Next(taken_, 0, end_, false);
    } else {
      GrowTo(end_ + 1);
    }
  }
  const auto position = static_cast<Position>(next_++);
  TakeThis(position);
  return position;
}

void PositionSweep::TakeThis(Position position) {
  GrowTo(size_t{position} + 1);
  Set(&taken_, position);
  ++taken_count_;
  if (!Has(stale_, position)) return;
  Clear(&stale_, position);
  --stale_count_;
}

void PositionSweep::GiveBack(Position position) {
  Clear(&taken_, position);
  --taken_count_;
  MarkStale({&position, 1});
}

std::vector<Position> PositionSweep::TakeStale(size_t n) {
  std::vector<Position> positions;
  for (n = std::min(n, stale_count_); n > 0; --n, --stale_count_) {
    next_stale_ = Next(stale_, next_stale_, end_, true);
    if (next_stale_ == end_) next_stale_ = Next(stale_, 0, end_, true);
    Clear(&stale_, next_stale_);
    positions.push_back(static_cast<Position>(next_stale_++));
  }
  return positions;
}

void PositionSweep::MarkStale(Span<const Position> positions) {
  for (const Position position : positions) {
    if (IsTaken(position) || Has(stale_, position)) continue;
    Set(&stale_, position);
    ++stale_count_;
  }
}

}  // namespace ev
