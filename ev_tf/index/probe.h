// IndexProbe: what the probe kernels see of a HashIndex.  The kernels are compiled once for each instruction set, each in
// a namespace of its own:
//   plain::ForEachKey, avx2::ForEachKey, avx512::ForEachKey, and ForEachBlock      (index/probe.inc)
// Other kernels that go on from a location, such as store/gather, include this header and call them.
#pragma once

#include "ev_tf/base/cpu.h"
#include "ev_tf/index/hash_index.h"
#if EV_X86_KERNELS
#include <immintrin.h>
#endif

namespace ev {

// Requires: an EpochGuard of the index is held for as long as the probe lives.
struct IndexProbe {
  using View = HashIndex::View;
  explicit IndexProbe(const HashIndex& index) {
    const auto* directory = index.directory_.load(std::memory_order_acquire);
    views = directory->views.data();
    shift = 64 - directory->bits;
  }
  const View* FindView(uint64_t hash) const { return views[hash >> shift].load(std::memory_order_acquire); }
  const std::atomic<View*>* views;
  int shift;
};

// The order of these includes is their meaning.
// clang-format off
namespace plain {
#define EV_MATCH_LINE MatchLine
EV_ALWAYS_INLINE int MatchLine(const Line* line, Key key) {
  const int place = line->Match(key);
  return place < 0 ? kLineKeys : place;
}
#include "ev_tf/index/probe.inc"
}  // namespace plain

#if EV_X86_KERNELS
// A vector load of the keys is not one atomic load, but each of its 64-bit parts is; x86 keeps loads in order, and the
// load of the location depends on the compare: it comes after the load of the key, as line.h requires.
namespace avx2 {
#include "ev_tf/base/begin_avx2.h"
EV_ALWAYS_INLINE int MatchLine(const Line* line, Key key) {
  const __m256i wanted = _mm256_set1_epi64x(key);
  const __m256i first = _mm256_cmpeq_epi64(_mm256_load_si256(reinterpret_cast<const __m256i*>(line)), wanted);
  const unsigned mask = static_cast<unsigned>(_mm256_movemask_pd(_mm256_castsi256_pd(first))) |
                        (line->key(4) == key ? 16u : 0u) | 32u;
  return __builtin_ctz(mask);
}
#include "ev_tf/index/probe.inc"
#include "ev_tf/base/end_target.h"
}  // namespace avx2

namespace avx512 {
#include "ev_tf/base/begin_avx512.h"
EV_ALWAYS_INLINE int MatchLine(const Line* line, Key key) {
  const __m512i entries = _mm512_load_si512(reinterpret_cast<const void*>(line));
  const unsigned mask = (_mm512_cmpeq_epi64_mask(entries, _mm512_set1_epi64(key)) & 31u) | 32u;
  return __builtin_ctz(mask);
}
#include "ev_tf/index/probe.inc"
#include "ev_tf/base/end_target.h"
}  // namespace avx512
#endif
// clang-format on
#undef EV_MATCH_LINE

}  // namespace ev
