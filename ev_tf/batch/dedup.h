// The distinct keys of one stripe of a call, and where each of them stood.
//
// An open hash table of 4-byte entries: for the stripes of a batch of 65,536 keys it stays in the first-level cache, and is
// cleared in no time.  Whether a key is new cannot be guessed, so nothing branches on it.
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
  Span<const Key> keys() const { return Span<const Key>(keys_.data() + 1, distinct_); }
  // Positions in the call of keys()[i], ascending; never empty.
  Span<const uint32_t> positions(size_t i) const {
    return Span<const uint32_t>(positions_.data() + starts_[i], starts_[i + 1] - starts_[i]);
  }
  // Positions of all keys, key by key.
  Span<const uint32_t> positions() const { return Span<const uint32_t>(positions_.data(), total_); }

 private:
  // Makes room for n entries.  Returns the size of table to use.
  size_t Reserve(size_t n);

  std::vector<uint32_t> table_;  // numbers of keys, 0 where there is none; size: a power of two
  size_t distinct_ = 0;
  size_t total_ = 0;
  std::vector<Key> keys_;          // by number, from 1
  std::vector<uint32_t> numbers_;  // of each entry's key
  std::vector<uint32_t> starts_;   // of each key, and the end
  std::vector<uint32_t> positions_;
};

}  // namespace ev
