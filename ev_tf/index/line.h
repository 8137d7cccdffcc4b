// Line: one cache line of the index: five keys, five locations, a count and an overflow flag.
//
// States of an entry, and who may move between them (the writer holds the segment's lock):
//   unused     key = the segment's filler, location = kNoLocation
//   live       key, location                        unused -> live: the location is stored first, then the key
//   dropped    key, kNoLocation                     live <-> dropped: one store of the location
// A key never changes once stored, until the whole segment is rebuilt in other memory.  So a reader that takes no lock and
// sees its key sees a location that belongs to it.  The filler is a key that hashes to another segment: no key that is
// looked up here equals it, and the compare needs no mask of used entries.
#pragma once

#include <cstdint>

#include "ev_tf/base/cpu.h"
#include "ev_tf/base/key.h"
#include "ev_tf/index/location.h"

namespace ev {

inline constexpr int kLineKeys = 5;

struct alignas(64) Line {
  Key keys[kLineKeys];
  Location locations[kLineKeys];
  uint8_t count;     // entries live or dropped; writers only
  uint8_t overflow;  // 1: a key whose home is this line or an earlier one may be in the next line
  uint8_t last;      // 1: the next line of the segment is not the next one in memory; constant
  uint8_t unused;

  Key key(int i) const { return __atomic_load_n(&keys[i], __ATOMIC_ACQUIRE); }
  Location location(int i) const { return __atomic_load_n(&locations[i], __ATOMIC_ACQUIRE); }
  bool overflowed() const { return __atomic_load_n(&overflow, __ATOMIC_ACQUIRE) != 0; }

  void set_location(int i, Location location) { __atomic_store_n(&locations[i], location, __ATOMIC_RELEASE); }
  void set_overflow() { __atomic_store_n(&overflow, uint8_t{1}, __ATOMIC_RELEASE); }
  // Requires: count < kLineKeys.
  void Append(Key key, Location location) {
    const int i = count;
    set_location(i, location);
    __atomic_store_n(&keys[i], key, __ATOMIC_RELEASE);
    count = static_cast<uint8_t>(i + 1);
  }
  void Clear(Key filler) {
    for (Key& k : keys) k = filler;
    for (Location& l : locations) l = kNoLocation;
    count = 0;
    overflow = 0;
    last = 0;
    unused = 0;
  }
  // Entry of `key`, -1 if it is not in this line.
  int Match(Key key) const {
    for (int i = 0; i < kLineKeys; ++i) {
      if (this->key(i) == key) return i;
    }
    return -1;
  }
};
static_assert(sizeof(Line) == 64);

}  // namespace ev
