// Rank: 32 bits for each row of a cached tier that say which row goes first: the one with the smallest rank.
//
// A touch is one load and one store of four bytes, without a lock: two threads that touch a row at once may count it once.
//   LRU  the tick of the last touch
//   LFU  touches, up to 255, above 24 bits of the tick: among rows of one count the one touched longest ago goes first.
//        Counts are halved once the tier has been touched fifty times over, so that what was hot once does not stay for ever.
//        What the last two calls looked up goes last: it has no count yet to defend itself with, and its update is to come.
//        After that it stands by its count: an update's touch is one of two calls before.
// A row that was brought up for a call to come has its last touch in the future, by kPrefetchCalls: until that has passed it
// goes after all rows of the past, and its touch by that call brings it back to the present.
// Pure: sees positions and ranks, never a key or a tier.
//
// Sources: recency by stamps and frequency by aged counters, in place of linked lists under a lock (700 ns a touch there,
// 1 to 2 ns here).
#pragma once

#include <algorithm>
#include <cstdint>
#include <vector>

namespace ev {

enum class CacheStrategy : uint8_t { kLru = 0, kLfu = 1 };  // the fork's numbers

using Rank = uint32_t;
inline constexpr Rank kNoRow = 0;  // the position holds no row: never a victim

inline constexpr int kLfuCountShift = 24;
inline constexpr Rank kLfuMaxCount = 255;
inline constexpr Rank kLfuTickMask = (Rank{1} << kLfuCountShift) - 1;

// The rank of a row touched at `tick` >= 1.
constexpr Rank TouchedRank(CacheStrategy strategy, Rank old, uint32_t tick) {
  if (strategy == CacheStrategy::kLru) return tick;
  const Rank count = old >> kLfuCountShift;
  return ((count < kLfuMaxCount ? count + 1 : count) << kLfuCountShift) | (tick & kLfuTickMask);
}

// The tick with which an update at `tick` touches its rows.
constexpr uint32_t UpdateTick(CacheStrategy strategy, uint32_t tick) {
  return strategy == CacheStrategy::kLru || tick <= 2 ? tick : tick - 2;
}

// Calls for which a row waits that was brought up ahead of its own: some twenty steps of lookup, update and prefetch.
inline constexpr uint32_t kPrefetchCalls = 64;

struct Victim {
  uint32_t position;
  Rank rank;  // when it was chosen: whoever finds another one there lets the row stay
};

// Of the positions below `positions` those `wanted` that go first, in no order; fewer if there are fewer rows.  Of many
// positions it may be any `wanted` of a few more that go first: their limit is taken from a sample.
// `ranks` may change meanwhile: then the choice is of some moment's.
void SelectVictims(CacheStrategy strategy, uint32_t tick, const Rank* ranks, uint32_t positions, size_t wanted,
                   std::vector<Victim>* victims);

// Halves the counts of LFU ranks, but for those that change meanwhile.
void AgeCounts(Rank* ranks, uint32_t positions);

}  // namespace ev
