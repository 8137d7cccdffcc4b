// Rows whose bytes say whose they are, and which version.
#pragma once

#include <algorithm>
#include <cstring>
#include <vector>

#include "ev_tf/base/key.h"
#include "ev_tf/base/span.h"

namespace ev::testing {

inline void FillRow(Key key, uint64_t version, Span<std::byte> row) {
  uint64_t x = HashKey(key) ^ (version * 0x9e3779b97f4a7c15ULL);
  for (size_t i = 0; i < row.size(); i += 8) {
    const uint64_t word = i == 0 ? version : x;
    std::memcpy(row.data() + i, &word, std::min<size_t>(8, row.size() - i));
    x = HashKey(static_cast<Key>(x));
  }
}

inline std::vector<std::byte> RowOf(Key key, uint64_t version, size_t row_bytes) {
  std::vector<std::byte> row(row_bytes);
  FillRow(key, version, row);
  return row;
}

// The version that a row says; *whole = its other bytes are of that key and version.
inline uint64_t VersionOf(Key key, Span<const std::byte> row, bool* whole) {
  uint64_t version = 0;
  std::memcpy(&version, row.data(), 8);
  const std::vector<std::byte> expected = RowOf(key, version, row.size());
  *whole = std::memcmp(expected.data(), row.data(), row.size()) == 0;
  return version;
}

}  // namespace ev::testing
