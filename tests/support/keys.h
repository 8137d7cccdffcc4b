// Keys that are hard for a table: the ends of int64, and keys made from the hash they should have.
//
// HashKey is a bijection, so it can be undone: tests choose segment, home line and stripe, and ask for the key.
#pragma once

#include <array>
#include <cstdint>
#include <limits>
#include <vector>

#include "ev_tf/base/key.h"

namespace ev::test {

namespace internal {

// x with x * odd == 1, by Newton's iteration: each step doubles the good bits.
constexpr uint64_t InverseOf(uint64_t odd) {
  uint64_t x = odd;
  for (int step = 0; step < 6; ++step) x *= 2 - odd * x;
  return x;
}

// The y with y ^ (y >> shift) == x.
constexpr uint64_t UndoXorShift(uint64_t x, int shift) {
  uint64_t y = x;
  for (int good = shift; good < 64; good += shift) y = x ^ (y >> shift);
  return y;
}

}  // namespace internal

// The one key with HashKey(key) == hash.
constexpr Key KeyOfHash(uint64_t hash) {
  uint64_t x = internal::UndoXorShift(hash, 31);
  x = internal::UndoXorShift(x * internal::InverseOf(0x94d049bb133111ebULL), 27);
  x = internal::UndoXorShift(x * internal::InverseOf(0xbf58476d1ce4e5b9ULL), 30);
  return static_cast<Key>(x - 0x9e3779b97f4a7c15ULL);
}
static_assert(KeyOfHash(HashKey(0)) == 0 && KeyOfHash(HashKey(-1)) == -1 && KeyOfHash(HashKey(123456789)) == 123456789);

// Any of them could be taken for an empty entry, or be divided the wrong way.
inline constexpr std::array<Key, 12> kEdgeKeys = {0,
                                                  1,
                                                  2,
                                                  3,
                                                  -1,
                                                  -2,
                                                  -3,
                                                  std::numeric_limits<Key>::min(),
                                                  std::numeric_limits<Key>::min() + 1,
                                                  std::numeric_limits<Key>::max(),
                                                  std::numeric_limits<Key>::max() - 1,
                                                  int64_t{1} << 32};

// `n` distinct keys whose hashes begin with the low `bits` bits of `prefix`: for bits up to a segment's depth they all
// fall into one segment, and for 6 bits into one stripe.  Home lines are spread.
inline std::vector<Key> KeysOfPrefix(uint64_t prefix, int bits, size_t n) {
  std::vector<Key> keys(n);
  for (size_t i = 0; i < n; ++i) {
    const uint64_t low = (i + 1) * 0x9e3779b97f4a7c15ULL;  // an odd factor: distinct
    keys[i] = KeyOfHash((prefix << (64 - bits)) | (low >> bits));
  }
  return keys;
}

// `n` distinct keys of one home line, whatever the number of lines: the low 32 bits of their hashes are `low`; the high
// ones begin with the low `bits` bits of `prefix`.  Requires: n <= 2^(32 - bits).
inline std::vector<Key> KeysOfHomeLine(uint32_t low, uint64_t prefix, int bits, size_t n) {
  std::vector<Key> keys(n);
  for (size_t i = 0; i < n; ++i) {
    keys[i] = KeyOfHash((prefix << (64 - bits)) | (static_cast<uint64_t>(i) << 32) | low);
  }
  return keys;
}

}  // namespace ev::test
