// The keys of one call, grouped by stripe: the top bits of their hash.
//
// A stripe is the unit of everything that writes rows: its lock orders updates of its keys, and threads share a call's work
// stripe by stripe.  Inside a stripe the keys stand in the order of the call, so that sums over duplicates come out the
// same whatever the number of threads.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <vector>

#include "ev_tf/base/executor.h"
#include "ev_tf/base/key.h"
#include "ev_tf/base/span.h"

namespace ev {

inline constexpr int kStripeBits = 6;
inline constexpr int kStripes = 1 << kStripeBits;

constexpr int StripeOf(uint64_t hash) { return static_cast<int>(hash >> (64 - kStripeBits)); }

// The top half of a hash: its stripe, and bits that tell the keys of a stripe apart.
constexpr uint32_t TopOf(uint64_t hash) { return static_cast<uint32_t>(hash >> 32); }

constexpr int StripeOfTop(uint32_t top) { return static_cast<int>(top >> (32 - kStripeBits)); }

// One key of a call and where it stood.
struct KeyAt {
  Key key;
  uint32_t position;
  uint32_t top;  // of its hash
};

// Not thread-safe; made to be used again, as its memory stays.
class Partition {
 public:
  // Groups `keys`.  Requires: keys.size() < 2^32.
  void Build(Span<const Key> keys, Executor& executor);

  Span<const KeyAt> stripe(int i) const { return stripes(i, i + 1); }
  // The keys of stripes [first, end), one stripe behind another.
  Span<const KeyAt> stripes(int first, int end) const {
    return Span<const KeyAt>(entries_.data() + starts_[first], starts_[end] - starts_[first]);
  }

 private:
  std::vector<uint32_t> tops_;  // by position
  std::vector<KeyAt> entries_;
  std::array<size_t, kStripes + 1> starts_{};
};

}  // namespace ev
