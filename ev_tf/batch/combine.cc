#include "ev_tf/batch/combine.h"

#include <algorithm>
#include <cmath>

#include "ev_tf/base/cpu.h"

#define EV_RESTRICT __restrict__

namespace ev {
namespace {

constexpr int64_t kLanes = 16;

// What a row of that squared norm is scaled by.
float NormScale(float max_norm, float square) {
  const float norm = std::sqrt(square);
  return norm > max_norm ? max_norm / norm : 1.0f;
}

// What the sum of the rows [first, end) is divided by.
float Divisor(const CombineRange& range, size_t first, size_t end) {
  if (range.rule.combiner == Combiner::kSum) return 1.0f;
  const bool mean = range.rule.combiner == Combiner::kMean;
  if (range.weights == nullptr) {
    const auto count = static_cast<float>(end - first);
    return mean ? count : std::sqrt(count);
  }
  float sum = 0.0f;
  for (size_t i = first; i < end; ++i) sum += mean ? range.weights[i] : range.weights[i] * range.weights[i];
  return mean ? sum : std::sqrt(sum);
}

}  // namespace

// The order of these includes is their meaning.
// clang-format off
namespace plain {
#include "ev_tf/batch/combine.inc"
}  // namespace plain

#if EV_X86_KERNELS
namespace avx2 {
#include "ev_tf/base/begin_avx2.h"
#include "ev_tf/batch/combine.inc"
#include "ev_tf/base/end_target.h"
}  // namespace avx2

namespace avx512 {
#include "ev_tf/base/begin_avx512.h"
#include "ev_tf/batch/combine.inc"
#include "ev_tf/base/end_target.h"
}  // namespace avx512
#endif
// clang-format on

void Combine(const CombineRange& range, const float* rows, float* out) {
#if EV_X86_KERNELS
  switch (BestIsa()) {
    case Isa::kAvx512: return avx512::CombineEntries(range, rows, out);
    case Isa::kAvx2: return avx2::CombineEntries(range, rows, out);
    case Isa::kPlain: break;
  }
#endif
  plain::CombineEntries(range, rows, out);
}

void CombineGradient(const CombineRange& range, const float* out_grads, const float* rows, float* row_grads,
                     float* weight_grads) {
#if EV_X86_KERNELS
  switch (BestIsa()) {
    case Isa::kAvx512: return avx512::GradientEntries(range, out_grads, rows, row_grads, weight_grads);
    case Isa::kAvx2: return avx2::GradientEntries(range, out_grads, rows, row_grads, weight_grads);
    case Isa::kPlain: break;
  }
#endif
  plain::GradientEntries(range, out_grads, rows, row_grads, weight_grads);
}

}  // namespace ev
