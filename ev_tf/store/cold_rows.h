// ColdRows: rows of a lower tier that one call needs, read together before any lock is taken.
//
// A record of a lower tier is the row, then its RowMeta padded to 16 bytes where the store keeps meta.  A record is the row
// of its key for as long as the index says the location that it was read from, and the caller holds the guard under which
// it was read: positions are used again only when no guard is left from before.
#pragma once

#include <cstddef>
#include <vector>

#include "ev_tf/base/key.h"
#include "ev_tf/base/span.h"
#include "ev_tf/index/location.h"

namespace ev {

// Not thread-safe while it is filled; made to be used again.
class ColdRows {
 public:
  void Clear() {
    keys_.clear();
    locations_.clear();
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
  // Sorts what is wanted, once each, and makes room for its records.
  void Prepare(size_t record_bytes);
  // The record of `key`, null if none was wanted.
  const std::byte* Find(Key key) const;
  // The same, but null if it was read from elsewhere than `location`.
  const std::byte* Find(Key key, Location location) const;

  Span<const Key> keys() const { return keys_; }
  Span<const Location> locations() const { return locations_; }
  Span<const std::byte> records() const { return Span<const std::byte>(records_.data(), keys_.size() * record_bytes_); }
  Span<std::byte> records() { return Span<std::byte>(records_.data(), keys_.size() * record_bytes_); }

 private:
  static constexpr size_t kNone = ~size_t{0};
  size_t IndexOf(Key key) const;

  size_t record_bytes_ = 0;
  std::vector<Key> keys_;  // ascending after Prepare
  std::vector<Location> locations_;
  std::vector<std::byte> records_;
};

}  // namespace ev
