// The ids of the benchmarks: a table of `rows` rows, row i under a key that looks random, and streams of batches over them.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "ev_tf/base/key.h"

namespace ev::bench {

inline constexpr size_t kBatch = 65536;

// Deterministic 64-bit generator (splitmix64).
class Random {
 public:
  explicit Random(uint64_t seed) : state_(seed) {}
  uint64_t Next();
  uint64_t Below(uint64_t n);
  double Unit();  // in [0, 1)

 private:
  uint64_t state_;
};

// The key of row `index`: sparse, not negative, a bijection.  benchmarks/workload.py has the same.
Key KeyOfRow(uint64_t index);

// `batches` batches of `batch` row indices below `rows`.
//   "unique"    uniform, distinct within a batch
//   "uniform"   uniform
//   "zipf1.05"  bounded Zipf of that exponent over ranks, ranks scattered over the rows
std::vector<std::vector<uint32_t>> RowBatches(const std::string& dist, uint64_t rows, size_t batch, size_t batches,
                                              uint64_t seed);

// All rows, the most popular first; of a distribution in which they are all alike, in the order of their numbers.
std::vector<uint32_t> RowsByRank(const std::string& dist, uint64_t rows);

std::vector<Key> KeysOf(const std::vector<uint32_t>& rows);

}  // namespace ev::bench
