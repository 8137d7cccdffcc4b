// ColdRows: rows of lower tiers that one call needs, read together, tier by tier, before any lock is taken.
//
// A record of a lower tier is the row, then its RowMeta padded to 16 bytes where the store keeps meta.  A record is the row
// of its key for as long as the index says the location that it was read from, and the caller holds the guard under which
// it was read: positions are used again only when no guard is left from before.
#pragma once

#include <array>
#include <cstddef>
#include <vector>

#include "ev_tf/base/key.h"
#include "ev_tf/base/span.h"
#include "ev_tf/index/location.h"
#include "ev_tf/store/record_buffer.h"

namespace ev {

// Not thread-safe while it is filled; made to be used again.
class ColdRows {
 public:
  void Clear() {
    keys_.clear();
    locations_.clear();
    ends_.fill(0);
  }
  bool empty() const { return keys_.empty(); }
  size_t size() const { return keys_.size(); }
  Key key(size_t i) const { return keys_[i]; }
  Location location(size_t i) const { return locations_[i]; }
  const std::byte* record(size_t i) const { return records_.data() + i * record_bytes_; }

  // Notes that the row of `key` lies at `location`; duplicates are welcome.
  void Want(Key key, Location location) {
    keys_.push_back(key);
    locations_.push_back(location);
  }
  void WantAll(const ColdRows& other) {
    keys_.insert(keys_.end(), other.keys_.begin(), other.keys_.end());
    locations_.insert(locations_.end(), other.locations_.begin(), other.locations_.end());
  }
  // Sorts what is wanted by tier, each location once, and makes room for its records.
  void Prepare(size_t record_bytes);
  // The record of `key`, null if none was wanted.
  const std::byte* Find(Key key) const;
  // The same, but null if it was read from elsewhere than `location`.
  const std::byte* Find(Key key, Location location) const;

  Span<const Key> keys() const { return keys_; }
  Span<const Location> locations() const { return locations_; }

  // After Prepare: those of one tier are [begin(tier), end(tier)), their keys ascending.
  size_t begin(int tier) const { return ends_[static_cast<size_t>(tier) - 1]; }
  size_t end(int tier) const { return ends_[static_cast<size_t>(tier)]; }
  Span<std::byte> records(int tier) {
    return {records_.data() + begin(tier) * record_bytes_, (end(tier) - begin(tier)) * record_bytes_};
  }

 private:
  static constexpr size_t kNone = ~size_t{0};
  // Of the key in a lower tier.
  size_t IndexOf(Key key, int tier) const;

  size_t record_bytes_ = 0;
  std::vector<Key> keys_;
  std::vector<Location> locations_;
  std::array<size_t, kMaxTiers> ends_{};  // ends_[0] is 0: nothing of the hot tier is cold
  RecordBuffer records_;
};

}  // namespace ev
