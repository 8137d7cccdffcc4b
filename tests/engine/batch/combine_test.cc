#include "ev_tf/batch/combine.h"

#include <gtest/gtest.h>

#include <cmath>
#include <numeric>
#include <vector>

#include "tests/support/random.h"

namespace ev {
namespace {

constexpr Combiner kCombiners[] = {Combiner::kSum, Combiner::kMean, Combiner::kSqrtN};
constexpr int64_t kDims[] = {1, 3, 4, 15, 16, 17, 33, 100};

struct Case {
  std::vector<uint32_t> starts;
  std::vector<float> rows, weights;
};

Case Draw(test::Random* random, int64_t dim, bool weighted) {
  Case c{{5}, {}, {}};  // what starts count from does not matter
  for (int e = 0; e < 20; ++e) c.starts.push_back(c.starts.back() + static_cast<uint32_t>(random->Below(5)));
  const size_t ids = c.starts.back() - c.starts.front();
  c.rows = random->Floats(ids * static_cast<size_t>(dim), -1, 1);
  if (weighted) c.weights = random->Floats(ids, 0.25f, 2);
  return c;
}

CombineRange RangeOf(const Case& c, CombineRule rule, int64_t dim) {
  return {rule, dim, c.starts.data(), c.starts.size() - 1, c.weights.empty() ? nullptr : c.weights.data()};
}

// The definition at the top of combine.h, in double.
std::vector<double> Reference(const Case& c, CombineRule rule, int64_t dim, const std::vector<double>& rows,
                              const std::vector<double>& weights) {
  std::vector<double> out;
  for (size_t e = 0; e + 1 < c.starts.size(); ++e) {
    std::vector<double> sum(static_cast<size_t>(dim));
    double count = 0;
    for (size_t i = c.starts[e] - c.starts[0]; i < c.starts[e + 1] - c.starts[0]; ++i) {
      const double* row = rows.data() + i * static_cast<size_t>(dim);
      const double weight = weights.empty() ? 1 : weights[i];
      double square = 0;
      for (int64_t d = 0; d < dim; ++d) square += row[d] * row[d];
      const double norm = std::sqrt(square), most = rule.max_norm;
      const double scale = weight * (most > 0 && norm > most ? most / norm : 1);
      for (int64_t d = 0; d < dim; ++d) sum[static_cast<size_t>(d)] += scale * row[d];
      count += rule.combiner == Combiner::kMean ? weight : weight * weight;
    }
    const double divisor = rule.combiner == Combiner::kSum    ? 1
                           : rule.combiner == Combiner::kMean ? count
                                                              : std::sqrt(count);
    for (const double s : sum) out.push_back(divisor == 0 ? 0 : s / divisor);
  }
  return out;
}

std::vector<double> Wide(const std::vector<float>& v) { return std::vector<double>(v.begin(), v.end()); }

TEST(Combine, IsItsDefinition) {
  test::Random random(1);
  for (const int64_t dim : kDims) {
    for (const Combiner combiner : kCombiners) {
      for (const float max_norm : {0.0f, 0.5f}) {
        for (const bool weighted : {false, true}) {
          const Case c = Draw(&random, dim, weighted);
          const CombineRange range = RangeOf(c, {combiner, max_norm}, dim);
          std::vector<float> out(range.entries * static_cast<size_t>(dim), -9);
          Combine(range, c.rows.data(), out.data());
          const auto expected = Reference(c, range.rule, dim, Wide(c.rows), Wide(c.weights));
          for (size_t i = 0; i < out.size(); ++i) ASSERT_NEAR(out[i], expected[i], 1e-5) << dim << " " << i;
        }
      }
    }
  }
}

// Of the row that element i is of.
double Norm(const std::vector<double>& rows, size_t i, int64_t dim) {
  const auto first = rows.begin() + static_cast<std::ptrdiff_t>(i) / dim * dim;
  return std::sqrt(std::inner_product(first, first + dim, first, 0.0));
}

TEST(Combine, GradientsAreThoseOfSmallSteps) {
  test::Random random(2);
  constexpr double kStep = 1e-5;
  for (const int64_t dim : {1, 3, 17}) {
    for (const Combiner combiner : kCombiners) {
      for (const float max_norm : {0.0f, 0.5f}) {
        for (const bool weighted : {false, true}) {
          const Case c = Draw(&random, dim, weighted);
          const CombineRange range = RangeOf(c, {combiner, max_norm}, dim);
          const std::vector<float> out_grads = random.Floats(range.entries * static_cast<size_t>(dim), -1, 1);
          std::vector<float> row_grads(c.rows.size(), -9), weight_grads(c.weights.size(), -9);
          CombineGradient(range, out_grads.data(), weighted || max_norm != 0 ? c.rows.data() : nullptr,
                          row_grads.data(), weighted ? weight_grads.data() : nullptr);
          const auto loss = [&](const std::vector<double>& rows, const std::vector<double>& weights) {
            const auto out = Reference(c, range.rule, dim, rows, weights);
            double sum = 0;
            for (size_t i = 0; i < out.size(); ++i) sum += out[i] * out_grads[i];
            return sum;
          };
          std::vector<double> rows = Wide(c.rows), weights = Wide(c.weights);
          for (size_t i = 0; i < rows.size(); i += 3) {
            const double was = rows[i];
            if (max_norm != 0 && std::abs(Norm(rows, i, dim) - max_norm) < 10 * kStep) continue;  // it has two there
            rows[i] = was + kStep;
            const double up = loss(rows, weights);
            rows[i] = was - kStep;
            const double down = loss(rows, weights);
            rows[i] = was;
            ASSERT_NEAR(row_grads[i], (up - down) / (2 * kStep), 2e-4) << dim << " row element " << i;
          }
          for (size_t i = 0; i < weights.size(); ++i) {
            const double was = weights[i];
            weights[i] = was + kStep;
            const double up = loss(rows, weights);
            weights[i] = was - kStep;
            const double down = loss(rows, weights);
            weights[i] = was;
            ASSERT_NEAR(weight_grads[i], (up - down) / (2 * kStep), 2e-4) << dim << " weight " << i;
          }
        }
      }
    }
  }
}

TEST(Combine, WeightsThatCancelGiveZerosAndNoGradient) {
  const std::vector<uint32_t> starts = {0, 2};
  const std::vector<float> rows = {1, 2, 3, 4}, weights = {1, -1}, out_grads = {5, 6};
  std::vector<float> out(2, -9), row_grads(4, -9), weight_grads(2, -9);
  const CombineRange range{{Combiner::kMean, 0}, 2, starts.data(), 1, weights.data()};
  Combine(range, rows.data(), out.data());
  EXPECT_EQ(out, (std::vector<float>{0, 0}));
  CombineGradient(range, out_grads.data(), rows.data(), row_grads.data(), weight_grads.data());
  EXPECT_EQ(row_grads, (std::vector<float>{0, 0, 0, 0}));
  EXPECT_EQ(weight_grads, (std::vector<float>{0, 0}));
}

TEST(Combine, OneRowIsItself) {
  test::Random random(3);
  const std::vector<uint32_t> starts = {0, 1, 2};
  const std::vector<float> rows = random.Floats(2 * 19, -1, 1);
  for (const Combiner combiner : kCombiners) {
    std::vector<float> out(rows.size());
    Combine({{combiner, 0}, 19, starts.data(), 2, nullptr}, rows.data(), out.data());
    EXPECT_EQ(out, rows);
  }
}

}  // namespace
}  // namespace ev
