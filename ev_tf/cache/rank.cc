#include "ev_tf/cache/rank.h"

#include <cmath>

namespace ev {
namespace {

constexpr int kHalfBits = 16;
constexpr size_t kBuckets = size_t{1} << kHalfBits;
constexpr Rank kProtected = kLfuMaxCount << kLfuCountShift;

inline Rank Load(const Rank* rank) { return __atomic_load_n(rank, __ATOMIC_RELAXED); }

// From so many positions on, the limit is found from one rank in kSampleStride (a prime: neighbours came up together).
constexpr uint32_t kSampledFrom = 1 << 16;
constexpr uint32_t kSampleStride = 17;
constexpr uint32_t kBlock = 16;  // ranks of a cache line

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
inline Rank Standing(CacheStrategy strategy, Rank rank, uint32_t tick) {
  if (strategy == CacheStrategy::kLru) return rank;
  // Touched by the last two calls, or awaited by one of the next.
  const bool goes_last = ((rank - tick + 1) & kLfuTickMask) <= kPrefetchCalls + 1;
  return goes_last && rank != kNoRow ? rank | kProtected : rank;
}

// Calls body(standing) for one position in `stride`.
template <CacheStrategy kStrategy, typename Body>
void ForStandings(uint32_t tick, const Rank* ranks, uint32_t positions, uint32_t stride, const Body& body) {
  for (uint32_t i = 0; i < positions; i += stride) {
    const Rank standing = Standing(kStrategy, Load(&ranks[i]), tick);
    if (standing != kNoRow) body(standing);
  }
}

// The highest standing of the `wanted` lowest of one position in `stride`, half by half; *ties = how many of exactly that
// standing are among them.  False: there are no rows.
template <CacheStrategy kStrategy>
bool FindLimit(uint32_t tick, const Rank* ranks, uint32_t positions, uint32_t stride, size_t wanted, Rank* limit,
               size_t* ties) {
  std::vector<uint32_t> counts(kBuckets, 0);
  size_t rows = 0;
  ForStandings<kStrategy>(tick, ranks, positions, stride, [&](Rank standing) {
    ++counts[standing >> kHalfBits];
    ++rows;
  });
  if (rows == 0) return false;
  wanted = std::min(wanted, rows);
  size_t before = 0;
  const size_t high = BucketOf(counts, wanted, &before);
  std::fill(counts.begin(), counts.end(), 0);
  ForStandings<kStrategy>(tick, ranks, positions, stride, [&](Rank standing) {
    if ((standing >> kHalfBits) == high) ++counts[standing & (kBuckets - 1)];
  });
  size_t before_low = 0;
  const size_t low = BucketOf(counts, wanted - before, &before_low);
  *limit = static_cast<Rank>((high << kHalfBits) | low);
  *ties = wanted - before - before_low;
  return true;
}

// Takes rows of a standing up to `limit`, of exactly `limit` no more than `ties`.
template <CacheStrategy kStrategy>
void Collect(uint32_t tick, const Rank* ranks, uint32_t positions, size_t wanted, Rank limit, size_t ties,
             std::vector<Victim>* victims) {
  victims->clear();
  victims->reserve(wanted);
  for (uint32_t first = 0; first < positions && victims->size() < wanted; first += kBlock) {
    const uint32_t end = std::min(first + kBlock, positions);
    uint32_t found = 0;  // most blocks have none: looked at together, without a branch for each
    for (uint32_t i = first; i < end; ++i) found |= Standing(kStrategy, Load(&ranks[i]), tick) - 1 < limit ? 1 : 0;
    if (found == 0) continue;
    for (uint32_t i = first; i < end && victims->size() < wanted; ++i) {
      const Rank rank = Load(&ranks[i]);
      const Rank standing = Standing(kStrategy, rank, tick);
      if (standing == kNoRow || standing > limit) continue;
      if (standing == limit) {
        if (ties == 0) continue;
        --ties;
      }
      victims->push_back({i, rank});
    }
  }
}

template <CacheStrategy kStrategy>
void Select(uint32_t tick, const Rank* ranks, uint32_t positions, size_t wanted, std::vector<Victim>* victims) {
  Rank limit = 0;
  size_t ties = 0;
  if (positions >= kSampledFrom) {
    // Two deviations more than the sample's share: then as many as are wanted lie below, but for one time in forty.
    const size_t share = wanted / kSampleStride;
    const size_t sampled = share + 2 * static_cast<size_t>(std::sqrt(static_cast<double>(share))) + 1;
    if (FindLimit<kStrategy>(tick, ranks, positions, kSampleStride, sampled, &limit, &ties)) {
      Collect<kStrategy>(tick, ranks, positions, wanted, limit, wanted, victims);
      if (victims->size() == wanted) return;
    }
  }
  if (!FindLimit<kStrategy>(tick, ranks, positions, 1, wanted, &limit, &ties)) return;
  Collect<kStrategy>(tick, ranks, positions, wanted, limit, ties, victims);
}

}  // namespace

void SelectVictims(CacheStrategy strategy, uint32_t tick, const Rank* ranks, uint32_t positions, size_t wanted,
                   std::vector<Victim>* victims) {
  victims->clear();
  if (wanted == 0) return;
  if (strategy == CacheStrategy::kLru) {
    Select<CacheStrategy::kLru>(tick, ranks, positions, wanted, victims);
  } else {
    Select<CacheStrategy::kLfu>(tick, ranks, positions, wanted, victims);
  }
}

void AgeCounts(Rank* ranks, uint32_t positions) {
  for (uint32_t i = 0; i < positions; ++i) {
    Rank rank = Load(&ranks[i]);
    if (rank == kNoRow) continue;
    const Rank count = std::max<Rank>(1, (rank >> kLfuCountShift) / 2);
    const Rank aged = (count << kLfuCountShift) | (rank & kLfuTickMask);
    // A store would give its rank back to a row that has left meanwhile: a victim that nobody can move, chosen again and again.
    __atomic_compare_exchange_n(&ranks[i], &rank, aged, false, __ATOMIC_RELAXED, __ATOMIC_RELAXED);
  }
}

}  // namespace ev
