#include "ev_tf/store/cold_rows.h"

#include <algorithm>
#include <tuple>
#include <utility>

namespace ev {

void ColdRows::Prepare(size_t record_bytes) {
  std::vector<std::pair<Key, Location>> wanted;
  wanted.reserve(keys_.size());
  for (size_t i = 0; i < keys_.size(); ++i) wanted.emplace_back(keys_[i], locations_[i]);
  std::sort(wanted.begin(), wanted.end());
  // One record a key: should it have moved between two looks, the later record serves as well as the earlier one.
  wanted.erase(
      std::unique(wanted.begin(), wanted.end(), [](const auto& a, const auto& b) { return a.first == b.first; }),
      wanted.end());
  keys_.resize(wanted.size());
  locations_.resize(wanted.size());
  for (size_t i = 0; i < wanted.size(); ++i) std::tie(keys_[i], locations_[i]) = wanted[i];
  record_bytes_ = record_bytes;
  if (records_.size() < wanted.size() * record_bytes) records_.resize(wanted.size() * record_bytes);
}

size_t ColdRows::IndexOf(Key key) const {
  const auto it = std::lower_bound(keys_.begin(), keys_.end(), key);
  return it == keys_.end() || *it != key ? kNone : static_cast<size_t>(it - keys_.begin());
}

const std::byte* ColdRows::Find(Key key) const {
  const size_t i = IndexOf(key);
  return i == kNone ? nullptr : record(i);
}

const std::byte* ColdRows::Find(Key key, Location location) const {
  const size_t i = IndexOf(key);
  return i == kNone || locations_[i] != location ? nullptr : record(i);
}

}  // namespace ev
