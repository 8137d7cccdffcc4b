#include "ev_tf/cache/rank.h"

namespace ev {
namespace {

constexpr int kHalfBits = 16;
constexpr size_t kBuckets = size_t{1} << kHalfBits;
constexpr Rank kProtected = kLfuMaxCount << kLfuCountShift;

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

// What the rank counts for in the choice at `tick`.
Rank Standing(CacheStrategy strategy, Rank rank, uint32_t tick) {
  if (strategy == CacheStrategy::kLru || rank == kNoRow) return rank;
  const bool just_touched = ((tick - rank) & kLfuTickMask) <= 1;
  const bool awaited = ((rank - tick) & kLfuTickMask) <= kPrefetchCalls;
  return just_touched || awaited ? rank | kProtected : rank;
}

}  // namespace

void SelectVictims(CacheStrategy strategy, uint32_t tick, const Rank* ranks, uint32_t positions, size_t wanted,
                   std::vector<Victim>* victims) {
  victims->clear();
  if (wanted == 0) return;
  // The standing of the last victim, half by half: two passes over four bytes a row, whatever the ranks are.
  std::vector<uint32_t> counts(kBuckets, 0);
  size_t rows = 0;
  for (uint32_t i = 0; i < positions; ++i) {
    const Rank standing = Standing(strategy, Load(&ranks[i]), tick);
    if (standing == kNoRow) continue;
    ++counts[standing >> kHalfBits];
    ++rows;
  }
  if (rows == 0) return;
  wanted = std::min(wanted, rows);
  size_t before = 0;
  const size_t high = BucketOf(counts, wanted, &before);
  std::fill(counts.begin(), counts.end(), 0);
  for (uint32_t i = 0; i < positions; ++i) {
    const Rank standing = Standing(strategy, Load(&ranks[i]), tick);
    if (standing != kNoRow && (standing >> kHalfBits) == high) ++counts[standing & (kBuckets - 1)];
  }
  size_t before_low = 0;
  const size_t low = BucketOf(counts, wanted - before, &before_low);
  const auto limit = static_cast<Rank>((high << kHalfBits) | low);
  size_t ties = wanted - before - before_low;  // how many of exactly that standing
  victims->reserve(wanted);
  for (uint32_t i = 0; i < positions && victims->size() < wanted; ++i) {
    const Rank rank = Load(&ranks[i]);
    const Rank standing = Standing(strategy, rank, tick);
    if (standing == kNoRow || standing > limit) continue;
    if (standing == limit) {
      if (ties == 0) continue;
      --ties;
    }
    victims->push_back({i, rank});
  }
}

void AgeCounts(Rank* ranks, uint32_t positions) {
  for (uint32_t i = 0; i < positions; ++i) {
    const Rank rank = Load(&ranks[i]);
    if (rank == kNoRow) continue;
    const Rank count = std::max<Rank>(1, (rank >> kLfuCountShift) / 2);
    __atomic_store_n(&ranks[i], (count << kLfuCountShift) | (rank & kLfuTickMask), __ATOMIC_RELAXED);
  }
}

}  // namespace ev
