#include "ev_tf/store/cold_rows.h"

#include <algorithm>
#include <tuple>
#include <utility>

namespace ev {

void ColdRows::Prepare(size_t record_bytes) {
  using Wanted = std::pair<Key, Location>;
  std::vector<Wanted> wanted;
  wanted.reserve(keys_.size());
  for (size_t i = 0; i < keys_.size(); ++i) wanted.emplace_back(keys_[i], locations_[i]);
  size_t kept = 0;
  auto begin = wanted.begin();
  for (int tier = 1; tier < kMaxTiers; ++tier) {
    const auto of_tier = [&](const Wanted& w) { return TierOf(w.second) == tier; };
    const auto end = tier + 1 == kMaxTiers ? wanted.end() : std::partition(begin, wanted.end(), of_tier);
    std::sort(begin, end);
    // One record a key and tier: should it have moved between two looks, the later record serves as well as the earlier one.
    const auto same_key = [](const Wanted& a, const Wanted& b) { return a.first == b.first; };
    const auto last = std::unique(begin, end, same_key);
    for (auto it = begin; it != last; ++it, ++kept) std::tie(keys_[kept], locations_[kept]) = *it;
    ends_[static_cast<size_t>(tier)] = kept;
    begin = end;
  }
  keys_.resize(kept);
  locations_.resize(kept);
  record_bytes_ = record_bytes;
  records_.Reserve(kept * record_bytes);
}

size_t ColdRows::IndexOf(Key key, int tier) const {
  const auto first = keys_.begin() + static_cast<std::ptrdiff_t>(begin(tier));
  const auto last = keys_.begin() + static_cast<std::ptrdiff_t>(end(tier));
  const auto it = std::lower_bound(first, last, key);
  return it == last || *it != key ? kNone : static_cast<size_t>(it - keys_.begin());
}

const std::byte* ColdRows::Find(Key key) const {
  for (int tier = 1; tier < kMaxTiers; ++tier) {
    const size_t i = IndexOf(key, tier);
    if (i != kNone) return record(i);
  }
  return nullptr;
}

const std::byte* ColdRows::Find(Key key, Location location) const {
  const size_t i = IndexOf(key, TierOf(location));
  return i == kNone || locations_[i] != location ? nullptr : record(i);
}

}  // namespace ev
