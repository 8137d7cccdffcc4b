#include "ev_tf/batch/dedup.h"

#include <algorithm>

namespace ev {
namespace {

constexpr size_t kMinTable = 64;

}  // namespace

void StripeDedup::Reserve(size_t n) {
  size_t slots = kMinTable;
  while (slots < n + n / 2) slots *= 2;
  if (table_.size() < slots || run_ == UINT32_MAX) {
    table_.assign(std::max(slots, table_.size()), Slot{0, 0, 0});
    run_ = 0;
  }
  if (keys_.size() < n || starts_.empty()) {  // starts_ has its two ends even for no keys
    keys_.resize(n);
    indices_.resize(n);
    positions_.resize(n);
    starts_.resize(n + 2);
  }
}

void StripeDedup::Run(Span<const KeyAt> entries) {
  const size_t n = entries.size();
  Reserve(n);
  total_ = n;
  ++run_;
  size_t slots = kMinTable;  // as small as the stripe allows, so that it stays in cache after a big one
  while (slots < n + n / 2) slots *= 2;
  const size_t mask = slots - 1;
  uint32_t distinct = 0;
  uint32_t* counts = starts_.data() + 2;  // starts_[i + 2] counts key i, then becomes its running end
  for (size_t e = 0; e < n; ++e) {
    const Key key = entries[e].key;
    // The stripe and the index take the hash's top bits: these are others.
    size_t at = (HashKey(key) >> 20) & mask;
    while (table_[at].run == run_ && table_[at].key != key) at = (at + 1) & mask;
    Slot& slot = table_[at];
    if (slot.run != run_) {
      slot = {key, distinct, run_};
      keys_[distinct] = key;
      counts[distinct] = 0;
      ++distinct;
    }
    indices_[e] = slot.index;
    ++counts[slot.index];
  }
  distinct_ = distinct;
  starts_[0] = 0;
  starts_[1] = 0;
  for (uint32_t i = 0; i < distinct; ++i) counts[i] += starts_[i + 1];
  for (size_t e = 0; e < n; ++e) positions_[starts_[indices_[e] + 1]++] = entries[e].position;
}

}  // namespace ev
