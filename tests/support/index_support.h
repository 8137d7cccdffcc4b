// Short ways to ask a HashIndex.  Each holds a guard of its own: a thread may hold only one.
#pragma once

#include <gtest/gtest.h>

#include <vector>

#include "ev_tf/index/hash_index.h"
#include "tests/support/status_matchers.h"

namespace ev::test {

// What Insert says was there: kNoLocation for a new key.
inline Location InsertOne(HashIndex* index, Key key, Location location) {
  const EpochGuard guard(index->epochs());
  Location existing = 0;
  EV_EXPECT_OK(index->Insert(key, location, &existing));
  return existing;
}

inline bool MoveOne(HashIndex* index, Key key, Location from, Location to) {
  const EpochGuard guard(index->epochs());
  return index->Move(key, from, to);
}

inline Location RemoveOne(HashIndex* index, Key key) {
  const EpochGuard guard(index->epochs());
  return index->Remove(key);
}

template <typename Visitor>
void ScanAll(const HashIndex& index, Visitor&& visit) {
  const EpochGuard guard(index.epochs());
  index.Scan(visit);
}

// Where the rows of `keys` are.
inline std::vector<Location> FindAll(const HashIndex& index, const std::vector<Key>& keys) {
  const EpochGuard guard(index.epochs());
  std::vector<Location> locations(keys.size());
  index.Find(keys, locations.data());
  return locations;
}

inline Location FindOne(const HashIndex& index, Key key) { return FindAll(index, {key})[0]; }

// Inserts keys[i] -> first + i; each must be new.
inline void InsertAll(HashIndex* index, const std::vector<Key>& keys, Location first = 0) {
  for (size_t i = 0; i < keys.size(); ++i) {
    ASSERT_EQ(InsertOne(index, keys[i], first + static_cast<Location>(i)), kNoLocation) << keys[i] << " was there";
  }
}

// Each keys[i] is found at first + i.
inline void ExpectFound(const HashIndex& index, const std::vector<Key>& keys, Location first = 0) {
  const std::vector<Location> locations = FindAll(index, keys);
  for (size_t i = 0; i < keys.size(); ++i) {
    ASSERT_EQ(locations[i], first + static_cast<Location>(i)) << "key " << i << ": " << keys[i];
  }
}

}  // namespace ev::test
