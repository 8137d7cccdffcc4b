// The distinct keys of one stripe of a call, and where each of them stood.
//
// An open hash table of 16-byte entries, stamped with the number of the run, so that it is never cleared; for the stripes of
// a batch of 65,536 keys it stays in the first-level cache.
#pragma once

#include <cstdint>
#include <vector>

#include "ev_tf/base/key.h"
#include "ev_tf/base/span.h"
#include "ev_tf/batch/partition.h"

namespace ev {

// Not thread-safe; made to be used again, as its memory stays.
class StripeDedup {
 public:
  void Run(Span<const KeyAt> entries);

  // Distinct keys in the order of their first appearance.
  Span<const Key> keys() const { return Span<const Key>(keys_.data(), distinct_); }
  // Positions in the call of keys()[i], ascending; never empty.
  Span<const uint32_t> positions(size_t i) const {
    return Span<const uint32_t>(positions_.data() + starts_[i], starts_[i + 1] - starts_[i]);
  }
  // Positions of all keys, key by key.
  Span<const uint32_t> positions() const { return Span<const uint32_t>(positions_.data(), total_); }

 private:
  struct Slot {
    Key key;
    uint32_t index;
    uint32_t run;  // valid if it is run_
  };

  void Reserve(size_t n);

  std::vector<Slot> table_;  // size: a power of two
  uint32_t run_ = 0;
  size_t distinct_ = 0;
  size_t total_ = 0;
  std::vector<Key> keys_;
  std::vector<uint32_t> indices_;  // of each entry: its key's place in keys_
  std::vector<uint32_t> starts_;   // of each key, and the end
  std::vector<uint32_t> positions_;
};

}  // namespace ev
