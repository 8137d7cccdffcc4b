#include "ev_tf/batch/dedup.h"

#include <algorithm>

namespace ev {
namespace {

constexpr size_t kMinTable = 64;
constexpr size_t kSlotsPerKey = 3;  // at least: a place that another key has costs more than clearing some places

}  // namespace

size_t StripeDedup::Reserve(size_t n) {
  size_t slots = kMinTable;
  while (slots < n * kSlotsPerKey) slots *= 2;
  if (table_.size() < slots) table_.resize(slots);
  if (numbers_.size() < n || starts_.empty()) {  // starts_ has its two ends even for no keys
    keys_.resize(n + 1);
    numbers_.resize(n);
    positions_.resize(n);
    starts_.resize(n + 2);
  }
  return slots;
}

void StripeDedup::Run(Span<const KeyAt> entries) {
  const size_t n = entries.size();
  const size_t mask = Reserve(n) - 1;  // as small as the stripe allows, so that it stays in cache after a big one
  total_ = n;
  uint32_t* table = table_.data();
  Key* keys = keys_.data();
  uint32_t* numbers = numbers_.data();
  uint32_t* counts =
      starts_.data() + 1;  // starts_[number + 1] counts the key of that number, then becomes its running end
  std::fill_n(table, mask + 1, 0u);
  std::fill_n(starts_.data(), n + 2, 0u);
  uint32_t distinct = 0;
  for (size_t e = 0; e < n; ++e) {
    const Key key = entries[e].key;
    size_t at = entries[e].top & mask;
    uint32_t found = table[at];
    keys[0] = key;  // an empty place ends the search as the key's own does: one branch, that is nearly never taken
    while (keys[found] != key) {
      at = (at + 1) & mask;
      found = table[at];
    }
    const uint32_t is_new = found == 0 ? 1 : 0;
    distinct += is_new;
    const uint32_t number = found + distinct * is_new;
    table[at] = number;
    keys[number] = key;
    numbers[e] = number;
    ++counts[number];
  }
  distinct_ = distinct;
  for (uint32_t number = 1; number <= distinct; ++number) counts[number] += counts[number - 1];
  for (size_t e = 0; e < n; ++e) positions_[counts[numbers[e] - 1]++] = entries[e].position;
}

}  // namespace ev
