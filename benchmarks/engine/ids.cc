#include "benchmarks/engine/ids.h"

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <unordered_set>

#include "benchmarks/engine/harness.h"

namespace ev::bench {
namespace {

uint64_t Mix(uint64_t z) {
  z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9ULL;
  z = (z ^ (z >> 27)) * 0x94D049BB133111EBULL;
  return z ^ (z >> 31);
}

// Ranks 1..n with probability ~ rank^-s, by rejection-inversion (Hoermann and Derflinger, 1996).  Requires: s != 1.
class Zipf {
 public:
  Zipf(double s, uint64_t n) : s_(s), n_(static_cast<double>(n)) {
    low_ = Integral(1.5) - 1;
    high_ = Integral(n_ + 0.5);
    accept_ = 2 - Inverse(Integral(2.5) - std::pow(2.0, -s_));
  }

  uint64_t Draw(Random* random) const {
    for (;;) {
      const double u = high_ + random->Unit() * (low_ - high_);
      const double x = Inverse(u);
      const double rank = std::min(std::max(std::floor(x + 0.5), 1.0), n_);
      if (rank - x <= accept_ || u >= Integral(rank + 0.5) - std::pow(rank, -s_)) return static_cast<uint64_t>(rank);
    }
  }

 private:
  double Integral(double x) const { return std::expm1((1 - s_) * std::log(x)) / (1 - s_); }
  double Inverse(double y) const { return std::exp(std::log1p(y * (1 - s_)) / (1 - s_)); }

  double s_;
  double n_;
  double low_;
  double high_;
  double accept_;
};

// Scatters ranks over rows: popular rows must not be neighbours.  A bijection for n below 2^32 and no multiple of the prime.
uint32_t Scatter(uint64_t rank, uint64_t n) { return static_cast<uint32_t>((rank * 2654435761ULL + 12345) % n); }

}  // namespace

uint64_t Random::Next() { return Mix(state_ += 0x9E3779B97F4A7C15ULL); }
uint64_t Random::Below(uint64_t n) { return static_cast<uint64_t>((static_cast<unsigned __int128>(Next()) * n) >> 64); }
double Random::Unit() { return static_cast<double>(Next() >> 11) * 0x1p-53; }

Key KeyOfRow(uint64_t index) { return static_cast<Key>(Mix(index + 0x9E3779B97F4A7C15ULL) & 0x7FFFFFFFFFFFFFFFULL); }

std::vector<std::vector<uint32_t>> RowBatches(const std::string& dist, uint64_t rows, size_t batch, size_t batches,
                                              uint64_t seed) {
  if (dist == "unique" && batch > rows / 2) Fail("unique ids: expected at least two rows for each id of a batch");
  const bool zipf = dist.rfind("zipf", 0) == 0;
  if (!zipf && dist != "unique" && dist != "uniform")
    Fail("distribution: expected unique, uniform or zipf<s>, found " + dist);
  Random random(seed);
  const Zipf ranks(zipf ? std::atof(dist.c_str() + 4) : 2.0, rows);
  std::vector<std::vector<uint32_t>> result(batches);
  for (auto& ids : result) {
    std::unordered_set<uint32_t> seen;
    while (ids.size() < batch) {
      const auto row = zipf ? Scatter(ranks.Draw(&random) - 1, rows) : static_cast<uint32_t>(random.Below(rows));
      if (dist == "unique" && !seen.insert(row).second) continue;
      ids.push_back(row);
    }
  }
  return result;
}

std::vector<uint32_t> RowsByRank(const std::string& dist, uint64_t rows) {
  std::vector<uint32_t> result(rows);
  const bool zipf = dist.rfind("zipf", 0) == 0;
  for (uint64_t rank = 0; rank < rows; ++rank) {
    result[rank] = zipf ? Scatter(rank, rows) : static_cast<uint32_t>(rank);
  }
  return result;
}

std::vector<Key> KeysOf(const std::vector<uint32_t>& rows) {
  std::vector<Key> keys;
  keys.reserve(rows.size());
  for (const uint32_t row : rows) keys.push_back(KeyOfRow(row));
  return keys;
}

}  // namespace ev::bench
