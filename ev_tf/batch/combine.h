// Rows combined into entries, and the gradient of it: TensorFlow's sum, mean and sqrtn of weighted rows.
//
// Of an entry with rows r_i and weights w_i (1 if there are none), where c(r) is r scaled to at most max_norm:
//   sum    S = sum_i w_i c(r_i)        mean   S / sum_i w_i        sqrtn   S / sqrt(sum_i w_i^2)
// An entry without rows is zeros, and so is one whose divisor is zero.  Rows are added in their order, by one thread: the
// result does not depend on how a batch is cut, nor on the instruction set.
#pragma once

#include <cstddef>
#include <cstdint>

namespace ev {

enum class Combiner : uint8_t { kSum, kMean, kSqrtN };

struct CombineRule {
  Combiner combiner = Combiner::kSum;
  float max_norm = 0.0f;  // L2; 0: any
};

// Some entries next to one another.  Rows, weights and their gradients begin with those of the first entry.
struct CombineRange {
  CombineRule rule;
  int64_t dim;
  const uint32_t* starts;  // entries + 1 of them; what they count from does not matter
  size_t entries;
  const float* weights;  // null: ones
};

// out: [entries, dim], rows: [starts[entries] - starts[0], dim].
void Combine(const CombineRange& range, const float* rows, float* out);

// The gradients of rows, and of weights unless that is null, from those of the output.  `rows` may be null for a rule
// without a norm if no gradient of weights is wanted.
void CombineGradient(const CombineRange& range, const float* out_grads, const float* rows, float* row_grads,
                     float* weight_grads);

}  // namespace ev
