#include "ev_tf/cache/rank.h"

namespace ev {
namespace {

constexpr int kHalfBits = 16;
constexpr size_t kBuckets = size_t{1} << kHalfBits;
constexpr size_t kAgingSample = 1024;
constexpr uint64_t kHighCount = 8;

Rank Load(const Rank* rank) { return __atomic_load_n(rank, __ATOMIC_RELAXED); }

// The bucket in which the running sum reaches `wanted`; *before = the sum of the buckets before it.
size_t BucketOf(const std::vector<uint32_t>& counts, size_t wanted, size_t* before) {
  size_t sum = 0;
  for (size_t b = 0; b < counts.size(); ++b) {
    if (sum + counts[b] >= wanted) {
      *before = sum;
      return b;
    }
    sum += counts[b];
  }
  *before = sum;
  return counts.size() - 1;
}

}  // namespace

void SelectVictims(const Rank* ranks, uint32_t positions, size_t wanted, std::vector<uint32_t>* victims, Rank* limit) {
  victims->clear();
  *limit = kNoRow;
  if (wanted == 0) return;
  // The rank of the last victim, half by half: two passes over four bytes a row, whatever the ranks are.
  std::vector<uint32_t> counts(kBuckets, 0);
  size_t rows = 0;
  for (uint32_t i = 0; i < positions; ++i) {
    const Rank rank = Load(&ranks[i]);
    if (rank == kNoRow) continue;
    ++counts[rank >> kHalfBits];
    ++rows;
  }
  if (rows == 0) return;
  wanted = std::min(wanted, rows);
  size_t before = 0;
  const size_t high = BucketOf(counts, wanted, &before);
  std::fill(counts.begin(), counts.end(), 0);
  for (uint32_t i = 0; i < positions; ++i) {
    const Rank rank = Load(&ranks[i]);
    if (rank != kNoRow && (rank >> kHalfBits) == high) ++counts[rank & (kBuckets - 1)];
  }
  size_t before_low = 0;
  const size_t low = BucketOf(counts, wanted - before, &before_low);
  *limit = static_cast<Rank>((high << kHalfBits) | low);
  size_t ties = wanted - before - before_low;  // how many of exactly that rank
  victims->reserve(wanted);
  for (uint32_t i = 0; i < positions && victims->size() < wanted; ++i) {
    const Rank rank = Load(&ranks[i]);
    if (rank == kNoRow || rank > *limit) continue;
    if (rank == *limit) {
      if (ties == 0) continue;
      --ties;
    }
    victims->push_back(i);
  }
}

void AgeCounts(Rank* ranks, uint32_t positions) {
  const uint32_t step = std::max<uint32_t>(1, positions / kAgingSample);
  uint64_t sum = 0, rows = 0;
  for (uint32_t i = 0; i < positions; i += step) {
    const Rank rank = Load(&ranks[i]);
    if (rank == kNoRow) continue;
    sum += rank >> kLfuCountShift;
    ++rows;
  }
  if (rows == 0 || sum < kHighCount * rows) return;
  for (uint32_t i = 0; i < positions; ++i) {
    const Rank rank = Load(&ranks[i]);
    if (rank == kNoRow) continue;
    const Rank count = std::max<Rank>(1, (rank >> kLfuCountShift) / 2);
    __atomic_store_n(&ranks[i], (count << kLfuCountShift) | (rank & kLfuTickMask), __ATOMIC_RELAXED);
  }
}

}  // namespace ev
