#include "ev_tf/eviction/shrink.h"

namespace ev {

Verdict Judge(const ShrinkRule& rule, const float* value, int64_t dim, const RowMeta* meta, int64_t step) {
  if (rule.by_weight()) {
    double squares = 0;
    for (int64_t i = 0; i < dim; ++i) squares += static_cast<double>(value[i]) * static_cast<double>(value[i]);
    if (squares / 2 < static_cast<double>(rule.l2_weight_threshold)) return Verdict::kLeaves;
  }
  if (rule.by_age()) {
    if (meta->version_plus1 == 0) return Verdict::kStartsToAge;
    if (step - (int64_t{meta->version_plus1} - 1) > rule.steps_to_live) return Verdict::kLeaves;
  }
  return Verdict::kStays;
}

}  // namespace ev
