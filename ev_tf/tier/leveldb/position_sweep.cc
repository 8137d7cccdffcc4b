#include "ev_tf/tier/leveldb/position_sweep.h"

#include <algorithm>
#include <utility>

namespace ev {
namespace {

// To start again, one of so many positions in use must be free.  With more of them free LevelDB merges less, and has larger files;
// docs/adr/0017-leveldb-in-the-order-of-positions.md has the figures.
constexpr size_t kOneFreeOf = 3;

}  // namespace

void PositionSweep::Bits::Set(size_t i) {
  if (i / kChunk >= chunks_.size()) chunks_.resize(i / kChunk + 1);
  std::vector<uint64_t>& chunk = chunks_[i / kChunk];
  if (chunk.empty()) {
    chunk.resize(kChunk / 64);
    ++chunks_in_use_;
  }
  chunk[i % kChunk / 64] |= uint64_t{1} << i % 64;
}

size_t PositionSweep::Bits::NextClear(size_t begin, size_t end) const {
  while (begin < end) {
    if (begin / kChunk >= chunks_.size() || chunks_[begin / kChunk].empty()) return begin;
    const uint64_t clear = ~word(begin) >> begin % 64;
    if (clear != 0) return std::min(begin + static_cast<size_t>(__builtin_ctzll(clear)), end);
    begin += 64 - begin % 64;
  }
  return end;
}

size_t PositionSweep::Bits::LastSet(size_t begin, size_t end) const {
  for (size_t after = std::min(end, chunks_.size() * kChunk); after > begin;) {
    const size_t i = after - 1;
    const uint64_t set = chunks_[i / kChunk].empty() ? 0 : word(i) << (63 - i % 64);
    if (set != 0) {
      const auto below = static_cast<size_t>(__builtin_clzll(set));
      return i < begin + below ? end : i - below;
    }
    after = chunks_[i / kChunk].empty() ? i - i % kChunk : i - i % 64;
  }
  return end;
}

Position PositionSweep::Take() {
  next_ = taken_.NextClear(next_, end_);
  if (next_ == end_ && (end_ == limit_ || (end_ > 0 && (end_ - taken_count_) * kOneFreeOf >= end_))) {
    next_ = taken_.NextClear(0, end_);
  }
  const auto position = static_cast<Position>(next_++);
  TakeThis(position);
  return position;
}

void PositionSweep::TakeThis(Position position) {
  end_ = std::max(end_, size_t{position} + 1);
  taken_.Set(position);
  ++taken_count_;
  if (!stale_.Has(position)) return;
  stale_.Clear(position);
  --stale_count_;
}

bool PositionSweep::GiveBack(Position position) {
  if (!IsTaken(position)) return false;
  taken_.Clear(position);
  --taken_count_;
  MarkStale({&position, 1});
  return true;
}

std::vector<Position> PositionSweep::TakeStale(size_t n) {
  std::vector<Position> positions;
  n = std::min(n, stale_count_);
  // Behind the sweep first, then from the end down to it.
  for (const auto& [begin, end] : {std::pair<size_t, size_t>(0, next_), {next_, end_}}) {
    for (size_t at = end; positions.size() < n;) {
      const size_t found = stale_.LastSet(begin, at);
      if (found == at) break;
      stale_.Clear(found);
      positions.push_back(static_cast<Position>(found));
      at = found;
    }
  }
  stale_count_ -= positions.size();
  std::sort(positions.begin(), positions.end());
  return positions;
}

void PositionSweep::MarkStale(Span<const Position> positions) {
  for (const Position position : positions) stale_.Set(position);
  stale_count_ += positions.size();
}

}  // namespace ev
