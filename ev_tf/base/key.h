// Key: an id of an embedding.  Every int64 value is a legal key, also 0, -1, INT64_MIN and INT64_MAX:
// no state of a table ever lives in a key.
#pragma once

#include <cstdint>

namespace ev {

using Key = int64_t;

// key mod n in [0, n), also for negative keys.  Routing by C++ `%` would drop them.  Requires: n > 0.
constexpr int64_t FloorMod(Key key, int64_t n) {
  const int64_t r = key % n;
  return r < 0 ? r + n : r;
}

// A bijection on 64 bits whose high bits depend on every bit of the key: segments, stripes and partitions are
// prefixes of it.  (The finalizer of splitmix64, Steele, Lea, Flood, OOPSLA 2014.)
constexpr uint64_t HashKey(Key key) {
  uint64_t x = static_cast<uint64_t>(key) + 0x9e3779b97f4a7c15ULL;
  x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9ULL;
  x = (x ^ (x >> 27)) * 0x94d049bb133111ebULL;
  return x ^ (x >> 31);
}

}  // namespace ev
